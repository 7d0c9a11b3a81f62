#!/usr/bin/env bash
# What to run before a commit: `make check`, under a minute on two cores once all is built. The walls,
# the format, the documents' promises, the unit tests that take less than a second each, cppcheck of
# the C files that differ from the last commit (or, where none does, that the last commit changed).
# Says what it runs and how long each took; closes with a sum as tests/run.sh does.
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0 failed=0 began=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# step LABEL COMMAND...: shows what it said only where it failed.
step() {
    local label=$1 from=${EPOCHREALTIME/./}
    shift
    if timeout 120 "$@" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        printf 'ok      %-32s %6d ms\n' "$label" $(((${EPOCHREALTIME/./} - from) / 1000))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$label"
        tail -n 30 "$log"
    fi
}

# These take a second and more each, most of them on purpose: `make test` runs them.
slow=' api_faults bpe causal device device_bits device_blocks device_pairs generator_masks grammar_budget
 grammar_schema http http_life http_stream key_truth log masks render scheduler scheduler_shares shares
 template tokenizer tokenizer_memory tokenizer_unicode vectors '
slow=${slow//$'\n'/}

changed=$(git diff --name-only HEAD -- '*.c' '*.h'; git ls-files --others --exclude-standard -- '*.c' '*.h')
[ -n "$changed" ] || changed=$(git diff --name-only HEAD~1 HEAD -- '*.c' '*.h' 2>/dev/null)
files=()
for file in $changed; do
    case $file in
    tests/* | *_avx*.c | *.h) ;;
    *) [ -e "$file" ] && files+=("$file") ;;
    esac
done

for script in tools/check_*.sh; do
    case $script in
    tools/check_static.sh) ;; # all files, for minutes
    *) step "${script#tools/}" "$script" ;;
    esac
done
if [ ${#files[@]} -gt 0 ]; then
    step "cppcheck of ${#files[@]} changed" cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
        --enable=warning,performance,portability --suppress=missingIncludeSystem \
        --suppress=normalCheckLevelMaxBranches -D__x86_64__=1 -j2 -I. "${files[@]}"
fi
left=0
for source in tests/unit/test_*.c; do
    name=$(basename "$source" .c)
    case $slow in
    *" ${name#test_} "*) left=$((left + 1)) ;;
    *) step "$name" "build/tests/unit/$name" ;;
    esac
done
echo "$left slower unit tests, the goldens, the HTTP tests and the sanitizers are left to make test ($((SECONDS - began)) s)"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
