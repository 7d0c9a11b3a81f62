#!/usr/bin/env bash
# Brings the default models and serves them in the foreground, on 127.0.0.1:${PORT:-8080}. Called by
# `make run` after the build; arguments go to `trine serve`. Once the server listens, prints a few
# requests that work when pasted. Ctrl-C (or SIGTERM) reaches the server itself, which drains and
# ends; this script has become it by then.
set -eu
cd "$(dirname "$0")/.."

embed=sentence-transformers/all-MiniLM-L6-v2
rerank=cross-encoder/ms-marco-MiniLM-L-12-v2
generate=HuggingFaceTB/SmolLM2-135M-Instruct

# The server's stdout: its one line when it is ready, and the requests behind that.
show() {
    trap '' INT TERM HUP # it ends with the server's output
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case "$line" in "listening on "*) requests "${line#listening on }" ;; esac
    done
}

requests() {
    cat <<EOF

Try it, in another terminal:

curl -s $1/v1/embeddings -H 'content-type: application/json' -d '{"model": "$embed", "input": "Hello, world"}'

curl -s $1/v1/rerank -H 'content-type: application/json' -d '{"model": "$rerank", "query": "how many people live in berlin", "documents": ["Berlin is well known for its museums.", "Berlin has a population of 3,520,031 registered inhabitants."]}'

curl -s $1/v1/chat/completions -H 'content-type: application/json' -d '{"model": "$generate", "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 100, "temperature": 0}'

curl -s $1/v1/models

Ctrl-C stops it.
EOF
}

python3 tools/bring_models.py
# --auto-truncate: MiniLM takes 256 tokens, fewer than a chunk of what retrieval programs send. A
# cut answer says so (x-truncated, x-warning); left to itself the service refuses such a text.
exec build/trine serve --port "${PORT:-8080}" --auto-truncate --model "$embed" --model "$rerank" --model "$generate" "$@" > >(show)
