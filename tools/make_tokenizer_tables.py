#!/usr/bin/env python3
"""Writes tokenizer/unicode_tables.c: how the Hugging Face tokenizers library sees each code point.

The library's own tables of control, punctuation, mark and lowercase characters come from several
Unicode versions, so none of them can be taken from one Unicode library. They are read off its
behaviour: every scalar value is given to the part that uses the property. Canonical and
compatibility data agree with utf8proc except for characters that the library does not know yet,
which it leaves alone; those are listed, and anything else that disagrees stops this script.

    python3 tools/make_tokenizer_tables.py > tokenizer/unicode_tables.c     (needs: tokenizers)
"""
import ctypes
import ctypes.util
import sys

import tokenizers
from tokenizers import normalizers, pre_tokenizers

BLOCK = 128
WHITESPACE, REMOVED, PUNCTUATION, NONSPACING, MARK, WORD, DECOMPOSES, LOWERS = (1 << i for i in range(8))

utf8proc = ctypes.CDLL(ctypes.util.find_library("utf8proc"))


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


utf8proc.utf8proc_get_property.restype = ctypes.POINTER(Property)
OPTION_STABLE, OPTION_COMPAT, OPTION_DECOMPOSE = 1 << 1, 1 << 2, 1 << 4


def proc_decompose(cp, options):
    out, last = (ctypes.c_int32 * 32)(), ctypes.c_int(0)
    n = utf8proc.utf8proc_decompose_char(cp, out, 32, options | OPTION_DECOMPOSE, ctypes.byref(last))
    assert 0 < n <= 32
    return "".join(map(chr, out[:n]))


def scalars():
    for cp in range(0x110000):
        if not 0xD800 <= cp <= 0xDFFF:
            yield cp, chr(cp)


def class_of(cp):
    return utf8proc.utf8proc_get_property(cp).contents.combining_class


def find_unknown(nfd, nfkd):
    """Code points that utf8proc decomposes or orders and the library does not."""
    unknown = []
    witness = {}  # one mark of each combining class, from blocks that are old
    for cp in list(range(0x300, 0x3100)) + list(range(0x1D165, 0x1D173)) + [0xFB1E]:
        if class_of(cp) and nfd(chr(cp)) == chr(cp) and nfd("a\u0345" + chr(cp)) != "a\u0345" + chr(cp):
            witness.setdefault(class_of(cp), chr(cp))
    for cp, ch in scalars():
        ccc = class_of(cp)
        forms = nfd(ch), nfkd(ch)
        proc = proc_decompose(cp, OPTION_STABLE), proc_decompose(cp, OPTION_STABLE | OPTION_COMPAT)
        moves = ccc and any(nfd(pair) != pair for w in witness.values() for pair in ("a" + w + ch, "a" + ch + w))
        if forms == proc and (not ccc or moves):
            for r, w in witness.items() if moves and forms[0] == ch else ():
                if w == ch:
                    continue
                assert (nfd("a" + w + ch) == "a" + ch + w) == (ccc < r), (hex(cp), r)
                assert (nfd("a" + ch + w) == "a" + w + ch) == (r < ccc), (hex(cp), r)
            if not ccc and forms[0] == ch:
                probe = "a\u0345" + ch
                assert nfd(probe) == "a\u0345" + nfd(ch), hex(cp)
            continue
        assert forms == (ch, ch) and not moves, (hex(cp), forms, proc)
        unknown.append(cp)
    return unknown


def flags_of(cp, ch, nfd, unknown):
    flags = 0
    text = "a" + ch + "b"
    if len(BY_SPACE.pre_tokenize_str(text)) == 2:
        flags |= WHITESPACE
    cleaned = CLEAN.normalize_str(text)
    if cleaned == "ab":
        flags |= REMOVED
    else:
        assert cleaned == ("a b" if flags & WHITESPACE else text), hex(cp)
    if len(BERT.pre_tokenize_str(text)) == 3:
        flags |= PUNCTUATION
    decomposed = nfd(ch)
    if decomposed == ch and ACCENTS.normalize_str(ch) == "":
        flags |= NONSPACING
    if MARKS.normalize_str(ch) == "":
        flags |= MARK
    if not flags & WHITESPACE and len(WORDS.pre_tokenize_str(text)) == 1:
        flags |= WORD
    if decomposed != ch or (class_of(cp) and cp not in unknown):
        flags |= DECOMPOSES
    if LOWER.normalize_str(ch) != ch:
        flags |= LOWERS
    return flags


def ranges(numbers):
    out = []
    for n in numbers:
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out


def lower_runs():
    """(first, last, step, delta) for one-to-one mappings, and the mappings that give more."""
    runs, longer = [], []
    for cp, ch in scalars():
        low = LOWER.normalize_str(ch)
        if low == ch:
            continue
        if len(low) > 1:
            longer.append((cp, low))
            continue
        delta = ord(low) - cp
        if runs and runs[-1][3] == delta and cp - runs[-1][1] in (1, 2):
            step = cp - runs[-1][1]
            if runs[-1][2] in (0, step):
                runs[-1][1], runs[-1][2] = cp, step
                continue
        runs.append([cp, cp, 0, delta])
    return runs, longer


def print_rows(values, width=96):
    line = "   "
    for v in values:
        if len(line) + len(v) + 2 > width:
            print(line)
            line = "   "
        line += " " + v + ","
    print(line)


CLEAN = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
ACCENTS = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
MARKS = normalizers.StripAccents()
LOWER = normalizers.Lowercase()
BY_SPACE = pre_tokenizers.WhitespaceSplit()
BERT = pre_tokenizers.BertPreTokenizer()
WORDS = pre_tokenizers.Whitespace()


def main():
    nfd, nfkd = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
    unknown = find_unknown(nfd, nfkd)
    unknown_set = set(unknown)
    flags = bytearray(0x110000)
    for cp, ch in scalars():
        flags[cp] = flags_of(cp, ch, nfd, unknown_set)
    blocks, index = {}, []
    for at in range(0, 0x110000, BLOCK):
        index.append(blocks.setdefault(bytes(flags[at : at + BLOCK]), len(blocks)))
    assert len(blocks) <= 256
    runs, longer = lower_runs()
    assert longer == [(0x130, "i\u0307")], longer  # U+0130 alone; unicode.c spells it out

    print("// Generated by tools/make_tokenizer_tables.py from the behaviour of tokenizers %s" % tokenizers.__version__)
    print("// (Hugging Face). Do not edit.")
    print('#include "tokenizer/unicode.h"\n\n// clang-format off')
    print("const uint8_t unicode_block[%d] = {" % len(index))
    print_rows([str(i) for i in index])
    print("};\n\nconst uint8_t unicode_flag_blocks[%d][UNICODE_BLOCK] = {" % len(blocks))
    for block in blocks:
        print("{")
        print_rows([str(b) for b in block])
        print("},")
    print("};\n\nconst struct unicode_lower_run unicode_lower_runs[] = {")
    print_rows(["{0x%X, 0x%X, %d, %d}" % (a, b, step or 1, delta) for a, b, step, delta in runs])
    print("};\nconst size_t unicode_lower_run_count = %d;\n" % len(runs))
    print("const struct unicode_range unicode_unknown[] = {")
    print_rows(["{0x%X, 0x%X}" % (a, b) for a, b in ranges(unknown)])
    print("};\nconst size_t unicode_unknown_count = %d;" % len(ranges(unknown)))
    print("// clang-format on")
    print("%d blocks, %d lower runs, %d unknown code points" % (len(blocks), len(runs), len(unknown)), file=sys.stderr)


if __name__ == "__main__":
    main()
