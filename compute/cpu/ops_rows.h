// The device table's operations that work row by row, as compute/device.h has them. Role: checks
// what is asked and hands rows to the kernels. Thread rule: as every operation.
#ifndef TRINE_COMPUTE_CPU_OPS_ROWS_H
#define TRINE_COMPUTE_CPU_OPS_ROWS_H

#include "compute/device.h"

void cpu_embed(struct device *d, const struct embed_args *a, struct mat y);
void cpu_activate(struct device *d, enum activation f, struct mat x);
void cpu_add(struct device *d, struct mat x, struct mat y);
void cpu_subtract(struct device *d, struct mat a, struct mat b, struct mat y);
void cpu_layer_norm(struct device *d, const struct norm *n, struct mat x, struct mat y);
void cpu_rms_norm(struct device *d, const struct weight *gamma, float eps, struct mat x,
                  struct mat y);
void cpu_rope_table(struct device *d, const struct rope_table_args *a);
void cpu_rope(struct device *d, const struct rope_args *a);
void cpu_swiglu(struct device *d, struct mat gate_up, struct mat y);
void cpu_gather(struct device *d, struct mat x, const int32_t *rows, struct mat y);
void cpu_pool(struct device *d, const struct pool_args *a);
void cpu_l2_normalize(struct device *d, struct mat x);
void cpu_read(struct device *d, struct mat x, float *host);

#endif
