#!/usr/bin/env python3
"""What costly grammars do to everybody else, measured on one machine in one run.

    bench/masks.py [--trine PROGRAM] [--generator MODEL] [--embedder MODEL] [--seconds N]

Another client embeds one short text after the other: alone, beside eight plain generations, beside
eight with an ordinary schema, and beside eight whose every mask takes all the work it may. Then the
tokens a second of one stream with an ordinary schema and of one without, alone and beside the eight;
and that a costly text with a seed is the same alone and beside others.

Standard library only. Loopback only.
"""
import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COSTLY = ("root ::= " + " | ".join(f"x{i}" for i in range(900)) + "\n" +
          "".join(f'x{i} ::= ([a-z]+ | [A-Z]+ | " " | "," | ".")+ "{i}"\n' for i in range(900)))
SCHEMA = {"type": "object", "required": ["name", "tags", "text", "age"], "properties": {
    "name": {"type": "string", "maxLength": 30}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 3, "maxItems": 8},
    "text": {"type": "string", "minLength": 400, "maxLength": 600}}}


class Server:
    def __init__(self, trine, models):
        command = [trine, "serve", "--port", "0", "--log-level", "error"]
        for m in models:
            command += ["--model", m]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split(":")[-1])
        while self.call("GET", "/readyz")[0] != 200:
            time.sleep(0.05)

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        c.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, r.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def ask(server, body):
    status, text = server.call("POST", "/v1/completions", body)
    if status != 200:
        sys.exit(f"status {status}: {text.decode()[:300]}")
    return json.loads(text)


class Load:
    """Clients that ask one after the other until stopped; tokens[] are their answers' lengths."""

    def __init__(self, server, count, body):
        self.server, self.body, self.stopping, self.tokens = server, body, False, 0
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]

    def run(self, i):
        turn = 0
        while not self.stopping:
            c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=600)
            c.request("POST", "/v1/completions", json.dumps({**self.body, "seed": 1000 * i + turn, "stream": True}),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            if r.status != 200:
                sys.exit(f"status {r.status}: {r.read().decode()[:300]}")
            for line in r:
                self.tokens += line.startswith(b"data: {")
                if self.stopping:
                    break
            c.close()
            turn += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        begin = time.perf_counter()
        while self.tokens < len(self.threads) and time.perf_counter() < begin + 60:
            time.sleep(0.05)
        self.begin, self.before = time.perf_counter(), self.tokens
        return self

    def rate(self):
        return (self.tokens - self.before) / (time.perf_counter() - self.begin)

    def __exit__(self, *_):
        self.stopping = True
        for t in self.threads:
            t.join()


def embed(server, model, seconds):
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"model": model, "input": "the sea and the wind over the stones of the old harbour wall"})
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        c.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
        r = c.getresponse()
        r.read()
        if r.status != 200:
            sys.exit(f"embedding: status {r.status}")
        times.append((time.perf_counter() - begin) * 1e3)
        time.sleep(0.01)
    times.sort()
    return times


def show(what, times, idle, note=""):
    p50 = statistics.median(times)
    print(f"  {what:34} p50 {p50:7.2f}  p90 {times[len(times) * 9 // 10]:7.2f}  p99 {times[len(times) * 99 // 100]:7.2f}  "
          f"worst {times[-1]:7.1f} ms  {p50 / idle:5.2f}x of idle{note}", flush=True)
    return p50


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--trine", default=os.path.join(ROOT, "build/trine"))
    p.add_argument("--generator", default="SmolLM2-135M-Instruct")
    p.add_argument("--embedder", default="all-MiniLM-L6-v2")
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--count", type=int, default=8)
    o = p.parse_args()
    server = Server(o.trine, [o.generator, o.embedder])
    base = {"model": o.generator, "prompt": "Once upon a time", "temperature": 1}
    plain = {**base, "max_tokens": 2000, "ignore_eos": True}
    schema = {**base, "max_tokens": 2000, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
    costly = {**base, "max_tokens": 400, "grammar": COSTLY}
    try:
        embed(server, o.embedder, 1)
        ask(server, {**schema, "max_tokens": 100})
        print(f"another client's embedding, one at a time ({o.trine}):")
        idle = show("alone", embed(server, o.embedder, o.seconds), 1e9)
        for what, body in (("plain", plain), ("ordinary schema", schema), ("costly grammar", costly)):
            with Load(server, o.count, body) as load:
                times = embed(server, o.embedder, o.seconds)
                rate = load.rate()
            p50 = show(f"beside {o.count}, {what}", times, idle, f"  ({rate:.0f} tokens/s)")
            if what == "plain":
                beside = p50
            elif what == "costly grammar":
                print(f"  costly against plain generation: {p50 / beside:.2f}x (bar 2)")
        print("one stream, tokens a second:")
        for what, body in (("plain", plain), ("ordinary schema", schema)):
            with Load(server, 1, body) as load:
                time.sleep(o.seconds)
                alone = load.rate()
            with Load(server, o.count, costly):
                with Load(server, 1, body) as load:
                    time.sleep(o.seconds)
                    rate = load.rate()
            print(f"  {what:18} alone {alone:6.1f}, beside {o.count} costly ones {rate:6.1f}", flush=True)
        body = {**costly, "max_tokens": 12, "seed": 7}
        alone = ask(server, body)["choices"][0]["text"]
        with Load(server, o.count, costly):
            same = ask(server, body)["choices"][0]["text"] == alone
        print(f"a costly text with a seed, alone and beside the others: {'the same' if same else 'NOT THE SAME'} ({alone!r})")
    finally:
        server.stop()


main()
