#!/usr/bin/env python3
"""What the service promises under load, measured on one machine in one run.

    bench/serving.py MODEL [--trine PROGRAM] [--load PROGRAM] [--clients 64] [--texts 6000]

  ready       process start to "listening on", median of 7 (warm disk)
  idle        one 25-token text a request, one connection: p50, against `trine bench encode` batch 1
  clients     64 keep-alive clients, one text each (log-normal mix), against `trine embed` on the same texts
  urgent      the 25-token text while two clients send 256-text requests without pause
  memory      RSS after 10,000 mixed requests, against the bound; and again after 10,000 more

Needs build/bench/http_load and the standard library only. Loopback only.
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
import threading
import time
import urllib.request

os.environ.setdefault("TRINE_DRAIN_DELAY_S", "0")  # nobody waits for a load balancer

os.environ.pop("OPENBLAS_CORETYPE", None)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Server:
    def __init__(self, trine, model, *more):
        started = time.perf_counter()
        self.process = subprocess.Popen([trine, "serve", "--model", model, "--port", "0", "--log-level", "warn", *more],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.ready_ms = (time.perf_counter() - started) * 1e3
        self.url = line.split()[-1]

    def rss_mib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024

    def metric(self, name):
        text = urllib.request.urlopen(self.url + "/metrics", timeout=10).read().decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def load(program, url, connections, **how):
    args = [program, "--url", url + "/v1/embeddings", "--connections", str(connections), "--json"]
    for key, value in how.items():
        args += [f"--{key}", str(value)]
    out = subprocess.run(args, capture_output=True, text=True, check=True, timeout=900).stdout
    return json.loads(out.splitlines()[-1])


def body(folder, name, texts, model):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        json.dump({"model": model, "input": texts, "encoding_format": "base64"}, f)
    return path


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--trine", default=f"{ROOT}/build/trine")
    p.add_argument("--load", default=f"{ROOT}/build/bench/http_load")
    p.add_argument("--clients", type=int, default=64)
    p.add_argument("--texts", type=int, default=6000)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    folder = tempfile.mkdtemp(prefix="trine-serving-")
    rng = random.Random(5)
    with open(os.path.join(a.model, "tokenizer.json"), encoding="utf-8") as f:
        words = [w for w in json.load(f)["model"]["vocab"] if w.isalpha() and w.isascii() and len(w) > 2]

    def text(tokens):
        return " ".join(rng.choice(words) for _ in range(tokens - 2))

    # ready
    times = []
    for _ in range(7):
        s = Server(a.trine, a.model)
        times.append(s.ready_ms)
        s.stop()
    print(f"ready       median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms", flush=True)

    # idle, A-B-A with the bench
    one = body(folder, "one.json", text(25), "m")
    idle, alone = [], []
    for _ in range(a.rounds):
        s = Server(a.trine, f"m={a.model}")
        load(a.load, s.url, 1, requests=200, body=one)
        r = load(a.load, s.url, 1, requests=2000, body=one)
        idle.append(r)
        s.stop()
        b = subprocess.run([a.trine, "bench", "encode", "--model", a.model, "--texts", "64", "--json"],
                           capture_output=True, text=True, check=True).stdout
        alone.append(json.loads(b)["latency"]["p50_ms"])
    p50 = statistics.median(r["p50_ms"] for r in idle)
    p99 = statistics.median(r["p99_ms"] for r in idle)
    cpu = statistics.median(r["client_cpu_percent"] for r in idle)
    base = statistics.median(alone)
    print(f"idle        p50 {p50:.3f} ms, p99 {p99:.3f} ms; bench encode batch 1 p50 {base:.3f} ms: "
          f"+{(p50 - base) * 1e3:.0f} us (load generator's CPU {cpu:.0f} %)", flush=True)

    # many clients against bulk on the same texts
    lengths = [min(256, max(4, round(math.exp(rng.gauss(math.log(40), .8))))) for _ in range(a.texts)]
    texts = [text(n) for n in lengths]
    lines = os.path.join(folder, "texts.txt")
    with open(lines, "w") as f:
        f.write("\n".join(texts) + "\n")
    template = '{"model":"m","encoding_format":"base64","input":%s}'
    ratios, latencies = [], []
    for _ in range(a.rounds):
        def bulk():
            e = subprocess.run([a.trine, "embed", "--model", a.model, "-o", f"{folder}/out.f32", "--format", "f32",
                                lines], capture_output=True, text=True, check=True).stderr
            m = re.search(r"embedded (\d+) texts \(\d+ tokens\) in ([\d.]+) s", e)
            return int(m.group(1)) / float(m.group(2))
        before = bulk()
        s = Server(a.trine, f"m={a.model}")
        load(a.load, s.url, a.clients, requests=500, lines=lines, template=template)
        r = load(a.load, s.url, a.clients, requests=a.texts, lines=lines, template=template)
        s.stop()
        after = bulk()
        rate = r["req_per_s"]
        ratios.append(rate / ((before + after) / 2))
        latencies.append(r)
        if r["not_200"] or r["failed"]:
            print("clients     ERRORS", r)
    m = sorted(latencies, key=lambda r: r["p50_ms"])[len(latencies) // 2]
    print(f"clients     {a.clients} clients: {m['req_per_s']:.0f} req/s = {statistics.median(ratios):.3f}x of embed; "
          f"p50 {m['p50_ms']:.1f} ms, p99 {m['p99_ms']:.1f} ms, errors {sum(r['not_200'] + r['failed'] for r in latencies)}",
          flush=True)

    # urgent work beside bulk
    bulk_body = body(folder, "bulk.json", [text(min(200, n)) for n in lengths[:256]], "m")
    s = Server(a.trine, f"m={a.model}")
    load(a.load, s.url, 1, requests=200, body=one)
    quiet = load(a.load, s.url, 1, requests=1000, body=one)
    results = {}
    t = threading.Thread(target=lambda: results.update(bulk=load(a.load, s.url, 2, seconds=25, body=bulk_body)))
    t.start()
    time.sleep(2)
    busy = load(a.load, s.url, 1, seconds=18, body=one)
    t.join()
    bar = max(3 * quiet["p99_ms"], quiet["p99_ms"] + 10)
    print(f"urgent      alone p50 {quiet['p50_ms']:.2f} p99 {quiet['p99_ms']:.2f} ms; beside bulk p50 "
          f"{busy['p50_ms']:.2f} p99 {busy['p99_ms']:.2f} ms (bar {bar:.2f}); bulk meanwhile "
          f"{results['bulk']['req_per_s'] * 256:.0f} texts/s; yields {s.metric('trine_yields_total'):.0f}", flush=True)
    s.stop()

    # memory
    s = Server(a.trine, f"m={a.model}")
    workspace = s.metric("trine_workspace_bytes") / 2**20
    weights = sum(os.path.getsize(os.path.join(a.model, f)) for f in os.listdir(a.model)
                  if f.endswith(".safetensors")) / 2**20
    seen = [s.rss_mib()]
    for _ in range(2):
        load(a.load, s.url, 32, requests=9900, lines=lines, template=template)
        load(a.load, s.url, 4, requests=100, body=bulk_body)
        seen.append(s.rss_mib())
    print(f"memory      RSS {seen[0]:.0f} MiB at start, {seen[1]:.0f} after 10,000 requests, {seen[2]:.0f} after 20,000; "
          f"bound {weights + 64 + workspace:.0f} (weights {weights:.0f} + 64 + workspace {workspace:.0f})")
    s.stop()


main()
