// See worker_replica.h.
#include "tests/kit/worker_replica.h"

#include "base/log.h"
#include "tests/kit/await.h"
#include "tests/kit/worker_driver.h"

#include <signal.h>

static struct spawner *spawner;
static char program[4096];

enum err worker_replica_begin(struct errmsg *msg) {
    enum err e = spawner_start(&spawner, msg);
    log_init(LOG_LEVEL_OFF, false);
    driver_find_program("trine-worker", program, sizeof program);
    return e;
}

void worker_replica_end(void) { spawner_stop(spawner); }

struct replica_worker_options worker_replica_options(struct replica *reference,
                                                     struct replica *like) {
    return (struct replica_worker_options){
        .spawner = spawner,
        .program = program,
        .threads = 1,
        .watchdog_us = 60000000, // the machine may be slow
        .backoff_least_us = 1000,
        .backoff_most_us = 10000,
        .reference = reference,
        .like = like,
        .quarantine = like != NULL,
        .idle_us = 100000,
        .region_bytes = (size_t)32 << 20,
    };
}

enum err worker_replica_new(struct replica *reference, struct replica *like, struct replica **out,
                            struct errmsg *msg) {
    struct replica_worker_options o = worker_replica_options(reference, like);
    return replica_worker_new(&o, out, msg);
}

bool worker_replica_await(struct replica *r, uint64_t life) {
    struct replica_health h;
    WAIT_UNTIL((h = replica_health(r)).condition == REPLICA_UP && h.life >= life);
    return h.condition == REPLICA_UP && h.life >= life;
}

bool worker_replica_kill(struct replica *r) {
    struct replica_health h = replica_health(r);
    if (h.condition != REPLICA_UP || h.pid <= 0 || kill((pid_t)h.pid, SIGKILL) != 0)
        return false;
    WAIT_UNTIL(replica_health(r).life != h.life);
    return true;
}
