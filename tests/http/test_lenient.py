#!/usr/bin/env python3
"""What the generating routes take because official servers and clients of other servers send it:
parameters and message members without effect (named in x-warning), other names of what is there,
null and empty forms. What would change the text and is not there stays 400, by its name.

    tests/http/test_lenient.py [PROGRAM]
"""

import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
COUNT, REST = "one two three", " four five six seven eight nine ten eleven twelve."
HI, HELLO = [{"role": "user", "content": "hi"}], "Hello there, friend!"
EMAIL = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
         "additionalProperties": False}
THINKS = ("{% for m in messages %}{{ m.content }}{{ m.reasoning_content }}{% endfor %}"
          "{{ '+' if enable_thinking is defined and enable_thinking else '-' }}{{ reasoning_effort }}")


def text(s, **fields):
    return s.post(TEXT, {"model": "tiny", "prompt": COUNT, "temperature": 0, "max_tokens": 60, **fields})


def chat(s, messages=HI, **fields):
    return s.post(CHAT, {"model": "tiny", "messages": messages, "temperature": 0, **fields})


def said(a):
    c = (a.json or {}).get("choices", [{}])[0]
    return c.get("text") if "text" in c else c.get("message", {}).get("content")


def warned(a):
    return a.headers.get("x-warning", "")


def refused(a, what, param, words=""):
    check(a.status == 400 and a.param == param and words in (a.json or {})["error"]["message"], what, a)


def ids(s, t):
    return [x["id"] for x in s.post("/tokenize", {"model": "tiny", "inputs": t}).json[0]]


def test_without_effect(s):
    """Accepted, named, and the text is what it is without them."""
    for fields in ({"verbosity": "low"}, {"reasoning_effort": "low"}, {"prompt_cache_retention": "24h"},
                   {"cache_prompt": True}, {"num_ctx": 4096}, {"keep_alive": "5m"}, {"id_slot": 1},
                   {"thinking": {"type": "disabled"}}, {"prediction": {"type": "content", "content": "x"}},
                   {"guided_decoding_backend": "xgrammar"}, {"length_penalty": 2.0}, {"priority": 3},
                   {"spaces_between_special_tokens": False}, {"provider": {"order": ["x"]}}):
        for a, want in ((chat(s, **fields), HELLO), (text(s, **fields), REST)):
            check(a.status == 200 and said(a) == want, f"without effect: {fields}", a)
            check(all(name in warned(a) for name in fields), f"and named: {fields}", warned(a))
    a = chat(s, verbosity="low", num_ctx=1, stream=True)
    check(a.status == 200 and warned(a) == "without effect here: verbosity, num_ctx", "of a stream", warned(a))
    for fields in ({"user": "u"}, {"metadata": {"a": "b"}}, {"store": True}, {"modalities": ["text"]},
                   {"use_beam_search": False}, {"echo": False}, {"typical_p": 1.0}, {"mirostat": 0},
                   {"n": None, "stop": None, "seed": None, "tools": None, "foo": None}):
        a = chat(s, **fields)
        check(a.status == 200 and said(a) == HELLO and not warned(a), f"no word is lost on {fields}", a)
    a = chat(s, stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    check(a.status == 200 and b'"usage":{' in a.body and not warned(a), "stream_options", a)
    a = chat(s, stream=True, stream_options={"include_obfuscation": True})
    check(a.status == 200 and warned(a).endswith("stream_options.include_obfuscation"), "which is off", a)


def test_empty_forms(s):
    for fields in ({"stop": ""}, {"stop": []}, {"stop": [""]}, {"stop": ["", "zzz"]}, {"logit_bias": []},
                   {"logit_bias": {}}, {"max_tokens": -1}, {"stop_token_ids": []}, {"response_format": {}},
                   {"grammar": ""}, {"guided_choice": []}, {"bad_words": []}, {"foo": ""}, {"foo": {}}):
        for a, want in ((chat(s, **fields), HELLO), (text(s, **fields), REST)):
            check(a.status == 200 and said(a) == want, f"empty: {fields}", a)
    for fields in ({"tools": []}, {"tools": [], "tool_choice": "auto"}, {"tool_choice": "auto"},
                   {"tool_choice": "none"}, {"max_completion_tokens": -1}, {"parallel_tool_calls": True},
                   {"max_tokens": 50, "max_completion_tokens": 50}, {"functions": [], "function_call": "none"},
                   {"function_call": "auto"}):
        a = chat(s, **fields)
        check(a.status == 200 and said(a) == HELLO, f"empty: {fields}", a)
    a = chat(s, tool_choice="required")
    check(a.status == 200 and "tool_choice" in warned(a), "a choice of no tools", a)
    a = text(s, suffix="", logprobs=False, best_of=1)
    check(a.status == 200 and said(a) == REST and a.json["choices"][0]["logprobs"] is None, "of completions", a)
    a, b, c = (text(s, seed=seed, temperature=2) for seed in (42, 42.0, 4.2e1))
    check(a.status == 200 and said(a) == said(b) == said(c), "42.0 is 42", (a, b, c))
    a, b = (text(s, seed=seed, temperature=2) for seed in (2**60, 2**60 + 1))
    check(said(a) != said(b), "and 2^60 is not its neighbour", a)


def test_other_names(s):
    """The same answer by another server's name for the thing."""
    for fields, other in (({"max_tokens": 3}, {"n_predict": 3}), ({"max_tokens": 3}, {"max_new_tokens": 3}),
                          ({"repetition_penalty": 1.5}, {"repeat_penalty": 1.5}),
                          ({"seed": 7, "temperature": 2}, {"random_seed": 7, "temperature": 2}),
                          ({"stop": [" six"]}, {"stop_sequences": [" six"]})):
        bodies = [{"model": "tiny", "prompt": COUNT, "max_tokens": 60, **f} for f in (fields, other)]
        for b, f in zip(bodies, (fields, other)):
            if any(k in f for k in ("n_predict", "max_new_tokens")):
                del b["max_tokens"]
            b.setdefault("temperature", 0)
        a, b = (s.post(TEXT, b) for b in bodies)
        check(a.status == b.status == 200 and said(a) == said(b), f"{other}", (a, b))
    a = text(s, max_tokens=3, n_predict=3)
    check(a.status == 200 and said(a) == said(text(s, max_tokens=3)), "one value by two names", a)
    refused(text(s, max_tokens=None, n_predict="x"), "named as it was sent", "n_predict")
    refused(text(s, repeat_penalty=0), "named as it was sent", "repeat_penalty")
    refused(text(s, repeat_penalty=1.1, repeat_last_n=64), "another window", "repeat_last_n")
    check(said(text(s, repeat_last_n=64)) == REST, "a window of no penalty")
    six = ids(s, " six")[0]
    a = text(s, stop_token_ids=[six])
    check(said(a) == " four five" and a.json["choices"][0]["finish_reason"] == "stop", "stop_token_ids", a)
    a = text(s, stop_token_ids=[six], stop=" five!", logprobs=0)
    check(said(a) == " four five" and "".join(a.json["choices"][0]["logprobs"]["tokens"]) == said(a),
          "what a stop string may begin with is not lost", a)
    a = chat(s, stream=True, stop_token_ids=ids(s, ","))
    pieces = [json.loads(e[6:])["choices"][0] for e in a.body.decode().split("\n\n") if e[6:7] == "{"]
    check("".join(p["delta"].get("content", "") for p in pieces) == "Hello there" and
          pieces[-1]["finish_reason"] == "stop", "of a stream", pieces)
    for bad in (5, [-1], [1.5], [99999], ["a"], list(range(65))):
        refused(text(s, stop_token_ids=bad), f"stop_token_ids {bad!r}"[:40], "stop_token_ids")
    # the text would end with its twelfth word
    n = text(s).json["usage"]["completion_tokens"]
    a = text(s, min_tokens=n + 5)
    check(a.json["usage"]["completion_tokens"] >= n + 5 and said(a).startswith(REST), "min_tokens", a)
    a = text(s, stop_token_ids=[six], min_tokens=2, max_tokens=9)
    check(said(a) == " four five", "and stop tokens, once they may", a)
    a = text(s, stop_token_ids=[six], min_tokens=3, max_tokens=9)
    check(a.json["usage"]["completion_tokens"] >= 3 and " six" not in said(a)[:14], "and before", a)
    refused(text(s, min_tokens=9, max_tokens=8), "more than the most", "min_tokens")
    a = chat(s, min_tokens=50, response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"const": 1}}})
    check(said(a) == "1" and "min_tokens" in warned(a), "a grammar ends where it ends", a)
    a = text(s, prompt="hi", max_tokens=8, ignore_eos=True, logit_bias={ids(s, "<|im_end|>")[0]: 100},
             skip_special_tokens=False)
    check(said(a) == "<|im_end|>" * 8, "skip_special_tokens", a)
    for path, body in ((TEXT, {"prompt": "hi"}), (CHAT, {"messages": HI})):
        for on in (True, False):
            a = s.post(path, {"model": "tiny", "max_tokens": 1, "add_special_tokens": on, **body})
            check(a.status == 200, "add_special_tokens", a)
    refused(text(s, add_special_tokens=1), "its type", "add_special_tokens")


def test_two_values(s):
    """Of two names of one thing with two values neither is dropped in silence."""
    for names, one, other in ((("max_tokens", "n_predict", "max_new_tokens", "num_predict"), 3, 9),
                              (("max_tokens", "n_predict"), -1, 9), (("max_tokens", "num_predict"), 9, -1),
                              (("seed", "random_seed"), 7, 8), (("seed", "random_seed"), 2**60, 2**60 + 1),
                              (("stop", "stop_sequences"), [" six"], [" nine"]),
                              (("repetition_penalty", "repeat_penalty"), 1.5, 1.1)):
        for post in (text, chat):
            for first in names:
                for second in names:
                    if first == second:
                        continue
                    base = {"max_tokens": None} if "n_predict" in names else {}
                    a = post(s, **{**base, first: one, second: other})
                    check(a.status == 400 and a.param in (first, second) and
                          all(f"'{n}'" in a.json["error"]["message"] for n in (first, second)),
                          f"{first}: {one}, {second}: {other}", a)
                    a = post(s, **{**base, first: one, second: one})
                    check(a.status == 200, f"{first} and {second}: {one}", a)
    for name in ("max_tokens", "n_predict", "max_new_tokens", "num_predict"):
        for one, other in ((3, 9), (-1, 9), (9, -1)):
            refused(chat(s, max_completion_tokens=one, **{name: other}), "chat's own name for it",
                    name if name == "max_tokens" else "max_completion_tokens", "'max_completion_tokens'")
    refused(chat(s, enable_thinking=True, think=False), "of thinking", "enable_thinking", "'think'")
    for name in ("enable_thinking", "think"):
        refused(chat(s, thinking={"type": "enabled"}, **{name: False}), "of thinking", "thinking", f"'{name}'")
        check(chat(s, thinking={"type": "enabled"}, **{name: True}).status == 200, "and the same")


def test_forms(s):
    """A form for the answer, as each server spells it."""
    wrapped = {"name": "x", "schema": EMAIL, "strict": True}
    for fields in ({"response_format": {"type": "json_schema", "json_schema": wrapped}},
                   {"response_format": {"type": "json_schema", "schema": EMAIL, "name": "x", "strict": True}},
                   {"response_format": {"type": "json_object", "schema": EMAIL}},
                   {"response_format": {"type": "json_object", "value": EMAIL}},
                   {"response_format": {"type": "json", "value": EMAIL}},
                   {"response_format": {"type": "json_schema", "value": wrapped}},
                   {"response_format": {"schema": EMAIL}}, {"json_schema": EMAIL}, {"guided_json": EMAIL},
                   {"guided_json": json.dumps(EMAIL)}, {"structured_outputs": {"json": EMAIL}}):
        a = chat(s, max_tokens=40, **fields)
        check(a.status == 200 and list(json.loads(said(a))) == ["a"], f"{fields}"[:60], a)
    for fields in ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json"}},
                   {"structured_outputs": {"json_object": True}}, {"guided_json": {"type": "object"}},
                   {"response_format": {"type": "json_object", "schema": {}}}):
        a = chat(s, max_tokens=40, **fields)
        check(a.status == 200 and isinstance(json.loads(said(a)), dict), f"{fields}", a)
    odd = ['say "no"\\', "\u00e9\n\t", "plain"]
    for fields in ({"guided_choice": odd}, {"structured_outputs": {"choice": odd}}):
        for i in range(3):
            a = text(s, temperature=2, seed=i, **fields)
            check(a.status == 200 and said(a) in odd, f"{fields} {i}", a)
    rule = 'root ::= " nine"'
    for fields in ({"grammar": rule}, {"guided_grammar": rule}, {"structured_outputs": {"grammar": rule}},
                   {"response_format": {"type": "grammar", "grammar": rule}}):
        check(said(text(s, **fields)) == " nine", f"{fields}", text(s, **fields))
    for fields, param in (({"guided_regex": "a+"}, "guided_regex"),
                          ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
                          ({"response_format": {"type": "regex", "value": "a"}}, "response_format"),
                          ({"guided_json": "{"}, "guided_json"), ({"guided_json": 5}, "guided_json"),
                          ({"guided_choice": [1]}, "guided_choice"), ({"guided_choice": "a"}, "guided_choice"),
                          ({"guided_grammar": 5}, "guided_grammar"),
                          ({"guided_json": EMAIL, "grammar": rule}, "grammar"),
                          ({"structured_outputs": {"json": EMAIL, "choice": ["a"]}}, "structured_outputs"),
                          ({"response_format": {"type": "json_object", "schema": EMAIL, "value": EMAIL}},
                           "response_format")):
        refused(chat(s, **fields), f"{fields}"[:60], param)


def test_still_refused(s):
    for fields in ({"best_of": 2}, {"suffix": "x"}, {"use_beam_search": True}, {"mirostat": 2}, {"typical_p": 0.5},
                   {"include_stop_str_in_output": True}, {"prompt_logprobs": 1}, {"allowed_token_ids": [1]},
                   {"bad_words": ["x"]}, {"truncate_prompt_tokens": 5}, {"foo": 0}, {"foo": False}):
        refused(text(s, **fields), f"would change the text: {fields}", next(iter(fields)))
    for fields in ({"modalities": ["text", "audio"]}, {"audio": {"voice": "x"}}, {"functions": [{"name": "f"}]},
                   {"function_call": {"name": "f"}}, {"web_search_options": {"a": 1}}, {"documents": [{"t": "x"}]},
                   {"chat_template": "x"}, {"echo": True}):
        refused(chat(s, **fields), f"would change the text: {fields}", next(iter(fields)))
    refused(text(s, messages=HI), "another route's", "messages", CHAT)
    refused(chat(s, prompt="x"), "another route's", "prompt", TEXT)
    refused(chat(s, input="x"), "another route's", "input", "/v1/embeddings")
    refused(text(s, max_tokens=600), "both counts", "max_tokens",
            "This model's maximum context length is 512 tokens, however you requested 606 tokens "
            "(6 in the prompt, 600 in the completion)")
    refused(chat(s, max_tokens=600), "both counts", "max_tokens",
            "This model's maximum context length is 512 tokens, however you requested 6")
    refused(chat(s, [{"role": "user", "content": "z " * 600}]), "the messages alone", "messages",
            "This model's maximum context length is 512 tokens, however you requested ")


def test_messages(s):
    def after(message, **fields):
        return chat(s, [{"role": "user", "content": "hi"}, message, {"role": "user", "content": "bye"}], **fields)
    plain = {"role": "assistant", "content": HELLO}
    want = said(after(plain))
    check(want == "Farewell, friend.", "an earlier answer", want)
    for more in ({"reasoning_content": "t"}, {"reasoning": "t"}, {"refusal": None}, {"annotations": []},
                 {"audio": None}, {"function_call": None}, {"tool_calls": []}, {"tool_calls": None},
                 {"images": []}, {"thinking": ""}):
        a = after({**plain, **more})
        check(said(a) == want and not warned(a), f"sent back: {more}", a)
    for more, name in (({"provider_specific_fields": {"k": 1}}, "provider_specific_fields"),
                       ({"id": 7}, "id"), ({"cache_control": {"type": "ephemeral"}}, "cache_control"),
                       ({"opts": {"visible": False}}, "opts"), ({"annotations": [1]}, "annotations"),
                       ({"\u00e9\n": 1}, "?")):
        a = after({**plain, **more})
        check(said(a) == want and "messages[]." + name in warned(a), f"and named: {more}", a)
    a = after({**plain, "reasoning_content": "t", "reasoning": "u"})
    check(warned(a) == "without effect here: messages[].reasoning", "of two thoughts one", warned(a))
    a = after({**plain, "reasoning_content": "t", "reasoning": "t"})
    check(a.status == 200 and not warned(a), "of one thought twice", warned(a))
    a = after({**plain, "id": 1}, verbosity="low")
    check(warned(a) == "without effect here: verbosity, messages[].id", "both kinds, in one header", warned(a))
    many = [dict(m, id=i) for i, m in enumerate([{"role": "user", "content": "hi"}, plain] * 4)]
    check(warned(chat(s, many)) == "without effect here: messages[].id", "each name once", chat(s, many))
    for content in (None, [], [{"type": "thinking", "thinking": "x"}]):
        a = after({"role": "assistant", "content": content, "refusal": "no"})
        check(a.status == 200, f"an answer without a text: {content}", a)
    check(said(chat(s, [{"role": "user", "content": ["hi"]}])) == HELLO, "a string as a part")
    for kind in ("text", "input_text", "output_text"):
        a = chat(s, [{"role": "user", "content": [{"type": kind, "text": "hi", "cache_control": {"a": 1}}]}])
        check(said(a) == HELLO, f"a part of type {kind}", a)
    a = chat(s, [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [
        {"index": 0, "id": "c", "function": {"name": "f", "arguments": None}}]},
        {"role": "tool", "tool_call_id": "c", "content": None, "is_error": True}])
    check(a.status == 200 and "messages[].is_error" in warned(a), "a call and its result", a)
    for message, words in (({**plain, "images": ["x"]}, "'images'"), ({**plain, "audio": {"id": "x"}}, "'audio'"),
                           ({**plain, "prefix": True}, "continue_final_message"),
                           ({**plain, "function_call": {"name": "f"}}, "'function_call'"),
                           ({"role": "user", "content": None}, "'content' is missing"),
                           ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "parts")):
        refused(after(message), f"would change the text: {message}"[:70], "messages", words)


def test_variables(program):
    """What a template can do with it is given to it."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "t.jinja")
        with open(path, "w", encoding="utf-8") as f:
            f.write(THINKS)
        with Started(program, {"tiny": "tiny_chat"}, "--chat-template", path) as s:
            def tokens(messages=HI, **fields):
                a = chat(s, messages, max_tokens=1, **fields)
                check(a.status == 200, f"{fields}", a)
                return a.json["usage"]["prompt_tokens"], warned(a)
            def spelled(t):
                return len(ids(s, t))
            thought = [{"role": "assistant", "content": "hi", "reasoning": "seven nine"}]
            check(tokens(thought)[0] == spelled("hiseven nine-"), "what an earlier answer thought", tokens(thought))
            thought[0]["reasoning_content"] = ""
            check(tokens(thought)[0] == spelled("hiseven nine-"), "and an empty one beside it", tokens(thought))
            for fields, want in (({}, "hi-"), ({"enable_thinking": True}, "hi+"), ({"think": True}, "hi+"),
                                 ({"thinking": {"type": "enabled"}}, "hi+"), ({"thinking": {"type": "disabled"}}, "hi-"),
                                 ({"reasoning_effort": "seven nine ten"}, "hi-seven nine ten")):
                check(tokens(**fields) == (spelled(want), ""), f"{fields}", (tokens(**fields), spelled(want)))


def test_drafts(program):
    """The least length and guessed tokens do not know of each other: the same text without guesses."""
    again = " ".join([COUNT + REST] * 4)
    bodies = [{"prompt": again, "max_tokens": 90, "min_tokens": n, "seed": n} for n in (0, 5, 14, 15, 16, 40, 90)]
    with Started(program, {"tiny": "tiny_chat"}) as s, Started(program, {"tiny": "tiny_chat"}, "--no-speculation") as t:
        drafted = 0
        for body in bodies:
            a, b = text(s, **body), text(t, **body)
            check(said(a) == said(b) and a.json["usage"] == b.json["usage"], f"with guesses: {body['min_tokens']}", (a, b))
            check(a.json["usage"]["completion_tokens"] >= body["min_tokens"], "the least length", a)
            drafted += a.json["timings"]["draft_n"]
        check(drafted > 0, "something was guessed", drafted)


def main():
    program = served.start(sys.argv[1:])
    with Started(program, {"tiny": "tiny_chat"}) as s:
        for test in (test_without_effect, test_empty_forms, test_other_names, test_two_values, test_forms, test_still_refused,
                     test_messages):
            test(s)
    test_variables(program)
    test_drafts(program)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
