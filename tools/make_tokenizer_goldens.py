#!/usr/bin/env python3
"""Writes tests/golden/data/tokenizers/: tiny tokenizers of every variation, each a folder with its
tokenizer.json (or vocab.txt) and goldens.json, what Hugging Face makes of some texts with it.

    python3 tools/make_tokenizer_goldens.py tests/golden/data/tokenizers     (needs: transformers)

goldens.json: {"cases": [[text, pair or null, options or null, tokens, full length], ...],
"decoded": [[ids, skip special tokens, text], ...]}. options: [strategy, side, max_length, add
special tokens]; tokens null: Hugging Face refuses. A token: [id, type, begin, end, special], with
offsets in bytes.
"""
import copy
import json
import os
import shutil
import sys
import unicodedata
import zlib

from tokenizers import Tokenizer, normalizers, pre_tokenizers

TEXTS = [
    "", " ", "Hello, World!", "unaffable  tokenization", "the cat's don't [CLS] and [SEP][MASK]",
    "naïve café Ærø ÉTÉ", "e\u0301te\u0301 a\u0316\u0301\u0323 A\u030a", "İstanbul ǅ ẞ straße ΌΣΣΟΣ",
    "你好,世界。中文abc", "日本語テキスト ﾊﾝ가각 한국어", "ไทย ภาษา हिन्दी العَرَبِيَّة עִבְרִית",
    "привет Ёлка Й и\u0306", "\U0001F468\u200d\U0001F469\u200d\U0001F467 \U0001F44D\U0001F3FD \u2764\ufe0f 1\ufe0f\u20e3",
    "tab\tnew\nline\r\nvt\x0bff\x0cnel\x85nbsp\xa0zwsp\u200bbom\ufeffls\u2028ideo\u3000end",
    "\x01control\x7f \x80\x9f \xad soft \ufffd replaced \ue000 private \U0010fffd",
    "ﬁ ½ № ① Ⅷ ﷺ \u0958 \u1e9b\u0323 \uac00\u11a8 \u1112\u1161\u11ab \u0344 \u0f73\u0f39 \u2126",
    "豈\uf900 \U0002f800 \u3400 \U00020000x", "a" * 100, "a" * 101, "é" * 100 + " " + "é" * 101,
    "!!!...,,,--[]{}~`@#$%^&*()_+=|\\<>?/\"'", "x[CLS", "[cls] [CLS]", "Foo foo FOO foobar barfoo foo_ é foo",
    "  <x>  <x>a  ", "a <y>   b<y>\u3000c", "one <z> two", "ab abc ab. cab ab_ ab", "the cat  the  cat",
    "\u0301 leading mark", "a\u0301\u0301\u0301 \u0316\u0301", "q" * 30 + "zzz", "\u1e9b\u0323\u0344 \u01d5 \u1fc1",
    "mixed 한a字я\u0e01!z", "\u2019quote\u201d \u00bf\u00a1 \u3001\u3002 \uff01 \u00a7 \u20ac $",
]
PAIRS = [
    ("the cat", "hello world, hello"), ("hello world, hello", "the cat"), ("", "the"), ("the", ""),
    ("a b c d e f g", "h i j k l m n"), ("a b c d e f g h i", "j k"), ("你好世界", "e\u0301te\u0301 straße"),
    ("a b", "c d e f g h i j k l"), ("a [SEP] b", "[CLS] c"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["hello", "world", "the", "cat", "un", "##aff", "##able", "token", "##ization", "##aa", "##aaa", "don", "foo", "bar",
         "##foo", "stra", "##ße", "##sse", "你", "好", "한국", "##국어", "한", "##국", "été", "ete", "##te", "mix", "##ed", "tab", "new", "line"]


def vocabulary(prefix="##"):
    chars = set()
    for text in TEXTS:
        for form in (text, text.lower(), *(unicodedata.normalize(f, text.lower()) for f in ("NFC", "NFD", "NFKC", "NFKD"))):
            chars.update(form)
    chars -= set("qﾊ世Ⅷ #") | set(" \t\n\r")  # some stay unknown
    pieces = SPECIAL + [w.replace("##", prefix) if w.startswith("##") else w for w in WORDS]
    for c in sorted(chars):
        pieces += [c, prefix + c] if c.isalpha() or unicodedata.category(c)[0] == "M" else [c]
    return {p: i for i, p in enumerate(dict.fromkeys(pieces))}


def bert(clean=True, chinese=True, accents=None, lower=True):
    return {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower}


def sequence(key, *items):
    return {"type": "Sequence", key: list(items)}


def added(content, id, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**token, **flags}


def piece(kind, id, type_id):
    return {kind: {"id": id, "type_id": type_id}}


def special(id, *ids):
    return {"id": id, "ids": list(ids), "tokens": ["x"] * len(ids)}


A, B = piece("Sequence", "A", 0), piece("Sequence", "B", 1)
CLS, SEP = piece("SpecialToken", "[CLS]", 0), piece("SpecialToken", "[SEP]", 0)
BASE = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [added(t, i, special=True) for i, t in enumerate(SPECIAL)],
    "normalizer": bert(), "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {
        "type": "TemplateProcessing", "single": [CLS, A, SEP], "pair": [CLS, A, SEP, B, piece("SpecialToken", "[SEP]", 1)],
        "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)},
    },
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary()},
}
TOP = len(BASE["model"]["vocab"])
FLAGS = BASE["added_tokens"] + [
    added("Foo", TOP, normalized=True), added("<x>", TOP + 1, lstrip=True), added("<y>", TOP + 2, rstrip=True),
    added("<z>", TOP + 3, lstrip=True, rstrip=True, normalized=True), added("ab", TOP + 4, single_word=True),
    added("é", TOP + 5, normalized=True, single_word=True), added("the cat", TOP + 6, normalized=True, special=True),
    added("[CLS", TOP + 7), added(".. ", TOP + 8, lstrip=True),
]


def model(**changes):
    return {**BASE["model"], **changes}


def processing(kind, **more):
    return {"type": kind, "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], **more}


ODD_TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [piece("Sequence", "A", 1), piece("SpecialToken", "X", 0)],
    "pair": [piece("Sequence", "B", 0), piece("SpecialToken", "X", 1), piece("Sequence", "A", 1), SEP],
    "special_tokens": {"X": special("X", 2, 3, 4), "[SEP]": special("[SEP]", 3)},
}
VARIATIONS = {
    "uncased": {},
    "cased": {"normalizer": bert(lower=False)},
    "cased_no_accents": {"normalizer": bert(accents=True, lower=False), "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False}},
    "uncased_accents": {"normalizer": bert(accents=False)},
    "no_cleaning": {"normalizer": bert(clean=False, chinese=False), "decoder": None},
    "nfc": {"normalizer": {"type": "NFC"}, "post_processor": processing("BertProcessing")},
    "nfkc_lower": {"normalizer": sequence("normalizers", {"type": "NFKC"}, {"type": "Lowercase"}), "pre_tokenizer": {"type": "Whitespace"}},
    "nfd_no_marks": {
        "normalizer": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}),
        "pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"}),
    },
    "nfkd": {"normalizer": {"type": "NFKD"}, "pre_tokenizer": {"type": "WhitespaceSplit"}},
    "strip_replace": {
        "normalizer": sequence(
            "normalizers", {"type": "Strip", "strip_left": True, "strip_right": False},
            {"type": "Replace", "pattern": {"String": "e"}, "content": "ßt"},
            {"type": "Replace", "pattern": {"String": " t"}, "content": ""}, {"type": "Strip", "strip_left": True, "strip_right": True}),
        "post_processor": None,
    },
    "plain": {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None},
    "added": {"added_tokens": FLAGS},
    "added_cased": {"added_tokens": FLAGS, "normalizer": {"type": "NFC"}},
    "odd_template": {"post_processor": sequence("processors", ODD_TEMPLATE)},
    "roberta": {"added_tokens": FLAGS, "post_processor": processing("RobertaProcessing", trim_offsets=True, add_prefix_space=False)},
    "roberta_untrimmed": {"post_processor": processing("RobertaProcessing", trim_offsets=False, add_prefix_space=True)},
    "prefix_none": {"model": model(continuing_subword_prefix="")},
    "prefix_odd": {"model": model(continuing_subword_prefix="@é", vocab=vocabulary("@é")), "decoder": {"type": "WordPiece", "prefix": "@é", "cleanup": True}},
    "short_words": {"model": model(max_input_chars_per_word=3)},
}


def byte_tokens(encoding, texts):
    offsets = []
    for text in texts:
        at = [0]
        for c in text:
            at.append(at[-1] + len(c.encode()))
        offsets.append(at)
    rows = []
    for i, (a, b) in enumerate(encoding.offsets):
        inserted = encoding.special_tokens_mask[i]
        o = offsets[encoding.sequence_ids[i] or 0] if not inserted else None
        rows.append([encoding.ids[i], encoding.type_ids[i], o[a] if o else 0, o[b] if o else 0, inserted])
    return rows


def run(tok, text, pair, options):
    strategy, side, length, specials = options or ("none", "right", 0, True)
    tok.no_truncation()
    full = len(tok.encode(text, pair, add_special_tokens=specials))
    if strategy != "none":
        tok.enable_truncation(max_length=length, strategy=strategy, direction=side)
    try:
        encoding = tok.encode(text, pair, add_special_tokens=specials)
    except Exception:
        return [text, pair, options, None, full]
    return [text, pair, options, byte_tokens(encoding, [text] + ([pair] if pair is not None else [])), full]


def cases(tok, thorough):
    yield from (run(tok, t, None, None) for t in TEXTS)
    yield from (run(tok, a, b, None) for a, b in PAIRS)
    yield run(tok, *PAIRS[0], ("none", "right", 0, False))
    yield run(tok, TEXTS[4], None, ("none", "right", 0, False))
    for a, b in PAIRS if thorough else PAIRS[4:5]:
        for strategy in "longest_first", "only_first", "only_second":
            for side in "right", "left":
                for length in (5, 8, 9, 12) if thorough else (9,):
                    yield run(tok, a, b, (strategy, side, length, True))
            yield run(tok, a, b, (strategy, "right", 6, False))
    for side in "right", "left":
        for length in 4, 6:
            yield run(tok, TEXTS[4], None, ("longest_first", side, length, True))
            yield run(tok, TEXTS[4], None, ("only_first", side, length, False))


def goldens(tok, thorough):
    rows = list(cases(tok, thorough))
    decoded = []
    for text, pair, options, tokens, _ in rows:
        if options is None and tokens:
            ids = [t[0] for t in tokens]
            decoded += [[ids, skip, tok.decode(ids, skip_special_tokens=skip)] for skip in (False, True)]
    extra = [tok.token_to_id(t) for t in "don ' t . , ! ? the ' cat".split()]
    if None not in extra:
        decoded.append([extra, False, tok.decode(extra)])
    return {"cases": rows, "decoded": decoded}


def write(folder, name, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as f:
        f.write(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_vocab_txt(root):
    from transformers import BertTokenizer

    lines = SPECIAL + WORDS + sorted({c for c in "".join(TEXTS).lower() if c.isalnum()}) + list("!,.'[]")
    lines += ["cat", "trailing  ", "dos\r", "wide\u3000", "", "##" + "s", "##t", "last"]  # cat twice: the last line counts
    for name, config in {
        "vocab_txt": None,
        "vocab_txt_cased": {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False, "tokenizer_class": "BertTokenizer"},
        "vocab_txt_names": {"strip_accents": False, "cls_token": "hello", "sep_token": {"content": "world", "__type": "AddedToken"}, "mask_token": "foo"},
    }.items():
        folder = os.path.join(root, name)
        write(folder, "vocab.txt", "\n".join(lines) + ("\n" if config else ""))
        if config is not None:
            write(folder, "tokenizer_config.json", config)
        kwargs = {k: v["content"] if isinstance(v, dict) else v for k, v in (config or {}).items() if k != "tokenizer_class"}
        tok = BertTokenizer(vocab=os.path.join(folder, "vocab.txt"), **kwargs).backend_tokenizer
        write(folder, "goldens.json", goldens(tok, False))


def unicode_checksums():
    """For every 4096 scalar values, a CRC-32 of what each part makes of each of them."""
    parts = [
        normalizers.BertNormalizer(), normalizers.BertNormalizer(lowercase=False), normalizers.Lowercase(), normalizers.NFD(),
        normalizers.NFKD(), normalizers.NFC(), normalizers.NFKC(), normalizers.StripAccents(),
    ]
    words = [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit()]
    sums = []
    for start in range(0, 0x110000, 4096):
        crc = 0
        for cp in range(max(start, 1), start + 4096):
            if 0xD800 <= cp <= 0xDFFF:
                continue
            # marks of two classes behind, so that ordering and composition show as well
            text = "a%cb %c\u0327\u0301" % (cp, cp)
            out = [p.normalize_str(text) for p in parts] + [w for p in words for w, _ in p.pre_tokenize_str(text)]
            crc = zlib.crc32("\n".join(out).encode(), crc)
        sums.append(crc)
    return sums


def main():
    root = sys.argv[1]
    shutil.rmtree(root, ignore_errors=True)
    for name, changes in VARIATIONS.items():
        spec = {**copy.deepcopy(BASE), **changes}
        folder = os.path.join(root, name)
        write(folder, "tokenizer.json", spec)
        write(folder, "goldens.json", goldens(Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), name == "uncased"))
    write_vocab_txt(root)
    write(root, "unicode.json", unicode_checksums())


if __name__ == "__main__":
    main()
