"""LiteLLM: embedding, rerank and completion by each prefix that takes a base address and exists here."""

import litellm
from kit import COUNTING, DIM, HELLO, KEY, PASSAGES, QUERY, WEATHER, check, like, raises

HI = [{"role": "user", "content": "hi"}]


def test_completion(url):
    for prefix in ("openai", "hosted_vllm", "litellm_proxy", "lm_studio", "llamafile"):
        ask = {"model": prefix + "/tiny", "messages": HI, "temperature": 0, "api_base": url + "/v1", "api_key": KEY,
               "num_retries": 0}
        r = litellm.completion(**ask)
        check(r.choices[0].message.content == HELLO and r.usage.completion_tokens > 0, f"{prefix}: completion", r)
        pieces = [c.choices[0].delta.content or "" for c in litellm.completion(**ask, stream=True)]
        check("".join(pieces) == HELLO, f"{prefix}: streamed", pieces)
    told = HI + [dict(r.choices[0].message.model_dump(), provider_specific_fields={"k": 1}, reasoning_content="t")] + HI
    r = litellm.completion(**dict(ask, model="openai/tiny", messages=told), max_tokens=5)
    check(isinstance(r.choices[0].message.content, str), "an answer goes back with all that it carried", r)
    r = litellm.text_completion(model="text-completion-openai/tiny", prompt=COUNTING, temperature=0, max_tokens=60,
                                api_base=url + "/v1", api_key=KEY)
    check(r.choices[0].text.endswith("twelve."), "text_completion", r)
    tools = [{"type": "function", "function": {
        "name": "weather", "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                       "required": ["city", "days"]}}}]
    r = litellm.completion(**dict(ask, model="openai/tiny", messages=[{"role": "user", "content": "weather"}]),
                           tools=tools, max_tokens=150)
    call = (r.choices[0].message.tool_calls or [None])[0]
    check(call is not None and set(WEATHER) == set(litellm.utils.json.loads(call.function.arguments)), "tools", r)
    e = raises(litellm.NotFoundError, lambda: litellm.completion(**dict(ask, model="openai/none")), "an unknown model")
    check(e is not None and "not loaded" in str(e), "by its cause", e)
    raises(litellm.ContextWindowExceededError,
           lambda: litellm.completion(**dict(ask, model="openai/tiny", messages=[
               {"role": "user", "content": "word " * 9000}])), "too long is known as such")


def test_embedding(url):
    want = None
    for prefix, base in (("openai", url + "/v1"), ("hosted_vllm", url + "/v1"), ("litellm_proxy", url + "/v1"),
                         ("infinity", url), ("huggingface", url)):
        task = {"input_type": "feature-extraction"} if prefix == "huggingface" else {}  # or it asks the hub
        r = litellm.embedding(model=prefix + "/emb", input=PASSAGES, api_base=base, api_key=KEY, **task)
        vectors = [d["embedding"] for d in r.data]
        want = want or vectors
        check(len(vectors) == 3 and len(vectors[0]) == DIM and all(like(a, b) for a, b in zip(vectors, want)),
              f"{prefix}: embedding", str(r)[:200])
    e = raises(litellm.BadRequestError,
               lambda: litellm.embedding(model="openai/emb", input=[""], api_base=url + "/v1", api_key=KEY),
               "an empty text")
    check(e is not None and "input[0]" in str(e), "by its index", e)


def test_rerank(url):
    for prefix, base in (("cohere", url + "/v2/rerank"), ("hosted_vllm", url + "/v1/rerank"), ("infinity", url),
                         ("huggingface", url)):
        # Infinity's own answer has documents as strings; without them LiteLLM reads what /rerank says
        echoed = {"return_documents": False} if prefix == "infinity" else {}
        r = litellm.rerank(model=prefix + "/rr", query=QUERY, documents=PASSAGES, top_n=2, api_base=base, api_key=KEY,
                           **echoed)
        check(r.results[0]["index"] == 1 and r.results[0]["relevance_score"] > 0.9, f"{prefix}: rerank", r)


def test(services):
    litellm.suppress_debug_info = True
    test_completion(services.all)
    test_embedding(services.all)
    test_rerank(services.all)
