#!/usr/bin/env python3
"""Writes tests/golden/data/tokenizers_bpe/: tiny byte-level BPE tokenizers, one for each split
pattern and option, each a folder with its tokenizer.json (or vocab.json and merges.txt) and
goldens.json in the form of make_tokenizer_goldens.py.

    python3 tools/make_bpe_goldens.py tests/golden/data/tokenizers_bpe     (needs: transformers)
"""
import json
import os
import random
import shutil
import sys

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from make_tokenizer_goldens import PAIRS, TEXTS, added, piece, run, special, write
from parity_tokenizer import make_text

FOLD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
REGEX = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "qwen2": FOLD + "|" + LEAD + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + REST,
    "qwen35": FOLD + "|" + LEAD + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + REST,
    "llama3": FOLD + "|" + LEAD + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + REST,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "o200k": LEAD + UPPER + "*" + LOWER + "+" + FOLD + "?|" + LEAD + UPPER + "+" + LOWER + "*" + FOLD + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + REST,
    "tekken": LEAD + UPPER + "*" + LOWER + "+|" + LEAD + UPPER + "+" + LOWER + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + REST,
    "seed": FOLD + "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    "bailing": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
}
MORE = [
    "I'm we'll they've it'S 'Tis don'T 'ſ o'clock 'rebel 's'", "x = foo_bar(1234567, 'a b');\n\n\n    return x/2; // done/\n", "a1b22c333d4444 ½²³ ١٢٣ ⅫⅫ 12,345.678",
    "  two   three    four\t\ttabs \t mixed \n x", "\n\n  \n  indented\r\n\r\nwin", "end in space ", "end in spaces    ", "\u3000\u3000wide\u2003em", "camelCaseWord HTTPServer ABC中文abc ÀÉÎõü ǅǅx aʰB",
    "\u0301\u0302ABC \u0301abc x\u0301ABC \u0301 \u0301A1", "!Hello ?ABC /abc //\n/ -a _B", "'s 'S 'ſ's 'LL'll 'Ve've'", "ABC's abc'S Abc'LL x'll'll 中's", "\U000f0000\x04\x06ab\x13\x14 \xf1\U0010fffdz", "\x04\x04", "a\x04b \x04 c\U00070000d",
    "ababababababababababababababababababababababababababababababab", "a" * 300, " " * 70 + "x", "thethethethethethethethethethethe the theth ethe", "\u1112\u1161\u11ab e\u0301\u0323 \u212b \u2126 \u0958 \u0344", "<|end|><|end|> a<|start|>b <|end|", "<tool> x<tool>y",
]
CORPUS = TEXTS + MORE + ["the quick brown fox jumps over the lazy dog and the cat sat on the mat while it was raining all day long in the town"] * 3 + [
    "def function(self, value):\n        return self.value + value\n", "for (int i = 0; i < count; i++) {\n    total += items[i];\n}\n", "привет мир как дела", "你好世界 中文文本 日本語", "hello hello world world 123 456 789"]
ALPHABET = pre_tokenizers.ByteLevel.alphabet()


def byte_level(prefix=False, regex=False, trim=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}


def split(name, behavior="Isolated", invert=False):
    return {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": REGEX[name]}, "behavior": behavior, "invert": invert}, byte_level()]}


def train(pre, size=560, alphabet=ALPHABET):
    """A model section trained under the pre-tokenizer `pre` (a spec)."""
    tok = Tokenizer(models.BPE())
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None}
    spec = {**base, "pre_tokenizer": pre, "model": json.loads(tok.to_str())["model"]}
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    return json.loads(tok.to_str())["model"]


def without(model, missing):
    """The model with some bytes' pieces, and what is made of them, gone."""
    gone = set(missing)
    keep = [p for p in model["vocab"] if not set(p) & gone]
    merges = [m for m in model["merges"] if not set("".join(m)) & gone]
    return {**model, "vocab": {p: i for i, p in enumerate(keep)}, "merges": merges}


def build(pre, normalizer=None, post=None, specials=("<|end|>", "<|start|>"), flags=(), merges_as_text=False, model=None, **options):
    model = {**(model or train(pre)), **options}
    top = len(model["vocab"])
    tokens = [added(t, top + i, special=True) for i, t in enumerate(specials)]
    tokens += [added(t, top + len(specials) + i, **f) for i, (t, f) in enumerate(flags)]
    if merges_as_text:
        model["merges"] = [" ".join(m) for m in model["merges"]]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": post, "decoder": byte_level(True, True, True), "model": model}


def llama_post(first):
    a, b, bos = piece("Sequence", "A", 0), piece("Sequence", "B", 1), "<|start|>"
    template = {"type": "TemplateProcessing", "single": [piece("SpecialToken", bos, 0), a], "pair": [piece("SpecialToken", bos, 0), a, piece("SpecialToken", bos, 1), b],
                "special_tokens": {bos: special(bos, first)}}
    return {"type": "Sequence", "processors": [byte_level(True, True, False), template]}


FLAGS = [("<tool>", {}), ("Foo", {"normalized": True}), ("<x>", {"lstrip": True}), ("<y>", {"rstrip": True}), ("<z>", {"lstrip": True, "rstrip": True, "normalized": True}),
         ("ab", {"single_word": True}), ("é", {"normalized": True}), ("Ġthe", {}), (" cat ", {"special": True}), ("the", {"normalized": True})]
SMOL = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level(regex=True)]}
MISSING = [c for c in "ĄĆēĔñòÀÁõö"] + ["Ė"]


def variations():
    yield "gpt2", build(byte_level(regex=True, trim=True), post=byte_level(False, True, True), merges_as_text=True)
    yield "gpt2_prefix", build(byte_level(True, True, True), post=byte_level(True, True, True), flags=FLAGS)
    yield "gpt2_split", build(split("gpt2"), flags=FLAGS, normalizer={"type": "NFKC"})
    yield "qwen2", build(split("qwen2"), normalizer={"type": "NFC"}, post=byte_level(), flags=FLAGS[:1])
    yield "qwen2_added", build(split("qwen2"), normalizer={"type": "NFC"}, post=byte_level(False, True, True), flags=FLAGS, merges_as_text=True)
    yield "qwen35", build(split("qwen35"), normalizer={"type": "NFC"})
    model = train(split("llama3"))
    yield "llama3", build(split("llama3"), post=llama_post(len(model["vocab"]) + 1), ignore_merges=True, model={**model, "merges": model["merges"][:-60]})
    yield "cl100k", build(split("cl100k", "Removed", True))
    yield "o200k", build(split("o200k"))
    yield "tekken", build(split("tekken"), ignore_merges=True)
    yield "smollm", build(SMOL, model=without(train(SMOL), MISSING))
    yield "digits", build({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, byte_level(regex=True)]}, byte_fallback=True)
    for fuse in False, True:
        model = without(train(byte_level(regex=True)), MISSING + ["a"])
        yield "unknown_fused" if fuse else "unknown", build(byte_level(regex=True), model=model, unk_token="!", fuse_unk=fuse)
    yield "seed", build(split("seed"))
    yield "bailing", build(split("bailing"))


def goldens(tok, seed):
    r = random.Random(seed)
    names = [t.content for t in tok.get_added_tokens_decoder().values()]
    texts = TEXTS + MORE + [make_text(r, names)[:400] for _ in range(20)]
    rows = [run(tok, t, None, None) for t in texts] + [run(tok, a, b, None) for a, b in PAIRS[:4]]
    rows += [run(tok, a, b, ("longest_first", side, 9, True)) for a, b in PAIRS[:3] for side in ("left", "right")]
    decoded = []
    for row in rows[len(TEXTS) - 8 : -6]:
        ids = [t[0] for t in row[3]]
        decoded += [[ids, skip, tok.decode(ids, skip_special_tokens=skip)] for skip in (False, True)]
    for _ in range(60):  # bytes that make no character
        ids = [r.choice([r.randrange(tok.get_vocab_size()), r.randrange(256)]) for _ in range(r.randint(1, 12))]
        ids = [i for i in ids if tok.id_to_token(i) is not None]
        decoded.append([ids, False, tok.decode(ids, skip_special_tokens=False)])
    decoded = [row for row in decoded if "\0" not in row[2]]  # which strict JSON refuses
    return {"cases": rows, "decoded": decoded}


def write_pair(root, name, config):
    model = train(split("qwen2"), 480)
    folder = os.path.join(root, name)
    write(folder, "vocab.json", model["vocab"])
    write(folder, "merges.txt", "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"]))
    write(folder, "tokenizer_config.json", config)
    tok = getattr(transformers, config["tokenizer_class"]).from_pretrained(folder).backend_tokenizer
    write(folder, "goldens.json", goldens(tok, 99))


def main():
    root = sys.argv[1]
    shutil.rmtree(root, ignore_errors=True)
    for i, (name, spec) in enumerate(variations()):
        folder = os.path.join(root, name)
        write(folder, "tokenizer.json", spec)
        write(folder, "goldens.json", goldens(Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), i))
    listed = {str(480 + i): added(t, 0, **f) for i, (t, f) in enumerate(FLAGS[:4])}
    for entry in listed.values():
        del entry["id"]
    write_pair(root, "files_qwen2", {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": listed, "pad_token": "<|pad|>"})
    write_pair(root, "files_gpt2", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "bos_token": "<|end|>", "eos_token": {"content": "<|end|>", "__type": "AddedToken"}})


if __name__ == "__main__":
    main()
