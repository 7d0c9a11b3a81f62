// The products of block types in plain C: the oracle of lanes_blocks.h. See kernels.h.
#include "compute/cpu/blocks_generic.h"

#include <math.h>
#include <string.h>

// Sums in the order of lanes_blocks.h's vectors, and compared as there.
static float best_steps(const float x[UNIT], float one) {
    uint32_t least = UINT32_MAX;
    for (uint32_t c = 0; c < ACT_CHOICES; c++) {
        float inv = ACT_STEPS[c] * one, s[16];
        for (int i = 0; i < 16; i++) {
            float a = x[i] * inv, b = x[i + 16] * inv;
            a -= rintf(a);
            b -= rintf(b);
            s[i] = fmaf(b, b, a * a);
        }
        for (int i = 0; i < 8; i++)
            s[i] += s[i + 8];
        float low = (s[0] + s[1]) + (s[2] + s[3]), high = (s[4] + s[5]) + (s[6] + s[7]);
        float loss = (low + high) * ACT_STEP_SQUARES[c];
        uint32_t bits;
        memcpy(&bits, &loss, sizeof bits);
        bits = (bits & ~3U) | c;
        least = bits < least ? bits : least;
    }
    return ACT_STEPS[least & 3];
}

void blocks_generic_quantize(const float *x, size_t k, struct kernel_act_unit *to, size_t stride) {
    for (size_t at = 0; at < k; at += UNIT, x += UNIT, to += stride) {
        float most = 0, inv = 0, steps = ACT_STEPS[0];
        bool finite = true;
        for (size_t i = 0; i < UNIT; i++) {
            finite = finite && isfinite(x[i]);
            most = fmaxf(most, fabsf(x[i]));
        }
        // below, 127 / most overflows: what such inputs add to a sum is nothing
        if (finite && most >= 0x1p-120F) {
            const float one = 1 / most;
            steps = best_steps(x, one);
            inv = steps * one;
        }
        *to = (struct kernel_act_unit){.d = finite ? most / steps : NAN};
        for (size_t i = 0; inv > 0 && i < UNIT; i++) {
            to->q[i] = (int8_t)lrintf(x[i] * inv);
            to->minus -= to->q[i];
            to->minus_half[i / 16] -= to->q[i];
        }
    }
}

// A unit's part of one row's 16 sums.
static void add_int8(enum dtype t, const struct panel_unit *u, const struct kernel_act_unit *x,
                     float sums[BLOCK_PANEL]) {
    bool halves = t == DTYPE_Q2_K || t == DTYPE_Q3_K || t == DTYPE_Q6_K;
    int32_t offset = block_offset(t);
    for (size_t lane = 0; lane < BLOCK_PANEL; lane++) {
        int32_t dot[2] = {offset * x->minus_half[0], offset * x->minus_half[1]};
        for (size_t i = 0; i < UNIT; i++)
            dot[i / 16] += u->codes[i / 4][4 * lane + i % 4] * x->q[i];
        float v;
        if (halves) {
            v = u->scale[0][lane] * (float)dot[0];
            v += u->scale[1][lane] * (float)dot[1];
            v -= u->shift[0][lane] * (float)x->minus_half[0];
            v -= u->shift[1][lane] * (float)x->minus_half[1];
        } else {
            v = u->scale[0][lane] * (float)(dot[0] + dot[1]);
            v -= u->shift[0][lane] * (float)x->minus;
        }
        sums[lane] += v * x->d;
    }
}

static void add_f32(enum dtype t, const struct panel_unit *u, const float *x, size_t width,
                    float sums[BLOCK_PANEL]) {
    int offset = block_offset(t);
    for (size_t i = 0; i < UNIT; i++)
        for (size_t lane = 0; lane < BLOCK_PANEL; lane++) {
            int code = u->codes[i / 4][4 * lane + i % 4] - offset;
            float w = u->scale[i / 16][lane] * (float)code + u->shift[i / 16][lane];
            sums[lane] += w * x[i * width];
        }
}

static void panel_rows(const struct kernel_linear_share *s, const unsigned char *panel,
                       const unsigned char *acts, size_t rows, float sums[][BLOCK_PANEL]) {
    const void *units = acts;
    size_t width = act_width(rows);
    memset(sums, 0, rows * sizeof *sums);
    for (size_t at = 0; at < s->k / UNIT; at++) {
        struct panel_unit u;
        panel_unit_read(s->format, panel, s->k, at, &u);
        for (size_t r = 0; r < rows; r++) {
            if (s->int8)
                add_int8(s->format, &u, (const struct kernel_act_unit *)units + at * width + r,
                         sums[r]);
            else
                add_f32(s->format, &u, (const float *)units + at * UNIT * width + r, width,
                        sums[r]);
        }
    }
}

void blocks_generic_linear(const struct cpu_kernels *k, const struct kernel_linear_share *s) {
    size_t bytes = panel_bytes(s->format, s->k), row_bytes = act_row_bytes(s->k, s->int8);
    for (size_t col = 0; col < s->cols; col += BLOCK_PANEL) {
        const unsigned char *panel = (const unsigned char *)s->panels + col / BLOCK_PANEL * bytes;
        size_t n = at_most(s->cols - col, BLOCK_PANEL);
        for (size_t row = 0; row < s->rows; row += ACT_ROWS) {
            size_t rows = at_most(s->rows - row, ACT_ROWS);
            float sums[ACT_ROWS][BLOCK_PANEL];
            panel_rows(s, panel, (const unsigned char *)s->acts + row * row_bytes, rows, sums);
            for (size_t r = 0; r < rows; r++) {
                float *y = s->y + (row + r) * s->ldy + col;
                for (size_t j = 0; j < n; j++) {
                    float v = sums[r][j] + s->bias[col + j];
                    y[j] = s->residual ? v + s->residual[(row + r) * s->ldr + col + j] : v;
                }
                k->activate(s->f, y, n);
            }
        }
    }
}
