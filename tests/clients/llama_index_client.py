"""LlamaIndex: OpenAI-like models and embeddings, text-embeddings-inference, Cohere's and Jina's reranking."""

from kit import COHERE_NAME, DIM, HELLO, KEY, PASSAGES, QUERY, check, like, raises
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLMMetadata
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.cohere import CohereEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.llms.openai_like import OpenAILike
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference as TeiRerank


def test_llm(url):
    llm = OpenAILike(model="tiny", api_base=url + "/v1", api_key=KEY, is_chat_model=True, temperature=0,
                     max_tokens=60, context_window=512, max_retries=0)
    check(isinstance(llm.metadata, LLMMetadata), "OpenAILike")
    r = llm.chat([ChatMessage(role="user", content="hi")])
    check(r.message.content == HELLO, "chat", r)
    pieces = [p.delta or "" for p in llm.stream_chat([ChatMessage(role="user", content="hi")])]
    check("".join(pieces) == HELLO, "stream_chat", pieces)
    plain = OpenAILike(model="tiny", api_base=url + "/v1", api_key=KEY, is_chat_model=False, temperature=0,
                       max_tokens=60, context_window=512, max_retries=0)
    text = plain.complete("one two three").text
    check(text.endswith("twelve."), "complete", text)
    check("".join(p.delta or "" for p in plain.stream_complete("one two three")) == text, "stream_complete")


def test_embeddings(url, cohere_named):
    openai_like = OpenAILikeEmbedding(model_name="emb", api_base=url + "/v1", api_key=KEY, max_retries=0)
    many = openai_like.get_text_embedding_batch(PASSAGES)
    check(len(many) == 3 and len(many[0]) == DIM, "OpenAILikeEmbedding.get_text_embedding_batch")
    check(openai_like.get_query_embedding(PASSAGES[0]) == many[0], "get_query_embedding")
    tei = TextEmbeddingsInference(model_name="emb", base_url=url, auth_token=KEY)
    check(all(like(a, b) for a, b in zip(tei.get_text_embedding_batch(PASSAGES), many)),
          "TextEmbeddingsInference gives the same")
    check(len(tei.get_text_embedding("word " * 3000)) == DIM, "and cuts a long text")
    co = CohereEmbedding(api_key=KEY, base_url=cohere_named, model_name=COHERE_NAME, input_type="search_document")
    check(all(like(a, b) for a, b in zip(co.get_text_embedding_batch(PASSAGES), many)),
          "CohereEmbedding gives the same")


def test_rerank(url):
    nodes = [NodeWithScore(node=TextNode(text=p)) for p in PASSAGES]
    for name, ranker in (
            ("CohereRerank", CohereRerank(top_n=2, model="rr", api_key=KEY, base_url=url, max_retries=1)),
            ("JinaRerank", JinaRerank(top_n=2, model="rr", api_key=KEY, base_url=url + "/v1")),
            ("tei_rerank", TeiRerank(top_n=2, base_url=url, auth_token="Bearer " + KEY)),
            ("tei_rerank with a bare key", TeiRerank(top_n=2, base_url=url, auth_token=KEY))):
        kept = ranker.postprocess_nodes(list(nodes), query_str=QUERY)
        check(len(kept) == 2 and kept[0].node.text == PASSAGES[1] and kept[0].score > 0.9, name, kept)
    # what JinaRerank says of an error is the answer's `detail`
    wrong = JinaRerank(top_n=2, model="no-such-model", api_key=KEY, base_url=url + "/v1")
    e = raises(RuntimeError, lambda: wrong.postprocess_nodes(list(nodes), query_str=QUERY), "an unknown model")
    check(e is not None and "not loaded" in str(e), "by its cause", e)


def test(services):
    test_llm(services.all)
    test_embeddings(services.all, services.cohere_named)
    test_rerank(services.all)
