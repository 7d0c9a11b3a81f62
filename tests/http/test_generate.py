#!/usr/bin/env python3
"""Text generation over HTTP, against a model that has learned a few lines by heart
(tests/golden/data/tiny_chat): answers whole and streamed, what each field does, what is refused and
how it says so, clients that go away.

    tests/http/test_generate.py [PROGRAM]

FAULTS rows are named where a check is theirs.
"""

import json
import os
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

NAME, OTHER = "tiny", "emb"
MODELS = {NAME: "tiny_chat", OTHER: "bert-mean-st6"}
TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
COUNT = "one two three"
REST = " four five six seven eight nine ten eleven twelve."
with open(os.path.join(ROOT, DATA, "tiny_chat/golden.json"), encoding="utf-8") as file:
    GOLDEN = json.load(file)
TOOLS = GOLDEN["tools"]
HI = [{"role": "user", "content": "hi"}]
HELLO = "Hello there, friend!"


def text(s, **fields):
    return s.post(TEXT, {"prompt": COUNT, "temperature": 0, "max_tokens": 60, **fields})


def chat(s, messages=HI, **fields):
    return s.post(CHAT, {"messages": messages, "temperature": 0, **fields})


def said(answer):
    c = (answer.json or {}).get("choices", [{}])[0]
    return c.get("text") if "text" in c else c.get("message", {}).get("content")


def events(answer):
    """The chunks of a stream, checked for its form; the last one is None for [DONE]."""
    body = answer.body.decode()
    check(body.endswith("\n\n"), "a stream ends with a whole event", body[-80:])
    found = body[:-2].split("\n\n")
    bad = [e for e in found if not e.startswith("data: ") or "\n" in e]
    if not check(not bad, "an event is one line", bad[:1]):
        return []
    return [None if e == "data: [DONE]" else json.loads(e[6:]) for e in found]


def stream(s, path, **fields):
    a = s.post(path, {"temperature": 0, "stream": True, **fields})
    if not check(a.status == 200 and a.headers["Content-Type"] == "text/event-stream", "a stream", a):
        return []
    return events(a)


def joined(chunks):
    out = {}
    for chunk in chunks:
        for c in (chunk or {}).get("choices", []):
            piece = c["text"] if "text" in c else c["delta"].get("content") or ""
            out[c["index"]] = out.get(c["index"], "") + piece
    return out


def refused(a, what, status=400, code=None, param="-", words=None):
    ok = a.status == status and isinstance((a.json or {}).get("error"), dict)
    ok = ok and (code is None or a.code == code) and (param == "-" or a.param == param)
    check(ok and (words is None or words in a.json["error"]["message"]), what, a)


def test_goldens(s):
    for case in GOLDEN["cases"]:
        a = s.post(TEXT, {"prompt": case["prompt"], "temperature": 0, "max_tokens": 96})
        check(said(a) == case["text"], "transformers' text", (case["prompt"][:40], said(a)))
        check(a.json["usage"]["prompt_tokens"] == len(case["prompt_ids"]), "prompt tokens", a)
        check(a.json["usage"]["completion_tokens"] == len(case["ids"]), "completion tokens", a)
        check(a.json["choices"][0]["finish_reason"] == ("stop" if case["stopped"] else "length"),
              "finish_reason", a)
        b = s.post(TEXT, {"prompt": case["prompt_ids"], "temperature": 0, "max_tokens": 96})
        check(said(b) == case["text"], "the same from ids", b)
        if case["chat"] and not case["chat"]["tools"]:
            c = chat(s, case["chat"]["messages"])
            check(said(c) == case["chat"]["answer"], "the same by the template", c)
        d = s.post(TEXT, {"prompt": case["prompt"], "temperature": 0, "max_tokens": 96, "echo": True,
                          "logprobs": 2})
        lp = d.json["choices"][0]["logprobs"]
        check(lp["token_logprobs"][0] is None and lp["top_logprobs"][0] is None, "the first token", d)
        off = max(abs(x - y) for x, y in zip(lp["token_logprobs"][1:], case["logprobs"]))
        # f32 sums in another order, over logits of size 10
        check(len(lp["tokens"]) == len(case["logprobs"]) + 1 and off < 2e-3, "logprobs", off)
        check(said(d) == case["prompt"] + case["text"], "echo", said(d))


def test_shapes(s):
    a = text(s)
    j = a.json
    check(a.status == 200 and said(a) == REST, "a completion", a)
    check(list(j) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage",
                      "timings"], "its members", list(j))
    check(j["object"] == "text_completion" and j["id"].startswith("cmpl-") and j["model"] == NAME,
          "its head", j)
    check(j["choices"][0] == {"index": 0, "text": REST, "logprobs": None, "finish_reason": "stop"},
          "its choice", j)
    u = j["usage"]
    check(u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] and
          "cached_tokens" in u["prompt_tokens_details"], "usage", u)
    check(j["timings"]["predicted_n"] == u["completion_tokens"] and
          j["timings"]["predicted_per_second"] > 0, "timings", j)
    for name in ["x-compute-type", "x-compute-tokens", "x-total-time", "x-queue-time",
                 "x-inference-time", "x-request-id"]:
        check(name in a.headers, name)
    a = chat(s)
    check(a.json["object"] == "chat.completion" and a.json["id"].startswith("chatcmpl-"), "chat", a)
    check(a.json["choices"] == [{"index": 0, "message": {"role": "assistant", "content": HELLO,
                                                         "refusal": None},
                                 "logprobs": None, "finish_reason": "stop"}], "its choice", a)
    # two prompts, two choices of each, in OpenAI's order
    a = text(s, prompt=[COUNT, "the quick brown"], n=2)
    got = [(c["index"], c["text"]) for c in a.json["choices"]]
    fox = " fox jumps over the lazy dog."
    check(got == [(0, REST), (1, REST), (2, fox), (3, fox)], "prompts times n", got)
    one, two = text(s).json["usage"], text(s, prompt="the quick brown").json["usage"]
    check(a.json["usage"]["prompt_tokens"] == one["prompt_tokens"] + two["prompt_tokens"] and
          a.json["usage"]["completion_tokens"] == 2 * (one["completion_tokens"] +
                                                       two["completion_tokens"]), "usage of all", a)
    check(text(s, max_tokens=3).json["choices"][0]["finish_reason"] == "length", "length")
    check(text(s, max_tokens=None).json["usage"]["completion_tokens"] <= 16, "16 tokens by default")
    a = text(s, max_tokens=40, ignore_eos=True)
    check(a.json["usage"]["completion_tokens"] == 40, "ignore_eos", a)
    m = s.get("/v1/models").json["data"]
    check([x["task"] for x in m if x["id"] == NAME] == ["generate"], "the task in /v1/models", m)
    check(s.get("/info?model=" + NAME).status == 200, "/info", s.get("/info?model=" + NAME))
    t = s.post("/tokenize", {"model": NAME, "inputs": "hi <tool_call>"}).json
    check(t[0][-1]["text"] == "<tool_call>", "/tokenize", t)
    d = s.post("/decode", {"model": NAME, "ids": [x["id"] for x in t[0]]}).json
    check(d == ["hi <tool_call>"], "/decode", d)


def test_streams(s):
    chunks = stream(s, TEXT, prompt=COUNT, max_tokens=60)
    check(chunks[-1] is None and joined(chunks) == {0: REST}, "a stream's text", joined(chunks))
    ends = [c["choices"][0]["finish_reason"] for c in chunks[:-1]]
    check(ends[-1] == "stop" and set(ends[:-1]) <= {None}, "its end", ends)
    check("timings" in chunks[-2] and all("usage" not in c for c in chunks[:-1]), "timings", chunks[-2])
    check(len({c["id"] for c in chunks[:-1]}) == 1 and
          {c["object"] for c in chunks[:-1]} == {"text_completion"}, "one id")
    # how many tokens share a chunk is a matter of threads' turns: long enough for many of them
    many = (stream(s, TEXT, prompt=COUNT, max_tokens=480, ignore_eos=True, n=8, temperature=1)
            for _ in range(20))
    check(any(sum(c["choices"][0]["index"] == 0 for c in chunks[:-1]) > 3 for chunks in many),
          "in pieces")

    chunks = stream(s, CHAT, messages=HI, stream_options={"include_usage": True})
    check(chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}, "the role first",
          chunks[0])
    check(all("role" not in c["choices"][0]["delta"] for c in chunks[1:-2]), "and only there")
    check(joined(chunks) == {0: HELLO}, "chat's text", joined(chunks))
    check(chunks[-3]["choices"][0]["delta"] == {} and
          chunks[-3]["choices"][0]["finish_reason"] == "stop", "an empty last delta", chunks[-3])
    check(all(c["usage"] is None for c in chunks[:-2]) and chunks[-2]["choices"] == [] and
          chunks[-2]["usage"]["completion_tokens"] > 0 and "timings" in chunks[-2], "usage", chunks[-2])
    check({c["object"] for c in chunks[:-1]} == {"chat.completion.chunk"}, "the chunks' object")

    chunks = stream(s, TEXT, prompt=[COUNT, "the quick brown"], n=2, max_tokens=60)
    check(sorted(joined(chunks)) == [0, 1, 2, 3] and joined(chunks)[3].endswith("dog."),
          "four at once", joined(chunks))
    check(sum("timings" in (c or {}) for c in chunks) == 1 and "timings" in chunks[-2],
          "timings once, last", len(chunks))
    # bytes of a character come as tokens of their own: chunks are whole UTF-8 all the same
    chunks = stream(s, TEXT, prompt="caf", max_tokens=60)
    check(joined(chunks)[0] == "é naïve 日本語 😀 üß end.", "characters are whole", joined(chunks))
    chunks = stream(s, TEXT, prompt=COUNT, max_tokens=6, echo=True, logprobs=0)
    first = chunks[0]["choices"][0]
    check(first["text"].startswith(COUNT) and first["logprobs"]["text_offset"][0] == 0 and
          "".join(first["logprobs"]["tokens"]).startswith(COUNT), "echo comes first", first)
    # a choice's prompt is echoed once it is scored, not when another choice has said something
    fields = {"prompt": COUNT * 12, "n": 4, "max_tokens": 20, "echo": True, "logprobs": 0}
    want = text(s, **fields).json["choices"][0]["logprobs"]["token_logprobs"]
    got = {}
    for chunk in stream(s, TEXT, **fields)[:-1]:
        for c in chunk["choices"]:
            got.setdefault(c["index"], []).extend(c["logprobs"]["token_logprobs"])
    check(got == dict.fromkeys(range(4), want), "scores of every echo", got)
    # over HTTP/1.0, which has no chunks
    with socket.create_connection((s.host, s.port)) as c:
        body = json.dumps({"prompt": COUNT, "max_tokens": 60, "temperature": 0, "stream": True})
        c.sendall(f"POST {TEXT} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        raw = b"".join(iter(lambda: c.recv(65536), b""))
        check(b"chunked" not in raw and raw.endswith(b"data: [DONE]\n\n"), "HTTP/1.0", raw[-60:])


def test_stops(s):
    for stop in (" seven", "n", ".", "even eight nin", [" nine", "five s"], ["zzz"], "four"):
        first = [REST.find(x) + len(x) for x in ([stop] if isinstance(stop, str) else stop)
                 if x in REST]
        want = REST
        for x in [stop] if isinstance(stop, str) else stop:
            if x in REST and REST.find(x) + len(x) == min(first):
                want = REST[:REST.find(x)]
        a = text(s, stop=stop)
        check(said(a) == want and a.json["choices"][0]["finish_reason"] == "stop", f"stop {stop!r}",
              (said(a), want))
        chunks = stream(s, TEXT, prompt=COUNT, max_tokens=60, stop=stop)
        check(joined(chunks).get(0, "") == want, f"streamed, stop {stop!r}", joined(chunks))
    # a stop string in the middle of a character's neighbours, over tokens of one byte each
    a = s.post(TEXT, {"prompt": "caf", "temperature": 0, "max_tokens": 60, "stop": "語"})
    check(said(a) == "é naïve 日本", "a stop string of several bytes", a)
    # held back, and let out at the end: what might have become a stop string
    chunks = stream(s, TEXT, prompt=COUNT, max_tokens=60, stop="twelve.!")
    check(joined(chunks) == {0: REST}, "a beginning of one is not lost", joined(chunks))
    a = text(s, stop=" seven", logprobs=1)
    tokens = "".join(a.json["choices"][0]["logprobs"]["tokens"])
    check(tokens.startswith(said(a)) and len(tokens) < len(said(a)) + 8, "logprobs end with the text",
          (tokens, said(a)))
    for stop in ([1], 5, {}, ["x"] * 17):
        refused(text(s, stop=stop), f"stop {stop!r}"[:40], param="stop")


def test_logprobs(s):
    a = text(s, logprobs=3, max_tokens=4)
    lp = a.json["choices"][0]["logprobs"]
    check("".join(lp["tokens"]) == said(a) and lp["text_offset"][0] == 0, "tokens", lp)
    at = 0
    for token, offset, p, top in zip(lp["tokens"], lp["text_offset"], lp["token_logprobs"],
                                     lp["top_logprobs"]):
        check(offset == at and top[token] == p and 3 <= len(top) <= 4 and p <= 0, "a token", token)
        check(p == max(top.values()), "greedy takes the likeliest", top)
        at += len(token)
    a = s.post(TEXT, {"prompt": "caf", "temperature": 0, "max_tokens": 6, "logprobs": 0})
    lp = a.json["choices"][0]["logprobs"]
    check(lp["tokens"][0] == "bytes:\\xc3" and lp["text_offset"][:3] == [0, 0, 1],
          "parts of characters by their bytes", lp)
    a = chat(s, logprobs=True, top_logprobs=2)
    content = a.json["choices"][0]["logprobs"]["content"]
    check("".join(t["token"] for t in content) == HELLO, "chat's tokens", content)
    check(all(bytes(t["bytes"]).decode() == t["token"] and len(t["top_logprobs"]) == 2
              for t in content), "bytes and alternatives", content[0])
    chunks = stream(s, CHAT, messages=HI, logprobs=True, top_logprobs=2)
    again = [t for c in chunks[:-1] for t in ((c["choices"][0]["logprobs"] or {}).get("content", []))]
    check(again == content, "the same when streamed", (len(again), len(content)))
    a = s.post(TEXT, {"prompt": COUNT, "max_tokens": 0, "echo": True, "logprobs": 1})
    lp = a.json["choices"][0]["logprobs"]
    check(said(a) == COUNT and "".join(lp["tokens"]) == COUNT and lp["token_logprobs"][0] is None and
          a.json["usage"]["completion_tokens"] == 0, "a prompt is scored", a)
    a = s.post(TEXT, {"prompt": [[5, 6, 7], COUNT], "max_tokens": 1, "echo": True, "temperature": 0})
    decoded = s.post("/decode", {"model": NAME, "ids": [5, 6, 7], "skip_special_tokens": False}).json
    check(said(a).startswith(decoded[0]) and a.json["choices"][1]["text"].startswith(COUNT),
          "echo of ids", a)


def test_sampling(s):
    hot = {"temperature": 2, "max_tokens": 24, "ignore_eos": True}
    a, b = text(s, seed=5, **hot), text(s, seed=5, **hot)
    c = text(s, seed=6, **hot)
    check(said(a) == said(b) != said(c), "a seed repeats", (said(a), said(b), said(c)))
    many = text(s, seed=5, n=6, **hot)
    texts = [x["text"] for x in many.json["choices"]]
    check(texts[0] == said(a) and len(set(texts)) > 3, "choices differ, the first is n = 1's", texts)
    check(said(text(s, **hot)) != said(text(s, **hot)), "without a seed they differ")
    for big in (2**53 + 1, 2**63 - 1, -3, 2**64 - 1):
        check(text(s, seed=big, max_tokens=2).status == 200, f"seed {big}")
    check(said(text(s, seed=2**60, **hot)) != said(text(s, seed=2**60 + 1, **hot)),
          "row 67: a seed keeps its last digit")
    check(said(text(s, top_p=0.01, **hot)) == said(text(s, top_p=0.01, **hot)), "top_p near 0")
    check(said(text(s, top_k=1, **hot)) == said(text(s, ignore_eos=True, max_tokens=24)), "top_k 1")
    four = s.post("/tokenize", {"model": NAME, "inputs": " four"}).json[0][0]["id"]
    a = text(s, logit_bias={str(four): -100})
    check(not said(a).startswith(" four"), "logit_bias", a)
    a = text(s, logit_bias={str(four): 100}, max_tokens=4)
    check(a.json["usage"]["completion_tokens"] == 4, "logit_bias upwards", a)
    for fields in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 1.5},
                   {"min_p": 0.2}, {"user": "u", "store": True, "metadata": {"a": "b"}}):
        check(text(s, **fields).status == 200, str(fields))


def test_refusals(s):
    for field, values in {
        "max_tokens": [-2, 0, 2**63, 1.5, "5", True],
        "n": [0, 10**6, -1, 1.5], "temperature": [-1, 3, "hot", "NaN"], "top_p": [2, -0.1],
        "min_p": [-1, 2], "top_k": [-2, 1.5], "presence_penalty": [3], "frequency_penalty": [-3],
        "repetition_penalty": [0, -1], "seed": [1.5, "a", 2**70], "logprobs": [-1, 99, True],
        "stream": [1, "yes"], "echo": ["x"], "ignore_eos": [1], "suffix": ["x"], "best_of": [2],
        "logit_bias": [[1], {"a": 1}, {"-1": 1}, {"99999": 1}, {"1": 101}, {"1": "x"}],
        "stream_options": [{"include_usage": True}, 5],
    }.items():
        for value in values:
            refused(text(s, **{field: value}), f"row 36: {field} {value!r}", param=field)
    refused(s.post(TEXT, '{"prompt":"x","temperature":NaN}'), "row 9: NaN", code="invalid_json")
    for name in ("foo", "PROMPT", "messages", "functions", "Temperature", "truncate"):
        refused(text(s, **{name: 1}), f"row 11: {name}", code="unsupported_parameter", param=name)
    check(text(s, foo=None).status == 200, "null is absent")
    refused(text(s, **{"a b": 1}), "row 11: a name that is none", code="unsupported_parameter")
    refused(text(s, stream=True, stream_options={"x": 1}), "stream_options' members",
            param="stream_options")
    refused(s.post(TEXT, {}), "row 8: no prompt", param="prompt")
    for prompt in ("", [], [""], [[]], 5, [1.5], ["a", 5], {}):
        refused(text(s, prompt=prompt), f"row 12: prompt {prompt!r}", param="prompt")
    for i in (-1, 10**6, 400):
        refused(text(s, prompt=[i]), f"row 65: id {i}", code="invalid_token_id", param="prompt")
    refused(text(s, prompt=[5] * 500, max_tokens=100), "row 34: both counts",
            code="context_length_exceeded", param="max_tokens", words="512")
    a = text(s, prompt=[5] * 600)
    refused(a, "row 34: the prompt alone", code="context_length_exceeded", param="prompt", words="600")
    check(text(s, prompt=[5] * 510, max_tokens=None).status == 200, "the default fits the rest")
    refused(text(s, prompt=[[5]] * 100, n=100), "too many choices", param="n")
    refused(text(s, model=OTHER), "another model's task", code="wrong_task")
    refused(text(s, model="x"), "no such model", status=404, code="model_not_found")
    refused(s.post(CHAT, {}), "no messages", param="messages")
    for messages in ([], {}, ["x"], [{}], [{"role": "x", "content": "a"}], [{"role": "user"}],
                     [{"role": "user", "content": 5}], [{"role": "user", "content": None}],
                     [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
                     [{"role": "user", "content": [{"type": "text"}]}],
                     [{"role": "user", "content": "a", "images": ["b"]}],
                     [{"role": "assistant", "tool_calls": [{"function": {"name": "f",
                                                                         "arguments": "{"}}]}]):
        refused(chat(s, messages), f"messages {messages!r}"[:70], param="messages")
    refused(chat(s, [{"role": "tool", "content": "x"}]), "the template's own refusal",
            code="chat_template_error", words="cannot begin with a tool")
    refused(chat(s, max_tokens=5, max_completion_tokens=6), "both names", param="max_tokens")
    refused(chat(s, top_logprobs=2), "top_logprobs alone", param="top_logprobs")
    refused(chat(s, logprobs=True, top_logprobs=21), "too many", param="top_logprobs")
    refused(chat(s, prompt="x"), "row 11: prompt in chat", param="prompt")
    refused(chat(s, chat_template_kwargs={"messages": []}), "kwargs", param="chat_template_kwargs")
    for a in (text(s, prompt="long " * 100000), chat(s, [{"role": "user", "content": "long " * 100000}])):
        refused(a, "row 34: a prompt of half a megabyte", code="context_length_exceeded", words="512")
    refused(chat(s, [{"role": "user", "content": "x"}] * 3000), "thousands of messages",
            code="context_length_exceeded")
    for a in (s.post(CHAT, {"messages": HI, "stream": True}, {"x-request-timeout-ms": "0"}),
              s.post(TEXT, {"prompt": COUNT}, {"x-request-timeout-ms": "0"})):
        refused(a, "row 30: a deadline that is over", status=504, code="deadline_exceeded")
        check(a.headers.get("x-should-retry") == "false", "row 30: not to be tried again", a.headers)
    check(s.get(CHAT).status == 405 and s.get(CHAT).headers.get("Allow") == "POST", "row 24: GET")
    refused(s.post("/v1/embeddings", {"model": NAME, "input": "x"}), "a generator does not embed",
            code="wrong_task", param="model")


def test_messages(s):
    parts = [{"type": "text", "text": "hi"}]
    check(said(chat(s, [{"role": "user", "content": parts}])) == HELLO, "content in parts")
    brief = [{"role": "developer", "content": "be brief"}, *HI]
    check(said(chat(s, brief)) == "Hey.", "developer is system")
    check(said(chat(s, max_completion_tokens=2)) == HELLO[:len(said(chat(s, max_tokens=2)))],
          "max_completion_tokens")
    on = [*HI, {"role": "assistant", "content": "Hello th"}]
    a = chat(s, on, continue_final_message=True)
    check(a.status == 200 and a.json["usage"]["prompt_tokens"] < 40, "continue_final_message", a)
    a = chat(s, on, continue_final_message=True, add_generation_prompt=True)
    refused(a, "both ways at once", param="add_generation_prompt")
    check(chat(s, chat_template_kwargs={"x": [1, {"y": None}]}, enable_thinking=False).status == 200,
          "variables of the template")
    # what a user writes as a special token is read as one, as the reference does
    long = chat(s, [{"role": "user", "content": "<|im_end|>"}]).json["usage"]["prompt_tokens"]
    short = chat(s, [{"role": "user", "content": "a"}]).json["usage"]["prompt_tokens"]
    check(long == short, "special tokens in a message", (long, short))


def test_structured(s):
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
              "required": ["name", "age"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": schema}}
    person = [{"role": "user", "content": "a person"}]
    a = chat(s, person, response_format=form)
    check(said(a) == '{"name": "Ann", "age": 7}', "the schema it would follow anyway", a)
    for seed in range(3):
        a = chat(s, HI, response_format=form, temperature=1, seed=seed, max_tokens=200)
        if a.json["choices"][0]["finish_reason"] == "stop":
            j = json.loads(said(a))
            check(set(j) == {"name", "age"} and isinstance(j["age"], int), "the schema holds", j)
        else:
            check(a.json["choices"][0]["finish_reason"] == "length", "or the length ends it", a)
    a = chat(s, person, response_format={"type": "json_object"})
    check(isinstance(json.loads(said(a)), dict), "json_object", a)
    check(said(chat(s, response_format={"type": "text"})) == HELLO, "text")
    a = text(s, grammar='root ::= " nine" | " zehn"', n=3, temperature=1)
    check({c["text"] for c in a.json["choices"]} <= {" nine", " zehn"} and
          {c["finish_reason"] for c in a.json["choices"]} == {"stop"}, "GBNF, a state a choice", a)
    schema["properties"]["name"]["format"] = "email"
    a = chat(s, person, response_format=form)
    check("email" in a.headers.get("x-warning", ""), "format: a warning", dict(a.headers))
    for bad, words in (({"type": "object", "patternProperties": {}}, "patternProperties"),
                       ({"type": "object", "properties": {"a": {"not": {}}}}, "not")):
        form["json_schema"]["schema"] = bad
        refused(chat(s, response_format=form), f"a keyword: {words}", code="unsupported_schema",
                param="response_format", words=words)
    for bad in (5, {"type": "x"}, {"type": "json_schema"}, {"type": "text", "x": 1},
                {"type": "json_schema", "json_schema": {"name": "p"}}):
        refused(chat(s, response_format=bad), f"response_format {bad!r}", param="response_format")
    refused(text(s, grammar="root ::= x"), "an undefined rule", param="grammar", words="x")
    refused(text(s, grammar=5), "a grammar that is none", param="grammar")
    refused(text(s, grammar='root ::= "a"', response_format={"type": "json_object"}), "two at once",
            param="grammar")
    refused(text(s, grammar='root ::= "a"', ignore_eos=True), "and no end", param="ignore_eos")


def test_tools(s):
    weather = [{"role": "user", "content": "weather"}]
    twice = [{"role": "user", "content": "twice"}]
    arguments = '{"city": "Oslo", "days": 2}'
    a = chat(s, weather, tools=TOOLS)
    m, reason = a.json["choices"][0]["message"], a.json["choices"][0]["finish_reason"]
    call = m["tool_calls"][0]
    check(m["content"] == "Sure." and reason == "tool_calls" and call["type"] == "function" and
          call["function"] == {"name": "weather", "arguments": arguments} and
          call["id"].startswith("call_"), "a call", a)
    a = chat(s, twice, tools=TOOLS)
    m = a.json["choices"][0]["message"]
    check(m["content"] is None and [c["function"]["arguments"] for c in m["tool_calls"]] ==
          [arguments] * 2 and m["tool_calls"][0]["id"] != m["tool_calls"][1]["id"], "two calls", a)
    one = chat(s, twice, tools=TOOLS, parallel_tool_calls=False).json["choices"][0]["message"]
    check(len(one["tool_calls"]) == 1, "parallel_tool_calls: false", one)
    a = chat(s, tools=TOOLS)
    check(said(a) == HELLO and "tool_calls" not in a.json["choices"][0]["message"] and
          a.json["choices"][0]["finish_reason"] == "stop", "no call", a)
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        a = chat(s, tools=TOOLS, tool_choice=choice, max_tokens=200)
        c = a.json["choices"][0]
        check(c["finish_reason"] == "length" or
              set(json.loads(c["message"]["tool_calls"][0]["function"]["arguments"])) ==
              {"city", "days"}, f"tool_choice {choice!r}", a)
    a = chat(s, tools=TOOLS, tool_choice="none")
    check(said(a) == HELLO and a.json["usage"]["prompt_tokens"] < 40, "tool_choice none", a)
    chunks = stream(s, CHAT, messages=twice, tools=TOOLS)
    calls, first = {}, {}
    for c in chunks[:-1]:
        for d in c["choices"][0]["delta"].get("tool_calls", []):
            if d["index"] not in calls:
                first[d["index"]] = d
            calls[d["index"]] = calls.get(d["index"], "") + d["function"]["arguments"]
    check(calls == {0: arguments, 1: arguments}, "streamed calls", calls)
    check(all(d["id"].startswith("call_") and d["type"] == "function" and
              d["function"] == {"name": "weather", "arguments": ""} for d in first.values()),
          "the first delta of each", first)
    check(chunks[-2]["choices"][0]["finish_reason"] == "tool_calls" and joined(chunks) == {0: ""},
          "their end", chunks[-2])
    chunks = stream(s, CHAT, messages=weather, tools=TOOLS)
    check(joined(chunks) == {0: "Sure."}, "text before a call", joined(chunks))
    a = chat(s, weather, tools=TOOLS, max_tokens=15)
    check(a.json["choices"][0]["finish_reason"] == "length", "a call cut short", a)
    talk = [*weather, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments":
                                                          '{"days": 9007199254740993, "x": 1.0}'}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    check(chat(s, talk, tools=TOOLS).status == 200, "a conversation with calls")
    for bad in ({}, [5], [{"type": "x"}], [{"type": "function", "function": {}}],
                [{"type": "function", "function": {"name": "a b"}}], TOOLS * 2,
                [{"type": "function", "function": {"name": "f", "parameters": 5}}],
                [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
                    "type": "object", "patternProperties": {}}}}]):
        refused(chat(s, tools=bad), f"tools {bad!r}"[:70], param="tools")
    for bad in ("x", 5, {"type": "function", "function": {"name": "other"}}):
        refused(chat(s, tools=TOOLS, tool_choice=bad), f"tool_choice {bad!r}", param="tool_choice")
    refused(chat(s, tools=TOOLS, grammar='root ::= "a"'), "both", param="tools", words="'grammar'")


def begin_stream(s, key="", **fields):
    c = socket.create_connection((s.host, s.port))
    body = json.dumps({"prompt": COUNT, "temperature": 0, "max_tokens": 480, "ignore_eos": True,
                       "stream": True, **fields})
    c.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
              f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return c


def reset(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def is_idle(s):
    """Nothing runs (this question apart) and no block is in use, and it stays so for a while: those
    that were just let in come later."""
    end, calm = time.monotonic() + 20 * served.slow, 0
    while calm < 5 and time.monotonic() < end:
        busy = (s.metric("sequences_running"), s.metric("sequences_waiting"), s.metric("kv_blocks_used"),
                s.metric("http_in_progress") - 1)
        calm = 0 if any(busy) else calm + 1
        time.sleep(0.02)
    return calm == 5


def test_names(s):
    """What is not supported is named, wherever it stands."""
    user = {"role": "user", "content": "x"}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}}
    for what, body, param, words in (
            ("a message's", {"messages": [dict(user, audio={"id": "x"})]}, "messages",
             "message 0: 'audio'"),
            ("stream_options'", {"messages": [user], "stream": True, "stream_options": {"zzz": False}},
             "stream_options", "'stream_options.zzz'"),
            ("options without a stream", {"messages": [user], "stream_options": {"include_usage": True}},
             "stream_options", "'stream': true"),
            ("response_format's", {"messages": [user], "response_format": dict(form, zzz={})},
             "response_format", "'response_format.zzz'"),
            ("json_schema's", {"messages": [user],
                               "response_format": dict(form, json_schema=dict(form["json_schema"], foo=1))},
             "response_format", "'response_format.json_schema.foo'"),
            ("a name that is none of ours to print", {"messages": [user], "\u00e9\n": 1}, None,
             "a parameter that is not"),
            ("one token, two names", {"messages": [user], "logit_bias": {"05": 1}}, "logit_bias", "token id"),
            ("tools without an end", {"messages": [user], "tools": TOOLS, "ignore_eos": True},
             "ignore_eos", "tools")):
        refused(s.post(CHAT, body), what, param=param, words=words)
    sent_back = {"role": "assistant", "content": "y", "annotations": [], "refusal": None}
    a = s.post(CHAT, {"messages": [user, sent_back, user], "max_tokens": 1})
    check(a.status == 200, "an answer of OpenAI's, sent back", a)
    a = s.post(CHAT, {"messages": [user], "tools": TOOLS, "tool_choice": "none", "ignore_eos": True,
                      "max_tokens": 4})
    check(a.status == 200 and a.json["usage"]["completion_tokens"] == 4, "tools that are off", a)


def test_gone(s):
    before = s.metric('generations_total{outcome="cancelled"}')
    streams = [begin_stream(s, n=2) for _ in range(50)]
    for i, c in enumerate(streams):
        if i % 2:
            c.recv(1)
        reset(c) if i % 3 else c.close()
    check(is_idle(s), "row 32: clients that go end their generations, and no block is left in use")
    check(s.metric('generations_total{outcome="cancelled"}') > before, "row 31: counted")
    check(said(text(s)) == REST, "and the next is answered")


def test_together(s):
    alone = [said(text(s, seed=i, temperature=1.5, max_tokens=30)) for i in range(6)]
    got, threads = {}, []
    for i in range(24):
        def one(i=i):
            if i % 2:
                got[i] = said(text(s, seed=i % 6, temperature=1.5, max_tokens=30))
            else:
                got[i] = joined(stream(s, TEXT, prompt=COUNT, seed=i % 6, temperature=1.5,
                                       max_tokens=30))[0]
        threads.append(threading.Thread(target=one))
        threads[-1].start()
    for t in threads:
        t.join()
    check(all(got[i] == alone[i % 6] for i in range(24)), "the same alone and among others",
          [i for i in range(24) if got.get(i) != alone[i % 6]])
    m = s.get("/metrics").body.decode()
    for name in ("generations_total", "output_tokens_total", "kv_blocks", "first_token_seconds_count",
                 "inter_token_seconds_sum", "drafted_tokens_total", "accepted_tokens_total"):
        check("\ntrine_" + name in m, name)


def main():
    program = served.start(sys.argv[1:])
    # f32: the reference's logprobs; test_generate_options.py has the default, whose activations are 8-bit
    with Started(program, MODELS, "--dtype", "f32", "--kv-dtype", "f32") as s:
        for test in (test_goldens, test_shapes, test_streams, test_stops, test_logprobs,
                     test_sampling, test_refusals, test_messages, test_structured, test_tools,
                     test_names, test_gone, test_together):
            test(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
