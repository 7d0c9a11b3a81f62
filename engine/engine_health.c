// What probes say of where models are computed. See engine.h.
#include "engine/engine.h"

#include <stdio.h>

// What becomes of what comes meanwhile.
static const char *meanwhile(const struct engine *e, const struct replica_health *h) {
    if (e->spare_kind == SPARE_CPU)
        return "this process's CPU computes meanwhile";
    if (e->options.isolate && h->condition == REPLICA_DOWN)
        return "what is accepted waits for it";
    return "nothing is computed until then";
}

static const char *what_comes(const struct replica_health *h) {
    if (h->condition == REPLICA_DOWN)
        return "is being started again";
    switch (h->again) {
    case REPLICA_AGAIN_LATER:
        return "is given up and tried again later";
    case REPLICA_AGAIN_GONE:
        return "is given up, and tried again when its process is gone, which cannot be killed";
    default:
        return "is given up for good";
    }
}

struct engine_health engine_read_health(struct engine *e) {
    struct replica_health h = replica_health(e->replica);
    struct engine_health out = {0};
    if (e->unused[0]) {
        out.state = ENGINE_DEGRADED;
        snprintf(out.why, sizeof out.why, "the GPU is not used, this process's CPU computes: %s",
                 e->unused);
    }
    if (h.condition == REPLICA_UP)
        return out;
    bool down = h.condition == REPLICA_DOWN;
    bool served = e->spare_kind == SPARE_CPU || (down && e->options.isolate);
    bool never = !down && h.again == REPLICA_AGAIN_NEVER;
    out.state = served ? ENGINE_DEGRADED : ENGINE_UNABLE;
    out.over = never && !served;
    snprintf(out.why, sizeof out.why, "the worker %s (generation %llu%s: %s); %s", what_comes(&h),
             (unsigned long long)h.life, never ? " was the last" : " ended",
             *h.why ? h.why : "it did not say why", meanwhile(e, &h));
    return out;
}
