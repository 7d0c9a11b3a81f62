#!/usr/bin/env python3
"""Proves on a machine with a card what was built on one without (docs/gpu.md, "Proving it on a card: the kit").

    run correctness|faults|sanitizer|bench|all [--out FOLDER] [--small]

Each part prints a table, leaves PART.json in FOLDER (default: $OUT, else kit-results here) and has a limit of its own;
the last line is the sum: N passed, N failed, N skipped. --small: a few programs, to prove the kit itself.
"""
import argparse
import importlib
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kit  # noqa: E402

# Seconds of each; what proves or breaks the most comes first.
PARTS = {"correctness": 150, "faults": 120, "sanitizer": 60, "bench": 180}


def one(name, out, small):
    """In a process of its own (below): what hangs in it is ended from outside."""
    part = kit.Part(name, PARTS[name] - 6, out)
    importlib.import_module(name).main(part, small)
    part.write()
    print(f"{part.total('passed')} passed, {part.total('failed')} failed, {part.total('skipped')} skipped", flush=True)
    return 1 if part.total("failed") or not part.total("passed") + part.total("skipped") else 0


def all_of(names, a):
    sums, bad = [0, 0, 0], []
    for name in names:
        print(f"== {name} (at most {PARTS[name]} s)", flush=True)
        command = ["timeout", "-k", "5", str(PARTS[name]), sys.executable, os.path.abspath(__file__), name, "--inside",
                   "--out", a.out, *(["--small"] if a.small else [])]
        said = ""
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as p:
            for line in p.stdout:
                said += line
                if not kit.CLOSING.match(line):
                    print(line, end="", flush=True)
        found = kit.CLOSING.findall(said)
        counts = [int(n or 0) for n in found[-1]] if found else [0, 1, 0]
        if not found:
            print(f"  {name} was ended, or ended badly (exit status {p.returncode}); what it had is in {a.out}/{name}.json")
        sums = [s + c for s, c in zip(sums, counts)]
        if counts[1]:
            bad.append(name)
        print(f"== {name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped ({time.monotonic() - began:.0f} s)",
              flush=True)
    if bad:
        print("failed: " + ", ".join(bad))
    print(f"{sums[0]} passed, {sums[1]} failed, {sums[2]} skipped")
    return 1 if sums[1] or not sums[0] else 0


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("part", choices=[*PARTS, "all"])
    p.add_argument("--out", default=os.environ.get("OUT") or os.path.abspath("kit-results"))
    p.add_argument("--small", action="store_true")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    a.out = os.path.abspath(a.out)
    if a.inside:
        return one(a.part, a.out, a.small)
    return all_of(list(PARTS) if a.part == "all" else [a.part], a)


if __name__ == "__main__":
    sys.exit(main())
