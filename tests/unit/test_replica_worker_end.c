// The end of a replica whose worker owes it something: what the thread has asked for by itself, a
// model's load in a later life or its canary, is not waited for. The workers are threads of this
// test.
#include "base/log.h"
#include "tests/kit/await.h"
#include "tests/kit/fake_worker.h"

// A deadline that passes, and a load that has its time, take longer than the end may.
enum { TEXT = 10, WATCHDOG_US = 60000000, END_US = 30000000 };

static struct errmsg msg;

static void on_done(struct replica_work *w) { atomic_store((atomic_int *)w->ctx, 1); }

// The first life ends with a batch in it.
static void end_life(struct fake_workers *f, struct replica *r) {
    static const int32_t ids[TEXT] = {1, 2, 3}, ends[2] = {0, TEXT};
    static const int32_t positions[TEXT] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    atomic_int done = 0;
    float row[FAKE_DIM];
    struct replica_batch b = {
        .work = {.model = FAKE_MODEL, .share = SHARE_BULK, .done = on_done, .ctx = &done},
        .tokens =
            {.ids = ids, .positions = positions, .cu_seqlens = ends, .tokens = TEXT, .seqs = 1},
        .rows = row,
    };
    fake_workers_set(f, FAKE_CLOSES);
    replica_encode(r, &b);
    AWAIT(atomic_load(&done));
    CHECK_INT(b.work.err, ERR_LOST);
}

static void test_owed(enum wire_type owed) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = {.threads = 1,
                                       .watchdog_us = WATCHDOG_US,
                                       .backoff_least_us = 200000, // time to tell the next life
                                       .region_bytes = (size_t)1 << 20};
    struct worker_starter by = fake_workers_starter(f);
    struct replica_spec spec = fake_worker_spec(FAKE_MODEL);
    struct replica *r = NULL;
    CHECK_OK(replica_worker_new_by(&o, &by, &r, &msg), msg);
    CHECK_OK(replica_load(r, &spec, &msg), msg);
    CHECK_OK(replica_size_batches(r, 64, &msg), msg); // it is up, and has told so
    int encodes = fake_workers_seen(f, WIRE_ENCODE), loads = fake_workers_seen(f, WIRE_LOAD);
    end_life(f, r);
    if (owed == WIRE_LOAD)
        fake_workers_set(f, FAKE_MUTE);
    else
        fake_workers_hold(f, true);
    AWAIT(fake_workers_seen(f, WIRE_LOAD) > loads);
    if (owed == WIRE_ENCODE) // the batch, then the next life's canary
        AWAIT(fake_workers_seen(f, WIRE_ENCODE) > encodes + 1);
    CHECK_INT(replica_health(r).condition, REPLICA_DOWN);
    int64_t began = clock_now_us();
    replica_free(r);
    CHECK(clock_now_us() - began < END_US);
    CHECK_INT(fake_workers_alive(f), 0);
    fake_workers_free(f);
}

int main(void) {
    log_init(LOG_LEVEL_OFF, false);
    test_owed(WIRE_LOAD);
    test_owed(WIRE_ENCODE);
    return check_done();
}
