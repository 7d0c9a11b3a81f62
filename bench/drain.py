#!/usr/bin/env python3
"""bench/drain.py [PROGRAM] [--model M] [--stops 50] [--requests 2000] [--clients 24] [--json]

How many requests a stop loses. Starts the service, loads it from clients of four kinds, sends SIGTERM in the middle,
and lets every client go on until it is refused at connect. A request counts as sent once its connection stands; it is
lost when no complete answer comes. Kinds: one connection a request; kept-alive connections, one request behind the
other; kept-alive ones that pause at random, and do not look at their connection before they send; and slow ones, whose
head and body come in pieces. Speaks to loopback only, and ends: a stop has 2 * requests at most.
Exit code: 0 when nothing was lost and every stop ended with 0."""

import argparse
import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = os.path.join(ROOT, "tests/golden/data/bert-mean-st6")
BODY = b'{"input":["a stop loses nothing","of what was sent"]}'
KINDS = ("new", "kept", "paused", "pieces")


class Lost(Exception):
    pass


def request(close):
    return (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + (b"Connection: close\r\n" if close else b"") + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)


def read_answer(s):
    """Status and whether the connection goes on; Lost when the answer is not complete."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            raise Lost(f"end after {len(data)} bytes of head")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields[b"content-length"])
    while len(body) < length:
        more = s.recv(65536)
        if not more:
            raise Lost(f"end after {len(body)} of {length} bytes of body")
        body += more
    return int(head.split()[1]), fields.get(b"connection") != b"close"


class Load:
    """Clients of one server, until they are refused or have sent `most` requests together."""

    def __init__(self, port, clients, most, seed):
        self.port, self.most, self.lock = port, most, threading.Lock()
        self.sent = self.refused = 0
        self.status, self.kinds, self.lost = collections.Counter(), collections.Counter(), []
        self.threads = [threading.Thread(target=self.run, args=(KINDS[i % 4], random.Random(seed * 1000 + i)))
                        for i in range(clients)]
        for t in self.threads:
            t.start()

    def connect(self):
        s = socket.socket()
        s.settimeout(60)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            s.connect(("127.0.0.1", self.port))
        except ConnectionRefusedError:
            s.close()
            with self.lock:
                self.refused += 1
            return None
        return s

    def begin(self):
        """Counts one more request, if it may be sent."""
        with self.lock:
            go_on = self.sent < self.most
            self.sent += go_on
            return go_on

    def send(self, s, kind, rng):
        data = request(kind in ("new", "pieces"))
        if kind != "pieces":
            s.sendall(data)
            return
        cut = sorted(rng.sample(range(1, len(data)), 2))
        for a, b in zip([0] + cut, cut + [len(data)]):
            time.sleep(rng.random() * .02)
            s.sendall(data[a:b])

    def one(self, s, kind, rng):
        try:
            self.send(s, kind, rng)
            status, alive = read_answer(s)
            with self.lock:
                self.status[status] += 1
                self.kinds[kind] += 1
            return alive
        except (OSError, Lost) as e:
            with self.lock:
                self.lost.append(f"{kind}: {type(e).__name__} {e}")
            return False

    def run(self, kind, rng):
        s = None
        while self.begin():
            try:
                s = s or self.connect()
            except OSError as e:  # anything but a refusal
                with self.lock:
                    self.lost.append(f"{kind}: connect: {e}")
                return
            if not s:
                with self.lock:
                    self.sent -= 1
                return
            if not self.one(s, kind, rng) or kind in ("new", "pieces"):
                s.close()
                s = None
            if kind == "paused":
                time.sleep(rng.random() * .03)
        if s:
            s.close()

    def done(self):
        for t in self.threads:
            t.join()


def stop_once(program, model, clients, requests, seed, options=()):
    """One server's life: (Load, exit code, seconds from the signal to the end)."""
    p = subprocess.Popen([program, "serve", "--model", model, "--port", "0", "--log-level", "error", *options],
                         stdout=subprocess.PIPE, text=True, env=dict(os.environ, TRINE_DRAIN_DELAY_S="0"))
    try:
        line = p.stdout.readline()
        if not line.startswith("listening on"):
            raise RuntimeError(f"the server does not start: {line!r}")
        load = Load(int(line.rsplit(":", 1)[1]), clients, 2 * requests, seed)
        while load.sent < requests and any(t.is_alive() for t in load.threads):
            time.sleep(.001)
        time.sleep(random.Random(seed).random() * .02)
        begin = time.monotonic()
        p.send_signal(signal.SIGTERM)
        code = p.wait(timeout=90)
        seconds = time.monotonic() - begin
        load.done()
        return load, code, seconds
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    a.add_argument("program", nargs="?", default=os.path.join(ROOT, "build", "trine"))
    a.add_argument("--model", default=MODEL)
    a.add_argument("--stops", type=int, default=50)
    a.add_argument("--requests", type=int, default=2000, help="before each signal")
    a.add_argument("--clients", type=int, default=24)
    a.add_argument("--json", action="store_true")
    o = a.parse_args()
    sent, lost, refused, status, kinds, codes, times = 0, [], 0, collections.Counter(), collections.Counter(), [], []
    for i in range(min(o.stops, 1000)):
        load, code, seconds = stop_once(os.path.abspath(o.program), o.model, o.clients, min(o.requests, 100000), i)
        sent, refused, codes, times = sent + load.sent, refused + load.refused, codes + [code], times + [seconds]
        lost += load.lost
        status += load.status
        kinds += load.kinds
        if load.lost and not o.json:
            print(f"stop {i}: lost {load.lost[:5]}", flush=True)
    times.sort()
    result = {"stops": len(codes), "sent": sent, "answered": sum(status.values()), "lost": len(lost),
              "refused_at_connect": refused, "status": dict(status), "by_kind": dict(kinds),
              "not_0": sum(c != 0 for c in codes), "stop_s_median": round(times[len(times) // 2], 2),
              "stop_s_max": round(times[-1], 2)}
    print(json.dumps(result) if o.json else " ".join(f"{k}={v}" for k, v in result.items()))
    return 1 if lost or any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
