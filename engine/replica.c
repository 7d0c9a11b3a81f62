// See replica.h: what all kinds share.
#include "engine/replica.h"

#include <stdio.h>

const char *replica_loss_name(enum replica_loss loss) {
    static const char *const names[LOSS_COUNT] = {
        [LOSS_EXIT] = "exit",       [LOSS_KILLED] = "killed",     [LOSS_HANG] = "hang",
        [LOSS_NUMBERS] = "numbers", [LOSS_PROTOCOL] = "protocol", [LOSS_MEMORY] = "memory",
        [LOSS_START] = "start",
    };
    return names[loss];
}

void replica_name_request(struct replica_work *w, const char *id) {
    if (id && w->request_count < CRASH_IDS)
        snprintf(w->requests[w->request_count++], CRASH_ID_BYTES, "%s", id);
}
