// The device that a test's models run on. Role: TRINE_TEST_DEVICE=guard makes it the guarded one
// (guard_device.h), so that a second run of the same program holds that device's contract
// (tests/run.sh), TRINE_TEST_DEVICE=late the one that shows what it drew late (late_device.h),
// TRINE_TEST_DEVICE=gpu an emulated GPU (tests/gpu/); else it is the CPU's. Only tests know the
// switch.
#ifndef TRINE_TESTS_KIT_TEST_DEVICE_H
#define TRINE_TESTS_KIT_TEST_DEVICE_H

#include "compute/cpu/cpu.h"

// As cpu_device_new.
enum err test_device_new(const struct cpu_options *options, struct device **out,
                         struct errmsg *msg) MUST_CHECK;
void test_device_free(struct device *d); // NULL is fine
// The emulated GPU: it has neither kernel sets nor threads to choose from, and a workspace has room
// for rows that no forward may come to need.
bool test_device_is_gpu(void);
// The same numbers: to the bit where the device keeps them whatever else is in a batch, as all do
// but a card (gpu_under_test_keeps_bits); there within the bar, of 1 or of the number where it is
// more.
bool test_device_same(const float *got, const float *want, size_t n, double bar);

#endif
