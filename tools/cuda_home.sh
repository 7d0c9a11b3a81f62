#!/bin/sh
# Prints the folder of the CUDA toolkit to build with: one of version 13 with nvcc, the runtime's headers and
# the static runtime. Looked for in this order: $CUDA_HOME, nvcc of PATH, /usr/local/cuda and
# /usr/local/cuda-13*, what tools/deps.sh cuda has installed. Exits 1 in silence where there is none.
#
#     tools/cuda_home.sh [--own]    --own: prints where deps.sh installs it, whether it is there or not
set -eu
own=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/trine/cuda-13.0
if [ "${1:-}" = --own ]; then
    echo "$own"
    exit 0
fi

whole() {
    [ -x "$1/bin/nvcc" ] && [ -e "$1/include/cuda_runtime.h" ] || return 1
    [ -e "$1/lib64/libcudart_static.a" ] || [ -e "$1/lib/libcudart_static.a" ] || return 1
    "$1/bin/nvcc" --version 2>/dev/null | grep -q 'release 13\.'
}
of_path=$(command -v nvcc 2>/dev/null || true)
[ -z "$of_path" ] || of_path=$(dirname "$(dirname "$(readlink -f "$of_path")")")
for folder in "${CUDA_HOME:-}" "$of_path" /usr/local/cuda /usr/local/cuda-13* "$own/nvidia/cu13"; do
    if [ -n "$folder" ] && whole "$folder"; then
        echo "$folder"
        exit 0
    fi
done
exit 1
