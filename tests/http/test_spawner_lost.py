#!/usr/bin/env python3
"""A service whose spawner is killed: no worker can be had any more, so that nothing waits for one and nobody is
promised one. Where nothing else computes, /livez says 503, and a supervisor starts the service again; --device worker
goes on on this process's CPU.

Usage: python3 tests/http/test_spawner_lost.py [TRINE]"""

import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from load import MODELS  # noqa: E402
from served import check  # noqa: E402
from workers import hang_up, is_there, kill, labelled, main_pid, parent_of, wait_for  # noqa: E402

BACKOFF = ("--worker-backoff-ms", "1000:3600000")  # eight starts would take two minutes
EMBED = ("/v1/embeddings", {"model": "emb", "input": "hello"})


def lose_spawner(s):
    worker = main_pid(s)
    spawner = parent_of(worker)
    check(parent_of(spawner) == s.process.pid, "the spawner is the service's own", spawner)
    kill(spawner)
    check(wait_for(lambda: not is_there(worker)), "its worker ends with it", worker)


def test_alone(program, *options):
    """Nothing else computes: only another start of the service helps, and the liveness probe says so."""
    with tempfile.TemporaryFile() as log, \
            served.Started(program, {"emb": MODELS["emb"]}, *options, *BACKOFF, "--log", "json", log=log) as s:
        check(s.post(*EMBED).status == 200 and s.get("/livez").status == 200, "computed")
        lose_spawner(s)
        check(wait_for(lambda: s.get("/livez").status == 503), "no life, with the first start that fails", s.get("/livez"))
        a = s.get("/livez")
        check(a.json["error"]["code"] == "engine_over" and "started again" in a.json["error"]["message"], "and why", a)
        a = s.get("/health")
        check(a.status == 503 and a.json["status"] == "unavailable", "nor is it ready", a)
        check("for good" in a.json["reason"] and "the spawner has ended" in a.json["reason"] and
              "later" not in a.json["reason"], "another try is not promised", a)
        a = s.post(*EMBED)
        check(a.status == 503 and a.headers["Retry-After"], "nothing is taken", a)
        level, said = hang_up(s, log)
        check(level == "warn" and "for good" in said and "now" not in said, "SIGHUP promises none either", (level, said))
        check(labelled(s, "worker_losses_total", worker="main", cause="killed") == 1, "the worker's end is told as it was")
        time.sleep(1)  # in which a try would be
        check(labelled(s, "worker_losses_total", worker="main", cause="start") == 1, "nothing is tried in vain")
        check(s.get("/livez").status == 503, "nor will it be")


def test_beside(program):
    with served.Started(program, {"emb": MODELS["emb"]}, "--device", "worker", *BACKOFF, "--log-level", "off") as s:
        before = s.post(*EMBED).json["data"]
        lose_spawner(s)
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded", s.get("/health"))
        check(wait_for(lambda: "given up" in s.get("/health").json["reason"]), "and given up", s.get("/health"))
        check("for good" in s.get("/health").json["reason"], "for good", s.get("/health"))
        a = s.post(*EMBED)
        check(a.status == 200 and a.json["data"] == before, "this process's CPU computes", a)
        check(s.get("/livez").status == 200, "so it lives")


def test_stopped(program):
    """A worker that stands still holds up no end: what it had to unload goes with it."""
    with served.Started(program, MODELS, "--isolate") as s:
        kill(main_pid(s), signal.SIGSTOP)
        s.process.send_signal(signal.SIGINT)
        check(wait_for(lambda: s.process.poll() is not None), "it ends")


def main():
    program = served.start(sys.argv[1:])
    test_alone(program, "--isolate")
    test_alone(program, "--device", "worker", "--gpu-fallback", "reject")
    test_beside(program)
    test_stopped(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
