#!/usr/bin/env python3
"""torch on the same shapes as bench/gpu, for its ratio: encoders in bf16 with scaled_dot_product_attention, decoders
with a static cache, both in a CUDA graph, weights by chance. Prints a JSON object: {"model": {"encode 4 x 128": tok/s}}.

    bench/gpu_torch.py [--seconds S] [--limit S] [--device cuda] MODEL...     (folders of bench/random_model)

Attention over the cache is scaled_dot_product_attention over the context's keys, as bench/gpu's step has it: one new
token a sequence behind CONTEXT - 1 others."""
import argparse
import json
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F

SEQ, CONTEXT, WIDE = 128, 512, 64
ENCODED = (32, 512, 2048, 16384)  # tokens
DECODED = (1, 8, WIDE)            # sequences


def weight(out, inner, device, dtype):
    return (torch.rand(out, inner, device=device, dtype=torch.float32) * 0.08 - 0.04).to(dtype)


class Timed:
    """The median of one run, by the host's clock; in a graph where there is a card."""

    def __init__(self, device, seconds):
        self.device, self.seconds, self.cuda = device, seconds, device.startswith("cuda")

    def __call__(self, once):
        with torch.inference_mode():
            if self.cuda:
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(3):
                        once()
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    once()
                once, wait = graph.replay, torch.cuda.synchronize
            else:
                def wait():
                    return None
            once()
            wait()
            took, end = [], time.perf_counter() + self.seconds
            while len(took) < 3 or time.perf_counter() < end:
                began = time.perf_counter()
                once()
                wait()
                took.append(time.perf_counter() - began)
        return statistics.median(took)


def encoder(c, device, dtype, timed, left):
    D, L, H = c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"]
    ffn = c["intermediate_size"]
    words, places = weight(c["vocab_size"], D, device, dtype), weight(512, D, device, dtype)
    layers = [{"qkv": weight(3 * D, D, device, dtype), "o": weight(D, D, device, dtype), "up": weight(ffn, D, device, dtype),
               "down": weight(D, ffn, device, dtype)} for _ in range(L)]
    bias = {n: torch.zeros(n, device=device, dtype=dtype) for n in {3 * D, D, ffn}}
    one, none = torch.ones(D, device=device, dtype=dtype), torch.zeros(D, device=device, dtype=dtype)
    found = {}
    for tokens in ENCODED:
        if left() < 2:
            break
        seq = min(tokens, SEQ)
        seqs = tokens // seq
        ids = torch.randint(0, c["vocab_size"], (seqs, seq), device=device)

        def once():
            x = F.layer_norm(words[ids] + places[:seq], (D,), one, none)
            for w in layers:
                qkv = F.linear(x, w["qkv"], bias[3 * D]).view(seqs, seq, 3, H, D // H).permute(2, 0, 3, 1, 4)
                a = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
                a = F.linear(a.transpose(1, 2).reshape(seqs, seq, D), w["o"], bias[D])
                x = F.layer_norm(x + a, (D,), one, none)
                x = F.layer_norm(x + F.linear(F.gelu(F.linear(x, w["up"], bias[ffn])), w["down"], bias[D]), (D,), one, none)
            return F.normalize(x.float().mean(1))

        found[f"encode {seqs} x {seq}"] = tokens / timed(once)
    return found


def rms(x, g):
    return F.rms_norm(x, (x.shape[-1],), g, 1e-6)


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def decoder(c, device, dtype, timed, left):
    D, L, H, KV = c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c["num_key_value_heads"]
    ffn, hd = c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    words = weight(c["vocab_size"], D, device, dtype)
    head = words if c["tie_word_embeddings"] else weight(c["vocab_size"], D, device, dtype)
    one = torch.ones(D, device=device, dtype=dtype)
    layers = [{"qkv": weight((H + 2 * KV) * hd, D, device, dtype), "o": weight(D, H * hd, device, dtype),
               "gate_up": weight(2 * ffn, D, device, dtype), "down": weight(D, ffn, device, dtype)} for _ in range(L)]
    bias = torch.zeros((H + 2 * KV) * hd, device=device, dtype=dtype)
    angles = (CONTEXT - 1) * c["rope_theta"] ** (-torch.arange(0, hd, 2, device=device).float() / hd)
    cos, sin = torch.cat((angles, angles)).cos().to(dtype), torch.cat((angles, angles)).sin().to(dtype)
    found = {}
    for seqs in DECODED:
        if left() < 3:
            break
        cache = [torch.randn(2, seqs, KV, CONTEXT, hd, device=device, dtype=dtype) for _ in range(L)]
        ids = torch.zeros(seqs, dtype=torch.long, device=device)

        def once():
            x = words[ids]
            for w, kept in zip(layers, cache):
                qkv = F.linear(rms(x, one), w["qkv"], bias).view(seqs, H + 2 * KV, hd)
                q, k, v = turn(qkv[:, :H], cos, sin), turn(qkv[:, H:H + KV], cos, sin), qkv[:, H + KV:]
                kept[0, :, :, CONTEXT - 1].copy_(k)
                kept[1, :, :, CONTEXT - 1].copy_(v)
                a = F.scaled_dot_product_attention(q.view(seqs, KV, H // KV, hd), kept[0], kept[1])
                x = x + F.linear(a.reshape(seqs, H * hd), w["o"])
                gate, up = F.linear(rms(x, one), w["gate_up"]).chunk(2, -1)
                x = x + F.linear(F.silu(gate) * up, w["down"])
            ids.copy_(F.linear(rms(x, one), head).argmax(-1))

        found[f"decode {seqs} at {CONTEXT}"] = seqs / timed(once)
        del cache
    return found


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=float, default=0.5)
    p.add_argument("--limit", type=float, default=60, help="begins nothing behind that")
    p.add_argument("--device", default="cuda")
    p.add_argument("models", nargs="+")
    a = p.parse_args()
    end = time.monotonic() + a.limit
    dtype = torch.bfloat16
    timed = Timed(a.device, a.seconds)
    found = {"torch": torch.__version__}
    for folder in a.models:
        with open(os.path.join(folder, "config.json")) as f:
            c = json.load(f)
        kind = decoder if c["model_type"] == "qwen2" else encoder
        found[os.path.basename(folder)] = kind(c, a.device, dtype, timed, lambda: end - time.monotonic())
        if a.device.startswith("cuda"):
            torch.cuda.empty_cache()
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
