#!/usr/bin/env python3
"""Causal models that embed and rerank beside one that generates, and GGUF files beside the folders
they were made of, in one process: what sentence-transformers and Qwen3-Reranker's model card give,
over every dialect, to the same bits whatever shares the device.

    tests/http/test_causal_embed.py [PROGRAM]
"""

import base64
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

MODELS = {"chat": "tiny_chat", "q3": "causal/qwen3-embedding", "q3f": "causal/qwen3-embedding.gguf",
          "q2": "causal/qwen2-base-st6", "judge": "causal/qwen3-reranker",
          "judgef": "causal/qwen3-reranker.gguf", "causal": "causal/qwen3-reranker",
          "bert": "bert-last-f16", "bertf": "gguf/bert-last-f16.gguf"}
TASKS = {"chat": "generate", "q3": "embed", "q3f": "embed", "q2": "embed", "judge": "rerank",
         "judgef": "rerank", "causal": "embed", "bert": "embed", "bertf": "embed"}
OPTIONS = ["--task", "judge=rerank", "--task", "judgef=rerank", "--task", "causal=embed",
           "--accept-token-ids"]
EMBED = "/v1/embeddings"


def golden(name):
    with open(os.path.join(ROOT, DATA, MODELS[name], "golden.json"), encoding="utf-8") as f:
        return json.load(f)


EMBEDDING, BASE, RERANKER = golden("q3"), golden("q2"), golden("judge")
PLAIN, QUERY = EMBEDDING["cases"]
FRAME = len(RERANKER["prefix"]) + len(RERANKER["suffix"])


def floats(text):
    raw = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def packed(v):
    return base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode()


def unit(v):
    norm = math.sqrt(sum(x * x for x in v))
    return [x / norm for x in v]


def near(a, b, tolerance):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


def embed(s, model, texts, **fields):
    return s.post(EMBED, {"model": model, "input": texts, "encoding_format": "base64", **fields})


def vectors(a):
    return [d["embedding"] for d in a.json["data"]] if a.status == 200 else []


def refused(a, what, code, param=None, words="", status=400):
    check(a.status == status and a.code == code and a.param == param and
          words in a.json["error"]["message"], what, a)


def filled(case, of="texts"):
    """What HTTP takes: every text but the empty one, with what belongs to it."""
    rows = [k for k, v in case.items() if isinstance(v, list)]
    return [{k: case[k][i] for k in rows} for i, t in enumerate(case[of]) if t]


def test_models(s):
    told = {m["id"]: m for m in s.get("/v1/models").json["data"]}
    check({k: m["task"] for k, m in told.items()} == TASKS, "each has its task", told)
    check(told["q3"]["dimensions"] == 18 and told["q3"]["pooling"] == "lasttoken" and
          told["q3"]["max_input_length"] == 96, "what an embedder says of itself", told["q3"])
    check(told["q3f"]["pooling"] == "lasttoken", "and its GGUF file", told["q3f"])
    for model in TASKS:
        info = s.get(f"/info?model={model}")
        check(info.status == 200 and info.json["model_id"] == model, "/info", info)
    a = s.post("/v1/completions", {"model": "judge", "prompt": "x"})
    check(a.status in (400, 404) and a.json["error"], "a reranker does not generate", a)
    a = embed(s, "judge", "x")
    check(a.status in (400, 404) and a.json["error"], "nor embed", a)


def test_goldens(s):
    for model, case, fields in (("q3", PLAIN, {}), ("q3f", PLAIN, {}),
                                ("q3", PLAIN, {"input_type": "document"}),
                                ("q3", QUERY, {"prompt_name": "query"}),
                                ("q3", QUERY, {"input_type": "query"}),
                                ("q3", QUERY, {"task": "retrieval.query"}),
                                ("q2", BASE["cases"][0], {})):
        rows = filled(case)
        a = embed(s, model, [r["texts"] for r in rows], truncate=True, **fields)
        got = vectors(a)
        check(len(got) == len(rows), "as many vectors as texts", a)
        for g, r in zip(got, rows):
            # the bar of docs/ for normalised embeddings
            check(near(floats(g), unit(r["vectors"]), 2e-6), "sentence-transformers' vector",
                  (model, fields, r["texts"]))
        tokens = sum(len(r["ids"]) for r in rows)
        check(a.json["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}, "usage", a)
        b = s.post(EMBED, {"model": model, "input": [r["texts"] for r in rows], "truncate": True,
                           **fields})
        for g, d in zip(got, b.json["data"]):
            check(packed(d["embedding"]) == g, "floats and base64 are the same bits", model)
        c = embed(s, model, [r["texts"] for r in rows], truncate=True, dimensions=6, **fields)
        for g, r in zip(vectors(c), rows):
            check(near(floats(g), r["slices"], 4e-6), "truncate_dim", (model, r["texts"]))
        raw = embed(s, model, [r["texts"] for r in rows], truncate=True, normalize=False, **fields)
        for g, r in zip(vectors(raw), rows):
            if model == "q2":
                check(near(floats(g), r["vectors"], 2e-5), "not normalised", r["texts"])
    for bad in (0, 19, -1):
        check(embed(s, "q3", "x", dimensions=bad).status == 400, "dimensions", bad)


def test_files(s):
    texts = [r["texts"] for r in filled(PLAIN)]
    for folder, file in (("q3", "q3f"), ("bert", "bertf")):
        a, b = (vectors(embed(s, m, texts, truncate=True)) for m in (folder, file))
        check(a and a == b, "a file's vectors are the folder's, to the bit", file)


def test_truncation(s):
    long = next(r for r in filled(PLAIN) if len(r["ids"]) == 96)
    refused(embed(s, "q3", long["texts"]), "too long", "context_length_exceeded", "input", "96")
    end = long["ids"][-1]
    whole = s.post("/tokenize", {"model": "q3", "inputs": long["texts"]}).json
    ids = [t["id"] for t in whole[0]]
    check(len(ids) > 96 and ids[-1] == end and ids[:95] == long["ids"][:95], "/tokenize", ids)
    for side, kept in (("right", ids[:95] + [end]), ("left", ids[-96:])):
        a = embed(s, "q3", long["texts"], truncate=True, truncation_direction=side)
        b = embed(s, "q3", kept)
        check(vectors(a) and vectors(a) == vectors(b), "the end token is kept", side)
        check(a.json["usage"]["prompt_tokens"] == 96, "usage of a cut text", a)
    short = filled(PLAIN)[0]
    check(vectors(embed(s, "q3", short["ids"])) == vectors(embed(s, "q3", short["texts"])),
          "ids are taken as given")


def test_dialects(s):
    texts = [r["texts"] for r in filled(PLAIN)][:3]
    plain, query = (vectors(embed(s, "q3", texts, **f)) for f in ({}, {"prompt_name": "query"}))
    check(plain != query, "the prompt matters")
    for kind, want in (("search_document", plain), ("search_query", query)):
        a = s.post("/v2/embed", {"model": "q3", "texts": texts, "input_type": kind,
                                 "embedding_types": ["base64", "float"]})
        check(a.status == 200 and a.json["embeddings"]["base64"] == want, "Cohere's", a)
    a = s.post("/embed", {"model": "q3", "inputs": texts, "prompt_name": "query"})
    check([packed(v) for v in a.json] == query, "TEI's", a)
    refused(embed(s, "q3", ["x", ""]), "an empty text", "empty_input", "input")
    a = s.post(EMBED, {"input": "x"})
    check(a.status == 200 and a.json["model"] == "q3", "the first of several", a)


def logit(results):
    return {r["index"]: r["relevance_score"] for r in results}


def test_rerank(s):
    for case in RERANKER["cases"]:
        rows = filled(case, "documents")
        body = {"model": "judge", "query": case["query"], "documents": [r["documents"] for r in rows]}
        a = s.post("/v1/rerank", body)
        if not check(a.status == 200, "reranked", a):
            continue
        got = logit(a.json["results"])
        for i, r in enumerate(rows):
            check(abs(got[i] - r["scores"]) < 3e-6, "the card's score", (case["query"], r))
        order = [r["index"] for r in a.json["results"]]
        check(order == sorted(range(len(rows)), key=lambda i: (-got[i], i)), "best first", order)
        tokens = sum(len(r["ids"]) + FRAME for r in rows)
        check(a.json["usage"]["total_tokens"] == tokens and "method" not in a.json, "usage", a)
        raw = s.post("/v1/rerank", {**body, "raw_scores": True})
        for i, x in logit(raw.json["results"]).items():
            check(abs(x - rows[i]["logits"]) < 1e-5, "the logits' difference", (x, rows[i]))
        f = s.post("/v1/rerank", {**body, "model": "judgef"})
        check(f.json["results"] == a.json["results"], "the GGUF file's are the same", f)
        c = s.post("/v2/rerank", {**body, "top_n": 2})
        check([(r["index"], r["relevance_score"]) for r in c.json["results"]] ==
              [(r["index"], r["relevance_score"]) for r in a.json["results"]][:2], "Cohere's", c)
        t = s.post("/rerank", {"model": "judge", "query": case["query"], "texts": body["documents"]})
        check([(r["index"], r["score"]) for r in t.json] ==
              [(r["index"], r["relevance_score"]) for r in a.json["results"]], "TEI's", t)
        p = s.post("/predict", {"model": "judge",
                                "inputs": [[case["query"], d] for d in body["documents"]]})
        check([r[0]["score"] for r in p.json] == [got[i] for i in range(len(rows))], "predict", p)


def test_rerank_refusals(s):
    body = {"model": "judge", "query": "x", "documents": ["a", "b"]}
    a = s.post("/v1/rerank", {**body, "documents": ["a", ""]})
    check(a.status == 200 and len(a.json["results"]) == 2, "an empty document is scored", a)
    refused(s.post("/v1/rerank", {**body, "query": "gravity " * 200}), "a query without end",
            "query_too_long", "query", "never cut")
    long = {**body, "documents": ["gravity is a force " * 60]}
    refused(s.post("/v1/rerank", {**long, "truncate": False}), "a long document",
            "context_length_exceeded", "documents", "256")
    a = s.post("/v1/rerank", long)
    check(a.json["usage"]["total_tokens"] == 256 and "warnings" in a.json["meta"], "cut", a)
    b = s.post("/v1/rerank", {**long, "max_tokens_per_doc": 5})
    check(b.json["usage"]["total_tokens"] ==
          s.post("/v1/rerank", {**body, "documents": ["a"]}).json["usage"]["total_tokens"] + 5 -
          len(s.post("/tokenize", {"model": "judge", "inputs": " a"}).json[0]), "five tokens of it", b)
    for path, field, status in (("/predict", "inputs", 422), ("/v1/classify", "input", 400)):
        a = s.post(path, {"model": "judge", field: "one text"})
        check(a.status == status and "pairs of a query and a document" in a.body.decode(),
              "one text is no pair", a)


def test_by_cosine(s):
    documents = [r["texts"] for r in filled(PLAIN)][:4]
    a = s.post("/v1/rerank", {"model": "q3", "query": "the query", "documents": documents})
    q = floats(vectors(embed(s, "q3", "the query", prompt_name="query"))[0])
    d = [floats(v) for v in vectors(embed(s, "q3", documents))]
    got = logit(a.json["results"])
    check(a.json["method"] == "embedding", "by its vectors", a)
    for i, v in enumerate(d):
        check(abs(got[i] - sum(x * y for x, y in zip(q, v))) < 1e-6, "cosine", (i, got))


def alone(s, jobs):
    return [embed(s, m, t).json["data"][0]["embedding"] for m, t in jobs]


def test_same_bits(s):
    """Embedding and reranking by several clients while others' text is generated."""
    texts = [f"text number {i}: " + "gravity bodies capital " * (i % 3) for i in range(12)]
    jobs = [(m, t) for m in ("q3", "q2", "bert", "causal") for t in texts]
    want = dict(zip(jobs, alone(s, jobs)))
    pairs = {"model": "judge", "query": "What is it?", "documents": texts}
    ranked = s.post("/v1/rerank", pairs).json["results"]
    ask = {"model": "chat", "prompt": "one two", "temperature": 0.9, "max_tokens": 60,
           "ignore_eos": True}
    said = {seed: s.post("/v1/completions", {**ask, "seed": seed}).json["choices"][0]["text"]
            for seed in range(4)}
    wrong, done, stop = [], [], threading.Event()

    def generate(seed):
        while not stop.is_set():
            a = s.post("/v1/completions", {**ask, "seed": seed})
            if a.json["choices"][0]["text"] != said[seed]:
                wrong.append(("text", seed, a))
            done.append(seed)

    def vectorize(model):
        mine = [t for m, t in jobs if m == model]
        for round in range(8):
            some = mine[round % 3::1 + round % 4]
            got = vectors(embed(s, model, some, priority=999 * (round % 2)))
            if got != [want[model, t] for t in some]:
                wrong.append(("vectors", model, round))

    def rank():
        for round in range(8):
            a = s.post("/v1/rerank", {**pairs, "priority": 999 * (round % 2)})
            if a.json["results"] != ranked:
                wrong.append(("ranks", round, a))

    def client(work, *args):
        try:
            work(*args)
        except Exception as e:  # an answer that did not come, or not in form
            wrong.append((work.__name__, args, repr(e)))

    generators = [threading.Thread(target=client, args=(generate, i)) for i in said]
    others = [threading.Thread(target=client, args=(vectorize, m))
              for m in ("q3", "q2", "bert", "causal")]
    others.append(threading.Thread(target=client, args=(rank,)))
    for t in generators + others:
        t.start()
    for t in others:
        t.join()
    stop.set()
    for t in generators:
        t.join()
    check(not wrong, "the bits of each alone", wrong[:3])
    check(len(done) >= 4, "text was generated meanwhile", len(done))


def test_one_each(program):
    """One model of each task needs no name."""
    one = {k: MODELS[k] for k in ("chat", "q3f", "judgef")}
    with Started(program, one, "--task", "judgef=rerank") as s:
        a = s.post(EMBED, {"input": "a text"})
        check(a.status == 200 and a.json["model"] == "q3f", "the embedder", a)
        a = s.post("/v1/rerank", {"query": "a", "documents": ["b", "c"]})
        check(a.status == 200 and a.json["model"] == "judgef", "the reranker", a)
        a = s.post("/v1/completions", {"prompt": "one two three", "temperature": 0})
        check(a.status == 200 and a.json["model"] == "chat" and
              a.json["choices"][0]["text"].startswith(" four five"), "the generator", a)


def test_commands(program):
    """trine embed and trine rerank: a causal model does what the command does."""
    case = RERANKER["cases"][0]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "documents.txt")
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(case["documents"][:2]) + "\n")
        for model in ("causal/qwen3-reranker", "causal/qwen3-reranker.gguf"):
            out = subprocess.run([program, "rerank", "-q", "--model", DATA + model, "--query",
                                  case["query"], path, "--json", "--native"], cwd=ROOT,
                                 capture_output=True, text=True, timeout=120)
            if not check(out.returncode == 0, "trine rerank", out.stderr):
                continue
            told = json.loads(out.stdout)
            check(told["method"] == "yes-no", "its method", told)
            for r in told["results"]:
                check(abs(r["score"] - case["scores"][r["index"]]) < 3e-6, "its score", r)
    out = subprocess.run([program, "rerank", "-q", "--model", DATA + "tiny_chat", "--query", "x"],
                         cwd=ROOT, capture_output=True, text=True, input="a\n", timeout=120)
    check(out.returncode == 1 and "'yes' and 'no'" in out.stderr, "a model without the words", out)
    for model in ("causal/qwen3-embedding", "causal/qwen3-embedding.gguf"):
        out = subprocess.run([program, "embed", "-q", "--model", DATA + model], cwd=ROOT,
                             capture_output=True, text=True, input=PLAIN["texts"][0] + "\n",
                             timeout=120)
        row = json.loads(out.stdout or "{}").get("embedding", [])
        check(near(row, PLAIN["vectors"][0], 2e-6), "trine embed", out)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, MODELS, *OPTIONS) as s:
        for test in (test_models, test_goldens, test_files, test_truncation, test_dialects,
                     test_rerank, test_rerank_refusals, test_by_cosine, test_same_bits):
            test(s)
    test_one_each(program)
    test_commands(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
