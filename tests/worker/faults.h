// The main of a worker's program that makes faults on demand (TRINE_WORKER_FAULTS; docs/worker.md),
// on whatever device. Without that variable it is the program itself. Thread rule: main.
#ifndef TRINE_TESTS_WORKER_FAULTS_H
#define TRINE_TESTS_WORKER_FAULTS_H

#include "worker/worker.h"

int worker_faults_main(int argc, char **argv, const struct worker_device *device);

#endif
