// The precisions by name, as the decoder's benches take them.
#ifndef TRINE_BENCH_PRECISION_H
#define TRINE_BENCH_PRECISION_H

#include "compute/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRECISIONS "f32|stored|int8|narrow"

// Ends the program at an unknown name.
static inline enum precision precision_named(const char *name) {
    static const char *const names[] = {[PRECISION_F32] = "f32",
                                        [PRECISION_STORED] = "stored",
                                        [PRECISION_INT8] = "int8",
                                        [PRECISION_NARROW] = "narrow"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum precision)i;
    fprintf(stderr, "precision '%s': there are " PRECISIONS "\n", name);
    exit(2);
}

#endif
