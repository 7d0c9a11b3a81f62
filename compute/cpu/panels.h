// Block-typed weights, packed for products. Role: the layout that the block kernels read, how a
// unit gets into it and a row back out of it.
// A panel is 16 neighbouring outputs over all inputs: chunks of 256 inputs (the last may be fewer),
// each with its scales in front and its codes behind, so that memory is read in one run. A unit's
// codes (32 inputs, 16 outputs) are planes of bits: byte 4 o + b of a vector of 64 bytes belongs to
// output o and inputs b, 4 + b, 8 + b ... (group g: inputs 4 g .. 4 g + 3):
//   8 bits: vector g holds group g
//   4 bits: vector j holds group j low, group 4 + j high
//   2 bits: vector j holds groups 4 j .. 4 j + 3, from the lowest bits up
//   1 bit:  bit g belongs to group g
// in this order for types made of several (5 = 4 + 1, 6 = 4 + 2, 3 = 2 + 1). It takes what the
// file's blocks take, plus 3 % for q4_K and q5_K, 5 % for q3_K, 1 % for q6_K.
// Scales of a chunk: plain types, for each unit: f16 d[16] (, f16 m[16]).
// K types: f16 d[16] (, f16 m[16]), then for each unit 32 bytes: q4_K, q5_K: u8 scale[16],
// min[16]; q6_K, q3_K: i8 scale[16] of the first half, of the second; q2_K: u8 scale | min << 4
// likewise. Then up to 32 bytes of nothing.
// Thread rule: pure functions; different panels may be written at once.
#ifndef TRINE_COMPUTE_CPU_PANELS_H
#define TRINE_COMPUTE_CPU_PANELS_H

#include "compute/blocks.h"

enum { BLOCK_PANEL = 16, CHUNK_UNITS = 8, CHUNK = CHUNK_UNITS * UNIT };

struct panel_layout {
    uint8_t planes;      // PLANE_*, a set
    uint8_t head;        // bytes of a chunk's own scales
    uint8_t unit_scales; // bytes of each unit's
    uint16_t codes;      // bytes of each unit's
};
enum { PLANE_8 = 1, PLANE_4 = 2, PLANE_2 = 4, PLANE_1 = 8 };

// t is a block type.
const struct panel_layout *panel_layout(enum dtype t);
// The scales in front of a chunk of `units`: whole cache lines.
static inline size_t panel_scales(const struct panel_layout *l, size_t units) {
    return (l->head + units * l->unit_scales + 63) / 64 * 64;
}
static inline size_t panel_chunk_bytes(const struct panel_layout *l, size_t units) {
    return panel_scales(l, units) + units * l->codes;
}
// Bytes of a panel of k inputs (whole blocks).
size_t panel_bytes(enum dtype t, size_t k);

// A unit of a panel, taken apart: what the block kernels multiply with.
struct panel_unit {
    uint8_t codes[8][64];             // [group][4 output + input in the group]
    float scale[2][16], shift[2][16]; // of each half; scale * (code - offset) + shift
} __attribute__((aligned(64)));

// Puts unit `at` of output `lane` into a panel that was zero there.
void panel_write(enum dtype t, unsigned char *panel, size_t k, size_t lane, size_t at,
                 const struct block_unit *u);
// All k values of output `lane`, as ggml's dequantize gives them.
void panel_read_row(enum dtype t, const unsigned char *panel, size_t k, size_t lane, float *out);

// Unit `at`, in plain C. iq4_nl's codes come as block_iq4_nl has them.
void panel_unit_read(enum dtype t, const unsigned char *panel, size_t k, size_t at,
                     struct panel_unit *out);

#endif
