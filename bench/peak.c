// Prints what this machine gives: fp32 multiply-adds and memory reads. Usage: peak [threads]
#include "compute/cpu/peak.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    static const char *const sets[] = {"generic", "avx2", "avx512"};
    struct cpu_options options = {.threads = argc > 1 ? atoi(argv[1]) : 0};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct errmsg msg = {0};
        struct device *d;
        struct peak peak;
        options.isa = sets[i];
        if (cpu_device_new(&options, &d, &msg) != ERR_OK) {
            printf("%-8s %s\n", sets[i], msg.text);
            continue;
        }
        if (peak_probe(d, &peak, &msg) == ERR_OK)
            printf("%s: fp32 %.1f GF/s, read %.1f GB/s\n", d->describe, peak.flops / 1e9,
                   peak.read_bytes / 1e9);
        else
            printf("%s: %s\n", d->describe, msg.text);
        cpu_device_free(d);
    }
    return 0;
}
