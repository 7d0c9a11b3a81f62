// See fault.h.
#include "base/fault.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool armed;
static struct {
    atomic_long calls, nth;
    atomic_bool from_then_on;
} sites[FAULT_SITES];

void fault_arm(enum fault_site site, long nth, bool from_then_on) {
    atomic_store(&sites[site].calls, 0);
    atomic_store(&sites[site].nth, nth);
    atomic_store(&sites[site].from_then_on, from_then_on);
    atomic_store(&armed, true);
}

void fault_disarm(void) {
    atomic_store(&armed, false);
    for (int i = 0; i < FAULT_SITES; i++)
        atomic_store(&sites[i].nth, 0);
}

long fault_calls(enum fault_site site) { return atomic_load(&sites[site].calls); }

bool fault_arm_spec(const char *spec) {
    static const char *const names[FAULT_SITES] = {"alloc:", "file:", "thread:"};
    for (int i = 0; i < FAULT_SITES; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(spec, names[i], n) != 0)
            continue;
        char *end;
        long nth = strtol(spec + n, &end, 10);
        bool on = *end == '+';
        if (nth < 1 || end == spec + n || end[on] != '\0')
            return false;
        fault_arm((enum fault_site)i, nth, on);
        return true;
    }
    return false;
}

bool fault_hit(enum fault_site site) {
    if (!atomic_load_explicit(&armed, memory_order_relaxed))
        return false;
    long nth = atomic_load(&sites[site].nth);
    if (nth == 0)
        return false;
    long call = atomic_fetch_add(&sites[site].calls, 1) + 1;
    return call == nth || (call > nth && atomic_load(&sites[site].from_then_on));
}
