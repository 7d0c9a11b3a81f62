#!/usr/bin/env python3
"""Members of an encode or score request: what changes an answer is honoured or refused by name, what
does not is taken, and what is sent in other services' words means the same.

    tests/http/test_fields.py [PROGRAM]     starts PROGRAM (default: build/trine) with tiny models
"""

import base64
import json
import math
import struct
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402

MODELS = {"emb": "bert-mean-st6", "prm": "distilbert-prompt-st6", "rr": "bert-cross-encoder",
          "cls": "bert-classifier", "gen": "tiny_chat"}
TEXT = "how many people live near the water"
LONG = "word " * 400
EMBED = [("/v1/embeddings", {"input": TEXT}), ("/embed", {"inputs": TEXT}), ("/", {"inputs": TEXT}),
         ("/v1/embed", {"texts": [TEXT]}), ("/v2/embed", {"texts": [TEXT]})]
RERANK = [("/v1/rerank", {"query": TEXT, "documents": ["the cat", "land"]}),
          ("/rerank", {"query": TEXT, "documents": ["the cat", "land"]}),
          ("/v2/rerank", {"query": TEXT, "documents": ["the cat", "land"]}),
          ("/rerank", {"query": TEXT, "texts": ["the cat", "land"]})]
CLASSIFY = [("/v1/classify", {"input": TEXT}), ("/predict", {"inputs": TEXT})]
TOKENS = [("/tokenize", {"inputs": TEXT}), ("/decode", {"ids": [5, 6]})]
SIMILAR = [("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}})]
ALL = EMBED + RERANK + CLASSIFY + TOKENS + SIMILAR


def told(answer):
    """The answer without its id."""
    if not isinstance(answer.json, dict):
        return answer.json
    return {k: v for k, v in answer.json.items() if k != "id"}


def message(answer):
    j = answer.json or {}
    e = j.get("error")
    return e["message"] if isinstance(e, dict) else e if isinstance(e, str) else j.get("message", "")


def refused(r, name, what):
    check(r.status == 400 and f"'{name}'" in message(r), what, r)


# ---- what is refused, what is taken

# Members that no route has, a value that asks for another answer, and one that asks for this one.
ELSEWHERE = [("late_chunking", True, False), ("return_multivector", True, False),
             ("return_sparse", True, False), ("return_dense", False, True),
             ("return_colbert_vecs", True, False), ("output_value", "token_embeddings",
                                                    "sentence_embedding"),
             ("precision", "int8", "float32"), ("pooling", "max", None), ("pooling_type", "CLS", ""),
             ("query_instruction", "find", ""), ("instruction", "find", None),
             ("softmax_temp", 0.5, 1), ("max_chunks_per_doc", 10, 1), ("overlap_tokens", 80, 0),
             ("chunking", {"size": 3}, {}), ("chunkSize", 100, None), ("score_threshold", 0.5, 0),
             ("rewrite_query", True, False), ("return_embeddings", True, False),
             ("text_prefix", "query: ", ""), ("max_query_length", 12, None), ("stream", True, False),
             ("quantization", "int4", None), ("embedding_dim", 8, None), ("dims", 8, None),
             ("matryoshka_dim", 8, 0), ("outputFormat", "hex", "float"), ("images", ["x"], []),
             ("encode_kwargs", {"normalize_embeddings": False}, {}), ("extra_body", {"a": 1}, {}),
             ("is_query", True, None)]
# Of these each is read by some route.
READ = {"dimensions": EMBED, "truncate_dim": EMBED, "output_dimension": EMBED, "dimension": EMBED,
        "prompt": EMBED, "add_special_tokens": TOKENS[:1],
        "raw_scores": RERANK + CLASSIFY, "use_activation": RERANK + CLASSIFY,
        "activation": RERANK + CLASSIFY}
OTHER_VALUE = {"dimensions": 8, "truncate_dim": 8, "output_dimension": 8, "dimension": 8,
               "prompt": "query: ", "add_special_tokens": False, "raw_scores": True,
               "use_activation": False, "activation": False}


def test_refused(s):
    for path, body in ALL:
        plain = s.post(path, body)
        check(plain.status == 200, f"{path} as it is", plain)
        for name, other, same in ELSEWHERE:
            refused(s.post(path, {**body, name: other}), name, f"{path}: {name} {other!r}")
            r = s.post(path, {**body, name: same})
            check(told(r) == told(plain), f"{path}: {name} {same!r} is harmless", r)
        for name, other in OTHER_VALUE.items():
            r = s.post(path, {**body, name: other})
            if (path, body) in READ[name]:
                check(r.status == 200 and told(r) != told(plain), f"{path} reads {name}", r)
            else:
                refused(r, name, f"{path}: {name}")
            r = s.post(path, {**body, name: None})
            check(told(r) == told(plain), f"{path}: {name} null", r)
        r = s.post(path, {**body, "user": "me", "foo": 1, "metadata": {"a": [1]}, "timeout": 5,
                          "prompt_cache_key": "k", "documentation": "x"})
        check(told(r) == told(plain), f"{path}: what changes nothing is taken", r)
    r = s.post("/v1/embeddings", {"input": TEXT, "pooling\n\"x": 1})
    check(r.status == 400 and b"x" not in message(r).encode().split(b"'")[1], "an odd name", r)


def test_generating_bodies(s):
    for path in ("/", "/embed", "/invocations", "/predict"):
        for fields in ({"parameters": {"max_new_tokens": 20}}, {"stream": True},
                       {"parameters": {"do_sample": True}}, {"max_new_tokens": 5},
                       {"parameters": {"temperature": 0.5, "details": True}}):
            r = s.post(path, {"inputs": TEXT, **fields})
            check(r.status == 400, f"{path}: a body that asks for text, {fields}", r)
    check(s.post("/", {"inputs": TEXT, "parameters": {}}).status == 200, "no parameters")
    for name, one, other in (("normalize", True, False), ("dimensions", 8, 4), ("truncate_dim", 8, 4)):
        refused(s.post("/", {"inputs": TEXT, name: one, "parameters": {name: other}}), f"parameters.{name}",
                "two values, one of them in parameters")
        check(s.post("/", {"inputs": TEXT, name: one, "parameters": {name: one}}).status == 200, "one value")
    refused(s.post("/", {"inputs": TEXT, "dimensions": 8, "parameters": {"truncate_dim": 4}}), "dimensions",
            "two values by two names, one of them in parameters")


# ---- vectors

def floats(text):
    raw = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def test_embed_names(s):
    for path, body in EMBED:
        want = {"dimensions": s.post(path, {**body, "dimensions": 8}),
                "normalize": s.post(path, {**body, "normalize": False}),
                "embedding_type": s.post(path, {**body, "embedding_type": "int8"})}
        check(len({json.dumps(told(r)) for r in want.values()}) == 3, f"{path}: three answers", want)
        for name, means, value in (("output_dimension", "dimensions", 8),
                                   ("truncate_dim", "dimensions", 8), ("dimension", "dimensions", 8),
                                   ("normalized", "normalize", False),
                                   ("normalize", "normalize", "false"),
                                   ("normalized", "normalize", "false"),
                                   ("output_dtype", "embedding_type", "int8"),
                                   ("encoding_type", "embedding_type", "int8")):
            r = s.post(path, {**body, name: value})
            check(told(r) == told(want[means]), f"{path}: {name} is {means}", r)
        refused(s.post(path, {**body, "dimensions": 8, "output_dimension": 9}), "output_dimension",
                f"{path}: two values of one field")
        r = s.post(path, {**body, "dimensions": 8, "output_dimension": 8})
        check(told(r) == told(want["dimensions"]), f"{path}: one value, twice", r)
        r = s.post(path, {**body, "output_dimension": 0})
        check(r.status in (400, 422) and "output_dimension" in message(r), f"{path}: named as sent", r)
        r = s.post(path, {**body, "prompt": "the cat "})
        changed = {**body, **{k: [v[0].join(["the cat ", ""])] if isinstance(v, list) else "the cat " + v
                              for k, v in body.items()}}
        r2 = s.post(path, changed)
        check([told(r)[k] for k in ("data", "embeddings") if isinstance(told(r), dict) and k in told(r)]
              == [told(r2)[k] for k in ("data", "embeddings") if isinstance(told(r2), dict)
                  and k in told(r2)], f"{path}: prompt goes before the text", (r, r2))
        r = s.post(path, {**body, "prompt": "a", "prompt_name": "query", "model": "prm"})
        check(r.status in (400, 422), f"{path}: two prompts", r)
    v = s.post("/embed", {"inputs": TEXT, "encoding_format": "base64"})
    want = s.post("/embed", {"inputs": TEXT})
    check([struct.unpack("<f", struct.pack("<f", x))[0] for x in want.json[0]] == floats(v.json[0]),
          "huggingface_hub's encoding_format", v)
    nested = s.post("/embed", {"inputs": TEXT, "parameters": {"dimensions": 8, "normalize": False}})
    plain = s.post("/embed", {"inputs": TEXT, "dimensions": 8, "normalize": False})
    check(nested.json == plain.json != want.json, "parameters may stand in an object", nested)


def test_voyage(s):
    """output_dtype with base64 of that type, as voyageai asks for it."""
    one = {d: s.post("/v1/embeddings", {"input": TEXT, "output_dtype": d}).json["data"][0]["embedding"]
           for d in ("float", "int8", "uint8", "binary", "ubinary")}
    for dtype, code in (("float", "f"), ("int8", "b"), ("uint8", "B"), ("binary", "b"), ("ubinary", "B")):
        r = s.post("/v1/embeddings", {"input": TEXT, "output_dtype": dtype, "encoding_format": "base64"})
        raw = base64.b64decode(r.json["data"][0]["embedding"], validate=True)
        got = list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))
        want = [struct.unpack("<f", struct.pack("<f", x))[0] for x in one[dtype]] if code == "f" else one[dtype]
        check(got == want, f"base64 of {dtype}", (got, want))
    r = s.post("/v1/embeddings", {"input": TEXT, "embedding_type": "int8", "encoding_format": "base64"})
    check(r.json["data"][0]["embedding"] == one["int8"],
          "the OpenAI client's own base64 does not change Jina's embedding_type", r)
    r = s.post("/v1/embeddings", {"input": TEXT, "output_dtype": "float8"})
    check(r.status == 400 and r.param == "output_dtype", "another dtype", r)
    for fields, status in (({}, 400), ({"truncation": True}, 200), ({"truncation": False}, 400),
                           ({"truncation": "true"}, 200), ({"output_dtype": "float"}, 200),
                           ({"output_dimension": 8}, 200), ({"truncation": None}, 400),
                           ({"output_dtype": "float", "truncation": False}, 400)):
        r = s.post("/v1/embeddings", {"input": LONG, **fields})
        check(r.status == status and (status == 400 or r.headers["x-truncated"] == "1"),
              f"Voyage cuts unless told not to: {fields}", r)
    r = s.post("/v1/embeddings", {"input": LONG, "truncation": 1})
    check(r.status == 400 and r.param == "truncation", "truncation of another type", r)


def test_formats(s):
    """Mixedbread's encoding_format: any form, or a list."""
    by = {}
    for form in ("float", "base64", "int8", "uint8", "binary", "ubinary"):
        r = s.post("/v1/embeddings", {"input": TEXT, "encoding_format": form})
        by[form] = r.json["data"][0]["embedding"]
        one = s.post("/v1/embeddings", {"input": TEXT, "encoding_format": [form]})
        check(one.json["data"] == r.json["data"], f"[{form}] is {form}", one)
    r = s.post("/v1/embeddings", {"input": TEXT, "encoding_format": ["float", "int8", "base64"]})
    d = r.json["data"][0]
    check(d["embedding"] == {f: by[f] for f in ("float", "int8", "base64")}
          and d["object"] == "embedding_dict", "several", r)
    for bad in ([], ["float", "float16"], "hex", [1], 1, {}):
        r = s.post("/v1/embeddings", {"input": TEXT, "encoding_format": bad})
        check(r.status == 400 and r.param == "encoding_format", f"encoding_format {bad!r}", r)
    r = s.post("/v1/embeddings", {"input": TEXT, "encoding_format": "int8", "embedding_type": "binary"})
    check(r.status == 400, "two types", r)


def test_cohere_lengths(s):
    for n in (3, 5):
        r = s.post("/v2/embed", {"texts": [LONG], "max_tokens": n})
        check(r.json["meta"]["tokens"]["input_tokens"] == n + 2, "max_tokens cuts", r)
    r = s.post("/v2/embed", {"texts": ["a", LONG], "max_tokens": 3, "truncate": "NONE"})
    check(r.status == 400 and "'texts[1]'" in message(r), "unless it may not cut", r)


def test_contradictions(s):
    """Two fields that cannot both be followed: neither is ignored."""
    a = {"model": "prm", "input": TEXT}
    for path, body in (("/v1/embeddings", {**a, "prompt_name": "query", "input_type": "document"}),
                       ("/v1/embeddings", {**a, "input_type": "query", "task": "retrieval.passage"}),
                       ("/v1/embeddings", {**a, "embedding_type": "int8", "embedding_types": ["float"]}),
                       ("/v1/embeddings", {**a, "output_dtype": "int8", "embedding_type": "uint8"}),
                       ("/v1/embeddings", {**a, "truncate": True, "truncation": False}),
                       ("/v2/embed", {"texts": [TEXT], "inputs": [{"content": TEXT}]}),
                       ("/v2/embed", {"texts": [TEXT], "truncate": "START", "truncation_direction": "right"}),
                       ("/rerank", {"query": TEXT, "texts": [TEXT], "documents": [TEXT]}),
                       ("/rerank", {"query": TEXT, "texts": [TEXT], "top_n": 1, "top_k": 2})):
        r = s.post(path, body)
        check(r.status in (400, 422), f"{path}: {body}", r)
    for fields in ({"prompt_name": "query", "input_type": "search_query"},
                   {"input_type": "query", "task": "retrieval.query"}, {"text_type": "query"},
                   {"task_type": "query"}):
        r = s.post("/v1/embeddings", {**a, **fields})
        check(told(r) == told(s.post("/v1/embeddings", {**a, "prompt_name": "query"})), f"{fields}", r)
    r = s.post("/v2/embed", {"texts": [TEXT], "truncate": "START", "truncation_direction": "left"})
    check(r.status == 200, "one side, twice", r)


# ---- objects for texts

def test_objects(s):
    plain = s.post("/v1/embeddings", {"input": [TEXT, "the cat"]})
    for texts in ([{"text": TEXT}, {"text": "the cat"}], [TEXT, {"type": "text", "text": "the cat"}],
                  [{"content": TEXT}, {"content": [{"type": "text", "text": "the cat"}]}]):
        for path, key in (("/v1/embeddings", "input"), ("/v2/embed", "texts"), ("/embed", "inputs"),
                          ("/v2/embed", "inputs")):
            r = s.post(path, {key: texts})
            got = told(r)
            got = ([d["embedding"] for d in got["data"]] if "data" in got else
                   got["embeddings"]["float"] if "embeddings" in got else got)
            check(got == [d["embedding"] for d in plain.json["data"]], f"{path}: {key} {texts}", r)
    r = s.post("/v1/embeddings", {"input": {"text": TEXT}})
    check(r.json["data"] == plain.json["data"][:1], "a single object", r)
    for bad in ({"image": "x"}, {"text": 1}, {"text": None}, {"content": []},
                {"content": [{"type": "image_url", "image_url": "x"}]}, {}):
        r = s.post("/v1/embeddings", {"input": [TEXT, bad]})
        check(r.status == 400 and "'input[1]'" in message(r), f"an object without a text: {bad}", r)
    r = s.post("/v1/embeddings", {"input": [TEXT, {"text": ""}]})
    check(r.status == 400 and r.code == "empty_input" and "'input[1]'" in message(r), "empty within", r)

    docs = ["the cat", "land\nwater", "the earth"]
    forms = [docs[0], {"content": [{"type": "text", "text": "land"}, {"type": "text", "text": "water"}]},
             {"text": docs[2]}]
    want = s.post("/v1/rerank", {"query": TEXT, "documents": docs, "return_documents": False})
    for query in (TEXT, {"text": TEXT}, {"type": "text", "text": TEXT},
                  {"content": [{"type": "text", "text": TEXT}]}):
        r = s.post("/v1/rerank", {"query": query, "documents": forms, "return_documents": False})
        check(told(r) == told(want), f"query {query!r}", r)
    for bad in ({"text": ""}, {"text": None}, {}, {"image": "x"}, ["a"], 1):
        r = s.post("/v1/rerank", {"query": bad, "documents": docs})
        check(r.status == 400 and r.param == "query", f"no query: {bad!r}", r)


# ---- which of many

def test_named_by_index(s):
    many = ["the cat"] * 30
    for path, key, status in (("/v1/embeddings", "input", 400), ("/embed", "inputs", 0),
                              ("/v2/embed", "texts", 400), ("/v1/embed", "texts", 400),
                              ("/v1/classify", "input", 400), ("/tokenize", "inputs", 0),
                              ("/v1/rerank", "documents", 400), ("/v2/rerank", "documents", 400),
                              ("/rerank", "texts", 0)):
        query = {"query": "a"} if "rerank" in path else {}
        odd = ["\\u0000", "\\ud800", "\\udc00 ", b"\xff"]
        for text in odd:
            raw = json.dumps({**query, key: many[:17] + ["@"] + many[18:]}).encode()
            body = raw.replace(b"@", text if isinstance(text, bytes) else text.encode())
            r = s.post(path, body)
            check(r.status == 400 and f"'{key}[17]'" in message(r) and "byte" in message(r),
                  f"{path}: {text!r} in one of many", r)
        for bad in (None, 5, True, {"a": 1}) + (() if "rerank" in path else ("",)):
            r = s.post(path, {**query, key: many[:17] + [bad] + many[18:]})
            check(r.status in (400, 422) and f"'{key}[17]'" in message(r)
                  and (status == 0 or r.status == status), f"{path}: {bad!r} in one of many", r)
    for path, body in (("/v1/embeddings", {"input": ["a", LONG]}), ("/v1/classify", {"input": ["a", LONG]}),
                       ("/embed", {"inputs": ["a", LONG], "truncate": False}),
                       ("/v2/embed", {"texts": ["a", LONG], "truncate": "NONE"}),
                       ("/predict", {"inputs": [["a"], [LONG]], "truncate": False}),
                       ("/v1/rerank", {"query": "a", "documents": ["a", LONG], "truncate": False}),
                       ("/rerank", {"query": "a", "texts": ["a", LONG], "truncate": False})):
        r = s.post(path, body)
        check("[1]'" in message(r) and r.status in (400, 422), f"{path}: too long", r)
        words = message(r).split("This model's maximum context length is ")[-1].split()
        check(words[1:5] == ["tokens,", "however", "you", "requested"] and int(words[0]) < int(words[5])
              and words[6] == "tokens", f"{path}: in the words that platforms parse", r)
    r = s.post("/v1/rerank", {"query": LONG, "documents": ["a"]})
    check("This model's maximum context length is " in message(r), "a long query", r)
    for bad in ([[5], [5, 10**6]], [[5], [-1]], [[5], []], [[5], [1.5]], [[5], ["a"]]):
        r = s.post("/embed", {"inputs": bad})
        check(r.status in (400, 422) and "'inputs[1]'" in message(r), f"ids {bad}", r)
        r = s.post("/decode", {"ids": bad})
        check(r.status in (400, 422) and "'ids[1]'" in message(r), f"decode {bad}", r)
    r = s.post("/predict", {"inputs": [["a"], ["", "b"]]})
    check(r.status == 400 and "'inputs[1]'" in message(r), "predict: an empty first text", r)


# ---- reranking

def test_empty_documents(s):
    docs = ["the cat", "", {"text": ""}, "land"]
    for path in ("/v1/rerank", "/rerank"):
        r = s.post(path, {"query": TEXT, "documents": docs})
        scores = {x["index"]: x["relevance_score"] for x in r.json["results"]}
        check(len(scores) == 4 and scores[1] == scores[2] != scores[0], f"{path}: scored", r)
    for path, body in (("/v2/rerank", {"documents": ["the cat", ""]}), ("/rerank", {"texts": ["a", ""]}),
                       ("/v1/rerank", {"documents": ["", ""], "model": "emb"})):
        r = s.post(path, {"query": TEXT, **body})
        check(r.status == 200, f"{path}: an empty document", r)
        r = s.post(path, {**body, "query": ""})
        check(r.status == 400, f"{path}: an empty query is none", r)
    r = s.post("/predict", {"inputs": [[TEXT, ""]], "model": "rr"})
    check(r.status == 200 and r.json[0][0]["score"] == scores[1], "predict's pair", r)


def test_rerank_names(s):
    docs = ["the cat", "land", "the earth is old"]
    for path, key in (("/v1/rerank", "documents"), ("/rerank", "documents"), ("/v2/rerank", "documents"),
                      ("/rerank", "texts")):
        body = {"query": TEXT, key: docs}
        plain = s.post(path, body)
        rows = (lambda r: r.json if isinstance(r.json, list) else r.json["results"])
        check(told(s.post(path, {**body, "top_n": 0})) == told(plain), f"{path}: top_n 0 is all")
        for name in ("top_n", "top_k"):
            r = s.post(path, {**body, name: 2})
            check(rows(r) == rows(plain)[:2], f"{path}: {name}", r)
        r = s.post(path, {**body, "top_n": -1})
        check(r.status in (400, 422), f"{path}: top_n -1", r)
        shown = None
        for name in ("return_documents", "return_text", "return_input"):
            for yes, no in ((True, False), ("true", "false")):
                on, off = s.post(path, {**body, name: yes}), s.post(path, {**body, name: no})
                shown = shown or rows(on)
                check(rows(on) == shown and "cat" in json.dumps(rows(on))
                      and "cat" not in json.dumps(rows(off)), f"{path}: {name} {yes!r}", (on, off))
        r = s.post(path, {**body, "return_documents": "yes"})
        check(r.status in (400, 422), f"{path}: another word", r)
        raw = s.post(path, {**body, "raw_scores": True})
        for fields in ({"use_activation": False}, {"activation": False}, {"normalize": False},
                       {"raw_scores": "true"}, {"normalize": "false"}):
            check(told(s.post(path, {**body, **fields})) == told(raw) != told(plain), f"{path}: {fields}")
        check(told(s.post(path, {**body, "return_len": "true"})) == told(plain), f"{path}: return_len")


def test_weaviate(s):
    docs = ["the cat", "land", "the earth is old"]
    want = s.post("/v1/rerank", {"query": TEXT, "documents": docs}).json["results"]
    score = {x["index"]: x["relevance_score"] for x in want}
    for prop in ("", "title"):
        r = s.post("/rerank", json.dumps({"query": TEXT, "documents": docs, "property": prop}))
        check(r.json == {"scores": [{"document": d, "score": score[i]} for i, d in enumerate(docs)]},
              "scores in the documents' order", r)
    r = s.post("/rerank", {"query": "", "documents": docs, "property": ""})
    check(r.status >= 400 and isinstance(r.json["error"], str), "an error is a string", r)


def test_long_query(s):
    """The query is never cut; a library that cuts the longer of the two would score otherwise, and the
    answer says so, exactly where it does."""
    limit = s.get("/v1/models/rr").json["max_input_length"] - 3
    half = limit // 2
    for path, key in (("/v1/rerank", "documents"), ("/v2/rerank", "documents"), ("/rerank", "texts")):
        for q, d, warned in ((half, limit, False), (half + 1, limit, True), (half + 1, limit - half - 1, False),
                             (half + 1, limit - half, True), (limit - 16, 17, True), (3, limit, False)):
            r = s.post(path, {"query": "a " * q, key: ["a " * d, "a"]})
            cut = q + d > limit
            check(r.status == 200 and (r.headers["x-truncated"] == "1") == cut, f"{path}: {q} + {d}", r)
            said = (r.headers["x-warning"] or "").split("; ")
            check(any(w.startswith("the query takes") and w.endswith(": 1") for w in said) == warned,
                  f"{path}: {q} + {d} tokens", said)
            check(any(w.startswith("texts that were cut") for w in said) == cut, "a cut is told", said)
    r = s.post("/v1/rerank", {"query": "a " * (half + 1), "documents": ["a " * 100], "max_tokens_per_doc": 5})
    check("the query" not in r.headers["x-warning"] and r.headers["x-truncated"] == "1",
          "cut for another reason")


# ---- classifying

def test_pipeline(s):
    plain = s.post("/", {"inputs": TEXT, "model": "cls", "parameters": {}})
    raw = s.post("/", {"inputs": TEXT, "model": "cls", "raw_scores": True, "parameters": {}})
    ask = (lambda **p: s.post("/", {"inputs": TEXT, "model": "cls", "parameters": p}))
    check(ask(top_k=1).json == [plain.json[0][:1]], "top_k")
    check(ask(top_k=1000).json == plain.json, "more than there are")
    check(ask(function_to_apply="none").json == raw.json, "none leaves the logits")
    check(ask(function_to_apply="softmax").json == plain.json, "softmax is this model's own")
    r = ask(function_to_apply="sigmoid").json[0]
    check(all(abs(x["score"] - 1 / (1 + math.exp(-y["score"]))) < 1e-6 for x, y in zip(r, raw.json[0])),
          "sigmoid", r)
    for bad in ({"function_to_apply": "tanh"}, {"top_k": 0}, {"top_k": "2"}, {"pooling": "cls"}):
        check(ask(**bad).status in (400, 422), f"{bad}", ask(**bad))
    check(s.post("/predict", {"inputs": TEXT, "parameters": [1]}).status in (400, 422), "no object")
    refused(s.post("/v1/classify", {"input": TEXT, "labels": ["a", "b"]}), "labels", "zero-shot labels")


# ---- errors

def test_errors(s):
    for path, body in (("/v1/embeddings", {"input": ""}), ("/v1/rerank", {"query": ""}),
                       ("/v1/embeddings", "{"), ("/v1/embeddings", {"input": "a", "model": "nope"})):
        r = s.post(path, body)
        check(r.json["detail"] == r.json["error"]["message"] != "", f"{path}: detail beside error", r)
    r = s.post("/embed", {"inputs": ""})
    check(set(r.json) == {"error", "error_type"}, "TEI's as they were", r)
    r = s.post("/v2/embed", {"texts": [""]})
    check(set(r.json) == {"message"}, "Cohere's as they were", r)


def test_whole_characters(s):
    """What a request's own words can reach is valid UTF-8 in a body, printable ASCII in a header."""
    def schema(**members):
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": {
            "type": "object", "properties": {"a": {"type": "string", **members}}}}}

    for shift in range(4):
        long = "x" * shift + "\U0001f600" * 300
        r = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1,
                                            "response_format": schema(format=long + "\r\nx-evil: 1")})
        said = r.headers["x-warning"] or ""
        check(r.status == 200 and r.headers["x-evil"] is None, "a header is one header", r)
        check("\\ud83d\\ude00" in said and all(" " <= c <= "~" for c in said) and len(said) < 1100,
              "a warning is printable ASCII", said[:80])
        for body in ({"response_format": schema(**{long: 1})}, {long: 1},
                     {"response_format": {"type": long}}, {"tool_choice": long}):
            r = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}],
                                                "max_tokens": 1, **body})
            try:
                r.body.decode("utf-8")
                whole = True
            except UnicodeDecodeError:
                whole = False
            check(whole, "a body is whole characters", r)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, MODELS) as s:
        for test in (test_refused, test_generating_bodies, test_embed_names, test_voyage, test_formats,
                     test_cohere_lengths, test_contradictions, test_objects, test_named_by_index, test_empty_documents,
                     test_rerank_names, test_weaviate, test_long_query, test_pipeline, test_errors, test_whole_characters):
            test(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
