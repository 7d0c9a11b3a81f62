#!/usr/bin/env python3
"""Writes GGUF files for tests and benches.

  make_gguf.py FOLDER OUT.gguf [--type q8_0] [--embedding-type T]  a Hugging Face folder as GGUF
  make_gguf.py --random-qwen2.5-0.5b TOKENIZER_FOLDER OUT_FOLDER   that model's shape, random weights:
                                               a folder, model-bf16.gguf and model-q8_0.gguf in it

Needs numpy and gguf. Folders of BertModel, Qwen2, Qwen3, Llama and Mistral models. gguf-py quantises
f32, f16, bf16, q4_0, q4_1, q5_0, q5_1 and q8_0; for K-quants and iq4_nl write f16 or bf16 here and
let llama.cpp's llama-quantize do the rest. Norms and biases stay f32. Where a row is not whole
blocks, f16 stands in.
"""

import argparse
import json
import os
import shutil
import struct

import gguf
import numpy as np

Q = gguf.GGMLQuantizationType
TYPES = {"f32": Q.F32, "f16": Q.F16, "bf16": Q.BF16, "q4_0": Q.Q4_0, "q4_1": Q.Q4_1,
         "q5_0": Q.Q5_0, "q5_1": Q.Q5_1, "q8_0": Q.Q8_0}
FILE_TYPES = {Q.F32: 0, Q.F16: 1, Q.Q4_0: 2, Q.Q4_1: 3, Q.Q8_0: 7, Q.Q5_0: 8, Q.Q5_1: 9, Q.BF16: 32}
ARCHITECTURES = {"BertModel": "bert", "BertForMaskedLM": "bert", "Qwen2ForCausalLM": "qwen2",
                 "Qwen2Model": "qwen2", "Qwen3ForCausalLM": "qwen3", "Qwen3Model": "qwen3",
                 "LlamaForCausalLM": "llama", "LlamaModel": "llama", "MistralForCausalLM": "llama",
                 "MistralModel": "llama"}

DECODER = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
BERT = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q", "attention.self.key": "attn_k",
    "attention.self.value": "attn_v", "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}
POOLING = {"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS,
           "lasttoken": gguf.PoolingType.LAST}


def read_json(*path):
    path = os.path.join(*path)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf8") as f:
        return json.load(f)


def tensors_of(folder):
    """(name, f32 array) of every safetensors file, one at a time."""
    for file in sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")):
        with open(os.path.join(folder, file), "rb") as f:
            (n,) = struct.unpack("<Q", f.read(8))
            header = json.loads(f.read(n))
            for name, t in header.items():
                if name == "__metadata__":
                    continue
                begin, end = t["data_offsets"]
                f.seek(8 + n + begin)
                raw = f.read(end - begin)
                if t["dtype"] == "BF16":
                    x = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
                elif t["dtype"] in ("F32", "F16"):
                    x = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
                else:
                    continue
                yield name, x.astype(np.float32).reshape(t["shape"])


def new_name(arch, name):
    """GGUF's name; None: what inference does not use."""
    stem, suffix = name.rsplit(".", 1)
    table, layers = (BERT, "encoder.layer.") if arch == "bert" else (DECODER, "layers.")
    for prefix in ("bert.", "model."):
        stem = stem.removeprefix(prefix)
    if stem.startswith(layers):
        number, rest = stem.removeprefix(layers).split(".", 1)
        return f"blk.{number}.{table[rest]}.{suffix}" if rest in table else None
    return f"{table[stem]}.{suffix}" if stem in table else None


def interleave(w, heads):
    """A head's rows from two halves to pairs side by side, as llama files have them."""
    return (w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:])
            .swapaxes(1, 2).reshape(w.shape))


def split_pattern(tokenizer):
    """What GGUF calls the tokenizer's split."""
    text = json.dumps(tokenizer.get("pre_tokenizer"))
    if r"\\p{N}{1,3}" in text:
        return "llama-bpe"
    if r"|\\p{N}| ?" in text:
        return "qwen2"
    return "smollm" if '"Digits"' in text else "gpt-2"


def token_behind(tokenizer):
    """The special token that the template puts behind each text, as embedders have one."""
    post = tokenizer.get("post_processor") or {}
    for p in post.get("processors", [post]):
        last = (p.get("single") or [{}])[-1].get("SpecialToken")
        if last:
            return last["id"]
    return None


def add_tokenizer(out, folder, arch, vocab):
    t, config = read_json(folder, "tokenizer.json"), read_json(folder, "tokenizer_config.json")
    if not t:
        return
    tokens, types = {i: s for s, i in t["model"]["vocab"].items()}, {}
    for a in t["added_tokens"]:
        tokens[a["id"]] = a["content"]
        types[a["id"]] = gguf.TokenType.CONTROL if a["special"] else gguf.TokenType.USER_DEFINED
    by_text = {s: i for i, s in tokens.items()}
    if arch == "bert":
        tokens = {i: s if i in types else s[2:] if s.startswith("##") else "\u2581" + s
                  for i, s in tokens.items()}
    out.add_tokenizer_model("bert" if arch == "bert" else "gpt2")
    out.add_tokenizer_pre("default" if arch == "bert" else split_pattern(t))
    out.add_token_list([tokens.get(i, f"[PAD{i}]") for i in range(vocab)])
    out.add_token_types([types.get(i, gguf.TokenType.NORMAL if i in tokens
                                   else gguf.TokenType.UNUSED) for i in range(vocab)])
    if arch != "bert":
        merges = t["model"]["merges"]
        out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
        if config.get("add_bos_token") is not None:
            out.add_add_bos_token(config["add_bos_token"])
        if token_behind(t):
            config["eos_token"] = token_behind(t)
            out.add_add_eos_token(True)
    for key, add in (("bos_token", out.add_bos_token_id), ("eos_token", out.add_eos_token_id),
                     ("pad_token", out.add_pad_token_id), ("unk_token", out.add_unk_token_id),
                     ("sep_token", out.add_sep_token_id), ("mask_token", out.add_mask_token_id),
                     ("cls_token", out.add_bos_token_id if arch == "bert" else None)):
        token = config.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        if add and token in by_text:
            add(by_text[token])
    template = config.get("chat_template")
    jinja = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(jinja):
        with open(jinja, encoding="utf8") as f:
            template = f.read()
    if template:
        out.add_chat_template(template)


def add_rope(out, c, head_dim):
    """rope_freqs.weight, where llama3's scaling asks for it."""
    rope = {**(c.get("rope_scaling") or {}), **(c.get("rope_parameters") or {})}
    theta = c.get("rope_theta") or rope.get("rope_theta", 10000.0)
    kind = rope.get("rope_type", rope.get("type", "default"))
    out.add_rope_freq_base(float(theta))
    old = rope.get("original_max_position_embeddings") or c["max_position_embeddings"]
    if kind in ("linear", "yarn"):
        out.add_rope_scaling_type(gguf.RopeScalingType(kind))
        out.add_rope_scaling_factor(float(rope["factor"]))
        if kind == "yarn":
            out.add_rope_scaling_orig_ctx_len(old)
    elif kind == "llama3":
        freqs = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
        wave = 2 * np.pi / freqs
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        smooth = np.clip((old / wave - low) / (high - low), 0, 1)
        factors = 1 / ((1 - smooth) / factor + smooth)
        out.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    elif kind != "default":
        raise SystemExit(f"rope type {kind} is not written")


def add_shapes(out, c, arch, folder):
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_block_count(c["num_hidden_layers"])
    out.add_feed_forward_length(c["intermediate_size"])
    heads = c["num_attention_heads"]
    out.add_head_count(heads)
    pooling = read_json(folder, "1_Pooling", "config.json")
    for name, kind in POOLING.items():
        old = {"mean": "mean_tokens", "cls": "cls_token"}.get(name, name)
        if pooling.get("pooling_mode") == name or pooling.get(f"pooling_mode_{old}"):
            out.add_pooling_type(kind)
    if arch == "bert":
        out.add_layer_norm_eps(c.get("layer_norm_eps", 1e-12))
        out.add_causal_attention(False)
        out.add_token_type_count(c.get("type_vocab_size", 2))
        return
    out.add_head_count_kv(c.get("num_key_value_heads") or heads)
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_vocab_size(c["vocab_size"])
    head_dim = c.get("head_dim") or c["hidden_size"] // heads
    if head_dim * heads != c["hidden_size"] or arch == "qwen3":
        out.add_key_length(head_dim)
        out.add_value_length(head_dim)
    if arch == "llama":
        out.add_rope_dimension_count(head_dim)
    add_rope(out, c, head_dim)


def convert(folder, path, kind, embedding_kind):
    c = read_json(folder, "config.json")
    arch = ARCHITECTURES[c["architectures"][0]]
    out = gguf.GGUFWriter(path, arch)
    out.add_name(os.path.basename(os.path.abspath(folder)))
    out.add_file_type(FILE_TYPES[kind])
    out.add_quantization_version(2)
    add_shapes(out, c, arch, folder)
    add_tokenizer(out, folder, arch, c["vocab_size"])
    for name, w in tensors_of(folder):
        new = new_name(arch, name)
        if new is None or (new == "output.weight" and c.get("tie_word_embeddings")):
            continue
        if arch == "llama" and ".attn_q." in new:
            w = interleave(w, c["num_attention_heads"])
        if arch == "llama" and ".attn_k." in new:
            w = interleave(w, c.get("num_key_value_heads") or c["num_attention_heads"])
        to = Q.F32
        if w.ndim == 2:
            to = embedding_kind if new == "token_embd.weight" else kind
            # llama.cpp computes with these two tables in f32 only
            to = Q.F32 if new in ("position_embd.weight", "token_types.weight") else to
            if w.shape[-1] % gguf.GGML_QUANT_SIZES[to][0] != 0:
                to = Q.F16
        out.add_tensor(new, gguf.quants.quantize(np.ascontiguousarray(w), to), raw_dtype=to)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def to_bf16(x):
    """Round to nearest even; finite values only."""
    bits = x.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def random_qwen(tokenizer, folder):
    """Qwen2.5-0.5B's shape; weights of std 0.02, as its initialiser draws them."""
    os.makedirs(folder, exist_ok=True)
    D, L, H, HK, F, V, HD = 896, 24, 14, 2, 4864, 151936, 64
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": D,
              "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": HK,
              "intermediate_size": F, "vocab_size": V, "max_position_embeddings": 32768,
              "max_window_layers": 21, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
              "sliding_window": 32768, "use_sliding_window": False, "hidden_act": "silu",
              "attention_dropout": 0.0, "initializer_range": 0.02, "tie_word_embeddings": True,
              "torch_dtype": "bfloat16", "bos_token_id": 151643, "eos_token_id": 151645,
              "use_cache": True, "transformers_version": "4.43.1"}
    shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    for i in range(L):
        p = f"model.layers.{i}."
        shapes |= {p + "input_layernorm.weight": (D,), p + "post_attention_layernorm.weight": (D,),
                   p + "self_attn.q_proj.weight": (H * HD, D), p + "self_attn.q_proj.bias": (H * HD,),
                   p + "self_attn.k_proj.weight": (HK * HD, D),
                   p + "self_attn.k_proj.bias": (HK * HD,),
                   p + "self_attn.v_proj.weight": (HK * HD, D),
                   p + "self_attn.v_proj.bias": (HK * HD,), p + "self_attn.o_proj.weight": (D, H * HD),
                   p + "mlp.gate_proj.weight": (F, D), p + "mlp.up_proj.weight": (F, D),
                   p + "mlp.down_proj.weight": (D, F)}
    header, at = {}, 0
    for name, shape in shapes.items():
        n = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(4)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            x = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
            f.write(to_bf16(1 + x if "norm" in name else x).tobytes())
    with open(os.path.join(folder, "config.json"), "w", encoding="utf8") as f:
        json.dump(config, f, indent=2)
    with open(os.path.join(folder, "generation_config.json"), "w", encoding="utf8") as f:
        json.dump({"bos_token_id": 151643, "pad_token_id": 151643, "do_sample": True,
                   "eos_token_id": [151645, 151643], "repetition_penalty": 1.1, "temperature": 0.7,
                   "top_p": 0.8, "top_k": 20}, f, indent=2)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(os.path.join(tokenizer, name), os.path.join(folder, name))
    for kind in ("bf16", "q8_0"):
        convert(folder, os.path.join(folder, f"model-{kind}.gguf"), TYPES[kind], TYPES[kind])


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("out")
    p.add_argument("--type", choices=TYPES, default="q8_0")
    p.add_argument("--embedding-type", choices=TYPES)
    p.add_argument("--random-qwen2.5-0.5b", dest="random", action="store_true")
    a = p.parse_args()
    if a.random:
        random_qwen(a.folder, a.out)
    else:
        convert(a.folder, a.out, TYPES[a.type], TYPES[a.embedding_type or a.type])


main()
