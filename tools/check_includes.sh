#!/usr/bin/env bash
# The walls of the house: includes point down only, each library has one door, and nothing goes in
# a circle. The table and the rules are in check_includes.py.
exec python3 "$(dirname "$0")/check_includes.py" "$@"
