#!/usr/bin/env bash
# The whole test run: every program and script of tests/, in the release build and under the
# sanitizers, then the static checks, two at a time (lanes.sh). Called by `make test` after the builds.
# Prints a line per program and closes with the sum "N passed, N failed[, N skipped]"; exits 1 when
# anything failed. A program that ends badly without saying so counts as one failure.
#
#     tests/run.sh [PATTERN...]     all, or those whose label fits: 'asan/*' 'checks/*' cppcheck
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0 failed=0 skipped=0 bad=()
logs=build/test-logs
mkdir -p "$logs"
# shellcheck source=tests/lanes.sh
. tests/lanes.sh

# count LABEL STATUS SECONDS: what has run: adds its closing line to the sum.
count() {
    local label=$1 rc=$2 log line p=0 f=0 s=0
    log_of "$label"
    line=$(grep -asE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    if [ -n "$line" ]; then
        read -r p _ f _ s _ <<<"$line"
        p=${p:-0} f=${f:-0} s=${s:-0}
    fi
    if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ "$rc" -eq 0 ] && [ "$p" -eq 0 ] && [ "$s" -eq 0 ]; then f=1; fi # said nothing: not a pass
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-44s %6d passed, %d failed%s (%d s)\n' "$label" "$p" "$f" "$([ "$s" -eq 0 ] || echo ", $s skipped")" "$3"
    if [ "$f" -ne 0 ]; then
        bad+=("$label")
        echo "---- $label (exit $rc), the end of $log:"
        tail -n 40 "$log"
        echo "----"
    fi
}

# check LABEL COMMAND...: a check that is silent when all is well counts as one.
check() {
    local label=$1
    shift
    plan "$label" bash -c '"$@" && echo "1 passed, 0 failed"' _ "$@"
}

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1
unset OPENBLAS_CORETYPE

# The sources say what there is to run: a program that was not built is a failure, not silence.
program() {
    if [ -x "$2" ]; then plan "$@"; else plan "$1" bash -c "echo '$2 was not built'; exit 1"; fi
}
names() { for source in $1; do source=${source##*/} && echo "${source%.c}"; done; }
for variant in release asan; do
    folder=build/${variant/release/.}
    for name in $(names 'tests/unit/test_*.c'); do program "$variant/unit/$name" "$folder/tests/unit/$name"; done
    for name in $(names 'tests/golden/test_*.c'); do program "$variant/golden/$name" "$folder/tests/golden/$name"; done
done
# Once more where device memory is closed but for operations: all programs that take such a device.
for source in $(grep -lE '"tests/(kit/test_device|unit/(generator_kit|generator_pair|scheduler_rig)|golden/tiny_[a-z]*)\.h"' tests/unit/test_*.c tests/golden/test_*.c); do
    name=${source#tests/} name=${name%.c}
    TRINE_TEST_DEVICE=guard program "guard/$name" "build/tests/$name"
done
# And on the emulated GPU (tests/gpu): the goldens, and what else has bits to compare.
for source in $(grep -lE '"tests/(kit/test_device|golden/tiny_[a-z]*)\.h"' tests/golden/test_*.c) \
    tests/unit/test_{decoder_bind,device_beside,kv_block_size,non_finite}.c; do
    name=${source#tests/} name=${name%.c}
    TRINE_TEST_DEVICE=gpu program "gpu/$name" "build/tests/$name"
done
# And where what was drawn is shown late, as a GPU does.
for name in unit/test_scheduler_generate unit/test_generator unit/test_step; do
    TRINE_TEST_DEVICE=late program "late/$name" "build/tests/$name"
done
[ -s build/tsan-units ] || plan tsan bash -c 'echo "no build/tsan-units: make test-programs writes it"; exit 1'
for name in $(cat build/tsan-units 2>/dev/null); do program "tsan/unit/$name" "build/tsan/tests/unit/$name"; done
for name in $(names 'tests/fuzz/fuzz_*.c'); do
    program "asan/corpus/${name#fuzz_}" "build/asan/tests/fuzz/$name" "tests/fuzz/corpus/${name#fuzz_}"
done
for script in tests/http/test_*.py; do
    name=${script##*/}
    plan "release/http/${name%.py}" python3 "$script" build/trine
    plan "asan/http/${name%.py}" python3 "$script" build/asan/trine
done
# Faults of the worker process by seed, under a load whose answers are known (make test-faults has more).
plan "release/faults-isolate" python3 tests/faults/run.py build/trine --setup isolate --faults 100 --minutes 8
plan "release/faults-gpu" python3 tests/faults/run.py build/trine --setup gpu --faults 30 --minutes 8
plan "release/faults-device" python3 tests/faults/run.py build/trine --setup device --faults 100 --minutes 8
plan "asan/faults-isolate" python3 tests/faults/run.py build/asan/trine --setup isolate --faults 20 --minutes 8

# The longest first.
check gcc-analyzer tools/check_static.sh analyzer
plan cuda tests/cuda.sh
check cppcheck tools/check_static.sh cppcheck
check clang-tidy tools/check_static.sh clang-tidy
for script in tests/checks/test_*.py; do
    name=${script##*/}
    plan "checks/${name%.py}" python3 "$script"
done
check includes tools/check_includes.sh
check names tools/check_names.sh
check documents tools/check_docs.sh
check format tools/check_format.sh

read_ways || exit 1
only "$@"
run_planned count

# Once more by name, with what each said of it: the end of a long log is what people see.
for label in "${bad[@]}"; do
    echo "failed: $label"
    log_of "$label"
    grep -asE 'FAIL|rror' "$log" | head -n 5
done
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
