#!/usr/bin/env bash
# The names of the house: whoever meets one knows its home. The rules are in check_names.py, which
# reads the sources and the objects in build/: make first.
exec python3 "$(dirname "$0")/check_names.py" "$@"
