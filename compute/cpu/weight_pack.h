// Copies the parts of a file into a weight's memory. Role: reading, converting, packing, and the
// check that all values are finite; weight.c says what goes where. Thread rule: as team_run_beside.
#ifndef TRINE_COMPUTE_CPU_WEIGHT_PACK_H
#define TRINE_COMPUTE_CPU_WEIGHT_PACK_H

#include "compute/cpu/weight_layout.h"

enum { MAX_PANEL = 32 }; // outputs in a panel of floats, at most

// The part's w, [rows, cols], to plain rows: of f32, or as they are stored (heads not interleaved).
enum err weight_pack_plain(const struct weight_maker *m, const struct weight_part *p, size_t rows,
                           size_t cols, void *to, bool stored, struct errmsg *msg) MUST_CHECK;
// The part's w to the segment's outputs from `first` on.
enum err weight_pack_part(const struct weight_maker *m, const struct weight_part *p,
                          const struct weight_segment *to, size_t first,
                          struct errmsg *msg) MUST_CHECK;
// The part's bias to f32; to[rows].
enum err weight_pack_bias(const struct weight_maker *m, const struct weight_part *p, float *to,
                          struct errmsg *msg) MUST_CHECK;

#endif
