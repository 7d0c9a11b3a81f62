// Prepared weights of the CPU device. Role: how parts of a file become one, and its rows read back.
// Thread rule: weight_new as team_run_beside; reading is free.
#ifndef TRINE_COMPUTE_CPU_WEIGHT_H
#define TRINE_COMPUTE_CPU_WEIGHT_H

#include "compute/cpu/weight_layout.h"

// Errors as weight_prepare.
enum err weight_new(const struct weight_maker *m, enum weight_kind kind,
                    const struct weight_part *parts, size_t n, struct precision precision,
                    struct weight **out, struct errmsg *msg) MUST_CHECK;
void weight_free(struct slab_list *slabs, struct weight *w); // NULL is fine

// Row `at` of a TABLE, or the weights of output `at` of a LINEAR, as f32 to out[cols]; the biases
// are left out. Thread rule: any thread.
void weight_read_row(const struct cpu_kernels *k, const struct weight *w, size_t at, float *out);

#endif
