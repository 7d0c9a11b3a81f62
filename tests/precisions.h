// The precisions that models use, by the names that tests and benches give them.
#ifndef TRINE_TESTS_PRECISIONS_H
#define TRINE_TESTS_PRECISIONS_H

#include "compute/device.h"

#define PRECISION_F32                                                                              \
    ((struct precision){.storage = WEIGHT_STORAGE_F32, .rounding = ACTIVATION_ROUNDING_NONE})
#define PRECISION_STORED                                                                           \
    ((struct precision){.storage = WEIGHT_STORAGE_STORED, .rounding = ACTIVATION_ROUNDING_NONE})
#define PRECISION_INT8                                                                             \
    ((struct precision){.storage = WEIGHT_STORAGE_STORED, .rounding = ACTIVATION_ROUNDING_INT8})
#define PRECISION_NARROW                                                                           \
    ((struct precision){.storage = WEIGHT_STORAGE_STORED, .rounding = ACTIVATION_ROUNDING_NARROW})

#endif
