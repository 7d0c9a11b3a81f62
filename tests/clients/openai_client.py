"""The official openai client for Python: embeddings, completions, chats, tools, structured output."""

import json
import os
import threading

import numpy
import openai
import pydantic
from kit import DIM, HELLO, KEY, ROOT, TINY, check, raises


def test_openai(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
    texts = ["The cat sits outside", "A man is playing guitar", "The new movie is awesome"]
    r = client.embeddings.create(model="emb", input=texts)  # base64 on the wire
    check(len(r.data) == 3 and [d.index for d in r.data] == [0, 1, 2], "embeddings, as they come")
    check(all(len(d.embedding) == DIM and isinstance(d.embedding[0], float) for d in r.data),
          "decoded by the client")
    check(r.model == "emb" and r.usage.prompt_tokens == r.usage.total_tokens == 20, "usage", r.usage)
    f = client.embeddings.create(model="emb", input=texts, encoding_format="float")
    check(all(numpy.array_equal(numpy.float32(a.embedding), numpy.float32(b.embedding))
              for a, b in zip(r.data, f.data)), "float is base64, bit by bit")
    one = client.embeddings.create(model="emb", input=texts[0])
    check(one.data[0].embedding == r.data[0].embedding, "a single string")
    small = client.embeddings.create(model="emb", input=texts[0], dimensions=64)
    check(len(small.data[0].embedding) == 64
          and abs(numpy.linalg.norm(small.data[0].embedding) - 1) < 1e-5, "dimensions")
    many = client.embeddings.create(model="emb", input=[f"sentence {i % 7}" for i in range(300)])
    check(len(many.data) == 300 and many.data[3].embedding == many.data[299 - 299 % 7 + 3 - 7]
          .embedding, "a batch of 300")

    models = client.models.list()
    check([m.id for m in models] == ["emb", "rr", "cls", "gen", "tiny"], "models.list")
    check(client.models.retrieve("rr").id == "rr", "models.retrieve")

    e = raises(openai.NotFoundError, lambda: client.embeddings.create(model="gpt", input="a"),
               "an unknown model is NotFoundError")
    check(e is not None and e.code == "model_not_found" and e.param == "model", "its code", e)
    raises(openai.NotFoundError, lambda: client.models.retrieve("nope"), "models.retrieve of none")
    e = raises(openai.BadRequestError, lambda: client.embeddings.create(model="emb", input=""),
               "an empty input is BadRequestError")
    check(e is not None and e.param == "input" and e.type == "invalid_request_error", "its param", e)
    e = raises(openai.BadRequestError,
               lambda: client.embeddings.create(model="emb", input="word " * 3000),
               "too long is BadRequestError")
    check(e is not None and e.code == "context_length_exceeded", "its code", e)
    raises(openai.BadRequestError,
           lambda: client.embeddings.create(model="emb", input="a", dimensions=DIM + 1),
           "too many dimensions")
    e = raises(openai.BadRequestError, lambda: client.embeddings.create(model="emb", input=[1, 2]),
               "token ids (row 66)")
    check(e is not None and "check_embedding_ctx_length=False" in str(e), "and what to do", e)
    bad = openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0)
    raises(openai.AuthenticationError, lambda: bad.embeddings.create(model="emb", input="a"),
           "a wrong key is AuthenticationError")
    raises(openai.AuthenticationError, lambda: list(bad.models.list()), "for models too")
    e = raises(openai.APIStatusError,
               lambda: client.with_options(max_retries=2).embeddings.create(
                   model="emb", input="a", extra_headers={"x-request-timeout-ms": "0"}),
               "a deadline is an APIStatusError")
    check(e is not None and e.status_code == 504, "504, not retried", e)
    extra = client.embeddings.create(model="emb", input="word " * 3000,
                                     extra_body={"truncate": True})
    check(extra.usage.total_tokens == 256, "truncate as an extra")


class Person(pydantic.BaseModel):
    name: str
    age: int


class Place(pydantic.BaseModel):
    """A town with its people: nested, optional and listed members, as pydantic writes them."""
    town: str
    mayor: Person
    twin: str | None = None
    people: list[Person]


def test_openai_text(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
    r = client.completions.create(model="tiny", prompt="one two three", temperature=0, max_tokens=60)
    check(r.choices[0].text.endswith("twelve.") and r.choices[0].finish_reason == "stop", "completions", r)
    check(r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens, "usage", r.usage)
    pieces = client.completions.create(model="tiny", prompt="one two three", temperature=0,
                                       max_tokens=60, stream=True)
    check("".join(c.choices[0].text for c in pieces) == r.choices[0].text, "streamed")
    r = client.completions.create(model="tiny", prompt=["one two", [5, 6]], n=2, max_tokens=3, logprobs=2,
                                  echo=True)
    check(len(r.choices) == 4 and r.choices[0].logprobs.token_logprobs[0] is None, "echo, logprobs", r)

    hi = [{"role": "user", "content": "hi"}]
    r = client.chat.completions.create(model="tiny", messages=hi, temperature=0, logprobs=True,
                                       top_logprobs=2, n=2, seed=1, stop=["zz"], user="u",
                                       logit_bias={"5": -1}, presence_penalty=0.0)
    m = r.choices[1].message
    check(m.content == HELLO and m.role == "assistant" and m.tool_calls is None, "chat", r)
    check("".join(t.token for t in r.choices[0].logprobs.content) == HELLO, "its logprobs", r)
    chunks = list(client.chat.completions.create(model="tiny", messages=hi, temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    check(chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices == [] and
          chunks[-1].usage.completion_tokens > 0, "chunks", chunks)
    check("".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == HELLO, "their text")
    with client.chat.completions.stream(model="tiny", messages=hi, temperature=0) as stream:
        events = [e.type for e in stream]
        check(stream.get_final_completion().choices[0].message.content == HELLO, "the stream helper")
        check("content.delta" in events and "content.done" in events, "its events", events)
    with client.chat.completions.create(model="tiny", messages=hi, stream=True) as stream:
        next(iter(stream))  # and go away
    for what, fields in (("audio", {"modalities": ["audio"]}), ("temperature", {"temperature": 3})):
        e = raises(openai.BadRequestError, lambda: client.chat.completions.create(
            model="tiny", messages=hi, **fields), f"{what} is refused")
        check(e is not None and e.param in fields, "by its name", e)
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=hi, temperature=0,
                                                           reasoning_effort="low", verbosity="low")
    check(raw.parse().choices[0].message.content == HELLO and "reasoning_effort" in raw.headers["x-warning"],
          "what changes nothing here is taken, with a warning", raw.headers)
    e = raises(openai.BadRequestError, lambda: client.chat.completions.create(
        model="emb", messages=hi), "another model's task")
    check(e is not None and e.param == "model", "by its name", e)


def test_openai_tools(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
    with open(os.path.join(ROOT, TINY, "golden.json"), encoding="utf-8") as f:
        tools = json.load(f)["tools"]
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "weather"}], "tools": tools,
           "temperature": 0}
    want = {"city": "Oslo", "days": 2}
    r = client.chat.completions.create(**ask)
    m = r.choices[0].message
    check(r.choices[0].finish_reason == "tool_calls" and m.tool_calls[0].function.name == "weather" and
          json.loads(m.tool_calls[0].function.arguments) == want, "a tool call", r)
    answered = ask["messages"] + [m, {"role": "tool", "tool_call_id": m.tool_calls[0].id,
                                      "content": "rain"}]
    check(client.chat.completions.create(**dict(ask, messages=answered, max_tokens=5)).choices,
          "its answer goes back")
    name, arguments = "", ""
    for c in client.chat.completions.create(**ask, stream=True):
        for d in c.choices[0].delta.tool_calls or []:
            name += d.function.name or ""
            arguments += d.function.arguments or ""
    check(name == "weather" and json.loads(arguments) == want, "streamed", arguments)
    with client.chat.completions.stream(**ask) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        check(len(done) == 1 and json.loads(done[0].arguments) == want, "the stream helper", done)
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named):
        r = client.chat.completions.create(**dict(ask, messages=[{"role": "user", "content": "hi"}]),
                                           tool_choice=choice, max_completion_tokens=150)
        check(r.choices[0].finish_reason == "length" or
              set(json.loads(r.choices[0].message.tool_calls[0].function.arguments)) == set(want),
              "tool_choice", r)
    r = client.chat.completions.create(**dict(ask, messages=[{"role": "user", "content": "hi"}]),
                                       tool_choice="none")
    check(r.choices[0].message.content == HELLO, "tool_choice none", r)
    # a form for the answer beside tools: the parsed one, or parsed arguments
    both = {"model": "tiny", "messages": ask["messages"], "temperature": 0, "max_tokens": 200,
            "response_format": Person, "tools": [openai.pydantic_function_tool(Person, name="person")]}
    r = client.chat.completions.parse(**both)
    with client.chat.completions.stream(**both) as stream:
        for _ in stream:
            pass
        for m in (r.choices[0].message, stream.get_final_completion().choices[0].message):
            check(isinstance(m.parsed, Person) if not m.tool_calls else
                  isinstance(m.tool_calls[0].function.parsed_arguments, Person), "tools beside a response_format", m)
    said = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}],
                                          temperature=0).choices[0].message
    for back in (said, said.model_dump(), dict(said.model_dump(), reasoning_content="t", audio=None)):
        r = client.chat.completions.create(model="tiny", temperature=0, messages=[
            {"role": "user", "content": "hi"}, back, {"role": "user", "content": "bye"}])
        check(r.choices[0].message.content == "Farewell, friend.", "an answer is sent back as it came", r)


def test_openai_structured(url):
    """The real model, which follows what it is asked without having learned it."""
    client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
    ask = {"model": "gen", "temperature": 0, "max_tokens": 300}
    about = [{"role": "user", "content": "Describe a person of your own making as JSON."}]
    r = client.chat.completions.create(**ask, messages=about, response_format={"type": "json_object"})
    check(r.choices[0].finish_reason == "length" or isinstance(json.loads(r.choices[0].message.content),
                                                              dict), "json_object", r)
    for kind in (Person, Place):
        r = client.chat.completions.parse(**ask, messages=about, response_format=kind)
        check(r.choices[0].finish_reason == "stop" and isinstance(r.choices[0].message.parsed, kind),
              "parse", r)
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}},
              "required": ["colour"], "additionalProperties": False}
    r = client.chat.completions.create(
        **ask, messages=about, stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "c", "strict": True,
                                                                "schema": schema}})
    text = "".join(c.choices[0].delta.content or "" for c in r)
    check(json.loads(text)["colour"] in ("red", "green"), "json_schema, streamed", text)
    e = raises(openai.BadRequestError, lambda: client.chat.completions.create(
        **ask, messages=about, response_format={"type": "json_schema", "json_schema": {
            "name": "c", "schema": {"type": "object", "patternProperties": {}}}}), "a schema's keyword")
    check(e is not None and "patternProperties" in str(e), "by its name", e)

    two = [{"role": "user", "content": "What is 2+2?"}]
    r = client.chat.completions.create(**ask, messages=two)
    check("4" in r.choices[0].message.content and r.choices[0].finish_reason == "stop", "2+2", r)
    got = {}

    def one(i):
        chunks = client.chat.completions.create(**ask, messages=two, stream=True)
        got[i] = "".join(c.choices[0].delta.content or "" for c in chunks)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(len(got) == 8 and set(got.values()) == {r.choices[0].message.content},
          "eight streams at once say the same", got)
    e = raises(openai.BadRequestError, lambda: client.chat.completions.create(
        **ask, messages=two, tools=[{"type": "function", "function": {"name": "f"}}]),
        "tools for a template without them")
    check(e is not None and e.param == "tools", "by their name", e)


def test(services):
    test_openai(services.all)
    test_openai_text(services.all)
    test_openai_tools(services.all)
    test_openai_structured(services.all)
