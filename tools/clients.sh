#!/usr/bin/env bash
# The official Python clients (openai, cohere, huggingface_hub) against a server of ours with real
# models. Installs them into build/venv-clients. Where the packages or the models cannot be had it
# says so and counts one skipped.
set -u
cd "$(dirname "$0")/.."
skip() {
    echo "skipped: $1" >&2
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}
venv=build/venv-clients
if [ ! -x $venv/bin/python ] || ! $venv/bin/python -c 'import openai, cohere, huggingface_hub' 2>/dev/null; then
    echo "Installing openai, cohere and huggingface_hub into $venv" >&2
    python3 -m venv $venv && $venv/bin/pip install -q openai cohere huggingface_hub numpy >&2 ||
        skip "the clients' packages cannot be had"
fi
python3 tools/bring_models.py >&2 || skip "the default models cannot be had"
exec $venv/bin/python tests/http/clients.py build/trine
