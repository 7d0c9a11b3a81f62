#!/usr/bin/env bash
# What can be known of the GPU's program without a GPU: every kernel compiles for a Hopper and as PTX with
# warnings as errors, none spills, the program links, starts where there is no driver and says so.
# Brings nvcc from PyPI where none is there (tools/deps.sh cuda); where it cannot be had, or with CUDA=0,
# that is said and counted as skipped. Closes with "N passed, N failed[, N skipped]".
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0 failed=0 skipped=0

finish() {
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    exit $((failed > 0))
}
skip() {
    echo "skipped: $1"
    skipped=1
    finish
}
# step WHAT COMMAND...
step() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what"
    fi
}

[ "${CUDA:-auto}" != 0 ] || skip "CUDA=0: nothing of CUDA is built"
tools/deps.sh cuda || skip "no nvcc, and PyPI gives none: kernels are not compiled for a GPU"
unset CUDA # else its own message ends make
make=${MAKE:-make}
# Not beside build/trine, whose tests run at the same time: it would be looked at by every start.
step "kernels compile for sm_90a and as PTX without a warning, and the program links" \
    "$make" --no-print-directory -s -j"${JOBS:-2}" GPU_PROGRAM=build/cuda/trine-gpu cuda
[ "$failed" -eq 0 ] || finish
step "no kernel spills" "$make" --no-print-directory -s cuda-report
# sum WHAT COMMAND...: of a test program that closes with its own
sum() {
    local what=$1 line p f
    shift
    line=$("$@" | tail -n 1)
    read -r p _ f _ <<<"$line"
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
    [ "${f:-1}" -eq 0 ] && [ "${p:-0}" -gt 0 ] || echo "FAILED: $what: $line"
}
sum "the probe" python3 tests/cuda_probe.py
for san in '' asan; do
    build=build${san:+/$san}
    step "tests/cuda/cuda_api.c, ${san:-release}" "$make" --no-print-directory -s SAN=$san "$build/tests/cuda-api"
    sum "cuda-api, ${san:-release}" env TRINE_CUDA_LIBS="$build/tests/cuda" "$build/tests/cuda-api"
done
finish
