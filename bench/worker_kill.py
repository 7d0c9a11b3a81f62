#!/usr/bin/env python3
"""What a worker process that dies again and again costs.

    bench/worker_kill.py [PROGRAM] [--setup isolate|device] [--seconds 60] [--every-ms 200] [--clients 16] [--encoder MODEL]

Kills the worker (kill -9) every --every-ms under a mixed load whose answers are known (tests/http/load.py), and
prints how many requests were lost or wrong, how many a second were answered during it and without it, how many of the
kills hit a worker that had completed a piece of work, and the time from each death to the first answer that came
after it. --encoder has the encodings be of a real model. Loopback only.
"""
import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests/http")]
import load  # noqa: E402
import served  # noqa: E402
from workers import SETUPS, add_arguments, gauges, kill, quantile  # noqa: E402

def main():
    p = argparse.ArgumentParser()
    add_arguments(p)
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--every-ms", type=float, default=200)
    p.add_argument("--clients", type=int, default=16)
    p.add_argument("--encoder")
    a = p.parse_args()
    program = served.start([a.program])
    more = ["--model", f"emb={a.encoder}"] if a.encoder else []
    if a.encoder:
        del load.MODELS["emb"]
    pool = load.requests(3)
    with served.Started(program, load.MODELS, *more) as plain:
        answers = load.expected(plain.port, pool)
    options = SETUPS[a.setup] + ["--worker-backoff-ms", "10:50", "--log-level", "error"]
    with served.Started(program, load.MODELS, *more, *options) as s:
        calm = load.Load(s.port, pool, answers, clients=a.clients, seed=1)
        time.sleep(5)
        calm.finish()
        run = load.Load(s.port, pool, answers, clients=a.clients, seed=2)
        began, kills, of_use, last = time.monotonic(), [], 0, 0
        while time.monotonic() - began < a.seconds:
            g = gauges(s)
            pid = int(g.get("pid", 0))
            if pid and pid != last and g.get("up"):
                if not kill(pid):
                    continue
                kills.append(time.monotonic())
                of_use += g["generation_completed"] > 0
                last = pid
            time.sleep(max(0, kills[-1] + a.every_ms / 1e3 - time.monotonic()) if kills else 0.01)
        seconds = time.monotonic() - began
        run.finish()
    ends = sorted(e for e, _ in run.ends)
    first, at = [], 0
    for death in kills:
        while at < len(ends) and ends[at] <= death:
            at += 1
        if at < len(ends):
            first.append((ends[at] - death) * 1e3)
    times = [t * 1e3 for _, t in run.ends]
    print(f"{a.setup}: {len(kills)} kills in {seconds:.0f} s, {of_use} of a worker that had completed work "
          f"({100 * of_use / max(1, len(kills)):.0f} %)")
    print(f"requests: {run.asked} asked, {run.right} right, {len(run.wrong)} lost or wrong")
    print(f"answers a second: {run.right / seconds:.0f} (without kills {calm.right / 5:.0f})")
    print(f"from a death to the first answer after it: p50 {quantile(first, .5):.1f} ms, p99 {quantile(first, .99):.1f} ms, "
          f"longest {max(first, default=0):.1f} ms")
    print(f"a request: p50 {quantile(times, .5):.1f} ms, p99 {quantile(times, .99):.1f} ms, longest {max(times, default=0):.1f} ms")
    for kind, what in run.wrong[:5]:
        print(f"  {kind}: {what}")
    return 1 if run.wrong or len(calm.wrong) or of_use * 2 < len(kills) or served.failed else 0


sys.exit(main())
