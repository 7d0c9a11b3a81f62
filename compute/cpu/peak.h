// Probes this machine's limits: products of fp32, int8 and bf16 pairs, and memory reads. Role:
// benches print their share of it, since the CPU's make alone does not say what a shared machine
// gives just now. Thread rule: one caller at a time; takes the team's threads for about a third of
// a second.
#ifndef TRINE_COMPUTE_CPU_PEAK_H
#define TRINE_COMPUTE_CPU_PEAK_H

#include "compute/cpu/cpu.h"

struct peak {
    double flops;      // fp32 operations a second (a multiply-add is two), all threads together
    double read_bytes; // bytes a second, all threads together
};

// d is a CPU device: its threads and kernel set are probed, best of several rounds. ERR_NOMEM.
enum err peak_probe(struct device *d, struct peak *out, struct errmsg *msg) MUST_CHECK;
// The multiply-adds only: a few milliseconds, to be asked again beside each timing.
double peak_probe_flops(struct device *d);
double peak_probe_int8(struct device *d);  // of 8-bit integers
double peak_probe_pairs(struct device *d); // of pairs of bf16; 0 where the kernel set has none

#endif
