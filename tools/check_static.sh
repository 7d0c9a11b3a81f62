#!/usr/bin/env bash
# Static checks over all rooms: cppcheck | clang-tidy | analyzer (gcc's) | clang-analyzer. Silent when
# clean. The last takes seconds a file, some ten minutes in all: `make test` does without.
cd "$(dirname "$0")/.." || exit 1
rooms='base channel compute weights tokenizer template grammar encoder decoder pooling engine worker service hub cli'
# shellcheck disable=SC2086 # the rooms are a list of words
files=$(find $rooms -name '*.c' | sort)
# What includes CUDA's headers is checked where they are.
if cuda=$(tools/cuda_home.sh); then
    cuda="-isystem $cuda/include"
else
    # shellcheck disable=SC2086
    files=$(grep -L '"compute/cuda/cuda_api_internal.h"' $files)
fi
portable=$(echo "$files" | grep -vE '_(avx2|avx512|avx512vnni|avx512bf16)\.c$')
flags='-std=c11 -I. -D_POSIX_C_SOURCE=200809L -DTRINE_VERSION=\"0\" -DTRINE_COMMIT=\"0\" '$cuda
# tidy CHECKS: clang-tidy with what .clang-tidy says, and these
tidy() {
    mkdir -p build
    # its count of suppressed warnings goes to stderr; what fails to run at all fails xargs
    # shellcheck disable=SC2086
    echo $portable | tr ' ' '\n' | xargs -P2 -n4 sh -c 'clang-tidy --quiet --checks="'"$1"'" "$@" -- '"$flags" _ >build/clang-tidy.log 2>build/clang-tidy.err
    rc=$?
    cat build/clang-tidy.log
    [ $rc -eq 0 ] || cat build/clang-tidy.err
    [ $rc -eq 0 ] && ! grep -qE '(warning|error):' build/clang-tidy.log
}
case $1 in
cppcheck)
    # shellcheck disable=SC2086
    cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr --enable=warning,performance,portability \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches -D__x86_64__=1 -j2 -I. $portable 2>&1
    ;;
clang-tidy) tidy '-clang-analyzer-*' ;;
clang-analyzer) tidy '-*,clang-analyzer-*,-clang-analyzer-valist.Uninitialized,-clang-analyzer-optin.performance.Padding,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling' ;;
analyzer)
    # gcc 12 takes a struct that another file's function returns for uninitialised: that check is off
    # shellcheck disable=SC2086
    echo $portable | tr ' ' '\n' | xargs -P2 -n1 sh -c 'gcc '"$flags"' -O1 -fanalyzer -Wno-analyzer-use-of-uninitialized-value -Werror -c -o /dev/null "$1"' _
    ;;
*)
    echo "usage: $0 cppcheck|clang-tidy|analyzer|clang-analyzer" >&2
    exit 2
    ;;
esac
