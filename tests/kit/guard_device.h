// A device for tests: the CPU's, with its memory closed (PROT_NONE) whenever no operation runs.
// Role: it ends a program that touches a workspace, a weight or a cache in any other way than by an
// operation of the table (compute/device.h), by SIGSEGV where it does so. Thread rule: as
// compute/device.h; the memory is open for all while any call of the table runs.
#ifndef TRINE_TESTS_KIT_GUARD_DEVICE_H
#define TRINE_TESTS_KIT_GUARD_DEVICE_H

#include "compute/cpu/cpu.h"

// options->pages is its own. Errors as cpu_device_new. Freed by the table's `free`.
enum err guard_device_new(const struct cpu_options *options, struct device **out,
                          struct errmsg *msg) MUST_CHECK;
size_t guard_device_operations(const struct device *d); // that ran so far
size_t guard_device_bytes(const struct device *d);      // of its memory that are in use now

#endif
