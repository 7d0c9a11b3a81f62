#!/usr/bin/env python3
"""Large answers and slow readers: a reader that is slow but steady gets all of it, one that stands still is cut, and
the log says so; an answer that is cut never looks whole.

Usage: python3 tests/http/test_slow_reader.py [TRINE]"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402

PROMPTS = 160
RATE = .9  # of what the server makes of it: over the whole stream less than a MiB falls behind
ECHO = {"model": "g", "prompt": [[i % 200 + 5 for i in range(400)]] * PROMPTS, "echo": True, "logprobs": 5,
        "max_tokens": 1}


def ask(port, body, version="1.1", buffer=8192):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    s.settimeout(60)
    s.connect(("127.0.0.1", port))
    data = json.dumps(body).encode()
    s.sendall(f"POST /v1/completions HTTP/{version}\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
              f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return s


def rate_of(port):
    """Bytes a second that the server makes for a reader that takes them at once."""
    with ask(port, dict(ECHO, stream=True), "1.0", 1 << 22) as s:
        n, begin = len(s.recv(1 << 16)), time.monotonic()
        for piece in iter(lambda: s.recv(1 << 20), b""):
            n += len(piece)
        return n / (time.monotonic() - begin)


def read_slowly(s, rate):
    """Steadily: not faster than that, and what a loaded machine took from it is caught up with."""
    pieces, begin, n = [], time.monotonic(), 0
    for piece in iter(lambda: s.recv(1 << 16), b""):
        pieces.append(piece)
        n += len(piece)
        ahead_s = n / rate - (time.monotonic() - begin)
        if ahead_s > 0:
            time.sleep(ahead_s)
    return b"".join(pieces)


def unchunk(data):
    out, at = [], 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        n = int(data[at:end], 16)
        if n == 0:
            return b"".join(out), data[end:] == b"\r\n\r\n"
        out.append(data[end + 2:end + 2 + n])
        at = end + 4 + n
    return b"".join(out), False


def test_large(port):
    rate = RATE * rate_of(port)
    for version in ("1.1", "1.0"):
        with ask(port, dict(ECHO, stream=True), version) as s:
            head, body = read_slowly(s, rate).split(b"\r\n\r\n", 1)
        whole = True
        if version == "1.1":
            body, whole = unchunk(body)
        check(head.startswith(b"HTTP/1.1 200") and whole and body.endswith(b"data: [DONE]\n\n"),
              f"HTTP/{version}: a slow reader gets a large stream whole", (whole, len(body), body[-100:]))
        events = [json.loads(e[6:]) for e in body.decode().split("\n\n")[:-2]]
        seen = {c["index"] for e in events for c in e["choices"] if c.get("logprobs")}
        check(len(seen) == PROMPTS and len(body) > 8 << 20, f"HTTP/{version}: every choice of it", (len(seen), len(body)))
    with ask(port, ECHO) as s:
        head, body = read_slowly(s, rate).split(b"\r\n\r\n", 1)
    check(len(json.loads(body)["choices"]) == PROMPTS, "and a large answer in one")


def test_still(port, log):
    """Nothing is read: it ends at the write deadline (here 2 s), and the log says what became of it."""
    for stream in (True, False):
        before = len(log())
        s = ask(port, dict(ECHO, stream=stream), buffer=2048)
        begin = time.monotonic()
        while "cut" not in log()[before:] and time.monotonic() - begin < 20 + 10 * served.slow:
            time.sleep(.05)
        line = [x for x in log()[before:].splitlines() if "cut" in x]
        check(len(line) == 1 and "/v1/completions" in line[0] and "reader" in line[0] and "req-" in line[0],
              f"a cut answer is in the log, stream {stream}", log()[before:])
        s.settimeout(10)
        try:
            rest = b"".join(iter(lambda: s.recv(1 << 16), b""))
        except OSError:
            rest = b""
        check(not rest.endswith(b"0\r\n\r\n") and not rest.endswith(b"}"), "and does not look whole", rest[-50:])
        s.close()


def main():
    program = served.start(sys.argv[1:])
    errors = open(os.path.join(ROOT, "build", f"slow_reader.{os.getpid()}.log"), "w+")
    os.unlink(errors.name)
    p = subprocess.Popen([program, "serve", "--port", "0", "--model", f"g={DATA}tiny_chat", "--request-timeout-s",
                          str(int(3 * served.slow)), "--log-level", "warn"], cwd=ROOT, stdout=subprocess.PIPE,
                         stderr=errors, text=True)

    def log():
        errors.seek(0)
        return errors.read()
    try:
        port = int(p.stdout.readline().rsplit(":", 1)[1])
        test_large(port)
        test_still(port, log)
        p.send_signal(signal.SIGTERM)
        check(p.wait(timeout=60) == 0, "the server ends with 0", p.returncode)
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
