#!/usr/bin/env python3
"""Prints compute/cpu/gelu_table.h: h(t) = t erfc(t / sqrt 2) / 2 in 16 pieces. Needs mpmath.

gelu(x) = max(x, 0) - h(|x|). Piece i holds t in [(i - 1/2) w, (i + 1/2) w] as a polynomial in
r = t / w - i, interpolated at Chebyshev nodes; piece 0 has no constant term, so that small x keep
their relative accuracy; piece 15 is zero (h(5.8) = 1.9e-8)."""
import mpmath as mp
import struct

mp.mp.dps = 40
W, DEGREE, PIECES = mp.mpf("0.4"), 5, 16


def interpolate(f, a, b, degree):
    n = degree + 1
    nodes = [(a + b) / 2 + (b - a) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    A, y = mp.matrix(n, n), mp.matrix(n, 1)
    for i, x in enumerate(nodes):
        y[i] = f(x)
        for j in range(n):
            A[i, j] = x**j
    return list(mp.lu_solve(A, y))


def piece(i):
    if i == PIECES - 1:
        return [0] * (DEGREE + 1)
    half = mp.mpf("0.5")
    if i == 0:
        g = lambda r: W * mp.erfc(r * W / mp.sqrt(2)) / 2
        return [0] + interpolate(g, mp.mpf(0), half, DEGREE - 1)
    h = lambda r: (i + r) * W * mp.erfc((i + r) * W / mp.sqrt(2)) / 2
    return interpolate(h, -half, half, DEGREE)


def literal(v):
    text = f"{struct.unpack('f', struct.pack('f', float(v)))[0]:.9g}"
    return text + ("F" if "." in text or "e" in text else ".0F")


table = [piece(i) for i in range(PIECES)]
print("// h(t) = t erfc(t / sqrt 2) / 2 in 16 pieces of 0.4: made by tools/make_gelu_table.py.")
print("#ifndef TRINE_COMPUTE_CPU_GELU_TABLE_H\n#define TRINE_COMPUTE_CPU_GELU_TABLE_H\n")
print("enum { GELU_PIECES = 16, GELU_DEGREE = 5 };\n")
print("// [d][i]: the coefficient of r^d in piece i, r = t / 0.4 - i in [-1/2, 1/2].")
print("static const float gelu_table[GELU_DEGREE + 1][GELU_PIECES]")
print("    __attribute__((aligned(64))) = {")
for d in range(DEGREE + 1):
    print("    {" + ", ".join(literal(table[i][d]) for i in range(PIECES)) + "},")
print("};\n\n#endif")
