#!/usr/bin/env bash
# The format of C, C++ and CUDA sources: clang-format by .clang-format. Silent when all is well.
cd "$(dirname "$0")/.." || exit 1
set -o pipefail
find . \( -path ./build -o -name .git \) -prune -o -regex '.*\.\([ch]\|cuh?\|cpp\)' -print | grep -v unicode_tables |
    xargs clang-format --dry-run -Werror
