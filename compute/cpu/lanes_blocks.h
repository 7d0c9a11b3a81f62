// The products of block types (panels.h); included after a lanes_*.h, lanes_linear.h.
// Why so: lanes are outputs, so a unit's 4 neighbouring inputs of a row meet all 16 outputs by one
// broadcast, and nothing is summed across lanes. One row alone takes the codes apart in registers
// and reads each weight once, as fast as memory gives it. Of more rows a chunk's codes are taken
// apart once, into 6 KiB that stay in L1, and meet ROWS_AT_ONCE rows there.
// A row's sums come about by the same instructions in the same order either way.
#ifndef TRINE_COMPUTE_CPU_LANES_BLOCKS_H
#define TRINE_COMPUTE_CPU_LANES_BLOCKS_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_math.h"

enum {
    PARTS = BLOCK_PANEL / LANES, // vectors of a panel's outputs
    ROWS_AT_ONCE = 4 * ACT_ROWS,
    AHEAD = 4096, // bytes of weights asked for before they are used
#if LANES == 16
    INT8_ROWS = 16, // in registers
    F32_ROWS = 16,
#else
    INT8_ROWS = 4,
    F32_ROWS = 8,
#endif
};

// ---- taking apart ----

// A unit's codes of one part of the outputs: groups of 4 inputs. q: the part's bytes.
INLINE void unit_codes(const enum dtype t, const unsigned char *q, VI v[8]) {
    enum { VECTOR = 64 };
    const int four = t != DTYPE_Q8_0 && t != DTYPE_Q2_K && t != DTYPE_Q3_K;
    const int two = t == DTYPE_Q2_K || t == DTYPE_Q3_K || t == DTYPE_Q6_K;
    const int one = t == DTYPE_Q5_0 || t == DTYPE_Q5_1 || t == DTYPE_Q5_K || t == DTYPE_Q3_K;
    if (t == DTYPE_Q8_0) {
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            v[g] = vi_load(q + g * VECTOR);
        return;
    }
    if (four) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            VI both = vi_load(q + j * VECTOR);
            v[j] = vi_and(both, vi_all8(15));
            v[4 + j] = vi_and(vi_shift(both, -4), vi_all8(15));
        }
        q += 4 * VECTOR;
    }
    if (two) {
        const int to = four ? 4 : 0;
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            VI bits = vi_shift(vi_load(q + g / 4 * VECTOR), to - 2 * (g % 4));
            bits = vi_and(bits, vi_all8(3 << to));
            v[g] = four ? vi_or(v[g], bits) : bits;
        }
        q += 2 * VECTOR;
    }
    if (one) {
        const int to = four ? 4 : 2;
        VI all = vi_load(q);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            v[g] = vi_or(v[g], vi_and(vi_shift(all, to - g), vi_all8(1 << to)));
    }
    if (t == DTYPE_IQ4_NL)
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            v[g] = vi_lookup(block_iq4_nl, v[g]);
}

// What is constant over the types that share a product: whether the halves of a unit have scales of
// their own, whether values have a shift (else codes have an offset).
INLINE int has_halves(const enum dtype t) {
    return t == DTYPE_Q2_K || t == DTYPE_Q3_K || t == DTYPE_Q6_K;
}
INLINE int has_shift(const enum dtype t) {
    return t == DTYPE_Q4_1 || t == DTYPE_Q5_1 || t == DTYPE_Q2_K || t == DTYPE_Q4_K ||
           t == DTYPE_Q5_K;
}
// The offset is 2 to this.
INLINE int offset_bits(const enum dtype t) {
    return t == DTYPE_Q3_K   ? 2
           : t == DTYPE_Q4_0 ? 3
           : t == DTYPE_Q5_0 ? 4
           : t == DTYPE_Q6_K ? 5
                             : 7;
}

struct unit_scales {
    VF scale[2], shift[2]; // [1]: of types with halves only; shift: of types with shifts
};

// head: the chunk's scales; s: the unit's (plain types: head is theirs); of lanes from `lane` on.
INLINE struct unit_scales unit_scales(const enum dtype t, const unsigned char *head,
                                      const unsigned char *s, int lane) {
    struct unit_scales u;
    const int k =
        t == DTYPE_Q2_K || t == DTYPE_Q3_K || t == DTYPE_Q4_K || t == DTYPE_Q5_K || t == DTYPE_Q6_K;
    const unsigned char *d = (k ? head : s) + 2 * lane;
    u.scale[0] = u.scale[1] = v_from_f16(d);
    u.shift[0] = u.shift[1] = has_shift(t) ? v_from_f16(d + 32) : v_zero();
    s += lane;
    if (t == DTYPE_Q4_K || t == DTYPE_Q5_K) {
        u.scale[0] = u.scale[1] = v_mul(u.scale[0], v_from_u8(s));
        u.shift[0] = u.shift[1] = v_sub(v_zero(), v_mul(u.shift[0], v_from_u8(s + 16)));
    } else if (t == DTYPE_Q3_K || t == DTYPE_Q6_K) {
        u.scale[1] = v_mul(u.scale[0], v_from_i8(s + 16));
        u.scale[0] = v_mul(u.scale[0], v_from_i8(s));
    } else if (t == DTYPE_Q2_K) {
        // scale | min << 4
        uint8_t low[2][LANES], high[2][LANES];
        for (int h = 0; h < 2; h++)
            for (int i = 0; i < LANES; i++) {
                low[h][i] = s[16 * h + i] & 15U;
                high[h][i] = s[16 * h + i] >> 4;
            }
        u.scale[1] = v_mul(u.scale[0], v_from_u8(low[1]));
        u.scale[0] = v_mul(u.scale[0], v_from_u8(low[0]));
        u.shift[1] = v_sub(v_zero(), v_mul(u.shift[0], v_from_u8(high[1])));
        u.shift[0] = v_sub(v_zero(), v_mul(u.shift[0], v_from_u8(high[0])));
    }
    return u;
}

// ---- int8 ----

// What a unit adds to a row's sums of one part. small: codes below 64.
INLINE VF add_int8(const int halves, const int shifted, const int small, int bits, const VI v[8],
                   const struct unit_scales *u, const struct act_unit *x, VF sum) {
    VI dot[2] = {vi_zero(), vi_zero()};
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        int32_t four;
        __builtin_memcpy(&four, x->q + 4 * g, sizeof four);
        VI *to = &dot[halves ? g / 4 : 0];
        *to = small ? vi_dot_small(*to, v[g], vi_all32(four)) : vi_dot(*to, v[g], vi_all32(four));
    }
    VF all;
    if (halves) {
        if (!shifted) {
            dot[0] = vi_sub32(dot[0], vi_shl32(vi_all32(x->half[0]), bits));
            dot[1] = vi_sub32(dot[1], vi_shl32(vi_all32(x->half[1]), bits));
        }
        all = v_mul(u->scale[0], v_from_i32(dot[0]));
        all = v_fma(u->scale[1], v_from_i32(dot[1]), all);
        if (shifted) {
            all = v_fma(u->shift[0], v_from_i32(vi_all32(x->half[0])), all);
            all = v_fma(u->shift[1], v_from_i32(vi_all32(x->half[1])), all);
        }
    } else {
        if (!shifted)
            dot[0] = vi_sub32(dot[0], vi_shl32(vi_all32(x->sum), bits));
        all = v_mul(u->scale[0], v_from_i32(dot[0]));
        if (shifted)
            all = v_fma(u->shift[0], v_from_i32(vi_all32(x->sum)), all);
    }
    return v_fma(all, v_all(x->d), sum);
}

INLINE int is_small(const enum dtype t) { return t != DTYPE_Q8_0 && t != DTYPE_IQ4_NL; }

// One row and one panel; memory is read as it lies.
INLINE void row_int8(const enum dtype t, const unsigned char *w, size_t units,
                     const struct act_unit *x, float *sums) {
    const struct panel_layout l = *panel_layout(t);
    const size_t lines = (l.codes + l.unit_scales + 63U + l.head / CHUNK_UNITS) / 64;
    VF sum[PARTS];
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++)
        sum[p] = v_zero();
    for (size_t at = 0; at < units; at += CHUNK_UNITS) {
        size_t n = units - at < CHUNK_UNITS ? units - at : CHUNK_UNITS;
        const unsigned char *head = w, *s = w + l.head, *q = w + panel_scales(&l, n);
        for (size_t i = 0; i < n; i++, x++, s += l.unit_scales, q += l.codes) {
            for (size_t j = 0; j < lines; j++)
                __builtin_prefetch(q + AHEAD + j * 64, 0, 3);
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++) {
                VI v[8];
                unit_codes(t, q + p * LANES * 4, v);
                struct unit_scales u = unit_scales(t, head, s, p * LANES);
                sum[p] = add_int8(has_halves(t), has_shift(t), is_small(t), offset_bits(t), v, &u,
                                  x, sum[p]);
            }
        }
        w = q;
    }
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++)
        v_store(sums + p * LANES, sum[p]);
}

// A chunk of n units, taken apart.
INLINE void chunk_unpack(const enum dtype t, const unsigned char *w, size_t n,
                         struct panel_unit *out) {
    const struct panel_layout l = *panel_layout(t);
    const size_t lines = (l.codes + l.unit_scales + 63U + l.head / CHUNK_UNITS) / 64;
    const unsigned char *s = w + l.head, *q = w + panel_scales(&l, n);
    for (size_t i = 0; i < n; i++, s += l.unit_scales, q += l.codes, out++) {
        for (size_t j = 0; j < lines; j++)
            __builtin_prefetch(q + AHEAD + j * 64, 0, 3);
        for (int p = 0; p < PARTS; p++) {
            VI v[8];
            unit_codes(t, q + p * LANES * 4, v);
#pragma GCC unroll 8
            for (int g = 0; g < 8; g++)
                vi_store(out->codes[g] + p * LANES * 4, v[g]);
            struct unit_scales u = unit_scales(t, w, s, p * LANES);
            for (int h = 0; h < 2; h++) {
                v_store(out->scale[h] + p * LANES, u.scale[h]);
                v_store(out->shift[h] + p * LANES, u.shift[h]);
            }
        }
    }
}

typedef void row_fn(const unsigned char *w, size_t units, const struct act_unit *x, float *sums);
typedef void unpack_fn(const unsigned char *w, size_t n, struct panel_unit *out);

#define BLOCK_TYPES(_)                                                                             \
    _(Q4_0) _(Q4_1) _(Q5_0) _(Q5_1) _(Q8_0) _(Q2_K) _(Q3_K) _(Q4_K) _(Q5_K) _(Q6_K) _(IQ4_NL)
#define BLOCK_FUNCTIONS(t)                                                                         \
    static void row_##t(const unsigned char *w, size_t units, const struct act_unit *x,            \
                        float *sums) {                                                             \
        row_int8(DTYPE_##t, w, units, x, sums);                                                    \
    }                                                                                              \
    static void unpack_##t(const unsigned char *w, size_t n, struct panel_unit *out) {             \
        chunk_unpack(DTYPE_##t, w, n, out);                                                        \
    }
BLOCK_TYPES(BLOCK_FUNCTIONS)
#define BLOCK_ROW(t) [DTYPE_##t] = row_##t,
#define BLOCK_UNPACK(t) [DTYPE_##t] = unpack_##t,
static row_fn *const row_of[DTYPE_COUNT] = {BLOCK_TYPES(BLOCK_ROW)};
static unpack_fn *const unpack_of[DTYPE_COUNT] = {BLOCK_TYPES(BLOCK_UNPACK)};

// ---- several rows, a chunk taken apart ----

// `rows` neighbouring rows of a group of `width`, n units: added to sums[rows][BLOCK_PANEL].
typedef void units_fn(const struct panel_unit *w, size_t n, const void *acts, size_t width,
                      int bits, float *sums);

INLINE void units_int8(const int rows, const int halves, const int shifted, const int small,
                       const struct panel_unit *w, size_t n, const struct act_unit *x, size_t width,
                       int bits, float *sums) {
    for (int p = 0; p < PARTS; p++, sums += LANES) {
        VF sum[INT8_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            sum[r] = v_load(sums + r * BLOCK_PANEL);
        for (size_t i = 0; i < n; i++) {
            VI v[8];
#pragma GCC unroll 8
            for (int g = 0; g < 8; g++)
                v[g] = vi_load(w[i].codes[g] + p * LANES * 4);
            struct unit_scales u;
            for (int h = 0; h < 2; h++) {
                u.scale[h] = v_load(w[i].scale[h] + p * LANES);
                u.shift[h] = v_load(w[i].shift[h] + p * LANES);
            }
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++)
                sum[r] = add_int8(halves, shifted, small, bits, v, &u, x + i * width + r, sum[r]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            v_store(sums + r * BLOCK_PANEL, sum[r]);
    }
}

INLINE void units_f32(const int rows, const struct panel_unit *w, size_t n, const float *x,
                      size_t width, int offset, float *sums) {
    for (int p = 0; p < PARTS; p++, sums += LANES) {
        const float *in = x;
        VF sum[F32_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            sum[r] = v_load(sums + r * BLOCK_PANEL);
        for (size_t i = 0; i < n; i++)
            for (int g = 0; g < 8; g++) {
                VI four = vi_load(w[i].codes[g] + p * LANES * 4);
                VF scale = v_load(w[i].scale[g / 4] + p * LANES);
                VF shift = v_load(w[i].shift[g / 4] + p * LANES);
#pragma GCC unroll 4
                for (int b = 0; b < 4; b++, in += width) {
                    VI code = vi_and(vi_shr32(four, 8 * b), vi_all32(255));
                    VF one = v_fma(v_from_i32(vi_sub32(code, vi_all32(offset))), scale, shift);
#pragma GCC unroll 16
                    for (int r = 0; r < rows; r++)
                        sum[r] = v_fma(v_all(in[r]), one, sum[r]);
                }
            }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            v_store(sums + r * BLOCK_PANEL, sum[r]);
    }
}

#define UNITS_INT8(rows, kind, halves, shifted, small)                                             \
    static void units_##kind##_##rows(const struct panel_unit *w, size_t n, const void *acts,      \
                                      size_t width, int bits, float *sums) {                       \
        units_int8(rows, halves, shifted, small, w, n, acts, width, bits, sums);                   \
    }
#define UNITS_F32(rows)                                                                            \
    static void units_f32_##rows(const struct panel_unit *w, size_t n, const void *acts,           \
                                 size_t width, int bits, float *sums) {                            \
        units_f32(rows, w, n, acts, width, bits, sums);                                            \
    }
#define UNITS_OF(rows)                                                                             \
    UNITS_INT8(rows, wide, 0, 0, 0)                                                                \
    UNITS_INT8(rows, offset, 0, 0, 1)                                                              \
    UNITS_INT8(rows, shift, 0, 1, 1)                                                               \
    UNITS_INT8(rows, half_offset, 1, 0, 1)                                                         \
    UNITS_INT8(rows, half_shift, 1, 1, 1)
UNITS_OF(1)
UNITS_OF(2)
UNITS_OF(4)
UNITS_F32(1)
UNITS_F32(2)
UNITS_F32(4)
UNITS_F32(8)
#if LANES == 16
UNITS_OF(8)
UNITS_OF(16)
UNITS_F32(16)
#define UNITS_NAMES(kind)                                                                          \
    { units_##kind##_1, units_##kind##_2, units_##kind##_4, units_##kind##_8, units_##kind##_16 }
static units_fn *const units_f32_of[] = {units_f32_1, units_f32_2, units_f32_4, units_f32_8,
                                         units_f32_16};
#else
#define UNITS_NAMES(kind)                                                                          \
    { units_##kind##_1, units_##kind##_2, units_##kind##_4 }
static units_fn *const units_f32_of[] = {units_f32_1, units_f32_2, units_f32_4, units_f32_8};
#endif

// [by the type's class][log2 of the rows]
static units_fn *const units_int8_of[5][5] = {UNITS_NAMES(wide), UNITS_NAMES(offset),
                                              UNITS_NAMES(shift), UNITS_NAMES(half_offset),
                                              UNITS_NAMES(half_shift)};

static size_t class_of(enum dtype t) {
    if (!is_small(t))
        return 0;
    return 1 + (has_shift(t) ? 1U : 0U) + (has_halves(t) ? 2U : 0U);
}

static int log2_of(size_t width) { return __builtin_ctzl(width); }

// Sums of some rows, ROWS_AT_ONCE at most, whole groups from acts on.
static void panel_sums(const struct linear_share *s, const unsigned char *w,
                       const unsigned char *acts, size_t rows, float *sums) {
    struct panel_unit unpacked[CHUNK_UNITS];
    const struct panel_layout *l = panel_layout(s->format);
    size_t units = s->k / UNIT, row_bytes = act_row_bytes(s->k, s->int8);
    size_t most = s->int8 ? INT8_ROWS : F32_ROWS;
    unpack_fn *unpack = unpack_of[s->format];
    units_fn *const *add = s->int8 ? units_int8_of[class_of(s->format)] : units_f32_of;
    int bits = s->int8 ? offset_bits(s->format) : block_offset(s->format);
    for (size_t i = 0; i < rows * BLOCK_PANEL; i++)
        sums[i] = 0;
    for (size_t at = 0; at < units; at += CHUNK_UNITS) {
        size_t n = units - at < CHUNK_UNITS ? units - at : CHUNK_UNITS;
        unpack(w, n, unpacked);
        w += panel_chunk_bytes(l, n);
        for (size_t row = 0; row < rows; row += ACT_ROWS) {
            size_t width = act_width(rows - row), step = width < most ? width : most;
            size_t unit_bytes = s->int8 ? sizeof(struct act_unit) : UNIT * sizeof(float);
            size_t row_size = s->int8 ? sizeof(struct act_unit) : sizeof(float);
            const unsigned char *x = acts + row * row_bytes + at * width * unit_bytes;
            for (size_t r = 0; r < width; r += step)
                add[log2_of(step)](unpacked, n, x + r * row_size, width, bits,
                                   sums + (row + r) * BLOCK_PANEL);
        }
    }
}

INLINE void finish_sums(const struct linear_share *s, const float *sums, size_t row, size_t rows,
                        size_t col) {
    size_t cols = s->cols - col < BLOCK_PANEL ? s->cols - col : BLOCK_PANEL;
    for (size_t r = 0; r < rows; r++, sums += BLOCK_PANEL) {
        float *y = s->y + (row + r) * s->ldy + col;
        const float *residual = s->residual ? s->residual + (row + r) * s->ldr + col : NULL;
        for (size_t j = 0; j < cols; j += LANES) {
            VMASK some = v_first(cols - j < LANES ? cols - j : LANES);
            VF v = v_add(v_load(sums + j), v_load(s->bias + col + j));
            if (residual)
                v = v_add(v, v_load_some(residual + j, some));
            v_store_some(y + j, v_activate(s->f, v), some);
        }
    }
}

static void linear_blocks(const struct linear_share *s) {
    // rows of the last group up to its width are computed, and not written
    float sums[ROWS_AT_ONCE * BLOCK_PANEL] __attribute__((aligned(64)));
    size_t bytes = panel_bytes(s->format, s->k), row_bytes = act_row_bytes(s->k, s->int8);
    const unsigned char *w = s->panels, *acts = s->acts;
    for (size_t col = 0; col < s->cols; col += BLOCK_PANEL, w += bytes)
        for (size_t row = 0; row < s->rows; row += ROWS_AT_ONCE) {
            size_t rows = s->rows - row < ROWS_AT_ONCE ? s->rows - row : ROWS_AT_ONCE;
            size_t rest = rows % ACT_ROWS, full = rows - rest + (rest ? act_width(rest) : 0);
            if (rows == 1 && s->int8)
                row_of[s->format](w, s->k / UNIT, (const void *)(acts + row * row_bytes), sums);
            else
                panel_sums(s, w, acts + row * row_bytes, full, sums);
            finish_sums(s, sums, row, rows, col);
        }
}

static void quantize(const float *x, size_t k, struct act_unit *to, size_t stride) {
    for (size_t at = 0; at < k; at += UNIT, x += UNIT, to += stride) {
        VF v[UNIT / LANES], most = v_zero();
        VMASK bad = v_not_finite(v_load(x));
        int any = v_any(bad);
#pragma GCC unroll 4
        for (int i = 0; i < UNIT / LANES; i++) {
            v[i] = v_load(x + i * LANES);
            most = v_max(most, v_abs(v[i]));
            any |= v_any(v_not_finite(v[i]));
        }
        float top = v_most(most), inv = 0;
        if (!any && top >= 0x1p-120F) // below, 127 / top overflows
            inv = 127.0F / top;
        to->d = any ? __builtin_nanf("") : top / 127.0F;
        if (any)
            inv = 0;
        int half[2] = {0, 0};
#pragma GCC unroll 4
        for (int i = 0; i < UNIT / LANES; i++)
            half[i * LANES / 16] +=
                v_to_i8(any ? v_zero() : v_mul(v[i], v_all(inv)), to->q + i * LANES);
        to->half[0] = half[0];
        to->half[1] = half[1];
        to->sum = half[0] + half[1];
    }
}

#endif
