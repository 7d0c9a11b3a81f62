// The draw of device.h. Role: rows to the device's threads, a sequence a task. Thread rule: as
// device.h.
#ifndef TRINE_COMPUTE_CPU_OPS_DRAW_H
#define TRINE_COMPUTE_CPU_OPS_DRAW_H

#include "compute/device.h"

size_t ops_draw_bytes(const struct device *d, size_t vocab);
void ops_draw(struct device *d, const struct draw_args *a, struct arena *ws);

#endif
