#!/usr/bin/env python3
"""Writes tests/golden/data/decoders/: tiny random causal models as real folders and GGUF files, and
what transformers computes from them (float32, eager attention, on the CPU, one sequence at a time).

Needs torch, transformers 5, accelerate, safetensors and gguf, and llama.cpp's llama-quantize for the
models of K-quants and iq4_nl (--quantize PROGRAM; without it these are left alone). The outputs are
committed, so the tests need neither this script nor Python. The weights are drawn wide, so that
logits differ and greedy text has margins. No tokenizers: ids go in.

A folder's golden.json:
  prompts  [P][n]     token ids
  greedy   [P][T]     the ids that follow, by the largest logit
  margins  [P][T]     largest logit less the second at each of these steps
  vocab, hidden       V, D
  layers              L, where golden-hidden.f32 is there
  yes, no, scores     ids, and [P] the share of `yes` in softmax(yes, no) at a prompt's last token
and beside it, little-endian floats without a header:
  golden.f32          logits [sum of n, V] of all positions of all prompts; of a base model the
                      hidden states behind the last norm, [sum of n, D]
  golden-hidden.f32   [L + 1][n * D] of the first prompt, behind the last norm: of the model cut to
                      no layers, one, ... L
decoders/rope.json: inv_freq, attention factor, and some cos and sin, of real models' settings.
"""

import argparse
import json
import os
import shutil
import subprocess

import gguf
import numpy as np
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

V = 71
NEW_TOKENS = 24
PROMPT_LENGTHS = (89, 17, 1)  # with blocks of 16: several, one and a bit, one
EAGER = dict(attn_implementation="eager", dtype=torch.float32)


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


def rounded(model):
    """To f16 and back; the buffers (rope's) stay as they are."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.half().float())
    return model


def write_json(path, value):
    with open(path, "w", encoding="utf8") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")


def numbers(x):
    return [float(f"{v:.9g}") for v in np.asarray(x, dtype=np.float32).reshape(-1)]


def prompts_of(vocab, seed, lengths):
    g = torch.Generator().manual_seed(1000 + seed)
    return [torch.randint(0, vocab, (n,), generator=g).tolist() for n in lengths]


def greedy(model, prompt):
    """By whole recomputation: no cache takes part."""
    ids, out, margins = list(prompt), [], []
    for _ in range(NEW_TOKENS):
        top = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
        margins.append(float(top.values[0] - top.values[1]))
        out.append(int(top.indices[0]))
        ids.append(out[-1])
    return out, margins


def write_floats(path, rows):
    np.concatenate([np.asarray(r, dtype="<f4").reshape(-1) for r in rows]).tofile(path)


@torch.no_grad()
def golden(model, folder, seed, hidden=False, yes_no=None, lengths=PROMPT_LENGTHS):
    base = not hasattr(model, "lm_head")
    vocab = model.config.vocab_size
    prompts = prompts_of(vocab, seed, lengths)
    outs = [model(torch.tensor([p]), use_cache=False, output_hidden_states=hidden) for p in prompts]
    rows = [(o.last_hidden_state if base else o.logits)[0].numpy() for o in outs]
    spread = np.concatenate(rows).std(axis=0).min()
    assert spread > 0.05, f"degenerate outputs ({spread}): draw the weights wider"
    write_floats(os.path.join(folder, "golden.f32"), rows)
    out = {"prompts": prompts, "vocab": vocab, "hidden": model.config.hidden_size}
    if not base:
        texts = [greedy(model, p) for p in prompts]
        out["greedy"] = [t for t, _ in texts]
        out["margins"] = [numbers(m) for _, m in texts]
    if hidden:
        states = outs[0].hidden_states  # the last is behind the norm already
        norm = model.model.norm
        out["layers"] = len(states) - 1
        write_floats(os.path.join(folder, "golden-hidden.f32"),
                     [norm(h) for h in states[:-1]] + [states[-1]])
    if yes_no:
        out["yes"], out["no"] = yes_no
        pairs = torch.tensor(np.stack([r[-1, list(yes_no)] for r in rows]))
        out["scores"] = numbers(torch.softmax(pairs, dim=-1)[:, 0])
    write_json(os.path.join(folder, "golden.json"), out)


def old_config(folder):
    """config.json as transformers 4 wrote it."""
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf8") as f:
        c = json.load(f)
    c["torch_dtype"] = c.pop("dtype")
    c["transformers_version"] = "4.43.1"
    c.pop("layer_types", None)
    rope = c.pop("rope_parameters")
    c["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    c["rope_scaling"] = None if kind == "default" else {"rope_type": kind, **rope}
    if kind == "linear":  # the older key
        c["rope_scaling"]["type"] = c["rope_scaling"].pop("rope_type")
    with open(path, "w", encoding="utf8") as f:
        json.dump(c, f, indent=2)
        f.write("\n")


def from_folder(model, folder, seed, dtype=torch.float32, old=False, shard=None, auto=None, **more):
    randomize(model, seed).to(dtype).save_pretrained(
        folder, **({"max_shard_size": shard} if shard else {}))
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    if old:
        old_config(folder)
    loaded = (auto or AutoModelForCausalLM).from_pretrained(folder, **EAGER).eval()
    golden(loaded, folder, seed, **more)


def rope(theta, kind="default", **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def small(**more):
    return dict(vocab_size=V, num_hidden_layers=2, max_position_embeddings=128, bos_token_id=None,
                eos_token_id=1, pad_token_id=None, **more)


def qwen2_tied(folder):
    c = Qwen2Config(**small(hidden_size=40, num_attention_heads=4, num_key_value_heads=2,
                            intermediate_size=51, tie_word_embeddings=True,
                            rope_parameters=rope(1e6)))
    from_folder(Qwen2ForCausalLM(c), folder, 1)


def qwen2_untied_bf16(folder):
    c = Qwen2Config(**small(hidden_size=36, num_attention_heads=6, num_key_value_heads=3,
                            intermediate_size=46, rope_parameters=rope(1e4)))
    from_folder(Qwen2ForCausalLM(c), folder, 2, dtype=torch.bfloat16, old=True)


def qwen2_window(folder):
    """The first layer sees all, the others the last 23 tokens."""
    c = Qwen2Config(**{**small(hidden_size=24, num_attention_heads=3, num_key_value_heads=1,
                               intermediate_size=33, tie_word_embeddings=True,
                               rope_parameters=rope(1e4), use_sliding_window=True,
                               sliding_window=23, max_window_layers=1), "num_hidden_layers": 3})
    from_folder(Qwen2ForCausalLM(c), folder, 3)


def qwen2_long(folder):
    """Through several parts of attention (compute/cpu/causal.h), with a window that is longer than
    one and without."""
    c = Qwen2Config(**{**small(hidden_size=24, num_attention_heads=3, num_key_value_heads=1,
                               intermediate_size=31, tie_word_embeddings=True,
                               rope_parameters=rope(1e4), use_sliding_window=True,
                               sliding_window=300, max_window_layers=1),
                       "max_position_embeddings": 1024})
    from_folder(Qwen2ForCausalLM(c), folder, 10, lengths=(700, 257, 1))


def qwen2_yarn(folder):
    """Positions beyond what it was trained with."""
    scaled = rope(1e6, "yarn", factor=4.0, original_max_position_embeddings=32)
    c = Qwen2Config(**small(hidden_size=32, num_attention_heads=2, num_key_value_heads=1,
                            intermediate_size=45, tie_word_embeddings=True, rope_parameters=scaled))
    from_folder(Qwen2ForCausalLM(c), folder, 4, old=True)


def qwen3(folder):
    c = Qwen3Config(**small(hidden_size=25, num_attention_heads=4, num_key_value_heads=2,
                            head_dim=14, intermediate_size=37, tie_word_embeddings=True,
                            rope_parameters=rope(1e6)))
    from_folder(Qwen3ForCausalLM(c), folder, 5, hidden=True, yes_no=(7, 11))


def qwen3_embedder(folder):
    """A base model with sentence-transformers' modules: last token, unit length."""
    c = Qwen3Config(**small(hidden_size=26, num_attention_heads=2, num_key_value_heads=1,
                            head_dim=16, intermediate_size=35, rope_parameters=rope(1e6)))
    from_folder(Qwen3Model(c), folder, 6, dtype=torch.bfloat16, auto=AutoModel)
    os.makedirs(os.path.join(folder, "1_Pooling"))
    write_json(os.path.join(folder, "1_Pooling", "config.json"),
               {"word_embedding_dimension": 26, "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
                "pooling_mode_lasttoken": True, "include_prompt": True})
    write_json(os.path.join(folder, "modules.json"),
               [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"}
                for i, (p, t) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"),
                                            ("2_Normalize", "Normalize")])])


def llama3_sharded(folder):
    scaled = rope(5e5, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=32)
    c = LlamaConfig(**small(hidden_size=33, num_attention_heads=3, num_key_value_heads=1,
                            head_dim=10, intermediate_size=45, rope_parameters=scaled))
    from_folder(LlamaForCausalLM(c), folder, 7, shard="40KB")


def llama_linear_biases(folder):
    scaled = rope(1e4, "linear", factor=4.0)
    c = LlamaConfig(**small(hidden_size=36, num_attention_heads=2, num_key_value_heads=2,
                            intermediate_size=31, rope_parameters=scaled, attention_bias=True,
                            mlp_bias=True, tie_word_embeddings=True))
    from_folder(LlamaForCausalLM(c), folder, 8, old=True)


def mistral_window_f16(folder):
    c = MistralConfig(**small(hidden_size=28, num_attention_heads=6, num_key_value_heads=2,
                              head_dim=8, intermediate_size=43, rope_parameters=rope(1e4),
                              sliding_window=19))
    from_folder(MistralForCausalLM(c), folder, 9, dtype=torch.float16)


# ---- GGUF. Where transformers cannot read the file as it is meant, the reference is the model that
# the file was made of, rounded as the file is. ----

GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, number, rest = stem.split(".", 3)
        return f"blk.{number}.{GGUF_NAMES[rest]}.{suffix}"
    return f"{GGUF_NAMES[stem]}.{suffix}"


def interleave(w, heads):
    """Rows of each head from halves to side by side, as llama files have them."""
    return (w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:])
            .swapaxes(1, 2).reshape(w.shape))


def write_gguf(path, model, arch, types, extra=None):
    c = model.config
    out = gguf.GGUFWriter(path, arch)
    out.add_context_length(c.max_position_embeddings)
    out.add_embedding_length(c.hidden_size)
    out.add_block_count(c.num_hidden_layers)
    out.add_feed_forward_length(c.intermediate_size)
    out.add_head_count(c.num_attention_heads)
    out.add_head_count_kv(c.num_key_value_heads)
    out.add_layer_norm_rms_eps(c.rms_norm_eps)
    out.add_rope_freq_base(c.rope_parameters["rope_theta"])
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    if arch != "qwen2":
        out.add_key_length(head_dim)
        out.add_value_length(head_dim)
    if arch == "llama":
        out.add_rope_dimension_count(head_dim)
        out.add_vocab_size(c.vocab_size)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2" if arch != "llama" else "llama-bpe")
    out.add_token_list([f"<{i}>" for i in range(c.vocab_size)])
    out.add_token_types([gguf.TokenType.NORMAL] * c.vocab_size)
    out.add_token_merges([])
    out.add_eos_token_id(1)
    turn = 0
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        w = p.float().numpy()
        if arch == "llama" and ".q_proj." in name:
            w = interleave(w, c.num_attention_heads)
        if arch == "llama" and ".k_proj." in name:
            w = interleave(w, c.num_key_value_heads)
        kind = gguf.GGMLQuantizationType.F32
        if w.ndim == 2:
            kind = types[turn % len(types)]
            turn += 1
        out.add_tensor(gguf_name(name), gguf.quants.quantize(np.ascontiguousarray(w), kind),
                       raw_dtype=kind)
    for name, w in (extra or {}).items():
        out.add_tensor(name, w)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def gguf_size(**more):
    return {**small(hidden_size=32, num_attention_heads=4, num_key_value_heads=2,
                    intermediate_size=64, **more), "vocab_size": 96}


Q = gguf.GGMLQuantizationType


def from_gguf(model, folder, seed, arch, types):
    write_gguf(os.path.join(folder, "model.gguf"), randomize(model, seed), arch, types)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", **EAGER).eval()
    golden(loaded, folder, seed)


def gguf_llama_q8_0(folder):
    c = LlamaConfig(**gguf_size(rope_parameters=rope(1e4), rms_norm_eps=1e-5))
    from_gguf(LlamaForCausalLM(c), folder, 11, "llama", [Q.Q8_0])


def gguf_llama_rope_freqs(folder):
    """llama3 scaling as a GGUF carries it: factors in a tensor, which transformers does not read."""
    scaled = rope(5e5, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=32)
    c = LlamaConfig(**gguf_size(rope_parameters=scaled, tie_word_embeddings=True))
    c._attn_implementation = "eager"
    model = rounded(randomize(LlamaForCausalLM(c), 12))
    plain, _ = LlamaRotaryEmbedding.compute_default_rope_parameters(c)
    factors = (plain / model.model.rotary_emb.inv_freq).numpy()
    assert factors.max() == 8 and factors.min() == 1
    write_gguf(os.path.join(folder, "model.gguf"), model, "llama", [Q.F16],
               {"rope_freqs.weight": factors})
    golden(model, folder, 12)


def gguf_qwen2_mixed(folder):
    """Every simple block type and float, by turns."""
    c = Qwen2Config(**gguf_size(rope_parameters=rope(1e6)))
    from_gguf(Qwen2ForCausalLM(c), folder, 13, "qwen2",
              [Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.F16, Q.BF16, Q.F32])


def gguf_qwen3_f16(folder):
    """transformers takes a GGUF's qwen3 to have heads of 128."""
    c = Qwen3Config(**gguf_size(head_dim=16, rope_parameters=rope(1e6), tie_word_embeddings=True))
    c._attn_implementation = "eager"
    model = rounded(randomize(Qwen3ForCausalLM(c), 14))
    write_gguf(os.path.join(folder, "model.gguf"), model, "qwen3", [Q.F16])
    golden(model, folder, 14)


# ---- GGUF of types that gguf-py only reads: llama.cpp writes them. ----

QUANTIZE = None  # llama-quantize


def load_dequantised(model, path):
    c, tensors = model.config, {t.name: t for t in gguf.GGUFReader(path).tensors}
    with torch.no_grad():
        for name, p in model.state_dict().items():
            if name == "lm_head.weight" and c.tie_word_embeddings:
                continue
            t = tensors.pop(gguf_name(name))
            w = gguf.quants.dequantize(t.data, t.tensor_type).reshape(p.shape)
            p.copy_(torch.from_numpy(np.array(w, dtype=np.float32)))
    assert not tensors, list(tensors)
    return model


def from_llama_quantize(model, folder, seed, arch, types):
    model.config._attn_implementation = "eager"
    path, wide = os.path.join(folder, "model.gguf"), os.path.join(folder, "wide.gguf")
    write_gguf(wide, randomize(model, seed), arch, [Q.F32])
    special = {"token_embd": "--token-embedding-type", "output": "--output-tensor-type"}
    options = [word for name, kind in types.items() for word in
               ([special[name], kind] if name in special else ["--tensor-type", f"{name}={kind}"])]
    subprocess.run([QUANTIZE, *options, wide, path, "q8_0", "2"], check=True, capture_output=True)
    os.remove(wide)
    found = {t.name.removesuffix(".weight").split(".")[-1]: t.tensor_type.name.lower()
             for t in gguf.GGUFReader(path).tensors}
    assert all(found[name] == kind for name, kind in types.items()), found
    if arch == "qwen3":  # as above
        golden(load_dequantised(model, path), folder, seed)
    else:
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", **EAGER)
        golden(loaded.eval(), folder, seed)


def k_size(**more):
    """A K-quant's block is 256 values of a row."""
    return {**gguf_size(**more), "hidden_size": 256, "intermediate_size": 256,
            "num_hidden_layers": 1, "num_key_value_heads": 1}


def gguf_llama_k(folder):
    c = LlamaConfig(**k_size(rope_parameters=rope(1e4), rms_norm_eps=1e-5))
    from_llama_quantize(LlamaForCausalLM(c), folder, 15, "llama",
                        {"token_embd": "q3_k", "attn_q": "q4_k", "attn_k": "q5_k", "attn_v": "q6_k",
                         "attn_output": "q3_k", "ffn_gate": "q2_k", "ffn_up": "q4_k",
                         "ffn_down": "q6_k", "output": "q6_k"})


def gguf_qwen2_k(folder):
    c = Qwen2Config(**k_size(rope_parameters=rope(1e6), tie_word_embeddings=True))
    from_llama_quantize(Qwen2ForCausalLM(c), folder, 16, "qwen2",
                        {"token_embd": "q6_k", "attn_q": "q2_k", "attn_k": "q3_k", "attn_v": "q4_k",
                         "attn_output": "q5_k", "ffn_gate": "iq4_nl", "ffn_up": "q3_k",
                         "ffn_down": "q5_k"})


def gguf_qwen3_iq4_nl(folder):
    c = Qwen3Config(**gguf_size(head_dim=16, rope_parameters=rope(1e6)))
    from_llama_quantize(Qwen3ForCausalLM(c), folder, 17, "qwen3",
                        {"token_embd": "iq4_nl", "attn_q": "iq4_nl", "attn_k": "iq4_nl",
                         "attn_v": "q5_1", "attn_output": "iq4_nl", "ffn_gate": "iq4_nl",
                         "ffn_up": "q4_1", "ffn_down": "iq4_nl", "output": "q5_0"})


# ---- rope by itself ----

ROPES = {
    "qwen2.5-0.5b": (64, 32768, rope(1e6)),
    "qwen2.5-7b": (128, 32768, rope(1e6)),
    "llama-2": (128, 4096, rope(1e4)),
    "smollm2": (64, 8192, rope(1e5)),
    "linear": (80, 16384, rope(1e4, "linear", factor=4.0)),
    "llama-3.1": (128, 131072, rope(5e5, "llama3", factor=8.0, low_freq_factor=1.0,
                                    high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "llama-3.2": (64, 131072, rope(5e5, "llama3", factor=32.0, low_freq_factor=1.0,
                                   high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "qwen2.5-yarn": (128, 131072, rope(1e6, "yarn", factor=4.0,
                                       original_max_position_embeddings=32768)),
    "yarn-untruncated": (64, 131072, rope(15e4, "yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0,
                                          truncate=False, original_max_position_embeddings=4096)),
    "yarn-mscale": (64, 16384, rope(1e4, "yarn", factor=40.0, mscale=0.707, mscale_all_dim=1.0,
                                    beta_fast=16.0, beta_slow=2.0,
                                    original_max_position_embeddings=4096)),
    "yarn-factor": (32, 4096, rope(1e4, "yarn", factor=2.0, attention_factor=1.25,
                                   original_max_position_embeddings=2048)),
}


def rope_goldens(path):
    out = []
    for name, (head_dim, positions, parameters) in ROPES.items():
        c = LlamaConfig(hidden_size=2 * head_dim, num_attention_heads=2, head_dim=head_dim,
                        max_position_embeddings=positions, rope_parameters=dict(parameters))
        emb = LlamaRotaryEmbedding(c)
        at = [0, 1, 7, 100, 1023, positions - 1]
        cos, sin = emb(torch.zeros(1), torch.tensor([at]))
        half = head_dim // 2
        out.append({"name": name, "head_dim": head_dim, "parameters": parameters,
                    "inv_freq": numbers(emb.inv_freq), "scale": emb.attention_scaling,
                    "positions": at, "cos": numbers(cos[0, :, :half]),
                    "sin": numbers(sin[0, :, :half])})
    write_json(path, out)


MAKERS = [qwen2_tied, qwen2_untied_bf16, qwen2_window, qwen2_long, qwen2_yarn, qwen3, qwen3_embedder,
          llama3_sharded, llama_linear_biases, mistral_window_f16, gguf_llama_q8_0,
          gguf_llama_rope_freqs, gguf_qwen2_mixed, gguf_qwen3_f16]
QUANTIZED = [gguf_llama_k, gguf_qwen2_k, gguf_qwen3_iq4_nl]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out", nargs="?", default="tests/golden/data/decoders")
    p.add_argument("--only", help="one model")
    p.add_argument("--quantize", help="llama.cpp's llama-quantize")
    args = p.parse_args()
    global QUANTIZE
    QUANTIZE = args.quantize
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for make in MAKERS + (QUANTIZED if QUANTIZE else []):
        name = make.__name__.replace("_", "-")
        if args.only and name != args.only:
            continue
        folder = os.path.join(args.out, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder)
        size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(folder) for f in fs)
        print(f"{name}: {size} bytes")
    if not args.only:
        rope_goldens(os.path.join(args.out, "rope.json"))


if __name__ == "__main__":
    main()
