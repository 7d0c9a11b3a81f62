#!/usr/bin/env python3
"""A service whose spawner is killed: no worker can be had any more, so that nothing waits for one: --isolate
says 503, --device worker goes on on this process's CPU.

Usage: python3 tests/http/test_spawner_lost.py [TRINE]"""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import check  # noqa: E402
from test_isolate import MODELS, is_there, kill, labelled, main_pid, parent_of, wait_for  # noqa: E402

BACKOFF = ("--worker-backoff-ms", "1000:3600000")  # eight starts would take two minutes
EMBED = ("/v1/embeddings", {"model": "e", "input": "hello"})


def lose_spawner(s):
    worker = main_pid(s)
    spawner = parent_of(worker)
    check(parent_of(spawner) == s.process.pid, "the spawner is the service's own", spawner)
    kill(spawner)
    check(wait_for(lambda: not is_there(worker)), "its worker ends with it", worker)


def test_isolated(program):
    with served.Started(program, {"e": MODELS["e"]}, "--isolate", *BACKOFF, "--log-level", "off") as s:
        check(s.post(*EMBED).status == 200, "computed")
        lose_spawner(s)
        check(wait_for(lambda: s.get("/health").status == 503), "unavailable, with the first start that fails", s.get("/health"))
        a = s.get("/health")
        check("the spawner has ended" in a.json["reason"] and "started again" in a.json["reason"], "and says why", a)
        a = s.post(*EMBED)
        check(a.status == 503 and a.headers["Retry-After"], "nothing is taken", a)
        check(labelled(s, "worker_losses_total", worker="main", cause="killed") == 1, "the worker's end is told as it was")


def test_beside(program):
    with served.Started(program, {"e": MODELS["e"]}, "--device", "worker", *BACKOFF, "--log-level", "off") as s:
        before = s.post(*EMBED).json["data"]
        lose_spawner(s)
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded", s.get("/health"))
        check(wait_for(lambda: "given up" in s.get("/health").json["reason"]), "and given up", s.get("/health"))
        a = s.post(*EMBED)
        check(a.status == 200 and a.json["data"] == before, "this process's CPU computes", a)


def test_stopped(program):
    """A worker that stands still holds up no end: what it had to unload goes with it."""
    with served.Started(program, MODELS, "--isolate") as s:
        kill(main_pid(s), signal.SIGSTOP)
        s.process.send_signal(signal.SIGINT)
        check(wait_for(lambda: s.process.poll() is not None), "it ends")


def main():
    program = served.start(sys.argv[1:])
    test_isolated(program)
    test_beside(program)
    test_stopped(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
