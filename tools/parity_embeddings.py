#!/usr/bin/env python3
"""Compares `trine embed` and `trine rerank` with sentence-transformers and transformers (float32,
eager attention, on the CPU, one text at a time) on real weights.

    python3 tools/parity_embeddings.py MODEL_DIR... [PROGRAM] [--texts N] [--seed N]

PROGRAM is build/trine unless a file is named. An embedder gets 1,000 texts from a generator with a
fixed seed: every script that Unicode names, 1 to 5,000 words. A cross-encoder ranks such texts for
queries. Bars: 2e-6 on each component of normalised embeddings; 1e-4 on logits, and the reference's
order wherever its logits are further apart than that. Prints the worst cases and closes with
`N passed, N failed`.
"""
import argparse
import collections
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

import numpy as np
import torch

EMBEDDING_BAR = 2e-6
LOGIT_BAR = 1e-4
QUERIES = ["how many people live in the largest city of the world", "Wie hoch ist der K2?",
           "почему небо голубое", "東京の人口は", "ما هي عاصمة فرنسا", "naïve café déjà vu",
           "C++ undefined behaviour x86_64", "a", "best way to boil an egg; 3 minutes?", "🎉 party"]
WORDS = """the of and to in is was for that on as with by he it at from his are this be an which or had not
people city water house mother picture animal number river engine market language history winter garden
question answer computer science music doctor window morning evening quickly slowly never always because
don't it's U.S.A. 3.14 1,000,000 user@example.org http://example.com/a?b=c e-mail naïve café Zürich
""".split()
LINE_BREAKS = dict.fromkeys(map(ord, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")


def scripts():
    """Letters, marks and digits by the first word of their Unicode name: LATIN, CYRILLIC, CJK, ..."""
    found = collections.defaultdict(list)
    for cp in range(0x21, 0x110000):
        if unicodedata.category(chr(cp))[0] in "LMN":
            name = unicodedata.name(chr(cp), "")
            if name:
                found[name.split()[0]].append(chr(cp))
    return [found[name] for name in sorted(found) if len(found[name]) >= 10]


def make_text(r, script, words):
    out = []
    while len(out) < words:
        kind = r.random()
        if kind < 0.6:
            out.append("".join(r.choice(script) for _ in range(r.randint(1, 9))))
        elif kind < 0.9:
            out.append(r.choice(WORDS))
        elif kind < 0.97:
            out.append(r.choice(WORDS).capitalize() + r.choice(".,;:!?)]"))
        else:
            out.append(chr(r.randint(0x1F300, 0x1F64F)))
    return " ".join(out)


def make_texts(count, most, seed):
    r = random.Random(seed)
    all_scripts = scripts()
    texts = []
    for i in range(count):
        words = (1, most)[i] if i < 2 else round(math.exp(r.uniform(0, math.log(most))))
        texts.append(make_text(r, all_scripts[i % len(all_scripts)], words))
    return texts, len(all_scripts)


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit("%s: exit code %d: %s" % (command, done.returncode, done.stderr.decode()[-500:]))
    return done.stdout


def check_embedder(folder, program, args):
    from sentence_transformers import SentenceTransformer

    texts, script_count = make_texts(args.texts, 5000, args.seed)
    with tempfile.TemporaryDirectory() as temp:
        source, out = os.path.join(temp, "texts.jsonl"), os.path.join(temp, "out.f32")
        with open(source, "w", encoding="utf8") as f:
            f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
        run([program, "embed", "--model", folder, "--normalize", "yes", "-q", "-o", out, source])
        got = np.fromfile(out, dtype="<f4").reshape(len(texts), -1)
    st = SentenceTransformer(folder, device="cpu",
                             model_kwargs={"attn_implementation": "eager", "dtype": torch.float32})
    want = st.encode(texts, batch_size=1, normalize_embeddings=True)
    if got.shape != want.shape:
        print("%s: %s values, %s wanted" % (folder, got.shape, want.shape))
        return 0, len(texts)
    off = np.abs(got.astype(np.float64) - want).max(axis=1)
    off[~np.isfinite(off)] = np.inf
    bad = [i for i in np.argsort(-off) if not off[i] <= EMBEDDING_BAR]
    for i in bad[:10]:
        print("%s: text %d (%d words) is off by %.3g: %r" % (folder, i, len(texts[i].split()), off[i], texts[i][:80]))
    print("%s: %d texts of %d scripts, max abs %.3g (bar %g), worst cosine %.9f"
          % (folder, len(texts), script_count, off.max(), EMBEDDING_BAR, (got * want).sum(axis=1).min()))
    return len(texts) - len(bad), len(bad)


def reference_logits(model, tokenizer, query, documents, limit):
    logits = []
    for document in documents:
        pair = tokenizer([query], [document], truncation="only_second", max_length=limit, return_tensors="pt")
        with torch.no_grad():
            logits.append(model(**pair).logits[0, 0].item())
    return np.array(logits)


def check_reranker(folder, program, args):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    limit = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    texts, _ = make_texts(max(20, args.texts // 50) * len(QUERIES), 300, args.seed + 1)
    # a document is a line there
    texts = [t.translate(LINE_BREAKS) for t in texts]
    passed = failed = 0
    worst = 0.0
    for k, query in enumerate(QUERIES):
        documents = [query + " " + t if i % 3 == 0 else t for i, t in enumerate(texts[k::len(QUERIES)])]
        with tempfile.NamedTemporaryFile("w", encoding="utf8", suffix=".txt") as f:
            f.writelines(d + "\n" for d in documents)
            f.flush()
            lines = run([program, "rerank", "--model", folder, "--query", query, "--raw-scores", "-q", f.name])
        rows = [line.split("\t", 2) for line in lines.decode().split("\n")[:-1]]
        order = [int(row[1]) for row in rows]
        want = reference_logits(model, tokenizer, query, documents, limit)
        off = np.array([abs(float(row[0]) - want[int(row[1])]) for row in rows])
        worst = max(worst, off.max(initial=0))
        right = sorted(order) == list(range(len(documents)))
        near = right and bool((off <= LOGIT_BAR).all())
        ordered = right and all(want[a] >= want[b] - LOGIT_BAR for a, b in zip(order, order[1:]))
        for ok, what in ((right, "each document once"), (near, "logits"), (ordered, "order")):
            passed += ok
            failed += not ok
            if not ok:
                print("%s: query %r: wrong: %s" % (folder, query, what))
    print("%s: %d queries, %d pairs, logits off by at most %.3g (bar %g)" % (folder, len(QUERIES), len(texts), worst, LOGIT_BAR))
    return passed, failed


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("paths", nargs="+", help="model folders, and the program")
    p.add_argument("--texts", type=int, default=1000)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    program = ([x for x in args.paths if os.path.isfile(x)] or ["build/trine"])[-1]
    passed = failed = 0
    for folder in (x for x in args.paths if x != program):
        with open(os.path.join(folder, "config.json"), encoding="utf8") as f:
            architecture = (json.load(f).get("architectures") or [""])[0]
        check = check_reranker if architecture.endswith("ForSequenceClassification") else check_embedder
        good, bad = check(folder, program, args)
        passed += good
        failed += bad
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
