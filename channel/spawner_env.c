// What a child sees of the environment: a list of names that are let through, so that a key or a
// token (HF_TOKEN, TRINE_API_KEY, whatever an operator calls it) never reaches it by being
// forgotten. Thread rule: the spawner's one thread.
#include "channel/spawner_internal.h"

#include <string.h>

// Whole names.
static const char *const names[] = {"TRINE_CPU",       "TRINE_GEMM",     "TRINE_WORKER_FAULTS",
                                    "TRINE_CUDA_LIBS", "LANG",           "LC_ALL",
                                    "LC_CTYPE",        "LC_MESSAGES",    "TZ",
                                    "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "OMP_NUM_THREADS",
                                    "GCOV_PREFIX"};
// OpenBLAS's and the C library's switches, those of the CUDA libraries, and the emulated GPU's.
static const char *const beginnings[] = {"OPENBLAS_", "MALLOC_", "CUDA_", "NVIDIA_", "TRINE_GPU_"};
// ASAN_OPTIONS, UBSAN_OPTIONS and their kin; where a sanitizer finds its symbolizer.
static const char *const endings[] = {"SAN_OPTIONS", "_SYMBOLIZER_PATH"};

static bool passes(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == n && memcmp(name, names[i], n) == 0)
            return true;
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (n > strlen(beginnings[i]) && memcmp(name, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t end = strlen(endings[i]);
        if (n > end && memcmp(name + n - end, endings[i], end) == 0)
            return true;
    }
    return false;
}

void spawner_env_filter(char *const *all, char **to, size_t room) {
    size_t n = 0;
    for (; all && *all && n + 1 < room; all++) {
        const char *equals = strchr(*all, '=');
        if (equals && passes(*all, (size_t)(equals - *all)))
            to[n++] = *all;
    }
    to[n] = NULL;
}
