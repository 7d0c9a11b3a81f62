#!/usr/bin/env python3
"""A tokenizer without special tokens, and texts of what its normalizer drops: nothing is left to compute,
and the request is refused by the place of the text, whichever route it came on.

    tests/http/test_no_tokens.py [PROGRAM]      default: build/trine
"""

import sys

sys.dont_write_bytecode = True
import served  # noqa: E402
import test_model_files as files  # noqa: E402
from served import Started, check  # noqa: E402
from test_model_files import Folder, run  # noqa: E402

DROPPED = ("\u200b", "\x01", "\ufeff")


def refused(s, path, body, place):
    a = s.post(path, body)
    check(a.status in (400, 422) and "no tokens" in str(a.json) and place in str(a.json), f"{path} {body}", a)


def main(args):
    files.program = served.start(args)
    with Folder("bert-mean-st6") as e, Folder("bert-cross-encoder") as r:
        for m in (e, r):
            m.edit("tokenizer.json", post_processor=None)
            m.write("tokenizer_config.json", {"model_input_names": ["input_ids", "token_type_ids"]})
        with Started(files.program, {}, "--model", f"e={e.path}", "--model", f"r={r.path}") as s:
            for t in DROPPED:
                refused(s, "/v1/embeddings", {"model": "e", "input": t}, "input")
                refused(s, "/embed", {"model": "e", "inputs": ["a", t]}, "inputs[1]")
                refused(s, "/v1/rerank", {"model": "r", "query": t, "documents": ["a", t]}, "documents[1]")
                refused(s, "/rerank", {"model": "r", "query": t, "texts": [t]}, "texts")
                for query, document in ((t, "a"), ("a", t)):
                    a = s.post("/v1/rerank", {"model": "r", "query": query, "documents": [document]})
                    check(a.status == 200, "one of the two has tokens", a)
        p = run("rerank", "--model", r.path, "--query", "\u200b", stdin="a\n\u200b\n")
        check(p.returncode == 1 and b"no tokens" in p.stderr and p.stderr.count(b"\n") == 1, "the command", p)
    return served.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
