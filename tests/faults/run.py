#!/usr/bin/env python3
"""Faults of the worker process by seed, under a mixed load whose every answer is known.

    tests/faults/run.py [PROGRAM] [--worker WORKER] [--setup isolate|device|gpu] [--faults 1000] [--seed 1]
                        [--clients 16] [--kinds all] [--rate 0.03]

WORKER is the test worker (build/tests/trine-worker-faults beside PROGRAM): at its message boundaries it ends, kills
itself, hangs, answers wrongly, late, twice or not at all, as its seed says. A fault counts when a healthy worker had
completed a piece of work before it. Held are: each request is answered once, with status 200 and exactly what a
server without faults says; streams are whole; afterwards no descriptor, process, thread, cache block or queued token
is left over, and memory has not grown. With gpu WORKER is trine-gpu with the emulated card (build/tests/trine-gpu-emulated):
each vector is what the device named in x-compute-type gives without faults, each token with its numbers too, and a text
that goes on on the other device is the same text. Closing line: N passed, N failed.
"""
import argparse
import collections
import os
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests/http")]
import load  # noqa: E402
import served  # noqa: E402
from served import check  # noqa: E402
from workers import SETUPS, add_arguments, descendants, labelled, settled  # noqa: E402

FAULT = re.compile(rb"^fault: .*\bkind=(\S+).*\bcounts=1", re.M)


class Process(served.Started):
    """A server whose stderr is kept in a file."""

    def __init__(self, program, options, env):
        self.log = tempfile.TemporaryFile()
        try:
            super().__init__(program, load.MODELS, *options, log=self.log, env=env)
        except RuntimeError as e:
            raise RuntimeError(f"{e}\n{self.said()[-3000:].decode(errors='replace')}") from None

    def said(self):
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0)


def status_of(pid):
    found = {}
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            key, _, value = line.partition(":")
            found[key] = value.strip()
    return found


def descriptors(pid):
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return collections.Counter(re.sub(r"\d+", "N", n) for n in names)


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        return sum("memfd:" in line for line in f)


def state(s):
    pid = s.process.pid
    return {"threads": int(status_of(pid)["Threads"]), "fds": descriptors(pid), "processes": len(descendants(pid)),
            "memfds": mappings(pid)}


def idle(s):
    return tuple(s.metric(name) for name in ("queue_tokens", "kv_blocks_used", "sequences_running", "sequences_waiting"))


def faults_of(s):
    return collections.Counter(k.decode() for k in FAULT.findall(s.said()))


def main():
    p = argparse.ArgumentParser()
    add_arguments(p)
    p.add_argument("--worker")
    p.add_argument("--faults", type=int, default=1000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--clients", type=int, default=16)
    p.add_argument("--kinds", default="all")
    p.add_argument("--rate", type=float, default=0.03)
    p.add_argument("--watchdog-ms", type=int, default=100)
    p.add_argument("--minutes", type=float, default=30, help="when to give up")
    a = p.parse_args()
    program = served.start([a.program])
    gpu = a.setup == "gpu"
    name = "trine-gpu-emulated" if gpu else "trine-worker-faults"
    worker = os.path.abspath(a.worker or os.path.join(os.path.dirname(program), "tests", name))
    pool = load.requests(a.seed)
    with served.Started(program, load.MODELS, *(["--device", "cpu", "--dtype", "f32"] if gpu else [])) as plain:
        answers = load.expected(plain.port, pool)
    kind = load.Load
    if gpu:
        with served.Started(program, load.MODELS, *SETUPS["gpu"], "--worker", worker) as card:
            answers = {"cpu": answers, "emulated": load.expected(card.port, pool)}
        asked = len(pool)
        pool, answers = load.agreeing(pool, answers)
        kind = load.TwoDevices
        check(len(pool) > 0.8 * asked, "texts of the two devices are the same", (len(pool), asked))
    options = SETUPS[a.setup] + ["--worker", worker, "--worker-watchdog-ms", str(int(a.watchdog_ms * max(1, served.slow / 2))),
                                 "--worker-backoff-ms", "10:50", "--worker-sentinel-ms", "0"]
    env = {"TRINE_WORKER_FAULTS": f"seed={a.seed},rate={a.rate},kinds={a.kinds},after=1"}
    began = time.monotonic()
    with Process(program, options, env) as s:
        warm = kind(s.port, pool, answers, clients=a.clients, seed=a.seed)
        time.sleep(2)
        warm.finish()
        settled(lambda: labelled(s, "worker_up", worker="main"), 1)
        before = state(s)
        memory = int(status_of(s.process.pid)["VmRSS"].split()[0])
        first = sum(faults_of(s).values())
        run = kind(s.port, pool, answers, clients=a.clients, seed=a.seed + 1)
        while sum(faults_of(s).values()) - first < a.faults and time.monotonic() - began < a.minutes * 60:
            time.sleep(0.2)
            if len(run.wrong) > 50 or s.process.poll() is not None:
                break
        counted = faults_of(s)
        took = time.monotonic() - began
        run.finish()
        if not check(s.process.poll() is None, "the server lives", s.process.returncode):
            sys.stderr.write(s.said()[-20000:].decode(errors="replace"))
            return served.done()
        check(sum(counted.values()) - first >= a.faults, f"{a.faults} faults in time", sum(counted.values()) - first)
        for kind, what in (warm.wrong + run.wrong)[:10]:
            check(False, f"a request ({kind}) is answered as without faults", what)
        check(run.asked == run.right + len(run.wrong), "each request was answered once", (run.asked, run.right))
        for _ in range(run.right):
            check(True, "")
        check(settled(lambda: labelled(s, "worker_up", worker="main"), 1) == 1, "the worker is up again")
        check(settled(lambda: idle(s), (0, 0, 0, 0)) == (0, 0, 0, 0), "no token queued, no block held, no sequence", idle(s))
        after = settled(lambda: state(s), before, 15)
        check(after["threads"] <= before["threads"], "no thread more", (before["threads"], after["threads"]))
        check(sum(after["fds"].values()) <= sum(before["fds"].values()), "no descriptor more", after["fds"] - before["fds"])
        check(after["processes"] <= before["processes"], "no process more", descendants(s.process.pid))
        check(after["memfds"] <= before["memfds"], "no mapping more", (before["memfds"], after["memfds"]))
        grown = int(status_of(s.process.pid)["VmRSS"].split()[0]) - memory
        check(grown < (24 << 10) * max(1, served.slow), "memory has not grown", f"{grown} KiB")
        pids = descendants(s.process.pid)
        if served.failed:
            sys.stderr.write(s.said()[-6000:].decode(errors="replace"))
        print(f"{a.setup}: {sum(counted.values()) - first} faults that count in {took:.0f} s, "
              f"{run.right} requests right, {len(run.wrong)} wrong; memory {grown:+d} KiB")
        print("  faults: " + ", ".join(f"{k} {n}" for k, n in sorted(counted.items())))
        print("  requests: " + ", ".join(f"{k} {n}" for k, n in sorted(run.kinds.items())))
    gone = settled(lambda: [p for p in pids if os.path.exists(f"/proc/{p}")], [])
    check(not gone, "no process outlives the server", gone)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
