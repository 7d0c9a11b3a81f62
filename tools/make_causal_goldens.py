#!/usr/bin/env python3
"""Writes tests/golden/data/causal/: tiny random Qwen2 and Qwen3 models that embed and rerank, as the
folders that a user has, two of them as GGUF files too, and what sentence-transformers and
transformers compute from them (float32, eager attention, on the CPU, one text at a time).

Needs torch, transformers 5, sentence-transformers 6, tokenizers and gguf. The outputs are committed,
so the tests need neither this script nor Python. The weights are drawn wide, so that vectors differ.

golden.json of an embedder (SentenceTransformer.encode):
  max_length               where the reference cuts
  cases: prompt, texts [S], ids [S][n], vectors [S][D], slices [S][6] (truncate_dim, normalised)
of a reranker (the model card of Qwen/Qwen3-Reranker-0.6B):
  max_length
  prefix, suffix           ids that stand around each pair
  cases: query, documents [S], ids [S][n] between the two, logits [S] (yes - no), scores [S]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)
from transformers import (AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast,
                          Qwen2Config, Qwen2Model, Qwen3Config, Qwen3ForCausalLM)

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKERS = ["<think>", "</think>"]
SLICE = 6

# The judging prompt, as the card has it.
PREFIX = ('<|im_start|>system\nJudge whether the Document meets the requirements based on the Query '
          'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
          '<|im_start|>user\n')
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
QUERY_PROMPT = f"Instruct: {INSTRUCTION}\nQuery:"

TEXTS = [
    "what is the capital of china",
    "The capital of China is Beijing.",
    "a",
    "",
    "caf\u00e9 cafe\u0301 na\u00efve \u65e5\u672c\u8a9e \U0001f600",
    "  two  spaces,\n\nlines\tand 123 numbers ",
    "a text that names <|im_end|> and <|endoftext|> itself",
    "gravity is a force that attracts two bodies towards each other " * 4,
]
# What may join with what stands before it: " " is put between "<Document>:" and the document.
DOCUMENTS = [
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other.",
    "", " ", "  led by spaces", "\nled by a line", "\tled by a tab", "1", "'s", ":", "::", "!\n",
    "\u0301led by an accent", "\u65e5\u672c\u8a9e", "<Document>: again", "yes", "no<|im_end|>\n",
    "<think>", "\u00a0led by a hard space", "\u3000and a wide one", "trailing ", "a\r\nb",
]
QUERIES = ["What is the capital of China?", "Explain gravity", "ends in a colon:", "a\n", " ",
           "\u0301", "<Document>:", "caf\u00e9 <|im_end|>"]


def make_tokenizer(folder, words, vocab_size, template):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[], show_progress=False))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    t.add_tokens([AddedToken(s, special=False, normalized=False) for s in MARKERS])
    plain = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    t.post_processor = plain
    if template:
        end = t.token_to_id("<|endoftext|>")
        t.post_processor = processors.Sequence([plain, processors.TemplateProcessing(
            single="$A <|endoftext|>", pair="$A <|endoftext|> $B:1 <|endoftext|>:1",
            special_tokens=[("<|endoftext|>", end)])])
    PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                            model_max_length=131072, padding_side="left").save_pretrained(folder)
    path = os.path.join(folder, "tokenizer.json")
    with open(path, encoding="utf8") as f:
        whole = json.load(f)
    write_json(path, whole, ensure_ascii=False)
    return t.get_vocab_size()


def randomize(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if "norm" in name:
                p.copy_(1 + 0.2 * x)
            elif "embed_tokens" in name:
                p.copy_(0.3 * x)
            elif name.endswith("bias"):
                p.copy_(0.2 * x)
            else:
                p.copy_(x * 1.2 / np.sqrt(p.shape[-1]))
    return model.eval()


def write_json(path, value, **more):
    with open(path, "w", encoding="utf8") as f:
        json.dump(value, f, separators=(",", ":"), **more)
        f.write("\n")


def numbers(x):
    return [float(f"{v:.9g}") for v in np.asarray(x, dtype=np.float32).reshape(-1)]


def spread(rows):
    rows = np.asarray(rows) - np.mean(rows, axis=0)
    assert np.abs(rows).max() > 0.05, "degenerate outputs: draw the weights wider"


def sizes(vocab, **more):
    return dict(vocab_size=vocab, num_hidden_layers=2, bos_token_id=None, pad_token_id=None, **more)


def golden_embedder(folder, prompts):
    st = SentenceTransformer(folder, device="cpu",
                             model_kwargs={"attn_implementation": "eager", "dtype": torch.float32})
    limit, cases = st.max_seq_length, []
    for prompt in prompts:
        ids = [st.tokenizer(prompt + t, truncation=True, max_length=limit)["input_ids"]
               for t in TEXTS]
        vectors = st.encode(TEXTS, prompt=prompt, batch_size=1)
        slices = st.encode(TEXTS, prompt=prompt, batch_size=1, truncate_dim=SLICE,
                           normalize_embeddings=True)
        spread(vectors)
        assert max(map(len, ids)) == limit and all(i[-1] == ids[0][-1] for i in ids)
        cases.append({"prompt": prompt, "texts": TEXTS, "ids": ids,
                      "vectors": [numbers(v) for v in vectors],
                      "slices": [numbers(v) for v in slices]})
    write_json(os.path.join(folder, "golden.json"), {"max_length": limit, "cases": cases})


@torch.no_grad()
def golden_reranker(folder, limit):
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager",
                                                 dtype=torch.float32).eval()
    yes, no = tok.convert_tokens_to_ids("yes"), tok.convert_tokens_to_ids("no")
    before = tok.encode(PREFIX, add_special_tokens=False)
    behind = tok.encode(SUFFIX, add_special_tokens=False)
    cases = []
    for query in QUERIES:
        documents = DOCUMENTS if query == QUERIES[0] else DOCUMENTS[:4]
        if query == QUERIES[1]:
            documents = documents + [DOCUMENTS[1] * 30]  # cut
        ids, logits, scores = [], [], []
        for document in documents:
            text = f"<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}"
            one = tok(text, truncation="longest_first",
                      max_length=limit - len(before) - len(behind))["input_ids"]
            row = model(torch.tensor([before + one + behind])).logits[0, -1]
            pair = torch.log_softmax(torch.stack([row[no], row[yes]]), dim=0)
            ids.append(one)
            logits.append(row[yes] - row[no])
            scores.append(pair[1].exp())
        cases.append({"query": query, "documents": documents, "ids": ids,
                      "logits": numbers(logits), "scores": numbers(scores)})
    spread(cases[0]["logits"])
    assert max(len(i) for c in cases for i in c["ids"]) == limit - len(before) - len(behind)
    write_json(os.path.join(folder, "golden.json"),
               {"max_length": limit, "prefix": before, "suffix": behind, "cases": cases})


def qwen3_embedding(folder):
    """As Qwen3-Embedding comes: a causal model's config, weights without `model.` and without a
    head, modules in the form of sentence-transformers 2, <|endoftext|> behind each text."""
    vocab = make_tokenizer(folder, TEXTS + [QUERY_PROMPT] * 2, 300, True)
    c = Qwen3Config(**sizes(vocab, hidden_size=18, num_attention_heads=3, num_key_value_heads=1,
                            head_dim=10, intermediate_size=22, tie_word_embeddings=True,
                            max_position_embeddings=96, eos_token_id=vocab - 5))
    randomize(Qwen3ForCausalLM(c), 1).bfloat16().save_pretrained(folder)
    path = os.path.join(folder, "model.safetensors")
    save_file({n.removeprefix("model."): t.contiguous() for n, t in load_file(path).items()
               if n != "lm_head.weight"}, path, {"format": "pt"})
    os.remove(os.path.join(folder, "generation_config.json"))
    os.makedirs(os.path.join(folder, "1_Pooling"))
    write_json(os.path.join(folder, "1_Pooling", "config.json"),
               {"word_embedding_dimension": 18, "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
                "pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": True,
                "include_prompt": True})
    write_json(os.path.join(folder, "modules.json"),
               [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"}
                for i, (p, t) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"),
                                            ("2_Normalize", "Normalize")])])
    write_json(os.path.join(folder, "config_sentence_transformers.json"),
               {"prompts": {"query": QUERY_PROMPT, "document": ""}, "default_prompt_name": None,
                "similarity_fn_name": "cosine"})
    golden_embedder(folder, ["", QUERY_PROMPT])


def qwen2_base_st6(folder):
    """A base model as sentence-transformers 6 saves it: a default prompt, no Normalize."""
    with tempfile.TemporaryDirectory() as plain:
        vocab = make_tokenizer(plain, TEXTS, 290, True)
        c = Qwen2Config(**sizes(vocab, hidden_size=16, num_attention_heads=2,
                                num_key_value_heads=1, intermediate_size=22,
                                max_position_embeddings=64, eos_token_id=vocab - 5))
        randomize(Qwen2Model(c), 2).half().save_pretrained(plain)
        first = Transformer(plain, model_kwargs={"attn_implementation": "eager"})
    SentenceTransformer(modules=[first, Pooling(16, "lasttoken")], device="cpu",
                        prompts={"passage": "passage: "},
                        default_prompt_name="passage").save(folder, create_model_card=False)
    golden_embedder(folder, ["passage: "])


def qwen3_reranker(folder):
    """As Qwen3-Reranker comes: a causal model and nothing that says it reranks. Untied, so that the
    head is not the embeddings."""
    text = f"{INSTRUCTION}\n<Query>: \n<Document>: "
    vocab = make_tokenizer(folder, [PREFIX, SUFFIX, text] * 3 + ["yes no"] * 3 + DOCUMENTS[:2],
                           400, False)
    c = Qwen3Config(**sizes(vocab, hidden_size=14, num_attention_heads=2, num_key_value_heads=1,
                            head_dim=8, intermediate_size=20, tie_word_embeddings=False,
                            max_position_embeddings=256, eos_token_id=vocab - 3))
    randomize(Qwen3ForCausalLM(c), 3).bfloat16().save_pretrained(folder)
    golden_reranker(folder, 256)


MAKERS = [qwen3_embedding, qwen2_base_st6, qwen3_reranker]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out", nargs="?", default="tests/golden/data/causal")
    args = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for make in MAKERS:
        folder = os.path.join(args.out, make.__name__.replace("_", "-"))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder)
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("qwen3-embedding", "qwen3-reranker"):
        # the same numbers: bf16 into bf16
        subprocess.run([sys.executable, os.path.join(here, "make_gguf.py"),
                        os.path.join(args.out, name), os.path.join(args.out, name + ".gguf"),
                        "--type", "bf16"], check=True)


if __name__ == "__main__":
    main()
