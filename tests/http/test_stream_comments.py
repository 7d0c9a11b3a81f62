#!/usr/bin/env python3
"""A stream that has nothing to say sends comment lines, in both generating dialects: while a long prompt is computed,
but not while it only waits its turn; the events beside them are those of a stream without.

Usage: python3 tests/http/test_stream_comments.py [TRINE]"""

import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402

CONTEXT = 1 << 18
MOST = 180000  # a body has at most 200,000 values
COMMENT = ": waiting"


def make_long(folder):
    """tiny_chat with a long context: its prompts can take seconds."""
    shutil.copytree(os.path.join(ROOT, DATA, "tiny_chat"), folder)
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        with open(os.path.join(folder, name)) as f:
            config = json.load(f)
        config[key] = CONTEXT
        with open(os.path.join(folder, name), "w") as f:
            json.dump(config, f)
    return folder


def ids(n, prompt):
    """Token ids; what two prompts have in common from their beginning would not be computed twice."""
    return ([prompt % 100 + 5, prompt // 100 % 100 + 5] + [(i * 7) % 250 + 5 for i in range(n)])[:n]


def lines(s, path, body, out, begun=None):
    """The lines of a stream, each with the time that it came at; out[0]: when the head did."""
    c = http.client.HTTPConnection(s.host, s.port, timeout=120)
    try:
        c.request("POST", path, json.dumps(body), served.JSON)
        if begun:
            begun.set()
        r = c.getresponse()
        out.append((time.monotonic(), r.status))
        for line in iter(r.readline, b""):
            out.append((time.monotonic(), line.decode().rstrip("\n")))
    finally:
        c.close()


def text_of(got):
    said = []
    for _, line in got[1:]:
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices") or []:
                said.append(choice.get("text") or (choice.get("delta") or {}).get("content") or "")
    return "".join(said)


def slow_stream(s, path, make, n):
    """A stream of make(n) that takes long, n made larger as needed: its n, its lines, and when it began."""
    while True:
        got, begin = [], time.monotonic()
        lines(s, path, make(n), got)
        took = got[-1][0] - begin
        if took > 2.3 or n == MOST:
            return n, got, begin
        n = min(int(n * max(1.2, (2.8 / max(took, .1)) ** .5)), MOST)


def test_long_prompt(s):
    def make(n):
        return {"prompt": ids(n, n), "max_tokens": 5, "temperature": 0, "ignore_eos": True, "stream": True}
    n, got, begin = slow_stream(s, "/v1/completions", make, 20000)
    first = next((t for t, line in got[1:] if line.startswith("data: ")), begin)
    comments = [t for t, line in got[1:] if line == COMMENT]
    check(got[0][1] == 200 and comments and comments[-1] < first, "comments before the first token",
          (len(comments), first - begin, comments and comments[0] - begin))
    check(comments and .9 < comments[0] - begin and all(b - a > .5 for a, b in zip(comments, comments[1:])),
          "a second apart", [t - begin for t in comments])
    check(all(got[i + 1][1] == "" for i in range(1, len(got)) if got[i][1] == COMMENT), "each is an event of its own")
    check(got[-2][1] == "data: [DONE]", "the stream's end", got[-2:])
    whole = s.post("/v1/completions", dict(make(n), stream=False))
    check(whole.status == 200 and whole.json["choices"][0]["text"] == text_of(got), "the text is the same", whole)
    return n


def test_chat(s, n):
    def make(n):
        words = "the quick brown fox jumps over the lazy dog and so on. "
        return {"messages": [{"role": "user", "content": f"{n} " + words * (n // 60)}], "max_tokens": 5, "temperature": 0,
                "stream": True}
    n, got, begin = slow_stream(s, "/v1/chat/completions", make, n)
    kinds = [line for _, line in got[1:]]
    check(COMMENT in kinds and kinds[-2] == "data: [DONE]", "comments in a chat", kinds[:3])
    roles = [k for k in kinds if '"role":"assistant"' in k]
    check(len(roles) == 1, "the role is told once", roles)


def queue_behind(s, n):
    """A short text behind a stream of n tokens: its answer, the stream's lines, and how long it was in front of it."""
    first, begun = [], threading.Event()
    body = {"prompt": ids(n, n + 2), "max_tokens": 1, "temperature": 0, "stream": True}
    thread = threading.Thread(target=lines, args=(s, "/v1/completions", body, first, begun))
    thread.start()
    begun.wait()
    until = time.monotonic() + 60
    while s.metric("sequences_running") < 1 and not first and time.monotonic() < until:
        time.sleep(.01)
    asked = time.monotonic()
    second = s.post("/v1/completions", dict(body, prompt=ids(10, 3)), {"x-request-timeout-ms": "1300"})
    thread.join()
    return second, first, first[-1][0] - asked


def test_queued(s, n):
    """One that waits to be computed has no head yet: what becomes of it may need a status."""
    second, first, took = queue_behind(s, n)
    while took < 2 and n < MOST:  # the machine has become faster since n was found
        n = min(n * 3 // 2, MOST)
        second, first, took = queue_behind(s, n)
    check(second.status == 504, "a status of its own, after comments would have come", (second, n, took))
    check(any(line == COMMENT for _, line in first[1:]), "while the other had comments", first[:3])


def main():
    program = served.start(sys.argv[1:])
    folder = make_long(os.path.join(tempfile.mkdtemp(dir=os.path.join(ROOT, "build")), "long"))
    try:
        with served.Started(program, {}, "--model", "g=" + folder, "--stream-comment-s", "1", "--max-sequences", "1",
                            "--kv-cache-mib", "256") as s:
            n = test_long_prompt(s)
            test_chat(s, n)
            test_queued(s, n)
    finally:
        shutil.rmtree(os.path.dirname(folder))
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
