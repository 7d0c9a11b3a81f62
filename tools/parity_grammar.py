#!/usr/bin/env python3
"""Random JSON schemas against python's jsonschema.

For each schema: texts drawn at random under the masks must parse (no duplicate key) and validate
when they end, those under a limit of tokens must end within it (but for far ones, where the shortest
text is longer by the budget's upper bound), and instances made for the schema, printed as json.dumps does, must be accepted; what
jsonschema refuses must be refused. Needs the jsonschema package.

usage: parity_grammar.py build/bench/grammar_walk TOKENIZER_JSON [SCHEMAS [SEED]]
"""
import collections
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import jsonschema


def byte_level_alphabet():
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    other = [b for b in range(256) if b not in kept]
    return {**{chr(b): b for b in kept}, **{chr(256 + i): b for i, b in enumerate(other)}}


def write_vocabulary(tokenizer_json, path):
    """The file that bench/vocab_file.h reads, of a byte-level BPE tokenizer.json."""
    with open(tokenizer_json, encoding="utf-8") as f:
        tokenizer = json.load(f)
    alphabet = byte_level_alphabet()
    vocab, added = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    tokens = [b""] * (max([*vocab.values(), *(a["id"] for a in added)]) + 1)
    for piece, i in vocab.items():
        tokens[i] = bytes(alphabet[c] for c in piece if c in alphabet)
    for a in added:
        tokens[a["id"]] = b"" if a["special"] else a["content"].encode()
    ends = [a["id"] for a in added if a["content"] in ("<|im_end|>", "<|endoftext|>")]
    with open(path, "wb") as f:
        f.write(struct.pack(f"<II{len(ends)}I", len(tokens), len(ends), *ends))
        for t in tokens:
            f.write(struct.pack("<H", len(t)) + t)


NAMES = ["a", "b", "name", "näme", 'quo"te', "x/y", "a b", "age", "ids", "\u65e5\u672c", "", "back\\"]
TEXTS = ["", "a", "abc", "Zürich", 'say "hi"', "tab\t", "\U0001f600", "1", "null", "line\nbreak"]
BOUNDS = [0, 1, -1, 9, 10, 99, 100, 101, -10, -99, 12345, 2**31, 2**53 + 1, -(2**63), 2**64, 10**25]


class Maker:
    """Random schemas and instances of them. An instance may fail to validate: jsonschema judges."""

    def __init__(self, rng):
        self.rng = rng

    def schema(self, depth, refs):
        r = self.rng
        kinds = ["string", "integer", "number", "boolean", "null", "const", "enum", "types"]
        if depth > 0:
            kinds += ["object"] * 4 + ["array"] * 3 + ["anyOf", "any"] + (["ref"] if refs else [])
        kind = r.choice(kinds)
        s = getattr(self, "make_" + kind, lambda d, f: {"type": kind})(depth, refs)
        if isinstance(s, dict) and r.random() < 0.1:
            s["description"] = "text"
        return s

    def make_string(self, depth, refs):
        s = {"type": "string"}
        if self.rng.random() < 0.6:
            s["minLength"] = self.rng.randrange(4)
        if self.rng.random() < 0.6:
            s["maxLength"] = s.get("minLength", 0) + self.rng.randrange(8)
        return s

    def make_integer(self, depth, refs):
        s = {"type": "integer"}
        lo, hi = sorted(self.rng.choice(BOUNDS) + self.rng.randrange(-3, 4) for _ in range(2))
        if self.rng.random() < 0.7:
            s["minimum"] = lo
        if self.rng.random() < 0.7:
            s["maximum"] = hi
        return s

    def make_const(self, depth, refs):
        return {"const": self.value(2, NAMES)}

    def make_enum(self, depth, refs):
        return {"enum": [self.value(1, NAMES) for _ in range(self.rng.randrange(1, 6))]}

    def make_types(self, depth, refs):
        names = ["string", "integer", "number", "boolean", "null", "array", "object"]
        return {"type": self.rng.sample(names, self.rng.randrange(1, 4))}

    def make_any(self, depth, refs):
        return self.rng.choice([True, {}])

    def make_ref(self, depth, refs):
        return {"$ref": self.rng.choice(refs)}

    def make_anyOf(self, depth, refs):
        return {"anyOf": [self.schema(depth - 1, refs) for _ in range(self.rng.randrange(1, 4))]}

    def make_array(self, depth, refs):
        r, s = self.rng, {"type": "array"}
        if r.random() < 0.8:
            s["items"] = self.schema(depth - 1, refs) if r.random() < 0.9 else False
        if r.random() < 0.3:
            s["prefixItems"] = [self.schema(depth - 1, refs) for _ in range(r.randrange(1, 4))]
        if r.random() < 0.4:
            s["minItems"] = r.randrange(4)
        if r.random() < 0.5:
            s["maxItems"] = s.get("minItems", 0) + r.randrange(4)
        return s

    def make_object(self, depth, refs):
        r, s = self.rng, {"type": "object"}
        names = r.sample(NAMES, r.randrange(0, 6))
        if names or r.random() < 0.5:
            s["properties"] = {n: self.schema(depth - 1, refs) for n in names}
        if r.random() < 0.6:
            s["required"] = r.sample(names, r.randrange(len(names) + 1))
            if r.random() < 0.1:
                s["required"].append("other")
        if r.random() < 0.5:
            s["additionalProperties"] = r.choice([True, False, self.schema(depth - 1, refs)])
        return s

    def root(self):
        s = self.schema(4, ["#", "#/$defs/x", "#/$defs/y"])
        if isinstance(s, dict) and "$ref" not in s:
            s["$defs"] = {n: self.schema(2, ["#/$defs/x", "#/$defs/y"]) for n in "xy"}
            return s
        return {"type": "integer"}

    def value(self, depth, names=("a", "b b", "n\u00e4me", "\u65e5\u672c")):
        """Any value; keys that no schema names are never empty and have no escapes (json_rules.h)."""
        r = self.rng
        kind = r.randrange(8 if depth > 0 else 6)
        if kind < 2:
            return r.choice(TEXTS)
        if kind < 4:
            return r.choice([0, 1, 1.0, -1.5, 2**60 + 1, 100, 1e5 if names is NAMES else 0.5, r.randrange(100)])
        if kind < 6:
            return r.choice([True, False, None])
        if kind == 6:
            return [self.value(depth - 1, names) for _ in range(r.randrange(3))]
        return {n: self.value(depth - 1, names) for n in r.sample(names, r.randrange(3))}

    def instance(self, s, root, depth):
        r = self.rng
        if depth > 12 or s is False or s is True or s is None:
            return self.value(1)
        if "$ref" in s:
            target = root
            for step in s["$ref"].split("/")[1:]:
                target = target[step]
            return self.instance(target, root, depth + 1)
        if "const" in s:
            return s["const"]
        if "enum" in s:
            return r.choice(s["enum"])
        if "anyOf" in s:
            return self.instance(r.choice(s["anyOf"]), root, depth + 1)
        t = s.get("type")
        if isinstance(t, list):
            t = r.choice(t)
        if t == "string":
            return "".join(r.choice("ab\u00e9\u65e5\U0001f600\"\\\n")
                           for _ in range(r.randrange(s.get("minLength", 0), s.get("maxLength", 9) + 1)))
        if t == "integer":
            # an end that is not given is 18 digits or more away
            lo = s.get("minimum", min(-999, s.get("maximum", 0)))
            return r.choice([lo, s.get("maximum", max(lo, 999)), r.randint(lo, s.get("maximum", max(lo, 999)))])
        if t == "number":
            return r.choice([0, 1.5, -2, 3.25, 1e-5])
        if t == "array":
            prefix = s.get("prefixItems", [])
            n = r.randrange(s.get("minItems", 0), s.get("maxItems", s.get("minItems", 0) + 3) + 1)
            if "prefixItems" in s and "items" not in s:
                n = min(n, max(len(prefix), s.get("minItems", 0)))
            return [self.instance(prefix[i] if i < len(prefix) else s.get("items", True), root, depth + 1)
                    for i in range(n)]
        if t == "object":
            out = {}
            for n, p in s.get("properties", {}).items():
                if n in s.get("required", []) or r.random() < 0.5:
                    out[n] = self.instance(p, root, depth + 1)
            for n in s.get("required", []):
                if n not in out:
                    out[n] = self.instance(s.get("additionalProperties", True), root, depth + 1)
            extra = s.get("additionalProperties", "properties" not in s)
            if extra is not False and r.random() < 0.5:
                out["extra"] = self.instance(extra, root, depth + 1)
            return out
        return {"boolean": True, "null": None}.get(t, 5)


class Duplicate(Exception):
    pass


def no_duplicates(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise Duplicate(str(pairs)[:200])
    return dict(pairs)


class Driver:
    def __init__(self, program, vocabulary):
        self.p = subprocess.Popen([program, vocabulary], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, encoding="utf-8",
                                  errors="replace")  # a text that was cut may end in half a letter

    def ask(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().rstrip("\n")


def fits(validator, value):
    try:
        return validator.is_valid(value)
    except RecursionError:
        return None


def check_schema(rng, driver, make, counts):
    schema = make.root()
    text = json.dumps(schema)
    answer = driver.ask("S " + text)
    counts["schemas"] += 1
    if answer.startswith("error"):
        counts["refused: " + " ".join(answer.split()[1:2])] += 1
        return "no value satisfies" in answer or "no integer" in answer or answer
    validator = jsonschema.Draft202012Validator(schema)
    for command in "WWWWLLLL":
        tokens = 300 if command == "W" else rng.randrange(1, 200)
        how, _, quoted = driver.ask(f"{command} {rng.randrange(1 << 31)} {tokens}").partition(" ")
        counts[f"walks {'led ' if command == 'L' else ''}{how}"] += 1
        if how not in ("end", "cut" if command == "W" else "far"):
            return f"{how}: {quoted} for {text}"
        if how == "end":
            written = json.loads(quoted)
            value = json.loads(written, object_pairs_hook=no_duplicates)
            if fits(validator, value) is False:
                return f"does not validate: {written!r} for {text}"
    for _ in range(4):
        value = make.instance(schema, schema, 0)
        valid = fits(validator, value)
        if valid is None:
            continue
        written = json.dumps(value, ensure_ascii=False)
        got = driver.ask("A " + json.dumps(written))
        counts[f"instances {'valid' if valid else 'invalid'} {got}"] += 1
        if got == "differ" or (not valid and got == "yes"):
            return f"accepted: {written!r} for {text}"
        if valid and got != "yes":
            counts["valid but not taken"] += 1
            print("not taken:", got, written, text)
    return True


def main():
    program, tokenizer_json = sys.argv[1:3]
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "vocabulary")
        write_vocabulary(tokenizer_json, path)
        driver = Driver(program, path)
        counts = collections.Counter()
        bad = 0
        for _ in range(n):
            result = check_schema(rng, driver, Maker(rng), counts)
            if result is not True:
                bad += 1
                print("WRONG:", result)
    for k in sorted(counts):
        print(f"{counts[k]:8} {k}")
    print("wrong:", bad)
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
