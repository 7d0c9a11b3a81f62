#!/usr/bin/env python3
"""Wrong usage of the commands: an output that is an input, flags without effect or against each
other, names whose ending says nothing, settings that no option has. Each is refused with one line
that names it, nothing is written, and no input is touched.

usage: test_cli_usage.py [TRINE]
"""

import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import ROOT, check  # noqa: E402

DATA = os.path.join(ROOT, "tests", "golden", "data")
EMBED = os.path.join(DATA, "bert-mean-st6")
RERANK = os.path.join(DATA, "bert-cross-encoder")
CHAT = os.path.join(DATA, "tiny_chat")
WAIT_S = 120
TEXT = b"one\ntwo\n"

program = os.path.join(ROOT, "build", "trine")


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRINE_")}
    env.pop("OPENBLAS_CORETYPE", None)
    return dict(env, **more)


def run(*args, env=None, cwd=None, **streams):
    if "stdin" not in streams and "input" not in streams:
        streams["stdin"] = subprocess.DEVNULL
    streams.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([program, *args], stderr=subprocess.PIPE, timeout=WAIT_S, cwd=cwd,
                          env=environment(**(env or {})), **streams)


def refused(p, what, *words, code=2):
    said = p.stderr.decode(errors="replace")
    check(p.returncode == code and said.count("\n") == 1 and all(w in said for w in words) and
          not p.stdout, what, (p.returncode, said))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def test_output_is_an_input():
    with tempfile.TemporaryDirectory() as d:
        at = lambda name: os.path.join(d, name)
        write(at("b.txt"), TEXT)
        os.mkdir(at("sub"))
        os.symlink(at("b.txt"), at("soft"))
        os.link(at("b.txt"), at("hard"))
        how = ["--format", "jsonl"]
        refused(run("embed", "--model", EMBED, "-o", "b.txt", "b.txt", cwd=d), "-o b.txt, no format", "the same file")
        for output in ("b.txt", "./b.txt", "sub/../b.txt", at("b.txt"), "soft", "hard"):
            p = run("embed", "--model", EMBED, "-o", output, "b.txt", *how, cwd=d)
            refused(p, f"-o {output}", f"-o {output}", "the same file as the input b.txt")
        p = run("embed", "--model", EMBED, "-o", "b.txt", "soft", *how, cwd=d)
        refused(p, "the input is a link to it", "the same file")
        for source in ([], ["-"], ["/dev/stdin"]):
            with open(at("b.txt"), "rb") as f:
                p = run("embed", "--model", EMBED, "-o", "b.txt", *source, *how, cwd=d, stdin=f)
            refused(p, f"stdin {source} is the output", "the same file as the input")
        p = run("embed", "--model", EMBED, "-o", "b.txt", "b.txt", "--resume", *how, cwd=d)
        refused(p, "with --resume", "the same file")
        check(read(at("b.txt")) == TEXT, "the input is untouched")

        # the files that stand beside the output until it is complete
        for name in ("o.partial", "o.partial.json"):
            write(at(name), TEXT)
            refused(run("embed", "--model", EMBED, "-o", "o", name, "--input-format", "lines",
                        cwd=d), name, "by way of " + name, "the same file")
            check(read(at(name)) == TEXT, name + " is untouched")
            os.unlink(at(name))
        # what else is read
        write(at("c.json"), json.dumps({"model": EMBED}).encode())
        refused(run("embed", "--config", "c.json", "-o", "c.json", "b.txt", *how, cwd=d), "the config",
                "the same file")

        # a redirection would feed the program its own output
        for name, args, stdin in (("embed", ["embed", "--model", EMBED, "b.txt"], None),
                                  ("embed -", ["embed", "--model", EMBED], "b.txt"),
                                  ("rerank", ["rerank", "--model", RERANK, "--query", "q", "b.txt"], None),
                                  ("rerank -", ["rerank", "--model", RERANK, "--query", "q"], "b.txt"),
                                  ("tokenize", ["tokenize", "--model", EMBED], "b.txt"),
                                  ("bench", ["bench", "tokenize", "b.txt", "--model", EMBED], None),
                                  ("generate", ["generate", "--model", CHAT], "b.txt"),
                                  ("chat", ["chat", "--model", CHAT], "b.txt"),
                                  ("chat --render", ["chat", "--model", CHAT, "--render", "b.txt"], None)):
            with open(at("b.txt"), "ab") as out, open(at(stdin or "b.txt"), "rb") as f:
                p = run(*args, cwd=d, stdout=out, stdin=f if stdin else subprocess.DEVNULL)
            refused(p, name + " onto its own input", "stdout", "the same file")
        check(read(at("b.txt")) == TEXT, "nothing was added")

        # what is no file of bytes may be both, and another file of the same content is another
        write(at("c.txt"), TEXT)
        p = run("embed", "--model", EMBED, "-o", "c.jsonl", "c.txt", "-q", cwd=d)
        check(p.returncode == 0 and read(at("c.jsonl")).count(b"\n") == 2, "another file", p.stderr)
        with open("/dev/null", "rb+") as null:
            p = run("embed", "--model", EMBED, "-q", stdin=null, stdout=null)
        check(p.returncode == 0, "/dev/null is no file", p.stderr)


def test_formats():
    with tempfile.TemporaryDirectory() as d:
        for name, data in (("t.txt", TEXT), ("t.csv", b"key,body\na,one\n"), ("t.json", b'["one"]'),
                           ("t.jsonl", b'{"key": "a", "body": "one"}\n'), ("t.tsv", b"a\tone\n"),
                           ("u.JSONL", b'{"key": "a", "body": "one"}\n')):
            write(os.path.join(d, name), data)
        embed = lambda *a, **k: run("embed", "--model", EMBED, *a, cwd=d, **k)
        record = b'{"key": "a", "body": "one"}\n'
        for flag in ("--field", "--id"):
            refused(embed(flag, "key", input=record), flag + " of stdin", flag + ": stdin is read as lines",
                    "--input-format")
            refused(embed(flag, "key", "t.txt"), flag + " of lines", flag + ": t.txt")
            refused(embed(flag, "key", "t.jsonl", "t.txt"), flag + " of one of two", "t.txt")
            refused(embed(flag, "key", "--input-format", "lines", "t.jsonl"), flag + " of said lines")
        for header in ("yes", "no"):
            refused(embed("--header", header, "t.jsonl"), "--header of JSONL", "--header: t.jsonl")
        for source in (["-", "--input-format", "jsonl"], ["t.jsonl"], ["u.JSONL"]):
            p = embed("--field", "body", "--id", "key", "-q", *source, input=record)
            check(p.returncode == 0 and json.loads(p.stdout)["id"] == "a", str(source), p.stderr)
        p = embed("--field", "body", "--id", "key", "--header", "yes", "-q", "t.csv")
        check(p.returncode == 0 and json.loads(p.stdout)["id"] == "a", "CSV", p.stderr)

        for name in ("t.json", "t.tsv", "x.parquet", "t.txt.gz"):
            write(os.path.join(d, name), b"one\n")
            refused(embed(name), "an input of " + name, name, "--input-format")
        p = embed("t.json", "--input-format", "lines", "-q")
        check(p.returncode == 0 and len(p.stdout.splitlines()) == 1, "said to be lines", p.stderr)

        for name in ("y.parquet", "y.json", "y.csv", "y.npz", "y.txt"):
            refused(embed("-o", name, "t.txt"), "-o " + name, f"-o {name}", os.path.splitext(name)[1],
                    ".jsonl", ".npy", ".f32", "--format")
            check(not os.path.exists(os.path.join(d, name)), name + " is not there")
        refused(embed("-o", "y.npy", "--format", "jsonl", "t.txt"), "two formats", "--format jsonl",
                "the name says npy")
        refused(embed("-o", "y.jsonl", "--format", "f32", "t.txt"), "two formats", "the name says jsonl")
        for name, more in (("plain", []), ("z.ndjson", []), ("z.NPY", []), ("z.bin", ["--format", "f32"]),
                           ("z.npy", ["--format", "npy"]), (".hidden/z", [])):
            os.makedirs(os.path.join(d, ".hidden"), exist_ok=True)
            p = embed("-o", name, "t.txt", "-q", *more)
            check(p.returncode == 0 and os.path.getsize(os.path.join(d, name)) > 0, name, p.stderr)
        check(read(os.path.join(d, "z.NPY"))[:6] == b"\x93NUMPY", "an ending in capitals")


def test_flags():
    for args, words in ((["bench", "encode", "--streams", "2"], "--streams"),
                        (["bench", "-n", "2"], "--max-tokens"),
                        (["bench", "generate", "--texts", "2"], "--texts"),
                        (["bench", "tokenize", "--threads", "2"], "--threads"),
                        (["bench", "tokenize", "x", "--texts", "2"], "choose one"),
                        (["bench", "generate", "--batch-tokens", "64"], "--batch-tokens"),
                        (["tokenize", "--truncate", "none", "--max-length", "4", "x"], "--truncate"),
                        (["embed", "x", "--resume", "-o", "/dev/null"], "--resume"),
                        (["tokenize", "--decode", "--truncate", "none", "1"], "--truncate"),
                        (["tokenize", "--pair", "x"], "--pair"),
                        (["rerank", "--query", "q", "--raw-scores", "--native"], "choose one")):
        refused(run(*args, "--model", EMBED, input=b""), " ".join(args), words)
    for command in (["serve"], ["embed"], ["tokenize"], ["inspect", EMBED]):
        refused(run(*command, "--model", EMBED, env={"TRINE_API_KEYFILE": "/k"})
                if command[0] != "inspect" else run(*command, env={"TRINE_API_KEYFILE": "/k"}),
                f"{command[0]} and a variable that is misspelled", "TRINE_API_KEYFILE",
                "TRINE_API_KEY_FILE", code=1)
    p = run("embed", "--model", EMBED, "-q", "--max-length", "4000", input=b"x\n")
    check(p.returncode == 0 and b"--max-length 4000" in p.stderr, "a length that the model has not", p.stderr)
    # as long as the engine takes, not longer: this wrote over the batch's end
    p = run("bench", "encode", "--model", EMBED, "--texts", "20", "--batch-tokens", "16", "--json", "-q")
    check(p.returncode == 0 and json.loads(p.stdout), "small batches", p.stderr)


def main():
    global program
    program = served.start(sys.argv[1:])
    test_output_is_an_input()
    test_formats()
    test_flags()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
