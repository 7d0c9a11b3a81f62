// Encoding jobs over a real worker process that is killed again and again while it computes, with
// this process's CPU beside it, or a quarantine: each job is done once, with the bits that it has
// without any of it.
#include "tests/kit/await.h"
#include "tests/kit/worker_replica.h"
#include "tests/unit/loss_kit.h"

enum { CLIENTS = 3, KINDS = 12, AT_ONCE = 4, KILLS = 20 };

static struct test_job *first[KINDS];
static float *rows[KINDS];

static struct test_job *job_of(uint32_t kind) {
    size_t seqs = kind % 3 == 0 ? 20 + kind : 1 + kind % 3;
    return job_new(loss_models[kind % 2], seqs, 20, kind + 1,
                   kind % 3 == 0 ? LANE_BULK : LANE_INTERACTIVE);
}

static struct replica *worker_new(struct replica *like) {
    struct errmsg msg = {0};
    struct replica *r = NULL;
    CHECK_OK(worker_replica_new(loss_locals[1], like, &r, &msg), msg);
    if (!r)
        exit(check_done());
    for (int i = 0; i < 2; i++)
        CHECK_OK(kit_replica_load(r, loss_models[i], &msg), msg);
    return r;
}

struct client {
    struct scheduler *s;
    uint32_t seed;
    int done, wrong;
};

static atomic_bool enough;

static void *client_thread(void *arg) {
    struct client *c = arg;
    uint32_t x = c->seed;
    while (!atomic_load(&enough)) {
        struct test_job *t[AT_ONCE];
        uint32_t kinds[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            x = x * 1664525u + 1013904223u;
            kinds[i] = (x >> 8) % KINDS;
            t[i] = job_of(kinds[i]);
            scheduler_submit(c->s, &t[i]->job);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            while (atomic_load(&t[i]->ends) == 0)
                await_nap();
            c->done++;
            c->wrong += t[i]->job.err != ERR_OK || atomic_load(&t[i]->ends) != 1 ||
                        !loss_is_right(t[i], rows[kinds[i]]);
            job_free(t[i]);
        }
    }
    return NULL;
}

// Kills the process as soon as it has computed something.
static void kill_one(struct replica *r) {
    WAIT_UNTIL(replica_health(r).condition == REPLICA_UP && replica_health(r).completed >= 3);
    CHECK(replica_health(r).completed >= 3);
    CHECK(worker_replica_kill(r));
}

static void killed_again_and_again(enum scheduler_spare kind) {
    struct replica *main = worker_new(NULL);
    struct loss_rig rig = {.main = main};
    if (kind == SPARE_QUARANTINE)
        rig.quarantine = worker_new(main);
    struct loss_setup o = {.kind = kind};
    struct errmsg msg = {0};
    loss_begin(&rig, &o);
    CHECK_OK(scheduler_wait_ready(rig.s, &msg), msg);
    struct client c[CLIENTS] = {0};
    pthread_t threads[CLIENTS];
    struct thread_options name = {.name = "client"};
    atomic_store(&enough, false);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){.s = rig.s, .seed = i + 1};
        if (thread_start(&threads[i], &name, client_thread, &c[i], NULL))
            abort();
    }
    for (int i = 0; i < KILLS; i++)
        kill_one(main);
    atomic_store(&enough, true);
    int done = 0;
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_INT(c[i].wrong, 0);
        done += c[i].done;
    }
    struct scheduler_stats stats = scheduler_read_stats(rig.s);
    printf("kind %d: %d jobs, %d kills, %llu batches and %llu tokens replayed, %llu by the spare\n",
           (int)kind, done, KILLS, (unsigned long long)stats.replayed_batches,
           (unsigned long long)stats.replayed_tokens,
           (unsigned long long)stats.fallbacks[LOSS_KILLED]);
    CHECK(done > 0);
    CHECK(stats.main.losses[LOSS_KILLED] + stats.main.losses[LOSS_EXIT] >= KILLS);
    CHECK(stats.replayed_batches > 0);
    CHECK_INT(stats.jobs_done, done);
    CHECK_INT(stats.queued_tokens, 0);
    scheduler_stop(rig.s, 1000000);
    replica_free(rig.quarantine);
    replica_free(main);
}

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(worker_replica_begin(&msg), msg);
    loss_kit_open();
    for (int i = 0; i < 2; i++)
        CHECK_OK(kit_open_files(loss_models[i], &msg), msg);
    if (check_failed)
        return check_done();
    for (uint32_t k = 0; k < KINDS; k++) {
        first[k] = job_of(k);
        rows[k] = loss_rows(&first[k]->job);
    }
    killed_again_and_again(SPARE_QUARANTINE);
    killed_again_and_again(SPARE_CPU);
    for (int k = 0; k < KINDS; k++) {
        job_free(first[k]);
        free(rows[k]);
    }
    loss_kit_close();
    worker_replica_end();
    return check_done();
}
