#!/usr/bin/env python3
"""Turns an int8 ONNX file of a BERT-family model into a Hugging Face folder with f32 safetensors.

    tools/onnx_int8_to_safetensors.py SOURCE_FOLDER OUT_FOLDER

SOURCE_FOLDER holds model.onnx (as ONNX Runtime's dynamic quantisation writes it) and the tokenizer's
files; OUT_FOLDER, which must not exist, gets model.safetensors, config.json and the tokenizer's files.

A stored weight is q and stands for scale * (q - zero_point). That product is what is written: it is
exact in a double and rounded once to f32. ONNX Runtime also quantises activations on the fly; nothing
of that is in the file, so a float32 forward of the converted folder differs from ONNX Runtime's by
that rounding and is the better of the two.

Embeddings and biases keep their names in the ONNX graph. The inputs of MatMulInteger lose theirs
("onnx::MatMul_1662_quantized"): each is named after the bias that is added to its product.

Only Python's standard library: ONNX is read by the small protobuf reader below, and dequantisation is
four bytes.translate calls a tensor, one for each byte of a float, so 33 million weights take seconds.
"""

import json
import math
import os
import re
import shutil
import struct
import sys

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7  # TensorProto.DataType
TYPE_NAMES = {FLOAT: "float", UINT8: "uint8", INT8: "int8", INT32: "int32", INT64: "int64"}

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


class Refused(Exception):
    """The file is not what this tool can turn; the message names the place and the cause."""


# -- protobuf ------------------------------------------------------------------------------------


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Refused("model.onnx: a varint runs past its message")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data):
    """Yields (field number, value): an int for varints, a memoryview for everything else."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        else:
            if wire == 2:
                size, at = varint(data, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise Refused(f"model.onnx: protobuf wire type {wire} at byte {at}")
            if size > len(data) - at:
                raise Refused("model.onnx: a field runs past its message (is the file cut short?)")
            value = data[at : at + size]
            at += size
        yield number, value


def packed_ints(value):
    """A repeated integer field comes one varint at a time or packed into one field."""
    if isinstance(value, int):
        return [value]
    out, at = [], 0
    while at < len(value):
        one, at = varint(value, at)
        out.append(one)
    return out


class Tensor:
    def __init__(self, message):
        self.name, self.dtype, self.dims, self.raw = "", 0, [], b""
        floats, ints = b"", []
        for number, value in fields(message):
            if number == 1:
                self.dims += packed_ints(value)
            elif number == 2:
                self.dtype = value
            elif number == 4:
                floats += bytes(value)
            elif number in (5, 7):
                ints += packed_ints(value)
            elif number == 8:
                self.name = bytes(value).decode()
            elif number == 9:
                self.raw = value
            elif number == 14 and value == 1:
                raise Refused("model.onnx: weights in an external data file are not supported")
        if not len(self.raw):
            if self.dtype == FLOAT:
                self.raw = floats
            elif self.dtype in (UINT8, INT8):
                self.raw = bytes(i & 255 for i in ints)
        width = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8}.get(self.dtype)
        if width and len(self.raw) and len(self.raw) != width * math.prod(self.dims):
            raise Refused(f"model.onnx: tensor '{self.name}': {len(self.raw)} bytes for {self.dims}")

    def scalar(self):
        if math.prod(self.dims) != 1:
            raise Refused(f"model.onnx: '{self.name}' has shape {self.dims}: only one scale and one "
                          "zero point a tensor are supported")
        code = {FLOAT: "<f", UINT8: "<B", INT8: "<b", INT32: "<i", INT64: "<q"}[self.dtype]
        return struct.unpack(code, self.raw)[0]


class Node:
    def __init__(self, message):
        self.op, self.inputs, self.outputs, self.constant = "", [], [], None
        for number, value in fields(message):
            if number == 1:
                self.inputs.append(bytes(value).decode())
            elif number == 2:
                self.outputs.append(bytes(value).decode())
            elif number == 4:
                self.op = bytes(value).decode()
            elif number == 5:
                for inner, payload in fields(value):
                    if inner == 5:  # AttributeProto.t
                        self.constant = Tensor(payload)


class Graph:
    def __init__(self, data):
        graphs = [value for number, value in fields(data) if number == 7]
        if len(graphs) != 1:
            raise Refused("model.onnx: no graph in it (is it an ONNX file?)")
        self.nodes, self.tensors = [], {}
        for number, value in fields(graphs[0]):
            if number == 1:
                self.nodes.append(Node(value))
            elif number == 5:
                tensor = Tensor(value)
                self.tensors[tensor.name] = tensor
        self.consumers = {}
        self.constants = {}
        for node in self.nodes:
            if node.op == "Constant" and node.constant is not None:
                self.constants[node.outputs[0]] = node.constant
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)

    def only_consumer(self, name):
        found = self.consumers.get(name, [])
        if len(found) != 1:
            raise Refused(f"model.onnx: '{name}' has {len(found)} consumers, one was expected")
        return found[0]

    def bias_of(self, node):
        """MatMulInteger -> Cast -> Mul (scales) -> Add: the initializer that Add adds."""
        for op in ("Cast", "Mul", "Add"):
            node = self.only_consumer(node.outputs[0])
            if node.op != op:
                raise Refused(f"model.onnx: {node.op} where {op} was expected behind MatMulInteger")
        named = [name for name in node.inputs if name in self.tensors]
        if len(named) != 1 or not named[0].endswith(".bias"):
            raise Refused(f"model.onnx: {node.outputs[0]} adds no named bias")
        return named[0]


# -- dequantisation ------------------------------------------------------------------------------


def byte_tables(scale, zero_point, signed):
    """Four tables of 256: byte k of the little-endian float that each stored byte stands for."""
    values = [i - 256 if signed and i > 127 else i for i in range(256)]
    floats = [struct.pack("<f", scale * (q - zero_point)) for q in values]
    return [bytes(f[k] for f in floats) for k in range(4)]


def dequantize(data, tables):
    out = bytearray(4 * len(data))
    for k in range(4):
        out[k::4] = data.translate(tables[k])
    return bytes(out)


def weight_bytes(graph, name, transpose):
    """A "..._quantized" initializer as f32 bytes and its shape; [in, out] becomes [out, in]."""
    tensor, stem = graph.tensors[name], name[: -len("_quantized")]
    if tensor.dtype not in (UINT8, INT8):
        kind = TYPE_NAMES.get(tensor.dtype, tensor.dtype)
        raise Refused(f"model.onnx: tensor '{name}' is {kind}, uint8 or int8 was expected")
    for suffix in ("_scale", "_zero_point"):
        if stem + suffix not in graph.tensors:
            raise Refused(f"model.onnx: '{stem + suffix}' is not there")
    scale = graph.tensors[stem + "_scale"].scalar()
    zero_point = graph.tensors[stem + "_zero_point"].scalar()
    if not (math.isfinite(scale) and scale > 0):
        raise Refused(f"model.onnx: '{stem}_scale' is {scale}")
    data, dims = bytes(tensor.raw), list(tensor.dims)
    if transpose:
        rows, cols = dims
        data = b"".join(data[j::cols] for j in range(cols))
        dims = [cols, rows]
    return dequantize(data, byte_tables(scale, zero_point, tensor.dtype == INT8)), dims


def convert(graph, say):
    """{name: (dims, f32 bytes)} of every weight in the graph, under its Hugging Face name."""
    out, used = {}, set()
    products = [node for node in graph.nodes if node.op == "MatMulInteger"]
    for done, node in enumerate(products, 1):
        source = node.inputs[1]
        bias = graph.bias_of(node)
        name = bias[: -len(".bias")] + ".weight"
        if source not in graph.tensors or name in out or source in used:
            raise Refused(f"model.onnx: weight of '{bias}' is missing or comes twice")
        used.add(source)
        data, dims = weight_bytes(graph, source, transpose=True)
        if dims[0] != graph.tensors[bias].dims[0]:
            raise Refused(f"model.onnx: '{name}' {dims} against bias {graph.tensors[bias].dims}")
        out[name] = (dims, data)
        say(f"{done} of {len(products)} weights")
    for name, tensor in graph.tensors.items():
        if name.endswith("_quantized") and name not in used:
            data, dims = weight_bytes(graph, name, transpose=False)
            out[name[: -len("_quantized")]] = (dims, data)
        elif tensor.dtype == FLOAT and not name.endswith(("_scale", "_zero_point")):
            out[name] = (list(tensor.dims), bytes(tensor.raw))
    return out


# -- the folder ----------------------------------------------------------------------------------


def norm_epsilons(graph):
    """The constants that are added to a mean before its root is taken."""
    made_by = {output: node.op for node in graph.nodes for output in node.outputs}
    found = set()
    for node in graph.nodes:
        if node.op == "Add" and len(node.inputs) == 2 and made_by.get(node.inputs[0]) == "ReduceMean":
            constant = graph.constants.get(node.inputs[1])
            if constant is not None and constant.dtype == FLOAT and math.prod(constant.dims) == 1:
                found.add(constant.scalar())
    return found


def head_counts(graph, hidden):
    """The heads that q, k and v are reshaped to: the shape's last two parts are [heads, size]."""
    found = set()
    for node in graph.nodes:
        parts = [graph.constants.get(name) for name in node.inputs[-2:]]
        if node.op == "Concat" and len(node.inputs) == 4 and all(parts):
            heads, size = (part.scalar() for part in parts)
            if heads * size == hidden:
                found.add(heads)
    return found


def config_of(graph, weights):
    """config.json from the shapes and the graph's constants: nothing in it is a guess."""
    def dims(name):
        if name not in weights:
            raise Refused(f"model.onnx: no tensor '{name}': only BERT with a classifier is supported")
        return weights[name][0]

    vocab, hidden = dims("bert.embeddings.word_embeddings.weight")
    layers = {int(m.group(1)) for m in (re.match(r"bert\.encoder\.layer\.(\d+)\.", n) for n in weights)
              if m}
    if layers != set(range(len(layers))) or not layers:
        raise Refused("model.onnx: layers are missing")
    heads, eps = head_counts(graph, hidden), norm_epsilons(graph)
    if len(heads) != 1 or len(eps) != 1:
        raise Refused(f"model.onnx: one head count and one epsilon were expected: {heads}, {eps}")
    if not any(node.op == "Erf" for node in graph.nodes):
        raise Refused("model.onnx: the activation is not gelu (erf)")
    labels = dims("classifier.weight")[0]
    return {
        "architectures": ["BertForSequenceClassification"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "id2label": {str(i): f"LABEL_{i}" for i in range(labels)},
        "initializer_range": 0.02,
        "intermediate_size": dims("bert.encoder.layer.0.intermediate.dense.weight")[0],
        "label2id": {f"LABEL_{i}": i for i in range(labels)},
        "layer_norm_eps": float(f"{eps.pop():.3g}"),  # the f32 nearest to a short decimal
        "max_position_embeddings": dims("bert.embeddings.position_embeddings.weight")[0],
        "model_type": "bert",
        "num_attention_heads": heads.pop(),
        "num_hidden_layers": len(layers),
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
        "torch_dtype": "float32",
        "type_vocab_size": dims("bert.embeddings.token_type_embeddings.weight")[0],
        "vocab_size": vocab,
    }


def write_synced(path, chunks):
    with open(path, "xb") as out:
        for chunk in chunks:
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def write_json(path, value):
    write_synced(path, [(json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()])


def write_safetensors(path, weights):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dims, data) in weights.items():
        header[name] = {"dtype": "F32", "shape": dims, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the data that follows: keep it aligned
    chunks = [struct.pack("<Q", len(text)), text]
    write_synced(path, chunks + [data for _, data in weights.values()])


def convert_folder(source, out, say=lambda text: None):
    """Makes the folder `out` (new) from the folder `source`. Raises Refused or OSError."""
    with open(os.path.join(source, "model.onnx"), "rb") as file:
        graph = Graph(memoryview(file.read()))
    weights = convert(graph, say)
    made = config_of(graph, weights)
    os.mkdir(out)
    write_safetensors(os.path.join(out, "model.safetensors"), weights)
    own = os.path.join(source, "config.json")
    if os.path.exists(own):
        shutil.copyfile(own, os.path.join(out, "config.json"))
    else:
        write_json(os.path.join(out, "config.json"), made)
    for name in TOKENIZER_FILES:
        if os.path.exists(os.path.join(source, name)):
            shutil.copyfile(os.path.join(source, name), os.path.join(out, name))
    tokenizer_config = os.path.join(out, "tokenizer_config.json")
    if not os.path.exists(tokenizer_config):
        write_json(tokenizer_config, {"tokenizer_class": "BertTokenizer", "do_lower_case": True,
                                      "model_max_length": made["max_position_embeddings"]})


def main(args):
    if len(args) != 2 or args[0].startswith("-"):
        print(__doc__.strip(), file=sys.stdout if "--help" in args else sys.stderr)
        return 0 if "--help" in args else 2
    try:
        convert_folder(args[0], args[1])
    except (Refused, OSError) as problem:
        print(f"onnx_int8_to_safetensors: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
