#!/usr/bin/env python3
"""Byte-level BPE beside its peers, one thread each, the same texts, in one run.

    bench/compare_tokenize.py MODEL TEXTS.jsonl... [--program build/bench/tokenize_lines]

MODEL is a folder with a tokenizer.json; each line of TEXTS is a JSON string. Peers: Hugging Face
tokenizers and, where it is installed, tiktoken made from the same vocabulary (whose merges must be
in the order of their ids, as in Qwen2.5). Prints MB/s of CPU time, which other work on the machine
disturbs less than the clock, trine before and after its peers. Texts are cold at first; trine's
figure is over three rounds of them. Added tokens are plain text to tiktoken here.
"""
import argparse
import json
import os
import re
import subprocess
import time

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
from tokenizers import Tokenizer  # noqa: E402


def run_trine(program, model, path):
    done = subprocess.run([program, "--model", model, "--quiet", "--repeat", "3"], stdin=open(path, "rb"),
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return float(re.search(r"CPU time .*: ([0-9.]+) MB/s", done.stderr.decode())[1])


def run_peer(encode, texts):
    start = time.process_time()
    for text in texts:
        encode(text)
    return sum(len(t.encode()) for t in texts) / 1e6 / (time.process_time() - start)


def as_tiktoken(folder):
    try:
        import tiktoken
    except ImportError:
        return None
    spec = json.load(open(os.path.join(folder, "tokenizer.json"), encoding="utf-8"))
    # the byte-level alphabet: what prints stands for itself, the rest follows
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    byte_of = {chr(b): b for b in printing}
    byte_of.update({chr(256 + n): b for n, b in enumerate(b for b in range(256) if b not in printing)})
    ranks = {bytes(byte_of[c] for c in piece): i for piece, i in spec["model"]["vocab"].items()}
    pattern = next(p["pattern"]["Regex"] for p in spec["pre_tokenizer"]["pretokenizers"] if p["type"] == "Split")
    return tiktoken.Encoding("own", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--program", default="build/bench/tokenize_lines")
    args = parser.parse_args()
    hugging = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    tik = as_tiktoken(args.model)
    for path in args.texts:
        with open(path, encoding="utf-8") as f:
            texts = [json.loads(line) for line in f]
        first = run_trine(args.program, args.model, path)
        part = texts[: len(texts) // 8 + 1]  # it takes its time
        line = "tokenizers %.1f MB/s" % run_peer(lambda t: hugging.encode(t, add_special_tokens=False), part)
        if tik:
            line += ", tiktoken %.1f MB/s" % run_peer(tik.encode_ordinary, texts)
        again = run_trine(args.program, args.model, path)
        print("%s: trine %.1f and %.1f MB/s, %s" % (os.path.basename(path), first, again, line), flush=True)


if __name__ == "__main__":
    main()
