#!/usr/bin/env python3
"""The command line of text generation: generate, chat, bench generate, what inspect and tokenize say
of a generator. The model has learned a few lines by heart
(tests/golden/data/tiny_chat).

    tests/http/test_cli_generate.py [-v] [PROGRAM]      -v: the time of each test
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, check  # noqa: E402

MODEL = os.path.join(ROOT, DATA, "tiny_chat")
EMBED = os.path.join(ROOT, DATA, "bert-mean-st6")
GGUF = os.path.join(ROOT, DATA, "causal/qwen3-reranker.gguf")  # without a chat template
WAIT_S = 120  # for what comes in milliseconds, under a sanitizer on a busy machine too
COUNT = "one two three"
REST = " four five six seven eight nine ten eleven twelve."
HELLO, BYE = "Hello there, friend!", "Farewell, friend."
with open(os.path.join(MODEL, "golden.json"), encoding="utf-8") as file:
    GOLDEN = json.load(file)
program = None


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRINE_")}
    env.pop("OPENBLAS_CORETYPE", None)
    env.update(more)
    return env


def run(*args, stdin=b"", env=None):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([program, *args], input=stdin, capture_output=True, timeout=WAIT_S,
                          env=environment(**(env or {})))


def generate(*args, stdin=b"", model=MODEL, env=None):
    return run("generate", "--model", model, "-t", "0", *args, stdin=stdin, env=env)


def chat(stdin, *args, model=MODEL):
    return run("chat", "--model", model, "-t", "0", *args, stdin=stdin)


def said(p):
    return p.stdout.decode() if p.returncode == 0 else (p.returncode, p.stdout, p.stderr)


def told(p, *words):
    """stderr is one line that holds the words."""
    text = p.stderr.decode(errors="replace")
    return text.count("\n") == 1 and all(w in text for w in words)


def fails(p, code, what, *words):
    check(p.returncode == code and told(p, *words) and not p.stdout, what,
          (p.returncode, p.stdout[:200], p.stderr))


def write(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    return path


def write_json(folder, name, value):
    return write(folder, name, json.dumps(value))


def model_like(folder, config=None, without=(), **files):
    """A model folder as MODEL, with other members in its config.json and other files."""
    for name in os.listdir(MODEL):
        if name not in without and name not in files and (name != "config.json" or not config):
            os.symlink(os.path.join(MODEL, name), os.path.join(folder, name))
    if config:
        with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as f:
            write_json(folder, "config.json", {**json.load(f), **config})
    for name, data in files.items():
        write(folder, name, data)
    return folder


def gguf_with_template(folder, template):
    """GGUF with a chat template: one more entry behind the head, as long as what data is aligned to."""
    with open(GGUF, "rb") as f:
        magic, version, tensors, entries = struct.unpack("<4sIQQ", f.read(24))
        rest = f.read()
    key, text = b"tokenizer.chat_template", template.encode()
    room = -(8 + len(key) + 4 + 8 + len(text)) % 32
    if room < 4:
        room += 32
    text += b"{#" + b"-" * (room - 4) + b"#}"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    return write(folder, "chat.gguf", struct.pack("<4sIQQ", magic, version, tensors, entries + 1) + entry + rest)


def endless(folder):
    """A context that takes minutes to fill."""
    return model_like(folder, {"max_position_embeddings": 1 << 20})


# --- generate ---

def test_usage():
    for command in (["generate"], ["chat"]):
        p = run(*command, "--help")
        check(p.returncode == 0 and b"\nExample:\n  trine " in p.stdout and not p.stderr, str(command))
        fails(run(*command, "--no-such-option"), 2, "an unknown option", "--no-such-option")
        fails(run(*command, "--model", "no/such-model", "x" if command == ["generate"] else "-q"), 1,
              "no such model", "no/such-model")
        fails(run(*command, "--model", EMBED, *(["x"] if command == ["generate"] else [])), 1,
              "an embedder does not generate", "embed", "generate")
        for args, words in ((["--temperature", "hot"], ["'hot' is not a number"]),
                            (["--temperature", "3"], ["between 0 and 2"]),
                            (["--top-p", "nan"], ["not a number"]),
                            (["--top-k", "1.5"], ["whole number"]),
                            (["--seed", "2x"], ["--seed", "2x"]),
                            (["--seed", "1" * 21], ["64 bits"]),
                            (["-n", "0"], ["between 1"]),
                            (["--repetition-penalty", "0"], ["above 0"]),
                            (["--stop", ""], ["empty"]),
                            (["--stop", b"\xff"], ["--stop", "UTF-8"]),
                            ([x for i in range(17) for x in ("--stop", str(i))], ["at most 16"]),
                            (["--kv-dtype", "q8"], ["not in this version"]),
                            (["--grammar", "a", "--json-schema", "b"], ["choose one"])):
            fails(run(*command, "--model", MODEL, *args), 2, str(args)[:40], *words)
    fails(generate("x", "--grammar", "g", "--ignore-eos"), 2, "no end in a grammar", "--ignore-eos")
    fails(generate(b"\xff"), 2, "a prompt that is not UTF-8", "PROMPT", "UTF-8")
    fails(generate("a", "b"), 2, "two prompts", "unexpected argument")
    fails(run("chat", "--model", MODEL, "--system", b"\xff"), 2, "a system that is not UTF-8", "--system")
    fails(generate(stdin=b"a\xffb"), 1, "a text that is not UTF-8", "stdin", "byte 1")
    fails(generate(stdin=b"a\0b"), 1, "a text with a NUL", "stdin", "NUL at byte 1")
    fails(generate(stdin=b""), 1, "no prompt", "empty")
    fails(generate("x" * 600), 1, "a prompt beyond the context", "this model's context", "512")
    with tempfile.TemporaryDirectory() as d:
        p = generate("x" * 6000, "--kv-cache-mib", "1", model=endless(d))
        fails(p, 1, "a prompt beyond the cache", "KV cache", f"context of {1 << 20}", "--kv-cache-mib")


def test_goldens():
    for case in GOLDEN["cases"]:
        p = generate(case["prompt"], "--dtype", "f32")  # the weights are bf16, and near ties decide
        check(said(p) == case["text"], "transformers' text", (case["prompt"][:40], said(p)))
        check(told(p, f"{len(case['prompt_ids'])} prompt tokens", f"{len(case['ids'])} new tokens",
                   "finish: " + ("stop" if case["stopped"] else "length")), "the summary", p.stderr)
    for stdin in (COUNT, COUNT + "\n", COUNT + "\r\n"):
        check(said(generate(stdin=stdin)) == REST, "from stdin", stdin)
    check(said(generate("-", stdin=COUNT)) == REST, "from stdin, by its name")
    check(said(generate("--", "-", stdin=COUNT)) == REST, "that is no option")
    p = generate("-q", COUNT)
    check(said(p) == REST and not p.stderr, "quiet", p.stderr)
    p = generate("-n", "4", COUNT)
    check(REST.startswith(said(p)) and told(p, "4 new tokens", "finish: length"), "-n", p.stderr)
    p = generate("--echo", COUNT)
    check(said(p) == COUNT + REST, "--echo", said(p))
    p = generate("--ignore-eos", "-n", "60", COUNT)
    check(said(p).startswith(REST) and told(p, "60 new tokens", "finish: length"), "--ignore-eos", p)
    for args in (["--no-speculation"], ["--kv-dtype", "f32"], ["--kv-dtype", "f16"], ["--threads", "1"],
                 ["--dtype", "f32"], ["--kv-cache-mib", "1"], ["--top-k", "1", "-t", "1"],
                 ["--top-p", "0", "-t", "2"], ["--min-p", "1", "-t", "2"], ["-t=0", "--seed", "-3"][1:]):
        check(said(generate(*args, COUNT)) == REST, str(args), said(generate(*args, COUNT)))
    p = generate(COUNT, env={"TRINE_TEMPERATURE": "2", "TRINE_KV_DTYPE": "f32"})
    check(said(p) == REST, "the flag wins over the environment", said(p))
    p = generate("--max-length", "32", "--ignore-eos", COUNT)
    check(told(p, "26 new tokens", "finish: length"), "--max-length bounds the context", p.stderr)


def test_sampling():
    hot = ["-t", "2", "--ignore-eos", "-n", "24", COUNT]
    texts = [said(generate(*hot, "--seed", s)) for s in ("5", "5", "6", "-1", str(2**64 - 2))]
    check(texts[0] == texts[1] and len(set(texts)) == 4, "a seed repeats", texts)
    check(said(generate(*hot)) != said(generate(*hot)), "without a seed they differ")
    p = generate("--repetition-penalty", "100", "--ignore-eos", "-n", "24", COUNT)
    check(p.returncode == 0 and said(p) != REST, "--repetition-penalty", said(p))


def test_stops():
    for stops in ([" seven"], ["n"], ["even eight nin"], [" nine", "five s"], ["zzz"], ["twelve.!"]):
        ends = [REST.find(s) + len(s) for s in stops if s in REST]
        want = REST
        for s in stops:
            if s in REST and REST.find(s) + len(s) == min(ends):
                want = REST[:REST.find(s)]
        p = generate(*[x for s in stops for x in ("--stop", s)], COUNT)
        check(said(p) == want and told(p, "finish: stop"), f"--stop {stops}", said(p))
    check(said(generate("--stop", "語", "caf")) == "é naïve 日本", "a stop of several bytes")
    p = chat("hi\n", "--stop", " friend")
    check(said(p) == "Hello there,\n", "in chat", said(p))


def test_grammar():
    with tempfile.TemporaryDirectory() as d:
        gbnf = write(d, "g.gbnf", 'root ::= " " ("three" | "seven") [0-9]{2,4} "."\n')
        p = generate("--grammar", gbnf, COUNT)
        check(re.fullmatch(r" (three|seven)[0-9]{2,4}\.", said(p)) and told(p, "finish: stop"),
              "--grammar", said(p))
        schema = write_json(d, "s.json", {
            "type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                                             "age": {"type": "integer", "minimum": 3, "maximum": 12}},
            "required": ["name", "age"], "additionalProperties": False})
        p = chat("a person\nhi\n", "--json-schema", schema)
        for line in said(p).splitlines():
            o = json.loads(line)
            check(list(o) == ["name", "age"] and 3 <= o["age"] <= 12, "--json-schema", o)
        check(len(said(p).splitlines()) == 2, "for each answer", said(p))
        warned = write_json(d, "w.json", {"type": "string", "format": "date", "maxLength": 3})
        p = generate("--json-schema", warned, "-q", COUNT)
        check(p.returncode == 0 and told(p, "format"), "a format is warned of", p.stderr)
        for name, data, words in (("a", "root ::= x", ["a", "x"]), ("b", "root ::= (", ["b"]),
                                  ("c", b"\xff", ["c", "UTF-8"]), ("d", "", ["d"])):
            fails(generate("--grammar", write(d, name, data), "x"), 1, "a bad grammar", *words)
        for name, data, words in (("e", "{", ["e"]), ("f", '{"allOf": []}', ["f", "allOf"]),
                                  ("g", '{"type": "object", "type": "string"}', ["g"])):
            fails(generate("--json-schema", write(d, name, data), "x"), 1, "a bad schema", *words)
        for option in ("--grammar", "--json-schema"):
            fails(generate(option, os.path.join(d, "none"), "x"), 1, "no such file", "none")
            fails(generate(option, d, "x"), 1, "a folder", d)


def start(*args, **more):
    more = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **more}
    return subprocess.Popen([program, *args], stderr=subprocess.PIPE, env=environment(), **more)


def read_some(fd, n):
    out = b""
    until = time.monotonic() + WAIT_S
    while len(out) < n and time.monotonic() < until:
        if select.select([fd], [], [], 1)[0]:
            more = os.read(fd, n - len(out))
            if not more:
                break
            out += more
    return out


def wait_for_handler(p):
    """Until the program catches SIGINT."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
            caught = next(line for line in f if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) & 1 << signal.SIGINT - 1:
            return
        time.sleep(0.01)


def end(p, what, code, *words, stdin=None):
    """The rest of stdout."""
    try:
        out, err = p.communicate(stdin, timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        p.kill()
        check(False, what, "does not end")
        return b""
    text = err.decode(errors="replace")
    check(p.returncode == code and all(w in text for w in words), what, (p.returncode, text[-300:]))
    return out


def test_streaming_and_interrupts():
    with tempfile.TemporaryDirectory() as d:
        forever = ["--model", endless(d), "-t", "0", "--kv-cache-mib", "64"]
        on = ["--ignore-eos", COUNT]
        for sig in (signal.SIGINT, signal.SIGTERM):
            p = start("generate", *forever, *on)
            first = read_some(p.stdout.fileno(), 40)
            check(REST.startswith(first[:len(REST)].decode()) and p.poll() is None,
                  "text before the end", first)
            p.send_signal(sig)
            rest = end(p, f"{sig.name} ends it", 130, "finish: interrupted")
            (first + rest).decode()  # whole characters
        p = start("generate", *forever, *on)
        read_some(p.stdout.fileno(), 10)
        p.stdout.close()
        p.stdout = None
        end(p, "a reader that goes", 1, "stdout", "Broken pipe")
        p = start("generate", *forever, *on)
        fcntl.fcntl(p.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        read_some(p.stdout.fileno(), 10)
        held, since = -1, time.monotonic()
        while time.monotonic() < since + 1:  # until nothing has come for a second
            now = struct.unpack("i", fcntl.ioctl(p.stdout.fileno(), termios.FIONREAD, b"\0" * 4))[0]
            if now != held:
                held, since = now, time.monotonic()
            time.sleep(0.02)
        p.send_signal(signal.SIGINT)
        check(p.wait(WAIT_S) == 130, "a reader that does not read", p.returncode)
        end(p, "nor later", 130, "interrupted")
        p = start("generate", *forever)  # waits for its prompt
        wait_for_handler(p)
        p.send_signal(signal.SIGINT)
        check(end(p, "while the prompt is waited for", 130, "interrupted") == b"", "says nothing")
        with open("/dev/full", "wb") as disk:
            end(start("generate", *forever, *on, stdout=disk), "a full disk", 1, "No space left")


# --- chat ---

def test_chat():
    check(said(chat("hi\nbye\n")) == f"{HELLO}\n{BYE}\n", "what was said is kept in mind",
          said(chat("hi\nbye\n")))
    check(said(chat("hi", "--system", "be brief")) == "Hey.\n", "--system")
    p = chat("hi\n\n/reset\n  \nhi\n/exit\nhi\n", "--system", "be brief")
    check(said(p) == "Hey.\nHey.\n", "/reset keeps the system message, /exit ends", said(p))
    turn = [c["chat"]["messages"] for c in GOLDEN["cases"] if c["chat"] and len(c["chat"]["messages"]) == 1
            and not c["chat"]["tools"]]
    for messages in turn:
        want = next(c["text"] for c in GOLDEN["cases"] if c["chat"] and c["chat"]["messages"] == messages
                    and not c["chat"]["tools"])
        p = chat(messages[0]["content"] + "\r\n")
        check(said(p) == want + "\n", "as transformers", said(p))
    p = chat("hi\nbye\nhi\n")
    lines = p.stderr.decode().splitlines()
    check(len(lines) == 3 and all("finish: " in line for line in lines), "a summary an answer", lines)
    check("cached" not in lines[0] and re.search(r"\((32|64) cached\)", lines[2]),
          "what was computed is not computed again", lines)
    p = chat("hi\n", "-q")
    check(said(p) == HELLO + "\n" and not p.stderr, "quiet", p.stderr)
    check(said(chat("")) == "", "nothing to say")
    p = chat("hi\n\xff\n".encode("latin-1"))
    check(p.returncode == 1 and p.stdout.decode() == HELLO + "\n" and b"stdin:2" in p.stderr, "not UTF-8",
          p.stderr)
    p = chat("x" * 600 + "\nhi\n", "-q")
    fails(p, 1, "more than the context", "context", "512")
    with tempfile.TemporaryDirectory() as d:
        files = ("chat_template.jinja", "tokenizer_config.json")
        bare = model_like(d, None, files, **{"tokenizer_config.json": '{"eos_token": "<|im_end|>"}'})
        fails(chat("hi\n", model=bare), 1, "no template", "chat template", "--chat-template")
        check(said(chat("hi\n", "--chat-template", "chatml", model=bare)) == HELLO + "\n", "chatml")
        own = write(d, "own.jinja", "{{ messages[-1].content }} two")
        check(said(chat("one\n", "--chat-template", own, "--stop", " five")) == " three four\n", "a file")
        bad = write(d, "bad.jinja", "{{ messages | frobnicate }}")
        fails(chat("hi\n", "--chat-template", bad), 1, "an unknown filter", "frobnicate", "line 1")
        fails(chat("hi\n", "--chat-template", d + "/none"), 1, "no such file", "none")
        raises = write(d, "raise.jinja", "{{ raise_exception('not today') }}")
        fails(chat("hi\n", "--chat-template", raises), 1, "a template that refuses", "not today")


def test_chat_answers_at_once():
    p = start("chat", "--model", MODEL, "-t", "0", "-q")
    for line, answer in ((b"hi\n", HELLO), (b"bye\n", BYE)):
        p.stdin.write(line)
        p.stdin.flush()
        got = read_some(p.stdout.fileno(), len(answer) + 1).decode()
        check(got == answer + "\n", "before the next line", got)
    p.send_signal(signal.SIGINT)
    end(p, "Ctrl-C where a line is waited for", 130, "interrupted")


def test_chat_interrupts():
    with tempfile.TemporaryDirectory() as d:
        long = write(d, "long.gbnf", 'root ::= [ -z]+ "0123456789"')
        args = ["chat", "--model", endless(d), "-t", "0", "--kv-cache-mib", "64", "--grammar", long]
        p = start(*args)
        for _ in range(2):
            p.stdin.write(b"hi\n")
            p.stdin.flush()
            got = read_some(p.stdout.fileno(), 20)
            check(len(got) == 20 and p.poll() is None, "an answer that goes on", got)
            p.send_signal(signal.SIGINT)
            line = p.stderr.readline()
            check(b"finish: interrupted" in line, "Ctrl-C ends an answer", line)
            os.set_blocking(p.stdout.fileno(), False)
            rest = p.stdout.read() or b""
            os.set_blocking(p.stdout.fileno(), True)
            check(rest.endswith(b"\n"), "its line ends", rest[-20:])
        end(p, "and the program goes on", 0, stdin=b"/exit\n")
        p = start(*args)
        p.stdin.write(b"hi\n")
        p.stdin.flush()
        read_some(p.stdout.fileno(), 20)
        p.send_signal(signal.SIGTERM)
        end(p, "SIGTERM ends the program", 130, "interrupted")


def read_until(fd, words):
    out = b""
    until = time.monotonic() + WAIT_S
    while words not in out and time.monotonic() < until:
        if select.select([fd], [], [], 1)[0]:
            out += os.read(fd, 4096)
    return out


def test_chat_terminal():
    """Somebody types: a prompt, and what is wrong does not end the conversation."""
    leader, follower = pty.openpty()
    p = subprocess.Popen([program, "chat", "--model", MODEL, "-t", "0"], stdin=follower, stderr=follower,
                         stdout=subprocess.PIPE, env=environment())
    os.close(follower)
    seen = read_until(leader, b"> ")
    check(b"/reset" in seen and b"/exit" in seen, "an introduction", seen)
    os.write(leader, b"hi\n")
    seen = read_until(leader, b"\n> ")
    check(b"finish: stop" in seen, "a turn", seen)
    os.write(leader, b"x " * 600 + b"\n")
    seen = read_until(leader, b"\n> ")
    check(b"context" in seen and b"/reset" in seen, "too much", seen[-300:])
    os.write(leader, b"bye\n")
    read_until(leader, b"\n> ")
    os.write(leader, b"\x04")
    out = p.communicate(timeout=WAIT_S)[0].decode()
    check(p.returncode == 0 and out == f"{HELLO}\n{BYE}\n", "and on, to the end", (p.returncode, out))
    os.close(leader)


def render(model, path, *args, stdin=b""):
    return run("chat", "--model", model, "--render", path, *args, stdin=stdin)


def test_render():
    with tempfile.TemporaryDirectory() as d, tempfile.TemporaryDirectory() as e:
        # no weights, nor anything else but the template
        for name in ("chat_template.jinja", "tokenizer_config.json"):
            os.symlink(os.path.join(MODEL, name), os.path.join(e, name))
        for case in GOLDEN["cases"]:
            if not case["chat"]:
                continue
            messages, tools = case["chat"]["messages"], case["chat"]["tools"]
            whole = write_json(d, "whole.json", {"messages": messages, "tools": tools})
            for model in (MODEL, e):
                p = render(model, whole)
                check(said(p) == case["prompt"] and not p.stderr, "the prompt, to the byte", said(p))
            p = render(e, write_json(d, "open.json", {"messages": messages, "tools": tools,
                                                      "add_generation_prompt": False}))
            check(said(p) + "<|im_start|>assistant\n" == case["prompt"], "without the answer's turn", said(p))
            if not tools:
                p = render(e, "-", stdin=json.dumps(messages, ensure_ascii=False).encode())
                check(said(p) == case["prompt"], "a list alone, from stdin", said(p))
        one = [{"role": "user", "content": "h\u00e9 \u65e5\n\"x\""}]
        path = write_json(d, "one.json", one)
        chatml = "<|im_start|>user\nh\u00e9 \u65e5\n\"x\"<|im_end|>\n<|im_start|>assistant\n"
        check(said(render(e, path, "--chat-template", "chatml")) == chatml, "chatml")
        check(said(render(GGUF, path, "--chat-template", "chatml")) == chatml, "chatml for a GGUF")
        gguf = gguf_with_template(d, "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
                                     "{{ eos_token }}{% if add_generation_prompt %}: {% endif %}")
        tail = said(render(gguf, path)).removeprefix("[user] h\u00e9 \u65e5\n\"x\"\n")
        check(re.fullmatch(r"<\|[a-z_]+\|>: ", tail), "a GGUF's own", tail)
        p = chat("hi\n", "-n", "3", model=gguf)
        check(p.returncode == 0 and told(p, " 3 new tokens"), "which chats", p)
        fails(render(GGUF, path), 1, "a GGUF without", "no chat template")
        own = write(d, "own.jinja", "{{ bos_token }}{{ eos_token }}{{ x }}{{ messages | tojson }}\n")
        p = render(e, write_json(d, "k.json", {"messages": one, "chat_template_kwargs": {"x": [1, "\u65e5"]}}),
                   "--chat-template", own)
        check(said(p) == "<|im_end|>[1, '\u65e5'][{\"role\": \"user\", \"content\": \"h\u00e9 \u65e5\\n\\\"x\\\"\"}]",
              "chat_template_kwargs", said(p))
        for value, words in ((5, ["messages"]), ({}, ["messages"]), ([], ["messages"]), (["x"], ["message 0"]),
                             ({"messages": one, "tools": {}}, ["tools"]),
                             ({"messages": one, "add_generation_prompt": 1}, ["add_generation_prompt"]),
                             ({"messages": one, "chat_template_kwargs": {"messages": 1}}, ["may not set"]),
                             ({"messages": one, "mesages": one}, ["mesages"]),
                             ([{"role": "tool", "content": "x"}], ["cannot begin with a tool"])):
            fails(render(e, write_json(d, "bad.json", value)), 1, str(value)[:40], *words)
        fails(render(e, write(d, "bad.json", "[{]")), 1, "no JSON", "bad.json")
        fails(render(e, write(d, "bad.json", b"[\"\xff\"]")), 1, "no UTF-8", "bad.json", "UTF-8")
        fails(render(e, d + "/none"), 1, "no such file", "none")
        fails(render("no/such", path), 1, "no such model", "no/such")
        fails(render(EMBED, path), 1, "a model without a template", "no chat template")


# --- tokenize, inspect, bench ---

def test_parts():
    text = "Hi <|im_start|> \u00e9"
    p = run("tokenize", "--model", MODEL, text)
    check(b"<|im_start|>" in p.stdout and p.returncode == 0, "tokenize", p)
    for case in GOLDEN["cases"]:
        p = run("tokenize", "--model", MODEL, "--ids", case["prompt"])
        check([int(x) for x in p.stdout.split()] == case["prompt_ids"], "ids", p.stdout)
    text = run("inspect", MODEL).stdout.decode()
    for words in ("Qwen2ForCausalLM", "task: generate", "compiles, shows tools", "loads: yes"):
        check(words in text, words)
    check(re.search(r"workspace for 512 tokens: (?!0\.0)[0-9.]+ MiB", text), "workspace", text[-200:])
    # 2 layers of 2 heads, 12 numbers of a key and 16 of a value, which begins a vector
    check(re.search(r"keys and values: 224 bytes a token in f16, [0-9.]+ MiB for a context of 512", text),
          "what the cache takes", text[-200:])
    p = run("inspect", GGUF)
    check(p.returncode == 0 and b"gguf" not in p.stderr and b"loads: yes" in p.stdout, "a GGUF file", p)
    p = run("inspect", "--chat-template", "chatml", MODEL)
    check(b"chat template: chatml" in p.stdout and b"compiles, no tools" in p.stdout, "another template", p)
    with tempfile.TemporaryDirectory() as d:
        bad = write(d, "bad.jinja", "x\n{{ messages | frobnicate }}")
        p = run("inspect", "--chat-template", bad, MODEL)
        check(p.returncode == 0 and b"does not compile" in p.stdout and b"frobnicate" in p.stdout and
              b"line 2" in p.stdout and b"loads: yes" in p.stdout, "what a template lacks", p)
        broken = model_like(d, None, ("chat_template.jinja",), **{"chat_template.jinja": "{% frob %}"})
        p = run("inspect", broken)
        check(p.returncode == 0 and b"frob" in p.stdout and b"cannot chat" in p.stdout, "the model's own", p)
        fails(chat("hi\n", model=broken), 1, "such a model does not chat", "frob", "--chat-template")
        check(said(generate(COUNT, model=broken)) == REST, "but it generates")


def test_bench():
    p = run("bench", "generate", "--model", MODEL, "--json", "-q", "--streams", "3", "-n", "20",
            "--prompt-tokens", "100", "--threads", "2")
    o = json.loads(p.stdout or b"{}")
    check(p.returncode == 0 and not p.stderr, "bench generate", p)
    for key in ("prefill_tokens_per_s", "decode_tokens_per_s", "decode_read_gb_per_s", "decode_read_share",
                "probed_read_gb_per_s", "weight_bytes", "token_p50_ms", "prefill_gflops"):
        check(o.get(key, 0) > 0, key, o)
    check(o["prompt_tokens"] == 100 and o["new_tokens"] == 20 and o["environment"]["commit"], "sizes", o)
    s = o["streams"]
    check(s["count"] == 3 and s["prompt_tokens"] == 64 and s["tokens_per_s"] > 0 and
          0 < s["token_p50_ms"] <= s["token_p99_ms"] and 0 < s["first_p50_ms"] <= s["first_p99_ms"],
          "streams", s)
    p = run("bench", "generate", "--model", MODEL, "--streams", "1", "-n", "5")
    check(p.returncode == 0 and b"prompt of 384" not in p.stdout and b"prompt of 507" in p.stdout and
          b"texts" not in p.stdout and b"measuring" in p.stderr, "a table; the prompt fits the context", p)
    fails(run("bench", "generate", "--model", EMBED), 1, "an embedder", "embed")
    fails(run("bench", "generate", "--model", MODEL, "-n", "511"), 1, "too many tokens", "512")
    fails(run("bench", "generate", "--model", MODEL, "-n", "20", "--prompt-tokens", "493"), 1,
          "more than the context", "493", "20", "512 of the context")
    with tempfile.TemporaryDirectory() as d:
        fails(run("bench", "generate", "--model", endless(d), "--kv-cache-mib", "1", "--prompt-tokens", "6000"),
              1, "more than the cache", "6000", "4672 of the KV cache", "--kv-cache-mib")
    fails(run("bench", "drawing", "--model", MODEL), 2, "what cannot be measured", "drawing", "generate")


def main():
    global program
    args = sys.argv[1:]
    verbose = "-v" in args
    program = served.start([a for a in args if a != "-v"])
    os.chdir(ROOT)
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
