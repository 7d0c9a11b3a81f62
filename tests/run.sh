#!/usr/bin/env bash
# The whole test run: every program and script of tests/, in the release build and under the
# sanitizers, then the static checks. Called by `make test` after the builds. Prints a line per
# program and closes with the sum "N passed, N failed[, N skipped]"; exits 1 when anything failed.
# A program that ends badly without saying so counts as one failure.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0 bad=()
logs=build/test-logs
mkdir -p "$logs"
# What a program that is killed has left in it goes with it.
TMPDIR=$(mktemp -d) && export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# run LABEL COMMAND...: runs it, adds its closing line to the sum.
run() {
    local label=$1 log line p=0 f=0 s=0 rc started=$SECONDS
    shift
    log=$logs/${label//[^A-Za-z0-9_.-]/_}.log
    timeout 600 "$@" >"$log" 2>&1 </dev/null
    rc=$?
    line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    if [ -n "$line" ]; then
        read -r p _ f _ s _ <<<"$line"
        p=${p:-0} f=${f:-0} s=${s:-0}
    fi
    if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ "$rc" -eq 0 ] && [ "$p" -eq 0 ] && [ "$s" -eq 0 ]; then f=1; fi # said nothing: not a pass
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-44s %6d passed, %d failed%s (%d s)\n' "$label" "$p" "$f" "$([ "$s" -eq 0 ] || echo ", $s skipped")" $((SECONDS - started))
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
    run "$label" bash -c '"$@" && echo "1 passed, 0 failed"' _ "$@"
}

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1
unset OPENBLAS_CORETYPE

# The sources say what there is to run: a program that was not built is a failure, not silence.
program() {
    if [ -x "$2" ]; then run "$@"; else run "$1" bash -c "echo '$2 was not built'; exit 1"; fi
}
names() { for source in $1; do basename "$source" .c; done; }
for variant in release asan; do
    folder=build/${variant/release/.}
    for name in $(names 'tests/unit/test_*.c'); do program "$variant/$name" "$folder/tests/unit/$name"; done
    for name in $(names 'tests/golden/test_*.c'); do program "$variant/$name" "$folder/tests/golden/$name"; done
done
# Once more where device memory is closed but for operations: all programs that take such a device.
for source in $(grep -lE '"tests/(kit/test_device|unit/(generator_kit|generator_pair|scheduler_rig)|golden/tiny_[a-z]*)\.h"' tests/unit/test_*.c tests/golden/test_*.c); do
    TRINE_TEST_DEVICE=guard program "guard/$(names "$source")" "build/${source%.c}"
done
for name in $(cat build/tsan-units); do program "tsan/$name" "build/tsan/tests/unit/$name"; done
for name in $(names 'tests/fuzz/fuzz_*.c'); do
    program "asan/corpus/${name#fuzz_}" "build/asan/tests/fuzz/$name" "tests/fuzz/corpus/${name#fuzz_}"
done
for script in tests/http/test_*.py; do
    name=${script##*/}
    run "release/${name%.py}" python3 "$script" build/trine
    run "asan/${name%.py}" python3 "$script" build/asan/trine
done
# Faults of the worker process by seed, under a load whose answers are known (make test-faults has more).
run "release/faults-isolate" python3 tests/faults/run.py build/trine --setup isolate --faults 100 --minutes 8
run "release/faults-device" python3 tests/faults/run.py build/trine --setup device --faults 100 --minutes 8
run "asan/faults-isolate" python3 tests/faults/run.py build/asan/trine --setup isolate --faults 20 --minutes 8

for script in tests/checks/test_*.py; do
    name=${script##*/}
    run "checks/${name%.py}" python3 "$script"
done
check includes tools/check_includes.sh
check names tools/check_names.sh
check documents tools/check_docs.sh
check format bash -c 'set -o pipefail; find . -path ./build -prune -o -name "*.[ch]" -print | grep -v unicode_tables |
    xargs clang-format --dry-run -Werror'
check cppcheck tools/check_static.sh cppcheck
check clang-tidy tools/check_static.sh clang-tidy
check gcc-analyzer tools/check_static.sh analyzer

# Once more by name, with what each said of it: the end of a long log is what people see.
for label in "${bad[@]}"; do
    echo "failed: $label"
    grep -aE 'FAIL|rror' "$logs/${label//[^A-Za-z0-9_.-]/_}.log" | head -n 5
done
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
