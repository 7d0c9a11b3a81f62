#!/usr/bin/env python3
"""trine-gpu with the emulated GPU: the whole way from a request to the card's kernels and back. In f32 the vectors are
the CPU's to 2e-6 and greedy texts the same; streams at once, one step ahead, are what they are alone; a card
that is lost in the middle of them costs none of them anything.

Usage: python3 tests/http/test_gpu_emulated.py [TRINE]"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import gauges, labelled, wait_for  # noqa: E402

MODELS = {"e": "bert-mean-st6", "r": "bert-cross-encoder", "g": "tiny_chat"}
TEXTS = ["hello", "the lazy dog", "a longer text about nothing"]


def emulated(program):
    return os.path.join(os.path.dirname(program), "tests", "trine-gpu-emulated")


def vectors(s):
    a = s.post("/v1/embeddings", {"model": "e", "input": TEXTS})
    return a.headers["x-compute-type"], [d["embedding"] for d in a.json["data"]]


def text(s, i):
    body = {"model": "g", "prompt": "a b c d e f g"[:1 + 2 * (i % 6)], "max_tokens": 8 + i, "seed": i,
            "temperature": 0 if i % 2 else 0.8, "frequency_penalty": 0.5 if i % 3 == 0 else 0}
    a = s.post("/v1/completions", body)
    return a.headers["x-compute-type"], a.json["choices"] if a.status == 200 else a


def texts(s, n=8):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda i: text(s, i), range(n)))


def near(a, b, most):
    return all(abs(x - y) <= most for p, q in zip(a, b) for x, y in zip(p, q)) and len(a) == len(b)


def test_numbers(program, options):
    with served.Started(program, MODELS, "--device", "cpu", "--dtype", "f32") as s:
        plain, alone = vectors(s)[1], [text(s, i) for i in range(8)]
    with served.Started(program, MODELS, *options, "--dtype", "f32") as s:
        kind, got = vectors(s)
        check(kind == "emulated" and near(got, plain, 2e-6), "vectors in f32", kind)
        one = [text(s, i) for i in range(8)]
        check([t for k, t in one] == [t for k, t in alone], "texts are the CPU's", (one, alone))
        check(texts(s) == one, "and what they are alone, together")
        check(all(k == "emulated" for k, t in one), "on the card", one)
    with served.Started(program, MODELS, *options) as s:
        kind, got = vectors(s)
        check(kind == "emulated" and near(got, plain, 0.03) and not near(got, plain, 1e-5), "vectors in bf16", kind)


def test_lost(program, options):
    """A launch fails in the middle of streams: the process ends, the CPU goes on, and says so."""
    with tempfile.TemporaryFile("w+") as log:
        with served.Started(program, MODELS, *options, "--dtype", "f32", "--worker-backoff-ms", "600000",
                            "--warm-fallback", "--log-level", "info", log=log) as s:
            want = [t for k, t in texts(s)]
        with served.Started(program, MODELS, *options, "--dtype", "f32", "--worker-backoff-ms", "600000",
                            "--warm-fallback", log=log, env={"TRINE_GPU_FAULT": "lost@12000"}) as s:
            kinds = set()
            for _ in range(200):
                got = texts(s)
                kinds |= {k for k, t in got}
                check([t for k, t in got] == want, "texts are the same", got)
                if "cpu" in kinds:
                    break
            check("cpu" in kinds and "emulated" in kinds, "one after the other", kinds)
            check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded")
            check(gauges(s)["up"] == 0 and labelled(s, "worker_losses_total", worker="main", cause="exit") == 1,
                  "one life is lost", gauges(s))
            check(vectors(s)[0] == "cpu", "the CPU computes")
        log.seek(0)
        check("the GPU computes nothing any more" in log.read(), "the program says why")


def test_none(program):
    """No card: the cause, in a line."""
    p = subprocess.run([program, "serve", "--port", "0", "--device", "cuda", "--worker", emulated(program), "--model",
                        f"e={DATA}{MODELS['e']}"], cwd=ROOT, capture_output=True, text=True, timeout=60 * served.slow,
                       env={**os.environ, "TRINE_GPU_COUNT": "0"})
    check(p.returncode == 1 and "no GPU" in p.stderr.splitlines()[-1], "no card", p.stderr)
    p = subprocess.run([program, "serve", "--port", "0", "--device", "cuda:7", "--worker", emulated(program), "--model",
                        f"e={DATA}{MODELS['e']}"], cwd=ROOT, capture_output=True, text=True, timeout=60 * served.slow)
    check(p.returncode == 1 and "there is no GPU 7" in p.stderr.splitlines()[-1], "not that card", p.stderr)


def main():
    program = served.start(sys.argv[1:])
    worker = emulated(program)
    if not os.access(worker, os.X_OK):
        check(False, f"{worker} is there (make worker-faults)")
        return served.done()
    options = ("--device", "cuda", "--worker", worker)
    test_none(program)
    test_numbers(program, options)
    test_lost(program, options)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
