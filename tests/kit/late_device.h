// A device for tests: the CPU's, as one that computes behind the caller's back would be seen. Role:
// it keeps the tokens that it draws (drawn_slots), takes EMBED_DRAWN for them, and gives the
// results of a draw when its mark has been waited for, or all has, and not before: until then the
// parts hold numbers that are none. More draws under way than a card takes, a slot that is none, or
// a token of a slot that nothing was drawn for fail the device. Thread rule: as compute/device.h.
#ifndef TRINE_TESTS_KIT_LATE_DEVICE_H
#define TRINE_TESTS_KIT_LATE_DEVICE_H

#include "compute/cpu/cpu.h"

enum { LATE_SLOTS = 1024, LATE_DRAWS_MOST = 2 };

// As cpu_device_new. Freed by the table's `free`.
enum err late_device_new(const struct cpu_options *options, struct device **out,
                         struct errmsg *msg) MUST_CHECK;
// Makes that of a CPU's device, which is freed by its table's `free` from then on. ERR_NOMEM.
enum err late_device_of(struct device *d, struct errmsg *msg) MUST_CHECK;
// So far: draws, and forwards that began with a token that nobody had seen.
void late_device_counts(const struct device *d, size_t *draws, size_t *unseen);

#endif
