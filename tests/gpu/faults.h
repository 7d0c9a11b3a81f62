// What goes wrong with the emulated GPU: what it was told to do wrong, and what it saw. Role:
// faults on demand (emulated_gpu.h's, or TRINE_GPU_FAULT for a worker's process), settings from the
// environment, and the count of violations. Thread rule: the emulated GPU's lock.
#ifndef TRINE_TESTS_GPU_FAULTS_H
#define TRINE_TESTS_GPU_FAULTS_H

#include "tests/gpu/emulated_gpu.h"

// As set, or as the environment says, or 1 GPU of 512 MiB.
const struct gpu_emulated_settings *faults_settings(void);

// Counts one more of what `kind` counts; true where it is the one to fail.
bool faults_now(enum gpu_emulated_fault kind);

// Counts a violation, and keeps the first one's words.
void faults_violation(const char *words);

#endif
