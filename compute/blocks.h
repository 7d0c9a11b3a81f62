// GGUF's block types, as a file stores them. Role: takes a stored row apart into units of 32
// values: small unsigned codes, and the scale and shift of each half. Reads only; what is packed
// for products is panels.h's business.
// Source followed: the block structs and dequantize_row_* of ggml-common.h and ggml-quants.c (and
// gguf-py's quants.py). Thread rule: pure functions.
#ifndef TRINE_COMPUTE_BLOCKS_H
#define TRINE_COMPUTE_BLOCKS_H

#include "compute/tensor.h"

enum { UNIT = 32 }; // values

// value i = scale * (codes[i] - offset) + shift, of half i / 16: with
//   plain types (q4_0 ...):  scale = d, shift = m (0 where the type has none)
//   K types:                 scale = d * sub_scale, shift = -m * sub_min
// d * sub_scale * code has at most 24 significant bits: the sum is the only rounding.
struct block_unit {
    uint8_t codes[UNIT];
    uint16_t d, m;        // f16 bits
    int16_t sub_scale[2]; // K types; else 1
    uint8_t sub_min[2];
};

// Unit `at` of the row of blocks at `src`.
void block_unit_read(enum dtype t, const unsigned char *src, size_t at, struct block_unit *out);

// What is subtracted from a type's codes.
int block_offset(enum dtype t);
// d and m are finite.
bool block_unit_finite(const struct block_unit *u);
// The unit's values as ggml's dequantize gives them, to the bit.
void block_unit_values(enum dtype t, const struct block_unit *u, float out[UNIT]);

// iq4_nl's codes stand for these values + 128.
extern const uint8_t block_iq4_nl[16];

float block_f16(uint16_t bits);
// A byte that stands for -128 .. 127.
static inline int16_t block_signed(unsigned char byte) {
    return (int16_t)(byte < 128 ? byte : byte - 256);
}

#endif
