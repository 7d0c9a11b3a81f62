// The device table's attention over whole sequences, as compute/device.h has it. Role: cuts it into
// the shares that kernels.h computes. Thread rule: as every operation.
#ifndef TRINE_COMPUTE_CPU_OPS_ATTENTION_H
#define TRINE_COMPUTE_CPU_OPS_ATTENTION_H

#include "compute/device.h"

void cpu_attention(struct device *d, const struct attention_args *a);

#endif
