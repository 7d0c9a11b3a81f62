#!/usr/bin/env python3
"""Generation against llama.cpp on the same GGUF file, trine - peer - trine in one run.

    bench/compare_generate.py MODEL.gguf --llama DIR [--trine PROGRAM] [--streams 16] [--repeats 3]

  prefill   a prompt of 512 tokens: trine bench generate, llama-bench -p 512
  decode    128 tokens behind it, one stream: the same, llama-bench -n 128 -d 512
  streams   tokens a second of all streams: trine bench generate --streams N; llama-server -np N with
            N clients of /completion (64-token prompts, 128 tokens each)

--llama is the folder of llama.cpp's programs (its source comes in PyPI's llama-cpp-python; cmake
builds llama-bench and llama-server). 2 threads, speculation off. Prints rates, ratios, and trine's
share of the read bandwidth probed in the run.
"""
import argparse
import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

os.environ.setdefault("TRINE_DRAIN_DELAY_S", "0")  # nobody waits for a load balancer

os.environ.pop("OPENBLAS_CORETYPE", None)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def trine_bench(a, streams):
    out = subprocess.run([a.trine, "bench", "generate", "--model", a.model, "--threads", str(a.threads), "--streams",
                          str(streams), "--json"], capture_output=True, text=True, check=True, timeout=600)
    return json.loads(out.stdout)


def llama_bench(a):
    def rate(*what):
        out = subprocess.run([os.path.join(a.llama, "llama-bench"), "-m", a.model, "-t", str(a.threads), "-r",
                              str(a.repeats), "-o", "json", *what], capture_output=True, text=True, check=True,
                             timeout=900)
        return json.loads(out.stdout)[0]["avg_ts"]

    return rate("-p", "512", "-n", "0"), rate("-p", "0", "-n", "128", "-d", "512")


def llama_streams(a, streams):
    port = random.randint(20000, 40000)
    server = subprocess.Popen([os.path.join(a.llama, "llama-server"), "-m", a.model, "-t", str(a.threads), "--host",
                               "127.0.0.1", "--port", str(port), "-np", str(streams), "-c", str(512 * streams)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                c.request("GET", "/health")
                if c.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        return http_streams(port, streams, "/completion",
                            lambda ids: {"prompt": ids, "n_predict": 128, "ignore_eos": True, "temperature": 0,
                                         "cache_prompt": False})
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def http_streams(port, streams, path, body):
    done = []

    def one(i):
        r = random.Random(i)
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
        c.request("POST", path, json.dumps(body([r.randrange(1000, 40000) for _ in range(64)])),
                  {"Content-Type": "application/json"})
        answer = c.getresponse()
        answer.read()
        done.append(answer.status)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(streams)]
    start = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took = time.perf_counter() - start
    if done != [200] * streams:
        sys.exit(f"answers: {done}")
    return 128 * streams / took


def trine_streams(a, streams):
    server = subprocess.Popen([a.trine, "serve", "--model", a.model, "--threads", str(a.threads), "--port", "0",
                               "--no-speculation", "--log-level", "error"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().split(":")[-1])
        for _ in range(600):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            c.request("GET", "/readyz")
            if c.getresponse().status == 200:
                break
            time.sleep(0.1)
        return http_streams(port, streams, "/v1/completions",
                            lambda ids: {"prompt": ids, "max_tokens": 128, "ignore_eos": True, "temperature": 0})
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--llama", required=True)
    p.add_argument("--trine", default=os.path.join(ROOT, "build/trine"))
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--streams", type=int, default=16)
    p.add_argument("--repeats", type=int, default=3)
    a = p.parse_args()
    print(subprocess.run([a.trine, "--version"], capture_output=True, text=True).stdout.strip())
    ours = [trine_bench(a, 1)]
    peer_prefill, peer_decode = llama_bench(a)
    ours.append(trine_bench(a, 1))
    middle = lambda key: statistics.median(o[key] for o in ours)
    for name, key, peer in (("prefill 512", "prefill_tokens_per_s", peer_prefill),
                            ("decode", "decode_tokens_per_s", peer_decode)):
        print(f"  {name:12} trine {' / '.join('%.1f' % o[key] for o in ours)}  llama.cpp {peer:.1f} tokens/s  "
              f"{middle(key) / peer:.2f}x")
    print(f"  decode reads {middle('decode_read_gb_per_s'):.1f} GB/s, {100 * middle('decode_read_share'):.0f} % of the "
          f"probed {middle('probed_read_gb_per_s'):.1f}")
    before = trine_streams(a, a.streams)
    peer = llama_streams(a, a.streams)
    after = trine_streams(a, a.streams)
    print(f"  {a.streams} streams   trine {before:.1f} / {after:.1f}  llama-server {peer:.1f} tokens/s in all (HTTP, prompts "
          f"included)  {statistics.median([before, after]) / peer:.2f}x")


if __name__ == "__main__":
    main()
