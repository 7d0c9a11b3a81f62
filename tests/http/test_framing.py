#!/usr/bin/env python3
"""Hostile HTTP against the running server, by raw sockets: FAULTS rows 14 to 26, 29 and 59.

    tests/http/test_framing.py [PROGRAM]       starts PROGRAM (default: build/trine) with a tiny model
    tests/http/test_framing.py HOST PORT [S]   a server that runs already; S: its request time-out in
                                               seconds (what waits for it is skipped without)

Nearly every request is followed on its connection by another one, whole and valid: where the first
is refused, the second must not be answered (request smuggling). Closing line: "N passed, N failed[,
N skipped]"; the exit code tells the truth.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import ROOT, check, skip  # noqa: E402

MODEL = "tests/golden/data/bert-mean-st6"
CONNECTIONS = 24
TIMEOUT_S = 2

address = None
timeout_s = None

BODY = b'{"input":"hello"}'
HOST = b"Host: x\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /v1/embeddings HTTP/1.1\r\n" + HOST + JSON
NEXT = b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
GOOD = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def dial():
    s = socket.create_connection(address, timeout=20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def send(s, data):
    """What the server refuses to read is no failure: the answer tells."""
    try:
        s.sendall(data)
    except OSError:
        pass


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


class Stream:
    """The answers on one connection, one after another."""

    def __init__(self, s):
        self.s, self.bytes, self.ended = s, b"", False

    def more(self):
        try:
            got = self.s.recv(65536)
        except ConnectionError:
            got = b""
        self.bytes += got
        self.ended = not got
        return bool(got)

    def answer(self, head_only=False):
        """None when the connection ends first."""
        while b"\r\n\r\n" not in self.bytes:
            if not self.more():
                return None
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:])}
        length = 0 if head_only or status == 100 else int(headers.get("content-length", 0))
        while len(self.bytes) < length:
            if not self.more():
                return None
        body, self.bytes = self.bytes[:length], self.bytes[length:]
        return Answer(status, headers, body)

    def closed(self):
        return not self.bytes and (self.ended or not self.more())


def ask(data, fin=False):
    """All answers to data until the server ends the connection, or falls silent for a second."""
    with dial() as s:
        send(s, data)
        if fin:
            try:
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        stream, answers = Stream(s), []
        s.settimeout(20)
        try:
            while True:
                a = stream.answer()
                if a is None:
                    return answers, stream.closed()
                answers.append(a)
                s.settimeout(3)
        except TimeoutError:
            return answers, False


def refused(name, data, *statuses, code=None):
    """One answer, an error in our shape, and the end: what follows in data is not answered."""
    answers, closed = ask(data + NEXT)
    a = answers[0] if answers else None
    ok = len(answers) == 1 and a.status in statuses and closed
    detail = f"{name}: {[x.status for x in answers]}, closed {closed}"
    if ok:
        try:
            e = json.loads(a.body)["error"]
            ok = (set(e) == {"message", "type", "param", "code"}
                  and e["type"] == "invalid_request_error"
                  and a.headers["content-type"] == "application/json"
                  and a.headers["connection"] == "close" and "x-request-id" in a.headers
                  and (code is None or e["code"] == code))
            detail = f"{name}: {a.headers} {a.body}"
        except (ValueError, KeyError) as problem:
            ok, detail = False, f"{name}: {problem!r} in {a.body!r}"
    check(ok, "refused, and nothing behind it is answered", detail)


def alive():
    with dial() as s:
        send(s, GOOD)
        a = Stream(s).answer()
        return a is not None and a.status == 200 and len(json.loads(a.body)["data"]) == 1


def test_good():
    with dial() as s:
        stream = Stream(s)
        for _ in range(3):
            send(s, GOOD)
            a = stream.answer()
            check(a and a.status == 200 and a.headers["connection"] == "keep-alive", "keep-alive")
        send(s, GOOD * 20)
        check([stream.answer().status for _ in range(20)] == [200] * 20, "pipelined")
        for i in range(len(GOOD)):
            send(s, GOOD[i:i + 1])
        check(stream.answer().status == 200, "a byte a segment")
        send(s, POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"1\r\n%c\r\n" % c for c in BODY) + b"0\r\n\r\n")
        a = stream.answer()
        check(a and a.status == 200, "chunks of one byte", a and a.body)
    with dial() as s:
        send(s, GOOD)
        s.shutdown(socket.SHUT_WR)
        check(Stream(s).answer().status == 200, "a half-close is not gone")
    answers, _ = ask(b"GET /livez HTTP/1.0\r\n\r\n")
    check(answers and answers[0].status == 200, "HTTP/1.0 needs no Host")


def test_lengths():
    for n in (b"33554433", b"99999999999", b"4611686018427387904"):
        begin = served.now()
        refused(f"row 14, {n}", POST + b"Content-Length: " + n + b"\r\n\r\n", 413)
        check(served.now() - begin < 5 * served.slow, "row 14: at once")
    for n in (b"", b" ", b"+17", b"-1", b"17abc", b"abc", b"0x11", b"1 7", b"17,17", b"17, 17",
              b"1e1", b"17.0", b'"17"', b"9223372036854775808", b"18446744073709551633",
              b"340282366920938463463374607431768211473"):
        refused(f"row 17, {n}", POST + b"Content-Length: " + n + b"\r\n\r\n" + BODY, 400)
    twice = b"Content-Length: 17\r\n"
    refused("row 17, twice", POST + twice + twice + b"\r\n" + BODY, 400)
    refused("row 17, twice, two cases", POST + twice + twice.lower() + b"\r\n" + BODY, 400)
    refused("no length", POST + b"\r\n", 411)
    chunks = b"Transfer-Encoding: chunked\r\n"
    end = b"0\r\n\r\n"
    refused("row 18, both", POST + twice + chunks + b"\r\n" + end, 400)
    refused("row 18, both, the other way", POST + chunks + twice + b"\r\n" + end, 400)
    refused("row 18, twice", POST + chunks + chunks + b"\r\n" + end, 400)
    for te in (b"gzip", b"identity", b"gzip, chunked", b"chunked, identity", b"xchunked",
               b"chunked;q=1", b"\x0bchunked", b"", b'"chunked"'):
        refused(f"row 18, {te}", POST + b"Transfer-Encoding: " + te + b"\r\n\r\n" + end, 400)
    refused("row 18, HTTP/1.0", b"POST /v1/embeddings HTTP/1.0\r\n" + chunks + b"\r\n" + end, 400)
    for bad in (b"-11\r\n", b"+11\r\n", b"0x11\r\n", b" 11\r\n", b"\r\n", b"zz\r\n",
                b"ffffffffffffffff\r\n", b"fffffffffffffffff\r\n", b"11 1\r\n", b"11;x\n",
                b";x=y\r\n", b"11;x=\0\r\n"):
        refused(f"chunk size {bad}", POST + chunks + b"\r\n" + bad + BODY + b"\r\n" + end, 400)
    refused("chunk without its end", POST + chunks + b"\r\n5\r\n" + BODY + b"\r\n" + end, 400)
    refused("a bare CR in a chunk's size", POST + chunks + b"\r\n1\r1\r\n" + BODY + b"\r\n" + end, 400)
    for extra in (b"11;x=y", b'0011 ; x="a;b"', b"11;" + b"x" * 5000):
        answers, closed = ask(POST + chunks + b"\r\n" + extra + b"\r\n" + BODY + b"\r\n0;z\r\nX-Sum: 1\r\n\r\n"
                              + NEXT)
        check([a.status for a in answers] == [200] and closed,
              "chunk extensions and trailers are ignored, and the connection ends", [a.status for a in answers])
    refused("endless extensions", POST + chunks + b"\r\n11;" + b"x" * 40000, 400)


def test_chunked_over_the_limit():
    with dial() as s:
        send(s, POST + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        for _ in range(34):
            send(s, chunk)
        a = Stream(s).answer()
        check(a and a.status == 413 and a.headers["connection"] == "close", "row 15")


def test_heads():
    line = b"GET /livez HTTP/1.1\r\n"
    refused("row 19, no Host", line + b"\r\n", 400)
    refused("row 19, two", line + HOST + HOST + b"\r\n", 400)
    refused("row 19, two, two cases", line + HOST + b"HOST: y\r\n\r\n", 400)
    refused("a Host with a blank", line + b"Host: a b\r\n\r\n", 400)
    for n in (64, 65, 200):
        head = line + HOST + b"".join(b"x-%d: 1\r\n" % i for i in range(n - 1)) + b"\r\n"
        if n == 64:
            check([a.status for a in ask(head + NEXT)[0]] == [200, 200], "row 20: 64 pass")
        else:
            refused(f"row 20, {n} fields", head, 431)
    late = b"".join(b"x-%d: 1\r\n" % i for i in range(64))
    refused("row 20, a late length", POST + late + b"Content-Length: 40\r\n\r\n", 431)
    refused("row 20, 17 KiB", line + HOST + b"x: " + b"v" * 17000 + b"\r\n\r\n", 431)
    refused("row 20, 1 MiB", line + HOST + b"x: " + b"v" * (1 << 20) + b"\r\n\r\n", 431)
    refused("a URI of 100 KiB", b"GET /" + b"u" * 100000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
            414, 431)
    length = b"Content-Length: 17\r\n"
    for name, head in {
        "obs-fold": HOST + b"x: a\r\n b\r\n" + length,
        "obs-fold by a tab": HOST + b"x: a\r\n\tb\r\n" + length,
        "a fold in the first line": b" " + HOST + length,
        "a blank line of spaces": HOST + b"x: a\r\n  \r\n" + length,
        "a space before the colon": HOST + b"Content-Length : 17\r\n",
        "a tab before the colon": HOST + b"Content-Length\t: 17\r\n",
        "no colon": HOST + b"nothing\r\n" + length,
        "no name": HOST + b": x\r\n" + length,
        "a name with a bracket": HOST + b"x(y: z\r\n" + length,
        "a name with a byte over 127": HOST + b"x\xe9: z\r\n" + length,
        "a bare LF": b"Host: x\n" + length,
        "a bare LF later": HOST + b"Content-Length: 17\nx: y\r\n",
        "a bare CR": HOST + b"x: a\rContent-Length: 17\r\n" + length,
        "LF CR LF": b"Host: x\n\r\n" + length,
        "NUL in a value": HOST + b"x: a\0b\r\n" + length,
        "NUL in a name": HOST + b"Content-\0Length: 17\r\n",
        "a control character": HOST + b"x: \x01\r\n" + length,
        "DEL": HOST + b"x: \x7f\r\n" + length,
    }.items():
        refused(name, b"POST /v1/embeddings HTTP/1.1\r\n" + head + b"\r\n" + BODY, 400)
    for first in (b"GET  /livez HTTP/1.1", b"GET /livez  HTTP/1.1", b"GET\t/livez HTTP/1.1",
                  b"GET /livez", b"GET", b"GET /livez HTTP/1.1 x", b" GET /livez HTTP/1.1",
                  b"\r\n\r\nGET /livez HTTP/1.1", b"\n\nGET /livez HTTP/1.1", b"BREW /livez HTTP/1.1",
                  b"get /livez HTTP/1.1", b"GET livez HTTP/1.1", b"GET /livez FTP/1.1",
                  b"GET /livez HTTP/1", b"GET /livez HTTP/2.0", b"GET /livez HTTP/1.2",
                  b"GET /livez HTTP/1.10", b"GET /liv\xe9z HTTP/1.1", b"PRI * HTTP/2.0",
                  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"{}", b"\xff\xfe\xfd"):
        refused(f"request line {first}", first + b"\r\n" + HOST + b"\r\n", 400, 505)
    refused("Expect", POST + b"Expect: 200-ok\r\n" + length + b"\r\n" + BODY, 417)


def test_paths():
    for path in (b"/%00", b"/livez%00", b"/v1/embeddings%00.json", b"/%", b"/%4", b"/%zz", b"/..",
                 b"/../../etc/passwd", b"/v1/../livez", b"/%2e%2e/%2e%2e/etc/passwd", b"/..%2flivez",
                 b"/./livez", b"/%2e/livez", b"/..%5clivez", b"/a\\..\\b", b"/%0d%0aX-Injected:1",
                 b"/%ff", b"/%c0%ae%c0%ae/etc/passwd", b"/livez#x"):
        refused(f"row 25, {path}", b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400)
    for path in (b"/etc/passwd", b"/Makefile", b"/LIVEZ", b"/livezz", b"/livez/x", b"/v1/livez",
                 b"/v1/embeddings/x", b"/index.html", b"/cgi-bin/x.cgi", b"/v1", b"/v1/v1/embeddings"):
        answers, _ = ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT)
        check([a.status for a in answers] == [404, 200], f"row 24, {path}",
              [a.status for a in answers])
    for method in (b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
        extra = b"Content-Length: 0\r\n" if method in (b"PUT", b"PATCH") else b""
        a = ask(method + b" /v1/embeddings HTTP/1.1\r\n" + HOST + extra + b"\r\n" + NEXT)[0][0]
        check(a.status == 405 and a.headers.get("allow") == "POST", f"row 24, {method}", a.status)
    answers, _ = ask(b"GET /%6civez?x=%00&y=../.. HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT)
    check(answers and answers[0].status == 200, "escapes are decoded once")
    answers, _ = ask(b"GET /%256civez HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT)
    check(answers and answers[0].status == 404, "and not twice")


def test_targets():
    """RFC 9112, 3.2: the whole address, whosever it is, and the asterisk."""
    port = str(address[1]).encode()
    for origin in (b"http://127.0.0.1:" + port, b"http://models.internal", b"HTTPS://x:1", b"http://[::1]:80"):
        for path, status in ((b"/livez", 200), (b"//livez/?a=b", 200), (b"/nowhere", 404), (b"", 200), (b"?a", 200)):
            answers, _ = ask(b"GET " + origin + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT)
            check([a.status for a in answers] == [status, 200], f"absolute form {origin + path}",
                  [a.status for a in answers])
        answers, _ = ask(GOOD.replace(b"/v1", origin + b"/v1", 1) + NEXT)
        check([a.status for a in answers] == [200, 200], f"absolute form of POST, {origin}")
    for bad in (b"http://", b"http:///livez", b"ftp://x/livez", b"ws://x/livez", b"http://a@b/livez", b"livez",
                b"x:443", b"**", b"http://x/../livez", b"http://x/%00", b"http://x\\y/livez"):
        refused(f"target {bad}", b"GET " + bad + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400)
    answers, _ = ask(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT)
    check([a.status for a in answers] == [204, 200] and "GET" in answers[0].headers.get("allow", ""), "OPTIONS *")
    refused("GET *", b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400)


def test_content_codings():
    for coding, status in ((b"gzip", 415), (b"br", 415), (b"identity, gzip", 415), (b"x-unknown", 415),
                           (b"identity", 200), (b"Identity", 200), (b"", 200)):
        data = (POST + b"Content-Encoding: " + coding + b"\r\nContent-Length: 17\r\n\r\n" + BODY + NEXT)
        answers, _ = ask(data)
        check([a.status for a in answers] == [status, 200], f"Content-Encoding: {coding}",
              [a.status for a in answers])


def test_content_types():
    for kind, status in ((b"text/plain", 415), (b"application/x-www-form-urlencoded", 415),
                         (b"application/json; charset=utf-8", 200), (b"APPLICATION/JSON", 200),
                         (b"application/jsonx", 415), (None, 200)):
        head = b"" if kind is None else b"Content-Type: " + kind + b"\r\n"
        data = (b"POST /v1/embeddings HTTP/1.1\r\n" + HOST + head
                + b"Content-Length: 17\r\n\r\n" + BODY + NEXT)
        answers, _ = ask(data)
        check([a.status for a in answers] == [status, 200], f"row 26, {kind}",
              [a.status for a in answers])


def test_expect():
    with dial() as s:
        stream = Stream(s)
        send(s, POST + b"Content-Length: 17\r\nExpect: 100-continue\r\n\r\n")
        a = stream.answer()
        check(a and a.status == 100, "row 23: 100 before the body")
        send(s, BODY)
        a = stream.answer()
        check(a and a.status == 200, "row 23: then the answer")
    for name, data, status in (
            ("too large", POST + b"Content-Length: 99999999\r\n", 413),
            ("no such path", b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 17\r\n", 404),
            ("another type", b"POST /v1/embeddings HTTP/1.1\r\n" + HOST
             + b"Content-Type: text/plain\r\nContent-Length: 17\r\n", 415)):
        with dial() as s:
            begin = served.now()
            send(s, data + b"Expect: 100-continue\r\n\r\n")
            a = Stream(s).answer()
            check(a and a.status == status and served.now() - begin < 1 * served.slow,
                  f"row 23: {name} is said at once", a and a.status)


def drip(begin, count):
    """A byte each 100 ms; (seconds until the end, the answers' statuses)."""
    start = served.now()
    with dial() as s:
        send(s, begin)
        s.settimeout(.1)
        stream = Stream(s)
        for _ in range(count):
            try:
                stream.more()
                break
            except TimeoutError:
                send(s, b"a")
        s.settimeout(timeout_s + 30)
        a = stream.answer()
        return served.now() - start, a and a.status


def test_slow():
    if timeout_s is None:
        skip("row 21: the server's time-out is not known")
        return
    for name, begin in (("head", b"GET /livez HTTP/1.1\r\nx: "),
                        ("body", POST + b"Content-Length: 1000\r\n\r\n"),
                        ("chunk", POST + b"Transfer-Encoding: chunked\r\n\r\n500\r\n")):
        seconds, status = drip(begin, 100 * timeout_s)
        check(status in (408, None) and seconds < timeout_s + 1.5 * served.slow, f"row 21: {name} drip",
              f"{status} after {seconds:.1f} s")
    with dial() as s:
        s.settimeout(timeout_s + 30)
        begin = served.now()
        check(Stream(s).answer() is None and served.now() - begin < timeout_s + 3 * served.slow,
              "a silent connection is closed")


def test_short():
    for name, data in (("length", POST + b"Content-Length: 18\r\n\r\n" + BODY),
                       ("chunk", POST + b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + BODY),
                       ("end", POST + b"Transfer-Encoding: chunked\r\n\r\n11\r\n" + BODY + b"\r\n")):
        begin = served.now()
        answers, closed = ask(data, fin=True)
        check(not [a for a in answers if a.status == 200] and closed
              and served.now() - begin < 1.5 * served.slow, f"row 22: {name}",
              [a.status for a in answers])


def test_connection_limit():
    if timeout_s is None:
        skip("row 29: the server's limit is not known")
        return
    # Idle and silent connections, far more than there may be: the longest idle ones go.
    idle = [dial() for _ in range(3 * CONNECTIONS)]
    time.sleep(.3)
    for _ in range(5):
        begin = served.now()
        answers, _ = ask(GOOD + NEXT)
        took = served.now() - begin
        check([a.status for a in answers] == [200, 200] and took < 2 * served.slow,
              "silent connections keep nobody out", f"{[a.status for a in answers]} in {took:.1f} s")
    for s in idle:
        s.close()
    # All are busy, with bodies that are still coming: further ones are refused, but for probes.
    half = POST + b"Content-Length: 17\r\n\r\n" + BODY[:5]
    for _ in range(5):  # a slow machine may have let the first of them run into the time limit
        busy = [dial() for _ in range(CONNECTIONS)]
        for s in busy:
            send(s, half)
        time.sleep(.3)
        begin = served.now()
        answers, closed = ask(GOOD)
        took = served.now() - begin
        probes = [ask(NEXT.replace(b"/livez", path))[0] for path in (b"/livez", b"/readyz", b"/health", b"/ping") * 3]
        for s in busy:
            s.close()
        if answers and answers[0].status == 503:
            break
    check(len(answers) == 1 and answers[0].status == 503 and "retry-after" in answers[0].headers,
          "row 29", [a.status for a in answers])
    check(closed and took < 2 * served.slow, "row 29: at once", f"{took:.1f} s")
    check([a[0].status for a in probes if a] == [200] * 12, "probes get through", probes)
    for _ in range(100):
        try:
            if alive():
                break
        except (OSError, AttributeError):
            pass
        time.sleep(.02)
    check(alive(), "row 29: it recovers")


def test_mutations():
    """Random damage to a valid request: an answer or the end, never a 5xx, never silence."""
    rng = random.Random(20)
    bits = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"Content-Length: 3\r\n", b"\xff",
            b"Transfer-Encoding: chunked\r\n", b"0", b"-", b"%", b"?", b"/", b"HTTP/1.1", b",", b"\r\n\r\n"]
    bad = 0
    for _ in range(600):
        data = bytearray(GOOD)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at:at + rng.randint(1, 8)]
            elif kind == 2:
                data[at:at] = rng.choice(bits)
            else:
                end = at + rng.randint(1, 30)
                data[at:at] = data[at:end]
        try:
            answers, closed = ask(bytes(data), fin=True)
            ok = closed and all(a.status < 500 or a.status == 505 for a in answers)
        except (TimeoutError, ValueError, IndexError) as problem:
            ok, answers = False, [problem]
        if not ok:
            bad += 1
            print(f"    {bytes(data)!r}: {answers}", file=sys.stderr)
    check(bad == 0, "600 damaged requests", bad)
    check(alive(), "and the server serves on")


TESTS = [test_good, test_lengths, test_chunked_over_the_limit, test_heads, test_paths,
         test_content_types, test_expect, test_slow, test_short, test_connection_limit,
         test_mutations]


def run_all():
    for test in TESTS:
        try:
            test()
            check(alive(), f"alive after {test.__name__}")
        except Exception:  # a broken answer must not hide the tests behind it
            check(False, test.__name__, traceback.format_exc())


def main():
    global address, timeout_s
    args = sys.argv[1:]
    if len(args) >= 2:
        address = (args[0], int(args[1]))
        timeout_s = float(args[2]) if len(args) > 2 else None
        run_all()
    else:
        program = served.start(args)
        timeout_s = TIMEOUT_S
        server = subprocess.Popen(
            [program, "serve", "--model", MODEL, "--port", "0", "--request-timeout-s",
             str(TIMEOUT_S), "--max-connections", str(CONNECTIONS), "--log-level", "warn"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            line = server.stdout.readline()
            if check(line.startswith("listening on http://"), "the server starts", repr(line)):
                address = ("127.0.0.1", int(line.rsplit(":", 1)[1]))
                run_all()
                server.send_signal(signal.SIGTERM)
                check(server.wait(timeout=60) == 0, "row 59: SIGTERM ends it with 0",
                      server.returncode)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
