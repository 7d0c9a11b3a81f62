#!/usr/bin/env python3
"""What the files of a model say is done: keys that change numbers are honoured or refused by name,
and folders in the forms that the reference loads give the same numbers.

    tests/http/test_model_files.py [PROGRAM]      default: build/trine

Closing line: "N passed, N failed"; the exit code tells the truth. That the numbers themselves are the
reference's is for tests/golden and tools/ to show; here forms are compared with each other.
"""

import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
import served  # noqa: E402
from served import ROOT, check  # noqa: E402

DATA = os.path.join(ROOT, "tests", "golden", "data")
PROMPT = "Given a web search query: "
TEXTS = ["what is the water", "the land and the water"]
program = ""


class Folder:
    """A copy of a model of tests/golden/data to change."""

    def __init__(self, model):
        self.temp = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.temp.name, "m")
        shutil.copytree(os.path.join(DATA, model), self.path)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.temp.cleanup()

    def edit(self, name, **members):
        path = os.path.join(self.path, name)
        content = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                content = json.load(f)
        content.update(members)
        self.write(name, content)

    def write(self, name, content):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(content, f)

    def read(self, name):
        with open(os.path.join(self.path, name), encoding="utf-8") as f:
            return json.load(f)

    def tensors(self, change):
        """Rewrites the weights: change(dict of name -> [dtype, shape, bytes])."""
        path = os.path.join(self.path, "model.safetensors")
        with open(path, "rb") as f:
            size = struct.unpack("<Q", f.read(8))[0]
            header = json.loads(f.read(size))
            data = f.read()
        held = {n: [t["dtype"], t["shape"], data[slice(*t["data_offsets"])]]
                for n, t in header.items() if n != "__metadata__"}
        change(held)
        header, data = {}, b""
        for name, (dtype, shape, content) in held.items():
            header[name] = {"dtype": dtype, "shape": shape,
                            "data_offsets": [len(data), len(data) + len(content)]}
            data += content
        text = json.dumps(header).encode()
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + data)

    def to(self, sub, *names):
        """Moves the transformer's own files into a folder within."""
        os.makedirs(os.path.join(self.path, sub))
        for name in names:
            if os.path.exists(os.path.join(self.path, name)):
                os.rename(os.path.join(self.path, name), os.path.join(self.path, sub, name))


def run(*args, stdin=""):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRINE_")}
    env.pop("OPENBLAS_CORETYPE", None)
    return subprocess.run([program, *args], input=stdin.encode(), capture_output=True, timeout=240,
                          env=env)


def vectors(folder):
    """The vectors of TEXTS as bytes, or what was said instead."""
    with tempfile.TemporaryDirectory() as d:
        out = os.path.join(d, "out.npy")
        p = run("embed", "--model", folder, "-o", out, stdin="\n".join(TEXTS) + "\n")
        if p.returncode:
            return p.stderr.decode()
        with open(out, "rb") as f:
            return f.read()


def ranked(folder, query, *flags):
    """{document: score}, or what was said instead."""
    p = run("rerank", "--model", folder, "--query", query, *flags, stdin="\n".join(TEXTS) + "\n")
    if p.returncode:
        return p.stderr.decode()
    rows = [line.split("\t") for line in p.stdout.decode().splitlines()]
    return {row[2]: float(row[0]) for row in rows}


def serving(folder):
    s = served.Started(program, {"m": os.path.relpath(folder, DATA)})
    while s.get("/readyz").status != 200:
        time.sleep(0.05)
    return s


def near(a, b):
    return abs(a - b) < 1e-5


# --- keys that change numbers ---

def test_problem_type():
    softmax = lambda x: [math.exp(v) / sum(map(math.exp, x)) for v in x]
    sigmoid = lambda x: [1 / (1 + math.exp(-v)) for v in x]
    for kind, scores in (("multi_label_classification", sigmoid), ("regression", list),
                         ("single_label_classification", softmax), (None, softmax)):
        with Folder("bert-classifier") as m:
            m.edit("config.json", problem_type=kind)
            with serving(m.path) as s:
                raw = s.post("/v1/classify", {"input": TEXTS, "raw_scores": True}).json["data"]
                got = s.post("/v1/classify", {"input": TEXTS}).json["data"]
                for one, logits in zip(got, raw):
                    want = scores(logits["probs"])
                    check(all(map(near, one["probs"], want)), kind, (one, want))
                want = scores(raw[0]["probs"])
                tei = s.post("/predict", {"inputs": TEXTS[0]}).json
                check(all(map(near, sorted(x["score"] for x in tei), sorted(want))), kind, tei)
    with Folder("bert-classifier") as m:
        m.edit("config.json", problem_type="ranking")
        p = run("inspect", m.path)
        check(p.returncode == 1 and b"problem_type 'ranking' is not supported" in p.stderr, "named",
              p.stderr)


def test_labels():
    with Folder("bert-classifier") as m:
        m.edit("config.json", id2label={"0": 0, "1": -1, "2": 2.5}, label2id={"0": 0, "-1": 1, "2.5": 2},
               num_labels=2)
        with serving(m.path) as s:
            labels = {x["label"] for x in s.post("/predict", {"inputs": TEXTS[0]}).json}
            check(labels == {"0", "-1", "2.5"}, "numbers as labels", labels)


def test_cross_encoder_prompt():
    own = {"model_type": "CrossEncoder", "prompts": {"web": PROMPT, "other": "x "},
           "default_prompt_name": "web"}
    with Folder("bert-cross-encoder") as m:
        os.unlink(os.path.join(m.path, "config_sentence_transformers.json"))
        plain, right = ranked(m.path, "water"), ranked(m.path, PROMPT + "water")
        other = ranked(m.path, "x water")
        check(plain != right and right != other, "a prompt changes scores", (plain, right, other))
        m.write("config_sentence_transformers.json", own)
        check(ranked(m.path, "water") == right, "the default prompt", right)
        check(ranked(m.path, "water", "--prompt-name", "other") == other, "another by an option")
        got = ranked(m.path, "water", "--prompt-name", "no")
        check(isinstance(got, str) and "these prompts: web, other" in got, "an unknown one", got)
        with serving(m.path) as s:
            def scores(body):
                a = s.post("/v1/rerank", {"query": "water", "documents": TEXTS, **body})
                return {r["document"]["text"]: r["relevance_score"] for r in a.json["results"]}
            alike = lambda a, b: all(near(a[t], b[t]) for t in TEXTS)
            check(alike(scores({}), right), "over HTTP", scores({}))
            check(alike(scores({"prompt_name": "other"}), other), "another by name")
            a = s.post("/v1/rerank", {"query": "water", "documents": TEXTS, "prompt_name": "no"})
            check(a.status == 400 and a.code == "unknown_prompt", "an unknown one", a)
            a = s.post("/predict", {"inputs": [["water", TEXTS[0]]]})
            check(near(a.json[0][0]["score"], right[TEXTS[0]]), "a pair of /predict", a)
            a = s.post("/rerank", {"query": "water", "texts": TEXTS})
            check(all(near(r["score"], right[TEXTS[r["index"]]]) for r in a.json), "TEI", a)
        m.write("config_sentence_transformers.json", dict(own, default_prompt_name=None))
        check(ranked(m.path, "water") == plain, "none by default")
        # sentence-transformers opens such a folder too, and does not use its prompts
        m.write("config_sentence_transformers.json", dict(own, model_type="SentenceTransformer"))
        check(ranked(m.path, "water") == plain, "an embedder's prompts are not a reranker's")
        m.write("config_sentence_transformers.json", dict(own, default_prompt_name="gone"))
        got = ranked(m.path, "water")
        check(isinstance(got, str) and "'gone'" in got, "a default that is not there", got)


def test_modules_of_cross_encoders():
    score = {"idx": 1, "name": "1", "path": "1_LogitScore",
             "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}
    first = {"idx": 0, "name": "0", "path": "",
             "type": "sentence_transformers.base.modules.transformer.Transformer"}
    with Folder("causal/qwen3-reranker") as m:
        want = run("rerank", "--model", m.path, "--query", "water", stdin=TEXTS[0])
        check(want.returncode == 0 and want.stdout, "a causal reranker", want.stderr)
        ids = [int(run("tokenize", "--model", m.path, "--ids", "--no-special", word).stdout)
               for word in ("yes", "no")]
        m.write("modules.json", [first, score])
        m.write("1_LogitScore/config.json", {"true_token_id": ids[0], "false_token_id": ids[1]})
        p = run("rerank", "--model", m.path, "--query", "water", stdin=TEXTS[0])
        check(p.stdout == want.stdout, "its own words", p)
        m.edit("1_LogitScore/config.json", module_input_name="causal_logits", hue=1)
        p = run("inspect", m.path)
        text = p.stdout.decode()
        check("1_LogitScore/config.json, honoured: true_token_id, false_token_id\n" in text
              and "1_LogitScore/config.json, unknown, ignored: hue\n" in text, "its keys are listed", text)
        check(b"1_LogitScore/config.json: unknown keys, which are ignored: hue" in p.stderr, "and told", p.stderr)
        m.edit("1_LogitScore/config.json", module_input_name="scores")
        p = run("rerank", "--model", m.path, "--query", "water", stdin=TEXTS[0])
        check(p.returncode == 1 and b"1_LogitScore/config.json: 'module_input_name' is 'scores'" in p.stderr,
              "other logits", p)
        m.write("1_LogitScore/config.json", {"true_token_id": ids[1], "false_token_id": ids[0]})
        p = run("rerank", "--model", m.path, "--query", "water", stdin=TEXTS[0])
        check(p.returncode == 1 and b"it compares the tokens" in p.stderr, "other words", p.stderr)
    with Folder("bert-cross-encoder") as m:
        m.write("modules.json", [first, dict(score, path="1_Dense",
                                             type="sentence_transformers.base.modules.dense.Dense")])
        got = ranked(m.path, "water")
        check(isinstance(got, str) and "Dense behind a cross-encoder's head" in got, "refused", got)


def test_keys():
    with Folder("bert-mean-st6") as m:
        m.edit("config.json", position_embedding_type="absolute", chunk_size_feed_forward=0,
               is_decoder=False, pruned_heads={}, house_number=7)
        m.edit("1_Pooling/config.json", colour="red")
        with open(os.path.join(m.path, "tokenizer.json"), encoding="utf-8") as f:
            tokenizer = json.load(f)
        for token in tokenizer["added_tokens"]:
            token["font"] = "serif"
        m.edit("tokenizer.json", shade=1, model=dict(tokenizer["model"], depth=2),
               added_tokens=tokenizer["added_tokens"])
        m.write("added_tokens.json", {"[MASK]": next(t["id"] for t in tokenizer["added_tokens"]
                                                     if t["content"] == "[MASK]")})
        p = run("inspect", m.path)
        text = p.stdout.decode()
        check(p.returncode == 0, "inspect", p.stderr)
        lines = {line.split(": ")[0]: line.split(": ")[1].split(", ")
                 for line in text.splitlines() if line.startswith("keys of ")}
        check("house_number" in lines["keys of config.json, unknown, ignored"], "unknown", lines)
        check("hidden_size" in lines["keys of config.json, honoured"], "honoured")
        check("vocab_size" in lines["keys of config.json, honoured"], "each once")
        check("chunk_size_feed_forward" in lines["keys of config.json, without effect"], "without effect")
        check("colour" in lines["keys of 1_Pooling/config.json, unknown, ignored"], "a module's")
        check("[MASK]" in lines["keys of added_tokens.json, honoured"], "each is a token", lines)
        check(set(lines["keys of tokenizer.json, unknown, ignored"])
              == {"shade", "model.depth", "added_tokens.font"}, "the tokenizer's", lines)
        told = [line for line in p.stderr.decode().splitlines() if "tokenizer.json: unknown keys" in line]
        check(len(told) == 1 and all(told[0].count(k) == 1 for k in ("shade", "model.depth", "added_tokens.font")),
              "one warning, each once", p.stderr)
        check(b"config.json: unknown keys, which are ignored: house_number" in p.stderr
              and b"1_Pooling/config.json: unknown keys, which are ignored: colour" in p.stderr,
              "and a warning", p.stderr)
    for file, members, words in (
            ("config.json", {"position_embedding_type": "relative_key"}, "'relative_key'"),
            ("config.json", {"is_decoder": True}, "'is_decoder' is true"),
            ("config.json", {"quantization_config": {"bits": 4}}, "'quantization_config'"),
            ("config_sentence_transformers.json", {"truncate_dim": 8}, "'truncate_dim' is 8"),
            ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "'SparseEncoder'"),
            ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "'fill-mask'"),
            ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "'weightedmean'"),
            ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "'token_embeddings'"),
            ("adapter_config.json", {"peft_type": "LORA"}, "adapters are not supported")):
        with Folder("bert-mean-st6") as m:
            m.edit(file, **members)
            p = run("inspect", m.path)
            text = p.stderr.decode()
            check(p.returncode == 1 and words in text and file in text, file, text)
    for members, words in (({"no_repeat_ngram_size": 3}, "'no_repeat_ngram_size' is 3"),
                           ({"num_beams": 4}, "'num_beams' is 4"),
                           ({"suppress_tokens": [1]}, "'suppress_tokens' is a list")):
        with Folder("tiny_chat") as m:
            m.edit("generation_config.json", **members)
            p = run("inspect", m.path)
            check(p.returncode == 1 and words in p.stderr.decode(), words, p.stderr)
    with Folder("tiny_chat") as m:  # an older folder keeps them in config.json
        os.unlink(os.path.join(m.path, "generation_config.json"))
        m.edit("config.json", temperature=0.25, do_sample=True)
        check(b"temperature 0.25" in run("inspect", m.path).stdout, "sampling of config.json")
        m.edit("config.json", no_repeat_ngram_size=2)
        p = run("inspect", m.path)
        check(p.returncode == 1 and b"'no_repeat_ngram_size' is 2" in p.stderr, "refused there too",
              p.stderr)


def test_token_types():
    def one_type(held):
        for name in held:
            if name.endswith("token_type_embeddings.weight"):
                dtype, (rows, width), content = held[name]
                held[name] = [dtype, [1, width], content[:len(content) // rows]]
    with Folder("bert-cross-encoder") as m:
        m.edit("config.json", type_vocab_size=1)
        m.tensors(one_type)
        got = ranked(m.path, "water")
        check(isinstance(got, str) and "token type 1, 'type_vocab_size' is 1" in got, "refused", got)
    with Folder("bert-mean-st6") as m:  # single texts have one type
        want = vectors(m.path)
        m.edit("config.json", type_vocab_size=1)
        m.tensors(one_type)
        check(vectors(m.path) == want, "an embedder needs one only")


# --- folders in other forms ---

TRANSFORMER = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
               "special_tokens_map.json", "vocab.txt", "sentence_bert_config.json")


def test_folders():
    with Folder("bert-mean-st6") as m:
        want = vectors(m.path)
        check(isinstance(want, bytes), "as it is", want)
        modules = m.read("modules.json")
        for place in ("./", "."):
            modules[0]["path"] = place
            modules[1]["path"] = "./1_Pooling/"
            m.write("modules.json", modules)
            check(vectors(m.path) == want, "path " + place)
        dropout = dict(modules[1], path="3_Dropout", idx=3, name="3",
                       type="sentence_transformers.models.Dropout")
        m.write("modules.json", modules[:2] + [dropout] + modules[2:])
        m.write("3_Dropout/config.json", {"dropout": 0.3})
        check(vectors(m.path) == want, "dropout is training's")
        m.to("0_Transformer", *TRANSFORMER)
        modules[0]["path"] = "0_Transformer"
        m.write("modules.json", modules)
        check(vectors(m.path) == want, "0_Transformer")
        p = run("inspect", m.path)
        check(p.returncode == 0 and b"max length: 48" in p.stdout and b"what is " in p.stdout, "inspect",
              p.stderr)
        check(run("tokenize", "--model", m.path, "--ids", TEXTS[0]).returncode == 0, "tokenize")
        with serving(m.path) as s:
            a = s.post("/v1/embeddings", {"input": TEXTS[0], "prompt_name": "query"})
            check(a.status == 200, "its prompts lie beside modules.json", a)
        modules[0]["path"] = "../0_Transformer"
        m.write("modules.json", modules)
        got = vectors(m.path)
        check(isinstance(got, str) and "within the model" in got, "no way out", got)


def test_stray_tensors():
    def head(held, at=""):
        held[at + "classifier.weight"] = ["F32", [2, 24], b"\0" * 192]
        held[at + "classifier.bias"] = ["F32", [2], b"\0" * 8]
        held["cls.predictions.bias"] = ["F32", [1], b"\0" * 4]
        held["criterion.temperature"] = ["F32", [1], b"\0" * 4]
    with Folder("bert-mean-st6") as m:
        want = vectors(m.path)
        m.tensors(head)
        check(vectors(m.path) == want, "a head that training left")

        def prefix(held):
            for name in list(held):
                if name.startswith(("embeddings.", "encoder.", "pooler.")):
                    held["bert." + name] = held.pop(name)
        m.tensors(prefix)
        check(vectors(m.path) == want, "and the body under 'bert.'")
        # its architecture may be that of the head: modules.json says what the folder is for
        m.edit("config.json", architectures=["BertForSequenceClassification"])
        check(vectors(m.path) == want, "an embedder by its Pooling module")
        for other in ("BertForTokenClassification", "BertForPreTraining"):
            m.edit("config.json", architectures=[other])
            check(vectors(m.path) == want, other)
        m.edit("config.json", architectures=["BertForSequenceClassification"])
        p = run("serve", "--check", "--log-level", "info", "--model", m.path)
        check(p.returncode == 0 and b"left out: " in p.stderr and b"classifier.weight" in p.stderr
              and b"criterion.temperature" in p.stderr and b"embed," in p.stderr,
              "what is left out is named", p.stderr)

        def adapter(held):
            held["bert.encoder.layer.0.attention.self.query.lora_A.weight"] = ["F32", [1], b"\0" * 4]
        m.edit("config.json", architectures=["BertForQuestionAnswering"])
        os.rename(os.path.join(m.path, "modules.json"), os.path.join(m.path, "gone"))
        got = vectors(m.path)
        check(isinstance(got, str) and "as an embedder only" in got, "nothing says how to pool", got)
        os.rename(os.path.join(m.path, "gone"), os.path.join(m.path, "modules.json"))
        m.tensors(adapter)
        got = vectors(m.path)
        check(isinstance(got, str) and "lora_A" in got and "no place" in got, "not among its own", got)


def main():
    global program
    program = served.start(sys.argv[1:])
    os.chdir(ROOT)
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
        except Exception:
            check(False, name, traceback.format_exc())
    return served.done()


if __name__ == "__main__":
    sys.exit(main())
