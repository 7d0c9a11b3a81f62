// Where a CPU device takes the memory that only its operations touch: weights, caches, workspaces.
// Role: a seam for who wants to own that memory (a test's device closes it between operations);
// without one it is the system's. Thread rule: called by the thread that drives the device.
#ifndef TRINE_COMPUTE_CPU_PAGES_H
#define TRINE_COMPUTE_CPU_PAGES_H

#include <stddef.h>

struct cpu_pages {
    void *(*take)(void *ctx, size_t bytes); // 64-byte aligned, zero; NULL: there is none
    void (*give)(void *ctx, void *p, size_t bytes);
    void *ctx;
};

#endif
