#!/usr/bin/env python3
"""How clients find the service: base addresses as people type them, where they put their key, and what a browser's
page of another origin may do (CORS).

Usage: python3 tests/http/test_routes.py [TRINE]"""

import hashlib
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

MODELS = {"e": "bert-mean-st6", "g": "tiny_chat"}
TEXT = {"model": "e", "input": "x"}
TALK = {"model": "g", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
STAINLESS = "authorization,content-type,x-stainless-lang,x-stainless-os,x-stainless-retry-count,x-stainless-timeout"


def test_paths(s):
    want = s.post("/v1/embeddings", TEXT)
    check(want.status == 200, "embeddings", want)
    for path in ("/embeddings", "/v1/embeddings/", "//v1/embeddings", "/v1//embeddings//", "/embeddings/",
                 "///embeddings", "/embeddings?api-version=1"):
        a = s.post(path, TEXT)
        check(a.status == 200 and a.json["data"] == want.json["data"], path, a)
    for path in ("/chat/completions", "/v1/chat/completions/", "//chat//completions"):
        check(s.post(path, TALK).status == 200, path)
        check(s.get(path).status == 405, path)
    a = s.post("/completions", {"model": "g", "prompt": "x", "max_tokens": 2})
    check(a.status == 200 and a.json["object"] == "text_completion", "/completions", a)
    for path in ("/models", "/v1/models/", "//models/"):
        a = s.get(path)
        check(a.status == 200 and {m["id"] for m in a.json["data"]} >= {"e", "g"}, path, a)
    for path in ("/models/e", "/v1/models/e/", "//v1//models//e"):
        a = s.get(path)
        check(a.status == 200 and a.json["id"] == "e", path, a)
    check(s.get("/models/nobody").code == "model_not_found", "/models/nobody")
    # what both spellings name stays what it was: TEI's /embed is not Cohere's /v1/embed
    a = s.post("/embed", {"inputs": "x"})
    check(a.status == 200 and isinstance(a.json, list), "/embed", a)
    for path in ("/v1", "/v1/v1/embeddings", "/v2/embeddings", "/embeddings/x", "/v1/livez", "/v1embeddings"):
        check(s.post(path, TEXT).status == 404, path)


def test_methods(s):
    for path in ("/", "/v1/models", "/models", "/v1/models/e", "/info", "/livez", "/readyz", "/health", "/ping",
                 "/metrics", "/models/"):
        a, b = s.get(path), s.ask("HEAD", path)
        check(a.status == b.status == 200 and b.body == b"", f"HEAD {path}", (a, b))
        if path != "/metrics":
            check(a.headers["Content-Length"] == b.headers["Content-Length"], f"HEAD {path}",
                  (a.headers["Content-Length"], b.headers["Content-Length"]))
    a = s.get("/")
    check(a.headers["Content-Type"].startswith("text/plain") and b"trine is running" in a.body, "GET /", a)
    for path, allow in (("/embeddings", "POST"), ("/v1/models/e/", "GET, HEAD"), ("/", "GET, HEAD, POST"),
                        ("//rerank", "POST"), ("/livez", "GET, HEAD")):
        a = s.ask("DELETE", path)
        check(a.status == 405 and a.headers["Allow"] == allow, f"Allow of {path}", a.headers["Allow"])
    for method in ("TRACE", "CONNECT", "PROPFIND"):
        a = s.ask(method, "/v1/embeddings")
        check(a.status == 405 and a.headers["Allow"] == "POST", f"{method} /v1/embeddings", a)
        check(s.ask(method, "/").headers["Allow"] == "GET, HEAD, POST", f"{method} /")
        check(s.ask(method, "/nowhere").status == 404, f"{method} /nowhere")
        check(s.get("/v1/models").status == 200, f"behind {method}")
    check(s.ask("HEAD", "/v1/embeddings").status == 405, "HEAD where only POST is")


def test_metrics(s):
    text = s.get("/metrics").body.decode()
    routes = {line.split('route="')[1].split('"')[0] for line in text.splitlines() if 'route="' in line}
    check("/v1/embeddings" in routes and "/v1/models/" in routes, "metrics know the route", routes)
    check(not routes & {"/embeddings", "//v1/embeddings", "/v1/embeddings/", "/models"}, "and not its spellings",
          routes)


def test_keys(program):
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        f.write(f"ann:{hashlib.sha256(b'sk-ann').hexdigest()}\n")
        f.flush()
        with Started(program, {"e": MODELS["e"]}, "--api-key-file", f.name) as s:
            for name, value in (("Authorization", "Bearer sk-ann"), ("authorization", "bearer   sk-ann"),
                                ("Authorization", "sk-ann"), ("Authorization", "  sk-ann "), ("x-api-key", "sk-ann"),
                                ("X-API-Key", "sk-ann"), ("api-key", "sk-ann"), ("api-key", "Bearer sk-ann")):
                a = s.post("/v1/embeddings", TEXT, {name: value})
                check(a.status == 200, f"{name}: {value}", a)
            a = s.post("/v1/embeddings", TEXT, {"Authorization": "Bearer anything", "x-api-key": "sk-ann"})
            check(a.status == 200, "one of two is right", a)
            for headers in ({}, {"Authorization": "Bearer sk-bob"}, {"Authorization": "Bearersk-ann"},
                            {"Authorization": "Basic sk-ann"}, {"x-api-key": "sk-an"}, {"x-api-key": ""},
                            {"Authorization": "Bearer "}, {"Authorization": "Bearer"}, {"x-key": "sk-ann"}):
                for path in ("/v1/embeddings", "/embeddings", "//v1/embeddings"):
                    a = s.post(path, TEXT, headers)
                    check(a.status == 401 and a.code == "invalid_api_key" and "WWW-Authenticate" in a.headers,
                          f"{path} with {headers}", a)
            check(s.get("/models").status == 401, "/models needs a key")
            check([s.get(p).status for p in ("/", "/livez", "//readyz/", "/health", "/ping")] == [200] * 5,
                  "probes need none")


def test_any_origin(program):
    with Started(program, {"e": MODELS["e"]}, "--cors-origin", "*") as s:
        for path in ("/v1/embeddings", "/embeddings", "/v1/models/e", "//v1/embeddings/"):
            a = s.ask("OPTIONS", path, None, {"Origin": "http://localhost:5173",
                                              "Access-Control-Request-Method": "POST",
                                              "Access-Control-Request-Headers": STAINLESS})
            check(a.status == 204 and a.headers["Access-Control-Allow-Origin"] == "*"
                  and a.headers["Access-Control-Allow-Headers"] == STAINLESS
                  and int(a.headers["Access-Control-Max-Age"]) >= 600 and "Origin" in a.headers["Vary"],
                  f"preflight of {path}", a.headers)
            check(("GET" if "models" in path else "POST") in a.headers["Access-Control-Allow-Methods"], path)
        a = s.ask("OPTIONS", "/v1/embeddings", None, {"Origin": "http://x", "Access-Control-Request-Headers": "a b(c)"})
        check(a.status == 204 and "b(c)" not in a.headers["Access-Control-Allow-Headers"], "only names are echoed")
        a = s.post("/v1/embeddings", TEXT, {"Origin": "http://x"})
        exposed = a.headers["Access-Control-Expose-Headers"]
        check(all(name in exposed for name in ("*", "x-request-id", "x-warning", "Retry-After")), "exposed", exposed)


def test_origins(program):
    first, second, third = "http://localhost:5173", "https://example.org", "https://app.example.org:8443"
    with Started(program, MODELS, "--cors-origin", f"{first},{second}", "--cors-origin", third) as s:
        for origin in (first, second, third, "HTTPS://EXAMPLE.ORG"):
            own = second if origin[0] == "H" else origin
            a = s.post("/v1/embeddings", TEXT, {"Origin": origin})
            check(a.status == 200 and a.headers["Access-Control-Allow-Origin"] == own and a.headers["Vary"] == "Origin",
                  f"origin {origin}", a.headers)
        for origin in ("http://localhost:5174", "https://example.org.evil.net", "https://evil.net", "null", None):
            headers = {"Origin": origin} if origin else {}
            a = s.post("/v1/embeddings", TEXT, headers)
            check(a.status == 200 and "Access-Control-Allow-Origin" not in a.headers and a.headers["Vary"] == "Origin",
                  f"origin {origin}", a.headers)
            a = s.ask("OPTIONS", "/v1/embeddings", None, headers)
            check(a.status == 204 and "Access-Control-Allow-Origin" not in a.headers, f"preflight of {origin}")
        # a page must be able to read why it was refused, whoever refuses
        page = {"Origin": third}
        for what, a in (("a wrong value", s.post("/v1/embeddings", {"model": "e", "input": 5}, page)),
                        ("an unknown path", s.get("/nowhere", page)),
                        ("an unknown method", s.ask("DELETE", "/v1/embeddings", None, page)),
                        ("a wrong type", s.ask("POST", "/v1/embeddings", b"x", dict(page, **{"Content-Type": "text/xml"}))),
                        ("a coding", s.post("/v1/embeddings", TEXT, dict(page, **{"Content-Encoding": "gzip"}))),
                        ("a body too large", s.ask("POST", "/v1/embeddings", None, dict(page, **{"Content-Length": "99999999"}))),
                        ("an expectation", s.ask("POST", "/v1/embeddings", None, dict(page, Expect="more"))),
                        ("a bad path", s.get("/a/../b", page)),
                        ("a stream", s.post("/v1/chat/completions", dict(TALK, stream=True), page))):
            check(a.headers["Access-Control-Allow-Origin"] == third, f"CORS of {what}", (a.status, a.headers.items()))


def test_options(program):
    for value, why in (("http://x/", "no path"), ("localhost:5173", "is not an origin"), ("http://x/app", "no path"),
                       (",", "names no origin"), ("http://", "is not an origin"),
                       ("*,http://a", "give it alone"), ("http://a, *", "give it alone")):
        p = subprocess.run([program, "serve", "--model", DATA + MODELS["e"], "--cors-origin", value], cwd=ROOT,
                           capture_output=True, text=True, timeout=60)
        check(p.returncode == 2 and why in p.stderr and "--cors-origin" in p.stderr, f"--cors-origin {value}", p.stderr)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, MODELS) as s:
        test_paths(s)
        test_methods(s)
        test_metrics(s)
        check(s.ask("OPTIONS", "/v1/embeddings").status == 405, "no CORS unless it is asked for")
    test_keys(program)
    test_any_origin(program)
    test_origins(program)
    test_options(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
