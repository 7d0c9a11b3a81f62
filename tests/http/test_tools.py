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


# Schemas that let a value be what is no object, and some that do not.
NO_OBJECTS = (
    {"type": "string"}, {"type": "array"}, {"type": "array", "items": {"type": "object"}}, {"type": "integer"},
    {"type": "number"}, {"type": "boolean"}, {"type": "null"}, {"enum": ["x"]}, {"enum": [{}, 1]}, {"const": 5},
    {"const": [{}]}, {"type": ["null", "string"]}, {"type": ["object", "null"]}, {"minLength": 1}, {"items": {}},
    {"required": ["a"], "minItems": 1}, {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": ["object", "string"]}}},
    {"$ref": "#/$defs/a", "$defs": {"a": True}}, {"anyOf": [{"type": "object"}, {"type": "string"}]},
    {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "object"}], "$defs": {"a": {"const": "{}"}}}, {"anyOf": [{}]},
    {"anyOf": [{"anyOf": [{"type": "object"}, {"type": "integer", "minimum": 3}]}, {"const": {}}]})
OBJECTS = (
    {}, None, {"description": "d"}, {"format": "x"}, {"uniqueItems": False}, {"$defs": {"a": {"type": "string"}}},
    {"type": "object"}, {"type": ["object"]}, {"properties": {"a": {"type": "boolean"}}}, {"required": ["a"]},
    {"const": {"a": "}\"</tool_call>{"}}, {"enum": [{"a": [1, {}]}, {}]}, {"enum": [{}, 1], "type": "object"},
    {"anyOf": [{"const": {"a": 1}}, {"type": "object", "properties": {"b": {"type": "null"}}}]},
    {"anyOf": [{"type": "object"}, {"type": "string", "enum": [1]}]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "additionalProperties": {"type": "integer"}}}},
    {"type": "object", "properties": {"<tool_call>": {"enum": ["</tool_call>", "\\", "\"}"]}},
     "required": ["<tool_call>"]})


def test_arguments_are_objects(s):
    """Whatever is answered under a grammar for calls is read as calls."""
    for schema in NO_OBJECTS + OBJECTS:
        odd = schema in NO_OBJECTS
        for choice, strict, seed in (("required", None, 1), ("required", False, 2), ("auto", None, 3),
                                     ("required", True, 4), ("auto", True, 5)):
            a = chat(s, tools=tool(schema, strict), tool_choice=choice, temperature=1.5, seed=seed, max_tokens=120)
            if odd and strict:
                check(a.status == 400 and a.param == "tools" and 'tools[0] ("weather")' in a.json["error"]["message"],
                      f"strict, no object: {schema}", a)
                continue
            content, calls, reason = answer(a)
            check(("is a hint only" in a.headers.get("x-warning", "")) == odd, f"named: {schema}", dict(a.headers))
            if reason != "length":
                check(all(isinstance(json.loads(t), dict) for _, t in calls) and
                      "<tool_call>" not in (content or "") and reason == ("tool_calls" if calls else "stop") and
                      (calls or choice == "auto"), f"calls are read: {schema}", (content, calls, reason))


def test_stops(s):
    """Stop strings and ids are of the text: a call goes to its end."""
    free = both(s, WEATHER, tools=TOOLS)
    check(free == ("Sure.", [("weather", json.dumps(ARGUMENTS))], "tool_calls"), "a call behind text", free)
    for stop in ("ci", "{", '"', "Oslo", "</tool_call>", "}", "tool_call", "<tool_call>", "<", "<tool", ">\n{",
                 ["zz", "days"], "call>\n{\"name", ["<tool_call>", "2}"]):
        check(both(s, WEATHER, tools=TOOLS, stop=stop) == free, f"none of the text: {stop!r}")
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            fields = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 200, "parallel_tool_calls": False}
            check(both(s, WEATHER, stop=stop, **fields) == both(s, WEATHER, **fields), f"required: {stop!r}")
    for stop, text in (("S", ""), ("re", "Su"), ("re.", "Su"), (["ci", "."], "Sure"), ("ure", "S")):
        check(both(s, WEATHER, tools=TOOLS, stop=stop) == (text, [], "stop"), f"of the text: {stop!r}")
    twice = [{"role": "user", "content": "twice"}]
    check(both(s, twice, tools=TOOLS, stop=["ci", "\n<"]) == both(s, twice, tools=TOOLS), "two calls")
    # ids: those of the arguments' own tokens
    words = s.post("/tokenize", {"inputs": "Oslo ity day name arguments", "add_special_tokens": False})
    ids = [t["id"] for t in words.json[0]] + [t["id"] for t in s.post(
        "/tokenize", {"inputs": '{"city": "Oslo", "days": 2}', "add_special_tokens": False}).json[0]]
    check(both(s, WEATHER, tools=TOOLS, tool_choice="required", max_tokens=200, stop_token_ids=ids,
               parallel_tool_calls=False)[2] == "tool_calls", "stop_token_ids", ids)
    # beside a form: the answer is text, whatever it speaks of
    odd = {"const": {"a": "x<tool_call>yes"}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": odd}}
    for stop, end in (("yes", "x<tool_call>"), ("<tool_call>", "x"), ("l>y", "x<tool_cal")):
        content, calls, reason = both(s, PERSON, tools=TOOLS, response_format=form, stop=stop, max_tokens=300)
        whole = both(s, PERSON, tools=TOOLS, response_format=form, max_tokens=300)
        check((content, calls, reason) == whole if whole[1] else (content.endswith(end) and reason == "stop"),
              f"a form with stop {stop!r}", (content, calls, reason))
    # without tools the marker is a word as any other
    a = s.post("/v1/completions", {"prompt": "x", "temperature": 0, "max_tokens": 20, "stop": "call>", "grammar":
                                   'root ::= "<tool_call>yes"'})
    check(a.json["choices"][0]["text"] == "<tool_" and a.json["choices"][0]["finish_reason"] == "stop", "no tools", a)


def test_neutral(s):
    """Values that ask for what is done in any case."""
    for word in ({"uniqueItems": False}, {"minProperties": 0}, {"exclusiveMinimum": False}, {"pattern": ""},
                 {"propertyNames": {}}, {"unevaluatedProperties": True},
                 {"dependentRequired": {}}, {"not": False}, {"additionalItems": True}):
        a = chat(s, tools=tool({**PEOPLE, **word}, True), tool_choice="required", max_tokens=200)
        check(a.status == 200 and "x-warning" not in a.headers, f"neutral: {word}", a)
    for word in ({"uniqueItems": True}, {"minProperties": 1}, {"pattern": "a"}, {"propertyNames": False},
                 {"patternProperties": {"a": {}}}, {"not": {}}, {"not": True}, {"unevaluatedProperties": False}):
        check(chat(s, tools=tool({**PEOPLE, **word}, True)).status == 400, f"not neutral: {word}")
        check(chat(s, tools=tool(word, True)).status == 400, f"nor alone: {word}")
    for name, value, other in (("best_of", 1, 2), ("epsilon_cutoff", 0, 0.1), ("eta_cutoff", 0, 1),
                               ("smoothing_factor", 0.0, 1), ("no_repeat_ngram_size", 0, 3), ("do_sample", True, False),
                               ("num_beams", 1, 4), ("guidance_scale", 1.0, 2), ("top_n_sigma", -1, 1), ("tfs", 1, 0.5),
                               ("penalty_alpha", 0, 0.6), ("watermark", False, True), ("details", False, True)):
        for path, body in ((CHAT, {"messages": PERSON}), ("/v1/completions", {"prompt": "a"})):
            a, b = (s.post(path, {**body, "max_tokens": 3, "temperature": 0, **f}) for f in ({name: value}, {}))
            check(a.status == 200 and "x-warning" not in a.headers and
                  a.json["choices"] == b.json["choices"], f"{name}: {value}", a)
            a = s.post(path, {**body, "max_tokens": 3, name: other})
            check(a.status == 400 and a.param == name, f"{name}: {other}", a)
    a = chat(s, PERSON, n=2, best_of=2, max_tokens=3)
    check(len(a.json["choices"]) == 2, "best_of as n", a)
    a = chat(s, PERSON, max_tokens=6, n_predict=3)
    check(a.status == 400 and "n_predict" in a.json["error"]["message"], "two names with two values", a)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, {"tiny": "tiny_chat"}) as s:
        test_hints(s)
        test_forms(s)
        test_arguments_are_objects(s)
        test_stops(s)
        test_neutral(s)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
