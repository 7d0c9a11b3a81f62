"""LangChain's chat, embedding and rerank classes of langchain-openai and langchain-cohere."""

import pydantic
from kit import COUNTING, DIM, HELLO, KEY, PASSAGES, QUERY, WEATHER, check, like, raises
from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

# The tiny model has learned this tool's very words: as JSON the class below is what it saw.
WEATHER_TOOL = {"type": "function", "function": {
    "name": "weather", "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                   "required": ["city", "days"], "additionalProperties": False}}}


class Colour(pydantic.BaseModel):
    """A colour."""
    colour: str
    dark: bool


def test_chat(url):
    chat = ChatOpenAI(base_url=url + "/v1", api_key=KEY, model="tiny", temperature=0, max_retries=0)
    r = chat.invoke("hi")
    check(r.content == HELLO and r.response_metadata["finish_reason"] == "stop", "ChatOpenAI.invoke", r)
    check(r.usage_metadata["output_tokens"] > 0, "its usage", r.usage_metadata)
    check("".join(c.content for c in chat.stream("hi")) == HELLO, "stream")
    check([x.content for x in chat.batch(["hi", "hi"])] == [HELLO] * 2, "batch")
    chain = ChatPromptTemplate.from_messages([("human", "{word}")]) | chat
    check(chain.invoke({"word": "hi"}).content == HELLO, "a chain")
    told = chat.invoke([HumanMessage("hi"), AIMessage(HELLO, additional_kwargs={"refusal": None}),
                        HumanMessage("hi")], max_tokens=5)
    check(isinstance(told.content, str), "an answer goes back among the messages", told)
    r = chat.bind(logprobs=True, top_logprobs=2).invoke("hi")
    check("".join(t["token"] for t in r.response_metadata["logprobs"]["content"]) == HELLO, "logprobs")

    tools = chat.bind_tools([WEATHER_TOOL])
    r = tools.invoke("weather")
    check(len(r.tool_calls) == 1 and r.tool_calls[0]["name"] == "weather" and
          r.tool_calls[0]["args"] == WEATHER, "bind_tools", r)
    back = tools.invoke([HumanMessage("weather"), r, ToolMessage("rain", tool_call_id=r.tool_calls[0]["id"])],
                        max_tokens=5)
    check(isinstance(back, AIMessage), "the tool's answer goes back")
    gathered = None
    for piece in tools.stream("weather"):
        gathered = piece if gathered is None else gathered + piece
    check(gathered.tool_calls[0]["args"] == WEATHER, "a call, streamed", gathered)
    forced = chat.bind_tools([WEATHER_TOOL], tool_choice="weather").invoke("hi", max_tokens=150)
    check(forced.response_metadata["finish_reason"] == "length" or set(forced.tool_calls[0]["args"]) == set(WEATHER),
          "tool_choice", forced)


def test_structured(url):
    chat = ChatOpenAI(base_url=url + "/v1", api_key=KEY, model="gen", temperature=0, max_tokens=200, max_retries=0)
    for method in ("json_schema", "json_mode"):
        kind = Colour if method == "json_schema" else None
        asked = chat.with_structured_output(kind, method=method) if kind else \
            chat.bind(response_format={"type": "json_object"})
        r = asked.invoke("Name a colour, as JSON.")
        check(isinstance(r, Colour) if kind else r.content.startswith("{"), f"with_structured_output, {method}", r)
    # functions in place of a schema: the tiny model, whose template shows tools
    tiny = ChatOpenAI(base_url=url + "/v1", api_key=KEY, model="tiny", temperature=0, max_tokens=200, max_retries=0)
    r = tiny.with_structured_output(Colour, method="function_calling", include_raw=True).invoke("hi")
    check(r["parsed"] is None or isinstance(r["parsed"], Colour), "with_structured_output, function_calling", r)
    check(r["raw"].response_metadata["finish_reason"] in ("tool_calls", "stop", "length"), "its end", r)


def test_completion(url):
    llm = OpenAI(base_url=url + "/v1", api_key=KEY, model="tiny", temperature=0, max_tokens=60, max_retries=0)
    text = llm.invoke(COUNTING)
    check(text.endswith("twelve."), "OpenAI.invoke", text)
    check("".join(llm.stream(COUNTING)) == text, "stream")
    check(len(llm.generate([COUNTING, "the"]).generations) == 2, "generate of two")


def test_embeddings(url):
    e = OpenAIEmbeddings(base_url=url + "/v1", api_key=KEY, model="emb", check_embedding_ctx_length=False,
                         max_retries=0)
    many = e.embed_documents(PASSAGES)
    check(len(many) == 3 and len(many[0]) == DIM, "OpenAIEmbeddings.embed_documents")
    check(e.embed_query(PASSAGES[0]) == many[0], "embed_query")
    small = OpenAIEmbeddings(base_url=url + "/v1", api_key=KEY, model="emb", check_embedding_ctx_length=False,
                             dimensions=64, max_retries=0).embed_query("a")
    check(len(small) == 64, "dimensions")
    co = CohereEmbeddings(base_url=url, cohere_api_key=KEY, model="emb", max_retries=0)
    check(all(like(a, b) for a, b in zip(co.embed_documents(PASSAGES), many)), "CohereEmbeddings gives the same")
    check(like(co.embed_query(PASSAGES[1]), many[1]), "embed_query")


def test_rerank(url):
    rr = CohereRerank(base_url=url, cohere_api_key=KEY, model="rr", top_n=2)
    kept = rr.compress_documents([Document(page_content=p) for p in PASSAGES], QUERY)
    check(len(kept) == 2 and kept[0].page_content == PASSAGES[1] and kept[0].metadata["relevance_score"] > 0.9,
          "CohereRerank.compress_documents", kept)
    ranked = rr.rerank(PASSAGES, QUERY, top_n=3)
    check([r["index"] for r in ranked][0] == 1 and len(ranked) == 3, "rerank", ranked)
    e = raises(Exception, lambda: CohereRerank(base_url=url, cohere_api_key="wrong", model="rr").rerank(PASSAGES, QUERY),
               "a wrong key")
    check(e is not None and getattr(e, "status_code", None) == 401, "is 401", e)


def test(services):
    test_chat(services.all)
    test_structured(services.all)
    test_completion(services.all)
    test_embeddings(services.all)
    test_rerank(services.all)
