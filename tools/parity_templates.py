#!/usr/bin/env python3
"""Renders real chat templates with the interpreter and with jinja2 as transformers sets it up, and
compares byte for byte. Nothing of the templates is kept.

    python3 tools/parity_templates.py build/bench/template_render PATH...      (needs: transformers)

PATH: a .jinja file, a tokenizer_config.json, or a folder of either. Prints a line per template and
why one differs; exits 1 when any that compiles differs.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import jinja2.sandbox
from transformers.utils import chat_template_utils

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a <place> & \"time\"",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name, e.g. Zürich"},
            "days": {"type": "integer", "default": 1, "minimum": 0},
            "unit": {"type": "string", "enum": ["c", "f"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
            "required": ["city"]}}},
    {"type": "function", "function": {"name": "stop", "description": "Stops.",
                                      "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "abcdef123", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "tags": ["a", "b"]}}}
CALL_TEXT = {"id": "abcdef123", "type": "function",
             "function": {"name": "get_weather", "arguments": "{\"city\": \"Bern\"}"}}
U = {"role": "user", "content": "Hello, <b>world</b> & 'you'!"}
A = {"role": "assistant", "content": "  Hi there.\n"}
S = {"role": "system", "content": "Be brief.\nAlways."}
TOOL_TURN = [U, {"role": "assistant", "content": "", "tool_calls": [CALL]},
             {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "{\"t\": 21.5}"}]
PARTS = {"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": " two"}]}
CONTEXTS = {
    "user": {"messages": [U], "add_generation_prompt": True},
    "turns": {"messages": [U, A, {"role": "user", "content": "日本語 😀\n\n"}], "add_generation_prompt": True},
    "system": {"messages": [S, U, A, U], "add_generation_prompt": False},
    "tools": {"messages": [S, U], "tools": TOOLS, "add_generation_prompt": True},
    "tools, no system": {"messages": [U], "tools": TOOLS, "add_generation_prompt": True},
    "call": {"messages": TOOL_TURN, "tools": TOOLS, "add_generation_prompt": True},
    "call, answer": {"messages": [S] + TOOL_TURN + [A, U], "tools": TOOLS, "add_generation_prompt": True},
    "two calls": {"messages": [U, {"role": "assistant", "content": "Both.", "tool_calls": [CALL, CALL]},
                               TOOL_TURN[2], TOOL_TURN[2], A], "tools": TOOLS},
    "call as text": {"messages": [U, {"role": "assistant", "content": None, "tool_calls": [CALL_TEXT]},
                                  TOOL_TURN[2]], "tools": TOOLS, "add_generation_prompt": True},
    "parts": {"messages": [PARTS], "add_generation_prompt": True},
    "thinking": {"messages": [U, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes.",
                                  "reasoning_content": "hm"}, U],
                 "add_generation_prompt": True, "enable_thinking": True},
    "no thinking": {"messages": [U], "add_generation_prompt": True, "enable_thinking": False},
    "documents": {"messages": [U], "documents": [{"title": "T", "text": "x", "content": "y"}],
                  "add_generation_prompt": True},
    "wrong order": {"messages": [A, A, S], "add_generation_prompt": True},
    "empty": {"messages": []},
    "unknown role": {"messages": [{"role": "narrator", "content": "x"}]},
}
NOW = 1753920000


def sources(paths):
    for path in map(pathlib.Path, paths):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix == ".jinja":
                yield file.name, file.read_text()
            elif file.name == "tokenizer_config.json":
                template = json.loads(file.read_text()).get("chat_template")
                if isinstance(template, str):
                    yield file.parent.name, template
                for item in template if isinstance(template, list) else []:
                    yield file.parent.name + ":" + item["name"], item["template"]


class Clock(chat_template_utils.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW)


def make_environment():
    """What transformers compiles with, and from_json, which llama.cpp's templates use besides."""
    plain = jinja2.sandbox.ImmutableSandboxedEnvironment.from_string

    def from_string(self, *args, **kwargs):
        self.filters.setdefault("from_json", json.loads)
        return plain(self, *args, **kwargs)

    jinja2.sandbox.ImmutableSandboxedEnvironment.from_string = from_string


def reference(template, context):
    try:
        return chat_template_utils._compile_jinja_template(template).render(**context), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def main():
    chat_template_utils.datetime = Clock
    make_environment()
    binary, same, differ, refused = sys.argv[1], 0, 0, 0
    rendered = failed_alike = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for name, template in sources(sys.argv[2:]):
            (work / "template").write_text(template, newline="")
            wrong = []
            for label, context in CONTEXTS.items():
                context = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
                           **context}
                want, error = reference(template, context)
                (work / "context").write_text(json.dumps(context))
                got = subprocess.run([binary, work / "template", work / "context", str(NOW * 1000000)],
                                     capture_output=True)
                said = got.stderr.decode().strip().replace(str(work / "template"), "").lstrip(", ")
                if got.returncode == 3:
                    wrong = None
                    break
                if got.returncode not in (0, 4):
                    wrong.append(f"{label}: exit {got.returncode}: {said}")
                elif (got.returncode == 4) != (want is None):
                    wrong.append(f"{label}: here {said or 'rendered'}; jinja2 {error or 'rendered'}")
                elif want is not None and got.stdout != want.encode():
                    at = next((i for i, (a, b) in enumerate(zip(got.stdout, want.encode())) if a != b),
                              min(len(got.stdout), len(want.encode())))
                    wrong.append(f"{label}: byte {at}: {got.stdout[max(0, at - 30):at + 30]!r} not "
                                 f"{want.encode()[max(0, at - 30):at + 30]!r}")
                else:
                    rendered += want is not None
                    failed_alike += want is None
            if wrong is None:
                refused += 1
                print(f"refused  {name}: {said}" + ("" if want is not None else f" (jinja2: {error})"))
            elif wrong:
                differ += 1
                print(f"DIFFERS  {name}: " + "; ".join(wrong))
            else:
                same += 1
    print(f"{same} templates equal, {differ} differ, {refused} refused; of {len(CONTEXTS)} contexts each, "
          f"{rendered} renderings equal, {failed_alike} errors on both sides")
    return 1 if differ else 0


sys.exit(main())
