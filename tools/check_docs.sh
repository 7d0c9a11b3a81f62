#!/usr/bin/env bash
# What the documents promise about the code: see check_docs.py.
exec python3 "$(dirname "$0")/check_docs.py"
