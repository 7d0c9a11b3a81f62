#!/usr/bin/env python3
"""A worker whose numbers are not this process's CPU's when it starts: a service that is to begin with it does not, and
says why; one that runs gives it up after a few starts, and the CPU answers for as long, rightly.

Usage: python3 tests/http/test_worker_canary.py [TRINE]"""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import kill, labelled, main_pid, wait_for  # noqa: E402

MODELS = {"e": "bert-mean-st6", "r": "bert-cross-encoder", "g": "tiny_chat"}
FAULTS = "TRINE_WORKER_FAULTS"  # the canary is the first piece of work of a life
OPTIONS = ("--device", "worker", "--worker-backoff-ms", "1:2", "--log-level", "error")


def injecting(program):
    return os.path.join(os.path.dirname(program), "tests", "trine-worker-faults")


def ask(s):
    return [s.post(path, body).json for path, body in (
        ("/v1/embeddings", {"model": "e", "input": ["hello", "the lazy dog"], "encoding_format": "base64"}),
        ("/v1/rerank", {"model": "r", "query": "a fox", "documents": ["the fox", "the dog"], "raw_scores": True}))]


def meaning(answers):
    return [a and (a.get("data") or a.get("results")) for a in answers]


def test_start(program):
    """Nothing is served with numbers that are not right."""
    args = [program, "serve", "--port", "0", *OPTIONS, "--worker", injecting(program), "--model"]
    for name, options in (("e", []), ("g", ["--warm-fallback"])):
        p = subprocess.Popen([*args, f"{name}={DATA}{MODELS[name]}", *options], cwd=ROOT, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env={**os.environ, FAULTS: "kind=numbers,at=1"})
        out, err = p.communicate(timeout=60 * served.slow)
        said = [x for x in err.splitlines() if not x.startswith("fault: ")]
        check(p.returncode == 1 and out == "", f"{name}: no service", (p.returncode, out))
        check(re.search(rf"the canary of model '{name}' has other numbers", said[-1]), f"{name}: and why", said)
        check(err.count("kind=numbers") == 3, f"{name}: after three starts", err)


def test_later(program):
    """Each later start is wrong: the CPU computes, and health says so."""
    with served.Started(program, MODELS, *OPTIONS, "--worker", injecting(program),
                        env={FAULTS: "kind=numbers,at=1,from=2"}) as s:
        check(s.get("/health").json["status"] == "ready", "the first life is right")
        wanted = meaning(ask(s))
        check(all(wanted), "answers", wanted)
        said = s.post("/v1/completions", {"model": "g", "prompt": "a", "max_tokens": 20, "temperature": 0}).json
        kill(main_pid(s))
        check(wait_for(lambda: "given up" in s.get("/health").json.get("reason", "")), "given up", s.get("/health"))
        a = s.get("/health")
        check(a.status == 200 and a.json["status"] == "degraded" and "canary" in a.json["reason"],
              "degraded, and why", a)
        check(labelled(s, "worker_losses_total", worker="main", cause="numbers") == 8, "after eight starts")
        check(main_pid(s) == 0 and labelled(s, "worker_up", worker="main") == 0, "without a worker")
        check(meaning(ask(s)) == wanted, "the CPU answers, with the same bits")
        again = s.post("/v1/completions", {"model": "g", "prompt": "a", "max_tokens": 20, "temperature": 0}).json
        check(again["choices"] == said["choices"], "what is generated, too", (again, said))
        check(sum(labelled(s, "worker_fallbacks_total", cause=c) for c in ("killed", "numbers")) > 0, "it is counted")


def main():
    program = served.start(sys.argv[1:])
    if not os.access(injecting(program), os.X_OK):
        check(False, f"{injecting(program)} is there (make worker-faults)")
        return served.done()
    test_start(program)
    test_later(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
