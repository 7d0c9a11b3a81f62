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
    AHEAD = 4096,            // bytes of weights asked for before they are used,
    F32_ROWS = LANES,        // in registers, of one panel
    INT8_ROWS = 4,           // of TILE_PANELS panels: a row's bytes are broadcast once for both
    TILE_PANELS = LANES / 8, // (AVX2 has the registers for one)
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

struct lanes_unit_scales {
    VF scale[2], shift[2]; // [1]: of types with halves only; shift: of types with shifts
};

// head: the chunk's scales; s: the unit's (plain types: head is theirs); of lanes from `lane` on.
INLINE struct lanes_unit_scales unit_scales(const enum dtype t, const unsigned char *head,
                                            const unsigned char *s, int lane) {
    struct lanes_unit_scales u;
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

// dot += the products of groups [from, from + groups).
INLINE void add_dots(const int rows, const int n, const int small, const int from, const int groups,
                     VI v[][8], const struct kernel_act_unit *x, VI dot[][TILE_PANELS]) {
#pragma GCC unroll 8
    for (int g = from; g < from + groups; g++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t four;
            __builtin_memcpy(&four, x[r].q + 4 * g, sizeof four);
            VI in = vi_all32(four);
#pragma GCC unroll 2
            for (int i = 0; i < n; i++)
                dot[r][i] =
                    small ? vi_dot_small(dot[r][i], v[i][g], in) : vi_dot(dot[r][i], v[i][g], in);
        }
}

// What a unit adds to the sums of `rows` neighbouring rows, of n panels at once. Input by input
// over all of them: as many chains of products as that run side by side. small: codes below 64.
INLINE void add_int8(const int rows, const int n, const int halves, const int shifted,
                     const int small, int bits, VI v[][8], const struct lanes_unit_scales *u,
                     const struct kernel_act_unit *x, VF sum[][TILE_PANELS]) {
    VI dot[INT8_ROWS][TILE_PANELS];
    VF all[INT8_ROWS][TILE_PANELS];
#pragma GCC unroll 2
    for (int h = 0; h <= halves; h++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int i = 0; i < n; i++)
                dot[r][i] =
                    shifted ? vi_zero()
                            : vi_shl32(vi_all32(halves ? x[r].minus_half[h] : x[r].minus), bits);
        add_dots(rows, n, small, halves ? 4 * h : 0, halves ? 4 : 8, v, x, dot);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int i = 0; i < n; i++) {
                VF f = v_from_i32(dot[r][i]);
                all[r][i] = h ? v_fma(u[i].scale[h], f, all[r][i]) : v_mul(u[i].scale[h], f);
                if (shifted) {
                    VI minus = vi_all32(halves ? x[r].minus_half[h] : x[r].minus);
                    all[r][i] = v_fnma(u[i].shift[h], v_from_i32(minus), all[r][i]);
                }
            }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int i = 0; i < n; i++)
            sum[r][i] = v_fma(all[r][i], v_all(x[r].d), sum[r][i]);
}

INLINE int is_small(const enum dtype t) { return t != DTYPE_Q8_0 && t != DTYPE_IQ4_NL; }

// One row and one panel; memory is read as it lies.
INLINE void row_int8(const enum dtype t, const unsigned char *w, size_t units,
                     const struct kernel_act_unit *x, float *sums) {
    const struct panel_layout l = *panel_layout(t);
    const size_t lines = (l.codes + l.unit_scales + 63U + l.head / CHUNK_UNITS) / 64;
    VF sum[PARTS];
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++)
        sum[p] = v_zero();
    for (size_t at = 0; at < units; at += CHUNK_UNITS) {
        size_t n = at_most(units - at, CHUNK_UNITS);
        const unsigned char *head = w, *s = w + l.head, *q = w + panel_scales(&l, n);
        for (size_t i = 0; i < n; i++, x++, s += l.unit_scales, q += l.codes) {
            for (size_t j = 0; j < lines; j++)
                __builtin_prefetch(q + AHEAD + j * 64, 0, 3);
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++) {
                VI v[1][8];
                unit_codes(t, q + p * LANES * 4, v[0]);
                struct lanes_unit_scales u = unit_scales(t, head, s, p * LANES);
                VF one[1][TILE_PANELS] = {{sum[p]}};
                add_int8(1, 1, has_halves(t), has_shift(t), is_small(t), offset_bits(t), v, &u, x,
                         one);
                sum[p] = one[0][0];
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
            struct lanes_unit_scales u = unit_scales(t, w, s, p * LANES);
            for (int h = 0; h < 2; h++) {
                v_store(out->scale[h] + p * LANES, u.scale[h]);
                v_store(out->shift[h] + p * LANES, u.shift[h]);
            }
        }
    }
}

typedef void row_fn(const unsigned char *w, size_t units, const struct kernel_act_unit *x,
                    float *sums);
typedef void unpack_fn(const unsigned char *w, size_t n, struct panel_unit *out);

#define BLOCK_TYPES(_)                                                                             \
    _(Q4_0) _(Q4_1) _(Q5_0) _(Q5_1) _(Q8_0) _(Q2_K) _(Q3_K) _(Q4_K) _(Q5_K) _(Q6_K) _(IQ4_NL)
#define BLOCK_FUNCTIONS(t)                                                                         \
    static void row_##t(const unsigned char *w, size_t units, const struct kernel_act_unit *x,     \
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

// `rows` neighbouring rows of a group of `width`, n units of TILE_PANELS panels
// (w[p][CHUNK_UNITS]): added to sums[p * stride + row * BLOCK_PANEL].
typedef void units_fn(const struct panel_unit *w, size_t n, const void *acts, size_t width,
                      int bits, float *sums, size_t stride);

INLINE void units_int8(const int rows, const int halves, const int shifted, const int small,
                       const struct panel_unit *w, size_t n, const struct kernel_act_unit *x,
                       size_t width, int bits, float *sums, size_t stride) {
    for (int p = 0; p < PARTS; p++, sums += LANES) {
        VF sum[INT8_ROWS][TILE_PANELS];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int j = 0; j < TILE_PANELS; j++)
                sum[r][j] = v_load(sums + (size_t)j * stride + r * BLOCK_PANEL);
        for (size_t i = 0; i < n; i++) {
            VI v[TILE_PANELS][8];
            struct lanes_unit_scales u[TILE_PANELS];
#pragma GCC unroll 2
            for (int j = 0; j < TILE_PANELS; j++) {
                const struct panel_unit *one = &w[j * CHUNK_UNITS + (int)i];
#pragma GCC unroll 8
                for (int g = 0; g < 8; g++)
                    v[j][g] = vi_load(one->codes[g] + p * LANES * 4);
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    u[j].scale[h] = v_load(one->scale[h] + p * LANES);
                    u[j].shift[h] = v_load(one->shift[h] + p * LANES);
                }
            }
            add_int8(rows, TILE_PANELS, halves, shifted, small, bits, v, u, x + i * width, sum);
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int j = 0; j < TILE_PANELS; j++)
                v_store(sums + (size_t)j * stride + r * BLOCK_PANEL, sum[r][j]);
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
                                      size_t width, int bits, float *sums, size_t stride) {        \
        units_int8(rows, halves, shifted, small, w, n, acts, width, bits, sums, stride);           \
    }
#define UNITS_F32(rows)                                                                            \
    static void units_f32_##rows(const struct panel_unit *w, size_t n, const void *acts,           \
                                 size_t width, int bits, float *sums, size_t stride) {             \
        for (int p = 0; p < TILE_PANELS; p++)                                                      \
            units_f32(rows, w + p * CHUNK_UNITS, n, acts, width, bits, sums + (size_t)p * stride); \
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
UNITS_F32(16)
#endif
#define UNITS_NAMES(kind)                                                                          \
    { units_##kind##_1, units_##kind##_2, units_##kind##_4 }

// [log2 of the rows]
static units_fn *const units_f32_of[] = {units_f32_1, units_f32_2, units_f32_4, units_f32_8,
#if LANES == 16
                                         units_f32_16
#endif
};
// [by the type's class][log2 of the rows]
static units_fn *const units_int8_of[5][3] = {UNITS_NAMES(wide), UNITS_NAMES(offset),
                                              UNITS_NAMES(shift), UNITS_NAMES(half_offset),
                                              UNITS_NAMES(half_shift)};

static size_t class_of(enum dtype t) {
    if (!is_small(t))
        return 0;
    return 1 + (has_shift(t) ? 1U : 0U) + (has_halves(t) ? 2U : 0U);
}

static int log2_of(size_t width) { return __builtin_ctzl(width); }

// Sums of some rows, ROWS_AT_ONCE at most, whole groups from acts on, and TILE_PANELS panels, or
// one: the other is then the same again.
static void panel_sums(const struct kernel_linear_share *s, const unsigned char *const *panels,
                       const unsigned char *acts, size_t rows, float *sums) {
    enum { STRIDE = ROWS_AT_ONCE * BLOCK_PANEL };
    struct panel_unit unpacked[TILE_PANELS][CHUNK_UNITS];
    const struct panel_layout *l = panel_layout(s->format);
    size_t units = s->k / UNIT, row_bytes = act_row_bytes(s->k, s->int8);
    size_t most = s->int8 ? INT8_ROWS : F32_ROWS;
    size_t row_size = s->int8 ? sizeof(struct kernel_act_unit) : sizeof(float);
    size_t unit_size = s->int8 ? sizeof(struct kernel_act_unit) : UNIT * sizeof(float);
    units_fn *const *add = s->int8 ? units_int8_of[class_of(s->format)] : units_f32_of;
    int bits = s->int8 ? offset_bits(s->format) : block_offset(s->format);
    for (size_t p = 0; p < TILE_PANELS; p++)
        for (size_t i = 0; i < rows * BLOCK_PANEL; i++)
            sums[p * STRIDE + i] = 0;
    for (size_t at = 0; at < units; at += CHUNK_UNITS) {
        size_t n = at_most(units - at, CHUNK_UNITS);
        for (size_t p = 0; p < TILE_PANELS; p++)
            unpack_of[s->format](panels[p] + at / CHUNK_UNITS * panel_chunk_bytes(l, CHUNK_UNITS),
                                 n, unpacked[p]);
        for (size_t row = 0; row < rows; row += ACT_ROWS) {
            size_t width = act_width(rows - row), step = at_most(width, most);
            const unsigned char *x = acts + row * row_bytes + at * width * unit_size;
            for (size_t r = 0; r < width; r += step)
                add[log2_of(step)](unpacked[0], n, x + r * row_size, width, bits,
                                   sums + (row + r) * BLOCK_PANEL, STRIDE);
        }
    }
}

INLINE void finish_sums(const struct kernel_linear_share *s, const float *sums, size_t row,
                        size_t rows, size_t col) {
    size_t cols = at_most(s->cols - col, BLOCK_PANEL);
    for (size_t r = 0; r < rows; r++, sums += BLOCK_PANEL) {
        float *y = s->y + (row + r) * s->ldy + col;
        const float *residual = s->residual ? s->residual + (row + r) * s->ldr + col : NULL;
        for (size_t j = 0; j < cols; j += LANES) {
            VMASK some = v_first(at_most(cols - j, LANES));
            VF v = v_add(v_load(sums + j), v_load(s->bias + col + j));
            if (residual)
                v = v_add(v, v_load_some(residual + j, some));
            v_store_some(y + j, v_activate(s->f, v), some);
        }
    }
}

static void linear_rows(const struct kernel_linear_share *s) {
    // rows of the last group up to its width are computed, and not written
    float sums[TILE_PANELS][ROWS_AT_ONCE * BLOCK_PANEL] __attribute__((aligned(64)));
    size_t bytes = panel_bytes(s->format, s->k), row_bytes = act_row_bytes(s->k, s->int8);
    const unsigned char *w = s->panels, *acts = s->acts;
    for (size_t col = 0; col < s->cols; col += TILE_PANELS * BLOCK_PANEL) {
        const unsigned char *panels[TILE_PANELS];
        size_t n = 0;
        for (size_t p = 0; p < TILE_PANELS; p++) {
            n += col + p * BLOCK_PANEL < s->cols ? 1 : 0;
            panels[p] = w + (col / BLOCK_PANEL + n - 1) * bytes;
        }
        for (size_t row = 0; row < s->rows; row += ROWS_AT_ONCE) {
            size_t rows = at_most(s->rows - row, ROWS_AT_ONCE);
            size_t rest = rows % ACT_ROWS, full = rows - rest + (rest ? act_width(rest) : 0);
            panel_sums(s, panels, acts + row * row_bytes, full, sums[0]);
            for (size_t p = 0; p < n; p++)
                finish_sums(s, sums[p], row, rows, col + p * BLOCK_PANEL);
        }
    }
}

static void linear_blocks(const struct kernel_linear_share *s) {
    if (s->rows > 1 || !s->int8) {
        linear_rows(s);
        return;
    }
    float sums[BLOCK_PANEL] __attribute__((aligned(64)));
    size_t bytes = panel_bytes(s->format, s->k);
    const unsigned char *w = s->panels;
    for (size_t col = 0; col < s->cols; col += BLOCK_PANEL, w += bytes) {
        row_of[s->format](w, s->k / UNIT, s->acts, sums);
        finish_sums(s, sums, 0, 1, col);
    }
}

// The step, of ACT_STEPS to the largest value, at which rounding loses least. The same order of
// sums in every set.
INLINE float best_steps(const VF v[UNIT / LANES], float one) {
    VF sums[ACT_CHOICES];
    float loss[ACT_CHOICES];
#pragma GCC unroll 4
    for (int c = 0; c < ACT_CHOICES; c++) {
        VF inv = v_all(ACT_STEPS[c] * one), half[UNIT / LANES / 2];
#pragma GCC unroll 2
        for (int i = 0; i < UNIT / LANES / 2; i++) {
            VF a = v_off(v_mul(v[i], inv)), b = v_off(v_mul(v[i + UNIT / LANES / 2], inv));
            half[i] = v_fma(b, b, v_mul(a, a));
        }
        sums[c] = UNIT / LANES == 2 ? half[0] : v_add(half[0], half[UNIT / LANES / 2 - 1]);
    }
    v_sum_four(sums, loss);
    // floats of one sign compare as integers: no branch that nobody can foresee
    uint32_t least = UINT32_MAX;
#pragma GCC unroll 4
    for (uint32_t c = 0; c < ACT_CHOICES; c++) {
        float l = loss[c] * ACT_STEP_SQUARES[c];
        uint32_t bits;
        __builtin_memcpy(&bits, &l, sizeof bits);
        bits = (bits & ~3U) | c;
        least = bits < least ? bits : least;
    }
    return ACT_STEPS[least & 3];
}

static void quantize(const float *x, size_t k, struct kernel_act_unit *to, size_t stride) {
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
        float top = v_most(most), inv = 0, steps = ACT_STEPS[0];
        if (!any && top >= 0x1p-120F) { // below, 127 / top overflows
            const float one = 1 / top;
            steps = best_steps(v, one);
            inv = steps * one;
        }
        to->d = any ? __builtin_nanf("") : top / steps;
        int half[2] = {0, 0};
#pragma GCC unroll 4
        for (int i = 0; i < UNIT / LANES; i++)
            half[i * LANES / 16] +=
                v_to_i8(any ? v_zero() : v_mul(v[i], v_all(inv)), to->q + i * LANES);
        to->minus_half[0] = -half[0];
        to->minus_half[1] = -half[1];
        to->minus = -half[0] - half[1];
    }
}

#endif
