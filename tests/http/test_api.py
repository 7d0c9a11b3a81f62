#!/usr/bin/env python3
"""Every dialect against a running server: what it answers, what it refuses and how it says so.

    tests/http/test_api.py [PROGRAM]      starts PROGRAM (default: build/trine) with tiny models
    tests/http/test_api.py HOST PORT EMBED RERANK
                                          a server that runs already with models of these names; what
                                          needs the tiny models or other options is skipped

FAULTS rows are named where a check is theirs. Closing line: "N passed, N failed[, N skipped]"; the
exit code tells the truth.
"""

import base64
import json
import math
import os
import struct
import sys
import time

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Server, Started, check, skip  # noqa: E402

EMBED, PROMPTED, RERANK, CLASSIFY = "emb", "prm", "rr", "cls"
FOLDERS = {EMBED: "bert-mean-st6", PROMPTED: "distilbert-prompt-st6",
           RERANK: "bert-cross-encoder", CLASSIFY: "bert-classifier"}
TIMES = ["x-compute-type", "x-compute-tokens", "x-total-time", "x-tokenization-time",
         "x-queue-time", "x-inference-time", "x-request-id"]

def golden(model):
    with open(os.path.join(ROOT, DATA, FOLDERS[model], "golden.json"), encoding="utf-8") as f:
        return json.load(f)


def floats(text):
    raw = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def unit(v):
    norm = math.sqrt(sum(x * x for x in v))
    return [x / norm for x in v]


def near(a, b, tolerance):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# ---- vectors

def test_openai_embeddings(s, model):
    texts = ["the long line of people", "a", "Na\u00efve caf\u00e9: can you READ this?", "\u4e2d\u6587"]
    r = s.post("/v1/embeddings", {"input": texts, "model": model})
    check(r.status == 200, "a batch", r)
    check(set(r.json) == {"object", "data", "model", "usage"} and r.json["object"] == "list",
          "the list's members", r)
    data = r.json["data"]
    check([d["index"] for d in data] == [0, 1, 2, 3], "indices in order")
    check(all(d["object"] == "embedding" for d in data), "objects")
    usage = r.json["usage"]
    check(usage["prompt_tokens"] == usage["total_tokens"] > len(texts), "usage", usage)
    check(r.headers["x-compute-tokens"] == str(usage["total_tokens"]), "x-compute-tokens")
    check(all(r.headers[h] for h in TIMES), "the headers of every answer",
          [h for h in TIMES if not r.headers[h]])
    check(all(abs(sum(x * x for x in d["embedding"]) - 1) < 1e-5 for d in data), "normalised")

    b = s.post("/v1/embeddings", {"input": texts, "model": model, "encoding_format": "base64"})
    same = [floats(e["embedding"]) == [f32(x) for x in d["embedding"]]
            for e, d in zip(b.json["data"], data)]
    check(all(same) and len(same) == 4, "base64 and decimal are the same bits")
    for i, text in enumerate(texts):
        one = s.post("/v1/embeddings", {"input": text, "model": model, "encoding_format": "base64"})
        check(one.json["data"][0]["embedding"] == b.json["data"][i]["embedding"],
              "alone and in a batch the same bits", text)

    dim = len(data[0]["embedding"])
    r = s.post("/v1/embeddings", {"input": texts, "model": model, "dimensions": 8})
    check(all(near(d["embedding"], unit(e["embedding"][:8]), 2e-6)
              for d, e in zip(r.json["data"], data)), "dimensions slices and renormalises")
    r = s.post("/v1/embeddings", {"input": texts, "model": model, "dimensions": dim,
                                  "encoding_format": "base64"})
    check(r.json["data"] == b.json["data"], "all dimensions are no slice")
    for bad in (0, -1, dim + 1, 1.5, "8", 2**63, True):
        r = s.post("/v1/embeddings", {"input": "a", "model": model, "dimensions": bad})
        check(r.status == 400 and r.param == "dimensions", f"dimensions {bad!r}", r)
    r = s.post("/v1/embeddings", {"input": "a", "model": model, "encoding_format": "hex"})
    check(r.status == 400 and r.param == "encoding_format", "encoding_format", r)
    r = s.post("/v1/embeddings", {"input": "a", "model": model, "encoding_format": None,
                                  "dimensions": None, "user": None})
    check(r.status == 200 and isinstance(r.json["data"][0]["embedding"], list), "null is absent", r)

    r = s.post("/v1/embeddings", {"input": "a b", "model": model, "normalize": False})
    raw = r.json["data"][0]["embedding"]
    r = s.post("/v1/embeddings", {"input": "a b", "model": model})
    check(near(unit(raw), r.json["data"][0]["embedding"], 2e-6), "normalize: false")


def test_vector_forms(s, model):
    v = s.post("/v1/embeddings", {"input": "a", "model": model}).json["data"][0]["embedding"]
    int8 = [max(-127, min(127, round(f32(x) * 127))) for x in v]
    bits = [1 if x > 0 else 0 for x in v] + [0] * (-len(v) % 8)
    ubinary = [int("".join(map(str, bits[i:i + 8])), 2) for i in range(0, len(bits), 8)]
    want = {"float": v, "int8": int8, "uint8": [x + 128 for x in int8], "ubinary": ubinary,
            "binary": [x - 128 for x in ubinary],
            "base64": base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode()}
    for form, expected in want.items():
        r = s.post("/v1/embeddings", {"input": "a", "model": model, "embedding_type": form})
        got = r.json["data"][0]["embedding"]
        # the product 127 x may lie within a float's rounding of a half
        ok = near(got, expected, 1) if "int8" in form else got == expected
        check(ok, f"embedding_type {form}", (got, expected))
    r = s.post("/v1/embeddings", {"input": "a", "model": model,
                                  "embedding_type": ["float", "ubinary"]})
    check(r.json["data"][0]["embedding"] == {"float": v, "ubinary": ubinary}, "two types", r)
    r = s.post("/v1/embeddings", {"input": "a", "model": model, "embedding_type": "int4"})
    check(r.status == 400 and r.param == "embedding_type", "an unknown type", r)


def test_goldens(s):
    g = golden(EMBED)
    at = [i for i, t in enumerate(g["texts"]) if t]
    texts = [g["texts"][i] for i in at]
    r = s.post("/v1/embeddings", {"input": texts, "model": EMBED, "truncate": True})
    for i, d in zip(at, r.json["data"]):
        # the bar of f32 on the CPU against the reference
        check(near(d["embedding"], unit(g["vectors"][i]), 2e-6), "as sentence-transformers", i)
    check(r.json["usage"]["total_tokens"] == sum(len(g["ids"][i]) for i in at), "token count")
    check(r.headers["x-truncated"] == "1", "one text of these is cut", r.headers["x-truncated"])

    g = golden(PROMPTED)  # its default prompt goes before each text and stays out of the pool
    texts = [g["texts"][i] for i in at]
    r = s.post("/embed", {"inputs": texts, "model": PROMPTED})
    for i, v in zip(at, r.json):
        check(near(v, unit(g["vectors"][i]), 2e-6), "with the default prompt", i)
    named = s.post("/embed", {"inputs": texts, "model": PROMPTED, "prompt_name": "query"})
    check(named.body == r.body, "prompt_name query is that default")
    for field in ({"prompt_name": "document"}, {"input_type": "search_document"},
                  {"task": "retrieval.passage"}, {"input_type": "document"}):
        other = s.post("/embed", {"inputs": texts, "model": PROMPTED, **field})
        check(other.status == 200 and other.body != r.body, "another prompt", field)
        named = named if "prompt_name" not in field else other
        check(other.body == named.body, "one prompt under many names", field)
    bad = s.post("/v1/embeddings", {"input": "a", "model": PROMPTED, "prompt_name": "nope"})
    check(bad.status == 400 and bad.param == "prompt_name" and b"'document'" in bad.body,
          "an unknown prompt is refused, with those there are", bad)


def test_truncation(s, model):
    long = "word " * 4000
    r = s.post("/v1/embeddings", {"input": ["a", long], "model": model})
    text = r.json["error"]["message"]
    check(r.status == 400 and r.code == "context_length_exceeded" and r.param == "input",
          "row 34: too long is 400", r)
    limit = s.get("/v1/models/" + model).json["max_input_length"]
    check(str(limit) in text and "4002" in text, "row 34: with both counts", text)
    r = s.post("/v1/embeddings", {"input": ["a", long], "model": model, "truncate": True})
    check(r.status == 200 and r.headers["x-truncated"] == "1", "row 34: truncate", r)
    check(r.json["usage"]["total_tokens"] == 3 + limit, "row 34: cut to the length", r)
    r = s.post("/v1/embeddings", {"input": "a", "model": model, "truncate": True})
    check(r.headers["x-truncated"] is None, "nothing cut, nothing said")

    r = s.post("/embed", {"inputs": long, "model": model})
    check(r.status == 200 and r.headers["x-truncated"] == "1", "row 34: TEI cuts by default", r)
    r = s.post("/embed", {"inputs": long, "model": model, "truncate": False})
    check(r.status == 422 and r.json["error_type"] == "Validation", "row 34: TEI, not cut", r)

    body = {"inputs": "the cat " + "a " * 400 + "the dog", "model": model}
    right = s.post("/embed", body)
    left = s.post("/embed", dict(body, truncation_direction="left"))
    check(right.status == left.status == 200 and right.body != left.body, "sides differ")
    r = s.post("/embed", dict(body, truncation_direction="up"))
    check(r.status == 422, "an unknown side", r)
    for word, want in (("START", left), ("END", right)):
        r = s.post("/v1/embed", {"texts": [body["inputs"]], "model": model, "truncate": word})
        check(r.json["embeddings"] == want.json, f"truncate {word}", r)
        check("truncated" in r.json["meta"]["warnings"][0], "a warning says so", r)
    r = s.post("/v1/embed", {"texts": [body["inputs"]], "model": model, "truncate": "NONE"})
    check(r.status == 400 and "message" in r.json, "truncate NONE", r)


def test_cohere_embed(s, model):
    r = s.post("/v2/embed", {"texts": ["a", "the cat"], "model": model, "input_type": "clustering",
                             "embedding_types": ["float", "int8", "ubinary", "base64"]})
    check(r.status == 200 and r.json["response_type"] == "embeddings_by_type", "v2/embed", r)
    e = r.json["embeddings"]
    check(list(e) == ["float", "int8", "ubinary", "base64"] and all(len(v) == 2 for v in e.values()),
          "each type, each text", r)
    check([floats(t) for t in e["base64"]] == [[f32(x) for x in v] for v in e["float"]],
          "base64 is the floats")
    check(r.json["texts"] == ["a", "the cat"], "the texts come back")
    check(r.json["meta"]["api_version"] == {"version": "2"} and r.json["id"]
          and r.json["meta"]["billed_units"]["input_tokens"] > 4, "meta", r)
    parts = s.post("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": "a"}]},
                                            {"content": [{"type": "text", "text": "the cat"}]}],
                                 "model": model})
    check(parts.json["embeddings"]["float"] == e["float"], "inputs of text parts", parts)
    r = s.post("/v2/embed", {"inputs": [{"content": [{"type": "image_url"}]}], "model": model})
    check(r.status == 400 and set(r.json) == {"message"}, "images are refused", r)
    v1 = s.post("/v1/embed", {"texts": ["a", "the cat"], "model": model})
    check(v1.json["response_type"] == "embeddings_floats" and v1.json["embeddings"] == e["float"],
          "v1/embed gives floats", v1)
    r = s.post("/v2/embed", {"texts": ["a"], "model": model, "output_dimension": 8})
    check(len(r.json["embeddings"]["float"][0]) == 8, "output_dimension", r)
    r = s.post("/v2/embed", {"texts": ["a"], "model": model, "input_type": "nonsense"})
    check(r.status == 400, "an unknown input_type", r)


def test_tei_embed(s, model):
    v = s.post("/v1/embeddings", {"input": ["a", "the cat"], "model": model})
    v = [d["embedding"] for d in v.json["data"]]
    for path in ("/embed", "/", "/invocations"):
        r = s.post(path, {"inputs": ["a", "the cat"], "model": model})
        check(r.json == v, f"{path} gives a list of vectors", r)
        r = s.post(path, {"inputs": "a", "model": model})
        check(r.json == v[:1], f"{path} nests even one", r)
    body = {"inputs": {"source_sentence": "a", "sentences": ["the cat", "a"]}, "model": model}
    for path in ("/similarity", "/"):
        r = s.post(path, body)
        check(len(r.json) == 2 and abs(r.json[1] - 1) < 1e-6
              and abs(r.json[0] - sum(x * y for x, y in zip(*v))) < 1e-6, f"similarity on {path}", r)
    for bad in ({"source_sentence": "a"}, {"sentences": ["a"]}, {"source_sentence": "a",
                                                                  "sentences": []}):
        r = s.post("/similarity", {"inputs": bad, "model": model})
        check(r.status in (400, 422) and "error_type" in r.json, "half a similarity", r)
    r = s.post("/embed_sparse", {"inputs": "a", "model": model})
    check(r.status == 424 and r.json["error_type"] == "Backend", "no sparse vectors", r)


def test_tokenizer_routes(s, model):
    text = "the na\u00efve cat"
    r = s.post("/tokenize", {"inputs": text, "model": model})
    tokens = r.json[0]
    check(set(tokens[0]) == {"id", "text", "special", "start", "stop"}, "a token's members", r)
    check(tokens[0]["special"] and tokens[0]["start"] is None and tokens[-1]["stop"] is None,
          "special tokens have no span")
    raw = text.encode()
    check(all(raw[t["start"]:t["stop"]].decode() == t["text"] for t in tokens[1:-1]),
          "spans are bytes of the text")
    bare = s.post("/tokenize", {"inputs": [text, "a"], "add_special_tokens": False, "model": model})
    check(bare.json[0] == tokens[1:-1] and len(bare.json) == 2, "without special tokens", bare)
    ids = [t["id"] for t in tokens]
    r = s.post("/decode", {"ids": ids, "model": model})
    check(r.status == 200 and len(r.json) == 1 and r.json[0].startswith("the "), "decode", r)
    both = s.post("/decode", {"ids": [ids, ids], "skip_special_tokens": False, "model": model})
    check(len(both.json) == 2 and both.json[0] == both.json[1] != r.json[0], "with specials", both)
    for bad in ([2**31], [-1], [1.5], [1e300]):
        r = s.post("/decode", {"ids": bad, "model": model})
        check(r.status == 400 and str(bad[0]).encode()[:3] in r.body, "row 65: decode", r)
    r = s.post("/decode", {"ids": ["a"], "model": model})
    check(r.status == 422, "ids that are none", r)
    # TEI takes this model's ids, as they stand
    r = s.post("/embed", {"inputs": [ids], "model": model})
    want = s.post("/embed", {"inputs": text, "model": model})
    check(r.json == want.json, "token ids and their text give the same vector", r)
    for bad in ([[2**31 - 1]], [[-1]], [[0.5]], [ids + [10**6]]):
        r = s.post("/embed", {"inputs": bad, "model": model})
        check(r.status == 400 and r.json["error_type"] == "Validation", "row 65: embed", r)


# ---- scores

def test_rerank(s, model):
    documents = ["a boy and his mother read the picture book", "people live near the water",
                 "people live near the water", {"text": "the earth is old"}, "it is what it was"]
    body = {"model": model, "query": "how many people live near water", "documents": documents}
    r = s.post("/v1/rerank", body)
    check(r.status == 200 and r.json["id"] and r.json["model"] == model, "v1/rerank", r)
    results = r.json["results"]
    scores = [x["relevance_score"] for x in results]
    check(sorted(x["index"] for x in results) == [0, 1, 2, 3, 4], "each document once")
    check(scores == sorted(scores, reverse=True) and all(0 < x < 1 for x in scores), "descending")
    twins = [x["index"] for x in results if x["index"] in (1, 2)]
    check(twins == [1, 2], "ties by index")
    texts = [d if isinstance(d, str) else d["text"] for d in documents]
    check(all(x["document"] == {"text": texts[x["index"]]} for x in results), "documents", r)
    meta = r.json["meta"]
    check(meta["billed_units"] == {"search_units": 1} and
          meta["tokens"]["input_tokens"] == r.json["usage"]["total_tokens"], "meta and usage", r)
    check("method" not in r.json, "a head scored")

    r = s.post("/v1/rerank", dict(body, top_n=2, return_documents=False))
    check(r.json["results"] == [{k: x[k] for k in ("index", "relevance_score")}
                                for x in results[:2]], "top_n, no documents", r)
    raw = s.post("/v1/rerank", dict(body, raw_scores=True)).json["results"]
    check(all(abs(sigmoid(a["relevance_score"]) - b["relevance_score"]) < 1e-6
              for a, b in zip(raw, results)), "raw_scores are logits")
    r = s.post("/v2/rerank", dict(body, documents=texts))
    check(set(r.json) == {"id", "results", "meta"} and r.json["meta"]["api_version"]["version"]
          == "2" and set(r.json["results"][0]) == {"index", "relevance_score"}, "v2/rerank", r)
    check([x["relevance_score"] for x in r.json["results"]] == scores, "the same scores")

    for path in ("/rerank", "/"):
        r = s.post(path, {"model": model, "query": body["query"], "texts": texts})
        check([x["score"] for x in r.json] == scores and set(r.json[0]) == {"index", "score"},
              f"TEI on {path}", r)
    r = s.post("/rerank", {"model": model, "query": body["query"], "texts": texts,
                           "return_text": True, "raw_scores": True})
    check(all(x["text"] == texts[x["index"]] for x in r.json)
          and [x["score"] for x in r.json] == [x["relevance_score"] for x in raw], "TEI, raw", r)
    check(s.post("/rerank", body).json["results"] == results, "/rerank with documents is Jina's")

    fields = [{"title": "the earth", "body": "is old"}, {"body": "water"}]
    r = s.post("/v1/rerank", dict(body, documents=fields, rank_fields=["title", "body"]))
    check(r.status == 200 and all(x["document"] == fields[x["index"]] for x in r.json["results"]),
          "rank_fields", r)
    r = s.post("/v1/rerank", dict(body, documents=fields))
    check(r.status == 400 and r.param == "documents", "objects without text", r)

    for bad, param in ((dict(body, top_n=-1), "top_n"), (dict(body, query=""), "query"),
                       (dict(body, query=["a"]), "query"), (dict(body, documents=[]), "documents"),
                       (dict(body, documents=["a", 1]), "documents"),
                       ({"model": model, "documents": ["a"]}, "query"),
                       ({"model": model, "query": "a"}, "documents")):
        r = s.post("/v1/rerank", bad)
        check(r.status == 400 and r.param == param and r.json["message"], f"bad {param}", r)
    r = s.post("/rerank", {"model": model, "query": "a", "texts": ["a", 1]})
    check(r.status == 422 and r.json["error_type"] == "Validation", "TEI's shape of it", r)
    r = s.post("/v2/rerank", dict(body, documents=[1]))
    check(r.status == 400 and set(r.json) == {"message"}, "Cohere's shape of it", r)


def test_rerank_lengths(s, model):
    limit = s.get("/v1/models/" + model).json["max_input_length"]
    long = "word " * 2000
    r = s.post("/v1/rerank", {"model": model, "query": "a", "documents": ["a", long]})
    check(r.status == 200 and r.headers["x-truncated"] == "1"
          and "truncated" in r.json["meta"]["warnings"][0], "a long document is cut", r)
    check(r.json["usage"]["total_tokens"] == limit + 5, "to the model's length", r)
    r = s.post("/v1/rerank", {"model": model, "query": "a", "documents": ["a", long],
                              "truncate": False})
    check(r.status == 400 and str(limit).encode() in r.body, "unless it may not be", r)
    r = s.post("/v2/rerank", {"model": model, "query": "a", "documents": [long],
                              "max_tokens_per_doc": 20})
    check(r.json["meta"]["tokens"]["input_tokens"] == 24, "max_tokens_per_doc", r)
    r = s.post("/v1/rerank", {"model": model, "query": long, "documents": ["a"]})
    check(r.status == 400 and r.param == "query" and r.code == "query_too_long",
          "the query is never cut", r)
    room = limit - 3 - 16
    fits = s.post("/v1/rerank", {"model": model, "query": "a " * room, "documents": [long]})
    over = s.post("/v1/rerank", {"model": model, "query": "a " * (room + 1), "documents": [long]})
    check((fits.status, over.status) == (200, 400), "16 tokens are the document's", (fits, over))


def test_score_goldens(s):
    g = golden(RERANK)
    for (query, document), logits in zip(g["pairs"], g["logits"]):
        r = s.post("/rerank", {"model": RERANK, "query": query, "texts": [document],
                               "raw_scores": True})
        logit = logits[0] if isinstance(logits, list) else logits
        check(abs(r.json[0]["score"] - logit) < 1e-4, "as the reference scores", (r, logit))
    g = golden(CLASSIFY)
    pairs = [(p, x) for p, x in zip(g["pairs"], g["logits"]) if p[0] and p[1]]
    r = s.post("/predict", {"model": CLASSIFY, "inputs": [p for p, _ in pairs]})
    labels = s.get("/info?model=" + CLASSIFY).json["model_type"]["classifier"]["id2label"]
    for got, (_, logits) in zip(r.json, pairs):
        total = sum(math.exp(x) for x in logits)
        want = sorted(((math.exp(x) / total, labels[str(i)]) for i, x in enumerate(logits)),
                      reverse=True)
        check(near([x["score"] for x in got], [w for w, _ in want], 1e-5)
              and [x["label"] for x in got] == [w for _, w in want], "as the reference's softmax",
              got)
    raw = s.post("/predict", {"model": CLASSIFY, "inputs": [pairs[0][0]], "raw_scores": True})
    check(near([x["score"] for x in raw.json[0]], sorted(pairs[0][1], reverse=True), 1e-4),
          "raw_scores", raw)


def test_rerank_by_embedding(s, model):
    texts = ["the cat", "a dog", "how many people live near water"]
    r = s.post("/v1/rerank", {"model": model, "query": texts[2], "documents": texts})
    check(r.json["method"] == "embedding" and r.json["results"][0]["index"] == 2,
          "without a head, by cosine", r)
    # the cosine of the query with its prompt and the document with its own
    vectors = []
    for name in ("query", "document"):
        v = s.post("/embed", {"inputs": texts[2], "model": model, "input_type": name})
        vectors.append(v.json[0])
    check(abs(r.json["results"][0]["relevance_score"]
              - sum(x * y for x, y in zip(*vectors))) < 1e-6, "each with its own prompt", r)
    lengths = []
    for n in (5, 6):
        r = s.post("/v2/rerank", {"model": model, "query": "a", "documents": ["cat " * 50],
                                  "max_tokens_per_doc": n})
        check(r.headers.get("x-truncated") == "1", "max_tokens_per_doc cuts", r)
        lengths.append(r.json["meta"]["tokens"]["input_tokens"])
    check(lengths[1] == lengths[0] + 1, "max_tokens_per_doc counts tokens", lengths)
    r = s.post("/v2/rerank", {"model": model, "query": "a", "documents": ["cat " * 50],
                              "max_tokens_per_doc": 5, "truncate": False})
    check(r.status == 400 and r.json["message"].endswith("true"), "unless it may not cut", r)


def test_classify(s):
    r = s.post("/v1/classify", {"model": CLASSIFY, "input": ["a good day", "no"]})
    check(r.status == 200 and [d["index"] for d in r.json["data"]] == [0, 1], "v1/classify", r)
    for d in r.json["data"]:
        check(abs(sum(d["probs"]) - 1) < 1e-6 and len(d["probs"]) == d["num_classes"],
              "probabilities", d)
    one = s.post("/predict", {"model": CLASSIFY, "inputs": "a good day"})
    check(one.json[0]["label"] == r.json["data"][0]["label"]
          and one.json[0]["score"] == max(r.json["data"][0]["probs"]), "predict agrees", one)
    pair = s.post("/predict", {"model": CLASSIFY, "inputs": ["a", "b"]})
    check(isinstance(pair.json[0], dict), "two strings are a pair", pair)
    many = s.post("/predict", {"model": CLASSIFY, "inputs": [["a good day"], ["a", "b"]]})
    check(many.json == [one.json, pair.json], "a batch of both", many)
    check(s.post("/", {"model": CLASSIFY, "inputs": "a good day"}).json == one.json, "by /")
    nested = s.post("/", {"model": CLASSIFY, "inputs": "a good day", "parameters": {}})
    check(nested.json == [one.json], "with parameters, nested", nested)
    for bad in ([], [[]], ["a", "b", "c"], [["a", "b", "c"]], [["a"], "b"], 5, [[1]]):
        r = s.post("/predict", {"model": CLASSIFY, "inputs": bad})
        check(r.status in (400, 422) and "error_type" in r.json, f"inputs {bad!r}", r)


# ---- bodies

def test_bad_json(s, model):
    good = '{"input":"a","model":"%s"}' % model
    rows = [
        ("1: cut short", good[:-1], "invalid_json"), ("1: not JSON", "input=a", "invalid_json"),
        ("1: empty", "", "invalid_json"), ("1: an array", "[]", "invalid_json"),
        ("2: trailing bytes", good + "x", "trailing_bytes"),
        ("2: two documents", good + good, "trailing_bytes"),
        ("3: depth", '{"input":' + "[" * 100 + "]" * 100 + "}", "too_deep"),
        ("3: depth, unclosed", "[" * 100000, "too_deep"),
        ("4: invalid UTF-8", b'{"input":"\xff\xfe"}', "invalid_utf8"),
        ("4: overlong", b'{"input":"\xc0\xaf"}', "invalid_utf8"),
        ("4: surrogate in UTF-8", b'{"input":"\xed\xa0\x80"}', "invalid_utf8"),
        ("5: NUL", '{"input":"a\\u0000b"}', "nul_character"),
        ("6: lone surrogate", '{"input":"\\ud800"}', "lone_surrogate"),
        ("7: duplicate key", '{"input":"a","input":"b"}', "duplicate_key"),
        ("7: duplicate, escaped", '{"input":"a","\\u0069nput":"b"}', "duplicate_key"),
        ("9: 1e999", '{"input":"a","dimensions":1e999}', "number_out_of_range"),
        ("9: NaN", '{"input":"a","dimensions":NaN}', "invalid_json"),
        ("9: 01", '{"input":"a","dimensions":01}', "invalid_json"),
        ("9: 1.", '{"input":"a","dimensions":1.}', "invalid_json"),
        ("16: value bomb", '{"input":[' + "0," * 300000 + "0]}", "too_many_values"),
    ]
    for what, body, code in rows:
        r = s.post("/v1/embeddings", body)
        check(r.status == 400 and r.code == code, f"row {what}", r)
        check(r.json["error"]["type"] == "invalid_request_error", f"row {what}: type", r)
        if code != "invalid_json" or "array" not in what:
            check("byte" in r.json["error"]["message"], f"row {what}: offset", r)
        t = s.post("/embed", body)
        check(t.status == 400 and set(t.json) == {"error", "error_type"}, f"row {what}: TEI", t)
        c = s.post("/v2/rerank", body)
        check(c.status == 400 and set(c.json) == {"message"}, f"row {what}: Cohere", c)
    secret = s.post("/v1/embeddings", '{"input":"hunter2-secret"')
    check(b"hunter2" not in secret.body, "row 1: the body is not echoed", secret)


def test_bad_fields(s, model):
    r = s.post("/v1/embeddings", {"INPUT": "a", "model": model})
    check(r.status == 400 and r.param == "input", "row 8: INPUT is not input", r)
    for bad in (1, True, {"a": 1}, [True], ["a", 1], [["a"]], [None], [[1], "a", None]):
        r = s.post("/v1/embeddings", {"input": bad, "model": model})
        check(r.status == 400 and r.param == "input", f"row 10: input {bad!r}", r)
        t = s.post("/embed", {"inputs": bad, "model": model})
        check(t.status == 422 and t.json["error_type"] == "Validation", f"row 10: TEI {bad!r}", t)
    for key, bad in (("model", 1), ("truncate", "yes"), ("truncate", 1), ("normalize", "x"),
                     ("encoding_format", 1), ("prompt_name", []), ("priority", -1)):
        r = s.post("/v1/embeddings", {"input": "a", "model": model, key: bad})
        check(r.status == 400 and r.param == key, f"row 10: {key}", r)
    for bad in ("", [], [""], ["a", ""], [[]]):
        r = s.post("/v1/embeddings", {"input": bad, "model": model})
        check(r.status == 400 and r.code in ("empty_input", "token_ids_not_accepted"),
              f"row 12: {bad!r}", r)
        t = s.post("/embed", {"inputs": bad, "model": model})
        check(t.status == 400 and t.json["error_type"] == "Empty", f"row 12: TEI {bad!r}", t)
    before = s.get("/metrics").body.count(b"trine_unknown_fields_total{")
    r = s.post("/v1/embeddings", {"input": "a", "model": model, "foo": 1, "bar": {"x": []}})
    check(r.status == 200, "row 11: unknown fields are ignored", r)
    m = s.get("/metrics").body.decode()
    check('trine_unknown_fields_total{route="/v1/embeddings"}' in m, "row 11: and counted", before)


def test_batch_limit(s, model):
    r = s.post("/v1/embeddings", {"input": ["a"] * 2048, "model": model,
                                  "encoding_format": "base64"})
    check(r.status == 200 and len(r.json["data"]) == 2048, "2,048 inputs")
    check(len({d["embedding"] for d in r.json["data"]}) == 1, "all the same")
    r = s.post("/v1/embeddings", {"input": ["a"] * 2049, "model": model})
    check(r.status == 400 and r.code == "too_many_inputs", "row 13: OpenAI", r)
    r = s.post("/embed", {"inputs": ["a"] * 2049, "model": model})
    check(r.status == 422 and r.json["error_type"] == "Validation", "row 13: TEI", r)


def test_long_texts(s, model):
    for what, text in (("letters", "a" * 2**20), ("spaces", " " * 2**20),
                       ("marks", "a" + "\u0301" * 2**19), ("emoji", "\U0001f600" * 2**18),
                       ("words", "the cat " * 2**17), ("CJK", "\u4e2d" * 2**19)):
        start = time.monotonic()
        r = s.post("/embed", {"inputs": text, "model": model})
        took = time.monotonic() - start
        check(r.status == 200, f"row 35: 1 MB of {what}", r)
        # linear work is some 0.1 s; quadratic would be minutes
        check(took < 3 * served.slow, f"row 35: {what} in time", f"{took:.2f} s")


# ---- models and operation

def test_models(s):
    r = s.get("/v1/models")
    names = [m["id"] for m in r.json["data"]]
    check(r.json["object"] == "list" and names == [EMBED, PROMPTED, RERANK, CLASSIFY], "models", r)
    check([m["task"] for m in r.json["data"]] == ["embed", "embed", "rerank", "classify"], "tasks")
    check(all(m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"]
              for m in r.json["data"]), "an OpenAI model's members", r)
    check(s.get("/v1/models/" + RERANK).json == r.json["data"][2], "one model")
    for path in ("/v1/models/nope", "/models/nope"):
        check(s.get(path).status == 404, f"404 of {path}")
    for path, body in (("/v1/embeddings", {"input": "a"}), ("/embed", {"inputs": "a"}),
                       ("/tokenize", {"inputs": "a"})):
        r, first = s.post(path, body), s.post(path, dict(body, model=EMBED))
        check(r.status == 200 and r.body == first.body, f"{path}: the first of several models", r)
        r = s.post(path, dict(body, model="nope"))
        check(r.status == 404, f"{path}: unknown model", r)
    r = s.post("/v1/embeddings", {"input": "a", "model": "nope"})
    check(r.code == "model_not_found" and r.param == "model", "model_not_found", r)
    r = s.post("/v1/embeddings", {"input": "a", "model": RERANK})
    check(r.status == 400 and r.param == "model", "a model for another job", r)
    r = s.post("/v1/rerank", {"query": "a", "documents": ["b"]})
    check(r.status == 200 and r.json["model"] == RERANK, "the one reranker needs no name", r)
    info = s.get("/info").json
    check(info["model_id"] == EMBED and info["model_type"] == {"embedding": {"pooling": "mean"}}
          and info["max_client_batch_size"] == 2048, "info", info)
    info = s.get("/info?model=" + RERANK).json
    check(list(info["model_type"]) == ["reranker"] and info["max_input_length"] == 64, "info?model",
          info)
    check(s.get("/info?model=nope").status == 404, "info of no model")


def run_common(s, embed, rerank):
    test_openai_embeddings(s, embed)
    test_vector_forms(s, embed)
    test_truncation(s, embed)
    test_cohere_embed(s, embed)
    test_tei_embed(s, embed)
    test_tokenizer_routes(s, embed)
    test_rerank(s, rerank)
    test_rerank_lengths(s, rerank)
    test_rerank_by_embedding(s, embed)
    test_bad_json(s, embed)
    test_bad_fields(s, embed)
    test_batch_limit(s, embed)
    test_long_texts(s, embed)


def main():
    args = sys.argv[1:]
    if len(args) >= 4:
        run_common(Server(args[0], int(args[1])), args[2], args[3])
        skip("goldens, model lists and options need servers of their own")
    else:
        program = served.start(args)
        with Started(program, FOLDERS) as s:
            run_common(s, EMBED, RERANK)
            test_goldens(s)
            test_score_goldens(s)
            test_classify(s)
            test_models(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
