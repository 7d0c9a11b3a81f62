#!/usr/bin/env python3
"""What the service's options make of text generation: templates, sizes, keys and whose prefixes are
shared, a cache that is shorter than the model's context.

    tests/http/test_generate_options.py [PROGRAM]

FAULTS rows are named where a check is theirs.
"""

import hashlib
import json
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402
from test_generate import (  # noqa: E402
    COUNT, HELLO, NAME, REST, TEXT, TOOLS, begin_stream, chat, joined, refused, said, stream, text)


def test_options(program):
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
        f.write("{% for m in messages %}{{ m.content }}{% endfor %}")
        f.flush()
        with Started(program, {NAME: "tiny_chat"}, "--chat-template", f.name, "--max-sequences", "2",
                     "--kv-cache-mib", "1", "--no-speculation", "--kv-dtype", "f32") as s:
            a = chat(s, [{"role": "user", "content": COUNT}], max_tokens=60)
            check(said(a) == REST, "--chat-template FILE", a)
            refused(chat(s, tools=TOOLS), "and it takes no tools", code="unsupported_parameter",
                    param="tools")
            a = text(s, prompt=[COUNT] * 5)
            check([c["text"] for c in a.json["choices"]] == [REST] * 5, "--max-sequences", a)
            check(s.metric("drafted_tokens_total") == 0, "--no-speculation")
            check(s.metric("kv_bytes") <= 1 << 20, "--kv-cache-mib", s.metric("kv_bytes"))
            refused(s.post("/v1/embeddings", {"input": "x"}), "no embeddings", status=404)
    with Started(program, {NAME: "tiny_chat"}, "--chat-template", "chatml") as s:
        check(said(chat(s)) == HELLO, "--chat-template chatml", chat(s))


def test_keys(program):
    """Whose prefixes are shared, texts set aside for want of room, and the end under load."""
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        for key in ("ann", "bob"):
            f.write(f"{key}:{hashlib.sha256(key.encode()).hexdigest()}:user\n")
        f.flush()
        with Started(program, {NAME: "tiny_chat"}, "--api-key-file", f.name, "--kv-cache-mib", "1") as s:
            def cached(key, prompt):
                s.key = key
                a = text(s, prompt=prompt, max_tokens=1)
                return a.json["usage"]["prompt_tokens_details"]["cached_tokens"]
            prompt = [5 + i * 7 % 300 for i in range(200)]
            got = [cached(k, prompt) for k in ("ann", "ann", "bob", "bob", "ann")]
            check(got == [0, 192, 0, 192, 192], "a prefix is shared within a key only", got)
            check(cached("ann", prompt[:100] + [9] + prompt[101:]) == 96, "up to where it differs")
            s.key = "eve"
            refused(text(s), "row 27: an unknown key", status=401)
            s.key = "ann"
            fields = {"temperature": 1.5, "max_tokens": 480, "ignore_eos": True, "n": 30, "seed": 3}
            alone = [text(s, **dict(fields, n=1)).json["choices"][0]["text"]]
            many = text(s, **fields).json["choices"]
            check(s.metric("preemptions_total") > 0, "row 37: the cache is too small for all")
            check(many[0]["text"] == alone[0] and {c["finish_reason"] for c in many} == {"length"},
                  "row 37: and no text suffers", many[0])
            again = joined(stream(s, TEXT, prompt=COUNT, **fields))
            check(again == {c["index"]: c["text"] for c in many}, "row 37: nor a stream")
            streams = [begin_stream(s, "ann") for _ in range(4)]
            for c in streams:
                c.recv(1)
            s.process.send_signal(signal.SIGTERM)  # once: the second would end it at once
            for c in streams:
                raw = b"".join(iter(lambda c=c: c.recv(65536), b""))
                check(raw.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"),
                      "row 59: a stream that has begun is finished", raw[-80:])
                c.close()
            s.process.wait(timeout=60)


def test_short_cache(program):
    """The model's context is 512 tokens, its cache (shared with others') holds fewer."""
    models = {f"{NAME}{i}": "tiny_chat" for i in range(24)}
    with Started(program, models, "--kv-cache-mib", "1", "--kv-dtype", "f32",
                 "--log-level", "error") as s:
        first = {"model": f"{NAME}0"}
        room = s.get("/info").json["model_type"]["generator"]["context"]
        check(64 <= room <= 256 and room % 32 == 0, "the cache is short", room)
        check(s.get("/info").json["max_input_length"] == room, "/info", room)
        listed = s.get("/v1/models").json["data"]
        check({m["max_input_length"] for m in listed} == {room}, "/v1/models", listed[0])
        one = s.get(f"/v1/models/{NAME}0").json
        check(one["max_input_length"] == room, "/v1/models/NAME", one)

        def ends(a, tokens, what):
            check(a.status == 200 and a.json["choices"][0]["finish_reason"] == "length" and
                  a.json["usage"]["completion_tokens"] == tokens, what, a)
        ends(text(s, **first, prompt=[5] * 40, max_tokens=472, ignore_eos=True), room - 40,
             "row 37: one that alone fills the cache ends with length")
        ends(text(s, **first, prompt=[5] * (room - 1), max_tokens=9, ignore_eos=True), 1, "and with one token's room")
        ends(chat(s, **first, ignore_eos=True), room - chat(s, **first).json["usage"]["prompt_tokens"], "and chat's rest")
        a = text(s, **first, prompt=[5] * room, max_tokens=0, echo=True)
        check(a.status == 200, "a prompt that is only scored may fill it", a)
        big = json.loads(said(chat(s, **first, max_tokens=room * 2, response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": {
                "type": "array", "items": {"type": "integer"}, "minItems": 10}}})))
        check(len(big) >= 10, "a schema's text is complete within the cache", big)
        for prompt, n in ((room, 1), (room + 1, 0), (400, None)):
            a = text(s, **first, prompt=[5] * prompt, max_tokens=n, echo=n == 0)
            refused(a, f"row 37: a prompt of {prompt}", code="context_length_exceeded", param="prompt",
                    words="--kv-cache-mib")
            message = a.json["error"]["message"]
            check(str(room) in message and "512" in message and str(prompt) in message, "all counts", message)
        refused(chat(s, [{"role": "user", "content": "x" * 300}], **first), "and chat's", param="messages",
                code="context_length_exceeded", words="KV cache")
        for field, value, param in (("max_tokens", 473, "max_tokens"), ("prompt", [5] * 513, "prompt")):
            a = text(s, **first, **{"prompt": [5] * 40, field: value})
            refused(a, "beyond the model's own context", code="context_length_exceeded", param=param,
                    words="This model's maximum context length is 512 tokens, however you requested ")
            check("cache" not in a.json["error"]["message"], "the cache is not the reason", a)
        refused(chat(s, **first, max_tokens=600), "nor in chat", code="context_length_exceeded", param="max_tokens",
                words="This model's maximum context length is 512 tokens, however you requested ")
        refused(chat(s, [{"role": "user", "content": "x" * 3000}], **first, max_tokens=5), "a long chat",
                code="context_length_exceeded", param="messages", words="This model's maximum context length is 512 tokens, however you requested ")


def main():
    program = served.start(sys.argv[1:])
    test_options(program)
    test_keys(program)
    test_short_cache(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
