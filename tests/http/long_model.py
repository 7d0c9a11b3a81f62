"""A BERT with random weights and many positions: one text of it keeps the device busy for long."""

import array
import json
import os
import random
import shutil
import struct

FROM = "tests/golden/data/bert-mean-st6"


def make(root, folder, positions=24576, hidden=64, heads=2, ffn=64, layers=64):
    """Writes the model; the tokenizer is that of a tiny one in `root`."""
    shutil.copytree(os.path.join(root, FROM), folder)
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config.update(hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn,
                  num_hidden_layers=layers, max_position_embeddings=positions)
    with open(path, "w") as f:
        json.dump(config, f)
    path = os.path.join(folder, "1_Pooling", "config.json")
    with open(path) as f:
        pooling = json.load(f)
    for key in ("word_embedding_dimension", "embedding_dimension"):
        if key in pooling:
            pooling[key] = hidden
    with open(path, "w") as f:
        json.dump(pooling, f)
    path = os.path.join(folder, "tokenizer_config.json")
    with open(path) as f:
        limits = json.load(f)
    limits["model_max_length"] = positions
    with open(path, "w") as f:
        json.dump(limits, f)
    rng = random.Random(1)
    noise = array.array("f", (rng.uniform(-0.05, 0.05) for _ in range(1 << 16)))
    shapes = {"embeddings.word_embeddings.weight": [config["vocab_size"], hidden],
              "embeddings.position_embeddings.weight": [positions, hidden],
              "embeddings.token_type_embeddings.weight": [2, hidden],
              "embeddings.LayerNorm.weight": [hidden], "embeddings.LayerNorm.bias": [hidden]}
    for i in range(layers):
        p = f"encoder.layer.{i}."
        for name, out, size in (("attention.self.query", hidden, hidden),
                                ("attention.self.key", hidden, hidden),
                                ("attention.self.value", hidden, hidden),
                                ("attention.output.dense", hidden, hidden),
                                ("intermediate.dense", ffn, hidden),
                                ("output.dense", hidden, ffn)):
            shapes[p + name + ".weight"] = [out, size]
            shapes[p + name + ".bias"] = [out]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[p + name + ".weight"] = [hidden]
            shapes[p + name + ".bias"] = [hidden]
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            n = shape[0] * (shape[1] if len(shape) > 1 else 1)
            begin = rng.randrange(1 << 10)
            while n:
                part = noise[begin:begin + n]
                part.tofile(f)
                n -= len(part)
    return folder


if __name__ == "__main__":
    import sys
    make(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), sys.argv[1],
         **{k: int(v) for k, v in (a.split("=") for a in sys.argv[2:])})
