#!/usr/bin/env python3
"""serve's options for a generator: speculation, precision, templates by model, a cache that is shorter than
the model's context, shared prefixes. What the command line says of them is read as test_cli_generate.py
reads it.

    tests/http/test_cli_generate_serve.py [PROGRAM]
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
import test_cli_generate as cli  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402
from test_cli_generate import COUNT, REST, HELLO, MODEL, EMBED, environment, endless, told, write, run  # noqa: E402


def drafted(s):
    return s.metric("drafted_tokens_total")


def ask(s, key=None, **fields):
    body = {"prompt": COUNT, "temperature": 0, "max_tokens": 40, **fields}
    return s.post("/v1/completions", body, {"Authorization": f"Bearer {key}"} if key else None)


def cached(a):
    return a.json["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_serve_options():
    again = " ".join([COUNT + REST] * 5)
    with Started(cli.program, {"tiny": "tiny_chat"}) as s:
        before = s.metric("kv_bytes")
        check(ask(s, prompt=again, ignore_eos=True, max_tokens=100).status == 200 and drafted(s) > 0,
              "speculation, by itself", drafted(s))
        info = s.get("/info").json
        check(info["model_type"] == {"generator": {"context": 512, "chat": True}}, "/info", info)
        t = s.post("/tokenize", {"inputs": "hi <|im_start|>"}).json
        check(t[0][-1]["text"] == "<|im_start|>", "/tokenize without a model's name", t)
    with Started(cli.program, {"tiny": "tiny_chat"}, "--no-speculation", "--kv-dtype", "f32", "--dtype", "f32",
                 "--max-sequences", "2", "--task", "generate") as s:
        check(ask(s, prompt=again, ignore_eos=True, max_tokens=100).status == 200 and drafted(s) == 0,
              "--no-speculation", drafted(s))
        check(s.metric("kv_blocks") == 2 * 512 / 32, "--max-sequences", s.metric("kv_blocks"))
        each = s.metric("kv_bytes") / s.metric("kv_blocks")
        check(each == 2 * 224 * 32, "--kv-dtype f32", each)  # 224 bytes a token in f16
        check(before > 0 and before != s.metric("kv_bytes"), "which is not the default", before)
        check(ask(s).json["choices"][0]["text"] == REST, "the same text")
    with tempfile.TemporaryDirectory() as d:
        own = write(d, "own.jinja", "one two three four five six")
        with Started(cli.program, {"tiny": "tiny_chat", "other": "tiny_chat"}, "--chat-template", f"tiny={own}",
                     "--kv-cache-mib", "1") as s:
            for name, tokens in (("tiny", None), ("other", HELLO)):
                a = s.post("/v1/chat/completions", {"model": name, "temperature": 0, "max_tokens": 60,
                                                    "messages": [{"role": "user", "content": "hi"}]})
                text = a.json["choices"][0]["message"]["content"]
                check(text == tokens if tokens else text.startswith(" seven"), "--chat-template", a)
            check(0 < s.metric("kv_bytes") <= 1 << 20, "--kv-cache-mib", s.metric("kv_bytes"))
    for folder, args, words in (("bert-mean-st6", ["--task", "generate"], "generate"),
                                ("tiny_chat", ["--task", "classify"], "classify"),
                                ("tiny_chat", ["--chat-template", "/no/such.jinja"], "/no/such.jinja")):
        p = run("serve", "--port", "0", "--model", os.path.join(ROOT, DATA, folder), *args)
        check(p.returncode == 1 and words.encode() in p.stderr, str(args), p.stderr)


def test_short_cache():
    """A cache that is shorter than the model's context says so, by --check and at the start."""
    def check_only(model, *args):
        return run("serve", "--check", "--port", "0", "--log-level", "warn", "--model", model, *args)
    p = check_only(MODEL)
    check(p.returncode == 0 and b"a KV cache of" in p.stdout and
          b" texts of 512 tokens at most, 32 at once\n" in p.stdout, "what a generator will have", p)
    p = check_only(EMBED)
    check(p.returncode == 0 and b"KV" not in p.stdout, "an embedder has none", p)
    with tempfile.TemporaryDirectory() as d:
        short = ["--kv-cache-mib", "1"]
        p = check_only(endless(d), *short, "--max-sequences", "3")
        check(p.returncode == 0 and b"a KV cache of 1.0 MiB, texts of 4672 tokens at most, 3 at once; the "
              b"model's context is 1048576 (--kv-cache-mib)\n" in p.stdout, "and where it is short", p)
        # as many models share the cache as leave none of them two blocks
        many = [x for i in range(100) for x in ("--model", f"m{i}={d}")]
        for check_too in ([], ["--check"]):
            p = run("serve", "--port", "0", "--log-level", "warn", *check_too, *short, *many)
            check(p.returncode == 1 and told(p, "holds no sequence", "--kv-cache-mib"), "none at all", p)
        log = os.path.join(d, "log")
        with open(log, "wb") as f, subprocess.Popen(
                [cli.program, "serve", "--port", "0", "--log-level", "warn", *short, "--model", d], stdout=subprocess.PIPE,
                stderr=f, env=environment()) as s:
            check(s.stdout.readline().startswith(b"listening"), "it serves")
            s.send_signal(signal.SIGTERM)
        with open(log, encoding="utf-8") as f:
            said_at_start = f.read()
        check(said_at_start.count("\n") == 1 and all(w in said_at_start for w in (
            "warn", os.path.basename(d), "4672", "1048576", "--kv-cache-mib")), "the log's warning", said_at_start)


def test_shared_prefixes():
    prompt = " ".join([COUNT + REST] * 4)
    with tempfile.TemporaryDirectory() as d:
        keys = write(d, "keys", "".join(f"{k}:{hashlib.sha256(k.encode()).hexdigest()}\n" for k in "ab"))
        for flags, shared in (((), False), (("--shared-prefix-cache",), True)):
            with Started(cli.program, {"tiny": "tiny_chat"}, "--api-key-file", keys, *flags) as s:
                check(cached(ask(s, "a", prompt=prompt)) == 0, "nothing is there")
                check(cached(ask(s, "a", prompt=prompt)) >= 64, "one's own")
                got = cached(ask(s, "b", prompt=prompt))
                check((got >= 64) == shared and (got == 0) != shared, f"another's {flags}", got)


def main():
    cli.program = served.start(sys.argv[1:])
    os.chdir(ROOT)
    test_serve_options()
    test_short_cache()
    test_shared_prefixes()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
