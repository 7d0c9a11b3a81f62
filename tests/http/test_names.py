#!/usr/bin/env python3
"""Which model a request means: names, aliases, what clients send in place of a name, and defaults.

    tests/http/test_names.py [PROGRAM]      starts PROGRAM (default: build/trine) with tiny models
"""

import subprocess
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

MODELS = {"rr": "bert-cross-encoder", "emb": "bert-mean-st6", "other": "distilbert-prompt-st6",
          "cls": "bert-classifier", "gen": "tiny_chat", "gen2:latest": "tiny_chat"}
ALIASES = ["--alias", "emb=org/emb", "--alias", "emb=text-embedding-3-small", "--alias",
           "other=http://localhost:8080/own", "--alias", "gen=gpt:latest"]
# a body of each route, and the model that answers it when none is named
ROUTES = [("/v1/embeddings", {"input": "the cat"}, "emb"), ("/embed", {"inputs": "the cat"}, "emb"),
          ("/v1/embed", {"texts": ["the cat"]}, "emb"), ("/", {"inputs": "the cat"}, "emb"),
          ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["cat"]}}, "emb"),
          ("/v1/rerank", {"query": "a", "documents": ["cat"]}, "rr"),
          ("/v2/rerank", {"query": "a", "documents": ["cat"]}, "rr"),
          ("/rerank", {"query": "a", "texts": ["cat"]}, "rr"), ("/predict", {"inputs": "cat"}, "cls"),
          ("/v1/classify", {"input": "cat"}, "cls"), ("/tokenize", {"inputs": "cat"}, "rr"),
          ("/decode", {"ids": [5, 6]}, "rr"),
          ("/v1/completions", {"prompt": "one two", "temperature": 0, "max_tokens": 4}, "gen"),
          ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}],
                                    "temperature": 0, "max_tokens": 4}, "gen")]


def essence(answer):
    """An answer without what differs between two askings of the same."""
    told = answer.json
    if isinstance(told, dict):
        told = {k: v for k, v in told.items()
                if k not in ("id", "created", "timings", "usage", "system_fingerprint")}
    return answer.status, told


def test_defaults(s):
    for path, body, name in ROUTES:
        want = s.post(path, dict(body, model=name))
        check(want.status == 200, f"{path} by name", want)
        for absent in (None, "", "dummy", "tgi", "http://127.0.0.1:8080", "https://example.org/v1"):
            r = s.post(path, dict(body, model=absent))
            check(essence(r) == essence(want), f"{path}: {absent!r} is the first for this task", r)
        check(essence(s.post(path, body)) == essence(want), f"{path}: without a name")
        r = s.post(path, dict(body, model="nope"))
        check(r.status == 404, f"{path}: a name that is not there", r)


def test_aliases(s):
    want = s.post("/v1/embeddings", {"input": "the cat", "model": "emb"})
    for name in ("org/emb", "text-embedding-3-small", "emb:latest", "org/emb:latest"):
        r = s.post("/v1/embeddings", {"input": "the cat", "model": name})
        check(essence(r) == essence(want), name, r)
        check(s.get("/v1/models/" + name).json["id"] == "emb", f"/v1/models/{name}")
    for name in ("EMB", "emb:v1", "emb:", ":latest", "latest", " emb"):
        r = s.post("/v1/embeddings", {"input": "the cat", "model": name})
        check(r.status == 404, f"{name!r} is no name", r)
    r = s.post("/v1/embeddings", {"input": "the cat", "model": "http://localhost:8080/own"})
    check(r.json["model"] == "other", "what a model is called is its name, whatever it looks like", r)
    for name, said in (("gen2", "gen2:latest"), ("gen2:latest", "gen2:latest"), ("gpt", "gen")):
        r = s.post("/v1/completions", {"prompt": "one", "max_tokens": 1, "model": name})
        check(r.status == 200 and r.json["model"] == said, f"{name} is {said}", r)
    listed = {m["id"]: m["aliases"] for m in s.get("/v1/models").json["data"]}
    check(listed["emb"] == ["org/emb", "text-embedding-3-small"] and listed["rr"] == [], "aliases",
          listed)


def refused(program, words, *args):
    p = subprocess.run([program, "serve", "--port", "0", *args], cwd=ROOT, capture_output=True,
                       timeout=120, check=False)
    said = p.stderr.decode("utf-8")
    check(p.returncode == 1 and words in said, words, (p.returncode, said))


def test_bad_names(program):
    emb, rr = "a=" + DATA + MODELS["emb"], "b=" + DATA + MODELS["rr"]
    refused(program, "two models are called 'a'", "--model", emb, "--model", rr, "--alias", "b=a")
    refused(program, "two models are called 'c'", "--model", emb, "--model", rr, "--alias", "a=c",
            "--alias", "b=c")
    refused(program, "control characters", "--model", emb, "--alias", b"a=caf\xe9")
    refused(program, "control characters", "--model", emb, "--alias", "a=x\r\ny")


def main():
    program = served.start(sys.argv[1:])
    with Started(program, MODELS, *ALIASES) as s:
        test_defaults(s)
        test_aliases(s)
    test_bad_names(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
