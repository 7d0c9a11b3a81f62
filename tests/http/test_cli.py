#!/usr/bin/env python3
"""The command line on the tiny models of tests/golden/data: goldens, formats, faults.

    tests/http/test_cli.py [-v] [PROGRAM]      default: build/trine; -v: the time of each test

Closing line: "N passed, N failed"; the exit code tells the truth.
"""

import base64
import json
import math
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import ROOT, check, skip  # noqa: E402

DATA = os.path.join(ROOT, "tests", "golden", "data")
EMBED = os.path.join(DATA, "bert-mean-st6")
RERANK = os.path.join(DATA, "bert-cross-encoder")
WAIT_S = 120  # for what comes in milliseconds, under a sanitizer on a busy machine too

program = os.path.join(ROOT, "build", "trine")


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRINE_")}
    env.pop("OPENBLAS_CORETYPE", None)
    env.update(more)
    return env


def run(*args, stdin=b"", env=None, **more):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([program, *args], input=stdin, capture_output=True, timeout=WAIT_S,
                          env=environment(**(env or {})), **more)


def one_line(p, *words):
    """stderr is one line that holds the words."""
    text = p.stderr.decode(errors="replace")
    return text.count("\n") == 1 and all(w in text for w in words)


def golden(model):
    with open(os.path.join(DATA, model, "golden.json"), encoding="utf-8") as f:
        return json.load(f)


def floats(values):
    """A golden's vector: a list, or base64 of little-endian f32."""
    if isinstance(values, str):
        raw = base64.b64decode(values)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return values


def rows_of(out):
    return [json.loads(line) for line in out.decode().splitlines()]


def read_npy(path):
    with open(path, "rb") as f:
        raw = f.read()
    assert raw[:8] == b"\x93NUMPY\x01\x00"
    size = struct.unpack("<H", raw[8:10])[0]
    head = eval(raw[10:10 + size].decode("latin-1"), {"__builtins__": {}})
    assert head["descr"] == "<f4" and head["fortran_order"] is False and (10 + size) % 64 == 0
    return head["shape"], raw[10 + size:]


def texts(n):
    return [f"text number {i} of the water and the land {'the world ' * (i % 7)}" for i in range(n)]


# --- usage ---

def test_usage():
    for command in ("serve", "embed", "rerank", "tokenize", "inspect", "bench"):
        p = run(command, "--help")
        check(p.returncode == 0 and b"\nExample:\n  trine " in p.stdout and not p.stderr, command)
        p = run(command, "--no-such-option")
        check(p.returncode == 2 and one_line(p, "--no-such-option") and not p.stdout, command)
    p = run("--version")
    check(p.returncode == 0 and p.stdout.startswith(b"trine ") and b"kernels" in p.stdout, "version")
    check(run("--help").returncode == 0, "help")
    p = run()
    check(p.returncode == 2 and not p.stdout, "no command")
    p = run("emebd")
    check(p.returncode == 2 and one_line(p, "emebd"), "unknown command")
    p = run("embed", "--model", "no/such-model")
    check(p.returncode == 1 and one_line(p, "no/such-model"), "unknown model", p.stderr)
    p = run("embed", "--model", EMBED, "/no/such/file")
    check(p.returncode == 1 and one_line(p, "/no/such/file"), "no such file", p.stderr)
    p = run("embed", "--model", RERANK, stdin="x\n")
    check(p.returncode == 1 and one_line(p, "rerank"), "a reranker embeds nothing", p.stderr)
    p = run("embed", "--model", EMBED, "--device", "cuda:x")
    check(p.returncode == 2 and one_line(p, "--device"), "there is no such card")
    p = run("embed", "--model", EMBED, stdin="x\n", env={"TRINE_THREADS": "many"})
    check(p.returncode == 1 and one_line(p, "TRINE_THREADS", "many"), "a wrong setting: exit 1")
    with open("/dev/full", "wb") as full:
        p = subprocess.run([program, "tokenize", "--model", EMBED, "x"], stdout=full,
                           stderr=subprocess.PIPE, timeout=WAIT_S, env=environment())
    check(p.returncode == 1 and one_line(p, "stdout", "No space left"), "a full disk", p.stderr)
    with tempfile.TemporaryDirectory() as d:
        out, text = os.path.join(d, "out.jsonl"), os.path.join(d, "in.txt")
        with open(text, "w") as f:
            f.write("one\n")
        for closed in ("2>&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            p = subprocess.run(["sh", "-c", f'exec "$0" embed --model "$1" -o "$2" "$3" {closed}',
                                program, EMBED, out, text], timeout=WAIT_S, env=environment())
            with open(out) as f:
                lines = f.read().splitlines()
            check(p.returncode == 0 and len(lines) == 1 and json.loads(lines[0])["id"] == 0,
                  f"messages do not go into a file that {closed} made room for", lines)
            os.unlink(out)


def test_precedence():
    with tempfile.TemporaryDirectory() as d:
        config = os.path.join(d, "c.json")
        with open(config, "w") as f:
            json.dump({"max-length": "5", "model": EMBED, "port": 1}, f)
        text = "one two three four five six seven eight nine"
        count = lambda *a, **env: len(run("tokenize", *a, "--ids", text, env=env).stdout.split())
        check(count("--config", config) == 5, "the file")
        check(count("--config", config, TRINE_MAX_LENGTH="6") == 6, "the environment")
        check(count("--config", config, "--max-length", "7", TRINE_MAX_LENGTH="6") == 7, "the flag")
        check(count(TRINE_CONFIG=config) == 5, "TRINE_CONFIG")


# --- tokenize ---

def test_tokenize():
    for model in ("bert-mean-st6", "bert-cross-encoder", "distilbert-prompt-st6"):
        g = golden(model)
        prompt = g.get("prompt", "")
        items = g.get("pairs") or [prompt + t for t in g["texts"]]
        # what a model's folder cuts is not the tokenizer's business; the option says it
        cut = "only_second" if "pairs" in g else "longest_first"
        p = run("tokenize", "--model", os.path.join(DATA, model), "--ids", "--jsonl",
                "--max-length", str(g["max_length"]), "--truncate", cut,
                stdin="".join(json.dumps(i) + "\n" for i in items))
        got = [[int(x) for x in line.split()] for line in p.stdout.decode().splitlines()]
        check(p.returncode == 0 and got == g["ids"], "ids of " + model, p.stderr)
    p = run("tokenize", "--model", EMBED, "the  water")
    rows = [line.split("\t") for line in p.stdout.decode().splitlines()]
    check(all(len(r) == 4 for r in rows) and rows[1][1:] == ["the", "0", "3"], "table", rows)
    check(rows[0][2:] == ["0", "0"] and rows[-1][2:] == ["0", "0"], "specials span nothing")
    p = run("tokenize", "--model", EMBED, "--jsonl", stdin='"the\\nwater"\n')
    o = json.loads(p.stdout)
    check(len({len(o[k]) for k in ("ids", "pieces", "spans", "type_ids", "special")}) == 1, "json")
    check(o["spans"][1] == [0, 3] and o["special"][0] == 1 and o["special"][1] == 0, "spans")
    ids = run("tokenize", "--model", EMBED, "--ids", stdin="the water\nland\n").stdout
    p = run("tokenize", "--model", EMBED, "--decode", "--no-special", stdin=ids)
    check(p.stdout == b"the water\nland\n", "there and back", p.stdout)
    p = run("tokenize", "--model", EMBED, "--decode", "--no-special", "--jsonl",
            stdin=b"[" + ids.splitlines()[0].replace(b" ", b",") + b"]\n")
    check(json.loads(p.stdout) == "the water", "json back")
    p = run("tokenize", "--model", EMBED, "--decode", "--no-special", stdin=b"99999 " + ids + b"99999\n")
    check(p.stdout == b"the water\nland\n\n", "an id without a token is nothing", p.stdout)
    for stdin, flags, words in ((b"a\n\xff\n", [], ("stdin:2", "UTF-8")),
                                (b"a\nb\0\n", [], ("stdin:2", "NUL")),
                                (b"5 6\n5 x\n", ["--decode"], ("stdin:2", "byte 2")),
                                (b"{}\n", ["--jsonl"], ("stdin:1", "JSON string"))):
        p = run("tokenize", "--model", EMBED, "--ids", *flags, stdin=stdin)
        check(p.returncode == 1 and one_line(p, *words), str(words), p.stderr)
        check(p.stdout.count(b"\n") == stdin[:-1].count(b"\n"), "what came before is there")
    p = run("tokenize", "--model", EMBED, b"\xff")
    check(p.returncode == 2 and one_line(p, "UTF-8"), "an argument that is not UTF-8", p.stderr)


def test_tokenize_answers_at_once():
    """A peer that waits for each answer before it asks again."""
    p = subprocess.Popen([program, "tokenize", "--model", EMBED, "--ids"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, env=environment())
    answers = 0
    for _ in range(3):
        p.stdin.write(b"the water\n")
        p.stdin.flush()
        if select.select([p.stdout], [], [], WAIT_S)[0] and p.stdout.readline():
            answers += 1
    p.stdin.close()
    check(answers == 3 and p.wait(WAIT_S) == 0, "three answers")
    p.stdout.close()


# --- embed ---

def near(got, want, most=5e-6):
    # the reference's own f32 noise on these small models is below 1e-6
    return len(got) == len(want) and max(abs(a - b) for a, b in zip(got, want)) <= most


def test_embed_goldens():
    for model in sorted(os.listdir(DATA)):
        if not os.path.exists(os.path.join(DATA, model, "golden.json")):
            continue
        g = golden(model)
        if "vectors" not in g:
            continue
        p = run("embed", "--model", os.path.join(DATA, model), "--input-format", "jsonl",
                "--empty", "embed", stdin="".join(json.dumps({"text": t}) + "\n" for t in g["texts"]))
        rows = rows_of(p.stdout)
        check([r["id"] for r in rows] == list(range(len(g["texts"]))), "ids of " + model, p.stderr)
        want = [floats(v) for v in g["vectors"]]
        scale = max(1, max(abs(x) for v in want for x in v))
        check(all(near(r["embedding"], w, 5e-6 * scale) for r, w in zip(rows, want)),
              "vectors of " + model)


def test_embed_formats():
    lines = texts(300)
    with tempfile.TemporaryDirectory() as d:
        path = lambda name: os.path.join(d, name)
        with open(path("t.txt"), "w") as f:
            f.write("\n".join(lines) + "\n")
        with open(path("t.jsonl"), "w") as f:
            for i, t in enumerate(lines):
                f.write(json.dumps({"body": t, "key": f"k{i}", "text": "no"}) + "\n")
        with open(path("t.csv"), "w", newline="") as f:
            f.write("key,body\r\n" + "".join(f'k{i},"{t}"\r\n' for i, t in enumerate(lines)))
        p = run("embed", "--model", EMBED, path("t.txt"), "-o", path("o.jsonl"))
        check(p.returncode == 0 and not p.stdout and b"embedded 300 texts" in p.stderr, "lines",
              p.stderr)
        with open(path("o.jsonl"), "rb") as f:
            whole = f.read()
        rows = rows_of(whole)
        raw = b"".join(struct.pack(f"<{len(r['embedding'])}f", *r["embedding"]) for r in rows)
        dim = len(rows[0]["embedding"])
        check(run("embed", "--model", EMBED, stdin="\n".join(lines)).stdout == whole, "stdin")
        check(run("embed", "--model", EMBED, path("t.txt"), "--batch-tokens", "64", "--threads",
                  "1").stdout == whole, "the same bytes whatever shares a batch")
        for name in ("t.jsonl", "t.csv"):
            p = run("embed", "--model", EMBED, path(name), "--field", "body", "--id", "key")
            keyed = rows_of(p.stdout)
            check([r["id"] for r in keyed] == [f"k{i}" for i in range(300)], name, p.stderr)
            check([r["embedding"] for r in keyed] == [r["embedding"] for r in rows], name)
        check(run("embed", "--model", EMBED, path("t.txt"), "-o", path("o.npy")).returncode == 0,
              "npy")
        check(read_npy(path("o.npy")) == ((300, dim), raw), "npy holds the same")
        check(run("embed", "--model", EMBED, path("t.txt"), "--format", "f32").stdout == raw, "f32")
        p = run("embed", "--model", EMBED, path("t.txt"), "--format", "npy")
        check(p.returncode == 1 and one_line(p, "-o FILE"), "npy into a pipe", p.stderr)
        with open(path("s.npy"), "wb") as f:
            subprocess.run([program, "embed", "--model", EMBED, "--format", "npy", "-q",
                            path("t.txt")], stdout=f, timeout=WAIT_S, env=environment())
        check(read_npy(path("s.npy")) == ((300, dim), raw), "npy into a file on stdout")
        two = run("embed", "--model", EMBED, path("t.txt"), "-", "-q", stdin="last one\n")
        check(not two.stderr and len(rows_of(two.stdout)) == 301, "two inputs, quiet", two.stderr)
        check(rows_of(two.stdout)[300]["id"] == 300, "ids go on")
        plain = rows_of(run("embed", "--model", EMBED, path("t.txt"), "--normalize", "no").stdout)
        norm = math.sqrt(sum(x * x for x in rows[0]["embedding"]))
        check(abs(norm - 1) < 1e-5 and plain != rows, "--normalize")
        long = run("embed", "--model", EMBED, stdin="the water " * 200)
        check(b"1 texts were longer than" in long.stderr, "cut texts are counted", long.stderr)
        left = sorted(os.listdir(d))
        check(left == ["o.jsonl", "o.npy", "s.npy", "t.csv", "t.jsonl", "t.txt"], "leftovers", left)


def test_embed_gguf():
    """The folder's vectors from its GGUF file (f16, as the folder's weights are), file in, file out."""
    with tempfile.TemporaryDirectory() as d:
        texts, out = os.path.join(d, "t.txt"), os.path.join(d, "o.jsonl")
        with open(texts, "w") as f:
            f.write("the water\nthe river and the stone\n")
        want = run("embed", "--model", os.path.join(DATA, "bert-last-f16"), texts, "-q", "--normalize", "yes")
        for how in [], ["--resume"]:
            p = run("embed", "--model", os.path.join(DATA, "gguf", "bert-last-f16.gguf"), texts, "-o", out, *how)
            check(p.returncode == 0, "embed by a GGUF file", p.stderr)
            with open(out, "rb") as f:
                check(f.read() == want.stdout and want.stdout, "the folder's vectors")


def test_embed_faults():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "t.txt")
        out = os.path.join(d, "o.jsonl")
        for bad, words in ((b"\xff", "UTF-8"), (b"a\0", "NUL"), (b"", "empty")):
            with open(path, "wb") as f:
                f.write(b"fine\n" * 500 + bad + b"\nfine\n")
            p = run("embed", "--model", EMBED, path, "-o", out)
            check(p.returncode == 1 and one_line(p, "t.txt:501", words), words, p.stderr)
            check(os.listdir(d) == ["t.txt"], "nothing half-written stays", os.listdir(d))
        p = run("embed", "--model", EMBED, path, "--empty", "skip")
        ids = [r["id"] for r in rows_of(p.stdout)]
        check(ids == list(range(500)) + [501], "skipped texts leave a gap in the ids")
        p = run("embed", "--model", EMBED, "-o", "/dev/full", stdin="x\n")
        check(p.returncode == 1 and one_line(p, "/dev/full", "No space left"), "disk full", p.stderr)
        p = run("embed", "--model", EMBED, "-o", d, stdin="x\n")
        check(p.returncode == 1 and one_line(p, "folder"), "-o is a folder", p.stderr)
        p = run("embed", "--model", EMBED, "-o", os.path.join(d, "no", "o"), stdin="x\n")
        check(p.returncode == 1 and one_line(p, "no/o"), "no such folder", p.stderr)
        p = run("embed", "--model", EMBED, "--resume", stdin="x\n")
        check(p.returncode == 2 and one_line(p, "-o FILE"), "--resume without -o")
        p = run("embed", "--model", EMBED, "--resume", "-o", out, stdin="x\n")
        check(p.returncode == 2 and one_line(p, "stdin"), "--resume with stdin")
        p = run("embed", "--model", EMBED, "--prompt-name", "nonsense", stdin="x\n")
        check(p.returncode == 1 and one_line(p, "nonsense"), "unknown prompt", p.stderr)
        p = run("embed", "--model", EMBED, "-o", out, stdin="")
        check(p.returncode == 0 and os.path.getsize(out) == 0, "no texts, an empty file", p.stderr)
        p = run("embed", "--model", EMBED, "-o", out + ".npy", stdin="")
        check(read_npy(out + ".npy")[0][0] == 0, "no texts, an empty array")


def test_progress():
    """A bar on a terminal, lines in a pipe, nothing with --quiet."""
    for flags, wanted in (((), True), (("-q",), False)):
        leader, follower = pty.openpty()
        p = subprocess.Popen([program, "embed", "--model", EMBED, *flags], stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=follower, env=environment())
        os.close(follower)
        for i in range(8):
            p.stdin.write(b"the water and the land\n" * 128)
            p.stdin.flush()
            time.sleep(0.1)
        p.stdin.close()
        code = p.wait(WAIT_S)
        seen = b""
        try:
            while select.select([leader], [], [], 0.2)[0]:
                more = os.read(leader, 65536)
                if not more:
                    break
                seen += more
        except OSError:
            pass  # Linux says EIO when the other side is closed
        os.close(leader)
        check(code == 0 and (b"\r\x1b[K" in seen and b"texts" in seen) == wanted, str(flags), seen)


def peak_kib(p):
    """What the process itself used at most: ru_maxrss begins with the size of this one, which forked."""
    peak = 0
    while p.poll() is None:
        with open(f"/proc/{p.pid}/status", encoding="utf-8") as f:
            peak = max([peak] + [int(line.split()[1]) for line in f if line.startswith("VmHWM:")])
        time.sleep(0.005)
    return peak


def test_memory():
    """Ten times the texts, the same memory."""
    if "asan" in program or "tsan" in program:
        skip("a sanitizer keeps what is freed")
        return
    used = []
    with tempfile.TemporaryDirectory() as d:
        for n in (4000, 40000):
            path = os.path.join(d, "in.txt")
            with open(path, "w") as f:
                f.write("\n".join(texts(n)) + "\n")
            p = subprocess.Popen([program, "embed", "--model", EMBED, path, "-o",
                                  os.path.join(d, "o"), "-q"], env=environment())
            used.append(peak_kib(p))
    check(0 < min(used) and used[1] - used[0] < 4096, "peak RSS grows by under 4 MiB", used)


# --- rerank ---

def test_rerank():
    g = golden("bert-cross-encoder")
    query = g["pairs"][0][0]
    pairs = [(d, floats(l)[0]) for (q, d), l in zip(g["pairs"], g["logits"]) if q == query]
    stdin = "".join(d + "\n" for d, _ in pairs)
    p = run("rerank", "--model", RERANK, "--query", query, "--raw-scores", stdin=stdin)
    rows = [line.split("\t") for line in p.stdout.decode().splitlines()]
    check(p.returncode == 0 and len(rows) == len(pairs), "a line a document", p.stderr)
    check(all(abs(float(s) - pairs[int(i)][1]) < 1e-5 and t == pairs[int(i)][0]
              for s, i, t in rows), "logits of the golden", rows)
    scores = [float(r[0]) for r in rows]
    check(scores == sorted(scores, reverse=True), "best first")
    p = run("rerank", "--model", RERANK, "--query", query, "--json", "--top-n", "2", stdin=stdin)
    o = json.loads(p.stdout)
    check(len(o["results"]) == 2 and o["method"] == "cross-encoder", "--json --top-n")
    first = o["results"][0]
    check(abs(first["score"] - 1 / (1 + math.exp(-pairs[first["index"]][1]))) < 1e-6, "sigmoid")
    p = run("rerank", "--model", RERANK, "--query", query, stdin="the land\nthe land\n")
    check([line.split("\t")[1] for line in p.stdout.decode().splitlines()] == ["0", "1"],
          "ties go by index")
    # This model's prompts put "what is " before a query and nothing before a document.
    stdin = "the land\nwhat is the water\n"
    p = run("rerank", "--model", EMBED, "--query", "the water", stdin=stdin)
    rows = [line.split("\t") for line in p.stdout.decode().splitlines()]
    check(rows[0][1] == "1" and abs(float(rows[0][0]) - 1) < 1e-5, "an embedding model: cosine", rows)
    check(b"cosine" in p.stderr, "and says so")
    check(run("rerank", "--model", RERANK, "--query", "q", stdin="").stdout == b"", "no documents")
    many = run("rerank", "--model", RERANK, "--query", "water", "-q", stdin="\n".join(texts(1000)))
    check(many.stdout.count(b"\n") == 1000, "a thousand")
    for words, warned in ((30, False), (31, True)):  # of the 61 tokens that the special ones leave
        p = run("rerank", "--model", RERANK, "--query", "a " * words, stdin="a\n" + "a " * 60 + "\n")
        check((b"more than half" in p.stderr and p.stderr.rstrip().endswith(b": 1")) == warned,
              "a query that crowds", p.stderr)
        check(p.stdout.count(b"\n") == 2, "and the scores", p.stdout)
    p = run("rerank", "--model", RERANK, "--query", "the water " * 100, stdin="x\n")
    check(p.returncode == 1 and one_line(p, "query", "never cut"), "a long query", p.stderr)
    p = run("rerank", "--model", RERANK, stdin="x\n")
    check(p.returncode == 2 and one_line(p, "--query"), "no query")
    p = run("rerank", "--model", os.path.join(DATA, "bert-classifier"), "--query", "q", stdin="x\n")
    check(p.returncode == 1 and one_line(p, "cannot rerank"), "a classifier", p.stderr)


def test_native_activation():
    """The activation that config_sentence_transformers.json names, or an older folder's config.json."""
    with tempfile.TemporaryDirectory() as d:
        for name in os.listdir(RERANK):
            os.symlink(os.path.join(RERANK, name), os.path.join(d, name))

        def scores(file, member, shape):
            with open(os.path.join(RERANK, file)) as f:
                config = json.load(f)
            score = {}
            for named in ("torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid",
                          "torch.nn.modules.activation.Mish"):
                config[member] = shape(named)
                os.unlink(os.path.join(d, file))
                with open(os.path.join(d, file), "w") as f:
                    json.dump(config, f)
                p = run("rerank", "--model", d, "--query", "why", "--native", stdin="land\n")
                score[named.rsplit(".")[-1]] = p.stdout.split(b"\t")[0] or p.stderr
            raw = float(score["Identity"])
            check(abs(float(score["Sigmoid"]) - 1 / (1 + math.exp(-raw))) < 1e-6, "as it says",
                  (file, score))
            check(b"Mish" in score["Mish"] and file.encode() in score["Mish"],
                  "an unknown one is named", (file, score))

        scores("config_sentence_transformers.json", "activation_fn", lambda named: named)
        os.unlink(os.path.join(d, "config_sentence_transformers.json"))
        scores("config.json", "sentence_transformers", lambda named: {"activation_fn": named})


# --- inspect and bench ---

def test_inspect():
    p = run("inspect", EMBED)
    text = p.stdout.decode()
    check(p.returncode == 0 and not p.stderr, "a good model", p.stderr)
    for words in ("BertModel", "word_embeddings.weight", "tokenizer:", "pooling: mean", "max length",
                  "MiB", "loads: yes"):
        check(words in text, words)
    text = run("inspect", os.path.join(DATA, "bert-classifier")).stdout.decode()
    check("classify" in text and "contradiction, entailment, neutral" in text, "labels")
    with tempfile.TemporaryDirectory() as d:
        for name in os.listdir(EMBED):
            os.symlink(os.path.join(EMBED, name), os.path.join(d, name))
        os.unlink(os.path.join(d, "config.json"))
        with open(os.path.join(EMBED, "config.json")) as f:
            config = json.load(f)
        config["hidden_act"] = "mish"
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(config, f)
        p = run("inspect", d)
        check(p.returncode == 1 and one_line(p, "mish"), "a broken model", p.stderr)
        check(b"word_embeddings.weight" in p.stdout and b"refused: " in p.stdout, "shows the rest")
        os.unlink(os.path.join(d, "model.safetensors"))
        with open(os.path.join(d, "model.safetensors"), "wb") as f:
            f.write(b"version https://git-lfs.github.com/spec/v1\n")
        p = run("inspect", d)
        check(p.returncode == 1 and p.stdout.count(b"refused: ") == 2, "two causes", p.stdout)
    p = run("inspect", "/no/such/model")
    check(p.returncode == 1 and one_line(p, "/no/such/model"), "no such model")


def test_bench():
    p = run("bench", "encode", "--model", EMBED, "--texts", "40", "--json", "-q")
    o = json.loads(p.stdout or b"{}")
    check(p.returncode == 0 and o["peak_gflops"] > 0 and o["environment"]["commit"], "json", p.stderr)
    sets = {s["name"]: s for s in o["sets"]}
    check("S=32" in sets and "mix" in sets and "S=512" not in sets, "sets that fit the positions")
    check(all(s["texts_s"] > 0 and s["tokens_s"] > s["texts_s"] for s in o["sets"]), "rates")
    check(0 < o["latency"]["p50_ms"] <= o["latency"]["p99_ms"], "latency")
    p = run("bench", "tokenize", "--model", EMBED, "--texts", "500", "--json")
    o = json.loads(p.stdout or b"{}")
    check(p.returncode == 0 and o["tokens"] > 500 and o["cold"]["mb_s"] > 0, "tokenize", p.stderr)
    p = run("bench", "generate", "--model", EMBED)
    check(p.returncode == 1 and one_line(p, "generate"), "what cannot be measured", p.stderr)
    p = run("bench", "encode", "--model", os.path.join(DATA, "tiny_chat"))
    check(p.returncode == 1 and one_line(p, "bench generate"), "a generator encodes nothing", p.stderr)


def main():
    global program
    args = sys.argv[1:]
    verbose = "-v" in args
    args = [a for a in args if a != "-v"]
    if args:
        program = os.path.abspath(args[0])
    os.chdir(ROOT)
    if not os.access(program, os.X_OK):
        print(f"{program} is not there: build it first\n0 passed, 1 failed")
        return 1
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        started = time.monotonic()
        try:
            test()
        except Exception:
            check(False, name, traceback.format_exc())
        if verbose:
            print(f"{name}: {time.monotonic() - started:.2f} s", file=sys.stderr, flush=True)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
