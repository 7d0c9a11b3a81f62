"""huggingface_hub's InferenceClient, which speaks text-embeddings-inference's and OpenAI's dialects."""

import huggingface_hub
import numpy
from kit import DIM, HELLO, KEY, check, raises


def test_huggingface(embed_url, classify_url):
    client = huggingface_hub.InferenceClient(embed_url, token=KEY)
    v = client.feature_extraction("The cat sits outside")
    check(v.shape == (1, DIM) and v.dtype == numpy.float32, "feature_extraction", v.shape)
    check(abs(numpy.linalg.norm(v) - 1) < 1e-5, "normalised")
    long = client.feature_extraction("word " * 3000, truncate=True, truncation_direction="left")
    check(long.shape == (1, DIM), "truncate")
    raw = client.feature_extraction("The cat sits outside", normalize=False)
    check(abs(numpy.linalg.norm(raw) - 1) > 1e-3, "normalize=False")
    scores = client.sentence_similarity(
        "The cat sits outside", other_sentences=["A cat is outdoors", "The stock market fell"])
    check(len(scores) == 2 and scores[0] > 0.6 > scores[1], "sentence_similarity", scores)
    raises(huggingface_hub.errors.HfHubHTTPError, lambda: client.feature_extraction(""),
           "an empty text is an error")
    wrong = huggingface_hub.InferenceClient(embed_url, token="wrong")
    raises(huggingface_hub.errors.HfHubHTTPError, lambda: wrong.feature_extraction("a"),
           "a wrong key")

    r = client.chat_completion([{"role": "user", "content": "hi"}], model=embed_url, temperature=0,
                               extra_body={"model": "tiny"})
    check(r.choices[0].message.content == HELLO, "chat_completion", r)

    client = huggingface_hub.InferenceClient(classify_url, token=KEY)
    labels = client.text_classification("the cat sat")
    check(isinstance(labels, list) and {x.label for x in labels} ==
          {"entailment", "neutral", "contradiction"}, "text_classification", labels)
    check(abs(sum(x.score for x in labels) - 1) < 1e-5
          and labels[0].score >= labels[1].score >= labels[2].score, "its scores", labels)


def test(services):
    test_huggingface(services.all, services.classifier)
