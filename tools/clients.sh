#!/usr/bin/env bash
# The clients that people use (Python and node) against a server of ours with real models. Installs
# them into build/clients, at the versions that tests/clients names. Where the packages or the models
# cannot be had it says so and counts one skipped.
set -u
cd "$(dirname "$0")/.."
skip() {
    echo "skipped: $1" >&2
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}
wanted=tests/clients/requirements.txt venv=build/clients/venv node=build/clients/node
if ! cmp -s $wanted $venv/installed.txt; then
    echo "Installing the Python clients into $venv" >&2
    python3 -m venv $venv && $venv/bin/pip install -q -r $wanted >&2 && cp $wanted $venv/installed.txt ||
        skip "the Python clients' packages cannot be had"
fi
# An older node lacks what the packages need; without one the Python clients are still tried.
tools/deps.sh clients >&2
if ! cmp -s tests/clients/node/package.json $node/package.json || [ ! -e $node/installed ]; then
    echo "Installing the node clients into $node" >&2
    mkdir -p $node && cp tests/clients/node/package.json $node/ &&
        (cd $node && npm install --silent --no-audit --no-fund --no-package-lock >&2) && touch $node/installed
fi
python3 tools/bring_models.py >&2 || skip "the default models cannot be had"
exec $venv/bin/python tests/clients/run.py build/trine
