// See blocks.h.
#include "compute/blocks.h"

#include <string.h>

const uint8_t block_iq4_nl[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                  129, 141, 153, 166, 181, 197, 217, 241};

float block_f16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000U) << 16, exponent = (bits >> 10) & 31U,
             mantissa = bits & 1023U;
    if (exponent == 0) { // zero or subnormal: mantissa * 2^-24
        float v = (float)mantissa * 0x1p-24F;
        return sign ? -v : v;
    }
    uint32_t wide = sign | (exponent == 31 ? 0x7f800000U : (exponent + 112) << 23) | mantissa << 13;
    float v;
    memcpy(&v, &wide, sizeof v);
    return v;
}

static uint16_t load16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }

// 16 bytes of nibbles: the low ones are values 0 .. 15, the high ones 16 .. 31.
static void nibbles(const unsigned char *qs, uint8_t *codes) {
    for (size_t i = 0; i < 16; i++) {
        codes[i] = qs[i] & 15U;
        codes[16 + i] = qs[i] >> 4;
    }
}

// 4 bytes: bit i is bit 4 of value i.
static void fifth_bits(const unsigned char *qh, uint8_t *codes) {
    for (size_t i = 0; i < UNIT; i++)
        codes[i] = (uint8_t)(codes[i] | ((unsigned)qh[i / 8] >> (i % 8) & 1U) << 4);
}

// q4_K's and q5_K's 8 scales and 8 minima of 6 bits in 12 bytes.
static void scale_min(const unsigned char *s, size_t i, struct block_unit *out) {
    unsigned low = s[i], high = s[i + 4], scale = low & 63U, min = high & 63U;
    if (i >= 4) {
        scale = (high & 15U) | (unsigned)s[i - 4] >> 6 << 4;
        min = high >> 4 | low >> 6 << 4;
    }
    out->sub_scale[0] = out->sub_scale[1] = (int16_t)scale;
    out->sub_min[0] = out->sub_min[1] = (uint8_t)min;
}

// { u8 scales[16], qs[64]; f16 d, dmin }
static void read_q2_k(const unsigned char *b, size_t at, struct block_unit *out) {
    const unsigned char *q = b + 16 + at / 4 * UNIT;
    for (size_t i = 0; i < UNIT; i++)
        out->codes[i] = q[i] >> (2 * (at % 4)) & 3U;
    out->d = load16(b + 80);
    out->m = load16(b + 82);
    for (size_t h = 0; h < 2; h++) {
        out->sub_scale[h] = b[2 * at + h] & 15U;
        out->sub_min[h] = b[2 * at + h] >> 4;
    }
}

// { u8 hmask[32], qs[64], scales[12]; f16 d }: 16 scales of 6 bits, less 32
static void read_q3_k(const unsigned char *b, size_t at, struct block_unit *out) {
    const unsigned char *q = b + 32 + at / 4 * UNIT, *s = b + 96;
    for (size_t i = 0; i < UNIT; i++)
        out->codes[i] =
            (uint8_t)(((unsigned)q[i] >> (2 * (at % 4)) & 3U) | ((unsigned)b[i] >> at & 1U) << 2);
    out->d = load16(b + 108);
    for (size_t h = 0; h < 2; h++) {
        size_t i = 2 * at + h;
        unsigned low = i < 8 ? s[i] & 15U : s[i - 8] >> 4;
        unsigned high = (unsigned)s[8 + i % 4] >> (2 * (i / 4)) & 3U;
        out->sub_scale[h] = (int16_t)((int)(low | high << 4) - 32);
    }
}

// { f16 d, dmin; u8 scales[12], [q5_K: qh[32],] qs[128] }
static void read_q45_k(const unsigned char *b, size_t at, bool five, struct block_unit *out) {
    const unsigned char *q = b + 16 + (five ? 32 : 0) + at / 2 * UNIT;
    for (size_t i = 0; i < UNIT; i++) {
        out->codes[i] = at % 2 ? q[i] >> 4 : q[i] & 15U;
        if (five)
            out->codes[i] = (uint8_t)(out->codes[i] | ((unsigned)b[16 + i] >> at & 1U) << 4);
    }
    out->d = load16(b);
    out->m = load16(b + 2);
    scale_min(b + 4, at, out);
}

// { u8 ql[128], qh[64]; i8 scales[16]; f16 d }
static void read_q6_k(const unsigned char *b, size_t at, struct block_unit *out) {
    size_t half = at / 4, j = at % 4;
    const unsigned char *ql = b + half * 64 + j % 2 * UNIT, *qh = b + 128 + half * UNIT;
    for (size_t i = 0; i < UNIT; i++)
        out->codes[i] = (uint8_t)((j < 2 ? ql[i] & 15U : (unsigned)ql[i] >> 4) |
                                  ((unsigned)qh[i] >> (2 * j) & 3U) << 4);
    out->d = load16(b + 208);
    for (size_t h = 0; h < 2; h++)
        out->sub_scale[h] = block_signed(b[192 + 2 * at + h]);
}

void block_unit_read(enum dtype t, const unsigned char *src, size_t at, struct block_unit *out) {
    size_t units = dtype_block(t) / UNIT;
    const unsigned char *b = src + at / units * dtype_block_bytes(t);
    *out = (struct block_unit){.sub_scale = {1, 1}};
    switch (t) {
    case DTYPE_Q2_K:
        read_q2_k(b, at % units, out);
        return;
    case DTYPE_Q3_K:
        read_q3_k(b, at % units, out);
        return;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        read_q45_k(b, at % units, t == DTYPE_Q5_K, out);
        return;
    case DTYPE_Q6_K:
        read_q6_k(b, at % units, out);
        return;
    default:
        break;
    }
    out->d = load16(b);
    b += 2;
    if (t == DTYPE_Q4_1 || t == DTYPE_Q5_1) {
        out->m = load16(b);
        b += 2;
    }
    if (t == DTYPE_Q8_0) {
        for (size_t i = 0; i < UNIT; i++)
            out->codes[i] = b[i] ^ 0x80U;
        return;
    }
    bool five = t == DTYPE_Q5_0 || t == DTYPE_Q5_1;
    nibbles(b + (five ? 4 : 0), out->codes);
    if (five)
        fifth_bits(b, out->codes);
}

int block_offset(enum dtype t) {
    switch (t) {
    case DTYPE_Q3_K:
        return 4;
    case DTYPE_Q4_0:
        return 8;
    case DTYPE_Q5_0:
        return 16;
    case DTYPE_Q6_K:
        return 32;
    case DTYPE_Q8_0:
    case DTYPE_IQ4_NL:
        return 128;
    default:
        return 0;
    }
}

bool block_unit_finite(const struct block_unit *u) {
    return (u->d & 0x7c00U) != 0x7c00U && (u->m & 0x7c00U) != 0x7c00U;
}

void block_unit_values(enum dtype t, const struct block_unit *u, float out[UNIT]) {
    bool k = dtype_block(t) > UNIT;
    int offset = block_offset(t);
    for (size_t i = 0; i < UNIT; i++) {
        size_t h = i / 16;
        int code = t == DTYPE_IQ4_NL ? block_iq4_nl[u->codes[i]] : u->codes[i];
        float shift = k ? -(block_f16(u->m) * (float)u->sub_min[h]) : block_f16(u->m);
        float scaled = block_f16(u->d) * (float)u->sub_scale[h] * (float)(code - offset);
        out[i] = u->m ? scaled + shift : scaled;
    }
}
