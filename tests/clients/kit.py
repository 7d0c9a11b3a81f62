"""What the clients' tests share: the running services' addresses and names, and counted checks."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "http"))
from served import ROOT, check  # noqa: E402, F401

EMBED = "sentence-transformers/all-MiniLM-L6-v2"
RERANK = "cross-encoder/ms-marco-MiniLM-L-12-v2"
GENERATE = "HuggingFaceTB/SmolLM2-135M-Instruct"
CLASSIFY = "tests/golden/data/bert-classifier"
TINY = "tests/golden/data/tiny_chat"  # has learned a few lines, calls of a tool among them
COHERE_NAME = "embed-english-v3.0"  # some clients know Cohere's own names only
DIM = 384
KEY = "a-client-key"

HELLO = "Hello there, friend!"  # what the tiny model says to "hi"
WEATHER = {"city": "Oslo", "days": 2}  # the arguments of its call behind "weather"
COUNTING = "one two three"  # it counts on to twelve

QUERY = "What is a giant panda?"
PASSAGES = ["hi", "The giant panda is a bear species endemic to China.", "Paris is in France."]


def like(a, b):
    """Whether two vectors are equal to within a decimal form's rounding."""
    return len(a) == len(b) and all(abs(x - y) <= 1e-6 for x, y in zip(a, b))


def raises(kind, call, what):
    try:
        result = call()
    except kind as e:
        check(True, what)
        return e
    except Exception as e:  # another kind: the mapping is wrong
        check(False, what, repr(e))
        return None
    check(False, what, f"no error but {result!r}")
    return None
