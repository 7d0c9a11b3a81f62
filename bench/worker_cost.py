#!/usr/bin/env python3
"""What it costs to compute in another process: `trine serve` with and without --isolate, in turn, in one run.

    bench/worker_cost.py [PROGRAM] --encoder MODEL --generator MODEL [--rounds 15] [--setup isolate|device]

Each round measures both, the first one by turns: bulk (one client that sends requests of 256 texts without end), the
p50 of one 25-token text a request on one connection, and 16 streams' tokens a second. Printed are medians of the rounds
and of their ratios, the difference of the p50s in microseconds, and whether all answers had the same bits. Needs
build/bench/http_load. Loopback only; nothing else should run.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests/http")]
import served  # noqa: E402
from workers import SETUPS, add_arguments  # noqa: E402

WORDS = ("river stone market engine quiet window paper signal mountain harvest letter winter copper garden bridge "
         "memory shadow kitchen railway language theory ocean machine valley").split()


def bulk(s, bodies):
    began, tokens, digest = time.monotonic(), 0, hashlib.sha256()
    for body in bodies:
        a = s.post("/v1/embeddings", body)
        tokens += a.json["usage"]["total_tokens"]
        digest.update(json.dumps(a.json["data"]).encode())
    return tokens / (time.monotonic() - began), digest.hexdigest()


def idle(s, file):
    out = subprocess.run([f"{ROOT}/build/bench/http_load", "--url", f"http://127.0.0.1:{s.port}/v1/embeddings", "--connections", "1",
                          "--requests", "600", "--body", file, "--json"], capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])["p50_ms"]


def streams(s, tokens=64):
    def one(i):
        a = s.post("/v1/completions", {"model": "g", "prompt": f"The {WORDS[i]} of the {WORDS[-i]} was", "temperature": 0,
                                       "max_tokens": tokens, "ignore_eos": True})
        return a.json["choices"][0]["text"]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(one, range(16)))
    return 16 * tokens / (time.monotonic() - began), hashlib.sha256("\0".join(texts).encode()).hexdigest()


def main():
    p = argparse.ArgumentParser()
    add_arguments(p)
    p.add_argument("--encoder", required=True)
    p.add_argument("--generator", required=True)
    p.add_argument("--rounds", type=int, default=15)
    a = p.parse_args()
    program, rng = served.start([a.program]), random.Random(4)
    bodies = [{"model": "e", "encoding_format": "base64", "truncate": True,
               "input": [" ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 80))) for _ in range(256)]} for _ in range(4)]
    file = os.path.join(ROOT, "build/worker_cost.json")
    with open(file, "w") as f:
        json.dump({"model": "e", "encoding_format": "base64", "input": " ".join(WORDS[:23])}, f)
    models = ["--model", f"e={a.encoder}", "--model", f"g={a.generator}", "--no-speculation"]
    seen, bits = {}, {"plain": set(), "other": set()}
    with served.Started(program, {}, *models) as plain, served.Started(program, {}, *models, *SETUPS[a.setup]) as other:
        sides = {"plain": plain, "other": other}
        for i in range(a.rounds + 1):
            for side in (("plain", "other") if i % 2 else ("other", "plain")):
                rate, one = bulk(sides[side], bodies)
                decode, two = streams(sides[side])
                bits[side].add((one, two))
                if i:
                    for name, value in (("bulk tokens/s", rate), ("one text p50 ms", idle(sides[side], file)),
                                        ("16 streams tokens/s", decode)):
                        seen.setdefault(name, {"plain": [], "other": []})[side].append(value)
    print(f"{a.rounds} rounds; {a.setup} / plain")
    for name, v in seen.items():
        ratios = [o / x for o, x in zip(v["other"], v["plain"])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {name:22} {middle:.3f}  (quartiles {low:.3f} to {high:.3f})   plain {statistics.median(v['plain']):.3f}, "
              f"{a.setup} {statistics.median(v['other']):.3f}")
    v = seen["one text p50 ms"]
    more = [1e3 * (o - x) for o, x in zip(v["other"], v["plain"])]
    print(f"  one text: {statistics.median(more):+.0f} us at p50")
    same = bits["plain"] == bits["other"] and len(bits["plain"]) == 1
    print("  the same bits" if same else f"  NOT the same bits: {bits}")
    return 0 if same else 1


sys.exit(main())
