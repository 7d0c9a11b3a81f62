#!/usr/bin/env python3
"""Chat templates over HTTP: whether tools can be used is the template's word and nobody else's; one
that does not compile stops the chat and nothing more; no message names a file of the server.

    tests/http/test_chat_templates.py [PROGRAM]
"""

import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
TINY = os.path.join(ROOT, DATA, "tiny_chat")
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
                                                                       "properties": {}}}}]
TURNS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
XML = "Call as <tool_call>\n<function=name>\n<parameter=p>\nvalue\n</parameter>\n</function>\n</tool_call>"
TEMPLATES = {
    "none": TURNS,
    "talks": "Never write <tool_call>{}</tool_call>.\n" + TURNS,
    "xml": "{% if tools %}" + XML + "{% endif %}" + TURNS,
    "llama": "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
             '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}'
             "{% endfor %}{% endfor %}",
    "fails": "{{ messages[0].content.x.y }}",
    "deep": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "filter": "one\n{{ messages | frobnicate }}",
    "syntax": "{% if %}",
    "json": "{% for m in messages %}{% set a = m.content | from_json %}{{ a.say }}{% endfor %}",
}


def words(a):
    return ((a.json or {}).get("error") or {}).get("message", "")


def chat(s, name, content="hi", **fields):
    return s.post(CHAT, {"model": name, "temperature": 0, "max_tokens": 4,
                         "messages": [{"role": "user", "content": content}], **fields})


def no_path(a, folder, what):
    said = a.body.decode()
    check(folder not in said and "tiny_chat" not in said and ".jinja" not in said and
          os.path.dirname(ROOT) not in said, f"no path of the server: {what}", a)


def test_tools(s, folder):
    for content in ("hi", "what does <tool_call> mean?", '<tool_call>\n{"name": "f", "arguments": {}}',
                    "<tool_call><function=f>"):
        check(chat(s, "tiny", content, tools=TOOLS).status == 200, "a template of the form", content)
        for name, form in (("none", "does not show tools"), ("talks", "does not show tools"),
                           ("xml", "another form (<tool_call><function=name>"),
                           ("llama", 'another form ({"name": "NAME", "parameters"')):
            for choice in ({}, {"tool_choice": "required"}, {"stream": True}):
                a = chat(s, name, content, tools=TOOLS, **choice)
                check(a.status == 400 and a.code == "unsupported_parameter" and a.param == "tools" and
                      form in words(a), f"{name}: {content} {choice}", a)
                no_path(a, folder, name)
            check(chat(s, name, content).status == 200, f"{name}: without tools", content)
            check(chat(s, name, content, tools=TOOLS, tool_choice="none").status == 200,
                  f"{name}: with tools that are not to be used", content)


def test_broken(s, folder):
    for name, why in (("filter", "line 2: filter 'frobnicate'"), ("syntax", "line 1")):
        for fields in ({}, {"tools": TOOLS}, {"stream": True}):
            a = chat(s, name, **fields)
            check(a.status == 400 and a.code == "no_chat_template" and a.param == "model" and
                  why in words(a) and "--chat-template" in words(a), f"{name}: why it cannot chat", a)
            no_path(a, folder, name)
        a = s.post(TEXT, {"model": name, "prompt": "one two three", "temperature": 0, "max_tokens": 60})
        check(a.json["choices"][0]["text"].startswith(" four five"), f"{name}: completes", a)
        i = s.get("/info?model=" + name).json
        check(i["model_type"]["generator"]["chat"] is False, f"{name}: /info", i)
    for name, why in (("fails", "chat template, line 1: "), ("deep", "chat template, line 1: ")):
        a = chat(s, name)
        check(a.status == 400 and a.code == "chat_template_error" and why in words(a),
              f"{name}: an error while rendering", a)
        no_path(a, folder, name)
    a = chat(s, "json", "no JSON")
    check(a.status == 400 and "from_json" in words(a), "from_json of what is none", a)
    no_path(a, folder, "from_json")
    a = chat(s, "json", '{"say": "one two three"}', max_tokens=60)
    check(a.status == 200 and a.json["choices"][0]["message"]["content"].startswith(" four"),
          "from_json", a)


def run(program, *args):
    return subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)


def test_said(program, folder):
    """The command line names the reason, by inspect and before serving."""
    bad, xml = os.path.join(folder, "filter"), os.path.join(folder, "xml")
    own = os.path.join(folder, "own")
    shutil.copytree(TINY, own)
    shutil.copyfile(bad, os.path.join(own, "chat_template.jinja"))
    for args in (["--chat-template", bad, TINY], [own]):
        p = run(program, "inspect", *args)
        check(p.returncode == 0 and b"does not compile: chat template, line 2" in p.stdout and
              b"so it cannot chat" in p.stdout and b"loads: yes" in p.stdout, f"inspect {args}", p)
    for args in (["--chat-template", bad, "--model", "m=" + TINY], ["--model", "m=" + own]):
        p = run(program, "serve", "--check", "--port", "0", *args)
        check(p.returncode == 0 and b"model m: cannot chat: chat template, line 2" in p.stdout and
              b"cannot chat: chat template, line 2" in p.stderr, f"--check {args}", p)
    p = run(program, "inspect", "--chat-template", xml, TINY)
    check(b"shows tools, calls in another form (<tool_call><function=name>" in p.stdout, "inspect: XML", p)
    p = run(program, "inspect", TINY)
    check(b"shows tools, calls as <tool_call>{...}</tool_call>" in p.stdout, "inspect: the form", p)
    p = run(program, "serve", "--check", "--port", "0", "--model", "m=" + TINY)
    check(b"model m: chat template: shows tools" in p.stdout, "--check: the form", p)
    p = run(program, "chat", "--model", own)
    check(p.returncode == 1 and b"line 2: filter 'frobnicate'" in p.stderr, "trine chat", p)


def test_blank(program, folder):
    """A model's own template that is blank is none: said at the start, and to who wants to chat."""
    for name, text in (("nothing", ""), ("blanks", " \n\t\r\n ")):
        own = os.path.join(folder, name)
        shutil.copytree(TINY, own)
        with open(os.path.join(own, "chat_template.jinja"), "w", encoding="utf-8") as f:
            f.write(text)
        p = run(program, "serve", "--check", "--port", "0", "--model", "m=" + own)
        check(p.returncode == 0 and b"cannot chat: the chat template of the model is empty" in p.stderr, name, p)
        p = run(program, "chat", "--model", own, "--render", os.devnull)
        check(p.returncode != 0, name + ": trine chat", p)
        with Started(program, {"m": os.path.relpath(own, os.path.join(ROOT, DATA))}, "--log-level", "error") as s:
            a = s.post(CHAT, {"model": "m", "messages": [{"role": "user", "content": "a"}]})
            check(a.status == 400 and "is empty" in words(a), name + ": a chat", a)
            a = s.post(TEXT, {"model": "m", "prompt": "a", "max_tokens": 2})
            check(a.status == 200, name + ": a text", a)


def main():
    program = served.start(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        options, models = ["--kv-cache-mib", "1"], {"tiny": "tiny_chat"}
        for name, text in TEMPLATES.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
            models[name] = "tiny_chat"
            options += ["--chat-template", f"{name}={os.path.join(folder, name)}"]
        options[options.index("--kv-cache-mib") + 1] = str(len(models))
        with Started(program, models, "--log-level", "error", *options) as s:
            test_tools(s, folder)
            test_broken(s, folder)
        test_said(program, folder)
        test_blank(program, folder)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
