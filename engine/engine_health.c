// What probes say of where models are computed. See engine.h.
#include "engine/engine.h"

#include <stdio.h>

// What becomes of what comes meanwhile.
static const char *meanwhile(const struct engine *e, bool soon) {
    if (e->spare_kind == SPARE_CPU)
        return "this process's CPU computes meanwhile";
    if (e->options.isolate && soon)
        return "what is accepted waits for it";
    return "nothing is computed until then";
}

struct engine_health engine_read_health(struct engine *e) {
    struct replica_health h = replica_health(e->replica);
    struct engine_health out = {0};
    unsigned long long life = h.life;
    if (h.condition == REPLICA_UP)
        return out;
    bool soon = h.condition == REPLICA_DOWN;
    bool served = e->spare_kind == SPARE_CPU || (soon && e->options.isolate);
    out.state = served ? ENGINE_DEGRADED : ENGINE_UNABLE;
    snprintf(out.why, sizeof out.why, "the worker %s (generation %llu ended: %s); %s",
             soon ? "is being started again" : "is given up and tried again later", life,
             *h.why ? h.why : "it did not say why", meanwhile(e, soon));
    return out;
}
