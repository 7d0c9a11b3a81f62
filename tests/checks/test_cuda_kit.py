#!/usr/bin/env python3
"""The kit that proves the GPU's code on a machine with a card (make cuda-kit), with the emulated GPU in its place: it
is put together, is small, carries no symbols, runs from another folder, and its parts tell the truth of what fails,
hangs or says nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tests/http"), os.path.join(ROOT, "tests/cuda_kit")]
import faults  # noqa: E402
import kit  # noqa: E402
from served import check, done  # noqa: E402

MOST = 40 << 20


def size(folder):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files)


def run(folder, part, out, *more):
    p = subprocess.run([os.path.join(folder, "run"), part, "--out", out, *more], capture_output=True, text=True, cwd="/")
    try:
        with open(os.path.join(out, f"{part}.json")) as f:
            return p.returncode, p.stdout, json.load(f)
    except (OSError, ValueError):
        return p.returncode, p.stdout, None


def test_small(folder, out):
    status, said, left = run(folder, "correctness", out, "--small")
    check(status == 0, "correctness", said[-2000:])
    closing = kit.CLOSING.findall(said.splitlines()[-1])
    check(closing and int(closing[0][0]) > 1000 and closing[0][1] == "0", "the last line is the sum", said[-300:])
    check(left and left["passed"] == int(closing[0][0]) and left["failed"] == 0, "the file has the same", left)
    check(left and {"test_gpu_rows", "test_classifiers"} <= {r["what"] for r in left["rows"]}, "a row each", left)


def test_failing(folder, out):
    """gpu-tests that lists three tests, of which one fails, one ends without a word and one is well."""
    path = os.path.join(folder, "build/gpu-tests")
    os.remove(path)
    with open(path, "w") as f:
        f.write("#!/bin/sh\ncase $1 in\n'') echo test_gpu_rows test_gpu_rope test_classifiers ;;\n"
                "test_gpu_rows) echo 'x.c:1: FAILED: this'; echo '3 passed, 1 failed'; exit 1 ;;\n"
                "test_classifiers) echo '5 passed, 0 failed' ;;\nesac\n")
    os.chmod(path, 0o755)
    status, said, left = run(folder, "correctness", out, "--small")
    check(status == 1, "a failure is its exit status", said)
    rows = {r["what"]: (r["passed"], r["failed"]) for r in left["rows"]}
    check(rows.get("test_gpu_rows") == (3, 1) and rows.get("test_gpu_rope") == (0, 1) and
          rows.get("test_classifiers") == (5, 0), "what failed, and what said nothing, is counted", rows)
    check("FAILED: this" in said and "failed: correctness" in said, "and named", said)
    check(said.splitlines()[-1].startswith("8 passed, 2 failed"), "in the sum too", said[-200:])


def test_words():
    check(kit.counted(0, "")[1] == 1 and kit.counted(-11, "7 passed, 0 failed\n")[1] == 1, "silence and a crash are failures")
    check(kit.counted(0, "7 passed, 0 failed, 2 skipped\n")[:3] == (7, 0, 2), "a closing line")
    status, _, seconds = kit.run(["sleep", "60"], 1, dict(os.environ))
    check(status == 124 and seconds < 30, "what hangs is ended", (status, seconds))
    same = faults.Same({"data": [{"embedding": "AACAPw=="}], "choices": {"0": "a"}})
    check(same == {"data": [{"embedding": "AQCAPw=="}], "choices": {"0": "a"}}, "near is the same")
    check(same == {"data": [{"embedding": "AACAPw=="}], "choices": {"0": "b"}} and same.parted == 1, "a parted text is counted")
    check(same != {"data": [{"embedding": "AAAAPw=="}], "choices": {"0": "a"}}, "far is not")
    check(same != {"data": [], "choices": {"0": "a"}} and same != {"data": [{"embedding": "AACAPw=="}]}, "nor another form")


def main():
    made = subprocess.run([os.environ.get("MAKE", "make"), "--no-print-directory", "-s", "GPU=emulated", "CUDA=0", "cuda-kit"],
                          cwd=ROOT, capture_output=True, text=True)
    if not check(made.returncode == 0, "make cuda-kit GPU=emulated", (made.stdout + made.stderr)[-3000:]):
        return done()
    packed = os.path.join(ROOT, "build/cuda-kit-emulated")
    check(size(packed) <= MOST, "at most 40 MiB", size(packed))
    symbols = subprocess.run(["nm", os.path.join(packed, "build/gpu-tests")], capture_output=True, text=True)
    check("no symbols" in symbols.stderr and not symbols.stdout, "without symbols", symbols.stdout[:100])
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(packed, os.path.join(scratch, "kit"))
        test_small(folder, os.path.join(scratch, "out"))
        test_failing(folder, os.path.join(scratch, "failing"))
    test_words()
    return done()


if __name__ == "__main__":
    sys.exit(main())
