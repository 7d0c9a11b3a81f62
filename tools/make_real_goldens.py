#!/usr/bin/env python3
"""Writes tests/real/minilm.json, reranker.json and smollm2.json: what sentence-transformers and
transformers (float32, eager attention, CPU) give for the default models, on a few dozen texts of
many scripts and lengths, and as greedy text. Run where they are installed; the outputs are
committed, so that `make real` needs neither.

    tools/make_real_goldens.py EMBEDDER_DIR RERANKER_DIR GENERATOR_GGUF
"""
import base64
import json
import os
import random
import sys

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

SENTENCES = [
    "Hello, world", "a", "The quick brown fox jumps over the lazy dog.",
    "Die Größe der Straße überraschte Jürgen.", "El niño comió piñas en la montaña.",
    "Ça va? L'été dernier, nous étions à Besançon.", "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "Η γρήγορη αλεπού πηδά πάνω από το σκυλί.", "敏捷的棕色狐狸跳过了懒狗。", "素早い茶色の狐がのろまな犬を飛び越える。",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다.", "الثعلب البني السريع يقفز فوق الكلب الكسول.",
    "השועל החום המהיר קופץ מעל הכלב העצלן.", "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है।",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ", "Nhanh như cáo nâu nhảy qua con chó lười.",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flags 🇩🇪", "x = [i**2 for i in range(10) if i % 3 == 0]  # code",
    "#include <stdio.h>\nint main(void) { return 0; }", "  spaces   and\ttabs \n and lines  ",
    "[CLS] and [SEP] and [MASK] inside a text", "1,234,567.89 $ € ¥ 50 %", "ﬁ ligature ½ ² Å Å",
    "naïve café résumé coöperate", "ALL CAPS SHOUTING", "mixedCASE and iPhone", "...!!!???", "\u200b\u200bzero width",
    "e\u0301\u0302\u0303 stacked marks", "Donaudampfschifffahrtsgesellschaftskapitän" * 4,
]


def texts():
    rng = random.Random(7)
    words = " ".join(SENTENCES).split()
    out = list(SENTENCES)
    for n in (2, 3, 5, 8, 13, 25, 40, 64, 100, 150, 200, 254, 255, 256, 300, 400, 700, 1500, 5000):
        out.append(" ".join(rng.choice(words) for _ in range(n)))
    return out


QUERY = "how many people live in berlin"
DOCUMENTS = [
    "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    "New York City is famous for the Metropolitan Museum of Art.",
    "Berlin is well known for its museums.",
] + SENTENCES


def packed(a):
    return base64.b64encode(np.ascontiguousarray(a, dtype="<f4").tobytes()).decode()


PROMPTS = [
    "The capital of France is",
    "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    "def fibonacci(n):\n",
    "Es war einmal ein König, der hatte drei Töchter.",
]
LONGEST = 48
# Ours may differ by 5e-3 from the reference's logits: where its two likeliest are closer than four
# times that, the text says nothing about who is right, and the golden ends.
MARGIN = 2e-2


def greedy(path):
    """Greedy text on the file's weights dequantised."""
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # transformers reads no `tokenizer.ggml.pre`: the pattern of SmolLM2's own tokenizer.json
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    cases = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=LONGEST,
                                 do_sample=False, output_logits=True, return_dict_in_generate=True)
        answer, margins = [], []
        for id, logits in zip(out.sequences[0, ids.shape[1]:].tolist(), out.logits):
            top = torch.topk(logits[0], 2).values
            if top[0] - top[1] < MARGIN or tokenizer.decode([id]) in ("<|im_end|>", "<|endoftext|>"):
                break
            answer.append(id)
            margins.append(float(top[0] - top[1]))
        cases.append({"prompt": prompt, "prompt_ids": ids[0].tolist(), "ids": answer,
                      "text": tokenizer.decode(answer), "least_margin": round(min(margins), 4)})
    return cases


def main():
    embedder, reranker, generator = sys.argv[1:4]
    torch.set_num_threads(1)
    with open("tests/real/smollm2.json", "w", encoding="utf-8") as f:
        json.dump(greedy(generator), f, ensure_ascii=False, indent=1)
    inputs = texts()
    model = SentenceTransformer(embedder, device="cpu", model_kwargs={"attn_implementation": "eager"})
    vectors = [model.encode([t], normalize_embeddings=True)[0] for t in inputs]
    with open("tests/real/minilm.json", "w", encoding="utf-8") as f:
        json.dump({"texts": inputs, "vectors": [packed(v) for v in vectors]}, f, ensure_ascii=False, indent=0)
    tokenizer = AutoTokenizer.from_pretrained(reranker)
    scorer = AutoModelForSequenceClassification.from_pretrained(
        reranker, dtype=torch.float32, attn_implementation="eager").eval()
    logits = []
    with torch.no_grad():
        for d in DOCUMENTS:
            x = tokenizer([QUERY], [d], return_tensors="pt", truncation="only_second", max_length=512)
            logits.append(float(scorer(**x).logits[0, 0]))
    with open("tests/real/reranker.json", "w", encoding="utf-8") as f:
        json.dump({"query": QUERY, "documents": DOCUMENTS, "logits": logits}, f, ensure_ascii=False, indent=0)


main()
