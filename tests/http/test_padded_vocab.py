#!/usr/bin/env python3
"""A model whose vocabulary has more rows than its tokenizer has tokens, as most are padded: a sampled id
without a token adds nothing to a text, in every place where ids come or go.

    tests/http/test_padded_vocab.py [PROGRAM]
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

MORE = 40


def padded(folder):
    """A copy of tiny_chat with MORE rows behind those of its tokens; the first id without a token."""
    shutil.copytree(os.path.join(ROOT, DATA, "tiny_chat"), folder)
    name = os.path.join(folder, "config.json")
    with open(name, encoding="utf-8") as f:
        config = json.load(f)
    rows = config["vocab_size"]
    config["vocab_size"] = rows + MORE
    with open(name, "w", encoding="utf-8") as f:
        json.dump(config, f)
    name = os.path.join(folder, "model.safetensors")
    with open(name, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        data = f.read()
    tensors = {k: v for k, v in header.items() if k != "__metadata__"}
    out, at = b"", 0
    for key, t in tensors.items():
        begin, end = t["data_offsets"]
        bytes_of = data[begin:end]
        if key == "model.embed_tokens.weight":
            width = (end - begin) // t["shape"][0]
            bytes_of += bytes_of[:width] * MORE
            t["shape"][0] += MORE
        t["data_offsets"] = [at, at + len(bytes_of)]
        at += len(bytes_of)
        out += bytes_of
    head = json.dumps(tensors).encode()
    head += b" " * (-len(head) % 8)
    with open(name, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + out)
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    tokens = set(tokenizer["model"]["vocab"].values()) | {t["id"] for t in tokenizer["added_tokens"]}
    return max(tokens) + 1, rows + MORE


def events(body):
    lines = [l[6:] for l in body.decode().split("\n") if l.startswith("data: ")]
    check(lines and lines[-1] == "[DONE]", "the stream ends", body[-200:])
    return [json.loads(l) for l in lines[:-1]]


def test_completions(s, hole):
    asked = {"model": "m", "prompt": "the cat", "max_tokens": 5, "temperature": 0,
             "logit_bias": {str(hole): 100}, "logprobs": 2}
    a = s.post("/v1/completions", asked)
    check(a.status == 200, "a biased id without a token is sampled", a)
    choice = a.json["choices"][0]
    check(choice["text"] == "" and choice["finish_reason"] == "length" and
          a.json["usage"]["completion_tokens"] == 5, "and decodes to nothing", a)
    check(choice["logprobs"]["tokens"] == [""] * 5 and choice["logprobs"]["text_offset"] == [0] * 5 and
          all("" in top for top in choice["logprobs"]["top_logprobs"]), "its text is empty", a)
    a = s.post("/v1/completions", dict(asked, stream=True))
    got = events(a.body)
    check("".join(e["choices"][0]["text"] for e in got if e["choices"]) == "" and
          [t for e in got if e["choices"] for t in (e["choices"][0]["logprobs"] or {"tokens": []})["tokens"]] ==
          [""] * 5, "in a stream", a)
    a = s.post("/v1/completions", dict(asked, prompt=[5, hole, 6], echo=True, max_tokens=1, logprobs=0))
    alone = s.post("/v1/completions", dict(asked, prompt=[5, 6], echo=True, max_tokens=1, logprobs=0))
    check(a.status == 200 and a.json["usage"]["prompt_tokens"] == 3 and
          a.json["choices"][0]["text"] == alone.json["choices"][0]["text"], "in an echoed prompt", a)
    check(a.json["choices"][0]["logprobs"]["tokens"][1] == "", "its echo has no text", a)


def test_chat(s, hole):
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4,
             "temperature": 0, "logit_bias": {str(hole): 100}, "logprobs": True, "top_logprobs": 2}
    a = s.post("/v1/chat/completions", asked)
    check(a.status == 200 and not a.json["choices"][0]["message"]["content"], "chat: nothing", a)
    tokens = a.json["choices"][0]["logprobs"]["content"] if a.status == 200 else []
    check(len(tokens) == 4 and all(t["token"] == "" and t["bytes"] == [] for t in tokens),
          "chat: token and bytes", a)
    a = s.post("/v1/chat/completions", dict(asked, stream=True))
    got = [t for e in events(a.body) for c in e["choices"]
           for t in (c.get("logprobs") or {}).get("content") or []]
    check(len(got) == 4 and all(t["token"] == "" and t["bytes"] == [] for t in got),
          "chat: in a stream", a)
    a = s.post("/v1/chat/completions", dict(asked, max_tokens=60, response_format={
        "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "enum": ["ab"]}}}))
    check(a.status == 200 and a.json["choices"][0]["message"]["content"] == '"ab"',
          "a grammar never allows it", a)


def test_ids(s, hole, rows):
    for skip in (True, False):
        a = s.post("/decode", {"ids": [5, hole, rows - 1, 6], "skip_special_tokens": skip})
        b = s.post("/decode", {"ids": [5, 6], "skip_special_tokens": skip})
        check(a.status == 200 and a.json == b.json, "/decode", a)
    a = s.post("/decode", {"ids": [hole]})
    check(a.status == 200 and a.json == [""], "/decode of nothing else", a)
    a = s.post("/decode", {"ids": [rows]})
    check(a.status == 400 and str(rows) in a.json["error"], "/decode: below the model's rows", a)
    for path, body, param in (("/v1/completions", {"prompt": [rows]}, "prompt"),
                              ("/v1/completions", {"prompt": "a", "logit_bias": {str(rows): 1}}, "logit_bias")):
        a = s.post(path, body)
        check(a.status == 400 and a.code == "invalid_token_id" and a.param == param and
              str(rows) in a.json["error"]["message"], f"{path}: below the model's rows", a)


def test_embed(program, folder, hole):
    with Started(program, {"e": os.path.relpath(folder, os.path.join(ROOT, DATA))}, "--task", "e=embed",
                 "--accept-token-ids") as s:
        a = s.post("/v1/embeddings", {"input": [5, hole, 6]})
        check(a.status == 200 and a.json["usage"]["prompt_tokens"] == 3, "an embedder's id", a)


def test_command(program, folder, hole):
    run = subprocess.run([program, "tokenize", "--model", folder, "--decode", f"5 {hole} 6"],
                         capture_output=True, text=True)
    want = subprocess.run([program, "tokenize", "--model", folder, "--decode", "5 6"],
                          capture_output=True, text=True)
    check(run.returncode == 0 and run.stdout == want.stdout and run.stdout.strip(),
          "trine tokenize --decode", run)


def main(args):
    program = served.start(args)
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, "padded")
        hole, rows = padded(folder)
        with Started(program, {"m": os.path.relpath(folder, os.path.join(ROOT, DATA))}) as s:
            test_completions(s, hole)
            test_chat(s, hole)
            test_ids(s, hole, rows)
        test_embed(program, folder, hole)
        test_command(program, folder, hole)
    return served.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
