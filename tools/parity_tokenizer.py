#!/usr/bin/env python3
"""Compares this project's token ids with Hugging Face tokenizers on the same tokenizer files.

    python3 tools/parity_tokenizer.py MODEL PROGRAM [--lines N] [--seed N] [--quick]
        [--reference tokenizer.json] [--texts FILE.jsonl] [--decode]

PROGRAM is build/trine (its `tokenize` command, ids only) or build/bench/tokenize_lines (ids, type
ids, spans and special flags, pairs and truncation too). Texts come from a generator with a fixed
seed: many scripts, lengths, control characters, marks, emoji, spaces of every kind and the
tokenizer's own added tokens, or from a file of JSON strings; then every scalar value but U+0000
alone and between letters. MODEL is a folder, or a GGUF file; without --reference the latter is
compared with what transformers makes of it (needs: transformers, gguf). --decode (tokenize_lines
only) also checks that texts come back from their ids: as Hugging Face decodes them and, without
added tokens in them, in their normal form. Prints the first differences and closes with
`N passed, N failed`.
"""
import argparse
import json
import os
import random
import subprocess
import sys

from tokenizers import Tokenizer

SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2003\u2007\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
ODD = "\x01\x07\x1b\x1f\x7f\x80\x9f\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff\ufff9\ufffc\ufffd\ue000\uf8ff\ufdd0\uffff\U000e0001\U000e0020\U000f0000\U0010fffd\U0001ffff"
RANGES = {
    "latin": (0x41, 0x7A), "latin1": (0xC0, 0xFF), "latin_more": (0x100, 0x24F), "ipa": (0x250, 0x2AF),
    "marks": (0x300, 0x36F), "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x52F), "armenian": (0x531, 0x58F),
    "hebrew": (0x591, 0x5F4), "arabic": (0x600, 0x6FF), "syriac": (0x700, 0x74F), "devanagari": (0x900, 0x97F),
    "bengali": (0x980, 0x9FF), "tamil": (0xB80, 0xBFF), "telugu": (0xC00, 0xC7F), "sinhala": (0xD80, 0xDFF),
    "thai": (0xE01, 0xE5B), "lao": (0xE81, 0xEDF), "tibetan": (0xF00, 0xFDA), "burmese": (0x1000, 0x109F),
    "georgian": (0x10A0, 0x10FF), "jamo": (0x1100, 0x11FF), "ethiopic": (0x1200, 0x137F), "khmer": (0x1780, 0x17F9),
    "vietnamese": (0x1E00, 0x1EFF), "greek_more": (0x1F00, 0x1FFF), "punctuation": (0x2010, 0x206F),
    "signs": (0x2070, 0x21FF), "math": (0x2200, 0x22FF), "boxes": (0x2500, 0x27BF), "cjk_signs": (0x3000, 0x303F),
    "kana": (0x3041, 0x30FF), "cjk_a": (0x3400, 0x3450), "cjk": (0x4E00, 0x9FFF), "hangul": (0xAC00, 0xD7A3),
    "cjk_compat": (0xF900, 0xFAD9), "forms": (0xFB00, 0xFDFF), "fullwidth": (0xFF01, 0xFFEE),
    "math_letters": (0x1D400, 0x1D7FF), "music": (0x1D100, 0x1D1E8), "emoji": (0x1F300, 0x1FAFF),
    "flags": (0x1F1E6, 0x1F1FF), "cjk_b": (0x20000, 0x20100), "cjk_supplement": (0x2F800, 0x2FA1D),
}
EMOJI = ["\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F44D\U0001F3FD", "\u2764\ufe0f", "1\ufe0f\u20e3",
         "\U0001F1EB\U0001F1F7", "\U0001F3F4\U000e0067\U000e0062\U000e007f"]
WORDS = """the of and to in is was for that on as with by he it at from his are this be an which or had
not unaffable tokenization electroencephalography don't it's we're rock'n'roll e-mail U.S.A. 3.14 1,000,000
http://example.com/a?b=c&d=%20 user@example.org #hashtag @handle C++ x86_64 naïve café Zürich Ærøskøbing İstanbul
ΌΣΣΟΣ ǅungla ﬁne ½ № ™ ①② Ⅷ ﷺ ﷽ ẞ straße
été e\u0301te\u0301 a\u0316\u0301\u0323 \u0958 \u1E9B\u0323 \uAC00\u11A8 한국어 日本語 中文 ไทย العَرَبِيَّة हिन्दी""".split()


def make_word(r, added):
    kind = r.random()
    if kind < 0.45:
        return r.choice(WORDS)
    if kind < 0.55:
        return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(1, 14)))
    if kind < 0.58:
        return r.choice(EMOJI) * r.randint(1, 3)
    if kind < 0.62:
        return r.choice(added)
    if kind < 0.64:
        token = r.choice(added)
        return r.choice([token.lower(), token.upper(), token[:-1], token + r.choice("a_1,"), "x" + token])
    if kind < 0.67:
        return "".join(r.choice(ODD) for _ in range(r.randint(1, 4)))
    if kind < 0.70:
        return "".join(r.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(r.randint(1, 6)))
    if kind < 0.73:  # a heap of marks on a letter
        return r.choice("aeoαяक") + "".join(chr(r.randint(0x300, 0x36F)) for _ in range(r.randint(1, 30)))
    if kind < 0.735:
        return r.choice("aZ9é字") * r.randint(95, 105)
    low, high = RANGES[r.choice(list(RANGES))]
    return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 12)))


def make_text(r, added):
    n = r.choice([0, 1, 2, 3, 5, 8, 13, 20, 40]) if r.random() < 0.995 else r.randint(100, 600)
    out = []
    for _ in range(n):
        out.append(make_word(r, added))
        gap = r.random()
        if gap < 0.8:
            out.append(" ")
        elif gap < 0.9:
            out.append("".join(r.choice(SPACES) for _ in range(r.randint(1, 4))))
    text = "".join(out).replace("\0", "")
    return "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)


class Ours:
    """One run of PROGRAM over many lines."""

    def __init__(self, program, model):
        self.program, self.model = program, model
        self.spans = os.path.basename(program) != "trine"

    def run(self, lines, options=()):
        command = [self.program, "--model", self.model, "--spans", *options]
        if not self.spans:
            command = [self.program, "tokenize", "--model", self.model, "--ids", "--jsonl"]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out = done.stdout.decode().split("\n")[:-1]
        if done.returncode or len(out) != len(lines):
            sys.exit("%s failed (%d), %d of %d lines: %s" % (command, done.returncode, len(out), len(lines), done.stderr.decode()[-500:]))
        return out


def byte_offsets(text):
    at, offsets = 0, [0]
    for c in text:
        at += len(c.encode())
        offsets.append(at)
    return offsets


def expected(encoding, texts, spans):
    if not spans:
        return " ".join(map(str, encoding.ids))
    offsets = [byte_offsets(t) for t in texts]
    out = []
    sequences = encoding.sequence_ids
    for i, (token, (a, b)) in enumerate(zip(encoding.ids, encoding.offsets)):
        special = encoding.special_tokens_mask[i]
        o = offsets[(sequences[i] or 0) if len(texts) > 1 else 0]
        begin, end = (0, 0) if special else (o[a], o[b])
        out.append("%d:%d:%d:%d:%d" % (token, encoding.type_ids[i], begin, end, special))
    return " ".join(out)


class Score:
    def __init__(self):
        self.passed = self.failed = 0

    def compare(self, what, lines, got, want):
        bad = 0
        for line, g, w in zip(lines, got, want):
            if g == w:
                self.passed += 1
                continue
            self.failed += 1
            bad += 1
            if bad <= 5:
                g, w = g.split(), w.split()
                at = next((i for i, (x, y) in enumerate(zip(g, w)) if x != y), min(len(g), len(w)))
                print("%s: %s\n   got  %d: %s\n   want %d: %s" % (
                    what, json.dumps(line)[:300], len(g), g[max(0, at - 2) : at + 5], len(w), w[max(0, at - 2) : at + 5]))
        print("%s: %d lines, %d differ" % (what, len(lines), bad), flush=True)


def check_singles(tok, ours, texts, what, score):
    for at in range(0, len(texts), 20000):
        part = texts[at : at + 20000]
        want = [expected(e, [t], ours.spans) for e, t in zip(tok.encode_batch(part), part)]
        score.compare("%s from %d" % (what, at), part, ours.run(part), want)


def check_decode(tok, ours, texts, added, score):
    """Ids and back: what Hugging Face gives, which for a text without added tokens is its normal form."""
    back = [json.loads(line) for line in ours.run(texts, ["--decode"])]
    score.compare("decoded", texts, list(map(json.dumps, back)), [json.dumps(tok.decode(e.ids)) for e in tok.encode_batch(texts)])
    plain = [(t, b) for t, b in zip(texts, back) if not any(a in t for a in added)]
    normal = tok.normalizer.normalize_str if tok.normalizer else str
    score.compare("back again", [t for t, _ in plain], [json.dumps(b) for _, b in plain], [json.dumps(normal(t)) for t, _ in plain])


def check_pairs(tok, ours, pairs, score):
    for strategy in "longest_first", "only_first", "only_second":
        for side in "right", "left":
            for length in 7, 16, 33, 128:
                tok.enable_truncation(max_length=length, strategy=strategy, direction=side)
                want = []
                for pair in pairs:
                    try:
                        want.append(expected(tok.encode(*pair), pair, True))
                    except Exception:
                        want.append("-")
                options = ["--max-length", str(length), "--strategy", strategy] + (["--left"] if side == "left" else [])
                score.compare("pairs %s %s %d" % (strategy, side, length), pairs, ours.run(pairs, options), want)
                texts = [p[0] for p in pairs]
                if strategy == "longest_first":
                    want = [expected(tok.encode(t), [t], True) for t in texts]
                    score.compare("singles %s %d" % (side, length), texts, ours.run(texts, options), want)
    tok.no_truncation()


def from_gguf(path):
    """The tokenizer as transformers reads it, and the digits one by one that it leaves out."""
    import gguf
    import transformers
    from tokenizers import pre_tokenizers
    folder, name = os.path.split(os.path.abspath(path))
    tok = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).backend_tokenizer
    if gguf.GGUFReader(path).fields["tokenizer.ggml.pre"].contents() == "smollm":
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    return tok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("program")
    parser.add_argument("--lines", type=int, default=100000)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="no sweep over every scalar value")
    parser.add_argument("--reference", help="the tokenizer.json to compare with; default: the model's own")
    parser.add_argument("--texts", help="JSON strings to use in place of generated texts")
    parser.add_argument("--decode", action="store_true")
    args = parser.parse_args()
    if os.path.isfile(args.model) and not args.reference:
        tok = from_gguf(args.model)
    else:
        tok = Tokenizer.from_file(args.reference or os.path.join(args.model, "tokenizer.json"))
    tok.no_padding()
    tok.no_truncation()
    ours = Ours(args.program, args.model)
    r = random.Random(args.seed)
    added = [t.content for t in tok.get_added_tokens_decoder().values()] or ["[CLS]"]
    score = Score()
    if args.texts:
        with open(args.texts, encoding="utf-8") as f:
            texts = [json.loads(line) for line in f][: args.lines]
    else:
        texts = [make_text(r, added) for _ in range(args.lines)]
    check_singles(tok, ours, texts, "texts", score)
    if args.decode:
        check_decode(tok, ours, texts, added, score)
    if not args.quick:
        scalars = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]
        check_singles(tok, ours, scalars, "alone", score)
        check_singles(tok, ours, ["a%sb" % c for c in scalars], "between letters", score)
    if ours.spans:
        check_pairs(tok, ours, [(make_text(r, added), make_text(r, added)) for _ in range(args.pairs)], score)
    print("%d passed, %d failed" % (score.passed, score.failed))
    return 1 if score.failed or not score.passed else 0


if __name__ == "__main__":
    sys.exit(main())
