#!/usr/bin/env python3
"""A body is read once, into one tree: what is sent back of it is spelled as it was sent, and what is parsed out
of its strings keeps within the same bounds.

    tests/http/test_bodies.py [PROGRAM]
"""

import json
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402


def test_documents_as_sent(s):
    # integers beyond 2^53, and floats that are whole: nothing is rounded, nothing respelled
    document = '{"text":"a cat","id":12345678901234567890,"score":1.0,"list":[1e2,-0,0.10],"o":{"k":null}}'
    for path in ("/v1/rerank", "/rerank"):
        a = s.post(path, '{"model":"r","query":"the cat","documents":["x", %s]}' % document)
        check(a.status == 200 and document.encode() in a.body, f"{path}: an object comes back as it was sent", a)


def test_texts_as_sent(s):
    a = s.post("/v2/embed", '{"model":"e","inputs":[{"content":[{"text":"a\\u00e9"},{"text":"\\ud83d\\ude00"}]},'
                            '{"text":"b\\/\\"c"}]}')
    check(a.status == 200 and a.json["texts"] == ["a\u00e9\n\U0001f600", 'b/"c'], "objects become their texts", a)


def call(arguments):
    return {"model": "g", "max_tokens": 1, "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": "c", "content": "y"}]}


def test_arguments(s):
    def deep(levels):
        return '{"k":' * levels + "1" + "}" * levels

    # five levels of a message stand above them, 64 are allowed
    check(s.post("/v1/chat/completions", call(deep(59))).status == 200, "arguments of 59 levels")
    a = s.post("/v1/chat/completions", call(deep(60)))
    check(a.status == 400 and a.code == "invalid_message" and "message 1" in a.json["detail"],
          "of 60: refused, with the message's number", a)
    for wrong in ("[1]", "1", '{"a":1', '{"a":1,"a":2}', '{"a":1} x', " "):
        a = s.post("/v1/chat/completions", call(wrong))
        check(a.status == 400 and a.code == "invalid_message", f"arguments {wrong!r}", a)
    for right in ('\n {"a": 1.0} ', "", None, {"a": 1}):
        a = s.post("/v1/chat/completions", call(right))
        check(a.status == 200, f"arguments {right!r}", a)


def test_numbers(s):
    # one bound for every route, whatever else is in the body
    bodies = {"/v1/embeddings": {"model": "e", "input": "a"}, "/v1/completions": {"model": "g", "prompt": "a"}}
    for path, body in bodies.items():
        for digits, status in ((63, 200), (64, 400)):
            text = json.dumps({**body, "user": 0}).replace('"user": 0', '"user": ' + "7" * digits)
            a = s.post(path, text)
            check(a.status == status, f"{path}: a number of {digits} digits", a)
            check(status == 200 or a.code == "number_out_of_range", f"{path}: and why", a)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, {"e": "bert-mean-st6", "r": "bert-cross-encoder", "g": "tiny_chat"}) as s:
        test_documents_as_sent(s)
        test_texts_as_sent(s)
        test_arguments(s)
        test_numbers(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
