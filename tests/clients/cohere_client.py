"""The official cohere client for Python, of both versions of the interface: rerank and embed."""

import cohere
from kit import DIM, KEY, PASSAGES, QUERY, check, raises


def test_cohere(url):
    query, documents = QUERY, PASSAGES
    v2 = cohere.ClientV2(api_key=KEY, base_url=url)
    r = v2.rerank(model="rr", query=query, documents=documents, top_n=2)
    check([x.index for x in r.results][0] == 1 and len(r.results) == 2, "ClientV2.rerank", r)
    check(r.results[0].relevance_score > 0.9 > r.results[1].relevance_score, "scores", r)
    check(bool(r.id) and r.meta.api_version.version == "2" and r.meta.billed_units.search_units == 1,
          "meta", r)
    v1 = cohere.Client(api_key=KEY, base_url=url)
    r1 = v1.rerank(model="rr", query=query, documents=documents, return_documents=True)
    check(r1.results[0].document.text == documents[1]
          and r1.results[0].relevance_score == r.results[0].relevance_score, "Client.rerank", r1)
    r1 = v1.rerank(model="rr", query=query, documents=[{"text": d} for d in documents])
    check(r1.results[0].index == 1 and r1.meta.api_version.version == "1", "objects", r1)
    r1 = v1.rerank(model="rr", query=query, rank_fields=["title", "body"],
                   documents=[{"title": "hi", "body": "a"}, {"title": "panda", "body": "a bear"}])
    check(r1.results[0].index == 1, "rank_fields", r1)

    e = v2.embed(model="emb", texts=documents, input_type="search_document",
                 embedding_types=["float", "int8", "ubinary", "base64"])
    check(len(e.embeddings.float_) == 3 and len(e.embeddings.float_[0]) == DIM, "ClientV2.embed")
    check(len(e.embeddings.ubinary[0]) == DIM // 8 and len(e.embeddings.base64) == 3
          and all(-128 <= x <= 127 for x in e.embeddings.int8[0]), "its types")
    check(e.meta.billed_units.input_tokens > 0 and e.texts == documents, "its meta and texts")
    small = v2.embed(model="emb", texts=["a"], input_type="search_query", output_dimension=32,
                     embedding_types=["float"])
    check(len(small.embeddings.float_[0]) == 32, "output_dimension")
    floats = v1.embed(model="emb", texts=documents, input_type="search_document")
    check(floats.embeddings == e.embeddings.float_, "Client.embed gives the same floats")
    typed = v1.embed(model="emb", texts=["a"], input_type="search_document",
                     embedding_types=["binary"])
    check(len(typed.embeddings.binary[0]) == DIM // 8, "Client.embed by type", typed)

    e = raises(cohere.NotFoundError, lambda: v2.rerank(model="x", query="a", documents=["b"]),
               "an unknown model is NotFoundError")
    check(e is not None and "message" in e.body, "with a message", e)
    raises(cohere.BadRequestError, lambda: v2.rerank(model="rr", query="a", documents=[]),
           "no documents is BadRequestError")
    raises(cohere.BadRequestError, lambda: v1.rerank(model="rr", query="", documents=["a"]),
           "an empty query is BadRequestError")
    raises(cohere.UnauthorizedError,
           lambda: cohere.ClientV2(api_key="wrong", base_url=url).rerank(
               model="rr", query="a", documents=["b"]), "a wrong key is UnauthorizedError")


def test(services):
    test_cohere(services.all)
