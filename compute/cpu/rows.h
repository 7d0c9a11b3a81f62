// Operations that work row by row. Role: cuts the rows into shares for the team. Thread rule: as
// team_run.
#ifndef TRINE_COMPUTE_CPU_ROWS_H
#define TRINE_COMPUTE_CPU_ROWS_H

#include "compute/cpu/cpu_device.h"

typedef void rows_fn(const void *op, size_t row, int worker);

// fn(op, 0 .. rows - 1), in any order. floats_per_row: about what a row costs, in floats passed
// over once.
void rows_run(struct cpu_device *c, size_t rows, size_t floats_per_row, rows_fn *fn,
              const void *op);

#endif
