// The parent's side of a worker process against workers that are threads of this test, each of
// which does one thing wrong: every piece of work is done exactly once, with the right rows or with
// ERR_LOST; the cause is told rightly; the next life is up and right; nothing is leaked. Runs under
// the thread sanitizer.
#include "base/clock.h"
#include "base/log.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/fake_worker.h"
#include "tests/kit/processes.h"
#include "tests/unit/heap_bytes.h"

#include <stdlib.h>

enum { TEXTS = 30, LENGTH = 10, WAIT_US = 60000000 };

static struct errmsg msg;

// A batch with its memory, and how often it was told that it is done.
struct sent {
    struct replica_batch b;
    int32_t ids[TEXTS * LENGTH], positions[TEXTS * LENGTH], ends[TEXTS + 1];
    float rows[TEXTS * FAKE_DIM], want[TEXTS * FAKE_DIM];
    atomic_int done;
};

static void on_done(struct replica_work *w) {
    struct sent *s = w->ctx;
    atomic_fetch_add(&s->done, 1);
}

static void sent_fill(struct sent *s, unsigned seed, enum share share, uint64_t model) {
    memset(s, 0, sizeof *s);
    for (int i = 0; i < TEXTS * LENGTH; i++) {
        s->ids[i] = (int32_t)((seed * 31 + (unsigned)i * 7) % FAKE_VOCAB);
        s->positions[i] = i % LENGTH;
    }
    for (int i = 0; i <= TEXTS; i++)
        s->ends[i] = i * LENGTH;
    for (size_t i = 0; i < TEXTS; i++)
        fake_worker_row(s->ids + i * LENGTH, LENGTH, false, s->want + i * FAKE_DIM);
    s->b.work.model = model;
    s->b.work.share = share;
    s->b.work.done = on_done;
    s->b.work.ctx = s;
    s->b.rows = s->rows;
    s->b.tokens = (struct batch){.ids = s->ids,
                                 .positions = s->positions,
                                 .cu_seqlens = s->ends,
                                 .tokens = (size_t)TEXTS * LENGTH,
                                 .seqs = TEXTS};
}

static bool wait_done(struct sent *s) {
    WAIT_UNTIL(atomic_load(&s->done) != 0);
    return atomic_load(&s->done) == 1;
}

static bool wait_condition(struct replica *r, enum replica_condition c) {
    WAIT_UNTIL(replica_health(r).condition == c);
    return replica_health(r).condition == c;
}

static bool is_right(const struct sent *s) {
    return s->b.work.err == ERR_OK && memcmp(s->rows, s->want, sizeof s->rows) == 0;
}

static struct replica_worker_options options(void) {
    return (struct replica_worker_options){
        .threads = 1,
        .watchdog_us = 200000,
        .backoff_least_us = 1000,
        .backoff_most_us = 2000,
        .region_bytes = (size_t)8 << 20,
    };
}

static struct replica *start(struct fake_workers *f, const struct replica_worker_options *o) {
    struct replica *r = NULL;
    struct worker_starter by = fake_workers_starter(f);
    CHECK_OK(replica_worker_new_by(o, &by, &r, &msg), msg);
    return r;
}

static struct replica *start_loaded(struct fake_workers *f,
                                    const struct replica_worker_options *o) {
    struct replica *r = start(f, o);
    struct replica_spec spec = fake_worker_spec(FAKE_MODEL);
    CHECK_OK(replica_load(r, &spec, &msg), msg);
    CHECK_OK(replica_size_batches(r, 512, &msg), msg);
    return r;
}

static void test_computes(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    struct replica *r = start_loaded(f, &o);
    CHECK_STR(replica_facts(r)->name, "cpu");
    CHECK_STR(replica_facts(r)->describe, "worker: a fake");
    CHECK_INT(replica_weight_bytes(r, FAKE_MODEL), 1000);
    CHECK_INT(replica_weight_bytes(r, FAKE_MODEL + 1), 0);
    static struct sent sent[40];
    for (unsigned i = 0; i < 40; i++) {
        sent_fill(&sent[i], i, i % 3 ? SHARE_BULK : SHARE_INTERACTIVE, FAKE_MODEL);
        replica_encode(r, &sent[i].b);
    }
    bool all = true;
    for (unsigned i = 0; i < 40; i++)
        all = wait_done(&sent[i]) && is_right(&sent[i]) && all;
    CHECK(all);
    struct replica_health h = replica_health(r);
    CHECK_INT(h.life, 1);
    CHECK_INT(h.completed, 40);
    CHECK_INT(h.condition, REPLICA_UP);
    sent_fill(&sent[0], 0, SHARE_BULK, FAKE_MODEL + 1); // not loaded
    replica_encode(r, &sent[0].b);
    CHECK(wait_done(&sent[0]));
    CHECK_INT(sent[0].b.work.err, ERR_INTERNAL);
    replica_free(r);
    CHECK_INT(fake_workers_alive(f), 0);
    fake_workers_free(f);
}

static void test_cancels(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    o.watchdog_us = WAIT_US;
    struct replica *r = start_loaded(f, &o);
    static struct sent sent[4];
    fake_workers_hold(f, true);
    for (unsigned i = 0; i < 4; i++) {
        sent_fill(&sent[i], i, SHARE_BULK, FAKE_MODEL);
        replica_encode(r, &sent[i].b);
    }
    replica_cancel(r, &sent[1].b.work);
    CHECK(wait_done(&sent[1]));
    CHECK_INT(sent[1].b.work.err, ERR_CANCELLED);
    fake_workers_hold(f, false);
    for (unsigned i = 0; i < 4; i++)
        CHECK(wait_done(&sent[i]) && (i == 1 || is_right(&sent[i])));
    replica_free(r);
    fake_workers_free(f);
}

// More than there are flights: what does not go at once goes later, in its order.
static void test_queues(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    enum { MANY = 3 * 30 };
    o.watchdog_us = WAIT_US;
    o.region_bytes = 64 << 10; // some twenty batches
    struct replica *r = start_loaded(f, &o);
    struct sent *sent = calloc(MANY, sizeof *sent);
    fake_workers_hold(f, true);
    for (unsigned i = 0; i < MANY; i++) {
        sent_fill(&sent[i], i, SHARE_BULK, FAKE_MODEL);
        replica_encode(r, &sent[i].b);
    }
    replica_cancel(r, &sent[MANY - 1].b.work); // not sent
    CHECK(wait_done(&sent[MANY - 1]));
    CHECK_INT(sent[MANY - 1].b.work.err, ERR_CANCELLED);
    fake_workers_hold(f, false);
    bool all = true;
    for (unsigned i = 0; i < MANY - 1; i++)
        all = wait_done(&sent[i]) && is_right(&sent[i]) && all;
    CHECK(all);
    CHECK(fake_workers_encoding_most(f) < 32);
    CHECK_INT(replica_health(r).life, 1);
    replica_free(r);
    free(sent);
    fake_workers_free(f);
}

static enum replica_loss cause_of(enum fake_fault fault) {
    switch (fault) {
    case FAKE_CLOSES:
        return LOSS_EXIT;
    case FAKE_KILLED:
        return LOSS_KILLED;
    case FAKE_SILENT:
        return LOSS_HANG;
    case FAKE_NUMBERS:
    case FAKE_ROW:
        return LOSS_NUMBERS;
    default:
        return LOSS_PROTOCOL;
    }
}

static void test_faults(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    struct replica *r = start_loaded(f, &o);
    for (int fault = FAKE_CLOSES; fault < FAKE_NO_READY; fault++) {
        static struct sent first, second, again;
        struct replica_health before = replica_health(r);
        bool lost = fault != FAKE_NOMEM, late = fault == FAKE_TWICE;
        sent_fill(&first, 1, SHARE_BULK, FAKE_MODEL);
        sent_fill(&second, 2, SHARE_BULK, FAKE_MODEL);
        fake_workers_hold(f, true);
        fake_workers_set(f, (enum fake_fault)fault);
        replica_encode(r, &first.b);
        replica_encode(r, &second.b);
        fake_workers_hold(f, false);
        bool ok = wait_done(&first) && wait_done(&second);
        if (fault == FAKE_NOMEM)
            ok = ok && first.b.work.err == ERR_NOMEM && is_right(&second);
        else if (late) // the first answer was right
            ok = ok && is_right(&first);
        else
            ok = ok && first.b.work.err == ERR_LOST && first.b.work.exposed &&
                 (second.b.work.err == ERR_OK ? is_right(&second) : second.b.work.exposed);
        if (!CHECK(ok))
            fprintf(stderr, "    fault %d: %s, %s\n", fault, err_name(first.b.work.err),
                    err_name(second.b.work.err));
        WAIT_UNTIL(!lost || replica_health(r).life != before.life);
        CHECK(wait_condition(r, REPLICA_UP));
        struct replica_health after = replica_health(r);
        enum replica_loss cause = cause_of((enum fake_fault)fault);
        if (!CHECK(after.life == before.life + lost &&
                   after.losses[cause] == before.losses[cause] + lost))
            fprintf(stderr, "    fault %d: life %d after %d, %s\n", fault, (int)after.life,
                    (int)before.life, after.why);
        sent_fill(&again, 3, SHARE_INTERACTIVE, FAKE_MODEL);
        replica_encode(r, &again.b);
        CHECK(wait_done(&again) && is_right(&again));
    }
    struct replica_health h = replica_health(r);
    CHECK(h.down_us > 0);
    replica_free(r);
    CHECK_INT(fake_workers_alive(f), 0);
    fake_workers_free(f);
}

static atomic_int changes;
static void on_change(void *ctx) {
    (void)replica_health(ctx); // no lock of the replica's is held
    atomic_fetch_add(&changes, 1);
}

static void test_starts(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    fake_workers_set(f, FAKE_NO_READY);
    struct replica *r = start(f, &o);
    CHECK_INT(replica_health(r).losses[LOSS_START], 1);
    CHECK_OK(replica_size_batches(r, 512, &msg), msg); // it is up, and has told so
    replica_watch(r, on_change, r);
    struct replica_spec spec = fake_worker_spec(FAKE_MODEL);
    fake_workers_set(f, FAKE_NO_LOAD);
    CHECK_INT(replica_load(r, &spec, &msg), ERR_NOMEM); // that call's error
    CHECK_STR(msg.text, "so it was told");
    CHECK(wait_condition(r, REPLICA_UP));
    CHECK_INT(replica_health(r).life, 2);
    CHECK_OK(replica_load(r, &spec, &msg), msg);
    CHECK_INT(replica_health(r).life, 2);
    CHECK_INT(atomic_load(&changes), 0);
    static struct sent s;
    // a later life that lacks memory for it is lost, and so is one with other numbers, and one that
    // says nothing: after what the first load took, and not after what a first load may take
    static const enum fake_fault starts[] = {FAKE_NO_LOAD, FAKE_CANARY, FAKE_MUTE, FAKE_NO_WORD};
    static const enum replica_loss causes[] = {LOSS_MEMORY, LOSS_NUMBERS, LOSS_START, LOSS_START};
    static const char *const whys[] = {"so it was told", "the canary of model 'fake'",
                                       "model 'fake' was not loaded within ",
                                       "it did not say what it is within "};
    int starts_before = (int)replica_health(r).losses[LOSS_START];
    for (int i = 0; i < 4; i++) {
        int before = atomic_load(&changes);
        uint64_t life = replica_health(r).life;
        sent_fill(&s, 1, SHARE_BULK, FAKE_MODEL);
        fake_workers_set(f, FAKE_CLOSES);
        replica_encode(r, &s.b);
        CHECK(wait_done(&s) && s.b.work.err == ERR_LOST);
        fake_workers_set(f, starts[i]);
        WAIT_UNTIL(replica_health(r).life >= life + 2);
        CHECK(wait_condition(r, REPLICA_UP));
        CHECK_INT(replica_health(r).losses[causes[i]],
                  causes[i] == LOSS_START ? starts_before + i - 1 : 1);
        CHECK(strstr(replica_health(r).why, whys[i]) != NULL);
        CHECK(atomic_load(&changes) >= before + 2);
    }
    replica_watch(r, NULL, NULL);
    replica_unload(r, FAKE_MODEL);
    CHECK_OK(replica_size_batches(r, 100, &msg), msg);
    CHECK_INT(fake_workers_seen(f, WIRE_UNLOAD), 1);
    replica_free(r);
    CHECK_INT(fake_workers_alive(f), 0);
    fake_workers_free(f);
}

// A size that the worker refuses is that call's error: it is not asked for again, which would cost
// the life, and the batches of the size before are computed.
static void test_size_refused(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    struct replica *r = start_loaded(f, &o);
    static struct sent s;
    for (unsigned i = 0; i < 20; i++) {
        CHECK_INT(replica_size_batches(r, FAKE_BATCH_MOST + 1, &msg), ERR_NOMEM);
        CHECK_STR(msg.text, "so it was told");
        sent_fill(&s, i, SHARE_BULK, FAKE_MODEL);
        replica_encode(r, &s.b);
        CHECK(wait_done(&s) && is_right(&s));
    }
    CHECK_OK(replica_size_batches(r, 100, &msg), msg);
    CHECK_INT(replica_health(r).life, 1);
    replica_free(r);
    fake_workers_free(f);
}

static enum err spawn_never(void *ctx, int socket, int region, pid_t *pid, struct errmsg *why) {
    (void)ctx, (void)socket, (void)region;
    *pid = 0;
    return err_set(why, ERR_UNAVAILABLE, "the spawner has ended");
}

// Where nothing can be started ever again, nobody waits for it.
static void test_no_spawner(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    o.give_up_after = 8;
    o.backoff_least_us = o.backoff_most_us = 2 * WAIT_US;
    struct worker_starter by = fake_workers_starter(f);
    by.spawn = spawn_never;
    struct replica *r = NULL;
    int64_t begun = clock_now_us();
    CHECK_INT(replica_worker_new_by(&o, &by, &r, &msg), ERR_UNAVAILABLE);
    CHECK(r == NULL && clock_now_us() - begun < WAIT_US / 2);
    CHECK_STR(msg.text, "the spawner has ended");
    fake_workers_free(f);
}

// While it is down, work comes back at once, and was not exposed.
static void test_down(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    o.give_up_after = 1;
    o.retry_us = (int64_t)3600 * 1000000;
    struct replica *r = start_loaded(f, &o);
    static struct sent s;
    sent_fill(&s, 1, SHARE_BULK, FAKE_MODEL);
    fake_workers_set(f, FAKE_CLOSES);
    replica_encode(r, &s.b);
    CHECK(wait_done(&s) && s.b.work.err == ERR_LOST && s.b.work.exposed);
    CHECK(wait_condition(r, REPLICA_GIVEN_UP));
    struct replica_health h = replica_health(r);
    CHECK_INT(h.pid, 0);
    CHECK_STR(h.why, "exit status 3");
    sent_fill(&s, 1, SHARE_BULK, FAKE_MODEL);
    replica_encode(r, &s.b);
    CHECK(wait_done(&s) && s.b.work.err == ERR_LOST && !s.b.work.exposed);
    struct replica_spec spec = fake_worker_spec(FAKE_MODEL + 1);
    CHECK_INT(replica_load(r, &spec, &msg), ERR_UNAVAILABLE);
    replica_retry(r);
    CHECK(wait_condition(r, REPLICA_UP));
    sent_fill(&s, 1, SHARE_BULK, FAKE_MODEL);
    replica_encode(r, &s.b);
    CHECK(wait_done(&s) && is_right(&s));
    replica_free(r);
    fake_workers_free(f);
}

static void test_quarantine(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    o.watchdog_us = WAIT_US;
    struct replica *like = start_loaded(f, &o);
    int starts = fake_workers_started(f);
    o.quarantine = true;
    o.like = like;
    o.idle_us = 50000;
    struct replica *r = start(f, &o);
    struct replica_spec spec = fake_worker_spec(FAKE_MODEL), other = fake_worker_spec(9);
    CHECK_OK(replica_load(r, &spec, &msg), msg);
    CHECK_OK(replica_load(r, &other, &msg), msg);
    CHECK_OK(replica_size_batches(r, 512, &msg), msg);
    CHECK_INT(fake_workers_started(f), starts); // nothing is started before there is work
    CHECK_INT(replica_health(r).condition, REPLICA_UP);
    CHECK(!replica_health(r).present && replica_health(like).present);
    CHECK_INT(replica_health(r).life, 1);
    CHECK_INT(replica_weight_bytes(r, FAKE_MODEL), 1000);
    static struct sent sent[6];
    int loads = fake_workers_seen(f, WIRE_LOAD);
    for (unsigned i = 0; i < 6; i++) {
        sent_fill(&sent[i], i, SHARE_BULK, i < 3 ? FAKE_MODEL : 9);
        replica_encode(r, &sent[i].b);
    }
    bool all = true;
    for (unsigned i = 0; i < 6; i++)
        all = wait_done(&sent[i]) && is_right(&sent[i]) && all;
    CHECK(all);
    CHECK_INT(fake_workers_encoding_most(f), 1); // one at a time
    CHECK_INT(fake_workers_seen(f, WIRE_LOAD), loads + 2);
    CHECK_INT(fake_workers_seen(f, WIRE_UNLOAD), 1); // one model at a time
    WAIT_UNTIL(replica_health(r).life != 1);
    CHECK_INT(replica_health(r).life, 2); // idle: it was ended
    CHECK(!replica_health(r).present);
    AWAIT(fake_workers_alive(f) == 1);
    sent_fill(&sent[0], 1, SHARE_BULK, FAKE_MODEL);
    sent_fill(&sent[1], 2, SHARE_BULK, FAKE_MODEL);
    fake_workers_set(f, FAKE_CLOSES);
    replica_encode(r, &sent[0].b);
    replica_encode(r, &sent[1].b); // held, and computed in the next one
    CHECK(wait_done(&sent[0]) && sent[0].b.work.err == ERR_LOST && sent[0].b.work.exposed);
    CHECK(wait_done(&sent[1]) && is_right(&sent[1]));
    bool seen = false; // while it computes, and until it has been idle
    for (int64_t until = clock_now_us() + AWAIT_US; !seen && clock_now_us() < until;) {
        sent_fill(&sent[0], 1, SHARE_BULK, FAKE_MODEL);
        replica_encode(r, &sent[0].b);
        CHECK(wait_done(&sent[0]));
        seen = replica_health(r).present;
    }
    CHECK(seen);
    replica_free(r);
    replica_free(like);
    CHECK_INT(fake_workers_alive(f), 0);
    fake_workers_free(f);
}

static void test_leaks(void) {
    struct fake_workers *f = fake_workers_new();
    struct replica_worker_options o = options();
    struct replica *r = start_loaded(f, &o);
    static struct sent s;
    size_t fds = 0, maps = 0;
    for (int life = 0; life < 100; life++) {
        if (life == 20) { // what is kept for reuse is there
            fds = own_descriptors();
            maps = own_mappings();
        }
        uint64_t before = replica_health(r).life;
        sent_fill(&s, 1, SHARE_BULK, FAKE_MODEL);
        fake_workers_set(f, life % 2 ? FAKE_CLOSES : FAKE_CHECKSUM);
        replica_encode(r, &s.b);
        bool ok = wait_done(&s) && s.b.work.err == ERR_LOST;
        WAIT_UNTIL(replica_health(r).life != before && replica_health(r).condition == REPLICA_UP);
        if (!ok)
            CHECK(ok);
    }
    CHECK_INT(fake_workers_alive(f), 1);
    CHECK_INT(own_descriptors(), fds);
    CHECK(own_mappings() <= maps + 4); // thread stacks come and go
    CHECK_INT(replica_health(r).starts, 101);
    replica_free(r);
    CHECK_INT(fake_workers_alive(f), 0);
    fake_workers_free(f);
}

int main(void) {
    log_init(LOG_LEVEL_OFF, false);
    test_computes();
    test_cancels();
    test_queues();
    test_faults();
    test_starts();
    test_no_spawner();
    test_size_refused();
    test_down();
    test_quarantine();
    test_leaks();
    return check_done();
}
