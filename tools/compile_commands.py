#!/usr/bin/env python3
"""Writes compile_commands.json, by which clangd and clang-tidy know how each file is compiled, from
what make says it would do. Called by `make compile_commands.json`."""

import json
import os
import shlex
import subprocess
import sys

PROGRAMS = ["all", "units", "goldens", "fuzzers", "benches"]


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    said = subprocess.run([os.environ.get("MAKE", "make"), "--no-print-directory", "-nB", *PROGRAMS],
                          cwd=root, env=env, capture_output=True, text=True)
    if said.returncode:
        sys.exit(f"compile_commands.py: make -n: {said.stderr.strip()}")
    commands = []
    for line in said.stdout.splitlines():
        if " -c -o " not in line:
            continue
        words = shlex.split(line)
        if os.path.basename(words[0]) == "ccache":
            words = words[1:]
        commands.append({"directory": root, "file": words[-1], "arguments": words})
    if not commands:
        sys.exit("compile_commands.py: make -n named no file to compile")
    with open(os.path.join(root, "compile_commands.json"), "w", encoding="utf-8") as out:
        json.dump(commands, out, indent=1)
        out.write("\n")
    print(f"compile_commands.json: {len(commands)} files")


main()
