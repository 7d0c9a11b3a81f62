// The device table's draw, as compute/device.h has it. Role: hands sequences to the team, each a
// task. Thread rule: as every operation.
#ifndef TRINE_COMPUTE_CPU_OPS_DRAW_H
#define TRINE_COMPUTE_CPU_OPS_DRAW_H

#include "compute/device.h"

size_t cpu_draw_bytes(const struct device *d, size_t vocab);
void cpu_draw(struct device *d, const struct draw_args *a, struct arena *ws);

#endif
