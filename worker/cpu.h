// The CPU as a worker's device: trine-worker's. Role: what worker_main is given; it allows nothing
// beside what every worker may do. Thread rule: main.
#ifndef TRINE_WORKER_CPU_H
#define TRINE_WORKER_CPU_H

#include "worker/worker.h"

extern const struct worker_device worker_cpu;

#endif
