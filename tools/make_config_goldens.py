#!/usr/bin/env python3
"""Writes tests/golden/data/tokenizers_config/: small tokenizers whose tokenizer_config.json, and what else
stands beside tokenizer.json, says other than that file; each with goldens.json (the form of
make_tokenizer_goldens.py), what AutoTokenizer makes of the folder. Only what transformers 4 and 5 agree on
is here: run it with either.

    python3 tools/make_config_goldens.py tests/golden/data/tokenizers_config     (needs: transformers)
"""
import copy
import os
import random
import shutil
import sys

from transformers import AutoTokenizer

import make_bpe_goldens as bpe
from make_tokenizer_goldens import BASE, PAIRS, TEXTS, TOP, added, bert, run, write

MORE = ["Hello <x>[SEP] <y> the<x>", "[MASK]a [PAD] [CLS]b", "Ünïcode ÀB 中文字 Straße É", " leading <y>  x", "<|end|>a <x> <y>b <|start|>"]


def entry(content, **flags):
    token = added(content, 0, **flags)
    del token["id"]
    return token


def words(lower=True, accents=None):
    return {**copy.deepcopy(BASE), "normalizer": bert(accents=accents, lower=lower)}


def without(spec, *contents):
    return {**spec, "added_tokens": [t for t in spec["added_tokens"] if t["content"] not in contents]}


BERT = {"tokenizer_class": "BertTokenizer"}
NAMES = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
GPT2 = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|end|>", "eos_token": "<|end|>", "unk_token": "<|end|>"}
QWEN2 = {"tokenizer_class": "Qwen2Tokenizer", "unk_token": "<|end|>", "eos_token": "<|end|>", "pad_token": "<|end|>"}


def variations():
    gpt2 = bpe.build(bpe.byte_level(regex=True))
    qwen2 = bpe.build(bpe.split("qwen2"), normalizer={"type": "NFC"}, post=bpe.byte_level())
    top = len(qwen2["model"]["vocab"]) + 2
    yield "lower_false", words(), {"tokenizer_config.json": {**BERT, "do_lower_case": False}}
    yield "lower_true", words(lower=False), {"tokenizer_config.json": {**BERT, "do_lower_case": True}}
    yield "accents_false", words(), {"tokenizer_config.json": {**BERT, "strip_accents": False}}
    yield "accents_alone", words(), {"tokenizer_config.json": {"tokenizer_class": "DistilBertTokenizerFast", "do_lower_case": False, "strip_accents": True}}
    yield "chinese_false", words(), {"tokenizer_config.json": {**BERT, "tokenize_chinese_chars": False, "strip_accents": None}}
    yield "defaults", words(lower=False, accents=False), {"tokenizer_config.json": BERT}
    yield "model_type", words(lower=False), {}
    yield "plain_class", words(lower=False), {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}}
    yield "class_of_model", words(lower=False), {"config.json": {"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"}}
    listed = {str(TOP + 1): entry("<y>", lstrip=True, normalized=True), str(TOP): entry("<x>", rstrip=True, special=True), "3": entry("[SEP]", rstrip=True, special=True)}
    yield "listed", words(), {"tokenizer_config.json": {**BERT, "added_tokens_decoder": listed}, "special_tokens_map.json": {"mask_token": "the"}}
    yield "added_file", words(), {"tokenizer_config.json": BERT, "added_tokens.json": {"<y>": TOP + 1, "<x>": TOP, "the": 3}}
    special = {"pad_token": {**entry("the"), "lstrip": True}, "mask_token": "<x>"}
    yield "special_map", words(), {"tokenizer_config.json": {**BERT, **NAMES}, "special_tokens_map.json": special}
    yield "unlisted", without(words(), "[MASK]", "[PAD]"), {"tokenizer_config.json": BERT}
    yield "split_special", words(), {"tokenizer_config.json": {**BERT, "split_special_tokens": True, "added_tokens_decoder": {str(TOP): entry("<x>"), str(TOP + 1): entry("<y>", special=True)}}}
    yield "gpt2_space", gpt2, {"config.json": {"model_type": "gpt2"}, "tokenizer_config.json": {**GPT2, "add_prefix_space": True}}
    yield "gpt2_none", bpe.build(bpe.byte_level(True, True, True), post=bpe.byte_level(True, True, True)), {"config.json": {"model_type": "gpt2"}, "tokenizer_config.json": GPT2}
    more = {"<|end|>": entry("<|end|>", special=True), "<|start|>": entry("<|start|>", special=True)}
    listed = {str(top - 2 + i): t for i, t in enumerate(more.values())} | {str(top + 9): entry("<y>", rstrip=True), str(top): entry("<x>", special=True)}
    yield "qwen2_listed", qwen2, {"config.json": {"model_type": "qwen2"}, "tokenizer_config.json": {**QWEN2, "add_bos_token": True, "added_tokens_decoder": listed}}
    yield "qwen2_extra", qwen2, {"config.json": {"model_type": "qwen2"}, "tokenizer_config.json": {**QWEN2, "additional_special_tokens": ["<x>", "the"]}}


def goldens(tok, seed):
    r = random.Random(seed)
    rows = [run(tok, t, None, None) for t in TEXTS + MORE] + [run(tok, a, b, None) for a, b in PAIRS[:3]]
    decoded = []
    for row in rows[-14:-3]:
        ids = [t[0] for t in row[3]]
        decoded += [[ids, skip, tok.decode(ids, skip_special_tokens=skip)] for skip in (False, True)]
    for _ in range(8):
        ids = [r.randrange(tok.get_vocab_size()) for _ in range(r.randint(1, 9))]
        decoded.append([ids, False, tok.decode(ids, skip_special_tokens=False)])
    return {"cases": rows, "decoded": [row for row in decoded if "\0" not in row[2]]}


def main():
    root = sys.argv[1]
    shutil.rmtree(root, ignore_errors=True)
    for i, (name, spec, files) in enumerate(variations()):
        folder = os.path.join(root, name)
        write(folder, "config.json", {"model_type": "bert"})
        write(folder, "tokenizer.json", spec)
        for file, content in files.items():
            write(folder, file, content)
        write(folder, "goldens.json", goldens(AutoTokenizer.from_pretrained(folder).backend_tokenizer, i))


if __name__ == "__main__":
    main()
