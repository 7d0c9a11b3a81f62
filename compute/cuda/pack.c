// See pack.h.
#include "compute/cuda/pack.h"

#include "compute/blocks.h"
#include "compute/cuda/kernels/planes.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

// ---- floats ----

INLINE uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
INLINE float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

// Value i of the source, as f32. An f16's exponent moves by 112, which a product does for
// subnormal numbers too; what is not finite stays so.
INLINE float load(const enum dtype t, const void *src, size_t i) {
    if (t == DTYPE_F32)
        return float_of(((const uint32_t *)src)[i]);
    uint32_t h = ((const uint16_t *)src)[i];
    if (t == DTYPE_BF16)
        return float_of(h << 16);
    uint32_t sign = (h & 0x8000U) << 16, rest = h & 0x7fffU;
    uint32_t wide = bits_of(float_of(rest << 13) * 0x1p112F);
    return float_of(sign | (rest >= 0x7c00U ? 0x7f800000U : wide));
}

// To nearest, ties to even, of finite numbers. Beyond f16 it is infinity.
INLINE uint16_t to_bf16(float x) {
    uint32_t u = bits_of(x);
    return (uint16_t)((u + 0x7fffU + (u >> 16 & 1U)) >> 16);
}
INLINE uint16_t to_f16(float x) {
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000U, rest = u & 0x7fffffffU;
    uint32_t steps = bits_of(float_of(rest) + 0.5F) - bits_of(0.5F); // of 2^-24, below 2^-14
    uint32_t usual = (rest + 0xfffU + (rest >> 13 & 1U)) >> 13;
    uint32_t h = rest < 0x38800000U ? steps : usual - (112U << 10);
    return (uint16_t)(sign | (rest >= 0x477ff000U ? 0x7c00U : h));
}

INLINE void convert(const enum dtype from, const void *src, size_t n, const enum gpu_type to,
                    void *dst, uint32_t *worst, uint32_t *narrowest) {
    uint32_t most = 0, least = 0;
    for (size_t i = 0; i < n; i++) {
        float x = load(from, src, i);
        uint32_t size = bits_of(x) & 0x7fffffffU;
        most = size > most ? size : most;
        if (to == GPU_F32) {
            ((uint32_t *)dst)[i] = bits_of(x);
            continue;
        }
        uint16_t h = to == GPU_BF16 ? to_bf16(x) : to_f16(x);
        uint32_t kept = h & 0x7fffU;
        least = kept > least ? kept : least;
        ((uint16_t *)dst)[i] = h;
    }
    *worst = most;
    *narrowest = least;
}

INLINE void convert_to(const enum dtype from, const void *src, size_t n, enum gpu_type to,
                       void *dst, uint32_t *worst, uint32_t *narrowest) {
    if (to == GPU_F32)
        convert(from, src, n, GPU_F32, dst, worst, narrowest);
    else if (to == GPU_BF16)
        convert(from, src, n, GPU_BF16, dst, worst, narrowest);
    else
        convert(from, src, n, GPU_F16, dst, worst, narrowest);
}

static float value(enum dtype t, const void *src, size_t i) {
    return t == DTYPE_F32    ? load(DTYPE_F32, src, i)
           : t == DTYPE_BF16 ? load(DTYPE_BF16, src, i)
                             : load(DTYPE_F16, src, i);
}

static void note(size_t *first, size_t at) { *first = at < *first ? at : *first; }

// Something is wrong among them: what, and where.
static void find_faults(enum dtype from, const void *src, size_t n, enum gpu_type to, size_t at,
                        struct gpu_pack_faults *f) {
    for (size_t i = 0; i < n; i++) {
        float x = value(from, src, i);
        if ((bits_of(x) & 0x7f800000U) == 0x7f800000U)
            note(&f->bad, at + i);
        else if ((to == GPU_F16 && (to_f16(x) & 0x7fffU) == 0x7c00U) ||
                 (to == GPU_BF16 && (to_bf16(x) & 0x7fffU) == 0x7f80U))
            note(&f->large, at + i);
    }
}

void gpu_pack_floats(enum dtype from, const void *src, size_t n, enum gpu_type to, void *dst,
                     size_t at, struct gpu_pack_faults *f) {
    enum { AT_ONCE = 4096 }; // and looked through again where one is bad
    for (size_t i = 0; i < n; i += AT_ONCE) {
        size_t some = n - i < AT_ONCE ? n - i : AT_ONCE;
        const unsigned char *s = (const unsigned char *)src + i * dtype_size(from);
        unsigned char *d = (unsigned char *)dst + i * gpu_type_size(to);
        uint32_t worst = 0, narrowest = 0;
        if (from == DTYPE_F32)
            convert_to(DTYPE_F32, s, some, to, d, &worst, &narrowest);
        else if (from == DTYPE_BF16)
            convert_to(DTYPE_BF16, s, some, to, d, &worst, &narrowest);
        else
            convert_to(DTYPE_F16, s, some, to, d, &worst, &narrowest);
        uint32_t most = to == GPU_F16 ? 0x7c00U : to == GPU_BF16 ? 0x7f80U : UINT32_MAX;
        if (worst >= 0x7f800000U || narrowest >= most)
            find_faults(from, s, some, to, at + i, f);
    }
}

// ---- blocks ----

enum gpu_format gpu_pack_format(enum dtype t) {
    switch (t) {
    case DTYPE_Q8_0:
        return GPU_FORMAT_Q8_0;
    case DTYPE_Q4_0:
        return GPU_FORMAT_Q4_0;
    case DTYPE_Q4_1:
        return GPU_FORMAT_Q4_1;
    case DTYPE_Q5_0:
        return GPU_FORMAT_Q5_0;
    case DTYPE_Q5_1:
        return GPU_FORMAT_Q5_1;
    case DTYPE_Q2_K:
        return GPU_FORMAT_Q2_K;
    case DTYPE_Q3_K:
        return GPU_FORMAT_Q3_K;
    case DTYPE_Q4_K:
        return GPU_FORMAT_Q4_K;
    case DTYPE_Q5_K:
        return GPU_FORMAT_Q5_K;
    case DTYPE_Q6_K:
        return GPU_FORMAT_Q6_K;
    default:
        return GPU_FORMAT_IQ4_NL;
    }
}

static void store16(unsigned char *to, uint16_t v) { memcpy(to, &v, sizeof v); }

// The lower 4 or 2 bits of a run's codes, or all 8.
INLINE void pack_main(const int bits, const uint8_t *codes, unsigned char *to) {
    if (bits == 8) {
        memcpy(to, codes, GPU_RUN);
        return;
    }
    uint32_t word = 0;
    for (int i = 0; i < GPU_RUN; i++)
        word |= (bits == 4 ? codes[i] & 15U : codes[i] & 3U)
                << (bits == 4 ? 4 * (i / 2) + 16 * (i % 2) : 2 * i);
    if (bits == 4)
        memcpy(to, &word, sizeof word);
    else
        store16(to, (uint16_t)word);
}

INLINE void pack_more(const int main_bits, const int bits, const uint8_t *codes,
                      unsigned char *to) {
    uint32_t word = 0;
    for (int i = 0; i < GPU_RUN; i++)
        word |= (uint32_t)codes[i] >> main_bits << (bits * i);
    if (bits == 1)
        to[0] = (unsigned char)word;
    else
        store16(to, (uint16_t)word);
}

INLINE void pack_scales(const struct gpu_planes p, size_t in, size_t unit,
                        const struct block_unit *u, unsigned char *scales) {
    size_t run = unit * (GPU_UNIT / GPU_RUN);
    unsigned char *d = scales + gpu_d_at(p, in, run);
    store16(d, u->d);
    if (p.with_m)
        store16(d + 2, u->m);
    for (size_t h = 0; h < (p.groups == 16 ? 2U : p.groups ? 1U : 0U); h++) {
        unsigned char *part = scales + gpu_part_at(p, in, run + 2 * h);
        unsigned scale = (unsigned)u->sub_scale[h] & 255U;
        part[0] = (unsigned char)(p.with_m && p.groups == 16 ? scale | (unsigned)u->sub_min[h] << 4
                                                             : scale);
        if (p.group_bytes == 2)
            part[1] = u->sub_min[h];
    }
}

INLINE void pack_row(const enum dtype t, const enum gpu_format format, const unsigned char *src,
                     size_t in, unsigned char *quants, unsigned char *scales, size_t at,
                     struct gpu_pack_faults *f) {
    const struct gpu_planes p = gpu_planes_of(format);
    for (size_t unit = 0; unit < in / UNIT; unit++) {
        struct block_unit u;
        block_unit_read(t, src, unit, &u);
        if (!block_unit_finite(&u))
            note(&f->bad, at + unit * UNIT / dtype_block(t) * dtype_block(t));
        for (size_t i = 0; i < UNIT / GPU_RUN; i++) {
            size_t run = unit * (UNIT / GPU_RUN) + i;
            const uint8_t *codes = u.codes + i * GPU_RUN;
            pack_main(p.main_bits, codes, quants + gpu_main_at(p, in, run));
            if (p.more_bits)
                pack_more(p.main_bits, p.more_bits, codes, quants + gpu_more_at(p, in, run));
        }
        pack_scales(p, in, unit, &u, scales);
    }
}

void gpu_pack_blocks(enum dtype t, const unsigned char *src, size_t in, unsigned char *quants,
                     unsigned char *scales, size_t at, struct gpu_pack_faults *f) {
    enum gpu_format format = gpu_pack_format(t);
    memset(scales, 0, gpu_scale_row_bytes(format, in));
    struct gpu_planes p = gpu_planes_of(format);
    size_t codes = in / GPU_RUN * (size_t)(p.main_bits + p.more_bits);
    memset(quants + codes, 0, gpu_quant_row_bytes(format, in) - codes);
    switch (format) {
#define PACK(T)                                                                                    \
    case GPU_FORMAT_##T:                                                                           \
        pack_row(DTYPE_##T, GPU_FORMAT_##T, src, in, quants, scales, at, f);                       \
        break;
        PACK(Q8_0)
        PACK(Q4_0)
        PACK(Q4_1)
        PACK(Q5_0)
        PACK(Q5_1)
        PACK(Q2_K)
        PACK(Q3_K)
        PACK(Q4_K)
        PACK(Q5_K)
        PACK(Q6_K)
        PACK(IQ4_NL)
#undef PACK
    default:
        break;
    }
}
