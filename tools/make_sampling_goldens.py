#!/usr/bin/env python3
"""Rows of logits and what transformers' own processors leave of them, for tests/unit/test_sampling.c.

usage: make_sampling_goldens.py tests/unit/data/sampling.txt   (needs torch and transformers)

Each case: parameters, the ids of prompt and output, the row, and the probability of every token
after RepetitionPenalty, (OpenAI's) presence and frequency, Temperature, TopK, TopP and MinP.
"""
import sys

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

CASES = [  # temperature, top_k, top_p, min_p, repetition, presence, frequency
    (1.0, 0, 1.0, 0.0, 1.0, 0.0, 0.0),
    (0.7, 20, 0.8, 0.0, 1.05, 0.0, 0.0),
    (1.0, 0, 0.9, 0.0, 1.0, 0.0, 0.0),
    (1.5, 0, 0.5, 0.05, 1.0, 0.5, 0.25),
    (0.2, 5, 1.0, 0.0, 1.3, -1.0, 0.0),
    (2.0, 0, 1.0, 0.1, 1.0, 0.0, 2.0),
    (1.0, 50, 0.95, 0.02, 0.8, 0.0, -0.5),
    (1e-6, 0, 0.9, 0.0, 1.0, 0.0, 0.0),
    (1.0, 1, 1.0, 0.0, 1.0, 0.0, 0.0),
    (1.0, 0, 1e-6, 0.0, 1.0, 0.0, 0.0),
    (1.0, 0, 1.0, 1.0, 1.0, 0.0, 0.0),
    (3.0, 90, 0.99, 0.001, 1.1, 1.5, 1.0),
]


def main():
    torch.manual_seed(20)
    with open(sys.argv[1], "w", encoding="ascii") as out:
        for at, (temp, k, p, min_p, rep, pres, freq) in enumerate(CASES):
            vocab = 100 + 37 * (at % 3)
            row = (torch.randn(1, vocab) * 3).double()
            row = row.float()
            prompt = torch.randint(0, vocab, (6,)).tolist()
            said = torch.randint(0, vocab, (9,)).tolist()
            said += said[:3]
            scores = row.clone()
            ids = torch.tensor([prompt + said])
            if rep != 1.0:
                scores = RepetitionPenaltyLogitsProcessor(rep)(ids, scores)
            for token in set(said):
                scores[0, token] -= pres + freq * said.count(token)
            scores = TemperatureLogitsWarper(temp)(ids, scores)
            if k:
                scores = TopKLogitsWarper(k)(ids, scores)
            if p < 1:
                scores = TopPLogitsWarper(p)(ids, scores)
            if min_p > 0:
                scores = MinPLogitsWarper(min_p)(ids, scores)
            probs = torch.softmax(scores.double(), -1)[0].tolist()
            logprobs = torch.log_softmax(row.double(), -1)[0].tolist()
            print(vocab, temp, k, p, min_p, rep, pres, freq, len(prompt), len(said), file=out)
            print(*prompt, file=out)
            print(*said, file=out)
            print(*(f"{x:.9g}" for x in row[0].tolist()), file=out)
            print(*(f"{x:.9g}" for x in probs), file=out)
            print(*(f"{x:.9g}" for x in logprobs), file=out)


if __name__ == "__main__":
    main()
