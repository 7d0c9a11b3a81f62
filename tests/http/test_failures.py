#!/usr/bin/env python3
"""What a model cannot compute or say is told as what it is: numbers that overflow in the forward pass
are 500 non_finite for the requests that they concern, and a grammar that asks for what the model has no
token for is 400 with its name, its rule and the byte. Usage: test_failures.py [PROGRAM]"""

import json
import os
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from served import DATA, ROOT, Started, check, done, start

program = start(sys.argv[1:])
BIG = 3.3e38  # finite in f32 and bf16


def copy(folder, name):
    """A copy of a model of tests/golden/data, as served.Started takes it."""
    path = os.path.join(folder, name)
    shutil.copytree(os.path.join(ROOT, DATA, name), path)
    return path


def served(path):
    return os.path.relpath(path, os.path.join(ROOT, DATA))


def patch(path, tensor, values):
    """Sets numbers of a tensor: {flat index: value}."""
    path = os.path.join(path, "model.safetensors")
    with open(path, "rb") as f:
        data = bytearray(f.read())
    size = struct.unpack_from("<Q", data)[0]
    at = json.loads(data[8:8 + size])[tensor]
    for i, value in values.items():
        bits = struct.pack("<f", value)
        width = 4 if at["dtype"] == "F32" else 2
        begin = 8 + size + at["data_offsets"][0] + i * width
        data[begin:begin + width] = bits if width == 4 else bits[2:]
    with open(path, "wb") as f:
        f.write(data)


def test_encode(folder):
    """One word whose row makes the first norm overflow; whoever writes it is told, nobody else."""
    models = {}
    for name, table, dim in (("bert-mean-st6", "embeddings.word_embeddings.weight", 24),
                             ("bert-cross-encoder", "bert.embeddings.word_embeddings.weight", 24),
                             ("bert-classifier", "bert.embeddings.word_embeddings.weight", 36)):
        path = copy(folder, name)
        with open(os.path.join(path, "tokenizer.json"), encoding="utf-8") as f:
            vocab = json.load(f)["model"]["vocab"]
        words = sorted(w for w in vocab if len(w) > 2 and w.isalpha() and w.isascii())
        bad, good = words[0], words[1]
        patch(path, table, {vocab[bad] * dim + i: BIG for i in range(dim)})
        models[name] = served(path)
    with Started(program, models) as s:
        embed = lambda *texts: s.post("/v1/embeddings", {"model": "bert-mean-st6", "input": list(texts)})
        before = embed(good)
        check(before.status == 200, "another word", before)
        a = embed(f"{good} {bad}")
        check(a.status == 500 and a.code == "non_finite" and "not finite" in a.json["error"]["message"] and
              "bert-mean-st6" in a.json["error"]["message"], "a word that overflows", a)
        check(embed(good, bad, good).status == 500, "among others of the same request")
        after = embed(good)
        check(after.status == 200 and after.json["data"] == before.json["data"], "the same vector afterwards")
        ask = {"model": "bert-cross-encoder", "query": good, "documents": [good, bad]}
        a = s.post("/v1/rerank", ask)
        check(a.status == 500 and b"not finite" in a.body, "a score", a)
        check(s.post("/v1/rerank", {**ask, "documents": [good]}).status == 200, "another document")
        a = s.post("/predict", {"model": "bert-classifier", "inputs": bad})
        check(a.status == 500 and b"not finite" in a.body, "labels", a)
        check(s.post("/predict", {"model": "bert-classifier", "inputs": good}).status == 200, "another text")


def test_generate(folder):
    """Every token's first number is 1e38 behind the first layer, and that of "z" was 3.3e38 before it."""
    path = copy(folder, "tiny_chat")
    layer = "model.layers.0.self_attn."
    patch(path, "model.embed_tokens.weight", {89 * 48: BIG})
    patch(path, layer + "v_proj.bias", {0: 1e4})  # the cache is f16
    patch(path, layer + "o_proj.weight", {0: 1e34})
    patch(path, "model.norm.weight", {0: 0})  # what the head, which is the same table, would have of it
    with Started(program, {"tiny": served(path)}) as s:
        for stream in (False, True):
            body = {"prompt": "abc", "max_tokens": 3, "temperature": 0, "stream": stream}
            a = s.post("/v1/completions", body)
            check(a.status == 200, "a prompt without it", a)
            a = s.post("/v1/completions", {**body, "prompt": "abcz"})
            check(a.status == 500 and a.code == "non_finite" and
                  a.json["error"]["message"] == "the model gave logits that are not finite", "with it", a)
            a = s.post("/v1/completions", {**body, "prompt": "abcz", "response_format": {"type": "json_object"}})
            check(a.status == 500 and a.code == "non_finite", "under a grammar as well", a)
        a = s.post("/v1/completions", {"prompt": "zabc", "max_tokens": 0, "echo": True, "logprobs": 1})
        check(a.status == 500 and a.code == "non_finite", "a prompt that is scored", a)
        check(s.post("/v1/completions", {"prompt": "abc", "max_tokens": 3}).status == 200, "afterwards")


def test_grammars(folder):
    """A vocabulary without a token for "Q": what asks for one is told so, by the name of the grammar."""
    path = copy(folder, "tiny_chat")
    name = os.path.join(path, "tokenizer.json")
    with open(name, encoding="utf-8") as f:
        t = json.load(f)
    vocab = t["model"]["vocab"]
    t["model"]["merges"] = [m for m in t["model"]["merges"] if "Q" not in "".join(m)]
    t["model"]["vocab"] = {"\u0120\u0120QQQ" if k == "Q" else k: v for k, v in vocab.items()}
    with open(name, "w", encoding="utf-8") as f:
        json.dump(t, f)
    with Started(program, {"tiny": served(path)}) as s:
        asks = 'asks for the byte \'Q\', and this model has no token for that'
        body = {"prompt": "abc", "max_tokens": 40, "temperature": 0}
        for stream in (False, True):
            a = s.post("/v1/completions", {**body, "stream": stream, "grammar": 'root ::= tail\ntail ::= "Q"'})
            check(a.status == 400 and a.param == "grammar" and a.json["error"]["message"] ==
                  f"'grammar' cannot go on: its rule \"tail\" {asks}", "at the beginning", a)
        a = s.post("/v1/completions", {**body, "grammar": 'root ::= "abc" tail\ntail ::= "Q"'})
        check(a.status == 400 and f"its rule \"tail\" {asks}" in a.body.decode().replace('\\"', '"'), "in its middle", a)
        a = s.post("/v1/completions", {**body, "stream": True, "grammar": 'root ::= "abc" tail\ntail ::= "Q"'})
        check(a.status in (200, 400) and b"'grammar' cannot go on" in a.body and b"not finite" not in a.body,
              "in the middle of a stream", a)
        for what in ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "Q"}}}},
                     {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["Q"]}}}}):
            a = s.post("/v1/completions", {**body, **what})
            check(a.status == 400 and a.param == "response_format" and a.json["error"]["message"] ==
                  f"'response_format' cannot go on: it {asks}", "a schema", a)
        a = s.post("/v1/chat/completions", {
            "messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "temperature": 0, "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "Q", "parameters": {"type": "object"}}}]})
        check(a.status == 400 and a.param == "tools" and "'tools' cannot go on" in a.json["error"]["message"], "tools", a)
        a = s.post("/v1/completions", {**body, "grammar": 'root ::= "abc" | "Q"'})
        check(a.status == 200 and a.json["choices"][0]["text"] == "abc", "where there is another way", a)


for test in (test_encode, test_generate, test_grammars):
    with tempfile.TemporaryDirectory() as d:
        test(d)
sys.exit(done())
