#!/usr/bin/env python3
"""Models in a worker process (--isolate, --device worker): the same bits as without, at rest and while workers are
killed; what health, metrics and the log say of it; nothing is left of a service that ends, in whatever way.

Usage: python3 tests/http/test_isolate.py [TRINE]"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import load  # noqa: E402
import served  # noqa: E402
from load import MODELS  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import is_there, kill, labelled, main_pid, parent_of, wait_for  # noqa: E402

CAUSES = ("exit", "killed", "hang", "numbers", "protocol", "memory", "start")
TUNING = ("--worker-backoff-ms", "20:100")


def compare(s, pool, answers, what):
    for (kind, path, body), want in zip(pool, answers):
        a = s.post(path, body)
        try:
            got = load.essence(body, a.status, a.body)
        except load.Broken as e:
            got = e
        check(got == want, f"{what}: {kind} as without", (body, load.difference(got, want)))


def test_rest(s, pool, answers):
    check(s.get("/health").json == {"status": "ready", "device": "cpu"}, "ready", s.get("/health"))
    compare(s, pool, answers, "isolated")
    pid = main_pid(s)
    check(is_there(pid) and pid != s.process.pid, "a process of its own", pid)
    check(labelled(s, "worker_up", worker="main") == 1 and labelled(s, "worker_generation", worker="main") == 1,
          "its first life")
    check(labelled(s, "worker_up", worker="quarantine") == 0 and labelled(s, "worker_pid", worker="quarantine") == 0,
          "nobody is in quarantine")
    check(labelled(s, "worker_generation_completed", worker="main") > 0, "has computed")
    kill(pid)
    check(wait_for(lambda: (labelled(s, "worker_generation", worker="main") == 2 and
                            labelled(s, "worker_up", worker="main") == 1)), "another is started")
    check(main_pid(s) not in (0, pid), "with another process")
    check(labelled(s, "worker_losses_total", worker="main", cause="killed") == 1, "it is told why")
    check(labelled(s, "worker_restarts_total", worker="main") == 1 and
          labelled(s, "worker_down_seconds_total", worker="main") > 0, "and how long")
    compare(s, pool, answers, "a life later")


def test_degraded(program):
    """While there is no worker: 200 and the reason, what is accepted waits, and is answered."""
    with served.Started(program, MODELS, "--isolate", "--worker-backoff-ms", "1500") as s:
        check(s.get("/health").json["status"] == "ready", "ready")
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded")
        a = s.get("/readyz")
        check(a.status == 200 and "generation 1" in a.json["reason"] and "waits" in a.json["reason"], "and why", a)
        check(s.get("/livez").status == 200 and labelled(s, "worker_up", worker="main") == 0, "alive, and down")
        a = s.post("/v1/embeddings", {"model": "emb", "input": "hello"})
        check(a.status == 200 and s.get("/health").json["status"] == "ready", "what waited is answered", a)


def test_killed(s, pool, answers):
    run = load.Load(s.port, pool, answers, clients=6)
    hits = 0
    for _ in range(8):
        ready = wait_for(lambda: (labelled(s, "worker_up", worker="main") == 1 and
                                  labelled(s, "worker_generation_completed", worker="main") > 2))
        check(ready, "it computes again", s.get("/health"))
        kill(main_pid(s))
        hits += ready
        time.sleep(.1)
    wait_for(lambda: run.right > 300 or run.wrong)
    run.finish()
    check(not run.wrong, "nothing is lost and nothing is wrong", (len(run.wrong), run.asked, run.wrong[:1]))
    check(run.right == run.asked, "and all of it is answered", (run.right, run.asked))
    lost = {c: labelled(s, "worker_losses_total", worker="main", cause=c) for c in CAUSES}
    check(hits == 8 and sum(lost.values()) >= 8 and lost["killed"] >= 7, "killed in full flight", lost)
    check(s.metric("worker_replayed_batches_total") + s.metric("worker_replayed_tokens_total") > 0,
          "and what it had was computed again")


def test_ends(program, pool, answers):
    """A drain under load answers all; nothing is left of a service that is killed."""
    with served.Started(program, MODELS, "--isolate", *TUNING) as s:
        pids = [main_pid(s), parent_of(main_pid(s))]
        check(parent_of(pids[1]) == s.process.pid, "the spawner is the service's, the worker the spawner's")
        run = load.Load(s.port, pool, answers, clients=4, keep=False)
        check(wait_for(lambda: run.right > 10), "there is load")
        run.stop.set()
        kill(pids[0])  # the drain finds no worker, and waits for one
        s.process.send_signal(signal.SIGTERM)
        run.finish()
        lost = [x for x in run.wrong if "ConnectionRefused" not in x[1]]  # that came after the port was closed
        check(not lost, "a drain without a worker answers all", lost[:1])
        check(s.process.wait(timeout=60) == 0, "and ends with 0", s.process.returncode)
        check(wait_for(lambda: not any(map(is_there, pids)), 5), "no process is left of it", pids)
    s = served.Started(program, MODELS, "--isolate", *TUNING)
    pids = [main_pid(s), parent_of(main_pid(s))]
    s.process.kill()
    s.process.wait()
    check(wait_for(lambda: not any(map(is_there, pids)), 5), "nor of one that is killed", pids)


def begun(program, *options):
    args = [program, "serve", "--port", "0", "--model", f"emb={DATA}{MODELS['emb']}", "--log-level", "error", *options]
    return subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_starts(program, folder):
    """A worker's program that is none, ends at once, or never says a word."""
    for worker, words in (("/nowhere/trine-worker", "cannot be executed"),
                          ("/bin/false", "/bin/false does not come up: exit status 1"),
                          (folder, f"serve: {folder}: cannot be started: executing it: Permission denied\n")):
        p = begun(program, "--isolate", "--worker", worker, *TUNING)
        out, err = p.communicate(timeout=60)
        check(p.returncode == 1 and out == "" and words in err and err.count("\n") == 1,
              f"no service with {worker}, in one line", (p.returncode, out, err))
    mute, seen = os.path.join(folder, "mute"), os.path.join(folder, "pid")
    with open(mute, "w") as f:
        f.write(f"#!/bin/sh\necho $$ >{seen}.new\nmv {seen}.new {seen}\nexec sleep 600\n")
    os.chmod(mute, 0o755)
    p = begun(program, "--isolate", "--worker", mute, *TUNING)
    check(wait_for(lambda: os.path.exists(seen)), "it is started")
    with open(seen) as f:
        pid = int(f.read())
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=30)
    check(p.returncode == 0 and wait_for(lambda: not is_there(pid), 5), "a start that waits for it is ended at once, "
          "and it with it", (p.returncode, is_there(pid)))


def test_given_up(program, folder):
    """A worker that is not to be had any more: 503, until SIGHUP has it tried again."""
    link, real = os.path.join(folder, "worker"), os.path.join(os.path.dirname(program), "trine-worker")
    os.symlink(real, link)
    with served.Started(program, MODELS, "--isolate", "--worker", link, "--worker-backoff-ms", "1:2", "--log-level",
                        "off") as s:
        os.unlink(link)
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").status == 503), "given up", s.get("/health"))
        a = s.get("/health")
        check(a.json["status"] == "unavailable" and "given up" in a.json["reason"] and a.headers["Retry-After"],
              "and says so", a)
        a = s.post("/v1/embeddings", {"model": "emb", "input": "hello"})
        check(a.status == 503, "nothing is taken", a)
        check(s.get("/livez").status == 200, "it lives")
        os.symlink(real, link)
        s.process.send_signal(signal.SIGHUP)
        check(wait_for(lambda: s.get("/health").json["status"] == "ready"), "tried again when told", s.get("/health"))
        a = s.post("/v1/embeddings", {"model": "emb", "input": "hello"})
        check(a.status == 200, "and taken again", a)


def test_beside(program, pool, answers):
    """--device worker: this process's CPU has what the worker cannot have."""
    with served.Started(program, MODELS, "--device", "worker", "--worker-backoff-ms", "1000") as s:
        compare(s, pool, answers, "a worker with a CPU beside it")
        run = load.Load(s.port, pool, answers, clients=3)
        wait_for(lambda: run.right > 20)
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded")
        a, before = s.get("/health"), run.right
        check(a.status == 200 and "CPU computes meanwhile" in a.json["reason"], "with the CPU", a)
        check(wait_for(lambda: run.right > before + 10) and main_pid(s) == 0, "which answers, without a worker",
              run.right - before)
        check(wait_for(lambda: s.get("/health").json["status"] == "ready"), "ready again")
        run.finish()
        check(not run.wrong, "all the same bits", run.wrong[:1])
        check(sum(labelled(s, "worker_fallbacks_total", cause=c) for c in ("killed", "exit")) > 0, "it is counted")


def test_reject(program):
    with served.Started(program, {"emb": MODELS["emb"]}, "--device", "worker", "--gpu-fallback", "reject",
                        "--worker-backoff-ms", "1000") as s:
        check(s.post("/v1/embeddings", {"model": "emb", "input": "hello"}).status == 200, "computed")
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").status == 503), "not ready without a worker")
        a = s.post("/v1/embeddings", {"model": "emb", "input": "hello"})
        check(a.status == 503 and a.headers["Retry-After"], "and nothing is computed", a)
        check(wait_for(lambda: s.get("/health").status == 200), "ready again")
        check(s.post("/v1/embeddings", {"model": "emb", "input": "hello"}).status == 200, "computed again")


def test_comments(program):
    """A worker that stands still: the stream says that it lives, and goes on where it was."""
    with served.Started(program, {"tiny": MODELS["tiny"]}, "--isolate", "--worker-watchdog-ms", "60000",
                        "--stream-comment-s", "1") as s:
        body = {"model": "tiny", "prompt": "the quick brown fox jumps", "max_tokens": 450, "temperature": 0, "ignore_eos": True}
        whole = s.post("/v1/completions", body).json["choices"][0]["text"]
        c = http.client.HTTPConnection(s.host, s.port, timeout=60)
        c.request("POST", "/v1/completions", json.dumps(dict(body, stream=True)), served.JSON)
        r = c.getresponse()
        pid = main_pid(s)
        kill(pid, signal.SIGSTOP)
        got = []
        try:
            for line in iter(r.readline, b""):
                got.append(line.decode().rstrip("\n"))
                if got[-1] == ": waiting":
                    kill(pid, signal.SIGCONT)
        finally:
            kill(pid, signal.SIGCONT)
        c.close()
        said = "".join(json.loads(x[6:])["choices"][0]["text"] for x in got if x.startswith("data: {"))
        check(": waiting" in got or len(got) < 900, "a comment while it stood still", len(got))
        check(said == whole and "data: [DONE]" in got, "and the stream is whole", (len(said), len(whole)))


def main():
    program = served.start(sys.argv[1:])
    pool = load.requests(encode=6, generate=2, tokens=50)
    with served.Started(program, MODELS) as s:
        answers = load.expected(s.port, pool)
        check(labelled(s, "worker_up", worker="main") is None, "no worker, no metrics of one")
    with served.Started(program, MODELS, "--isolate", *TUNING) as s:
        test_rest(s, pool, answers)
        test_killed(s, pool, answers)
    test_degraded(program)
    test_ends(program, pool, answers)
    test_beside(program, pool, answers)
    test_reject(program)
    test_comments(program)
    with tempfile.TemporaryDirectory() as folder:
        test_starts(program, folder)
        test_given_up(program, folder)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
