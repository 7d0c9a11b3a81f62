#!/usr/bin/env python3
"""--dtype: how an encoder's weights are kept, by the command line and by what the server says.

    tests/http/test_dtype.py [PROGRAM]      starts PROGRAM (default: build/trine) with tiny models
"""

import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

TEXTS = ["the cat sat on the mat", "a dog", "one two three"]
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "build/trine"
MODELS = {"half": "bert-last-f16", "brain": "bert-bf16-sharded", "whole": "bert-mean-st6"}
KEPT = {"half": "float16", "brain": "bfloat16", "whole": "float32"}


def vectors(s, name):
    r = s.post("/v1/embeddings", {"input": TEXTS, "model": name})
    check(r.status == 200, f"vectors of {name}", r)
    return [e["embedding"] for e in r.json["data"]]


def near(a, b):
    return all(abs(x - y) <= 2e-6 for v, w in zip(a, b) for x, y in zip(v, w))


def embed(folder, *args):
    return subprocess.run([PROGRAM, "embed", "--quiet", "--model", os.path.join(ROOT, DATA, folder), *args],
                          input="\n".join(TEXTS).encode(), capture_output=True, cwd=ROOT, timeout=60)


def main():
    with Started(PROGRAM, MODELS) as s:
        default = {name: vectors(s, name) for name in MODELS}
        for name in MODELS:
            check(s.get("/v1/models/" + name).json["dtype"] == "float32", f"{name} is widened by default")
    for dtype in ("stored", "f32"):
        with Started(PROGRAM, MODELS, "--dtype", dtype) as s:
            for name, kept in KEPT.items():
                told = s.get("/v1/models/" + name).json["dtype"]
                check(told == (kept if dtype == "stored" else "float32"), f"{name} with {dtype}", told)
                got = vectors(s, name)
                check(near(got, default[name]), f"vectors of {name} with {dtype}")
                check(dtype == "stored" or got == default[name], f"{name}: f32 is the default's very bits")
    for folder in ("bert-last-f16", "bert-bf16-sharded"):
        a, b = embed(folder), embed(folder, "--dtype", "stored")
        check(a.returncode == b.returncode == 0, f"embed {folder}", b.stderr)
        rows = [[json.loads(line) for line in p.stdout.splitlines()] for p in (a, b)]
        rows = [[r["embedding"] if isinstance(r, dict) else r for r in side] for side in rows]
        check(len(rows[0]) == len(TEXTS) and near(*rows), f"trine embed {folder} --dtype stored")
    p = embed("bert-mean-st6", "--dtype", "int8")
    check(p.returncode == 2 and b"other precisions are not in this version" in p.stderr, "another", p.stderr)


if __name__ == "__main__":
    main()
    sys.exit(served.done())
