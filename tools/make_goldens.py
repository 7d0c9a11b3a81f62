#!/usr/bin/env python3
"""Writes tests/golden/data/: tiny random models as real folders, and what the reference computes
from them (float32, eager attention, on the CPU, one text at a time).

Needs torch, transformers, sentence-transformers 6 and safetensors. The outputs are committed, so
the tests need neither this script nor Python. The weights are drawn wide (not std 0.02): a model
whose vectors are all alike would let a wrong forward pass through.

A folder's golden.json:
  ids, type_ids  [S][n]    tokens, as the folder's tokenizer gives them (special ones included)
  texts | pairs            what they were made from; `prompt` stands before each text
  max_length               where the reference cuts
  skip           [S]       leading tokens that stay out of the pool (include_prompt false)
  vectors        [S][dim]  SentenceTransformer.encode: the folder's modules, nothing more
  logits         [S][C]    of classification models
  hidden         [L+1][n*D] of the first text: the embeddings' sum, then each layer
"""

import argparse
import json
import os
import shutil
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the a of and to in is it that was for on are with as his they be at one have this from by
hot word but what some we can out other were all there when up use your how said an each she which do
their time if will way about many then them write would like so these her long make thing see him two
has look more day could go come did number sound no most people my over know water than call first who
may down side been now find any new work part take get place made live where after back little only
round man year came show every good me give our under name very through just form great think say help
low line differ turn cause much mean before move right boy old too same tell does set three want air
well also play small end put home read hand port large spell add even land here must big high such
follow act why ask men change went light kind off need house picture try us again animal point mother
world near build self earth father""".split()
PIECES = ["##s", "##ing", "##ed", "##er", "##ly", "##est", "##ion", "##al", "##en", "##on"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'-") + list("中文日本語приветعربי")

TEXTS = [
    "the long line of people went down to the water",
    "a",
    "Naïve café: can you READ this?",
    "中文 and 日本語 in one line, привет!",
    "small house near the big water, under the light of the first day",
    "",
    "what would your father think about these animals, and why did he ask?",
    " ".join(["the world is round and the earth is old"] * 12),
    "\U0001f600 unknown ☃ signs",
    "x1y2z3 " * 5,
]
PAIRS = [
    ("how many people live near water", "most people live near the water because land there is good"),
    ("how many people live near water", "a boy and his mother read the picture book"),
    ("how many people live near water", ""),
    ("what is it", "it is what it was"),
    ("中文", "日本語 привет"),
    ("why", " ".join(["the world is round and the earth is old"] * 12)),
]


def vocabulary(words):
    out = SPECIAL + LETTERS + ["##" + c for c in LETTERS if c.isalnum()] + PIECES
    return list(dict.fromkeys(out + WORDS[:words]))  # "a" is a letter and a word


def make_tokenizer(folder, words, max_length, lower=True):
    vocab = {w: i for i, w in enumerate(vocabulary(words))}
    tok = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    BertTokenizerFast(
        tokenizer_object=tok,
        model_max_length=max_length,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        do_lower_case=lower,
    ).save_pretrained(folder)
    return len(vocab)


def randomize(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if "norm" in name.lower():
                p.copy_(1 + 0.2 * x if name.endswith("weight") else 0.1 * x)
            elif "embedding" in name:
                p.copy_(0.6 * x)
            elif name.endswith("bias"):
                p.copy_(0.1 * x)
            else:
                p.copy_(x * 1.6 / np.sqrt(p.shape[-1]))
    return model.eval()


def bert_config(vocab, **more):
    base = dict(vocab_size=vocab, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                intermediate_size=40, max_position_embeddings=64, type_vocab_size=2)
    return BertConfig(**{**base, **more})


def distil_config(vocab, **more):
    base = dict(vocab_size=vocab, dim=24, n_layers=2, n_heads=2, hidden_dim=44,
                max_position_embeddings=64)
    return DistilBertConfig(**{**base, **more})


def numbers(x):
    return [float(f"{v:.9g}") for v in np.asarray(x, dtype=np.float32).reshape(-1)]


def write_json(path, value):
    with open(path, "w", encoding="utf8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def tidy(folder):
    for name in ("README.md", ".gitattributes"):
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))


def spread(rows):
    rows = np.asarray(rows) - np.mean(rows, axis=0)
    assert np.abs(rows).max() > 0.05, "degenerate outputs: draw the weights wider"


def golden_embedder(folder, prompt_name=None, hidden=False):
    st = SentenceTransformer(folder, device="cpu",
                             model_kwargs={"attn_implementation": "eager", "dtype": torch.float32})
    prompt = st.prompts[prompt_name] if prompt_name else ""
    limit = st.max_seq_length
    ids = [st.tokenizer(prompt + t, truncation=True, max_length=limit)["input_ids"] for t in TEXTS]
    vectors = st.encode(TEXTS, prompt=prompt or None, batch_size=1)
    spread(vectors)
    out = {"texts": TEXTS, "prompt": prompt, "max_length": limit, "ids": ids,
           "type_ids": [[0] * len(i) for i in ids], "vectors": [numbers(v) for v in vectors]}
    if not st[1].include_prompt:
        n = len(st.tokenizer(prompt)["input_ids"]) - 1  # the prompt and [CLS], without [SEP]
        out["skip"] = [n] * len(TEXTS)
    if hidden:
        with torch.no_grad():
            got = st[0].model(torch.tensor([ids[0]]), output_hidden_states=True)
        out["hidden"] = [numbers(h) for h in got.hidden_states]
    write_json(os.path.join(folder, "golden.json"), out)


def golden_classifier(folder):
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32).eval()
    tok = BertTokenizerFast.from_pretrained(folder)
    limit = min(tok.model_max_length, 64)
    ids, types, logits = [], [], []
    for a, b in PAIRS:
        # lists, as CrossEncoder does: a lone pair whose second text is "" would count as one text
        enc = tok([a], [b], truncation="longest_first", max_length=limit, return_tensors="pt",
                  return_token_type_ids=True)
        ids.append(enc["input_ids"][0].tolist())
        types.append(enc["token_type_ids"][0].tolist())
        if model.config.model_type == "distilbert":
            enc.pop("token_type_ids")
        with torch.no_grad():
            logits.append(numbers(model(**enc).logits[0]))
    spread(logits)
    write_json(os.path.join(folder, "golden.json"),
               {"pairs": PAIRS, "max_length": limit, "ids": ids, "type_ids": types,
                "logits": logits})


def old_form(folder, flags, dim, max_length, dense=None, normalize=True):
    """The files beside the weights as sentence-transformers 2 wrote them."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    os.makedirs(os.path.join(folder, "1_Pooling"), exist_ok=True)
    pooling = {"word_embedding_dimension": dim, "pooling_mode_cls_token": False,
               "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
               "pooling_mode_mean_sqrt_len_tokens": False}
    pooling.update({f: True for f in flags})
    write_json(os.path.join(folder, "1_Pooling", "config.json"), pooling)
    if dense:
        path = f"{len(modules)}_Dense"
        modules.append((path, "Dense"))
        os.makedirs(os.path.join(folder, path), exist_ok=True)
        n_in, n_out, activation, bias = dense
        write_json(os.path.join(folder, path, "config.json"),
                   {"in_features": n_in, "out_features": n_out, "bias": bias,
                    "activation_function": activation})
        g = torch.Generator().manual_seed(5)
        tensors = {"linear.weight": torch.randn((n_out, n_in), generator=g) / np.sqrt(n_in)}
        if bias:
            tensors["linear.bias"] = 0.1 * torch.randn(n_out, generator=g)
        save_file(tensors, os.path.join(folder, path, "model.safetensors"), {"format": "pt"})
    if normalize:
        path = f"{len(modules)}_Normalize"
        modules.append((path, "Normalize"))
    write_json(os.path.join(folder, "modules.json"),
               [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"}
                for i, (p, t) in enumerate(modules)])
    write_json(os.path.join(folder, "sentence_bert_config.json"),
               {"max_seq_length": max_length, "do_lower_case": False})
    write_json(os.path.join(folder, "config_sentence_transformers.json"),
               {"__version__": {"sentence_transformers": "2.2.2", "transformers": "4.28.1",
                                "pytorch": "2.0.0+cpu"}})


def old_config(folder):
    """config.json as transformers 4 wrote it."""
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf8") as f:
        c = json.load(f)
    c["torch_dtype"] = c.pop("dtype", "float32")
    c["transformers_version"] = "4.28.1"
    c["position_embedding_type"] = "absolute"
    c["gradient_checkpointing"] = False
    write_json(path, c)


def rewrite_weights(folder, rename=lambda n: n, add=None, dtype=None):
    path = os.path.join(folder, "model.safetensors")
    tensors = {rename(n): (t.to(dtype) if dtype else t).contiguous()
               for n, t in load_file(path).items()}
    tensors.update(add or {})
    save_file(tensors, path, {"format": "pt"})


def as_st6(folder, model, words, max_length, modules, similarity="cosine", **st):
    """A folder as sentence-transformers 6 saves it."""
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        make_tokenizer(plain, words, max_length)
        first = Transformer(plain, model_kwargs={"attn_implementation": "eager"})
    SentenceTransformer(modules=[first] + modules, device="cpu", similarity_fn_name=similarity,
                        **st).save(folder, create_model_card=False)


def bert_mean_st6(folder, words):
    n = len(vocabulary(words))
    model = randomize(BertModel(bert_config(n), add_pooling_layer=False), 1)
    as_st6(folder, model, words, 48, [Pooling(24, "mean"), Normalize()],
           prompts={"query": "what is ", "document": ""})
    golden_embedder(folder, hidden=True)


def bert_cls_st2(folder, words):
    n = make_tokenizer(folder, words, 64)
    model = randomize(BertModel(bert_config(n, hidden_size=36, intermediate_size=50)), 2)
    model.save_pretrained(folder)
    old_config(folder)
    old_form(folder, ["pooling_mode_cls_token"], 36, 40)
    # names and buffers of a checkpoint of 2019
    rewrite_weights(folder, lambda s: s.replace("LayerNorm.weight", "LayerNorm.gamma")
                    .replace("LayerNorm.bias", "LayerNorm.beta"),
                    {"embeddings.position_ids": torch.arange(64).reshape(1, 64)})
    golden_embedder(folder)


def bert_max_dense_st6(folder, words):
    n = len(vocabulary(words))
    model = randomize(BertModel(bert_config(n, hidden_act="relu"), add_pooling_layer=False), 3)
    dense = randomize(Dense(24, 20, activation_function=torch.nn.Tanh()), 4)
    as_st6(folder, model, words, 64, [Pooling(24, "max"), dense], similarity="dot")
    golden_embedder(folder)


def bert_mlm_mean_sqrt(folder, words):
    n = make_tokenizer(folder, words, 64)
    model = randomize(BertForMaskedLM(bert_config(n, hidden_act="gelu_new")), 6)
    model.save_pretrained(folder)
    old_config(folder)
    old_form(folder, ["pooling_mode_mean_sqrt_len_tokens"], 24, 64,
             dense=(24, 32, "torch.nn.modules.linear.Identity", False))
    golden_embedder(folder)


def bert_last_f16(folder, words):
    n = make_tokenizer(folder, words, 64)
    randomize(BertModel(bert_config(n, num_attention_heads=4), add_pooling_layer=False),
              7).half().save_pretrained(folder)
    old_form(folder, [], 24, 64, normalize=False)
    write_json(os.path.join(folder, "1_Pooling", "config.json"),
               {"embedding_dimension": 24, "pooling_mode": "lasttoken", "include_prompt": True})
    golden_embedder(folder)


def bert_bf16_sharded(folder, words):
    """A plain transformers folder: mean, no normalisation."""
    n = make_tokenizer(folder, words, 64)
    randomize(BertModel(bert_config(n), add_pooling_layer=False),
              8).bfloat16().save_pretrained(folder, max_shard_size="12KB")
    golden_embedder(folder)


def bert_cls_mean(folder, words):
    """Two of the old flags at once: side by side."""
    n = make_tokenizer(folder, words, 64)
    randomize(BertModel(bert_config(n, num_hidden_layers=1)), 9).save_pretrained(folder)
    old_form(folder, ["pooling_mode_mean_tokens", "pooling_mode_cls_token"], 24, 64)
    golden_embedder(folder)


def bert_cross_encoder(folder, words):
    n = len(vocabulary(words))
    with tempfile.TemporaryDirectory() as plain:
        randomize(BertForSequenceClassification(bert_config(n, num_labels=1)), 10).save_pretrained(
            plain)
        make_tokenizer(plain, words, 64)
        CrossEncoder(plain, device="cpu").save(folder, create_model_card=False)
    golden_classifier(folder)


def bert_classifier(folder, words):
    n = make_tokenizer(folder, words, 64)
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    config = bert_config(n, hidden_size=36, intermediate_size=50, id2label=labels,
                         label2id={v: k for k, v in labels.items()})
    randomize(BertForSequenceClassification(config), 11).save_pretrained(folder)
    old_config(folder)
    golden_classifier(folder)


def distilbert_prompt_st6(folder, words):
    """include_prompt false: the prompt's tokens take part in attention and not in the mean."""
    n = len(vocabulary(words))
    model = randomize(DistilBertModel(distil_config(n, activation="relu")), 12)
    as_st6(folder, model, words, 64, [Pooling(24, "mean", include_prompt=False), Normalize()],
           prompts={"query": "find: ", "document": "read: "}, default_prompt_name="query")
    golden_embedder(folder, prompt_name="query")


def distilbert_classifier(folder, words):
    n = make_tokenizer(folder, words, 64)
    config = distil_config(n, sinusoidal_pos_embds=True, num_labels=2)
    randomize(DistilBertForSequenceClassification(config), 13).save_pretrained(folder)
    golden_classifier(folder)


MAKERS = [bert_mean_st6, bert_cls_st2, bert_max_dense_st6, bert_mlm_mean_sqrt, bert_last_f16,
          bert_bf16_sharded, bert_cls_mean, bert_cross_encoder, bert_classifier,
          distilbert_prompt_st6, distilbert_classifier]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out", nargs="?", default="tests/golden/data")
    p.add_argument("--words", type=int, default=60, help="whole words in the vocabulary")
    p.add_argument("--only", help="one model")
    args = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for make in MAKERS:
        name = make.__name__.replace("_", "-")
        if args.only and name != args.only:
            continue
        folder = os.path.join(args.out, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder, args.words)
        tidy(folder)
        size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(folder) for f in fs)
        print(f"{name}: {size} bytes")


if __name__ == "__main__":
    main()
