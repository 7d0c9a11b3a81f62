#!/usr/bin/env python3
"""Models in a worker process (--isolate, --device worker): the same bits as without, at rest and while workers are
killed; what health, metrics and the log say of it; nothing is left of a service that ends, in whatever way.

Usage: python3 tests/http/test_isolate.py [TRINE]"""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import is_there, kill, labelled, main_pid, parent_of, wait_for  # noqa: E402

MODELS = {"e": "bert-mean-st6", "r": "bert-cross-encoder", "c": "bert-classifier", "g": "tiny_chat"}
WORDS = "the quick brown fox jumps over the lazy dog near the bank of the river".split()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
          "required": ["a", "b"], "additionalProperties": False}
CAUSES = ("exit", "killed", "hang", "numbers", "protocol", "memory", "start")
TUNING = ("--worker-backoff-ms", "20:100")


def text(i, n):
    return " ".join(WORDS[(i * 7 + k * (i + 3)) % len(WORDS)] for k in range(n))


def requests():
    """What is asked: path and body, every task, short and long, whole and streamed."""
    out = []
    for i in range(4):
        out.append(("/v1/embeddings", {"model": "e", "input": [text(i + k, 3 + k % 4) for k in range(1 + 12 * (i % 2))],
                                       "encoding_format": "base64"}))
        out.append(("/v1/rerank", {"model": "r", "query": text(i, 4), "documents": [text(k, 9) for k in range(9)],
                                   "raw_scores": True}))
        out.append(("/v1/classify", {"model": "c", "input": [text(i, 8)], "raw_scores": True}))
        out.append(("/v1/completions", {"model": "g", "prompt": text(i, 9), "max_tokens": 40, "temperature": 0,
                                        "ignore_eos": True, "logprobs": 2, "stream": i % 2 == 0}))
        out.append(("/v1/completions", {"model": "g", "prompt": text(i, 5), "max_tokens": 60, "temperature": 1.2,
                                        "seed": i, "ignore_eos": True, "stream": i % 2 == 1}))
    out.append(("/v1/chat/completions", {
        "model": "g", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 60, "seed": 1,
        "stream": True, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}))
    return out


def meaning(path, a):
    """What must be the same of two answers; a text that says why where it is none."""
    if a.status != 200:
        return f"{a.status} {a.body[:200]!r}"
    if path == "/v1/embeddings":
        return [base64.b64decode(row["embedding"]) for row in a.json["data"]]
    if path == "/v1/rerank":
        return [(row["index"], row["relevance_score"]) for row in a.json["results"]]
    if path == "/v1/classify":
        return a.json["data"]
    if a.json:
        return [(c.get("text"), c.get("logprobs"), c["finish_reason"]) for c in a.json["choices"]]
    said, scores, end, events = [], [], None, a.body.decode().split("\n\n")
    if events[-2:] != ["data: [DONE]", ""]:
        return f"a stream that does not end: {events[-3:]}"
    for event in events[:-2]:
        if event.startswith(":"):
            continue
        chunk = json.loads(event[6:])
        if "error" in chunk:
            return f"a stream that ends with {chunk}"
        for c in chunk["choices"]:
            said.append(c.get("text") or (c.get("delta") or {}).get("content") or "")
            scores += (c.get("logprobs") or {}).get("token_logprobs", []) if path == "/v1/completions" else []
            end = c["finish_reason"] or end
    return "".join(said), scores, end


class Load:
    """Clients that ask all the time and hold each answer against what it must be."""

    def __init__(self, s, asked, wanted, clients=6):
        self.s, self.asked, self.wanted = s, asked, wanted
        self.stop, self.done, self.wrong = threading.Event(), 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for t in self.threads:
            t.start()

    def run(self, i):
        while not self.stop.is_set():
            path, body = self.asked[i % len(self.asked)]
            try:
                got = meaning(path, self.s.post(path, body))
            except (OSError, http.client.HTTPException) as e:
                got = f"no answer: {e!r}"
            with self.lock:
                self.done += 1
                if got != self.wanted[i % len(self.asked)]:
                    self.wrong.append((path, body, got))
            i += 1

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def compare(s, asked, wanted, what):
    for (path, body), want in zip(asked, wanted):
        got = meaning(path, s.post(path, body))
        check(got == want, f"{what}: {path} as without", (body, got, want))


def test_rest(s, asked, wanted):
    check(s.get("/health").json == {"status": "ready", "device": "cpu"}, "ready", s.get("/health"))
    compare(s, asked, wanted, "isolated")
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
    compare(s, asked, wanted, "a life later")


def test_degraded(program):
    """While there is no worker: 200 and the reason, what is accepted waits, and is answered."""
    with served.Started(program, MODELS, "--isolate", "--worker-backoff-ms", "1500") as s:
        check(s.get("/health").json["status"] == "ready", "ready")
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded")
        a = s.get("/readyz")
        check(a.status == 200 and "generation 1" in a.json["reason"] and "waits" in a.json["reason"], "and why", a)
        check(s.get("/livez").status == 200 and labelled(s, "worker_up", worker="main") == 0, "alive, and down")
        a = s.post("/v1/embeddings", {"model": "e", "input": "hello"})
        check(a.status == 200 and s.get("/health").json["status"] == "ready", "what waited is answered", a)


def test_killed(s, asked, wanted):
    load = Load(s, asked, wanted)
    hits = 0
    for _ in range(8):
        ready = wait_for(lambda: (labelled(s, "worker_up", worker="main") == 1 and
                                  labelled(s, "worker_generation_completed", worker="main") > 2))
        check(ready, "it computes again", s.get("/health"))
        kill(main_pid(s))
        hits += ready
        time.sleep(.1)
    wait_for(lambda: load.done > 300 or load.wrong)
    load.end()
    check(not load.wrong, "nothing is lost and nothing is wrong", (len(load.wrong), load.done, load.wrong[:1]))
    lost = {c: labelled(s, "worker_losses_total", worker="main", cause=c) for c in CAUSES}
    check(hits == 8 and sum(lost.values()) >= 8 and lost["killed"] >= 7, "killed in full flight", lost)
    check(s.metric("worker_replayed_batches_total") + s.metric("worker_replayed_tokens_total") > 0,
          "and what it had was computed again")


def test_ends(program, asked, wanted):
    """A drain under load answers all; nothing is left of a service that is killed."""
    with served.Started(program, MODELS, "--isolate", *TUNING) as s:
        pids = [main_pid(s), parent_of(main_pid(s))]
        check(parent_of(pids[1]) == s.process.pid, "the spawner is the service's, the worker the spawner's")
        load = Load(s, asked, wanted, 4)
        check(wait_for(lambda: load.done > 10), "there is load")
        load.stop.set()
        kill(pids[0])  # the drain finds no worker, and waits for one
        s.process.send_signal(signal.SIGTERM)
        load.end()
        lost = [x for x in load.wrong if "ConnectionRefused" not in x[2]]  # that came after the port was closed
        check(not lost, "a drain without a worker answers all", lost[:1])
        check(s.process.wait(timeout=60) == 0, "and ends with 0", s.process.returncode)
        check(wait_for(lambda: not any(map(is_there, pids)), 5), "no process is left of it", pids)
    s = served.Started(program, MODELS, "--isolate", *TUNING)
    pids = [main_pid(s), parent_of(main_pid(s))]
    s.process.kill()
    s.process.wait()
    check(wait_for(lambda: not any(map(is_there, pids)), 5), "nor of one that is killed", pids)


def run(program, *options):
    args = [program, "serve", "--port", "0", "--model", f"e={DATA}{MODELS['e']}", "--log-level", "error", *options]
    return subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_starts(program, folder):
    """A worker's program that is none, ends at once, or never says a word."""
    for worker, words in (("/nowhere/trine-worker", "cannot be executed"),
                          ("/bin/false", "/bin/false does not come up: exit status 1"),
                          (folder, f"serve: {folder}: cannot be started: executing it: Permission denied\n")):
        p = run(program, "--isolate", "--worker", worker, *TUNING)
        out, err = p.communicate(timeout=60)
        check(p.returncode == 1 and out == "" and words in err and err.count("\n") == 1,
              f"no service with {worker}, in one line", (p.returncode, out, err))
    mute, seen = os.path.join(folder, "mute"), os.path.join(folder, "pid")
    with open(mute, "w") as f:
        f.write(f"#!/bin/sh\necho $$ >{seen}.new\nmv {seen}.new {seen}\nexec sleep 600\n")
    os.chmod(mute, 0o755)
    p = run(program, "--isolate", "--worker", mute, *TUNING)
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
        a = s.post("/v1/embeddings", {"model": "e", "input": "hello"})
        check(a.status == 503, "nothing is taken", a)
        check(s.get("/livez").status == 200, "it lives")
        os.symlink(real, link)
        s.process.send_signal(signal.SIGHUP)
        check(wait_for(lambda: s.get("/health").json["status"] == "ready"), "tried again when told", s.get("/health"))
        a = s.post("/v1/embeddings", {"model": "e", "input": "hello"})
        check(a.status == 200, "and taken again", a)


def test_beside(program, asked, wanted):
    """--device worker: this process's CPU has what the worker cannot have."""
    with served.Started(program, MODELS, "--device", "worker", "--worker-backoff-ms", "1000") as s:
        compare(s, asked, wanted, "a worker with a CPU beside it")
        load = Load(s, asked, wanted, 3)
        wait_for(lambda: load.done > 20)
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").json["status"] == "degraded"), "degraded")
        a, before = s.get("/health"), load.done
        check(a.status == 200 and "CPU computes meanwhile" in a.json["reason"], "with the CPU", a)
        check(wait_for(lambda: load.done > before + 10) and main_pid(s) == 0, "which answers, without a worker",
              load.done - before)
        check(wait_for(lambda: s.get("/health").json["status"] == "ready"), "ready again")
        load.end()
        check(not load.wrong, "all the same bits", load.wrong[:1])
        check(sum(labelled(s, "worker_fallbacks_total", cause=c) for c in ("killed", "exit")) > 0, "it is counted")


def test_reject(program):
    with served.Started(program, {"e": MODELS["e"]}, "--device", "worker", "--gpu-fallback", "reject",
                        "--worker-backoff-ms", "1000") as s:
        check(s.post("/v1/embeddings", {"model": "e", "input": "hello"}).status == 200, "computed")
        kill(main_pid(s))
        check(wait_for(lambda: s.get("/health").status == 503), "not ready without a worker")
        a = s.post("/v1/embeddings", {"model": "e", "input": "hello"})
        check(a.status == 503 and a.headers["Retry-After"], "and nothing is computed", a)
        check(wait_for(lambda: s.get("/health").status == 200), "ready again")
        check(s.post("/v1/embeddings", {"model": "e", "input": "hello"}).status == 200, "computed again")


def test_comments(program):
    """A worker that stands still: the stream says that it lives, and goes on where it was."""
    with served.Started(program, {"g": MODELS["g"]}, "--isolate", "--worker-watchdog-ms", "60000",
                        "--stream-comment-s", "1") as s:
        body = {"model": "g", "prompt": text(1, 5), "max_tokens": 450, "temperature": 0, "ignore_eos": True}
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
    asked = requests()
    with served.Started(program, MODELS) as s:
        wanted = [meaning(path, s.post(path, body)) for path, body in asked]
        check(not any(isinstance(w, str) for w in wanted), "what is wanted", [w for w in wanted if isinstance(w, str)])
        check(labelled(s, "worker_up", worker="main") is None, "no worker, no metrics of one")
    with served.Started(program, MODELS, "--isolate", *TUNING) as s:
        test_rest(s, asked, wanted)
        test_killed(s, asked, wanted)
    test_degraded(program)
    test_ends(program, asked, wanted)
    test_beside(program, asked, wanted)
    test_reject(program)
    test_comments(program)
    with tempfile.TemporaryDirectory() as folder:
        test_starts(program, folder)
        test_given_up(program, folder)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
