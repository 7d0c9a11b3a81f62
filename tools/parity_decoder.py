#!/usr/bin/env python3
"""Compares a causal model's logits with transformers in float32 on the same (dequantised) weights,
teacher-forced over prompts of real text.

    python3 tools/parity_decoder.py MODEL [--program build/bench/decoder_logits] [--prompts 20]
                                    [--tokens 64] [--llama-cpp] [--bar 5e-3]

MODEL is a folder or a .gguf file (read by transformers through gguf_file, which needs accelerate
and gguf). With f32 products and an f32 cache the largest difference must lie within the bar. Then
the Kullback-Leibler divergence from the reference's distributions of the default precision (int8
or bf16 activations, an f16 cache), all tokens at once and one by one, which must be the same bits; and, with
--llama-cpp (pip install llama-cpp-python), llama.cpp's on the same tokens and the same file: as its
Python package runs it, with flash attention as its server does, and token by token. Ours must have a
mean and a 99 % quantile no larger than the least of these (the worst is one position of a heavy tail:
it is printed, and changes by half from one rounding to the next). Closes with `N passed, N failed`.
"""
import argparse
import os
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The history of the city begins in the ninth century, when fishermen settled at the mouth of the river",
    "def quicksort(xs):\n    if len(xs) <= 1:\n        return xs\n    pivot = xs[len(xs) // 2]\n    left =",
    "Water boils at a lower temperature on a mountain because the air pressure is lower there, and so",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nThe capital of",
    "Once upon a time there was a girl who lived with her grandmother at the edge of a deep forest. One day",
    "In mathematics, a prime number is a natural number greater than 1 that is not a product of two smaller",
    "SELECT name, count(*) FROM orders JOIN customers ON orders.customer_id = customers.id WHERE",
    "To make bread you need flour, water, salt and yeast. First, mix the dry ingredients in a large bowl",
    "Die Wissenschaft beginnt mit einer Frage. Wer fragt, der beobachtet; wer beobachtet, der misst, und",
    "La révolution industrielle a transformé les sociétés européennes au cours du dix-neuvième siècle",
    "The patient should take one tablet twice a day after meals, unless the doctor has said otherwise",
    "#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 10; i++)\n        printf(\"%d\\n\", i);\n",
    "Photosynthesis is the process by which plants turn light into chemical energy that they store in",
    "Dear Sir or Madam, I am writing to ask about the position that you advertised last week in the",
    "The stock market fell on Monday after the central bank said that it would raise interest rates",
    "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987 are the first numbers of the Fibonacci",
    "She opened the letter slowly, afraid of what it might say, and read the first line twice before she",
    "An operating system manages the hardware of a computer and gives programs a common way to use it",
    "{\"name\": \"Alice\", \"age\": 30, \"children\": [{\"name\": \"Bob\", \"age\": 5}, {\"name\": \"Carol\"",
    "Whales are mammals: they breathe air, are warm-blooded, and feed their young with milk. The largest",
]


def reference(path):
    options = dict(attn_implementation="eager", dtype=torch.float32)
    if os.path.isdir(path):
        model = AutoModelForCausalLM.from_pretrained(path, **options)
        return model.eval(), AutoTokenizer.from_pretrained(path)
    folder, name = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, **options)
    return model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=name)


@torch.no_grad()
def sequences(model, tokenizer, count, tokens):
    """Each text, continued by the model itself to `tokens` tokens: real prose is what it meets."""
    out = []
    for i in range(count):
        ids = tokenizer(TEXTS[i % len(TEXTS)], add_special_tokens=False)["input_ids"]
        ids = ids[i // len(TEXTS):][:tokens]
        torch.manual_seed(i)
        full = model.generate(torch.tensor([ids]), do_sample=True, temperature=0.8, top_k=0,
                              min_new_tokens=tokens - len(ids), max_new_tokens=tokens - len(ids),
                              pad_token_id=0) if len(ids) < tokens else torch.tensor([ids])
        out.append(full[0, :tokens].tolist())
    return out


def logits_of(command, ids, vocab):
    lines = "".join(" ".join(map(str, s)) + "\n" for s in ids).encode()
    raw = subprocess.run(command, input=lines, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, dtype="<f4").reshape(-1, vocab)


def llama_cpp_logits(path, ids, vocab, flash, one_by_one):
    """Of its defaults otherwise: f16 cache, its own choice of kernels."""
    import llama_cpp

    tokens = max(map(len, ids))
    model = llama_cpp.Llama(path, n_ctx=tokens, n_batch=tokens, n_threads=2, n_threads_batch=2,
                            logits_all=True, flash_attn=flash, verbose=False)
    out = []
    for s in ids:
        model.reset()
        for part in [[t] for t in s] if one_by_one else [s]:
            model.eval(part)
        out.append(model.scores[:len(s), :vocab].copy())
    model.close()
    return np.concatenate(out)


def divergence(want, got):
    """KL(want || got) of each row, in nats."""
    p = torch.log_softmax(torch.from_numpy(want).double(), dim=-1)
    q = torch.log_softmax(torch.from_numpy(got.copy()).double(), dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1).numpy()


def describe(name, want, got):
    kl = divergence(want, got)
    same = (want.argmax(axis=1) == got.argmax(axis=1)).mean()
    print(f"{name:34} KL mean {kl.mean():.6f}, median {np.median(kl):.6f}, "
          f"99 % {np.quantile(kl, .99):.5f}, worst {kl.max():.5f}; logits off by {np.abs(want - got).max():.4f} at most; "
          f"same first choice {100 * same:.2f} %")
    return kl.mean(), np.quantile(kl, .99)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model")
    p.add_argument("--program", default="build/bench/decoder_logits")
    p.add_argument("--prompts", type=int, default=20)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--bar", type=float, default=5e-3)
    p.add_argument("--llama-cpp", action="store_true", help="compare with llama.cpp")
    args = p.parse_args()
    model, tokenizer = reference(args.model)
    ids = sequences(model, tokenizer, args.prompts, args.tokens)
    with torch.no_grad():
        want = np.concatenate([model(torch.tensor([s]), use_cache=False).logits[0].numpy()
                               for s in ids])
    vocab = want.shape[1]
    print(f"{args.model}: {len(ids)} sequences, {len(want)} positions, vocabulary {vocab}")
    own = lambda *more: logits_of([args.program, args.model, *more], ids, vocab)
    results = []

    def check(ok, text):
        results.append(bool(ok))
        print(f"{'ok  ' if ok else 'FAIL'} {text}", flush=True)

    exact = np.abs(want - own("f32", "f32")).max()
    check(exact <= args.bar, f"f32 products: logits off by {exact:.2e} at most (bar {args.bar:g})")
    at_once = own("narrow", "f16")
    mean, most = describe("trine, default precision", want, at_once)
    check(np.array_equal(at_once, own("narrow", "f16", "--decode")), "token by token: the same bits")
    describe("trine, f32 activations, f16 cache", want, own("stored", "f16"))
    if args.llama_cpp:
        peers = [describe(f"llama.cpp{name}", want,
                          llama_cpp_logits(args.model, ids, vocab, flash, one))
                 for name, flash, one in [("", False, False), (", flash attention", True, False),
                                          (", token by token", False, True)]]
        least = [min(column) for column in zip(*peers)]
        check(mean <= least[0], f"mean KL {mean:.6f}, llama.cpp's {least[0]:.6f}")
        check(most <= least[1], f"99 % of KL {most:.5f}, llama.cpp's {least[1]:.5f}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
