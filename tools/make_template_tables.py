#!/usr/bin/env python3
"""Writes template/unicode_tables.c: what Python's str.upper, lower, title and repr know of Unicode,
asked of the Python that runs this.

    python3 tools/make_template_tables.py > template/unicode_tables.c     (Python 3.11: Unicode 14)
"""
import sys
import unicodedata

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(test):
    out = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or not test(chr(c)):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def mapping(convert, default):
    """Single characters as runs (first, last, step, delta), the others one by one."""
    runs, special = [], []
    for c in ALL:
        to = convert(chr(c))
        if to == default(chr(c)):
            continue
        if len(to) > 1:
            special.append((c, [ord(x) for x in to]))
            continue
        delta = ord(to) - c
        if runs:
            first, last, step, d = runs[-1]
            if d == delta and (c - last == step or (first == last and c - last in (1, 2))):
                runs[-1] = (first, c, c - last, d)
                continue
        runs.append((c, c, 1, delta))
    return runs, special


def write_ranges(name, rows):
    print(f"const struct template_unicode_range {name}[] = {{")
    line = "   "
    for first, last in rows:
        item = f" {{0x{first:x}, 0x{last:x}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
    print(f"const size_t {name}_count = sizeof {name} / sizeof {name}[0];\n")


def write_mapping(name, runs, special):
    print(f"const struct template_unicode_run {name}_runs[] = {{")
    line = "   "
    for first, last, step, delta in runs:
        item = f" {{0x{first:x}, 0x{last:x}, {step}, {delta}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
    print(f"const size_t {name}_runs_count = sizeof {name}_runs / sizeof {name}_runs[0];\n")
    print(f"const struct template_unicode_special {name}_specials[] = {{")
    line = "   "
    for c, to in special:
        item = f" {{0x{c:x}, {{{', '.join(f'0x{x:x}' for x in to)}}}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
    print(f"const size_t {name}_specials_count =\n    sizeof {name}_specials / sizeof {name}_specials[0];\n")


def main():
    print(f"// Written by tools/make_template_tables.py from Python {sys.version_info[0]}.{sys.version_info[1]}"
          f" (Unicode {unicodedata.unidata_version}). Do not edit.")
    print('#include "template/unicode_tables.h"\n')
    write_ranges("template_unprintable", ranges(lambda c: not c.isprintable()))
    # str.lower's rule for the last sigma of a word shows which characters are cased or ignorable
    ignorable = ranges(lambda c: ("A" + c + "\u03a3").lower().endswith("\u03c2")
                       and not ("." + c + "\u03a3").lower().endswith("\u03c2"))
    # and str.title lowers a letter behind a cased one
    write_ranges("template_cased", ranges(lambda c: (c + "a").title().endswith("a")))
    write_ranges("template_case_ignorable", ignorable)
    write_mapping("template_upper", *mapping(str.upper, lambda c: c))
    write_mapping("template_lower", *mapping(lambda c: c.lower() if c != "\u03a3" else "\u03c3", lambda c: c))
    write_mapping("template_title", *mapping(str.title, str.upper))


main()
