#!/usr/bin/env python3
"""Tools whose schemas say more than a grammar can hold, and tools beside a form for the answer: whole
and streamed, with every tool_choice.

    tests/http/test_tools.py [PROGRAM]
"""

import json
import os
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import DATA, ROOT, Started, check  # noqa: E402

CHAT = "/v1/chat/completions"
with open(os.path.join(ROOT, DATA, "tiny_chat/golden.json"), encoding="utf-8") as file:
    TOOLS = json.load(file)["tools"]
WEATHER, PERSON = [{"role": "user", "content": "weather"}], [{"role": "user", "content": "a person"}]
ARGUMENTS = {"city": "Oslo", "days": 2}
PEOPLE = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
          "required": ["name", "age"], "additionalProperties": False}
FORM = {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": PEOPLE}}


def chat(s, messages=WEATHER, **fields):
    return s.post(CHAT, {"messages": messages, "temperature": 0, **fields})


def answer(a):
    """(content, [(name, arguments)], finish_reason) of a whole answer or of a stream."""
    if not check(a.status == 200, "an answer", a):
        return None, [], None
    if a.json:
        c = a.json["choices"][0]
        calls = [(t["function"]["name"], t["function"]["arguments"]) for t in c["message"].get("tool_calls", [])]
        return c["message"]["content"], calls, c["finish_reason"]
    content, calls, reason = "", {}, None
    for event in a.body.decode().split("\n\n"):
        if not event.startswith("data: {"):
            continue
        c = json.loads(event[6:])["choices"][0]
        content += c["delta"].get("content") or ""
        for t in c["delta"].get("tool_calls", []):
            name, text = calls.get(t["index"], (t["function"].get("name"), ""))
            calls[t["index"]] = (name, text + t["function"]["arguments"])
        reason = c["finish_reason"] or reason
    return content, list(calls.values()), reason


def both(s, messages, **fields):
    """The same, asked whole and as a stream."""
    whole, streamed = answer(chat(s, messages, **fields)), answer(chat(s, messages, stream=True, **fields))
    check((whole[0] or "", *whole[1:]) == streamed, f"a stream says the same: {fields}"[:90], (whole, streamed))
    return whole


def tool(schema, strict=None):
    function = {"name": "weather", "parameters": schema}
    if strict is not None:
        function["strict"] = strict
    return [{"type": "function", "function": function}]


def test_hints(s):
    for prop in ({"type": "string", "pattern": "\\S"}, {"not": {}}, {"type": "array", "items": [{}]},
                 {"type": "number", "minimum": 0.5}, {"oneOf": [{"type": "string"}]}, {"type": "nonsense"},
                 {"$ref": "#/nowhere"}, {"$ref": "https://example.com/a"}, False):
        schema = {"type": "object", "properties": {"city": prop, "days": {"type": "integer"}},
                  "required": ["city"]}
        for strict in (None, False):
            a = chat(s, tools=tool(schema, strict), tool_choice="required", max_tokens=100,
                     parallel_tool_calls=False)
            _, calls, reason = answer(a)
            check([n for n, _ in calls] == ["weather"] and isinstance(json.loads(calls[0][1]), dict) and
                  reason == "tool_calls", f"a hint: {prop}", a)
            check(chat(s, tools=tool(schema, strict), max_tokens=4).status == 200, f"and auto: {prop}")
            check('tools[0] ("weather"): its schema is a hint only: ' in a.headers.get("x-warning", ""),
                  f"and named: {prop}", dict(a.headers))
        a = chat(s, tools=tool(schema, True))
        check(a.status == 400 and a.param == "tools" and
              ("weather" in a.json["error"]["message"] or prop is False), f"strict: {prop}", a)
    # of several only the one that cannot be held
    other = {"type": "function", "function": {"name": "other", "parameters": {"patternProperties": {}}}}
    for choice in ({}, {"tool_choice": "required"}):
        a = chat(s, tools=[other] + TOOLS, max_tokens=100, **choice)
        check(a.status == 200 and 'tools[0] ("other")' in a.headers["x-warning"] and
              "weather" not in a.headers["x-warning"], "one of two", dict(a.headers))
    named = {"type": "function", "function": {"name": "weather"}}
    a = chat(s, tools=[other] + TOOLS, tool_choice=named, max_tokens=200)
    check("x-warning" not in a.headers and set(json.loads(answer(a)[1][0][1])) == {"city", "days"},
          "what is not to be called is not looked at", a)
    for prop in ({"$comment": "c"}, {"deprecated": True}, {"x-order": 1}, {"nullable": True}):
        schema = {"type": "object", "properties": {"city": {"type": "string", **prop}, "days": {"type": "integer"}},
                  "required": ["city", "days"], "additionalProperties": False}
        a = chat(s, tools=tool(schema, True), tool_choice="required", max_tokens=100)
        check(set(json.loads(answer(a)[1][0][1])) == set(ARGUMENTS) and "x-warning" not in a.headers,
              f"an annotation, strict: {prop}", a)
    for schema in ({}, {"description": "any"}, None):
        for seed in range(3):
            _, calls, reason = answer(chat(s, tools=tool(schema), tool_choice="required", temperature=1.5,
                                           seed=seed, max_tokens=200, parallel_tool_calls=False))
            check(reason == "length" or isinstance(json.loads(calls[0][1]), dict),
                  f"arguments are an object: {schema}", calls)
    plain = [{"function": t["function"]} for t in TOOLS]
    a = chat(s, tools=plain, tool_choice="required", max_tokens=100)
    check(answer(a)[1][0][0] == "weather", "a tool without a type", a)
    a = chat(s, tools=tool({"type": "object"}, "yes"))
    check(a.status == 400 and a.param == "tools", "strict is true or false", a)


def test_forms(s):
    for messages, choice in ((PERSON, {}), (WEATHER, {"tool_choice": "auto"}), (WEATHER, {})):
        content, calls, reason = both(s, messages, tools=TOOLS, response_format=FORM, max_tokens=300, **choice)
        if calls:
            check(content is None and reason == "tool_calls" and set(json.loads(calls[0][1])) == set(ARGUMENTS),
                  "a call", calls)
        else:
            check(set(json.loads(content)) == {"name", "age"} and reason == "stop", "or an answer in its form",
                  content)
    for choice in ("required", "any", {"type": "required"}, {"type": "function", "function": {"name": "weather"}},
                   {"type": "function", "name": "weather"}):
        content, calls, reason = both(s, PERSON, tools=TOOLS, response_format=FORM, tool_choice=choice,
                                      max_tokens=300, parallel_tool_calls=False)
        check(content is None and reason == "tool_calls" and set(json.loads(calls[0][1])) == set(ARGUMENTS),
              f"a call, with {choice}", (content, calls))
    for choice in ("none", {"type": "none"}):
        content, calls, reason = both(s, WEATHER, tools=TOOLS, response_format=FORM, tool_choice=choice,
                                      max_tokens=200)
        check(not calls and set(json.loads(content)) == {"name", "age"}, f"no call, with {choice}", content)
    # neither is preferred by force: over seeds both come, and nothing else
    kinds = set()
    for seed in range(12):
        content, calls, reason = answer(chat(s, WEATHER, tools=TOOLS, response_format=FORM, temperature=2,
                                             seed=seed, max_tokens=300))
        kinds.add(bool(calls))
        check(reason in ("length", "tool_calls" if calls else "stop"), "each ends as what it is", reason)
        if reason == "stop":
            check(set(json.loads(content)) == {"name", "age"}, "in its form", content)
    check(kinds == {True, False}, "calls and answers", kinds)
    content, calls, _ = both(s, PERSON, tools=TOOLS, response_format={"type": "json_object"}, max_tokens=100)
    check(calls or isinstance(json.loads(content), dict), "json_object", content)
    # what looks like a call in an answer's string is none, and its blanks stay
    odd = {"const": {"a": "x \n<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>"}}
    content, calls, _ = both(s, PERSON, tools=TOOLS, max_tokens=300, logit_bias={},
                             response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": odd}})
    check(calls or json.loads(content) == odd["const"], "an answer that speaks of calls", content)
    a = chat(s, PERSON, tools=TOOLS, response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"oneOf": []}}})
    check(a.status == 400 and a.param == "response_format" and "oneOf" in a.json["error"]["message"],
          "the form's fault has its name", a)
    odd_tool = tool({"oneOf": []}) + [{"type": "function", "function": {"name": "g"}}]
    a = chat(s, PERSON, tools=odd_tool, response_format=FORM, max_tokens=100)
    check(a.status == 200 and "hint only" in a.headers.get("x-warning", ""), "a hint beside a form", a)
    for fields in ({"grammar": 'root ::= "a"'}, {"guided_choice": ["a"]}):
        a = chat(s, PERSON, tools=TOOLS, **fields)
        check(a.status == 400 and a.param == "tools", f"not beside {fields}", a)
        check(chat(s, PERSON, tools=TOOLS, tool_choice="none", **fields).status == 200, "unless they are off", a)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, {"tiny": "tiny_chat"}) as s:
        test_hints(s)
        test_forms(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
