#!/usr/bin/env python3
"""SIGTERM: nothing of what was sent is lost (FAULTS row 59), probes say 503 first, and it ends in time.

bench/drain.py measures the same at length. Usage: python3 tests/http/test_drain.py [TRINE]"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
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
        check(set(load.status) == {200} and sum(load.status.values()) == load.sent,
              f"stop {i}: everything is answered", (load.sent, dict(load.status)))
        check(load.refused, f"stop {i}: new connections are refused at connect")
        check(code == 0 and seconds < 25, f"stop {i}: it ends with 0, before its time-out", (code, seconds))
    check(sent >= stops * each, "and there was something to lose", sent)
    few = drain.Load(0, 0, 2, 0)  # of no clients
    check([few.begin() for _ in range(4)] == [True, True, False, False] and few.sent == 2, "what is sent is counted",
          few.sent)


def ask(c, method, path, body=None):
    c.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    r = c.getresponse()
    return r.status, r.getheader("Connection"), r.read()


def delayed(program, delay):
    """A stop with --drain-delay-s; what was answered meanwhile, or None where that took longer than the delay."""
    with Started(program, MODELS, "--drain-delay-s", str(delay), "--drain-timeout-s", "120") as s:
        kept = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
        check(ask(kept, "POST", "/v1/embeddings", '{"model":"e","input":"x"}')[:2] == (200, "keep-alive"), "before")
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        try:
            while s.get("/readyz").status == 200:
                time.sleep(.01)
            answers = ([s.get(p).status for p in ("/readyz", "/health", "/ping", "/livez")],
                       ask(kept, "POST", "/v1/embeddings", '{"model":"e","input":"x"}')[:2],
                       s.post("/v1/embeddings", TEXT).status)
        except OSError as e:
            answers = e
        in_time = time.monotonic() - begin < delay
        s.process.wait(timeout=120)
        took = time.monotonic() - begin
        check(delay <= took < delay + 30, "the delay is kept", took)
        return answers if in_time else None


def test_delay(program):
    """--drain-delay-s: all goes on but readyz, and each answer ends its connection."""
    for delay in (3, 10, 30):  # the longer ones where the machine is too slow for the shorter
        answers = delayed(program, delay)
        if answers:
            break
    probes, kept, fresh = answers if isinstance(answers, tuple) else (answers, None, None)
    check(probes == [503, 503, 503, 200], "probes during the delay", probes)
    check(kept == (200, "close"), "a kept connection is served, and ends", kept)
    check(fresh == 200, "new connections are served", fresh)


def test_ctrl_c(program):
    """Who presses Ctrl-C waits for no load balancer; and an idle connection holds nobody up for long."""
    with Started(program, MODELS, "--drain-delay-s", "60", "--drain-timeout-s", "120") as s:
        idle = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
        check(ask(idle, "POST", "/v1/embeddings", '{"model":"e","input":"x"}')[0] == 200, "before")
        begin = time.monotonic()
        s.process.send_signal(signal.SIGINT)
        s.process.wait(timeout=100)
        check(time.monotonic() - begin < 40, "SIGINT: no delay", time.monotonic() - begin)
        # a request that is sent just as the idle connection ends finds an answer that says so
        check(ask(idle, "GET", "/livez")[:2] == (408, "close"), "the idle connection's last words")


def read_stream(port, began, ends):
    # more than can be generated within the time-out
    body = b'{"model":"g","prompt":"x","max_tokens":400,"ignore_eos":true,"n":128,"stream":true}'
    with socket.create_connection(("127.0.0.1", port)) as c:
        c.settimeout(100)
        c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        first = c.recv(65536)
        began.set()
        ends.append(first + b"".join(iter(lambda: c.recv(65536), b"")))


def test_timeout(program):
    """What is unfinished at the time-out ends, with an error where it has begun; the delay is part of the time."""
    with Started(program, MODELS, "--drain-timeout-s", "2", "--drain-delay-s", "60", "--log-level", "off",
                 "--max-sequences", "4") as s:
        s.code = 1  # something was cut
        silent = socket.create_connection(("127.0.0.1", s.port))
        half = socket.create_connection(("127.0.0.1", s.port))
        half.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        began, ends = threading.Event(), []
        streams = [threading.Thread(target=read_stream, args=(s.port, began, ends)) for _ in range(24)]
        for t in streams:
            t.start()
        check(began.wait(60), "a stream has begun")
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        for t in streams:
            t.join()
        s.process.wait(timeout=60)
        took = time.monotonic() - begin
        check(1.9 < took < 30, "it ends at the time-out, not at the delay", took)
        whole = [e.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for e in ends]
        told = [e.startswith(b"HTTP/1.1 200 ") and e.endswith(b"\n\n\r\n0\r\n\r\n")
                and b'data: {"error":{"message":"the service is stopping"' in e[-600:] for e in ends]
        refused = [e.startswith(b"HTTP/1.1 503 ") and b"the service is stopping" in e for e in ends]
        check(len(ends) == 24 and all(a + b + c == 1 for a, b, c in zip(whole, told, refused)),
              "a stream ends whole, or says why not", [e[:20] + e[-100:] for e in ends])
        check(any(told), "one that had begun is told in the stream", (sum(whole), sum(refused)))
        check(any(refused), "one that had not is refused", (sum(whole), sum(told)))
        half.settimeout(10)
        check(half.recv(100).startswith(b"HTTP/1.1 503 "), "what was half read is told")
        silent.close()
        half.close()


def test_second_signal(program):
    with Started(program, MODELS, "--drain-delay-s", "60", "--drain-timeout-s", "300", "--log-level", "off") as s:
        s.code = 1
        s.process.send_signal(signal.SIGTERM)
        while s.get("/readyz").status == 200:
            time.sleep(.01)
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        s.process.wait(timeout=60)
        check(time.monotonic() - begin < 30, "a second signal ends at once", time.monotonic() - begin)


def takes_signals(pid):
    """The process's signals are blocked: its thread has them, or will."""
    with open(f"/proc/{pid}/status") as f:
        blocked = [line.split()[1] for line in f if line.startswith("SigBlk:")]
    return bool(blocked) and int(blocked[0], 16) >> signal.SIGTERM - 1 & 1


def test_early(program):
    """A signal while models load: nothing was accepted, it ends at once. A check has found nothing out."""
    for options, code in (([], 0), (["--check"], 130)):
        for count in (30, 120, 480):  # more where the machine had all of them loaded before the signal came
            args = [program, "serve", "--port", "0", "--log-level", "off", *options]
            for i in range(count):
                args += ["--model", f"e{i}={DATA}bert-mean-st6"]
            p = subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            while p.poll() is None and not takes_signals(p.pid):
                time.sleep(.001)
            p.send_signal(signal.SIGTERM)
            out = p.communicate(timeout=60)[0]
            if not out:
                break
        check(p.returncode == code and not out, f"a signal while models load {options}", (p.returncode, out[:200]))


def main():
    program = served.start(sys.argv[1:])
    for test in (test_load, test_delay, test_ctrl_c, test_timeout, test_second_signal, test_early):
        test(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
