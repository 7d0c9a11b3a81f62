#!/usr/bin/env bash
# One test by its name, as `make test T=unit/test_bpe` calls it: builds it (SAN=asan|tsan|fault picks
# the build), runs it, shows what it says, and closes with its sum as tests/run.sh does. The exit
# status is 0 only where something passed and nothing failed.
#
#     tests/one.sh unit/test_bpe | golden/test_texts | http/test_api | checks/test_NAME | fuzz/fuzz_json
set -u
cd "$(dirname "$0")/.." || exit 2
name=${1:-}
name=${name#tests/} name=${name%.c} name=${name%.py}
build=build${SAN:+/$SAN}

known() { printf '%s\n' tests/unit/test_*.c tests/golden/test_*.c tests/http/test_*.py tests/checks/test_*.py tests/fuzz/fuzz_*.c | sed 's,^tests/,,; s,\.[a-z]*$,,'; }

if ! known | grep -qxF -- "$name"; then
    echo "No test is called '$name'. Near it:" >&2
    known | python3 -c '
import difflib, sys
name, known = sys.argv[1], sys.stdin.read().split()
word = name.rsplit("/", 1)[-1].removeprefix("test_").removeprefix("fuzz_")
near = [k for k in known if word and word in k]
near += [k for k in difflib.get_close_matches(name, known, 5, 0.5) if k not in near]
near += [k for k in known if difflib.SequenceMatcher(None, word, k.split("_", 1)[1]).ratio() > 0.7 and k not in near]
print("\n".join("    T=" + k for k in (near or known)))' "$name" >&2
    exit 2
fi

# What a sanitizer reports; they do nothing in a build without one.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:second_deadlock_stack=1}
unset OPENBLAS_CORETYPE

case $name in
checks/*)
    program=
    command=(python3 "tests/$name.py")
    ;;
http/*)
    program=$build/trine
    command=(python3 "tests/$name.py" "$program")
    ;;
fuzz/*)
    program=$build/tests/$name
    command=("$program" "tests/fuzz/corpus/${name#fuzz/fuzz_}")
    ;;
*)
    program=$build/tests/$name
    command=("$program")
    ;;
esac
[ -z "$program" ] || ${MAKE:-make} --no-print-directory -s -j2 SAN="${SAN:-}" "$program" || exit 2

TMPDIR=$(mktemp -d) && export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
log=$TMPDIR/log
"${command[@]}" </dev/null 2>&1 | tee "$log" | grep -avE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$'
rc=${PIPESTATUS[0]}
p=0 f=0 s=0
line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
[ -n "$line" ] && read -r p _ f _ s _ <<<"$line"
if [ "$rc" -ne 0 ]; then
    echo "$name ended with exit status $rc"
    if [ "$f" -eq 0 ]; then f=1; fi # it ended badly without saying so
fi
if [ "${s:-0}" -gt 0 ]; then
    echo "$p passed, $f failed, $s skipped"
else
    echo "$p passed, $f failed"
fi
[ "$f" -eq 0 ] && [ "$p" -gt 0 ]
