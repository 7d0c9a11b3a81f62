#!/usr/bin/env python3
"""What an operator sees: log lines as JSON with fields of their types and as text, the counts by
model, warnings and refusals of options that do nothing, limits that name the flag to lower, and that
cut texts are said to be cut on every route.

usage: test_operator.py [TRINE]
"""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, Server, check, skip  # noqa: E402

EMBED, RERANK, CHAT, CLASSIFY = (os.path.join(ROOT, DATA, name) for name in (
    "bert-mean-st6", "bert-cross-encoder", "tiny_chat", "bert-classifier"))
WAIT_S = 120
ODD = 'odd "name" \\ ä \U0001f600'  # as a folder's name: a served name may hold anything

program = os.path.join(ROOT, "build", "trine")


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRINE_")}
    return dict(env, TRINE_DRAIN_DELAY_S="0", **more)


def run(*args, **how):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=WAIT_S,
                          stdin=subprocess.DEVNULL, env=environment(), **how)


class Logged(Server):
    """A server whose log is kept; `log` is read when it has ended."""

    def __init__(self, *args):
        self.file = tempfile.TemporaryFile()
        self.process = subprocess.Popen([program, "serve", "--port", "0", *args], env=environment(),
                                        stdout=subprocess.PIPE, stderr=self.file, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening"):
            self.file.seek(0)
            raise RuntimeError(f"the server does not start: {self.file.read()!r}")
        super().__init__("127.0.0.1", int(line.rsplit(":", 1)[1]))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(WAIT_S) == 0, "the server ends with 0")
        self.file.seek(0)
        return self.file.read().decode()


def test_log_fields():
    with tempfile.TemporaryDirectory() as d:
        keys = os.path.join(d, "keys")
        with open(keys, "w") as f:
            f.write(f"# people\n\nalice:{hashlib.sha256(b'secret').hexdigest()}:user:2\n")
        odd = os.path.join(d, ODD)
        os.symlink(EMBED, odd)
        s = Logged("--log", "json", "--log-level", "debug", "--api-key-file", keys, "--model", odd,
                   "--model", "chat=" + CHAT)
        check(s.get("/livez").status == 200, "a probe")
        check(s.post("/v1/embeddings", {"input": "x"}).status == 401, "no key")
        s.key = "secret"
        a = s.post("/v1/embeddings", {"input": ["the water", "the land"]}, {"x-request-id": "req-1"})
        check(a.status == 200, "embeds", a)
        c = s.post("/v1/chat/completions", {"model": "chat", "max_tokens": 5, "temperature": 0,
                                            "messages": [{"role": "user", "content": "hello"}]})
        check(c.status == 200, "chats", c)
        check(s.post("/v1/completions", {"model": "chat", "prompt": "a", "max_tokens": 3, "stream": True,
                                         "temperature": 0}).status == 200, "streams")
        check(s.post("/v1/embeddings", {"input": 5, "model": ODD}).status == 400, "a bad input")
        check(s.get("/no/such/path").status == 404, "no such path")
        metrics = s.get("/metrics").body.decode()
        text = s.end()

    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError as e:
            check(False, "each line is one JSON object", (e, line))
    check(lines and all(isinstance(x.get(k), str) for x in lines for k in ("time", "level", "event", "message")),
          "time, level, event and message")
    check(not any("secret" in line for line in text.splitlines()), "no key is logged")
    events = {x["event"]: x for x in lines}
    m = [x for x in lines if x["event"] == "model_loaded"]
    shown = m[0]["model"] if m else ""
    check(shown == ODD, "a name comes back whole", shown)
    check(len(m) == 2 and m[0]["task"] == "embed" and m[0]["layers"] == 2 and
          isinstance(m[0]["weight_bytes"], int) and isinstance(m[0]["duration_ms"], (int, float)), "model_loaded", m)
    check(events["ready"]["models"] == 2 and events["ready"]["port"] == s.port and
          events["ready"]["memory_limit_bytes"] >= events["ready"]["memory_planned_bytes"], "ready", events["ready"])
    check({"draining", "stopped"} <= set(events), "the end", set(events))

    requests = [x for x in lines if x["event"] == "request"]
    by = lambda **want: [x for x in requests if all(x.get(k) == v for k, v in want.items())]
    e = by(id="req-1")
    used = a.json["usage"]["prompt_tokens"]
    check(len(e) == 1 and e[0]["model"] == ODD and e[0]["key"] == "alice" and e[0]["status"] == 200 and
          e[0]["route"] == "/v1/embeddings" and e[0]["method"] == "POST" and e[0]["level"] == "info" and
          e[0]["input_tokens"] == used and e[0]["output_tokens"] == 0 and e[0]["truncated"] == 0 and
          e[0]["stream"] is False and isinstance(e[0]["duration_ms"], float) and "error" not in e[0], "an embedding", e)
    g = by(route="/v1/chat/completions")
    usage = c.json["usage"]
    check(len(g) == 1 and g[0]["model"] == "chat" and g[0]["input_tokens"] == usage["prompt_tokens"] and
          g[0]["output_tokens"] == usage["completion_tokens"], "a chat", (g, usage))
    st = by(route="/v1/completions")
    check(len(st) == 1 and st[0]["stream"] is True and st[0]["output_tokens"] > 0, "a stream", st)
    refused = by(status=401)
    check(len(refused) == 1 and "key" not in refused[0] and refused[0]["error"] == "invalid_api_key", "401", refused)
    check(len(by(status=400)) == 1 and by(status=400)[0]["key"] == "alice" and by(status=400)[0]["error"], "400")
    check(len(by(status=404)) == 1, "404")
    check(by(route="/livez")[0]["level"] == "debug", "a probe is of debug")

    label = 'odd \\"name\\" \\\\ ä \U0001f600'
    found = {k: float(v) for k, v in re.findall(r"^(trine_model_\w+\{.*\}) (\S+)$", metrics, re.M)}
    check(found.get(f'trine_model_input_tokens_total{{model="{label}",task="embed"}}') == used, "tokens by model", found)
    check(found.get(f'trine_model_requests_total{{model="{label}",task="embed",status="200"}}') == 1, "requests by model")
    check(found.get(f'trine_model_requests_total{{model="{label}",task="embed",status="400"}}') == 1, "refused ones too")
    check(found.get('trine_model_output_tokens_total{model="chat",task="generate"}') ==
          usage["completion_tokens"] + st[0]["output_tokens"], "output tokens by model", found)


def test_failure():
    """A start that fails ends with a line of the log's form."""
    p = run("serve", "--log", "json", "--port", "0", "--model", "/no/such/model")
    lines = [json.loads(line) for line in p.stderr.splitlines()]
    check(p.returncode == 1 and lines[-1]["event"] == "failed" and lines[-1]["level"] == "error" and
          "/no/such/model" in lines[-1]["error"], "a failure as JSON", p)
    p = run("serve", "--port", "0", "--model", "/no/such/model")
    check(p.returncode == 1 and p.stderr.startswith("trine serve: "), "and as text", p)


def test_text_log():
    s = Logged("--model", "e=" + EMBED)
    s.post("/v1/embeddings", {"input": "the water", "model": "e"}, {"x-request-id": "req-2"})
    s.get("/livez")
    text = s.end()
    line = [x for x in text.splitlines() if "req-2" in x]
    check(len(line) == 1 and all(w in line[0] for w in (" info ", "POST /v1/embeddings: 200", "model=e",
                                                        "input_tokens=")), "a line of text", line)
    check("/livez" not in text, "probes are not of info")


def test_truncation():
    """On every route what was cut is said to be, and --auto-truncate makes every route cut."""
    long = "the water and the land " * 60
    models = ["--model", "e=" + EMBED, "--model", "r=" + RERANK, "--model", "c=" + CLASSIFY]
    cuts = (("/v1/embeddings", {"model": "e", "input": [long, "x"]}), ("/v1/classify", {"model": "c", "input": long}))
    always = (("/embed", {"inputs": long}), ("/similarity", {"inputs": {"source_sentence": "x", "sentences": [long]}}),
              ("/predict", {"model": "c", "inputs": long}), ("/rerank", {"model": "r", "query": "x", "texts": [long]}),
              ("/v1/rerank", {"model": "r", "query": "x", "documents": [long, "y"]}),
              ("/v2/rerank", {"model": "r", "query": "x", "documents": [long]}),
              ("/v2/embed", {"model": "e", "texts": [long], "input_type": "x", "embedding_types": ["float"]}),
              ("/v1/embed", {"model": "e", "texts": [long], "input_type": "x"}))
    for flags in ([], ["--auto-truncate"]):
        s = Logged("--log", "json", *models, *flags)
        asked = always + (cuts if flags else ())
        for path, body in asked:
            body = {k: v for k, v in body.items() if k != "input_type"}
            a = s.post(path, body)
            check(a.status == 200 and a.headers.get("x-truncated") == "1" and
                  "were cut" in (a.headers.get("x-warning") or ""), f"{path} {flags}", (a, dict(a.headers)))
        for path, body in cuts:
            a = s.post(path, dict(body, truncate=False) if flags else body)
            check(a.status == 400 and "truncate" in a.body.decode(), f"{path} refuses {flags}", a)
            a = s.post(path, dict(body, truncate=True))
            check(a.status == 200 and a.headers.get("x-truncated") == "1", f"{path} is told to cut {flags}", a)
        a = s.post("/v1/embeddings", {"model": "e", "input": "short"})
        check(a.status == 200 and not a.headers.get("x-truncated") and not a.headers.get("x-warning"), "short", a)
        logged = [x for x in map(json.loads, s.end().splitlines()) if x.get("truncated")]
        check(len(logged) == len(asked) + len(cuts), "the log says so", len(logged))


def test_advice():
    def said(*args, code=0):
        p = run("serve", "--check", *args)
        return p.stderr if check(p.returncode == code, " ".join(args), p) else ""
    for host in ("0.0.0.0", "192.0.2.1"):
        check("without --api-key-file" in said("--model", EMBED, "--host", host), "an open port: " + host)
    for host in ("127.0.0.1", "127.0.0.2", "localhost"):
        check("--api-key-file" not in said("--model", EMBED, "--host", host), "this machine's own: " + host)
    with tempfile.TemporaryDirectory() as d:
        keys, empty = os.path.join(d, "keys"), os.path.join(d, "empty.jinja")
        with open(keys, "w") as f:
            f.write(f"a:{hashlib.sha256(b'k').hexdigest()}\n")
        check("--host" not in said("--model", EMBED, "--host", "0.0.0.0", "--api-key-file", keys), "with keys")
        for content in ("", " \n\t\n"):
            with open(empty, "w") as f:
                f.write(content)
            check("is empty" in said("--model", CHAT, "--chat-template", empty, code=1), "an empty template")
    for option, value in (("kv-cache-mib", "5"), ("kv-dtype", "f16"), ("max-sequences", "3"), ("no-speculation", None),
                          ("shared-prefix-cache", None)):
        flag = ["--" + option] + ([value] if value else [])
        check(f"--{option} has no effect" in said("--model", EMBED, *flag), option + " without a generator")
    for option in ("accept-token-ids", "auto-truncate"):
        check(f"--{option} has no effect" in said("--model", CHAT, "--" + option), option + " of a generator")
    check("no effect" not in said("--model", EMBED, "--model", CHAT, "--kv-cache-mib", "5", "--auto-truncate"), "of use")
    check("a rerank model" in said("--model", RERANK, "--pooling", "cls", code=1), "--pooling of a reranker")
    check("an embed model" in said("--model", EMBED, "--chat-template", "chatml", code=1), "an embedder's template")
    check("an embed model" in said("--model", EMBED, "--task", "generate", code=1), "an article")
    check("nowhere" in said("--model", EMBED, "--host", "nowhere", code=1), "no address, by --check too")
    for args in (("--drain-delay-s", "50", "--drain-timeout-s", "30"), ("--drain-delay-s", "20")):
        check("--drain-timeout-s 30" in said("--model", EMBED, *args), "a delay cut short: " + " ".join(args))
    for args in (("--drain-delay-s", "15"), ("--drain-timeout-s", "4"), ()):
        check("drain" not in said("--model", EMBED, *args), "a delay as it was asked for: " + " ".join(args))
    with tempfile.TemporaryDirectory() as broken:  # a clash of names is told before anything is loaded
        with open(os.path.join(broken, "config.json"), "w") as f:
            f.write("{}")
        for first, *more in (("a=" + EMBED,), ("x=" + EMBED, "--alias", "a=x"), (EMBED, "--alias", "a=" + EMBED.split("/")[-1])):
            check("two models are called" in said("--model", first, "--model", "a=" + broken, *more, code=1), "two of a name")
    check("processors" in said("--model", EMBED, "--threads", "900"), "more threads than processors")
    p = run("serve", "--check", "--model", EMBED, "--threads", "100000")
    check(p.returncode == 2 and "--threads" in p.stderr, "too many threads", p)
    p = run("rerank", "--model", EMBED, "--query", "q", "--native", __file__)
    check(p.returncode == 1 and "--native" in p.stderr and "an embed model" in p.stderr, "an embedder's activation", p)
    p = run("embed", "--model", RERANK, __file__)
    check(p.returncode == 1 and "a rerank model" in p.stderr, "a reranker embeds nothing", p)
    p = run("serve", "--help")
    check("NAME:SHA256[:ROLE[:WEIGHT]]" in p.stdout and "sha256sum" in p.stdout, "--help: the key file")


def test_limits():
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    for how in (["--check"], ["--port", "0"]):
        p = run("serve", "--model", EMBED, "--max-connections", "256", *how, preexec_fn=few)
        check(p.returncode == 1 and "ulimit -n" in p.stderr and p.stderr.count("--max-connections") >= 1,
              f"{how} with 64 files", p)


def few_threads(most):
    """A control group with so many threads at most, of either version; None: none can be made."""
    for line in open("/proc/self/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        if controllers not in ("", "pids"):
            continue
        folder = f"/sys/fs/cgroup/{controllers}{path.rstrip('/')}/trine-threads-{os.getpid()}"
        try:
            os.mkdir(folder)
            with open(folder + "/pids.max", "w") as f:
                f.write(str(most))
            return folder
        except OSError:
            if os.path.isdir(folder):
                os.rmdir(folder)
    return None


def test_thread_limit():
    group = few_threads(40)
    if not group:
        skip("no control group can be made here")
        return

    def enter():
        with open(group + "/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))

    try:
        p = run("serve", "--model", EMBED, "--port", "0", preexec_fn=enter)
        check(p.returncode == 1 and all("--max-connections" in x for x in p.stderr.splitlines() if "thread" in x) and
              "cannot start" in p.stderr, "connections take all threads", p)
        p = run("serve", "--model", EMBED, "--port", "0", "--max-connections", "4", "--threads", "100", preexec_fn=enter)
        check(p.returncode == 1 and "lower --threads" in p.stderr, "compute takes all threads", p)
    finally:
        os.rmdir(group)


def main():
    global program
    program = served.start(sys.argv[1:])
    test_log_fields()
    test_failure()
    test_text_log()
    test_truncation()
    test_advice()
    test_limits()
    test_thread_limit()
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
