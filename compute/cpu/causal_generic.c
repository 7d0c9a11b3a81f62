// Plain C kernels of causal models: the oracle for the others. See causal.h.
#include "compute/cpu/causal.h"

#include "compute/blocks.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static uint16_t half_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) // NaN
        return (uint16_t)(sign | 0x7e00U | (magnitude >> 13 & 0x1ffU));
    if (magnitude >= 0x477ff000U) // rounds to 2^16 and beyond
        return (uint16_t)(sign | 0x7c00U);
    if (magnitude <
        0x38800000U) { // subnormal: the sum's low bits are the rounded multiple of 2^-24
        float v;
        memcpy(&v, &magnitude, sizeof v);
        v += 0.5F;
        memcpy(&bits, &v, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000U));
    }
    uint32_t odd = magnitude >> 13 & 1U;
    return (uint16_t)(sign | ((magnitude - 0x38000000U + 0xfffU + odd) >> 13));
}

static void to_f16(const float *x, uint16_t *half, size_t n) {
    for (size_t i = 0; i < n; i++)
        half[i] = half_of(x[i]);
}

static float element(const struct causal_share *s, const char *from, size_t i) {
    if (s->dtype == DTYPE_F32) {
        float v;
        memcpy(&v, from + i * sizeof v, sizeof v);
        return v;
    }
    uint16_t half;
    memcpy(&half, from + i * sizeof half, sizeof half);
    return block_f16(half);
}

// Positions [from, from + n), n <= CAUSAL_PART, as [n][head_dim].
static void load_part(const struct causal_share *s, size_t from, size_t n, float *k, float *v) {
    size_t hd = s->head_dim;
    for (size_t i = 0; i < n; i++, k += hd, v += hd) {
        size_t p = from + i;
        if (!s->blocks) {
            memcpy(k, s->k + p * s->ldk, hd * sizeof *k);
            memcpy(v, s->v + p * s->ldv, hd * sizeof *v);
            continue;
        }
        size_t at = p % s->block_tokens;
        const char *block = s->blocks + (size_t)s->table[p / s->block_tokens] * s->block_bytes;
        for (size_t d = 0; d < hd; d++) {
            k[d] = element(s, block, d * s->block_tokens + at);
            v[d] = element(s, block + s->values, at * causal_width(hd) + d);
        }
    }
}

// One row over n keys and values.
static void attend(const struct causal_share *s, size_t row, const float *k, const float *v,
                   size_t n, float *state) {
    const float *q = s->q + row / s->group * s->ldq + row % s->group * s->head_dim;
    float p[CAUSAL_PART], most = -INFINITY, total = 0, *sum = state + CAUSAL_HEAD;
    memset(sum, 0, s->head_dim * sizeof *sum);
    for (size_t i = 0; i < n; i++) {
        float dot = 0;
        for (size_t d = 0; d < s->head_dim; d++)
            dot += q[d] * k[i * s->head_dim + d];
        p[i] = dot * s->scale;
        if (!(p[i] <= most)) // a NaN wins
            most = p[i];
    }
    for (size_t i = 0; i < n; i++) {
        float w = expf(p[i] - most);
        total += w;
        for (size_t d = 0; d < s->head_dim; d++)
            sum[d] += w * v[i * s->head_dim + d];
    }
    state[0] = most;
    state[1] = total;
}

static void join_state(const struct causal_share *s, float *so_far, const float *part) {
    if (part[1] == 0.0F)
        return;
    if (so_far[1] == 0.0F) {
        memcpy(so_far, part, causal_state(s->head_dim) * sizeof *part);
        return;
    }
    float most = part[0] <= so_far[0] ? so_far[0] : part[0]; // a NaN spoils both
    float old = expf(so_far[0] - most), new = expf(part[0] - most);
    so_far[0] = most;
    so_far[1] = so_far[1] * old + part[1] * new;
    for (size_t d = CAUSAL_HEAD; d < CAUSAL_HEAD + s->head_dim; d++)
        so_far[d] = so_far[d] * old + part[d] * new;
}

static void finish(const struct causal_share *s, size_t row, const float *state) {
    float *out = s->out + row / s->group * s->ldo + row % s->group * s->head_dim;
    for (size_t d = 0; d < s->head_dim; d++)
        out[d] = state[CAUSAL_HEAD + d] / state[1];
}

// The part of row r's positions that lies in [begin, begin + CAUSAL_PART).
static bool range_in_part(const struct causal_share *s, size_t r, size_t begin, size_t *from,
                          size_t *to) {
    causal_range(s, r, from, to);
    *from = at_least(*from, begin);
    *to = at_most(*to, begin + CAUSAL_PART);
    return *from < *to;
}

static void attention(const struct causal_share *s) {
    size_t size = causal_state(s->head_dim), hd = s->head_dim;
    float *k = s->scratch, *v = k + CAUSAL_PART * hd;
    float *states = v + CAUSAL_PART * hd, *part = states + s->rows * size;
    for (size_t i = 0; i < s->rows; i++)
        states[i * size + 1] = 0;
    for (size_t p = s->part_from; p < s->part_to; p++) {
        size_t begin = p * CAUSAL_PART, first, last, from, to;
        range_in_part(s, s->row, begin, &first, &to);
        range_in_part(s, s->row + s->rows - 1, begin, &from, &last);
        if (first < last)
            load_part(s, first, last - first, k, v);
        for (size_t i = 0; i < s->rows; i++) {
            float *state =
                s->partials ? s->partials + (p - s->part_from) * s->part_stride + i * size : part;
            state[1] = 0;
            if (range_in_part(s, s->row + i, begin, &from, &to))
                attend(s, s->row + i, k + (from - first) * hd, v + (from - first) * hd, to - from,
                       state);
            if (!s->partials)
                join_state(s, states + i * size, part);
        }
    }
    if (!s->partials)
        for (size_t i = 0; i < s->rows; i++)
            finish(s, s->row + i, states + i * size);
}

static void join(const struct causal_share *s) {
    size_t size = causal_state(s->head_dim), parts = s->part_to - s->part_from;
    for (size_t i = 0; i < s->rows; i++) {
        float *state = s->scratch;
        state[1] = 0;
        for (size_t p = 0; p < parts; p++)
            join_state(s, state, s->partials + p * s->part_stride + i * size);
        finish(s, s->row + i, state);
    }
}

static void rms_norm(const float *x, const float *gamma, float eps, float *y, size_t n) {
    float squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    float inv = 1.0F / sqrtf(squares / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * inv * gamma[i];
}

static void rope(float *x, const float *cos, const float *sin, size_t half) {
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

static void swiglu(const float *gate, const float *up, float *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0F + expf(-gate[i])) * up[i];
}

const struct causal_kernels causal_generic = {
    .attention = attention,
    .join = join,
    .rms_norm = rms_norm,
    .rope = rope,
    .swiglu = swiglu,
    .to_f16 = to_f16,
};
