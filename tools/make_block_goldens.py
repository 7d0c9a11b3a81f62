#!/usr/bin/env python3
"""Writes tests/golden/data/blocks/TYPE.bin: 512 values as GGUF's block type stores them, then the
same as float32, as gguf-py's dequantize gives them. Needs gguf and numpy.

The codes are random bits (every code occurs); the blocks' scales run from subnormal to the largest
half, of both signs, and 0."""

import os
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

OUT = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "data", "blocks")
VALUES = 512
# where a block's halves (d and m or dmin) are
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}  # fmt: skip
SCALES = [1.0, 65504.0, 6e-8, -0.007, 0.0, 3.1e-5, -65504.0, 0.33, 1e-3, -2.5, 6.2e-5, 17.0]


def main():
    rng = np.random.default_rng(4)
    os.makedirs(OUT, exist_ok=True)
    for kind, places in HALVES.items():
        block, size = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (VALUES // block, size), dtype=np.uint8)
        for i, row in enumerate(raw):
            for j, at in enumerate(places):
                half = np.array([SCALES[(3 * i + 5 * j + (block == 256)) % len(SCALES)]], np.float16)
                row[at : at + 2] = half.view(np.uint8)
        values = dequantize(raw, kind).astype("<f4")
        with open(os.path.join(OUT, kind.name.lower() + ".bin"), "wb") as f:
            f.write(raw.tobytes() + values.tobytes())


if __name__ == "__main__":
    sys.exit(main())
