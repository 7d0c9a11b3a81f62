// The device table's causal operations, as compute/device.h has them. Role: cuts them into the
// shares that causal.h computes; ops.c puts them into the table.
#ifndef TRINE_COMPUTE_CPU_OPS_CAUSAL_H
#define TRINE_COMPUTE_CPU_OPS_CAUSAL_H

#include "compute/device.h"

void cpu_rms_norm(struct device *d, const struct weight *gamma, float eps, struct mat x,
                  struct mat y);
void cpu_rope(struct device *d, const struct rope_args *a);
void cpu_swiglu(struct device *d, struct mat gate_up, struct mat y);
void cpu_gather(struct device *d, struct mat x, const int32_t *rows, struct mat y);
size_t cpu_kv_block_bytes(const struct device *d, const struct kv_shape *shape);
enum err cpu_kv_new(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                    struct errmsg *msg);
void cpu_kv_free(struct device *d, struct kv_cache *kv);
void cpu_kv_store(struct device *d, const struct kv_store_args *a);
void cpu_paged_attention(struct device *d, const struct paged_attention_args *a);
// `attention` where it is causal.
void cpu_causal_attention(struct device *d, const struct attention_args *a);
void cpu_each(struct device *d, size_t tasks, void (*fn)(void *ctx, size_t task, int worker),
              void *ctx);

// What the planner of attention works on: taken with the device, of no cost until used.
struct causal_plan;
enum err causal_plan_new(struct causal_plan **out, struct errmsg *msg) MUST_CHECK;
void causal_plan_free(struct causal_plan *p); // NULL is fine

#endif
