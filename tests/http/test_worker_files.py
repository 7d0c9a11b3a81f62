#!/usr/bin/env python3
"""A model's files are opened once, at its load: whatever lies at their paths later, a worker's next life, the
quarantine and this process's CPU in the worker's place all have the weights that it was started with.

Usage: python3 tests/http/test_worker_files.py [TRINE]"""

import http.client
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402
from workers import kill, labelled, main_pid, wait_for  # noqa: E402

NAMES = {"e": "bert-mean-st6", "g": "tiny_chat"}
BODY = {"model": "g", "prompt": "the quick brown fox", "max_tokens": 60, "temperature": 0, "ignore_eos": True,
        "logprobs": 2}


def put_models(folder):
    """Copies of the models; where they lie, as served.Started takes it."""
    for name, source in NAMES.items():
        shutil.copytree(os.path.join(ROOT, DATA, source), os.path.join(folder, name))
    return {name: os.path.relpath(os.path.join(folder, name), os.path.join(ROOT, DATA)) for name in NAMES}


def replace_weights(folder):
    """Other models come where these were: the same shapes, other numbers."""
    for name in NAMES:
        path = os.path.join(folder, name, "model.safetensors")
        with open(path, "rb") as f:
            data = f.read()
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        numbers = data[begin:]
        with open(path + ".new", "wb") as f:
            f.write(data[:begin] + numbers[256:] + numbers[:256])
        os.replace(path + ".new", path)


def ask(s):
    rows = s.post("/v1/embeddings", {"model": "e", "input": ["hello", "the lazy dog"], "encoding_format": "base64"})
    said = s.post("/v1/completions", BODY)
    if rows.status != 200 or said.status != 200:
        return rows, said
    choice = said.json["choices"][0]
    return [r["embedding"] for r in rows.json["data"]], choice["text"], json.dumps(choice["logprobs"])


def said_while_killed(s):
    """A stream whose worker is killed in its middle."""
    c = http.client.HTTPConnection(s.host, s.port, timeout=120)
    c.request("POST", "/v1/completions", json.dumps(dict(BODY, max_tokens=400, stream=True)), served.JSON)
    r, said, killed = c.getresponse(), "", False
    for line in r:
        if line.startswith(b"data: {"):
            said += json.loads(line[6:])["choices"][0]["text"]
            if not killed and len(said) > 8:
                killed = True
                kill(main_pid(s))
    c.close()
    return said


def test_replaced(program, what, *options):
    with tempfile.TemporaryDirectory() as folder:
        with served.Started(program, put_models(folder), *options) as s:
            wanted = ask(s)
            check(len(wanted) == 3, f"{what}: answers", wanted)
            whole = s.post("/v1/completions", dict(BODY, max_tokens=400)).json["choices"][0]["text"]
            replace_weights(folder)
            kill(main_pid(s))
            check(wait_for(lambda: main_pid(s) == 0 or labelled(s, "worker_generation", worker="main") == 2),
                  f"{what}: the worker is gone")
            got = ask(s)
            check(got == wanted, f"{what}: the weights of the start", (got, wanted))
            if main_pid(s):
                check(said_while_killed(s) == whole, f"{what}: and in a stream that is taken over")
                check(ask(s) == wanted, f"{what}: and a life later")


def test_other(program):
    """The files that came are others indeed."""
    with tempfile.TemporaryDirectory() as folder:
        models, said = put_models(folder), []
        for _ in range(2):
            with served.Started(program, models) as s:
                said.append(ask(s))
            replace_weights(folder)
        check(len(said[1]) == 3 and all(a != b for a, b in zip(*said)), "other models say other things", said)


def shards(folder, extra):
    """The encoder in many files: tensors that no layer wants, one a file, beside its own."""
    shutil.copytree(os.path.join(ROOT, DATA, NAMES["e"]), folder)
    os.rename(os.path.join(folder, "model.safetensors"), os.path.join(folder, "own.safetensors"))
    with open(os.path.join(folder, "own.safetensors"), "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        index = {name: "own.safetensors" for name in json.loads(f.read(n)) if name != "__metadata__"}
    for i in range(extra):
        index[f"extra.{i}"] = f"extra-{i}.safetensors"
        header = json.dumps({f"extra.{i}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        with open(os.path.join(folder, index[f"extra.{i}"]), "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header + bytes(4))
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f)


def test_many(program):
    """A model of more files than a process has descriptors for by default; and a worker that may have few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        served.skip(f"{hard} descriptors are the most here")
        return
    body = {"model": "e", "input": ["hello"], "encoding_format": "base64"}
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    try:
        with tempfile.TemporaryDirectory() as folder:
            shards(os.path.join(folder, "e"), 520)
            path = os.path.relpath(os.path.join(folder, "e"), os.path.join(ROOT, DATA))
            with served.Started(program, {"e": path}, "--isolate", "--worker-backoff-ms", "20:100") as s:
                wanted = s.post("/v1/embeddings", body)
                check(wanted.status == 200, "many files", wanted)
                kill(main_pid(s))
                check(s.post("/v1/embeddings", body).json["data"] == wanted.json["data"], "and a life later")
            few = os.path.join(folder, "worker")
            with open(few, "w") as f:
                f.write(f'#!/bin/sh\nulimit -n 1000\nexec {os.path.dirname(program)}/trine-worker "$@"\n')
            os.chmod(few, 0o755)
            p = subprocess.run([program, "serve", "--port", "0", "--isolate", "--worker", few, "--log-level", "off",
                                "--model", f"e={folder}/e"], cwd=ROOT, capture_output=True, text=True, check=False,
                               timeout=60 * served.slow)
            check(p.returncode == 1 and "the model has more files than the worker may open: 468 are the most" in
                  p.stderr and "/e/" in p.stderr and "LimitNOFILE" in p.stderr and p.stderr.count("\n") == 1,
                  "too many, told at the load", (p.returncode, p.stderr))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def main():
    program = served.start(sys.argv[1:])
    test_other(program)
    # the CPU has to do it: the worker does not come again in this test
    test_replaced(program, "the CPU in its place", "--device", "worker", "--worker-backoff-ms", "600000")
    test_replaced(program, "isolated", "--isolate", "--worker-backoff-ms", "20:100")
    test_many(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
