#!/usr/bin/env python3
"""Bulk encoding against onnxruntime, side by side in one run.

    bench/compare_encode.py MODEL [--trine PROGRAM] [--threads N] [--texts N] [--repeats N] [--json]

MODEL is a BERT folder with a mean pool (all-MiniLM-L6-v2). Both get the same texts: sets of one
length (32 and 128 tokens) and a log-normal mix (median 40, sigma .8, in [4, 256], fixed seed).
onnxruntime runs a fused fp32 graph (EmbedLayerNormalization, Attention, SkipLayerNormalization,
BiasGelu) over batches of 32 sorted by length, with the padding this costs printed; its texts are
tokenized beforehand, outside its time. trine runs as a whole: `trine embed` to a file, tokenizing
and writing included; its own rate (without starting and loading) is the one compared, and the rate
of the whole process stands beside it.

Each round is trine, peer, trine, with the fp32 peak probed before it (`trine bench`'s probe);
medians over the rounds are printed, and the worst difference of the two's vectors.
Needs: numpy, onnx, onnxruntime, safetensors, tokenizers.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.pop("OPENBLAS_CORETYPE", None)  # before any library reads it

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUSED = "com.microsoft"


class Graph:
    """A BERT encoder as onnxruntime's own fused operators."""

    def __init__(self, folder):
        self.w = load_file(os.path.join(folder, "model.safetensors"))
        with open(os.path.join(folder, "config.json")) as f:
            self.c = json.load(f)
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        array = np.ascontiguousarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, key, transposed=False):
        value = self.w[key]
        return self.constant(key, value.T if transposed else value)

    def node(self, kind, inputs, outputs, **attributes):
        domain = attributes.pop("domain", FUSED)
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def matmul(self, x, weight, out):
        return self.node("MatMul", [x, self.weight(weight, True)], [out], domain="")

    def norm(self, x, skip, bias, norm, out):
        inputs = [x, skip, self.weight(norm + ".weight"), self.weight(norm + ".bias"),
                  self.weight(bias)]
        return self.node("SkipLayerNormalization", inputs, [out], epsilon=self.c["layer_norm_eps"])

    def embeddings(self):
        e = "embeddings."
        tables = [self.weight(e + n + "_embeddings.weight")
                  for n in ("word", "position", "token_type")]
        norms = [self.weight(e + "LayerNorm.weight"), self.weight(e + "LayerNorm.bias")]
        return self.node("EmbedLayerNormalization", ["ids", "types", *tables, *norms, "mask"],
                         ["hidden", "lengths"], epsilon=self.c["layer_norm_eps"])

    def layer(self, i, x):
        p = f"encoder.layer.{i}."
        parts = [p + f"attention.self.{n}" for n in ("query", "key", "value")]
        w = self.constant(p + "qkv.w", np.concatenate([self.w[n + ".weight"].T for n in parts], 1))
        b = self.constant(p + "qkv.b", np.concatenate([self.w[n + ".bias"] for n in parts]))
        a = self.node("Attention", [x, w, b, "lengths"], [p + "attended"],
                      num_heads=self.c["num_attention_heads"])
        o = self.matmul(a, p + "attention.output.dense.weight", p + "mixed")
        y = self.norm(o, x, p + "attention.output.dense.bias", p + "attention.output.LayerNorm",
                      p + "half")
        h = self.matmul(y, p + "intermediate.dense.weight", p + "wide")
        g = self.node("BiasGelu", [h, self.weight(p + "intermediate.dense.bias")], [p + "bent"])
        d = self.matmul(g, p + "output.dense.weight", p + "narrow")
        last = i + 1 == self.c["num_hidden_layers"]
        return self.norm(d, y, p + "output.dense.bias", p + "output.LayerNorm",
                         "states" if last else p + "out")

    def save(self, path):
        x = self.embeddings()
        for i in range(self.c["num_hidden_layers"]):
            x = self.layer(i, x)
        ints = [helper.make_tensor_value_info(n, TensorProto.INT32, ["b", "s"])
                for n in ("ids", "types", "mask")]
        shape = ["b", "s", self.c["hidden_size"]]
        out = helper.make_tensor_value_info("states", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "bert", ints, [out], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 8
        onnx.save(model, path)


class Peer:
    BATCH = 32

    def __init__(self, folder, scratch, threads):
        path = os.path.join(scratch, "fused.onnx")
        Graph(folder).save(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def batches(self, ids):
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        for at in range(0, len(order), self.BATCH):
            chosen = order[at:at + self.BATCH]
            width = len(ids[chosen[0]])
            x = np.zeros((len(chosen), width), np.int32)
            mask = np.zeros_like(x)
            for row, i in enumerate(chosen):
                x[row, :len(ids[i])] = ids[i]
                mask[row, :len(ids[i])] = 1
            yield chosen, x, mask

    def run(self, ids):
        vectors = None
        for chosen, x, mask in self.batches(ids):
            states = self.session.run(None, {"ids": x, "types": np.zeros_like(x), "mask": mask})[0]
            m = mask[..., None].astype(np.float32)
            v = (states * m).sum(1) / m.sum(1)
            if vectors is None:
                vectors = np.zeros((len(ids), v.shape[1]), np.float32)
            vectors[chosen] = v / np.linalg.norm(v, axis=1, keepdims=True)
        return vectors

    def padding(self, ids):
        cells = sum(x.size for _, x, _ in self.batches(ids))
        return cells / sum(map(len, ids)) - 1


class Trine:
    SUMMARY = re.compile(r"embedded (\d+) texts \((\d+) tokens\) in ([0-9.]+) s")

    def __init__(self, program, folder, scratch, threads):
        self.program, self.folder, self.threads = program, folder, threads
        self.out = os.path.join(scratch, "vectors.npy")

    def run(self, path):
        """The rate of the run and of the whole process, in texts a second."""
        started = time.perf_counter()
        p = subprocess.run([self.program, "embed", "--model", self.folder, path, "-o", self.out,
                            "--normalize", "yes", "--threads", str(self.threads)],
                           stderr=subprocess.PIPE, text=True)
        whole = time.perf_counter() - started
        found = self.SUMMARY.search(p.stderr)
        if p.returncode or not found:
            sys.exit(f"trine embed failed: {p.stderr}")
        count, _, seconds = found.groups()
        return int(count) / float(seconds), int(count) / whole

    def vectors(self):
        return np.load(self.out)

    def environment(self):
        p = subprocess.run([self.program, "bench", "encode", "--model", self.folder, "--texts", "1",
                            "--threads", str(self.threads), "--json", "-q"],
                           capture_output=True, text=True)
        if p.returncode:
            sys.exit(f"trine bench failed: {p.stderr}")
        return json.loads(p.stdout)


def make_sets(tokenizer, count, seed=5):
    rng = np.random.default_rng(seed)
    words = sorted(w for w in tokenizer.get_vocab() if w.isalpha() and w.isascii() and len(w) > 2)
    mix = np.clip(rng.lognormal(np.log(40), 0.8, count), 4, 256).astype(int)
    lengths = {"S=32": [32] * max(count // 5, 64), "S=128": [128] * max(count // 20, 64),
               "mix": mix}
    return {name: [" ".join(rng.choice(words, n - 2)) for n in each]
            for name, each in lengths.items()}


def flops(config, lengths):
    d, f, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    return sum(s * layers * (8 * d * d + 4 * d * f + 4 * s * d) for s in map(float, lengths))


def cpu_name():
    with open("/proc/cpuinfo") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")),
                    "unknown CPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--trine", default=os.path.join(ROOT, "build", "trine"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=10000, help="of the mix")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        peer = Peer(args.model, scratch, args.threads)
        trine = Trine(args.trine, args.model, scratch, args.threads)
        with open(os.path.join(args.model, "config.json")) as f:
            config = json.load(f)
        environment = trine.environment()["environment"]
        if not args.json:
            print(f"{cpu_name()}, {environment['features']}\ntrine {environment['commit']} "
                  f"({environment['device']}, f32); onnxruntime {ort.__version__}, "
                  f"{args.threads} threads, fused fp32, sorted batches of {Peer.BATCH}")
            print(f"{'set':8} {'texts':>6} {'peak':>7} {'trine':>9} {'of peak':>8} {'process':>9} "
                  f"{'peer':>9} {'of peak':>8} {'ratio':>6} {'padding':>8} {'max diff':>9}",
                  flush=True)
        for name, texts in make_sets(tokenizer, args.texts).items():
            path = os.path.join(scratch, "texts.txt")
            with open(path, "w") as f:
                f.write("\n".join(texts) + "\n")
            ids = [e.ids for e in tokenizer.encode_batch(texts)]
            peer.run(ids[:256])  # both start warm
            trine.run(path)
            ours, process, theirs, ratios, peaks = [], [], [], [], []
            for _ in range(args.repeats):
                peaks.append(trine.environment()["peak_gflops"])
                before = trine.run(path)
                started = time.perf_counter()
                vectors = peer.run(ids)
                theirs.append(len(ids) / (time.perf_counter() - started))
                after = trine.run(path)
                ours += [before[0], after[0]]
                process += [before[1], after[1]]
                ratios.append((before[0] + after[0]) / 2 / theirs[-1])
            median = statistics.median
            work = flops(config, map(len, ids)) / len(ids) / 1e9
            row = {"set": name, "texts": len(texts), "peak_gflops": median(peaks),
                   "trine": median(ours), "trine_share": median(ours) * work / median(peaks),
                   "trine_process": median(process), "peer": median(theirs),
                   "peer_share": median(theirs) * work / median(peaks), "ratio": median(ratios),
                   "peer_padding": peer.padding(ids),
                   "max_difference": float(np.abs(vectors - trine.vectors()).max())}
            results.append(row)
            if not args.json:
                print("{set:8} {texts:6} {peak_gflops:7.1f} {trine:9.1f} {trine_share:8.1%} "
                      "{trine_process:9.1f} {peer:9.1f} {peer_share:8.1%} {ratio:6.2f} "
                      "{peer_padding:8.1%} {max_difference:9.1e}".format(**row), flush=True)
    if args.json:
        print(json.dumps({"environment": dict(environment, cpu=cpu_name()), "sets": results}))


if __name__ == "__main__":
    main()
