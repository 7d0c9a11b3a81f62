#!/usr/bin/env python3
"""Real weights against committed numbers of the reference libraries, and token ids against the
tokenizers package where it can be had. Standard library only, but for `tokenizers`.

    check_real.py TRINE EMBEDDER_DIR RERANKER_DIR GENERATOR_DIR
"""
import base64
import json
import math
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
passed = failed = skipped = 0


def check(ok, what):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAILED:", what, file=sys.stderr)


def run(args, stdin=""):
    p = subprocess.run(args, input=stdin.encode(), capture_output=True, timeout=600)
    if p.returncode:
        print(p.stderr.decode(errors="replace"), file=sys.stderr)
    return p.returncode, p.stdout.decode()


def floats(text):
    raw = base64.b64decode(text)
    return memoryview(raw).cast("f").tolist()


def check_vectors(trine, model):
    golden = json.load(open(f"{HERE}/minilm.json", encoding="utf-8"))
    lines = "".join(json.dumps({"text": t}) + "\n" for t in golden["texts"])
    rows = {}
    for threads in ("1", "2"):
        rc, out = run([trine, "embed", "--model", model, "--quiet", "--threads", threads,
                       "--input-format", "jsonl", "--field", "text", "-"], lines)
        check(rc == 0, f"trine embed --threads {threads}")
        rows[threads] = out
    check(rows["1"] == rows["2"], "the same bytes with one thread and with two")
    worst = 0.0
    got = [json.loads(line)["embedding"] for line in rows["2"].splitlines()]
    check(len(got) == len(golden["vectors"]), "a vector for every text")
    for vector, want in zip(got, golden["vectors"]):
        want = floats(want)
        diffs = [abs(a - b) for a, b in zip(vector, want)]
        worst = max([worst, *diffs])
        # 2e-6: ten times the reference's own noise between its kernels (docs/models.md)
        check(len(vector) == len(want) and all(d <= 2e-6 for d in diffs),  # a NaN fails too
              f"max abs difference {max(diffs, default=math.nan):.2e}")
    print(f"vectors: worst max abs difference {worst:.2e}", file=sys.stderr)


def check_logits(trine, model):
    golden = json.load(open(f"{HERE}/reranker.json", encoding="utf-8"))
    lines = "".join(d.replace("\n", " ") + "\n" for d in golden["documents"])
    rc, out = run([trine, "rerank", "--model", model, "--query", golden["query"], "--raw-scores", "--json"], lines)
    check(rc == 0, "trine rerank")
    results = json.loads(out)
    results = results.get("results", results) if isinstance(results, dict) else results
    scores = {r["index"]: r.get("relevance_score", r.get("score")) for r in results}
    worst = 0.0
    for i, want in enumerate(golden["logits"]):
        worst = max(worst, abs(scores.get(i, math.inf) - want))
        check(abs(scores.get(i, math.inf) - want) <= 1e-4, f"logit of document {i}")
    order = [r["index"] for r in results]
    logits = golden["logits"]
    check(all(logits[a] >= logits[b] - 1e-4 for a, b in zip(order, order[1:])), "the same order")
    print(f"logits: worst difference {worst:.2e}", file=sys.stderr)


def check_tokens(trine, model):
    global skipped
    try:
        from tokenizers import Tokenizer
    except ImportError:
        skipped += 1
        print("skipped: the tokenizers package is not there", file=sys.stderr)
        return
    rng = random.Random(11)
    ranges = [(0x20, 0x7f), (0xa0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xe80), (0x1e00, 0x2100),
              (0x2190, 0x2c00), (0x3000, 0x3100), (0x4e00, 0x9fff), (0xac00, 0xd7a4), (0x1f300, 0x1fb00)]
    texts = []
    for _ in range(8000):
        words = []
        for _ in range(rng.randint(1, 12)):
            low, high = rng.choice(ranges)
            words.append("".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 9))))
        texts.append(rng.choice(["", " ", "\n"]).join(words) if rng.random() < .1 else " ".join(words))
    reference = Tokenizer.from_file(f"{model}/tokenizer.json")
    reference.no_padding()
    reference.no_truncation()
    rc, out = run([trine, "tokenize", "--model", model, "--ids", "--jsonl"],
                  "".join(json.dumps(t) + "\n" for t in texts))
    check(rc == 0, "trine tokenize")
    got = out.splitlines()
    check(len(got) == len(texts), "a line for every text")
    wrong = 0
    for encoding, line in zip(reference.encode_batch(texts), got):
        if encoding.ids != [int(x) for x in line.split()]:
            wrong += 1
    check(wrong == 0, f"{wrong} of {len(texts)} lines have other token ids")


def check_text(trine, folder):
    """Greedy text at f32 is the reference's, and in the default precision it is the same whatever
    computes it: threads, drafts."""
    global skipped
    if not any(name.endswith(".gguf") for name in os.listdir(folder)):
        skipped += 1  # the hub's folder has other weights than the package's file
        print(f"skipped: {folder} is not the file that the numbers are of", file=sys.stderr)
        return
    for case in json.load(open(f"{HERE}/smollm2.json", encoding="utf-8")):
        common = [trine, "generate", "--model", folder, "--quiet", "-t", "0", "-n", str(len(case["ids"]))]
        rc, out = run([trine, "tokenize", "--model", folder, "--ids", case["prompt"]])
        check(rc == 0 and [int(x) for x in out.split()] == case["prompt_ids"], f"ids of {case['prompt']!r}")
        rc, out = run([*common, "--dtype", "f32", "--kv-dtype", "f32", case["prompt"]])
        check(rc == 0 and out == case["text"],
              f"greedy text: {out!r} where {case['text']!r} was expected")
    same = {run([*common, *more, case["prompt"]]) for more in (["--threads", "1"], ["--threads", "2"],
                                                              ["--no-speculation"])}
    check(len(same) == 1, "the same text with one thread, with two and without drafts")


trine_path, embedder, reranker, generator = sys.argv[1:5]
check_vectors(trine_path, embedder)
check_logits(trine_path, reranker)
check_tokens(trine_path, embedder)
check_text(trine_path, generator)
tail = f", {skipped} skipped" if skipped else ""
print(f"{passed} passed, {failed} failed{tail}")
sys.exit(1 if failed or not passed else 0)
