#!/usr/bin/env python3
"""Nobody is kept out by others: large bodies beside small ones, one key's many choices beside
another's question, long texts beside short ones, and a stop beside all of them. Orders and counts
are checked, not times."""

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import served
from served import ROOT, Server, Started, check
from long_model import make

EMBEDDER = {"small": "bert-mean-st6"}
CHAT = {"chat": "tiny_chat"}


def in_thread(function, *args):
    """Runs it; .result is what it returned, once joined."""
    def run():
        t.result = function(*args)
    t = threading.Thread(target=run)
    t.result = None
    t.start()
    return t


def wait_until(ready, what, seconds=60):
    end = time.monotonic() + seconds * served.slow
    while not ready():
        if time.monotonic() > end:
            return check(False, what)
        time.sleep(0.02)
    return True


def work(s, kind):
    """Device seconds of a kind of work."""
    for line in s.get("/metrics").body.decode().splitlines():
        if line.startswith('trine_device_seconds_total{work="%s"}' % kind):
            return float(line.split()[-1])
    return 0.0


def test_large_bodies(program):
    """A body larger than the queue, beside four clients that never leave it empty."""
    large = {"input": ["the quick brown fox " * 8] * 100, "truncate": True}
    assert len(json.dumps(large)) > 4 * 3000
    with Started(program, EMBEDDER, "--max-queue-tokens", "3000") as s:
        stop = threading.Event()
        refused = []

        def small():
            n = 0
            while not stop.is_set():
                a = s.post("/v1/embeddings", {"input": "a b c " * 4})
                n += 1
                if a.status != 200:
                    refused.append(a)
            return n
        clients = [in_thread(small) for _ in range(4)]
        answers = [s.post("/v1/embeddings", large) for _ in range(20)]
        check([a.status for a in answers] == [200] * 20, "each is let in", answers[0])
        # several at once: those that are not let in are told why, truly
        many = [in_thread(s.post, "/v1/embeddings", large) for _ in range(12)]
        for t in many:
            t.join()
        late = [t.result for t in many if t.result.status != 200]
        check(len(late) < 12 and all(a.status == 429 and "other large ones" in a.json["error"]["message"]
                                     and int(a.headers["Retry-After"]) >= 1 for a in late),
              "or told what it waits for", late[:1])
        stop.set()
        for t in clients:
            t.join()
            check(t.result > 0, "the small ones went on")
        check(not refused, "and were never refused for a large one's sake", refused[:1])


def test_numbers(program):
    """A number that JSON has and our reader cannot hold is the sender's fault."""
    digits = "7" * 64
    with Started(program, dict(EMBEDDER, **CHAT)) as s:
        for path, body in (("/v1/embeddings", '{"input":"a","dimensions":%s}'),
                           ("/embed", '{"inputs":"a","x":%s}'),
                           ("/v1/completions", '{"prompt":"a","seed":%s}'),
                           ("/v1/chat/completions", '{"messages":[],"max_tokens":%s}'),
                           ("/v1/embeddings", '{"input":[%s]}'),
                           ("/rerank", '{"query":"a","texts":["b"],"top_n":-%s.5}')):
            a = s.post(path, body % digits)
            check(a.status == 400 and b"number" in a.body, "a number of 64 digits: " + path, a)


def chat(s, key, **more):
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, **more}
    return s.ask("POST", "/v1/chat/completions", body, {"Authorization": "Bearer " + key})


def test_keys(program):
    """One key's many long texts, and another's short question: which is answered first."""
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        # two keys of one name, and roles and weights
        for name, key, rest in (("app", "ann", ""), ("app", "bob", ":user:3"), ("root", "eve", ":admin")):
            f.write(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}{rest}\n")
        f.flush()
        for options in (("--max-sequences", "4"), ("--kv-cache-mib", "1")):
            with Started(program, CHAT, "--api-key-file", f.name, *options) as s:
                greedy = in_thread(lambda: chat(s, "ann", n=128, max_tokens=450, ignore_eos=True))
                s.key = "eve"
                wait_until(lambda: s.metric("output_tokens_total") > 20, "it has begun")
                a = chat(s, "bob")
                said = s.metric("output_tokens_total")
                check(a.status == 200 and a.json["usage"]["completion_tokens"] == 1, "an answer", a)
                check(said < 128 * 450 / 2, "long before the other's many", said)
                greedy.join()
                check(greedy.result.status == 200 and len(greedy.result.json["choices"]) == 128,
                      "which are whole in the end", greedy.result)
        with Started(program, CHAT, "--api-key-file", f.name) as s:
            def cached(key):
                a = s.ask("POST", "/v1/completions", {"prompt": list(range(5, 105)), "max_tokens": 1},
                          {"Authorization": "Bearer " + key})
                return a.json["usage"]["prompt_tokens_details"]["cached_tokens"]
            got = [cached(k) for k in ("ann", "ann", "bob", "bob")]
            check(got == [0, 96, 0, 96], "two keys of one name share no prefixes", got)
    with Started(program, CHAT, "--max-sequences", "4") as s:  # without keys: by requests
        greedy = in_thread(lambda: chat(s, "", n=128, max_tokens=450, ignore_eos=True))
        wait_until(lambda: s.metric("output_tokens_total") > 20, "it has begun")
        a = chat(s, "")
        said = s.metric("output_tokens_total")
        check(a.status == 200 and said < 128 * 450 / 2, "without keys", said)
        greedy.join()
        check(greedy.result.status == 200, "and these are whole in the end", greedy.result)


def rises(s, kind, above=0.0):
    return wait_until(lambda: work(s, kind) > above, "the device is at it")


def launch(program, folder, *options):
    s = object.__new__(Server)
    s.process = subprocess.Popen(
        [program, "serve", "--port", "0", "--log-level", "warn", "--request-timeout-s", "3600",
         *options, "--model", "long=" + folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    Server.__init__(s, "127.0.0.1", int(s.process.stdout.readline().rsplit(":", 1)[1]))
    return s


def test_long_texts(program):
    """One text of 24,000 tokens computes for minutes. Others pass in its middle, the probes see
    it live, its client's leaving ends it, and so does a stop."""
    with tempfile.TemporaryDirectory() as root:
        folder = make(ROOT, os.path.join(root, "long"))
        s = launch(program, folder, "--drain-timeout-s", "1")
        text = json.dumps({"input": "a " * 24000}).encode()
        head = (f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(text)}\r\n\r\n").encode()
        c = socket.create_connection((s.host, s.port))
        c.sendall(head + text)
        rises(s, "bulk")
        for more in ({}, {"priority": 0}):
            a = s.post("/v1/embeddings", {"input": "a b c", **more})
            check(a.status == 200, "a short text in its middle", a)
        wait_until(lambda: s.metric("yields_total") >= 1, "it was set aside for them")
        check(s.get("/livez").status == 200, "it lives")
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
        wait_until(lambda: s.metric("forwards_ended_total") == 1, "ended when its client has gone")
        before = work(s, "bulk")
        # no priority makes it one that others cannot pass
        monster = in_thread(s.post, "/v1/embeddings", {"input": "a " * 24000, "priority": 0})
        rises(s, "bulk", before)
        check(s.post("/v1/embeddings", {"input": "a b c"}).status == 200, "a short text passes it")
        check(monster.is_alive(), "which goes on")
        s.process.send_signal(signal.SIGTERM)
        monster.join(timeout=60 * served.slow)
        a = monster.result
        check(a is not None and a.status == 503 and "stopping" in a.json["error"]["message"],
              "an honest error when the drain's time is over", a)
        try:
            check(s.process.wait(timeout=20 * served.slow) == 1, "and the program ends, saying so",
                  s.process.returncode)
        except subprocess.TimeoutExpired:
            check(False, "the program ends")
            s.process.kill()
            s.process.wait()


def main(args):
    program = served.start(args)
    test_large_bodies(program)
    test_numbers(program)
    test_keys(program)
    test_long_texts(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
