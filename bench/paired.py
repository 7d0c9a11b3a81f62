#!/usr/bin/env python3
"""Whether a change has cost speed: two builds of the program in turn, on one machine, in one run.

    bench/paired.py OLD NEW --encoder MODEL --generator MODEL [--rounds 15] [--only NAME ...]

OLD and NEW are programs (a build of the parent commit, and one of the change). Each round measures
both, the first one by turns, so that what the machine does meanwhile falls on both:

  embed       trine embed of log-normal texts, texts a second
  prefill     trine bench generate: tokens a second of a prompt of 512
  decode      the same run's rate of one stream
  streams     the same run's rate of 16 streams
  idle        one 25-token text a request over HTTP, one connection: 1 / p50
  clients     64 keep-alive clients, one text each: requests a second

Printed are the median of the rounds' ratios NEW / OLD (above 1: faster), its quartiles, and the medians
of both. Needs build/bench/http_load of this tree. Loopback only; nothing else should run.
"""
import argparse
import json
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile

os.environ.pop("OPENBLAS_CORETYPE", None)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOAD = f"{ROOT}/build/bench/http_load"


def texts(count, seed=5):
    """Word salad, log-normal in length (median 40 words, at most 200)."""
    rng = random.Random(seed)
    words = ("river stone market engine quiet window paper signal mountain harvest letter winter copper "
             "garden bridge memory shadow kitchen railway language theory ocean machine valley").split()
    for _ in range(count):
        n = min(200, max(4, round(math.exp(rng.gauss(math.log(36), .8)))))
        yield " ".join(rng.choice(words) for _ in range(n))


def embed(program, model, lines, folder):
    e = subprocess.run([program, "embed", "--model", model, "-o", f"{folder}/out.f32", "--format", "f32", lines],
                       capture_output=True, text=True, check=True).stderr
    m = re.search(r"embedded (\d+) texts \(\d+ tokens\) in ([\d.]+) s", e)
    return {"embed": int(m.group(1)) / float(m.group(2))}


def generate(program, model):
    out = subprocess.run([program, "bench", "generate", "--model", model, "--json", "-n", "64"], capture_output=True,
                         text=True, check=True).stdout
    r = json.loads(out)
    return {"prefill": r["prefill_tokens_per_s"], "decode": r["decode_tokens_per_s"],
            "streams": r["streams"]["tokens_per_s"]}


class Server:
    def __init__(self, program, model):
        self.process = subprocess.Popen([program, "serve", "--model", f"m={model}", "--port", "0", "--log-level", "warn"],
                                        stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def load(self, connections, **how):
        args = [LOAD, "--url", self.url + "/v1/embeddings", "--connections", str(connections), "--json"]
        for key, value in how.items():
            args += [f"--{key}", str(value)]
        r = json.loads(subprocess.run(args, capture_output=True, text=True, check=True,
                                      timeout=900).stdout.splitlines()[-1])
        if r["not_200"] or r["failed"]:
            sys.exit(f"{self.url}: {r}")
        return r

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def serving(server, lines, one):
    template = '{"model":"m","encoding_format":"base64","input":%s}'
    return {"idle": 1e3 / server.load(1, requests=600, body=one)["p50_ms"],
            "clients": server.load(64, requests=1500, lines=lines, template=template)["req_per_s"]}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("old")
    p.add_argument("new")
    p.add_argument("--encoder", required=True)
    p.add_argument("--generator", required=True)
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--texts", type=int, default=1500)
    p.add_argument("--only", nargs="*", default=["embed", "generate", "serving"])
    a = p.parse_args()
    folder = tempfile.mkdtemp(prefix="trine-paired-")
    lines, one = f"{folder}/texts.txt", f"{folder}/one.json"
    with open(lines, "w") as f:
        f.writelines(t + "\n" for t in texts(a.texts))
    with open(one, "w") as f:
        json.dump({"model": "m", "encoding_format": "base64",
                   "input": " ".join(next(texts(1, seed)).split()[0] for seed in range(23))}, f)
    programs = {"old": a.old, "new": a.new}
    measures = []
    if "embed" in a.only:
        measures.append(lambda side: embed(programs[side], a.encoder, lines, folder))
    if "generate" in a.only:
        measures.append(lambda side: generate(programs[side], a.generator))
    servers = {}
    if "serving" in a.only:
        servers = {side: Server(program, a.encoder) for side, program in programs.items()}
        measures.append(lambda side: serving(servers[side], lines, one))
    seen = {"old": {}, "new": {}}
    try:
        for measure in measures:
            for i in range(a.rounds + 1):  # the first one warms up
                for side in (("old", "new") if i % 2 else ("new", "old")):
                    for name, value in measure(side).items():
                        if i > 0:
                            seen[side].setdefault(name, []).append(value)
    finally:
        for server in servers.values():
            server.stop()
    print(f"{a.rounds} rounds; NEW / OLD (above 1: faster)")
    for name, old in seen["old"].items():
        new = seen["new"][name]
        ratios = [n / o for n, o in zip(new, old)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:10} {middle:.3f}  (quartiles {low:.3f} to {high:.3f})   old {statistics.median(old):.1f}, "
              f"new {statistics.median(new):.1f}", flush=True)


main()
