#!/usr/bin/env python3
"""The tables of service/api/members.h say the truth: what a route's table calls read is read. Nonsense
in any such member is 400 (422), or the member is named in x-warning; so it is by its other names.

    tests/http/test_known.py [PROGRAM]
"""

import glob
import os
import re
import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import Started, check  # noqa: E402

SERVICE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "service", "api")
# (path, file of its table, which of the file's tables of that name, body)
ROUTES = [
    ("/v1/chat/completions", "chat.c", "table", 0,
     {"model": "g", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
    ("/v1/completions", "completions.c", "table", 0, {"model": "g", "prompt": "hi", "max_tokens": 1}),
    ("/v1/embeddings", "openai_embeddings.c", "table", 0, {"model": "e", "input": "a"}),
    ("/v2/embed", "cohere_embed.c", "table", 0, {"model": "e", "texts": ["a"]}),
    ("/v1/embed", "cohere_embed.c", "table", 0, {"model": "e", "texts": ["a"]}),
    ("/embed", "tei.c", "embed_table", 0, {"model": "e", "inputs": "a"}),
    ("/similarity", "tei.c", "similarity_table", 0,
     {"model": "e", "inputs": {"source_sentence": "a", "sentences": ["b"]}}),
    ("/v1/rerank", "rerank.c", "documents_table", 0, {"model": "r", "query": "a", "documents": ["b"]}),
    ("/v2/rerank", "rerank.c", "documents_table", 0, {"model": "r", "query": "a", "documents": ["b"]}),
    ("/rerank", "rerank.c", "texts_table", 0, {"model": "r", "query": "a", "texts": ["b"]}),
    ("/v1/classify", "classify.c", "table", 0, {"model": "r", "input": "a"}),
    ("/predict", "classify.c", "table", 1, {"model": "r", "inputs": "a"}),
    ("/tokenize", "tei_tokens.c", "table", 0, {"model": "e", "inputs": "a"}),
    ("/decode", "tei_tokens.c", "table", 1, {"model": "e", "ids": [5]}),
]
NONSENSE = ({"x": [[]]}, [[{"x": []}]])
# What may be any object.
OBJECTS = ("parameters", "chat_template_kwargs")


def tables():
    """{(file, name): [[(macro, member, means)], next's name]}, one for each table of that name."""
    found = {}
    for path in sorted(glob.glob(os.path.join(SERVICE, "**", "*.c"), recursive=True)):
        with open(path, encoding="utf-8") as f:
            source = f.read()
        rows = {}
        for m in re.finditer(r"struct api_member (\w+)\[\] = \{(.*?)\};|"
                             r"struct api_members (\w+) =\s*API_TABLE(?:_CLOSED)?\((\w+),\s*(?:NULL|&(\w+))\)",
                             source, re.DOTALL):
            if m[1]:
                rows[m[1]] = re.findall(r'API_(\w+)\("(\w+)"(?:,\s*"(\w+)")?', m[2])
            else:
                found.setdefault((os.path.basename(path), m[3]), []).append((rows[m[4]], m[5]))
    return found


def members(found, file, name, which):
    """What the route's table says of each member: the first row that has it."""
    said = {}
    at = found[file, name][which]
    while at:
        for fate, member, means in at[0]:
            said.setdefault(member, (fate, means))
        if not at[1]:
            break
        file, at = next((k[0], v[0]) for k, v in sorted(found.items(), key=lambda kv: kv[0][0] != file)
                        if k[1] == at[1])
    return said


def main():
    program = served.start(sys.argv[1:])
    found = tables()
    models = {"e": "bert-mean-st6", "r": "bert-cross-encoder", "g": "tiny_chat"}
    with Started(program, models) as s:
        for path, file, name, which, body in ROUTES:
            check(s.post(path, body).status == 200, f"{path}: the body itself", s.post(path, body))
            said = members(found, file, name, which)
            read = [m for m, (fate, _) in said.items() if fate in ("READ", "SAME")]
            check(len(read) > 2, f"{path}: a table was found", said)
            for member in read:
                main_name = said[member][1] or member
                for value in NONSENSE:
                    if member in OBJECTS and isinstance(value, dict):
                        continue
                    sent = {k: v for k, v in body.items() if k != main_name or said[member][0] != "SAME"}
                    a = s.post(path, {**sent, member: value})
                    check(a.status in (400, 422) or member in a.headers.get("x-warning", ""),
                          f"{path}: {member}: {value}", a)
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
