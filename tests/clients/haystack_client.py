"""Haystack: OpenAI's generator and embedders, Cohere's ranker and embedder, the hub's TEI embedder."""

import asyncio

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret
from haystack_integrations.components.embedders.cohere import CohereTextEmbedder
from haystack_integrations.components.embedders.huggingface_api import HuggingFaceAPITextEmbedder
from haystack_integrations.components.rankers.cohere import CohereRanker
from kit import DIM, HELLO, KEY, PASSAGES, QUERY, WEATHER, check, like

SECRET = Secret.from_token(KEY)


def test_chat(url):
    chat = OpenAIChatGenerator(api_key=SECRET, model="tiny", api_base_url=url + "/v1",
                               generation_kwargs={"temperature": 0}, max_retries=0)
    r = chat.run([ChatMessage.from_user("hi")])["replies"][0]
    check(r.text == HELLO and r.meta["finish_reason"] == "stop", "OpenAIChatGenerator", r)
    pieces = []
    r = chat.run([ChatMessage.from_user("hi")], streaming_callback=lambda c: pieces.append(c.content or ""))
    check("".join(pieces) == HELLO == r["replies"][0].text, "streamed", pieces)
    r = asyncio.run(chat.run_async([ChatMessage.from_user("hi"), ChatMessage.from_assistant(HELLO),
                                    ChatMessage.from_user("hi")], generation_kwargs={"temperature": 0, "max_tokens": 5}))
    check(isinstance(r["replies"][0].text, str), "run_async", r)
    weather = Tool(name="weather", description="Tells the weather.", function=lambda city, days: "rain",
                   parameters={"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                               "required": ["city", "days"], "additionalProperties": False})
    r = chat.run([ChatMessage.from_user("weather")], tools=[weather])["replies"][0]
    check(bool(r.tool_calls) and r.tool_calls[0].arguments == WEATHER, "a tool's call", r)
    back = chat.run([ChatMessage.from_user("weather"), r, ChatMessage.from_tool("rain", origin=r.tool_calls[0])],
                    tools=[weather], generation_kwargs={"temperature": 0, "max_tokens": 5})
    check(len(back["replies"]) == 1, "its answer goes back")


def test_embedders(url):
    documents = OpenAIDocumentEmbedder(api_key=SECRET, model="emb", api_base_url=url + "/v1", progress_bar=False,
                                       max_retries=0)
    many = [d.embedding for d in documents.run([Document(content=p) for p in PASSAGES])["documents"]]
    check(len(many) == 3 and len(many[0]) == DIM, "OpenAIDocumentEmbedder")
    one = OpenAITextEmbedder(api_key=SECRET, model="emb", api_base_url=url + "/v1", max_retries=0)
    check(one.run(PASSAGES[1])["embedding"] == many[1], "OpenAITextEmbedder")
    tei = HuggingFaceAPITextEmbedder(api_type="text_embeddings_inference", api_params={"url": url}, token=SECRET,
                                    normalize=True)
    check(like(tei.run(PASSAGES[1])["embedding"], many[1]), "HuggingFaceAPITextEmbedder")
    co = CohereTextEmbedder(api_key=SECRET, model="emb", api_base_url=url)
    check(like(co.run(PASSAGES[1])["embedding"], many[1]), "CohereTextEmbedder")


def test_ranker(url):
    ranker = CohereRanker(model="rr", top_k=2, api_key=SECRET, api_base_url=url)
    kept = ranker.run(query=QUERY, documents=[Document(content=p) for p in PASSAGES])["documents"]
    check(len(kept) == 2 and kept[0].content == PASSAGES[1] and kept[0].score > 0.9, "CohereRanker", kept)


def test(services):
    test_chat(services.all)
    test_embedders(services.all)
    test_ranker(services.all)
