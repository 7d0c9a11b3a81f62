// The device table's products with weights, as compute/device.h has them. Thread rule: as every
// operation.
#ifndef TRINE_COMPUTE_CPU_OPS_LINEAR_H
#define TRINE_COMPUTE_CPU_OPS_LINEAR_H

#include "compute/device.h"

void cpu_linear(struct device *d, const struct weight *w, struct mat x, struct mat y);
void cpu_linear_activate(struct device *d, const struct weight *w, struct mat x, enum activation f,
                         struct mat y);
void cpu_linear_add(struct device *d, const struct weight *w, struct mat x, struct mat y);
void cpu_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                         struct mat residual, const struct norm *n, struct mat y);

#endif
