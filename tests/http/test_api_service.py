#!/usr/bin/env python3
"""What the service is to its clients beside their vectors: probes, metrics, methods and types, deadlines,
clients that go away, many at once, keys, options, a full queue.

    tests/http/test_api_service.py [PROGRAM]
    tests/http/test_api_service.py HOST PORT EMBEDDER      (of one that runs: what needs no options)

FAULTS rows are named where a check is theirs.
"""

import hashlib
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Server, Started, check, skip  # noqa: E402
from test_api import EMBED, FOLDERS  # noqa: E402


def test_operation(s, model):
    for path in ("/livez", "/readyz", "/health", "/ping"):
        check(s.get(path).status == 200, path)
    check(s.get("/readyz").json == {"status": "ready", "device": "cpu"}, "readyz names the device")
    r = s.get("/metrics")
    check(r.status == 200 and r.headers["Content-Type"].startswith("text/plain"), "metrics", r)
    lines = [l for l in r.body.decode().splitlines() if l]
    check(all(l.startswith("# ") or (l.startswith("trine_") and float(l.split()[-1]) >= 0)
              for l in lines), "Prometheus text")
    samples = [l.rsplit(" ", 1)[0] for l in lines if not l.startswith("#")]
    check(len(samples) == len(set(samples)), "no sample twice")
    for name in ("requests_total{", "request_duration_seconds_bucket{", "tokens_total ",
                 "jobs_total{", "queue_tokens ", "http_in_progress ", "resident_bytes "):
        check(any(l.startswith("trine_" + name) for l in lines), f"metrics have {name}")
    r = s.get("/nope")
    check(r.status == 404 and r.code == "unknown_path", "row 24: path", r)
    r = s.get("/v1/embeddings")
    check(r.status == 405 and r.headers["Allow"] == "POST", "row 24: method", r)
    r = s.ask("DELETE", "/v1/models")
    check(r.status == 405 and r.headers["Allow"] == "GET, HEAD", "row 24: another method", r)
    r = s.get("/embed")
    check(r.status == 405 and "error_type" in r.json, "row 24: in the dialect's shape", r)
    body = {"input": "a", "model": model}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        r = s.post("/v1/embeddings", body, {"Content-Type": kind})
        check(r.status == 415 and b"application/json" in r.body, f"row 26: {kind}", r)
    for kind in ("application/json; charset=utf-8", "Application/JSON", ""):
        r = s.post("/v1/embeddings", body, {"Content-Type": kind})
        check(r.status == 200, f"row 26: {kind!r} is JSON", r)
    r = s.post("/v1/embeddings", body, {"x-request-id": "my-id-1"})
    check(r.headers["x-request-id"] == "my-id-1", "the client's id comes back")
    r = s.post("/v1/embeddings", body, {"x-request-timeout-ms": "0"})
    check(r.status == 504 and r.code == "deadline_exceeded"
          and r.headers["x-should-retry"] == "false", "row 30: deadline", r)
    r = s.post("/v1/embeddings", body, {"x-request-timeout-ms": "soon"})
    check(r.status == 400, "a bad deadline", r)


def test_gone(s, model):
    """Row 31: a reset client's queued work is dropped and counted."""
    body = json.dumps({"input": ["the cat sat on the line " * 8] * 2000, "model": model,
                       "truncate": True}).encode()
    before = s.metric("http_client_gone_total")
    clients = [socket.create_connection((s.host, s.port)) for _ in range(8)]
    for c in clients:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
    until = time.monotonic() + 10
    while s.metric("http_in_progress") < 3 and time.monotonic() < until:
        time.sleep(0.001)
    for c in clients:
        c.close()
    until = time.monotonic() + 30 * served.slow
    while s.metric("http_in_progress") > 1 and time.monotonic() < until:
        time.sleep(0.05)
    check(s.metric("http_in_progress") == 1, "row 31: nothing is left of it")
    check(s.metric("http_client_gone_total") > before, "row 31: counted")
    check(s.metric("queue_tokens") == 0, "row 31: no tokens stay held", s.metric("queue_tokens"))
    check(s.post("/v1/embeddings", {"input": "a", "model": model}).status == 200, "and served on")


def test_many_at_once(s, model):
    """64 clients in flight on a handful of pool threads, interactive and bulk mixed."""
    want = {}
    for n in (1, 40):
        r = s.post("/v1/embeddings", {"input": [f"line {n}"] * n, "model": model,
                                      "encoding_format": "base64"})
        want[n] = r.json["data"]
    bad = []

    def client(i):
        n = 40 if i % 8 == 0 else 1
        for _ in range(5):
            r = s.post("/v1/embeddings", {"input": [f"line {n}"] * n, "model": model,
                                          "encoding_format": "base64"})
            if r.status != 200 or r.json["data"] != want[n]:
                bad.append(r)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not bad, "64 clients at once, each its own answer", bad[:1])


def test_keys(program):
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        for name, role in (("alice", ":user"), ("bob", ":admin:3"), ("carol", "")):
            digest = hashlib.sha256(f"key-of-{name}".encode()).hexdigest()
            f.write(f"{name}:{digest}{role}\n")
        f.write("# a comment\n\n")
        f.flush()
        with Started(program, {EMBED: FOLDERS[EMBED]}, "--api-key-file", f.name) as s:
            body = {"input": "a"}
            for key in ("alice", "bob", "carol"):
                r = s.post("/v1/embeddings", body, {"Authorization": f"Bearer key-of-{key}"})
                check(r.status == 200, f"row 27: {key}'s key", r)
            for auth in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "Bearer "},
                         {"Authorization": "Basic key-of-alice"}, {"Authorization": "key-of-bo"}):
                r = s.post("/v1/embeddings", body, auth)
                check(r.status == 401 and r.headers["WWW-Authenticate"].startswith("Bearer")
                      and r.code == "invalid_api_key", f"row 27: {auth}", r)
                check(b"nope" not in r.body, "row 27: the key is not shown")
            for path in ("/v1/models", "/metrics", "/info", "/v1/models/emb"):
                check(s.get(path).status == 401, f"{path} needs a key")
            for path in ("/livez", "/readyz", "/health", "/ping"):
                check(s.get(path).status == 200, f"{path} needs none")
            r = s.post("/embed", {"inputs": "a"})
            check(r.status == 401 and "error_type" in r.json, "401 in TEI's shape", r)
    for bad in ("alice:123\n", "", ":" + "0" * 64 + "\n", "a:" + "0" * 64 + ":root\n",
                "a:" + "0" * 64 + ":user:0\n"):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
            f.write(bad)
            f.flush()
            p = subprocess.run([program, "serve", "--port", "0", "--model", DATA + FOLDERS[EMBED],
                                "--api-key-file", f.name], cwd=ROOT, capture_output=True, text=True,
                               timeout=60, check=False)
            check(p.returncode == 1 and f.name in p.stderr, f"a bad key file: {bad[:20]!r}", p)


def test_options(program):
    with Started(program, {EMBED: FOLDERS[EMBED]}, "--accept-token-ids", "--auto-truncate", "--max-client-batch",
                 "4", "--cors-origin", "https://example.org", "--alias", f"{EMBED}=second") as s:
        text = s.post("/v1/embeddings", {"input": "the cat"})
        ids = [t["id"] for t in s.post("/tokenize", {"inputs": "the cat"}).json[0]]
        for value in (ids, [ids]):
            r = s.post("/v1/embeddings", {"input": value})
            check(r.json["data"] == text.json["data"], "row 66: ids, when they are taken", r)
        for bad in ([10**6], [[1, -1]], [[2, 1.5]], [2**53]):
            r = s.post("/v1/embeddings", {"input": bad})
            check(r.status == 400 and r.param == "input" and r.code == "invalid_token_id",
                  "row 65: named", r)
        check(s.post("/v1/embeddings", {"input": ["a"] * 5}).status == 400, "max-client-batch")
        r = s.post("/v1/embeddings", {"input": "word " * 4000})
        check(r.status == 200 and r.headers["x-truncated"] == "1", "auto-truncate", r)
        r = s.post("/v1/embeddings", {"input": "word " * 4000, "truncate": False})
        check(r.status == 400, "unless the request says otherwise", r)
        check(s.post("/v1/embeddings", {"input": "a", "model": "second"}).status == 200, "alias")
        check(text.headers["Access-Control-Allow-Origin"] == "https://example.org", "CORS")
        r = s.ask("OPTIONS", "/v1/embeddings", None, {"Origin": "https://example.org"})
        check(r.status == 204 and "POST" in r.headers["Access-Control-Allow-Methods"],
              "CORS preflight", r)
    with Started(program, {EMBED: FOLDERS[EMBED]}) as s:
        r = s.post("/v1/embeddings", {"input": [1, 2]})
        check(r.status == 400 and b"check_embedding_ctx_length=False" in r.body, "row 66", r)


def test_full_queue(program):
    """Row 28: a queue of few tokens; whoever does not fit is told at once, and whoever does is
    served."""
    with Started(program, {EMBED: FOLDERS[EMBED]}, "--max-queue-tokens", "256") as s:
        body = json.dumps({"input": ["the cat sat on the line " * 8] * 400,
                           "truncate": True}).encode()
        answers, lock = [], threading.Lock()

        def client():
            for _ in range(6):
                r = s.post("/v1/embeddings", body)
                with lock:
                    answers.append(r)

        threads = [threading.Thread(target=client) for _ in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        full = [r for r in answers if r.status == 429]
        check({r.status for r in answers} == {200, 429}, "row 28: 200 or 429",
              {r.status for r in answers})
        check(all(int(r.headers["Retry-After"]) >= 1 and r.json["error"]["type"] == "overloaded"
                  for r in full), "row 28: Retry-After")
        check(any(r.headers["Connection"] == "close" for r in full),
              "row 28: a large body is refused before it is read")
        quick = sorted(float(r.headers["x-total-time"]) for r in full)
        check(not quick or quick[len(quick) // 2] < 10 * served.slow, "row 28: at once", quick[-3:])
        check(s.metric("queue_tokens") == 0, "row 28: the queue is empty again")
        check(s.post("/v1/embeddings", {"input": "a"}).status == 200, "row 28: served on")


def run_common(s, embed):
    test_operation(s, embed)
    test_many_at_once(s, embed)
    test_gone(s, embed)


def main():
    args = sys.argv[1:]
    if len(args) >= 3:
        run_common(Server(args[0], int(args[1])), args[2])
        skip("keys and options need servers of their own")
    else:
        program = served.start(args)
        with Started(program, {EMBED: FOLDERS[EMBED]}) as s:
            run_common(s, EMBED)
        test_keys(program)
        test_options(program)
        test_full_queue(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
