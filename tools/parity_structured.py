#!/usr/bin/env python3
"""Structured output against python's jsonschema: N requests with made-up schemas to a running model.

    tools/parity_structured.py MODEL [PROGRAM] [--count 1000] [--clients 16]
    tools/parity_structured.py MODEL [PROGRAM] --tools --chat-template FILE

Every text that ends by `stop` must parse and validate; at least 990 of 1,000 must end so within 512
tokens. The schemas come from a seeded generator and use every keyword that is supported. With
--tools they are the parameters of functions of which at least one must be called (the template must
be one that writes tools), and the calls' arguments must validate.
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

os.environ.setdefault("TRINE_DRAIN_DELAY_S", "0")  # nobody waits for a load balancer

NAMES = "name age city price tags status email score notes address items kind size color active count".split()
WORDS = "red green blue small large open closed north south fast slow daily weekly".split()


def scalar(r):
    kind = r.randrange(10)
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
    if kind == 8:  # without an end
        return r.choice([{"type": "string"}, {"type": "string", "minLength": 8, "format": "uri"}, {}, True])
    return {"type": "string", "maxLength": 24, "title": "A text", "examples": ["abc"], "default": ""}


def schema(r, depth=0):
    kind = r.random()
    if depth >= 3 or kind < 0.45 and depth > 0:
        return scalar(r)
    if kind < 0.62 and depth > 0:
        low = r.randrange(0, 3)
        most = {"maxItems": low + r.randrange(1, 4)} if r.random() < 0.7 else {}
        return {"type": "array", "items": schema(r, depth + 1), "minItems": low, **most}
    if kind < 0.68 and depth > 0:
        parts = [schema(r, depth + 1) for _ in range(r.randrange(1, 4))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}
    names = r.sample(NAMES, r.randrange(1, 5))
    more = r.choice([True, {"type": "string"}]) if r.random() < 0.1 else False
    return {"type": "object", "properties": {n: schema(r, depth + 1) for n in names},
            "required": [n for n in names if r.random() < 0.7], "additionalProperties": more}


def top(r):
    s = schema(r)
    if r.random() < 0.15:  # recursive ones: a chain, a tree, an expression
        ref = {"$ref": "#/$defs/node"}
        s["$defs"] = {"node": r.choice([
            {"type": "object", "properties": {"value": scalar(r), "next": {"anyOf": [{"type": "null"}, ref]}},
             "required": ["value", "next"], "additionalProperties": False},
            {"type": "object", "properties": {"value": scalar(r), "children": {"type": "array", "items": ref}},
             "required": ["value", "children"], "additionalProperties": False},
            {"anyOf": [{"type": "integer"}, {"type": "array", "items": ref, "minItems": 2}]}])}
        s["properties"]["chain"] = ref
    if r.random() < 0.2:
        s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return s


def functions(r):
    return [{"type": "function", "function": {"name": f"make_{name}", "description": f"Makes a {name}.",
                                              "parameters": top(r)}}
            for name in r.sample(NAMES, r.randrange(1, 4))]


def check_calls(message, tools):
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    assert message["tool_calls"] and not message.get("content"), message
    for call in message["tool_calls"]:
        validate(call["function"]["arguments"], schemas[call["function"]["name"]])


def validate(text, s):
    jsonschema.validate(json.loads(text), s, cls=jsonschema.Draft202012Validator)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("program", nargs="?", default="build/trine")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--clients", type=int, default=16)
    p.add_argument("--temperature", type=float, default=0.7)
    p.add_argument("--tools", action="store_true")
    p.add_argument("--chat-template")
    a = p.parse_args()
    good = "tool_calls" if a.tools else "stop"
    template = ["--chat-template", a.chat_template] if a.chat_template else []
    os.environ.pop("OPENBLAS_CORETYPE", None)
    server = subprocess.Popen([a.program, "serve", "--model", a.model, "--port", "0", "--log-level", "error",
                               "--request-timeout-s", "600", *template], stdout=subprocess.PIPE, text=True)
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
            s = functions(r) if a.tools else top(r)
            wanted = {"tools": s, "tool_choice": "required"} if a.tools else {
                "response_format": {"type": "json_schema", "json_schema": {"name": "record", "schema": s}}}
            c.request("POST", "/v1/chat/completions", json.dumps({
                "messages": [{"role": "user", "content": f"Make up an example record ({r.choice(WORDS)}), as JSON."}],
                **wanted, "max_tokens": 512, "seed": i, "temperature": a.temperature}), {"Content-Type": "application/json"})
            answer = c.getresponse()
            body = json.loads(answer.read())
            with lock:
                if answer.status != 200:
                    bad.append((i, f"status {answer.status}", body, s))
                    continue
                choice = body["choices"][0]
                ends[choice["finish_reason"]] += 1
                lengths.append(body["usage"]["completion_tokens"])
                if choice["finish_reason"] != good:
                    cut.append((i, str(choice["message"]), s))
                    continue
                try:
                    if a.tools:
                        check_calls(choice["message"], s)
                    else:
                        validate(choice["message"]["content"], s)
                except Exception as e:  # whatever is wrong with it is a failure
                    bad.append((i, repr(e)[:200], choice["message"], s))

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
    short = ends[good] < 0.99 * a.count
    print(f"{a.count - len(bad) - short} passed, {len(bad) + short} failed")
    sys.exit(1 if bad or short else 0)


if __name__ == "__main__":
    main()
