#!/usr/bin/env python3
"""Random GBNF grammars against llama.cpp's reader of them.

For each grammar (made up, or a file given at the end): texts drawn under the masks, those texts with
bytes changed, and random texts must be whole, a beginning or wrong to both. What one refuses to
compile the other must refuse too (but for the left recursion, sizes and impossible rules that
llama.cpp does not look for).

usage: parity_gbnf.py test-gbnf-validator build/bench/grammar_walk TOKENIZER_JSON [GRAMMARS [SEED [FILE...]]]

test-gbnf-validator is a test program of llama.cpp's own.
"""
import collections
import json
import os
import random
import subprocess
import sys
import tempfile

from parity_grammar import Driver, write_vocabulary

LETTERS = "abcxyz019 -,é日😀\"\n"
LITERALS = ['a', 'ab', 'xyz', '0', ', ', 'é', '日本', '😀', '\\n', '\\"', '\\\\', '\\x41', '\\u00e9', '-', '(', ')']
CLASSES = ['[a-c]', '[^a-c]', '[0-9]', '[a-zA-Z_]', '[^"\\n]', '[éü日]', '[ぁ-ゟ]', '[-a]', '[\\]x]', '[a\\-c]', '.',
           '[\\x30-\\x39]', '[\\t\\n ]', '[😀-😎]']
COUNTS = ['*', '+', '?', '{2}', '{1,3}', '{0,2}', '{2,}', '{0}', '{3,3}']


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def item(self, depth, rules):
        r = self.rng
        kind = r.random()
        if kind < 0.4:
            s = '"' + "".join(r.choice(LITERALS) for _ in range(r.randrange(1, 3))) + '"'
        elif kind < 0.65:
            s = r.choice(CLASSES)
        elif kind < 0.8 and rules:
            s = r.choice(rules)
        elif depth > 0:
            s = "(" + r.choice([" ", "\n  ", ""]) + self.alternatives(depth - 1, rules) + r.choice([" ", "\n"]) + ")"
        else:
            s = '"z"'
        return s + (r.choice(COUNTS) if r.random() < 0.3 else "")

    def alternatives(self, depth, rules):
        r = self.rng
        parts = [" ".join(self.item(depth, rules) for _ in range(r.randrange(1, 4))) for _ in range(r.randrange(1, 4))]
        return " | ".join(parts)

    def grammar(self):
        """Each rule calls later ones; some call themselves behind something that is not empty."""
        r = self.rng
        names = ["root"] + r.sample(["item", "my-rule", "r2", "value", "ws"], r.randrange(0, 5))
        lines = []
        for i, name in enumerate(names):
            body = self.alternatives(2, names[i + 1:])
            if r.random() < 0.25:
                body += f' | "(" {name} ")"'
            lines.append(f"{name} ::= {body}{r.choice(['', ' # words', ' '])}")
        head, rest = lines[0], lines[1:]
        r.shuffle(rest)
        return r.choice(["\n", "\n\n", "\r\n"]).join([head, *rest]) + r.choice(["", "\n"])


def changed(rng, text):
    if not text or rng.random() < 0.2:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randrange(0, 6)))
    at = rng.randrange(len(text))
    return rng.choice([text[:at], text[:at] + rng.choice(LETTERS) + text[at + 1:], text[:at] + text[at + 1:],
                       text + rng.choice(LETTERS), text[:at] + rng.choice(LETTERS) + text[at:]])


def theirs(validator, folder, grammar, text):
    paths = [os.path.join(folder, n) for n in ("grammar", "text")]
    for path, content in zip(paths, (grammar, text)):
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(content)
    p = subprocess.run([validator, *paths], capture_output=True, timeout=60)
    out = p.stdout.decode("utf-8", "replace")
    if p.returncode or "Failed to initialize" in out:
        return "refused"
    return "yes" if "is valid" in out else "partial" if "Unexpected end" in out else "no"


def check(rng, driver, validator, folder, grammar, counts):
    answer = driver.ask("G " + json.dumps(grammar, ensure_ascii=False))
    counts["grammars"] += 1
    if answer.startswith("error"):
        counts["refused"] += 1
        own = any(w in answer for w in ("left-recursive", "no text can", "too large", "over"))
        return own or theirs(validator, folder, grammar, "") == "refused" or answer
    texts = []
    for _ in range(3):
        how, _, quoted = driver.ask(f"W {rng.randrange(1 << 31)} 24").partition(" ")
        if how not in ("end", "cut"):
            return f"{how}: {quoted}"
        text = json.loads(quoted)
        if "\ufffd" not in text and "\r" not in text and "\0" not in text:
            texts.append(text)
    texts += [changed(rng, rng.choice(texts or [""])) for _ in range(5)]
    for text in texts:
        ours = driver.ask("A " + json.dumps(text))
        other = theirs(validator, folder, grammar, text)
        counts[f"texts {ours}"] += 1
        if ours != other:
            return f"{text!r}: {ours} here, {other} there"
    return True


def main():
    validator, program, tokenizer_json = sys.argv[1:4]
    n = int(sys.argv[4]) if len(sys.argv) > 4 else 300
    rng = random.Random(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    counts, bad = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vocabulary")
        write_vocabulary(tokenizer_json, path)
        driver = Driver(program, path)
        grammars = [open(f, encoding="utf-8").read() for f in sys.argv[6:]]
        for grammar in grammars + [Maker(rng).grammar() for _ in range(n)]:
            result = check(rng, driver, validator, folder, grammar, counts)
            if result is not True:
                bad += 1
                print(f"WRONG: {result}\n{grammar}\n")
    for k in sorted(counts):
        print(f"{counts[k]:8} {k}")
    print("wrong:", bad)
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
