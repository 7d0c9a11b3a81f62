// The tests that run on a card, and the bench, as one program: the kernels are in it once. Role:
// build/cuda-kit. Usage: gpu-tests NAME [ARGUMENT...]; without a name it lists those that there
// are.
#include <stdio.h>
#include <string.h>

// Each program's main, which the linker knows by this name (kit.mk).
#define PROGRAM(name) int main_of_##name(int argc, char **argv);
#include "programs.h"
#undef PROGRAM

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} programs[] = {
#define PROGRAM(name) {#name, main_of_##name},
#include "programs.h"
#undef PROGRAM
};

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (argc < 2)
            printf("%s\n", programs[i].name);
        else if (strcmp(argv[1], programs[i].name) == 0)
            return programs[i].run(argc - 1, argv + 1);
    }
    if (argc < 2)
        return 0;
    fprintf(stderr, "gpu-tests: there is no %s; without a name it lists them\n", argv[1]);
    return 2;
}
