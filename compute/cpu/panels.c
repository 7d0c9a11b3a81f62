// See panels.h.
#include "compute/cpu/panels.h"

#include "compute/cpu/share.h"

#include <string.h>

enum { VECTOR = 64 }; // bytes

static const struct panel_layout layouts[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {PLANE_4, 0, 32, 256},
    [DTYPE_Q4_1] = {PLANE_4, 0, 64, 256},
    [DTYPE_Q5_0] = {PLANE_4 | PLANE_1, 0, 32, 320},
    [DTYPE_Q5_1] = {PLANE_4 | PLANE_1, 0, 64, 320},
    [DTYPE_Q8_0] = {PLANE_8, 0, 32, 512},
    [DTYPE_Q2_K] = {PLANE_2, 64, 32, 128},
    [DTYPE_Q3_K] = {PLANE_2 | PLANE_1, 32, 32, 192},
    [DTYPE_Q4_K] = {PLANE_4, 64, 32, 256},
    [DTYPE_Q5_K] = {PLANE_4 | PLANE_1, 64, 32, 320},
    [DTYPE_Q6_K] = {PLANE_4 | PLANE_2, 32, 32, 384},
    [DTYPE_IQ4_NL] = {PLANE_4, 0, 32, 256},
};

const struct panel_layout *panel_layout(enum dtype t) { return &layouts[t]; }

size_t panel_bytes(enum dtype t, size_t k) {
    const struct panel_layout *l = &layouts[t];
    size_t units = k / UNIT, rest = units % CHUNK_UNITS;
    return units / CHUNK_UNITS * panel_chunk_bytes(l, CHUNK_UNITS) +
           (rest ? panel_chunk_bytes(l, rest) : 0);
}

// Where a unit's scales and codes are.
struct panel_place {
    size_t head, scales, codes; // bytes from the panel's begin
};

static struct panel_place place_of(const struct panel_layout *l, size_t k, size_t at) {
    size_t units = k / UNIT, chunk = at / CHUNK_UNITS, in = at % CHUNK_UNITS;
    size_t n = at_most(units - chunk * CHUNK_UNITS, CHUNK_UNITS);
    struct panel_place p = {.head = chunk * panel_chunk_bytes(l, CHUNK_UNITS)};
    p.scales = p.head + l->head + in * l->unit_scales;
    p.codes = p.head + panel_scales(l, n) + in * l->codes;
    return p;
}

// Ors `code` into the planes at byte `at` of each vector, group g.
static void put_code(const struct panel_layout *l, unsigned char *q, size_t g, size_t at,
                     unsigned code) {
    if (l->planes & PLANE_8) {
        q[g * VECTOR + at] = (unsigned char)code;
        return;
    }
    if (l->planes & PLANE_4) {
        unsigned char *to = q + g % 4 * VECTOR + at;
        *to = (unsigned char)(*to | (code & 15U) << (g / 4 * 4));
        q += (size_t)4 * VECTOR;
        code >>= 4;
    }
    if (l->planes & PLANE_2) {
        unsigned char *to = q + g / 4 * VECTOR + at;
        *to = (unsigned char)(*to | (code & 3U) << (g % 4 * 2));
        q += (size_t)2 * VECTOR;
        code >>= 2;
    }
    if (l->planes & PLANE_1)
        q[at] = (unsigned char)(q[at] | (code & 1U) << g);
}

static unsigned get_code(const struct panel_layout *l, const unsigned char *q, size_t g,
                         size_t at) {
    if (l->planes & PLANE_8)
        return q[g * VECTOR + at];
    unsigned code = 0, shift = 0;
    if (l->planes & PLANE_4) {
        code = (unsigned)q[g % 4 * VECTOR + at] >> (g / 4 * 4) & 15U;
        shift = 4;
        q += (size_t)4 * VECTOR;
    }
    if (l->planes & PLANE_2) {
        code |= ((unsigned)q[g / 4 * VECTOR + at] >> (g % 4 * 2) & 3U) << shift;
        shift += 2;
        q += (size_t)2 * VECTOR;
    }
    if (l->planes & PLANE_1)
        code |= ((unsigned)q[at] >> g & 1U) << shift;
    return code;
}

void panel_write(enum dtype t, unsigned char *panel, size_t k, size_t lane, size_t at,
                 const struct block_unit *u) {
    const struct panel_layout *l = &layouts[t];
    struct panel_place p = place_of(l, k, at);
    bool sub = l->head != 0;
    unsigned char *d = panel + (sub ? p.head : p.scales), *s = panel + p.scales;
    memcpy(d + 2 * lane, &u->d, 2);
    if ((sub ? l->head : l->unit_scales) > 32)
        memcpy(d + 32 + 2 * lane, &u->m, 2);
    if (t == DTYPE_Q4_K || t == DTYPE_Q5_K) {
        s[lane] = (unsigned char)u->sub_scale[0];
        s[16 + lane] = u->sub_min[0];
    } else if (sub) {
        s[lane] = (unsigned char)(u->sub_scale[0] | u->sub_min[0] << 4);
        s[16 + lane] = (unsigned char)(u->sub_scale[1] | u->sub_min[1] << 4);
    }
    for (size_t i = 0; i < UNIT; i++)
        put_code(l, panel + p.codes, i / 4, 4 * lane + i % 4, u->codes[i]);
}

static void read_unit(enum dtype t, const unsigned char *panel, size_t k, size_t lane, size_t at,
                      struct block_unit *u) {
    const struct panel_layout *l = &layouts[t];
    struct panel_place p = place_of(l, k, at);
    bool sub = l->head != 0;
    const unsigned char *d = panel + (sub ? p.head : p.scales), *s = panel + p.scales;
    *u = (struct block_unit){.sub_scale = {1, 1}};
    memcpy(&u->d, d + 2 * lane, 2);
    if ((sub ? l->head : l->unit_scales) > 32)
        memcpy(&u->m, d + 32 + 2 * lane, 2);
    for (size_t h = 0; sub && h < 2; h++) {
        if (t == DTYPE_Q4_K || t == DTYPE_Q5_K) {
            u->sub_scale[h] = s[lane];
            u->sub_min[h] = s[16 + lane];
        } else if (t == DTYPE_Q2_K) {
            u->sub_scale[h] = s[16 * h + lane] & 15U;
            u->sub_min[h] = s[16 * h + lane] >> 4;
        } else {
            u->sub_scale[h] = block_signed(s[16 * h + lane]);
        }
    }
    for (size_t i = 0; i < UNIT; i++)
        u->codes[i] = (uint8_t)get_code(l, panel + p.codes, i / 4, 4 * lane + i % 4);
}

void panel_read_row(enum dtype t, const unsigned char *panel, size_t k, size_t lane, float *out) {
    for (size_t at = 0; at < k / UNIT; at++) {
        struct block_unit u;
        read_unit(t, panel, k, lane, at, &u);
        block_unit_values(t, &u, out + at * UNIT);
    }
}

void panel_unit_read(enum dtype t, const unsigned char *panel, size_t k, size_t at,
                     struct panel_unit *out) {
    bool sub = layouts[t].head != 0;
    for (size_t lane = 0; lane < BLOCK_PANEL; lane++) {
        struct block_unit u;
        read_unit(t, panel, k, lane, at, &u);
        for (size_t h = 0; h < 2; h++) {
            float m = block_f16(u.m);
            out->scale[h][lane] = block_f16(u.d) * (float)u.sub_scale[h];
            out->shift[h][lane] = sub ? -(m * (float)u.sub_min[h]) : m;
        }
        for (size_t i = 0; i < UNIT; i++)
            out->codes[i / 4][4 * lane + i % 4] =
                t == DTYPE_IQ4_NL ? block_iq4_nl[u.codes[i]] : u.codes[i];
    }
}
