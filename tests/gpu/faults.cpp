// Settings, faults on demand, violations.
#include "tests/gpu/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[GPU_FAULT_COUNT] = {"none", "lost", "hang", "nomem", "wrong"};

static struct gpu_emulated_settings settings;
static bool settled;
static struct {
    size_t counted, at; // at 0: none to fail
} faults[GPU_FAULT_COUNT];
static size_t violations;
static char first[400];

static size_t number(const char *name, size_t otherwise) {
    const char *said = getenv(name);
    char *end;
    unsigned long long n = said ? strtoull(said, &end, 10) : 0;
    return said && *said && !*end ? (size_t)n : otherwise;
}

static void from_environment(void) {
    settled = true;
    settings.count = (int)number("TRINE_GPU_COUNT", 1);
    settings.memory_bytes = number("TRINE_GPU_MEMORY", 512) << 20;
    settings.seed = number("TRINE_GPU_SEED", 1);
    settings.no_bf16 = number("TRINE_GPU_BF16", 1) == 0;
    settings.driver = (int)number("TRINE_GPU_DRIVER", 13000);
    const char *said = getenv("TRINE_GPU_FAULT");
    const char *at = said ? strchr(said, '@') : NULL;
    if (!at)
        return;
    for (int kind = 1; kind < GPU_FAULT_COUNT; kind++)
        if (strncmp(said, names[kind], (size_t)(at - said)) == 0 && !names[kind][at - said])
            faults[kind].at = strtoull(at + 1, NULL, 10);
}

const struct gpu_emulated_settings *faults_settings(void) {
    if (!settled)
        from_environment();
    return &settings;
}

void gpu_emulated_set(const struct gpu_emulated_settings *s) {
    faults_settings();
    settings = *s;
}

void gpu_emulated_fault(enum gpu_emulated_fault kind, size_t nth) {
    faults_settings();
    faults[kind].at = nth ? faults[kind].counted + nth : 0;
}

size_t gpu_emulated_counted(enum gpu_emulated_fault kind) { return faults[kind].counted; }

bool faults_now(enum gpu_emulated_fault kind) {
    faults_settings();
    return ++faults[kind].counted == faults[kind].at;
}

void faults_violation(const char *words) {
    if (violations++ == 0) {
        snprintf(first, sizeof first, "%s", words);
        if (!faults_settings()->quiet)
            fprintf(stderr, "emulated GPU: %s\n", words);
    }
}

size_t gpu_emulated_violations(void) { return violations; }
const char *gpu_emulated_first_violation(void) { return first; }
void gpu_emulated_forget(void) {
    violations = 0;
    first[0] = 0;
}
