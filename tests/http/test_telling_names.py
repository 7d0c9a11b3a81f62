#!/usr/bin/env python3
"""Members that no table has: what tells of another answer by its name is 400 and named, in whatever
spelling and wherever it stands; what common clients send without effect is taken.

    tests/http/test_telling_names.py [PROGRAM]
"""

import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402

MODELS = {"emb": "bert-mean-st6", "rr": "bert-cross-encoder", "cls": "bert-classifier"}
DOCS = ["the cat", "land", "the earth is old"]
EMBED = [("/v1/embeddings", {"input": "a"}), ("/v2/embed", {"texts": ["a"]}), ("/embed", {"inputs": "a"})]
RERANK = [("/v1/rerank", {"query": "a", "documents": DOCS}), ("/v2/rerank", {"query": "a", "documents": DOCS}),
          ("/rerank", {"query": "a", "documents": DOCS}), ("/rerank", {"query": "a", "texts": DOCS})]
CLASSIFY = [("/v1/classify", {"input": "a"}), ("/predict", {"inputs": "a"})]
SIMILAR = [("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}})]
ALL = EMBED + RERANK + CLASSIFY + SIMILAR


def told(r):
    return {k: v for k, v in r.json.items() if k != "id"} if isinstance(r.json, dict) else r.json


def message(r):
    e = r.json.get("error", r.json.get("message"))
    return e["message"] if isinstance(e, dict) else e


def refused(s, path, body, name, says=None):
    r = s.post(path, body)
    check(r.status == 400 and f"'{name}'" in message(r) and (says or "") in message(r), f"{path}: {name}", r)


# (name, a value of another answer, one of this answer)
ANYWHERE = [("endianness", "big", "little"), ("query_prefix", "q: ", ""), ("document_prefix", "d", ""),
            ("prefix", "q: ", ""), ("output_type", "sparse", "dense"), ("long_text_mode", "mean", ""),
            ("max_tokens_per_text", 9, 0), ("max_seq_length", 8, None), ("maxInputTokens", 8, None),
            ("normalization", False, True), ("chat_template", "x", ""), ("query_template", "x", ""),
            ("return_token_embeddings", True, False), ("image_url", "x", ""), ("input_image", "x", []),
            ("video", "x", []), ("inputAudio", "x", ""), ("lora", "x", ""), ("adapter_id", "x", None),
            ("downstream_task", "x", ""), ("normalize_scores", False, True), ("sort", False, True),
            ("sort_by", "index", ""), ("cutoff", 0.5, 0), ("cutoff_layers", [1], []), ("filter", "x", {}),
            ("softmax", False, None), ("apply_softmax", True, ""), ("metric", "dot", "cosine"),
            ("similarity_fn_name", "dot", "cosine"), ("function", "dot", ""), ("logits", True, False),
            ("raw", True, False), ("passages", ["x"], []), ("problem_type", "x", ""), ("mode", "x", ""),
            ("scoreThreshold", 0.5, 0), ("outputMode", "x", None)]
QUIET = {"user": "me", "id": "1", "requestId": "r", "timeout": 5, "metadata": {"mode": "x", "prefix": 1},
         "stream": False, "model_id": "x", "modelName": "x", "modelVersion": 2, "client_name": "x",
         "session_id": "x", "tags": ["sort"], "cache": True, "api_version": "1", "trace": {"raw": True},
         "options": {"wait_for_model": True, "use_cache": False}, "documentation": "x", "keep_alive": 1}
# (routes, a spelling, the right name, a value)
SPELLINGS = [(EMBED, "inputType", "input_type", "query"), (EMBED, "taskType", "task_type", "query"),
             (EMBED, "embeddingTypes", "embedding_types", ["binary"]), (EMBED, "Dimensions", "dimensions", 4),
             (EMBED, "output-dimension", "output_dimension", 4), (EMBED, "promptName", "prompt_name", "x"),
             (EMBED[:1], "encodingFormat", "encoding_format", "base64"), (RERANK, "topN", "top_n", 1),
             (RERANK, "top-k", "top_k", 1), (RERANK, "TOP_N", "top_n", 1),
             (RERANK, "returnDocuments", "return_documents", False),
             (RERANK + CLASSIFY, "rawScores", "raw_scores", True),
             (CLASSIFY[1:], "topK", "top_k", 1), (CLASSIFY[1:], "functionToApply", "function_to_apply", "none"),
             (SIMILAR, "promptName", "prompt_name", "x")]


def test_names(s):
    for path, body in ALL:
        plain = s.post(path, body)
        check(plain.status == 200, f"{path}: the body itself", plain)
        for name, other, same in ANYWHERE:
            refused(s, path, {**body, name: other}, name)
            r = s.post(path, {**body, name: same})
            check(told(r) == told(plain), f"{path}: {name}: {same!r}", r)
        r = s.post(path, {**body, **QUIET})
        check(told(r) == told(plain), f"{path}: what changes nothing", r)
    for path, body in RERANK + CLASSIFY[:1]:
        refused(s, path, {**body, "function_to_apply": "none"}, "function_to_apply")
    for path, body in RERANK:
        for name in ("limit", "num_results", "top_results", "max_results"):
            refused(s, path, {**body, name: 1}, name, "top_n")
    for path, body in CLASSIFY:
        refused(s, path, {**body, "top_n": 1}, "top_n")
    for path, body in EMBED:
        for name in ("l2_normalize", "normalise"):
            r = s.post(path, {**body, name: False})
            check(told(r) == told(s.post(path, {**body, "normalize": False})) != told(s.post(path, body)),
                  f"{path}: {name} is normalize", r)


def test_spellings(s):
    for routes, name, right, value in SPELLINGS:
        for path, body in routes:
            refused(s, path, {**body, name: value}, name, f'"{right}"')
            check(s.post(path, {**body, name: None}).status == 200, f"{path}: {name}: null")
    for path, body, name in (("/v1/embeddings", {"Input": "a"}, "input"), ("/embed", {"INPUTS": "a"}, "inputs"),
                             ("/v1/rerank", {"query": "a", "Documents": DOCS}, "documents")):
        r = s.post(path, body)
        check(r.status in (400, 422) and f"'{name}' is missing" in message(r), f"{path}: {body}", r)


def test_other_texts(s):
    for name in ("texts", "inputs", "input_texts", "query", "documents", "text"):
        refused(s, "/v1/embeddings", {"input": "a", name: "b"}, name)
        check(s.post("/v1/embeddings", {"input": "a", name: ""}).status == 200, f"an empty {name}")
    for path in ("/v1/rerank", "/v2/rerank"):
        for name in ("texts", "passages", "inputs"):
            refused(s, path, {"query": "a", "documents": DOCS, name: ["x"]}, name)


def test_parameters(s):
    body = {"query": "a", "texts": DOCS}
    asked = {"raw_scores": True, "return_text": True, "top_n": 2}
    r = s.post("/rerank", {**body, "parameters": asked})
    check(r.status == 200 and told(r) == told(s.post("/rerank", {**body, **asked})), "/rerank's parameters", r)
    refused(s, "/rerank", {**body, "top_n": 1, "parameters": {"top_k": 2}}, "top_n")
    refused(s, "/rerank", {**body, "parameters": {"topN": 2}}, "topN")
    refused(s, "/embed", {"inputs": "a", "dimensions": 2, "parameters": {"dimensions": 3}}, "dimensions")
    for path, body in [EMBED[0], EMBED[1], RERANK[0], RERANK[1], RERANK[2], CLASSIFY[0]]:
        for name in ("parameters", "options", "config", "embedding_config", "requestOptions"):
            for inner in ({"prompt_name": "x"}, {"truncation": True}, {"pooling": "max"}, {"promptName": "x"}):
                refused(s, path, {**body, name: inner}, name, next(iter(inner)))
            r = s.post(path, {**body, name: {"wait_for_model": True, "truncate": None, "pooling": ""}})
            check(r.status == 200, f"{path}: {name} that asks for nothing", r)
    refused(s, "/v1/embeddings", {"input": "a", "parameters": {"dimensions": 4}}, "parameters", "'dimensions'")


def test_property(s):
    body = {"query": "a", "documents": DOCS, "property": ""}
    want = s.post("/rerank", body)
    for path in ("/rerank", "/v1/rerank"):
        r = s.post(path, body)
        check(r.json == want.json and len(r.json["scores"]) == 3, f"{path}: Weaviate's answer", r)
        for name in ("top_n", "top_k"):
            r = s.post(path, {**body, name: 1})
            check(r.status in (400, 422) and f"'{name}'" in message(r), f"{path}: {name} beside property", r)
            for every in (0, 3, 9):
                check(told(s.post(path, {**body, name: every})) == want.json, f"{path}: {name} {every} is all")
        r = s.post(path, {**body, "return_documents": False})
        check(r.status in (400, 422) and "'return_documents'" in message(r), f"{path}: without documents", r)
        check(s.post(path, {**body, "return_documents": True}).json == want.json, f"{path}: with documents")


def main():
    program = served.start(sys.argv[1:])
    with Started(program, MODELS) as s:
        for test in (test_names, test_spellings, test_other_texts, test_parameters, test_property):
            test(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
