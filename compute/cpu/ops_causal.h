// The device table's causal attention, as compute/device.h has it. Role: cuts it into the shares
// that causal.h computes. Thread rule: as every operation.
#ifndef TRINE_COMPUTE_CPU_OPS_CAUSAL_H
#define TRINE_COMPUTE_CPU_OPS_CAUSAL_H

#include "compute/device.h"

void cpu_paged_attention(struct device *d, const struct paged_attention_args *a);
// `attention` where it is causal.
void cpu_causal_attention(struct device *d, const struct attention_args *a);

// What the planner works on: taken with the device, of no cost until used.
struct causal_plan;
enum err ops_causal_plan_new(struct causal_plan **out, struct errmsg *msg) MUST_CHECK;
void ops_causal_plan_free(struct causal_plan *p); // NULL is fine

#endif
