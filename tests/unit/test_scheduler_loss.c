// Thousands of encoding jobs under a replica that loses its lives by chance: of both lanes, many
// owners, some with deadlines, some whose client goes. Each is done exactly once, with the bits
// that it has without losses, whatever the spare is; nothing is held afterwards.
#include "tests/unit/loss_kit.h"

enum { CLIENTS = 4, KINDS = 24, ROUNDS = 300, AT_ONCE = 4 };

// Jobs of which the others are copies, with their rows.
static struct test_job *first[KINDS];
static float *rows[KINDS];

static struct test_job *job_of(uint32_t kind) {
    size_t seqs = kind % 3 == 0 ? 1 + kind % 12 : 1 + kind % 2;
    return job_new(loss_models[kind % 2], seqs, 20, kind + 1,
                   kind % 3 == 0 ? LANE_BULK : LANE_INTERACTIVE);
}

struct client {
    struct scheduler *s;
    uint32_t seed;
    enum scheduler_spare kind;
    int ok, late, gone, dead;
};

static pthread_mutex_t checking = PTHREAD_MUTEX_INITIALIZER; // of the clients' checks

// What a job's end may be.
static void judge(struct client *c, struct test_job *t, uint32_t kind, bool cancelled) {
    while (atomic_load(&t->ends) == 0)
        await_nap();
    pthread_mutex_lock(&checking);
    CHECK_INT(atomic_load(&t->ends), 1);
    if (t->job.err == ERR_OK) {
        c->ok++;
        CHECK(loss_is_right(t, rows[kind]));
    } else if (t->job.err == ERR_DEADLINE) {
        c->late++;
        CHECK(t->job.deadline_us && clock_now_us() > t->job.deadline_us);
    } else if (t->job.err == ERR_CANCELLED) {
        c->gone++;
        CHECK(cancelled);
    } else { // the poison rule, of one that has had so much bad luck
        c->dead++;
        CHECK_INT(t->job.err, ERR_INTERNAL);
        CHECK(c->kind == SPARE_NONE && t->job.deaths == 3);
    }
    pthread_mutex_unlock(&checking);
    job_free(t);
}

static void *client_thread(void *arg) {
    struct client *c = arg;
    uint32_t x = c->seed;
    for (int round = 0; round < ROUNDS; round++) {
        struct test_job *t[AT_ONCE];
        uint32_t kinds[AT_ONCE];
        bool cancelled[AT_ONCE] = {false};
        for (int i = 0; i < AT_ONCE; i++) {
            x = x * 1664525u + 1013904223u;
            kinds[i] = (x >> 8) % KINDS;
            t[i] = job_of(kinds[i]);
            t[i]->job.owner = (x >> 16) % 5;
            if ((x >> 20) % 8 == 0)
                t[i]->job.deadline_us = clock_now_us() + (x >> 12) % 4000;
            t[i]->job.reserved = 3;
            while (scheduler_reserve(c->s, 3, NULL)) // without a spare while it is down
                await_nap();
            scheduler_submit(c->s, &t[i]->job);
        }
        for (int i = 0; i < AT_ONCE; i++)
            if ((x >> (9 + i)) % 13 == 0) {
                cancelled[i] = true;
                atomic_store(&t[i]->job.cancelled, true);
            }
        for (int i = 0; i < AT_ONCE; i++)
            judge(c, t[i], kinds[i], cancelled[i]);
    }
    return NULL;
}

static void by_chance(enum scheduler_spare kind, size_t bulk_ahead, uint64_t seed) {
    struct loss_setup o = {.kind = kind,
                           .per_thousand = kind == SPARE_NONE ? 40 : 80,
                           .down_most_us = 3000,
                           .seed = seed,
                           .bulk_ahead = bulk_ahead};
    struct loss_rig rig = loss_start(&o);
    struct client c[CLIENTS] = {0};
    pthread_t threads[CLIENTS];
    struct thread_options name = {.name = "client"};
    for (uint32_t i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){.s = rig.s, .seed = (uint32_t)seed * 31 + i, .kind = kind};
        if (thread_start(&threads[i], &name, client_thread, &c[i], NULL)) // those before check
            abort();
    }
    struct client sum = {0};
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        sum.ok += c[i].ok;
        sum.late += c[i].late;
        sum.gone += c[i].gone;
        sum.dead += c[i].dead;
    }
    struct lossy_counts n = lossy_read_counts(rig.main);
    struct scheduler_stats stats = scheduler_read_stats(rig.s);
    printf(
        "kind %d, ahead %zu: %d ok, %d late, %d gone, %d dead; %llu lives lost, %llu batches lost, "
        "%llu exposed, %llu replayed\n",
        (int)kind, bulk_ahead, sum.ok, sum.late, sum.gone, sum.dead, (unsigned long long)n.useful,
        (unsigned long long)n.lost, (unsigned long long)n.exposed,
        (unsigned long long)stats.replayed_batches);
    CHECK_INT(sum.ok + sum.late + sum.gone + sum.dead, CLIENTS * ROUNDS * AT_ONCE);
    CHECK_INT(stats.jobs_done, sum.ok);
    CHECK_INT(stats.jobs_late, sum.late);
    CHECK_INT(stats.jobs_cancelled, sum.gone);
    CHECK_INT(stats.jobs_failed, sum.dead);
    CHECK(n.useful >= 20 && n.exposed >= 20 && stats.replayed_batches >= 20);
    CHECK(sum.ok > CLIENTS * ROUNDS * AT_ONCE / 2);
    lossy_set_chance(rig.main, 0); // it is up for good soon
    AWAIT(scheduler_read_stats(rig.s).queue_limit == 1 << 20);
    loss_stop(&rig);
}

int main(void) {
    loss_kit_open();
    if (check_failed)
        return check_done();
    for (uint32_t k = 0; k < KINDS; k++) {
        first[k] = job_of(k);
        rows[k] = loss_rows(&first[k]->job);
    }
    by_chance(SPARE_CPU, 1, 1);
    by_chance(SPARE_QUARANTINE, 1, 2);
    by_chance(SPARE_NONE, 1, 3);
    by_chance(SPARE_CPU, 0, 4);
    by_chance(SPARE_QUARANTINE, 0, 5);
    for (int k = 0; k < KINDS; k++) {
        job_free(first[k]);
        free(rows[k]);
    }
    loss_kit_close();
    return check_done();
}
