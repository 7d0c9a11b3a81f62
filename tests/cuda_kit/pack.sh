#!/usr/bin/env bash
# Puts the kit together (make cuda-kit): programs without symbols, what they read of tests/, the libraries
# that a bare machine may lack. Fails where it is larger than 40 MiB.
#
#     tests/cuda_kit/pack.sh FOLDER PROGRAM...      as they lie in build/: trine, trine-worker, gpu-tests ...
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1
shift
most=$((40 << 20))
# Texts of tokenizers and templates are nothing to a card.
left_out='/(tokenizers|tokenizers_bpe|tokenizers_config|templates|text|text_gguf)/'

rm -rf "$folder"
mkdir -p "$folder/build/tests" "$folder/lib" "$folder/tests" "$folder/bench"
for program in "$@"; do
    to=$folder/build/$(basename "$program")
    # where the tests look for it
    case $program in */tests/trine-*) to=$folder/build/tests/$(basename "$program") ;; esac
    case $program in
    */trine-gpu-emulated)
        to=$folder/build/trine-gpu
        touch "$folder/emulated"
        ;;
    esac
    cp "$program" "$to"
    strip "$to"
done
# What is in gpu-tests too has a script where it is looked for.
for name in trine-gpu tests/trine-gpu-faults; do
    inside=${name##*/} inside=${inside//-/_} up=$(dirname "$name" | sed 's,[^/.][^/]*,..,')
    if "$folder/build/gpu-tests" | grep -x "$inside" >/dev/null; then
        # shellcheck disable=SC2016
        printf '#!/bin/sh\nexec "${0%%/*}/%s/gpu-tests" %s "$@"\n' "$up" "$inside" >"$folder/build/$name"
        chmod +x "$folder/build/$name"
    fi
done
# All but the C library's own, which is the machine's.
for program in "$folder"/build/*; do ldd "$program" 2>/dev/null || true; done | awk '$3 ~ /^\// { print $3 }' | sort -u |
    { grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux[^/]*)\.so[^/]*$' || true; } |
    while read -r library; do cp -L "$library" "$folder/lib/"; done
git ls-files -co --exclude-standard tests/golden/data tests/unit/data/sampling.txt tests/cuda_kit bench/gpu_torch.py \
    tests/http/load.py tests/http/served.py tests/http/workers.py tests/faults |
    { grep -vE "$left_out" || true; } | tar -cf - -T - | tar -xf - -C "$folder"
mv "$folder/tests/cuda_kit/run" "$folder/run"

bytes=$(du -sb "$folder" | cut -f1)
[ "$bytes" -le "$most" ] || { echo "$folder: $bytes bytes, and $most at most"; exit 1; }
echo "$folder: $((bytes >> 20)) MiB; take it to a machine with a card, and there: run all"
