#!/usr/bin/env python3
"""Where models are computed (--device auto|cpu|cuda): with a card that is made up (tests/worker/made_up.c), with none, with
one that has no driver, too little memory or wrong numbers. What is started says by what it computes; what cannot be
had ends the start with `cuda`, and is one line of the log with `auto`.

Usage: python3 tests/http/test_gpu_placement.py [TRINE]"""

import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import kill, main_pid, wait_for  # noqa: E402

MODELS = {"e": "bert-mean-st6", "g": "tiny_chat"}


def beside(program, name):
    return os.path.join(os.path.dirname(program), "tests", name)


def embed(s):
    return s.post("/v1/embeddings", {"model": "e", "input": ["hello", "the lazy dog"], "encoding_format": "base64"})


def generate(s, **more):
    return s.post("/v1/completions", {"model": "g", "prompt": "a", "max_tokens": 12, "temperature": 0, **more})


class Logged(served.Started):
    """A server whose log is read."""

    def __init__(self, program, models, *options, **more):
        self.file = tempfile.TemporaryFile("w+")
        super().__init__(program, models, *options, "--log-level", "info", log=self.file, **more)

    def log(self):
        self.file.seek(0)
        return self.file.read()


def refused(program, *options, models=MODELS):
    """serve does not start: its status and what it says."""
    args = [program, "serve", "--port", "0", *options]
    for name, folder in models.items():
        args += ["--model", f"{name}={DATA}{folder}"]
    p = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, timeout=60 * served.slow)
    return p.returncode, p.stdout, p.stderr


def test_card(program, worker):
    with served.Started(program, MODELS, "--device", "cpu") as s:
        plain = embed(s), generate(s)
        check(all(a.headers["x-compute-type"] == "cpu" for a in plain), "the CPU is named")
    with Logged(program, MODELS, "--device", "cuda", "--worker", worker, "--gpu-memory", "0.5",
                        "--worker-backoff-ms", "600000") as s:
        one, two = embed(s), generate(s)
        check([a.headers["x-compute-type"] for a in (one, two)] == ["made-up", "made-up"], "the card is named",
              (one.headers, two.headers))
        check(one.json["data"] == plain[0].json["data"] and two.json["choices"] == plain[1].json["choices"],
              "and computes the same")
        info = s.get("/info").json
        check(info["max_batch_tokens"] == 2048, "batches as it likes them", info)
        check("made-up card, 32 MiB" in s.log(), "the log says by what", s.log())
        check(s.get("/health").json["status"] == "ready", "it is well")
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "it is gone")
        one, two = embed(s), generate(s)
        check([a.headers["x-compute-type"] for a in (one, two)] == ["cpu", "cpu"], "the CPU has what it had",
              (one.headers, two.headers))
        check(one.json["data"] == plain[0].json["data"] and two.json["choices"] == plain[1].json["choices"],
              "the same again")


def test_check(program, worker):
    """--check tells the card's memory, all of which the caches take, apart from the machine's."""
    p = subprocess.run([program, "serve", "--check", "--device", "cuda", "--worker", worker, "--gpu-memory", "0.25",
                        "--max-sequences", "4096", "--model", f"g={DATA}tiny_chat"], cwd=ROOT, capture_output=True,
                       text=True, timeout=60 * served.slow)
    gpu = [x for x in p.stdout.splitlines() if x.startswith("GPU memory")]
    check(p.returncode == 0 and len(gpu) == 1, "the card's memory", (p.stdout, p.stderr))
    n = [float(x) for x in re.findall(r"[\d.]+(?= (?:MiB|for|kept))", gpu[0] if gpu else "")]
    check(len(n) == 6 and n[5] == 16.0 and n[3] > 0.5 and 15.5 < n[0] <= 16.0, "caches take what is left", gpu)
    check("(the GPU's memory (--gpu-memory))" in gpu[0], "and whose word that is", gpu)


def test_none(program, worker):
    """No driver: cuda ends the start with the cause, auto says it in a line and goes on."""
    code, out, err = refused(program, "--device", "cuda:1", "--worker", worker)
    check(code == 1 and out == "" and "--device cuda: no driver is there for the made-up card" in err.splitlines()[-1],
          "cuda without a driver", (code, out, err))
    code, out, err = refused(program, "--device", "cuda", "--worker", "/nowhere/trine-gpu")
    check(code == 1 and "/nowhere/trine-gpu: cannot be executed" in err, "cuda without its program", err)
    script = os.path.join(os.path.dirname(worker), "card-without-driver")
    with open(script, "w") as f:  # auto has no way to say which card
        f.write(f'#!/bin/sh\nexec {worker} "$@" device=1\n')
    os.chmod(script, 0o755)
    try:
        with Logged(program, MODELS, "--device", "auto", "--worker", script) as s:
            check(embed(s).headers["x-compute-type"] == generate(s).headers["x-compute-type"] == "cpu", "the CPU computes")
            log = [x for x in s.log().splitlines() if " warn " in x and "sanitizer" not in x]
            check(len(log) == 1 and "no GPU is used, this process's CPU computes: no driver is there" in log[0],
                  "one warning", log)
            check(s.get("/health").json["status"] == "ready", "that is well")
    finally:
        os.unlink(script)


def test_memory(program, worker):
    """A card without room for a model, or for its cache."""
    for card, words in (("2", r"its weights take \d+ MiB of memory"), ("3", "no memory for a cache")):
        code, out, err = refused(program, "--device", f"cuda:{card}", "--worker", worker)
        said = err.splitlines()[-1]
        check(code == 1 and out == "" and re.search(words, said), f"card {card} with cuda", (code, err))
        script = os.path.join(os.path.dirname(worker), f"card-{card}")
        with open(script, "w") as f:
            f.write(f'#!/bin/sh\nexec {worker} "$@" device={card}\n')
        os.chmod(script, 0o755)
        try:
            with Logged(program, MODELS, "--device", "auto", "--worker", script) as s:
                check(embed(s).headers["x-compute-type"] == generate(s).headers["x-compute-type"] == "cpu",
                      f"card {card}: the CPU computes all")
                left = [x for x in s.log().splitlines() if "the GPU is not used" in x]
                check(len(left) == 1 and re.search(words, left[0]), f"card {card}: one line says why", s.log())
                h = s.get("/health")
                check(h.status == 200 and h.json["status"] == "degraded" and re.search(words, h.json["reason"]),
                      f"card {card}: health says so", h)
        finally:
            os.unlink(script)


def test_canary(program):
    """Wrong numbers from the first start on: cuda ends it, auto has the CPU."""
    env = {"TRINE_WORKER_FAULTS": "kind=numbers,at=1"}
    options = ("--worker", beside(program, "trine-worker-faults"), "--worker-backoff-ms", "1:2")
    p = subprocess.run([program, "serve", "--port", "0", "--device", "cuda", *options, "--model",
                        f"e={DATA}{MODELS['e']}"], cwd=ROOT, capture_output=True, text=True,
                       timeout=60 * served.slow, env={**os.environ, **env})
    check(p.returncode == 1 and "the canary of model 'e' has other numbers" in p.stderr.splitlines()[-1], "cuda", p.stderr)
    with Logged(program, MODELS, "--device", "auto", *options, env=env) as s:
        check(embed(s).headers["x-compute-type"] == generate(s).headers["x-compute-type"] == "cpu", "the CPU computes")
        h = s.get("/health")
        check(h.status == 200 and h.json["status"] == "degraded" and "canary" in h.json["reason"], "health", h)
        check(main_pid(s) in (0, None), "without a worker")


def main():
    program = served.start(sys.argv[1:])
    worker = beside(program, "trine-made-up")
    if not os.access(worker, os.X_OK):
        check(False, f"{worker} is there (make worker-faults)")
        return served.done()
    test_card(program, worker)
    test_check(program, worker)
    test_none(program, worker)
    test_memory(program, worker)
    test_canary(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
