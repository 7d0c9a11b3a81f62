#!/usr/bin/env python3
"""What tokenizer_config.json and sentence_bert_config.json say of a model's tokenizer, seen from outside:
the ids of /tokenize, and which end of a text is cut.

    tests/http/test_tokenizer_config.py [PROGRAM]
"""

import json
import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

SOURCE = "bert-mean-st6"


def copy(folder, name, **keys):
    """A copy of SOURCE whose file `name` has these keys as well."""
    shutil.copytree(os.path.join(ROOT, DATA, SOURCE), folder)
    path = os.path.join(folder, name)
    config = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
    with open(path, "w", encoding="utf-8") as f:
        json.dump({**config, **keys}, f)
    return os.path.relpath(folder, os.path.join(ROOT, DATA))


def ids(s, model, text):
    return [t["id"] for t in s.post("/tokenize", {"inputs": text, "model": model}).json[0]]


def vector(s, model, text, **fields):
    a = s.post("/v1/embeddings", {"input": text, "model": model, "truncate": True, **fields})
    return a.json["data"][0]["embedding"] if a.status == 200 else a


def main(args):
    program = served.start(args)
    with tempfile.TemporaryDirectory() as scratch:
        models = {
            "plain": SOURCE,
            "cased": copy(os.path.join(scratch, "cased"), "tokenizer_config.json", do_lower_case=False),
            "lower": copy(os.path.join(scratch, "lower"), "sentence_bert_config.json", do_lower_case=True),
            "left": copy(os.path.join(scratch, "left"), "tokenizer_config.json", truncation_side="left"),
        }
        with Started(program, models) as s:
            check(ids(s, "plain", "The WATER") == ids(s, "plain", "the water"), "an uncased model")
            check(ids(s, "cased", "The WATER") != ids(s, "cased", "the water"), "do_lower_case false")
            check(ids(s, "cased", "the water") == ids(s, "plain", "the water"), "which changes nothing else")
            check(ids(s, "lower", "The WATER") == ids(s, "plain", "the water"), "sentence-transformers' own")
            text = "the water " * 400 + "land " * 400
            ends = {d: vector(s, "plain", text, truncation_direction=d) for d in ("left", "right")}
            check(ends["left"] != ends["right"], "the ends differ", ends)
            check(vector(s, "plain", text) == ends["right"], "the end is cut")
            check(vector(s, "left", text) == ends["left"], "truncation_side: the beginning is cut")
            check(vector(s, "left", text, truncation_direction="right") == ends["right"], "a request decides")
    return served.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
