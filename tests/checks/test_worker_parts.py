#!/usr/bin/env python3
"""What is in the worker's program, by its symbols and its libraries: what computes, and nothing that
knows a text or a client. Reads build/trine-worker with nm and readelf; the rooms that must not be
there are known by the symbols of their objects.

Usage: test_worker_parts.py [FOLDER, build where nothing is said]"""
import glob
import os
import re
import subprocess
import sys

FORBIDDEN_ROOMS = ["tokenizer", "template", "grammar", "service", "service/http", "service/api",
                   "service/api/generate", "hub", "cli", "cli/bench"]
# of engine/ what knows texts, requests and queues
FORBIDDEN_FILES = ["engine/engine", "engine/scheduler", "engine/generator", "engine/model", "engine/prompt",
                   "engine/masks", "engine/registry", "engine/replica_worker", "base/digest"]
LIBRARIES = {"libc.so.6", "libm.so.6", "libcjson.so.1", "libxxhash.so.0", "ld-linux-x86-64.so.2",
             "ld-linux-aarch64.so.1", "libpthread.so.0", "libdl.so.2"}

passed, failed = 0, []


def check(ok, what):
    global passed
    if ok:
        passed += 1
    else:
        failed.append(what)
        print(f"FAILED: {what}", file=sys.stderr)


def defined(path):
    """The names that an object or a program defines for others to see."""
    out = subprocess.run(["nm", "--defined-only", "--extern-only", path], capture_output=True, text=True,
                         check=True).stdout
    return set(re.findall(r"^[0-9a-f]+ [A-TV-Z] (\S+)$", out, re.M))


def main(folder):
    program = os.path.join(folder, "trine-worker")
    own = defined(program)
    check({"main", "worker_main", "sandbox_close", "replica_local_drive", "wire_read_encode"} <= own,
          f"{program}: its own parts are not found by nm")
    objects = [o for room in FORBIDDEN_ROOMS for o in glob.glob(os.path.join(folder, room, "*.o"))]
    objects += [os.path.join(folder, f + ".o") for f in FORBIDDEN_FILES]
    check(len(objects) > 60, f"only {len(objects)} objects of other rooms in {folder}: make all first")
    seen = 0
    for o in sorted(objects):
        if not os.path.exists(o):
            continue
        names = defined(o) - {"main"}
        seen += len(names)
        check(not names & own, f"{program} has {sorted(names & own)[:3]} of {o}")
    check(seen > 300, f"only {seen} names of other rooms: is nm's output another?")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.run(
        ["readelf", "-d", program], capture_output=True, text=True, check=True).stdout))
    check(needed and needed <= LIBRARIES, f"{program} needs {sorted(needed - LIBRARIES)}")
    # the same of trine itself, so that this check is seen to find what is there
    other = defined(os.path.join(folder, "trine"))
    check("tokenizer_load" in other and "tokenizer_load" not in own, "the tokenizer is not found in trine")
    check("sandbox_close" not in other, "trine has the worker's sandbox in it")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else
                  os.path.join(os.path.dirname(__file__), "../..", "build")))
