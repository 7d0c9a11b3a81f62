#!/usr/bin/env python3
"""Structured output against python's jsonschema: N requests with made-up schemas to a running model.

    tools/parity_structured.py MODEL [PROGRAM] [--count 1000] [--clients 16]

Every text that ends by `stop` must parse and validate; at least 990 of 1,000 must end so within 512
tokens. The schemas come from a seeded generator and use every keyword that is supported.
"""
import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import jsonschema

NAMES = "name age city price tags status email score notes address items kind size color active count".split()
WORDS = "red green blue small large open closed north south fast slow daily weekly".split()


def scalar(r):
    kind = r.randrange(9)
    if kind == 0:
        return {"type": "string", "maxLength": r.choice([5, 12, 40])}
    if kind == 1:
        low = r.randrange(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + r.randrange(1, 30)}
    if kind == 2:
        low = r.choice([-1000, -5, 0, 1, 18])
        return {"type": "integer", "minimum": low, "maximum": low + r.choice([1, 9, 250, 100000])}
    if kind == 3:
        return {"type": r.choice(["integer", "number", "boolean"])}
    if kind == 4:
        return {"enum": r.sample(WORDS, r.randrange(1, 5)) + r.choice([[], [None], [3, 2.5], [True]])}
    if kind == 5:
        return {"const": r.choice([r.choice(WORDS), 7, False, None, ["a", 1], {"x": "y"}])}
    if kind == 6:
        return {"type": ["string", "null"], "maxLength": 20, "description": "may be nothing"}
    if kind == 7:
        return {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": 9}, {"const": "unknown"}]}
    return {"type": "string", "maxLength": 24, "title": "A text", "examples": ["abc"], "default": ""}


def schema(r, depth=0):
    kind = r.random()
    if depth >= 3 or kind < 0.45 and depth > 0:
        return scalar(r)
    if kind < 0.62 and depth > 0:
        low = r.randrange(0, 3)
        return {"type": "array", "items": schema(r, depth + 1), "minItems": low, "maxItems": low + r.randrange(1, 4)}
    if kind < 0.68 and depth > 0:
        parts = [schema(r, depth + 1) for _ in range(r.randrange(1, 4))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}
    names = r.sample(NAMES, r.randrange(1, 5))
    return {"type": "object", "properties": {n: schema(r, depth + 1) for n in names},
            "required": [n for n in names if r.random() < 0.7], "additionalProperties": False}


def top(r):
    s = schema(r)
    if r.random() < 0.15:  # a recursive one
        s["$defs"] = {"node": {"type": "object", "properties": {
            "value": scalar(r), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
            "required": ["value", "next"], "additionalProperties": False}}
        s["properties"]["chain"] = {"$ref": "#/$defs/node"}
    if r.random() < 0.2:
        s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return s


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("program", nargs="?", default="build/trine")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--clients", type=int, default=16)
    p.add_argument("--temperature", type=float, default=0.7)
    a = p.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)
    server = subprocess.Popen([a.program, "serve", "--model", a.model, "--port", "0", "--log-level", "error",
                               "--request-timeout-s", "600"], stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline().split(":")[-1])
    todo, lock, ends, bad, cut, lengths = (
        list(range(a.count)), threading.Lock(), Counter(), [], [], [])

    def ready():
        c = http.client.HTTPConnection("127.0.0.1", port)
        c.request("GET", "/readyz")
        return c.getresponse().status == 200

    def work():
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
        while True:
            with lock:
                if not todo:
                    return
                i = todo.pop()
            r = random.Random(i)
            s = top(r)
            c.request("POST", "/v1/chat/completions", json.dumps({
                "messages": [{"role": "user", "content": f"Make up an example record ({r.choice(WORDS)}), as JSON."}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "record", "schema": s}},
                "max_tokens": 512, "seed": i, "temperature": a.temperature}), {"Content-Type": "application/json"})
            answer = c.getresponse()
            body = json.loads(answer.read())
            with lock:
                if answer.status != 200:
                    bad.append((i, f"status {answer.status}", body, s))
                    continue
                choice = body["choices"][0]
                ends[choice["finish_reason"]] += 1
                lengths.append(body["usage"]["completion_tokens"])
                if choice["finish_reason"] != "stop":
                    cut.append((i, choice["message"]["content"], s))
                if choice["finish_reason"] == "stop":
                    try:
                        jsonschema.validate(json.loads(choice["message"]["content"]), s,
                                            cls=jsonschema.Draft202012Validator)
                    except Exception as e:  # whatever is wrong with it is a failure
                        bad.append((i, repr(e)[:200], choice["message"]["content"], s))

    while not ready():
        time.sleep(0.1)
    threads = [threading.Thread(target=work) for _ in range(a.clients)]
    start = time.time()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    server.send_signal(signal.SIGTERM)
    server.wait(30)
    for i, why, text, s in bad[:10]:
        print(f"schema {i}: {why}\n  {text!r}\n  {json.dumps(s)}")
    for i, text, s in cut[:10]:
        print(f"schema {i} was cut: ...{text[-160:]!r}\n  {json.dumps(s)}")
    lengths.sort()
    print(f"{a.count} schemas: {dict(ends)}, median {lengths[len(lengths) // 2]} tokens, {time.time() - start:.0f} s")
    short = ends["stop"] < 0.99 * a.count
    print(f"{a.count - len(bad) - short} passed, {len(bad) + short} failed")
    sys.exit(1 if bad or short else 0)


if __name__ == "__main__":
    main()
