#!/usr/bin/env python3
"""No command writes into the files of the model that it reads, by whatever name they are given.

    tests/http/test_cli_model_files.py [PROGRAM]
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402

EMBED, RERANK, CHAT = (os.path.join(ROOT, DATA, name) for name in ("bert-mean-st6", "bert-cross-encoder", "tiny_chat"))


def state(folder):
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), "rb") as f:
                found[os.path.join(at, name)] = hashlib.sha256(f.read()).hexdigest()
    return found


def run(program, *args, **how):
    how.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([program, *args], stderr=subprocess.PIPE, timeout=120, **how)


def test_output(program, d):
    m, texts = os.path.join(d, "mm"), os.path.join(d, "a.txt")
    shutil.copytree(EMBED, m)
    with open(texts, "w", encoding="utf-8") as f:
        f.write("a\n")
    blobs = os.path.join(d, "blobs")  # a folder of links, as a cache of models has it
    linked = os.path.join(d, "linked")
    os.mkdir(linked)
    os.mkdir(blobs)
    for name in os.listdir(m):
        if os.path.isfile(os.path.join(m, name)):
            shutil.copy(os.path.join(m, name), os.path.join(blobs, name + "-blob"))
            os.symlink(os.path.join(blobs, name + "-blob"), os.path.join(linked, name))
        else:
            shutil.copytree(os.path.join(m, name), os.path.join(linked, name))
    os.link(os.path.join(m, "model.safetensors"), os.path.join(d, "hard"))
    os.symlink(os.path.join(m, "model.safetensors"), os.path.join(d, "soft"))
    os.symlink(os.path.join(m, "tokenizer.json"), os.path.join(d, "o.jsonl.partial"))
    before = state(d)
    inside = [os.path.relpath(p, m) for p in state(m) if p.endswith((".json", ".safetensors", "vocab.txt"))]
    check(len(inside) > 5, "files of the model", inside)
    for model, output in ([(m, os.path.join(m, p)) for p in inside] +
                          [(m, os.path.join(d, "linked", "..", "mm", "model.safetensors")), (m, os.path.join(d, "hard")),
                           (m, os.path.join(d, "soft")), (m, os.path.join(d, "o.jsonl")),
                           (m, os.path.join(m, "chat_template.jinja")), (m, os.path.join(m, "adapter.safetensors")),
                           (linked, os.path.join(blobs, "model.safetensors-blob"))]):
        p = run(program, "embed", "-q", "--model", model, "-o", output, "--format", "jsonl", texts)
        check(p.returncode == 2 and p.stderr.count(b"\n") == 1 and b"of the model" in p.stderr, f"-o {output}", p)
    check(state(d) == before, "nothing was written")
    for name in ("rows.jsonl", "rows.npy", "rows"):  # beside the model's files, and again
        for again in range(1 if name == "rows" else 2):
            p = run(program, "embed", "-q", "--model", m, "-o", os.path.join(m, name), texts)
            check(p.returncode == 0, f"-o mm/{name}, {again}", p)
    check(all(state(d).get(p) == h for p, h in before.items()), "the model is as it was")


def test_redirected(program, d):
    for command, model, args in (("embed", EMBED, ("-q",)), ("rerank", RERANK, ("--query", "q")), ("tokenize", EMBED, ()),
                                 ("generate", CHAT, ("-",)), ("inspect", CHAT, ())):
        m = os.path.join(d, command)
        shutil.copytree(model, m)
        before = state(m)
        for name in ("tokenizer.json", "model.safetensors", "config.json"):
            with open(os.path.join(m, name), "ab") as out:
                p = run(program, command, "--model", m, *args, input=b"a\n", stdout=out)
            check(p.returncode == 2 and b"of the model" in p.stderr, f"{command} >> {name}", p)
        check(state(m) == before, command + ": the model is as it was")
        with open(os.path.join(m, "answer.txt"), "wb") as out:
            p = run(program, command, "--model", m, *args, input=b"a\n", stdout=out)
        check(b"of the model" not in p.stderr, f"{command} > answer.txt", p)


def main():
    program = os.path.abspath(served.start(sys.argv[1:]))
    with tempfile.TemporaryDirectory() as d:
        test_output(program, d)
        test_redirected(program, d)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
