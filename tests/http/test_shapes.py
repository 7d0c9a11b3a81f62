#!/usr/bin/env python3
"""Bodies of other jobs and other dialects on a path that several share: none is answered as what it
is not, and the refusal says where it belongs.

    tests/http/test_shapes.py [PROGRAM]
"""

import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402

GENERATES = [{"max_new_tokens": 5}, {"temperature": 0.5}, {"do_sample": True}, {"return_full_text": False},
             {"details": True}, {"stop": ["x"]}, {"seed": 1}, {"top_n_tokens": 3}, {"num_beams": 2},
             {"best_of": 2}, {"repetition_penalty": 1.1}, {"grammar": {"type": "json", "value": {}}},
             {"max_new_tokens": 5, "top_k": 3, "truncate": True}]
OTHERS = [{"candidate_labels": ["a", "b"]}, {"src_lang": "a", "tgt_lang": "b"}, {"aggregation_strategy": "first"},
          {"hypothesis_template": "x {}"}]


def words(a):
    error = (a.json or {}).get("error")
    return error.get("message", "") if isinstance(error, dict) else error or (a.json or {}).get("message", "")


def refused(a, what, *parts):
    check(a.status in (400, 422) and all(p in words(a) for p in parts), what, a)


def test_generate(s, models):
    """TGI's body to a service that embeds or scores."""
    for path in ("/", "/invocations", "/embed", "/predict"):
        for parameters in GENERATES:
            for model in models:
                body = {"inputs": "hi", "parameters": parameters, "model": model}
                name = next(iter(parameters))
                refused(s.post(path, body), f"{path} {model}: {parameters}", "" if model == "tiny" else name)
                if model != "tiny":
                    refused(s.post(path, dict(body, stream=True)), f"{path} {model}: a stream", "/v1/completions")
        a = s.post(path, {"inputs": "hi", "parameters": {"max_new_tokens": 5}, "model": models[0]})
        check("TGI's generate" in words(a) and "/v1/completions" in words(a), f"{path}: where it belongs", a)
        for parameters in OTHERS:
            refused(s.post(path, {"inputs": "hi", "parameters": parameters, "model": models[0]}),
                    f"{path}: {parameters}", next(iter(parameters)))
    for path, want in (("/", list), ("/invocations", list), ("/embed", list)):
        for more in ({}, {"parameters": {}}, {"parameters": {"truncate": True, "normalize": True}}, {"stream": False},
                     {"parameters": {"return_full_text": None}}):
            a = s.post(path, {"inputs": "hi", **more})
            check(a.status == 200 and isinstance(a.json, want), f"{path}: vectors are asked for: {more}", a)


def test_others(s):
    hi = [{"role": "user", "content": "hi"}]
    for path in ("/", "/embed", "/v1/embeddings", "/tokenize", "/predict"):
        refused(s.post(path, {"messages": hi}), f"{path}: messages", "/v1/chat/completions")
    for path in ("/", "/embed"):
        refused(s.post(path, {"inputs": "x", "messages": hi}), f"{path}: inputs and messages", "messages")
    refused(s.post("/v1/embeddings", {"input": "x", "messages": hi}), "input and messages", "messages")
    refused(s.post("/v1/embeddings", {"input": "x", "stream": True}), "a stream of vectors", "stream")
    refused(s.post("/rerank", {"query": "a", "documents": ["b"], "texts": ["c"]}), "two dialects' lists",
            "'documents'", "'texts'")
    for path, body in (("/rerank", {"query": "a", "inputs": ["b"]}), ("/v1/rerank", {"query": "a", "texts": ["b"]}),
                       ("/v2/rerank", {"query": "a", "texts": ["b"]}), ("/embed", {"texts": ["a"], "query": "b"}),
                       ("/embed", {"input": "a"}), ("/v1/embeddings", {"prompt": "x"}),
                       ("/", {"inputs": {"question": "a", "context": "b"}}), ("/", {"prompt": "x"}),
                       ("/v1/completions", {"messages": hi}), ("/v1/completions", {"inputs": "x"}),
                       ("/v1/chat/completions", {"prompt": "x"}), ("/v1/chat/completions", {"messages": hi, "prompt": "x"}),
                       ("/v1/completions", {"prompt": "x", "messages": hi})):
        refused(s.post(path, dict(body, model=None)), f"{path}: {body}")
    refused(s.post("/v1/completions", {"messages": hi}), "a chat", "/v1/chat/completions")
    refused(s.post("/v1/chat/completions", {"prompt": "x"}), "no chat", "/v1/completions")
    for path in ("/", "/invocations"):
        refused(s.post(path, {"model": "tiny", "inputs": "x"}), f"{path}: a generator by name", "TGI's generate",
                "/v1/completions")


def main():
    program = served.start(sys.argv[1:])
    with Started(program, {"emb": "bert-mean-st6", "rr": "bert-cross-encoder", "cl": "bert-classifier",
                           "tiny": "tiny_chat"}) as s:
        test_generate(s, ["emb", "cl", "tiny"])
        test_others(s)
    with Started(program, {"emb": "bert-mean-st6"}) as s:
        test_generate(s, ["emb"])
    with Started(program, {"tiny": "tiny_chat"}) as s:
        for path in ("/", "/invocations"):
            for body in ({"inputs": "x"}, {"inputs": "x", "parameters": {"max_new_tokens": 4}, "stream": True}):
                refused(s.post(path, body), f"{path}: a generator alone: {body}", "TGI's generate", "/v1/completions")
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
