#!/usr/bin/env python3
"""What each kernel takes of a card, by what ptxas said when it was compiled (make cuda-report): registers of a
thread, bytes of spills and of its stack, shared memory that it has from the start, and what its launches ask for
beside. Exits 1 where a kernel spills (a stack
of its own arrays is none); the few that may are named below with the reason.

Usage: cuda_report.py [--arch 90a] FILE.ptxas...    tests/checks/test_cuda_report.py plants what must be found."""
import argparse
import os
import re
import subprocess
import sys

# Kernels that are no part of a forward pass or a step may spill: the beginning of a name, and why.
NOT_HOT = {}

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class Broken(Exception):
    pass


def read(path, arch):
    """{kernel's mangled name: its figures} of one file, of the kernels for sm_ARCH."""
    found, kernel, wanted = {}, None, False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            entry, stack, used = (r.search(line) for r in (ENTRY, STACK, USED))
            if entry:
                kernel, wanted = entry[1], entry[2] == f"sm_{arch}"
                if wanted:
                    found[kernel] = {"file": os.path.basename(path)}
            elif stack and wanted:  # the kernel's, then those of functions that are not inlined in it
                f = found[kernel]
                for key, value in zip(("stack", "stores", "loads"), stack.groups()):
                    f[key] = f.get(key, 0) + int(value)
            elif used and wanted:
                shared = SHARED.search(line)
                found[kernel].update(registers=int(used[1]), shared=int(shared[1]) if shared else 0)
                wanted = False
    for name, figures in found.items():
        if not {"stack", "registers"} <= set(figures):
            raise Broken(f"{path}: ptxas says nothing of {name}: is its output another?")
    return found


def demangle(names):
    """Names as they are written, where c++filt is; without the types of arguments."""
    try:
        out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return dict(zip(names, names))
    return dict(zip(names, (short(line) for line in out.split("\n"))))


def short(line):
    line = re.sub(r"^void ", "", line)
    depth = 0
    for at, c in enumerate(line):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            line = line[:at]
            break
    line = re.sub(r"\((?:int|bool|unsigned int|unsigned long|gpu_\w+)\)", "", line)
    for long, known in (("__nv_bfloat16", "bf16"), ("__half", "f16"), ("float", "f32")):
        line = line.replace(long, known)
    return line


def may_spill(name):
    return any(re.match(rf"(?:\w+::)*{beginning}\b", name) for beginning in NOT_HOT)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--arch", default="90a")
    args.add_argument("files", nargs="+")
    args = args.parse_args()
    found = {}
    for path in args.files:
        found.update({(path, name): figures for name, figures in read(path, args.arch).items()})
    if not found:
        raise Broken(f"no kernel for sm_{args.arch} in {' '.join(args.files)}")
    names = demangle(sorted({name for _, name in found}))
    bad, width = [], max(len(n) for n in names.values())
    print(f"{'kernel (sm_' + args.arch + ')':{width}}  registers  stack  spill stores  spill loads  shared  file")
    for key in sorted(found, key=lambda k: (k[0], names[k[1]])):
        f, name = found[key], names[key[1]]
        print(f"{name:{width}}  {f['registers']:9}  {f['stack']:5}  {f['stores']:12}  {f['loads']:11}  {f['shared']:6}"
              f"  {f['file'].removesuffix('.ptxas')}")
        if (f["stores"] or f["loads"]) and not may_spill(name):
            bad.append(name)
    most = max(found.values(), key=lambda f: f["registers"])["registers"]
    print(f"{len(found)} kernels, at most {most} registers; shared memory that a launch asks for is beside it (GPU_LAUNCH)")
    for name in bad:
        print(f"cuda_report: {name} spills", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Broken, OSError) as e:
        print(f"cuda_report: {e}", file=sys.stderr)
        sys.exit(2)
