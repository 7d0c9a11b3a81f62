#!/usr/bin/env python3
"""bench/probes.py [PROGRAM] [--json]

How long /livez takes, on a connection of its own each time, while silent, idle and busy connections beset a server of
256: what a probe sees. Speaks to loopback only, and ends.
Exit code: 0 when every probe was answered with 200 within a second."""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "tests/golden/data/")
PROBES = 200

os.environ.setdefault("TRINE_DRAIN_DELAY_S", "0")  # nobody waits for a load balancer


def probe(port):
    begin = time.monotonic()
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        c.request("GET", "/livez")
        status = c.getresponse().status
        c.close()
    except OSError as e:
        status = type(e).__name__
    return time.monotonic() - begin, status


def measure(port, what, results):
    seen = [probe(port) for _ in range(PROBES)]
    times = sorted(t for t, _ in seen)
    results.append({"beside": what, "probes": len(seen), "not_200": sum(s != 200 for _, s in seen),
                    "p50_ms": round(times[len(times) // 2] * 1e3, 2), "p99_ms": round(times[-2] * 1e3, 2),
                    "max_ms": round(times[-1] * 1e3, 2)})


def dial(port, data=b""):
    s = socket.create_connection(("127.0.0.1", port))
    if data:
        s.sendall(data)
    return s


def post(path, body):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def closed_loop(port, stop):
    body = post("/v1/embeddings", {"model": "e", "input": "a client that never rests"})
    s = None
    while not stop.is_set():
        try:
            s = s or dial(port)
            s.sendall(body)
            answer = s.recv(65536)
            if not answer or b"\r\nConnection: close" in answer:
                s.close()
                s = None
        except OSError:
            s = None
            time.sleep(.01)
    if s:
        s.close()


def run(port):
    results = []
    measure(port, "nothing", results)
    for n in (256, 512, 1000):
        held = [dial(port) for _ in range(n)]
        measure(port, f"{n} silent connections", results)
        for s in held:
            s.close()
    held = []
    for _ in range(300):
        held.append(dial(port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))
        held[-1].recv(4096)
    measure(port, "300 idle kept connections", results)
    for s in held:
        s.close()
    held = [dial(port, b"POST /v1/embeddings HT") for _ in range(400)]
    measure(port, "400 halves of a head", results)
    for s in held:
        s.close()
    time.sleep(1)
    talk = post("/v1/completions", {"model": "g", "prompt": "x", "max_tokens": 480, "ignore_eos": True, "stream": True})
    held = [dial(port, talk) for _ in range(300)]
    time.sleep(.5)
    measure(port, "300 connections with long generations, 256 of them taken", results)
    for s in held:
        s.close()
    time.sleep(1)
    stop = threading.Event()
    threads = [threading.Thread(target=closed_loop, args=(port, stop)) for _ in range(300)]
    for t in threads:
        t.start()
    time.sleep(1)
    measure(port, "300 clients that never rest", results)
    stop.set()
    for t in threads:
        t.join()
    return results


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    a.add_argument("program", nargs="?", default=os.path.join(ROOT, "build", "trine"))
    a.add_argument("--json", action="store_true")
    o = a.parse_args()
    p = subprocess.Popen([os.path.abspath(o.program), "serve", "--port", "0", "--log-level", "error", "--model",
                          f"e={DATA}bert-mean-st6", "--model", f"g={DATA}tiny_chat", "--max-connections", "256"],
                         stdout=subprocess.PIPE, text=True)
    try:
        results = run(int(p.stdout.readline().rsplit(":", 1)[1]))
    finally:
        p.kill()
        p.wait()
    for r in results:
        print(json.dumps(r) if o.json else f"{r['beside']:60} p50 {r['p50_ms']:8.2f} p99 {r['p99_ms']:8.2f} "
                                           f"max {r['max_ms']:8.2f} ms, {r['not_200']} of {r['probes']} not 200")
    return 1 if any(r["not_200"] or r["max_ms"] > 1000 for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
