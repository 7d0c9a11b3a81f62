#!/usr/bin/env python3
"""SIGTERM: nothing of what was sent is lost (FAULTS row 59), probes say 503 first, and it ends in time.

bench/drain.py measures the same at length. Usage: python3 tests/http/test_drain.py [TRINE]"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "bench"))
import drain  # noqa: E402

MODELS = {"e": "bert-mean-st6", "g": "tiny_chat"}
TEXT = {"model": "e", "input": "x"}


def test_load(program):
    stops, each = (2, 150) if served.slow > 1 else (4, 500)
    sent = 0
    for i in range(stops):
        load, code, seconds = drain.stop_once(program, os.path.join(ROOT, DATA, "bert-mean-st6"), 16, each, i)
        sent += load.sent
        check(not load.lost, f"stop {i}: nothing is lost", load.lost[:5])
        check(set(load.status) == {200}, f"stop {i}: everything is answered", dict(load.status))
        check(load.refused, f"stop {i}: new connections are refused at connect")
        check(code == 0 and seconds < 10 * served.slow, f"stop {i}: it ends with 0", (code, seconds))
    check(sent >= stops * each, "and there was something to lose", sent)


def ask(c, method, path, body=None):
    c.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    r = c.getresponse()
    return r.status, r.getheader("Connection"), r.read()


def test_delay(program):
    """--drain-delay-s: all goes on but readyz, and each answer ends its connection."""
    with Started(program, MODELS, "--drain-delay-s", "3", "--drain-timeout-s", "60") as s:
        kept = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
        check(ask(kept, "POST", "/v1/embeddings", '{"model":"e","input":"x"}')[:2] == (200, "keep-alive"), "before")
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        while s.get("/readyz").status == 200 and time.monotonic() - begin < 30:
            time.sleep(.01)
        check([s.get(p).status for p in ("/readyz", "/health", "/ping", "/livez")] == [503, 503, 503, 200],
              "probes during the delay")
        check(ask(kept, "POST", "/v1/embeddings", '{"model":"e","input":"x"}')[:2] == (200, "close"),
              "a kept connection is served, and ends")
        check(s.post("/v1/embeddings", TEXT).status == 200, "new connections are served")
        check(time.monotonic() - begin < 3 or served.slow > 1, "all that within the delay")
        s.process.wait(timeout=60)
        check(3 <= time.monotonic() - begin < 3 + 10 * served.slow, "the delay is kept", time.monotonic() - begin)


def test_ctrl_c(program):
    """Who presses Ctrl-C waits for no load balancer; and an idle connection holds nobody up for long."""
    with Started(program, MODELS, "--drain-delay-s", "20") as s:
        idle = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
        check(ask(idle, "POST", "/v1/embeddings", '{"model":"e","input":"x"}')[0] == 200, "before")
        begin = time.monotonic()
        s.process.send_signal(signal.SIGINT)
        s.process.wait(timeout=60)
        check(time.monotonic() - begin < 5 * served.slow, "SIGINT: no delay", time.monotonic() - begin)
        # a request that is sent just as the idle connection ends finds an answer that says so
        check(ask(idle, "GET", "/livez")[:2] == (408, "close"), "the idle connection's last words")


def test_timeout(program):
    """What is unfinished at the time-out ends, with an error where it has begun; the delay is part of the time."""
    talk = b'{"model":"g","prompt":"x","max_tokens":400,"ignore_eos":true,"n":32,"stream":true}'
    with Started(program, MODELS, "--drain-timeout-s", "2", "--drain-delay-s", "60", "--log-level", "off") as s:
        silent = socket.create_connection(("127.0.0.1", s.port))
        half = socket.create_connection(("127.0.0.1", s.port))
        half.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        streams = []
        for _ in range(6):
            c = socket.create_connection(("127.0.0.1", s.port))
            c.settimeout(60)
            c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(talk) + talk)
            streams.append(c)
        first = [c.recv(20) for c in streams]
        check(all(b"200" in f for f in first), "streams have begun", first)
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        ends = []
        for c in streams:
            ends.append(b"".join(iter(lambda c=c: c.recv(65536), b"")))
            c.close()
        s.process.wait(timeout=60)
        took = time.monotonic() - begin
        check(took < 2 + 8 * served.slow, "it ends at the time-out", took)
        whole = [e.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for e in ends]
        told = [b'"error"' in e[-600:] for e in ends]
        check(all(a or b for a, b in zip(whole, told)), "a stream ends whole, or says why not",
              [e[-100:] for e in ends])
        silent.close()
        half.close()
        s.process.returncode = 0  # 1 where something was cut; Started looks for 0


def test_second_signal(program):
    p = subprocess.Popen([program, "serve", "--port", "0", "--model", DATA + "bert-mean-st6", "--drain-delay-s", "60",
                          "--drain-timeout-s", "300", "--log-level", "off"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    p.send_signal(signal.SIGTERM)
    time.sleep(.3)
    check(p.poll() is None, "the delay is waited for")
    begin = time.monotonic()
    p.send_signal(signal.SIGTERM)
    check(p.wait(timeout=60) == 1 and time.monotonic() - begin < 3, "a second signal ends at once", p.returncode)


def main():
    program = served.start(sys.argv[1:])
    for test in (test_load, test_delay, test_ctrl_c, test_timeout, test_second_signal):
        test(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
