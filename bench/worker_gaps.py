#!/usr/bin/env python3
"""What a stream's reader sees when the worker dies in mid-sentence.

    bench/worker_gaps.py [PROGRAM] --generator MODEL [--setup isolate|device] [--times 200] [--tokens 48]

One greedy stream after the other; the worker is killed (kill -9) after a number of tokens that changes from time to
time (0: before the first). Printed are the time to the first token of those that were hit before it, the gap in which
the death fell, the other gaps, and the same of streams that nothing happened to. Every text must be the one that it is
without a death. Loopback only.
"""
import argparse
import http.client
import json
import os
import sys
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests/http")]
import served  # noqa: E402
import workers  # noqa: E402

def stream(s, body, kill_at, pid):
    """The text, and when each piece of it came, from the request on; kills when so many have come."""
    c = http.client.HTTPConnection(s.host, s.port, timeout=120)
    began = time.monotonic()
    c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    if kill_at == 0:
        time.sleep(0.004)
        workers.kill(pid)
    r = c.getresponse()
    text, times = "", []
    while (line := r.readline()):
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise RuntimeError(chunk)
        piece = "".join(x["text"] for x in chunk["choices"])
        if piece:
            text += piece
            times.append(time.monotonic() - began)
            if kill_at and len(times) == kill_at:
                workers.kill(pid)
    c.close()
    return text, times


def told(name, times):
    if times:
        v = [x * 1e3 for x in times]
        print(f"  {name:44} p50 {workers.quantile(v, .5):8.1f} ms   p90 {workers.quantile(v, .9):8.1f}   p99 {workers.quantile(v, .99):8.1f}   "
              f"longest {max(v):8.1f}   ({len(v)})")


def main():
    p = argparse.ArgumentParser()
    workers.add_arguments(p)
    p.add_argument("--generator", required=True)
    p.add_argument("--times", type=int, default=200)
    p.add_argument("--tokens", type=int, default=48)
    a = p.parse_args()
    program = served.start([a.program])
    body = {"prompt": "The quiet harbour was full of small boats, and the old keeper of the light began to tell how",
            "temperature": 0, "max_tokens": a.tokens, "ignore_eos": True, "stream": True}
    options = workers.SETUPS[a.setup] + ["--worker-backoff-ms", "10:50", "--log-level", "error", "--model", f"g={a.generator}",
                                 "--no-speculation"]
    first, hit, others, calm_first, calm, wrong = [], [], [], [], [], 0
    with served.Started(program, {}, *options) as s:
        want, _ = stream(s, body, None, 0)
        for i in range(a.times):
            text, times = stream(s, body, None, 0) if i < 20 else (want, [])
            if times:
                calm_first.append(times[0])
                calm += [b - c for b, c in zip(times[1:], times)]
            wrong += text != want
            while not workers.gauges(s).get("up"):
                time.sleep(0.005)
            kill_at = i * 7 % (a.tokens * 3 // 4)
            text, times = stream(s, body, kill_at, workers.main_pid(s))
            wrong += text != want
            gaps = [b - c for b, c in zip(times[1:], times)]
            if kill_at == 0:
                first.append(times[0])
                others += gaps
            else: # the worker may have answered one more step before it died
                worst = max(range(kill_at - 1, min(len(gaps), kill_at + 2)), key=lambda k: gaps[k])
                hit.append(gaps[worst])
                others += gaps[:worst] + gaps[worst + 1:]
    print(f"{a.setup}: {a.times} streams of {a.tokens} tokens, the worker killed in each; {wrong} texts differ")
    told("first token, killed before it", first)
    told("the gap in which it was killed", hit)
    told("the other gaps of these streams", others)
    told("first token, undisturbed", calm_first)
    told("a gap, undisturbed", calm)
    return 1 if wrong or served.failed else 0


sys.exit(main())
