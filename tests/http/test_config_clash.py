#!/usr/bin/env python3
"""Files of one model that say different things: who counts is as in transformers, and where its releases
differ the folder is refused by name.

    tests/http/test_config_clash.py [PROGRAM]      default: build/trine

The scores of pairs are CrossEncoder's (sentence-transformers 6.2, transformers 5.24).
"""

import subprocess
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
import test_model_files as files  # noqa: E402
from served import check  # noqa: E402
from test_model_files import Folder, run, vectors  # noqa: E402

DOCUMENTS = ["The weather is nice, Café!", "what is 北京 the cat sat on", "Hello WORLD [SEP] x", "a b"]
UNTYPED = [0.8476, 0.7314, 0.9076, 1.2794]


def scores(folder):
    """The raw scores of DOCUMENTS in their order, or what was said instead."""
    p = run("rerank", "--model", folder, "--query", "what is THE cat", "--raw-scores",
            stdin="\n".join(DOCUMENTS) + "\n")
    if p.returncode:
        return p.stderr.decode()
    rows = [line.split("\t") for line in p.stdout.decode().splitlines()]
    got = {row[2]: float(row[0]) for row in rows}
    return [got[d] for d in DOCUMENTS]


def alike(a, b):
    return not isinstance(a, str) and all(abs(x - y) < 2e-4 for x, y in zip(a, b))


def test_token_types():
    typed = [0.5434, 0.5325, 0.4541, 1.0823]
    without, with_them = ["input_ids", "attention_mask"], ["input_ids", "token_type_ids"]
    for keys, want in (({}, typed), ({"model_input_names": with_them}, typed),
                       ({"model_input_names": without}, UNTYPED), ({"model_input_names": []}, UNTYPED),
                       ({"tokenizer_class": "ElectraTokenizer"}, typed),
                       ({"tokenizer_class": "DistilBertTokenizer"}, UNTYPED),
                       ({"tokenizer_class": "RetriBertTokenizerFast"}, UNTYPED),
                       ({"tokenizer_class": "TokenizersBackend"}, UNTYPED),
                       ({"tokenizer_class": "DistilBertTokenizer", "model_input_names": with_them}, typed),
                       ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": without}, UNTYPED),
                       ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": with_them}, typed)):
        with Folder("bert-cross-encoder") as m:
            m.edit("tokenizer_config.json", **keys)
            got = scores(m.path)
            check(alike(got, want), keys, (got, want))
    for keys, words in (({"tokenizer_class": "PreTrainedTokenizerFast"}, "say it in 'model_input_names'"),
                        ({"tokenizer_class": "MPNetTokenizer"}, "'MPNetTokenizer' does not fit"),
                        ({"model_input_names": "input_ids"}, "'model_input_names' must be an array")):
        with Folder("bert-cross-encoder") as m:
            m.edit("tokenizer_config.json", **keys)
            got = scores(m.path)
            check(isinstance(got, str) and words in got, keys, got)
    with Folder("bert-mean-st6") as m:  # one text has one type whatever the class
        want = vectors(m.path)
        m.edit("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        check(isinstance(want, bytes) and vectors(m.path) == want, "an embedder", vectors(m.path))
    with Folder("bert-cross-encoder") as m:
        m.edit("tokenizer_config.json", model_input_names=without)
        text = run("inspect", m.path).stdout.decode()
        line = next(x for x in text.splitlines() if x.startswith("keys of tokenizer_config.json, honoured"))
        check("model_input_names" in line, "inspect", text)


def test_model_type():
    for model, wrong in (("bert-mean-st6", "roberta"), ("bert-mean-st6", "distilbert"),
                         ("bert-cross-encoder", "electra"), ("bert-classifier", "roberta"),
                         ("distilbert-prompt-st6", "bert"), ("tiny_chat", "llama"), ("tiny_chat", "qwen3"),
                         ("tiny_chat", "gemma"), ("causal/qwen2-base-st6", "mistral"),
                         ("causal/qwen3-reranker", "qwen2")):
        with Folder(model) as m:
            m.edit("config.json", model_type=wrong)
            p = run("inspect", m.path)
            words = "model_type '%s' contradicts the architecture '" % wrong
            check(p.returncode == 1 and words in p.stderr.decode(), (model, wrong), p)


def test_heads():
    with Folder("bert-mean-st6") as m:
        want = vectors(m.path)
        for name in ("BertForPreTraining", "BertForNextSentencePrediction", "BertForTokenClassification",
                     "BertLMHeadModel", "BertForQuestionAnswering"):
            m.edit("config.json", architectures=[name])
            got = vectors(m.path)
            check(isinstance(want, bytes) and got == want, name, got)


def test_tied_head():
    def head(change):
        def put(held):
            dtype, shape, content = held["model.embed_tokens.weight"]
            held["lm_head.weight"] = [dtype, shape, change(content)]
        return put
    for change, loads in ((lambda b: b, True), (lambda b: b[:-1] + bytes([b[-1] ^ 1]), False)):
        with Folder("tiny_chat") as m:
            m.edit("config.json", tie_word_embeddings=True)
            m.tensors(head(change))
            p = subprocess.run([files.program, "serve", "--check", "--port", "0", "--model", m.path],
                               capture_output=True, timeout=240)
            check((p.returncode == 0) == loads, "loads" if loads else "refused", p)
            check(loads or b"'tie_word_embeddings' is true" in p.stderr, "by name", p.stderr)


def main(args):
    files.program = served.start(args)
    for test in (test_token_types, test_model_type, test_heads, test_tied_head):
        test()
    return served.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
