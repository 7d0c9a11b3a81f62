// The precisions by name, as the decoder's benches take them.
#ifndef TRINE_BENCH_PRECISION_H
#define TRINE_BENCH_PRECISION_H

#include "compute/device.h"
#include "tests/precisions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRECISIONS "f32|stored|int8|narrow"

// Ends the program at an unknown name.
static inline struct precision precision_named(const char *name) {
    const struct {
        const char *name;
        struct precision precision;
    } all[] = {{"f32", PRECISION_F32},
               {"stored", PRECISION_STORED},
               {"int8", PRECISION_INT8},
               {"narrow", PRECISION_NARROW}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(name, all[i].name) == 0)
            return all[i].precision;
    fprintf(stderr, "precision '%s': there are " PRECISIONS "\n", name);
    exit(2);
}

#endif
