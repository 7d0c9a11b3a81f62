#!/usr/bin/env python3
"""Compares the form of tool calls that `trine inspect` finds in real chat templates with what jinja2, as
transformers sets it up, renders of a conversation of this script's own. Nothing of the templates is kept.

    python3 tools/parity_tool_forms.py build/trine MODEL PATH...      (needs: transformers)

MODEL: any generating model (its template is replaced). PATH: .jinja files or folders of them. Prints a
line per template; exits 1 when any is classified otherwise.
"""
import json
import pathlib
import re
import subprocess
import sys

import jinja2.sandbox
from transformers.utils import chat_template_utils

TOOLS = [{"type": "function", "function": {"name": name, "description": "It does it.", "parameters": {
    "type": "object", "properties": {"place": {"type": "string", "description": "Where."}},
    "required": ["place"]}}} for name in ("look_around", "walk_away")]
ASK, SYSTEM = {"role": "user", "content": "Where am I?"}, {"role": "system", "content": "Help."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdef123", "type": "function", "function": {
    "name": "walk_away", "arguments": {"place": "Timbuktu"}}}]}
RESULT = {"role": "tool", "tool_call_id": "abcdef123", "name": "walk_away", "content": "Gone."}
JSON_CALL = re.compile(r'<tool_call>\s*\{\s*"name"\s*:\s*"walk_away"\s*,\s*"arguments"\s*:\s*\{\s*"place"\s*:\s*'
                       r'"Timbuktu"\s*\}\s*\}\s*</tool_call>')


def render(template, special, messages, tools):
    try:
        return template.render(messages=messages, tools=tools, documents=None, add_generation_prompt=True, **special)
    except Exception:  # the template refuses these messages
        return ""


def reference(source, special):
    template = chat_template_utils._compile_jinja_template(source)
    asked = [render(template, special, m, TOOLS) for m in ([ASK], [SYSTEM, ASK])]
    bare = [render(template, special, m, None) for m in ([ASK], [SYSTEM, ASK])]
    if not any("look_around" in text for text in asked):
        xml = any(a != b and re.search(r"<tool_call>\s*<(?!/tool_call>)", a) for a, b in zip(asked, bare))
        return "other" if xml else "none"
    for messages in ([ASK, CALL, RESULT], [SYSTEM, ASK, CALL, RESULT], [ASK, CALL], [SYSTEM, ASK, CALL]):
        text = render(template, special, messages, TOOLS)
        if "Timbuktu" in text:
            return "json" if JSON_CALL.search(text) else "other"
    words = "".join(asked)
    return "json" if re.search(r'<tool_call>\s*\{\s*(?!")|<tool_call>\s*\{\s*"name"', words) else "other"


def found(trine, model, path):
    said = subprocess.run([trine, "inspect", "--chat-template", path, model], capture_output=True).stdout.decode()
    line = next(l for l in said.splitlines() if l.startswith("chat template: "))
    if "compiles, no tools" in line:
        return "none", line
    if "does not compile" in line:
        return "refused", line
    return ("other" if "in another form" in line else "json"), line


def main():
    plain = jinja2.sandbox.ImmutableSandboxedEnvironment.from_string

    def from_string(self, *args, **kwargs):
        self.filters.setdefault("from_json", json.loads)
        return plain(self, *args, **kwargs)

    jinja2.sandbox.ImmutableSandboxedEnvironment.from_string = from_string
    trine, model, differ, count = sys.argv[1], sys.argv[2], 0, {}
    config = json.loads((pathlib.Path(model) / "tokenizer_config.json").read_text())
    special = {k: config[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token")
               if isinstance(config.get(k), str)}
    files = [f for p in map(pathlib.Path, sys.argv[3:]) for f in (sorted(p.rglob("*.jinja")) if p.is_dir() else [p])]
    for file in files:
        want = reference(file.read_text(), special)
        got, line = found(trine, model, str(file))
        count[got] = count.get(got, 0) + 1
        differ += got != want
        print("equal  " if got == want else f"DIFFERS ({want})", file.name, line.split("model's; ", 1)[-1])
    print(f"{len(files) - differ} templates classified alike, {differ} not: {count}")
    return 1 if differ else 0


sys.exit(main())
