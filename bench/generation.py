#!/usr/bin/env python3
"""What generation promises under load, measured on one machine in one run.

    bench/generation.py MODEL [--trine PROGRAM] [--only streams,seeds,kill,prefix]

  streams   16 streams while a 4,000-token prompt arrives: the gaps between their tokens before and
            meanwhile, and that prompt's first token against its time alone
  seeds     the same seed alone and among 31 others: the same text
  kill      100 clients gone in mid-stream: no block is referenced afterwards
  prefix    a second request with the same 2,000-token prefix, and another key's

MODEL needs a context of 8,192 tokens (SmolLM2-135M-Instruct). Standard library only. Loopback only.
"""
import argparse
import hashlib
import http.client
import json
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TRINE_DRAIN_DELAY_S", "0")  # nobody waits for a load balancer

os.environ.pop("OPENBLAS_CORETYPE", None)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDS = ("sea wind stone river light paper window garden winter engine market bridge letter summer "
         "music number yellow forest kitchen silver morning island picture travel holiday").split()


class Server:
    def __init__(self, trine, model, *more):
        self.process = subprocess.Popen([trine, "serve", "--model", model, "--port", "0", "--log-level", "error", *more],
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split(":")[-1])
        while self.get("/readyz")[0] != 200:
            time.sleep(0.05)

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        c.request("GET", path)
        r = c.getresponse()
        return r.status, r.read().decode()

    def metric(self, name):
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def words(n, seed):
    r = random.Random(seed)
    return " ".join(r.choice(WORDS) for _ in range(n))


def post(port, body, key=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Bearer " + key
    c.request("POST", "/v1/completions", json.dumps(body), headers)
    return c, c.getresponse()


def whole(port, body, key=None):
    c, r = post(port, body, key)
    answer = json.loads(r.read())
    if r.status != 200:
        sys.exit(f"status {r.status}: {answer}")
    return answer


def stream(port, body, times, stop=None, key=None):
    """Appends the arrival time of each event with text."""
    c, r = post(port, {**body, "stream": True}, key)
    if r.status != 200:
        sys.exit(f"status {r.status}: {r.read()}")
    for line in r:
        if line.startswith(b'data: {'):
            times.append(time.perf_counter())
        if stop and stop.is_set():
            break
    c.close()


def percentiles(gaps):
    gaps = sorted(gaps)
    at = lambda q: gaps[min(len(gaps) - 1, int(q * len(gaps)))] * 1e3
    return f"p50 {at(.5):.1f}  p90 {at(.9):.1f}  p99 {at(.99):.1f}  worst {gaps[-1] * 1e3:.1f} ms"


class Streams(threading.Thread):
    """Reads many streams in one thread with little work for an event: the reader must not take the
    processor from the server that it measures. times[i] are the arrivals of stream i's events."""

    def __init__(self, port, bodies):
        super().__init__()
        self.times, self.stopped = [[] for _ in bodies], False
        self.selector = selectors.DefaultSelector()
        for i, body in enumerate(bodies):
            text = json.dumps({**body, "stream": True})
            s = socket.create_connection(("127.0.0.1", port))
            s.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(text)}\r\n\r\n{text}".encode())
            self.selector.register(s, selectors.EVENT_READ, i)

    def run(self):
        while not self.stopped:
            for key, _ in self.selector.select(1):
                got = key.fileobj.recv(1 << 16)
                now = time.perf_counter()
                self.times[key.data].extend([now] * got.count(b"data: {"))
                if not got:
                    sys.exit("a stream ended early")
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def measure_streams(server, count, prompt_words):
    long_body = {"prompt": words(prompt_words, 1), "max_tokens": 1, "temperature": 0}
    alone = []
    for i in range(3):
        start = time.perf_counter()
        answer = whole(server.port, {**long_body, "prompt": words(prompt_words, 100 + i)})
        alone.append(time.perf_counter() - start)
    tokens = answer["usage"]["prompt_tokens"]
    print(f"  a prompt of {tokens} tokens alone: first token after {statistics.median(alone) * 1e3:.0f} ms")
    streams = Streams(server.port, [{"prompt": words(30, 200 + i), "max_tokens": 4000, "ignore_eos": True, "seed": i}
                                    for i in range(count)])
    streams.start()
    while min(len(t) for t in streams.times) < 40:
        time.sleep(0.05)
    usual_from = time.perf_counter()
    time.sleep(5)
    arrived = time.perf_counter()
    whole(server.port, long_body)
    answered = time.perf_counter()
    time.sleep(3)
    usual_to = time.perf_counter()
    streams.stopped = True
    streams.join()
    usual, beside = [], []
    for one in streams.times:
        for a, b in zip(one, one[1:]):
            if arrived <= b <= answered:
                beside.append(b - a)
            elif usual_from < b < usual_to:
                usual.append(b - a)
    middle = statistics.median(usual)
    at = lambda gaps, q: sorted(gaps)[min(len(gaps) - 1, int(q * len(gaps)))]
    print(f"  {count} streams, usual gaps:  {percentiles(usual)}  ({count / statistics.mean(usual):.0f} tokens/s in all)")
    print(f"  beside the long prompt: {percentiles(beside)}")
    print("  beside / usual:         " + "  ".join(f"p{q:g} {at(beside, q / 100) / at(usual, q / 100):.2f}x"
                                                   for q in (50, 90, 99)) + f"  worst {max(beside) / max(usual):.2f}x")
    print(f"  gaps beside it below twice the usual median: {100 * sum(g < 2 * middle for g in beside) / len(beside):.2f} %, "
          f"worst {max(beside) / middle:.2f}x of it (bar 2)")
    print(f"  first token of the prompt after {(answered - arrived) * 1e3:.0f} ms, "
          f"{(answered - arrived) / statistics.median(alone):.2f}x of alone (bar 3)")


def measure_seeds(server):
    body = lambda i: {"prompt": words(20 + i, i), "max_tokens": 64, "temperature": 1, "seed": i, "ignore_eos": True,
                      "logprobs": 2}
    alone = {i: whole(server.port, body(i))["choices"][0] for i in range(0, 32, 4)}
    together = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: whole(server.port, body(i))["choices"][0]}))
               for i in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    same = sum(alone[i] == together[i] for i in alone)
    print(f"  {same} of {len(alone)} seeded texts (and logprobs) are the same alone and among 31 others")


def measure_kill(server, count):
    before = server.metric('trine_generations_total{outcome="cancelled"}')
    ready = []

    def one(i):
        c, r = post(server.port, {"prompt": words(40, i), "max_tokens": 4000, "ignore_eos": True, "stream": True})
        for line in r:
            if line.startswith(b"data: {"):
                break
        ready.append((c, r))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    waited = time.perf_counter()
    while len(ready) < min(count, 32) and time.perf_counter() - waited < 60:
        time.sleep(0.05)
    used = server.metric("trine_kv_blocks_used")
    for c, r in list(ready):  # those that stream; the others wait for their place
        c.sock and c.sock.close()
        r.close()
    while any(t.is_alive() for t in threads) or ready:
        for c, r in list(ready):
            r.close()
            c.close()
            ready.remove((c, r))
        time.sleep(0.02)
    start = time.perf_counter()
    while server.metric("trine_kv_blocks_used") > 0 and time.perf_counter() - start < 20:
        time.sleep(0.02)
    gone = server.metric('trine_generations_total{outcome="cancelled"}') - before
    print(f"  {count} clients gone ({gone:.0f} cancelled): {used:.0f} blocks used before, "
          f"{server.metric('trine_kv_blocks_used'):.0f} after {(time.perf_counter() - start) * 1e3:.0f} ms")


def measure_prefix(trine, model, words_in):
    keys = {"first": "key-one", "second": "key-two"}
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        for name, key in keys.items():
            f.write(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}:user:1\n")
        f.flush()
        server = Server(trine, model, "--api-key-file", f.name)
        first, again, other = [], [], []
        for i in range(3):
            prefix = words(words_in, 300 + i)
            for tail, key, into in (("one", "key-one", first), ("two", "key-one", again), ("three", "key-two", other)):
                start = time.perf_counter()
                answer = whole(server.port, {"prompt": prefix + " and then " + tail, "max_tokens": 1, "temperature": 0},
                               key)
                into.append((time.perf_counter() - start, answer["usage"]["prompt_tokens_details"]["cached_tokens"]))
        total = answer["usage"]["prompt_tokens"]
        middle = lambda xs: statistics.median(x[0] for x in xs) * 1e3
        print(f"  prompt of {total} tokens: first {middle(first):.0f} ms; the same prefix again {middle(again):.1f} ms "
              f"({middle(first) / middle(again):.0f}x sooner, {again[-1][1]} cached; bar 10x); another key's "
              f"{middle(other):.0f} ms ({other[-1][1]} cached)")
        server.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--trine", default=os.path.join(ROOT, "build/trine"))
    p.add_argument("--streams", type=int, default=16)
    p.add_argument("--only", default="streams,seeds,kill,prefix")
    a = p.parse_args()
    print(subprocess.run([a.trine, "--version"], capture_output=True, text=True).stdout.strip())
    only = a.only.split(",")
    server = Server(a.trine, a.model) if set(only) & {"streams", "seeds", "kill"} else None
    if "streams" in only:
        print("streams")
        measure_streams(server, a.streams, 4000)
    if "seeds" in only:
        print("seeds")
        measure_seeds(server)
    if "kill" in only:
        print("kill")
        measure_kill(server, 100)
    if server:
        server.stop()
    if "prefix" in only:
        print("prefix")
        measure_prefix(a.trine, a.model, 2000)


if __name__ == "__main__":
    main()
