// What becomes of encoding jobs when a replica is lost, case by case: in which order what was lost
// is computed again, what ends with its deadline, a job that ends every life, a replica that is
// given up, the end of the service while it is down, how much is let in meanwhile. See
// test_scheduler_loss.c for losses by chance.
#include "tests/unit/loss_kit.h"
#include "tests/unit/slow_kit.h"

static struct test_job *job_of(size_t seqs, uint32_t seed, enum lane lane) {
    return job_new(loss_models[0], seqs, 20, seed, lane);
}

// Texts of 20 tokens each, of which three fill a batch.
static struct test_job *texts_of(size_t seqs, uint32_t seed) {
    struct test_job *t = job_of(seqs, seed, LANE_BULK);
    size_t n = 20 * seqs;
    t->job.ids = realloc(t->job.ids, n * sizeof *t->job.ids);
    t->job.type_ids = realloc(t->job.type_ids, n * sizeof *t->job.type_ids);
    for (size_t i = 0; i <= seqs; i++)
        t->job.cu_seqlens[i] = (int32_t)(20 * i);
    for (size_t i = 0; i < n; i++) {
        t->job.ids[i] = (int32_t)(100 + i * (seed + 3) % 50);
        t->job.type_ids[i] = 0;
    }
    return t;
}

// As many tokens as leave no room for another such job in a batch.
static struct test_job *bulk_of(uint32_t seed) { return texts_of(2, seed); }

static void check_right(struct test_job *t) {
    job_wait(t);
    float *rows = loss_rows(&t->job);
    CHECK_INT(t->job.err, ERR_OK);
    CHECK(loss_is_right(t, rows));
    free(rows);
}

static uint64_t batches_on(struct replica *r) { return lossy_read_counts(r).batches; }

// The main replica is in the middle of the first of `n` more batches, and has them all.
static void hold(struct loss_rig *rig, uint64_t before, uint64_t n) {
    AWAIT(batches_on(rig->main) >= before + n);
    gate_wait(0);
}

// It is lost with what it has.
static void lose(struct loss_rig *rig, uint64_t exposed) {
    uint64_t before = lossy_read_counts(rig->main).exposed;
    lossy_lose(rig->main, -1);
    gate_open();
    AWAIT(lossy_read_counts(rig->main).exposed >= before + exposed);
}

// Three batches are lost at once. The one whose deadline is next is computed first, one job after
// the other, and the replica that comes back has none of them.
static void by_deadline(void) {
    struct loss_setup o = {.kind = SPARE_QUARANTINE, .bulk_ahead = 1};
    struct loss_rig rig = loss_start(&o);
    struct test_job *late = bulk_of(1), *early = bulk_of(2),
                    *between = job_of(1, 3, LANE_INTERACTIVE);
    int64_t now = clock_now_us();
    late->job.deadline_us = now + 90000000;
    early->job.deadline_us = now + 70000000;
    between->job.deadline_us = now + 80000000;
    uint64_t before = batches_on(rig.main);
    lossy_lose(rig.quarantine, -1);
    gate_shut();
    scheduler_submit(rig.s, &late->job);
    scheduler_submit(rig.s, &early->job);
    scheduler_submit(rig.s, &between->job);
    hold(&rig, before, 3);
    lose(&rig, 3);
    AWAIT(batches_on(rig.quarantine) >= 1);
    lossy_raise(rig.main);
    struct test_job *other = job_of(2, 4, LANE_INTERACTIVE); // passes them
    scheduler_submit(rig.s, &other->job);
    check_right(other);
    CHECK_INT(atomic_load(&late->ends) + atomic_load(&early->ends) + atomic_load(&between->ends),
              0);
    lossy_raise(rig.quarantine);
    check_right(late);
    check_right(early);
    check_right(between);
    CHECK(early->order < between->order);
    CHECK(between->order < late->order);
    CHECK_INT(late->job.deaths, 1);
    CHECK_INT(batches_on(rig.main), before + 4);
    CHECK_INT(lossy_read_counts(rig.quarantine).most_at_once, 1);
    struct scheduler_stats stats = scheduler_read_stats(rig.s);
    CHECK_INT(stats.replayed_batches, 3);
    CHECK_INT(stats.fallbacks[LOSS_KILLED], 3);
    job_free(late);
    job_free(early);
    job_free(between);
    job_free(other);
    loss_stop(&rig);
}

enum { NEIGHBOURS = 9, ILL = 4 };

// A job that ends every life it is in, among others of its batch: these have their rows.
static void poison(enum scheduler_spare kind, const char *why) {
    struct loss_setup o = {.kind = kind, .poison = LOSS_POISON};
    struct loss_rig rig = loss_start(&o);
    struct test_job *t[NEIGHBOURS];
    uint64_t before = batches_on(rig.main);
    gate_shut();
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        t[i] = job_new(loss_models[0], 1, 5, i + 1, LANE_INTERACTIVE);
        for (int32_t k = 0; k < t[i]->job.cu_seqlens[1]; k++)
            t[i]->job.ids[k] = i == ILL ? LOSS_POISON : 120 + (int32_t)i;
        scheduler_submit(rig.s, &t[i]->job);
    }
    hold(&rig, before, 1); // the first one; the others wait, and are the next batch
    gate_open();
    for (int32_t i = 0; i < NEIGHBOURS; i++) {
        if (!lossy_read_counts(rig.main).poisoned)
            AWAIT(lossy_read_counts(rig.main).poisoned > 0);
        lossy_raise(rig.main);
        while (atomic_load(&t[i]->ends) == 0) { // each death wants its return
            lossy_raise(rig.main);
            await_nap();
        }
        if (i != ILL || kind == SPARE_CPU) {
            check_right(t[i]);
            CHECK(t[i]->job.deaths <= 1);
            continue;
        }
        CHECK_INT(t[i]->job.err, ERR_INTERNAL);
        CHECK_STR(t[i]->job.msg.text, why);
    }
    CHECK_INT(lossy_read_counts(rig.main).poisoned, kind == SPARE_NONE ? 3 : 1);
    if (kind == SPARE_QUARANTINE)
        CHECK_INT(lossy_read_counts(rig.quarantine).poisoned, 1);
    for (int i = 0; i < NEIGHBOURS; i++)
        job_free(t[i]);
    loss_stop(&rig);
}

// What waits for the quarantine ends with its deadline, though some of it was computed in time; and
// with its client.
static void late_and_gone(void) {
    struct loss_setup o = {.kind = SPARE_QUARANTINE};
    struct loss_rig rig = loss_start(&o);
    struct test_job *late = texts_of(4, 1);
    struct test_job *gone = job_of(1, 2, LANE_INTERACTIVE), *stays = job_of(1, 3, LANE_INTERACTIVE);
    uint64_t before = batches_on(rig.main);
    gate_shut();
    late->job.deadline_us = clock_now_us() + 2000000; // its first batch is cut at once
    scheduler_submit(rig.s, &late->job);
    hold(&rig, before, 1);
    lose(&rig, 1);
    AWAIT(scheduler_read_stats(rig.s).sequences > 0); // by the quarantine
    lossy_lose(rig.quarantine, -1);
    gate_shut();
    lossy_raise(rig.main);
    hold(&rig, before, 2); // the rest of it
    scheduler_submit(rig.s, &gone->job);
    AWAIT(batches_on(rig.main) >= before + 3);
    while (clock_now_us() <= late->job.deadline_us)
        await_nap();
    lose(&rig, 2);
    job_wait(late);
    CHECK_INT(late->job.err, ERR_DEADLINE);
    CHECK_INT(atomic_load(&gone->ends), 0);
    atomic_store(&gone->job.cancelled, true);
    job_wait(gone);
    CHECK_INT(gone->job.err, ERR_CANCELLED);
    scheduler_submit(rig.s, &stays->job);
    lossy_raise(rig.main);
    check_right(stays);
    job_free(late);
    job_free(gone);
    job_free(stays);
    loss_stop(&rig);
}

// A job that two lives ended with is not given to a third one.
static void two_deaths(void) {
    struct loss_setup o = {.kind = SPARE_QUARANTINE, .bulk_ahead = 1};
    struct loss_rig rig = loss_start(&o);
    struct test_job *t = job_of(120, 1, LANE_BULK);
    gate_shut();
    uint64_t before = batches_on(rig.main);
    scheduler_submit(rig.s, &t->job);
    for (int death = 0; death < 2; death++) {
        hold(&rig, before, 2);
        lose(&rig, 2);
        before = batches_on(rig.main);
        gate_shut();
        lossy_raise(rig.main);
    }
    gate_open();
    check_right(t);
    CHECK_INT(t->job.deaths, 2);
    CHECK_INT(batches_on(rig.main), before);
    job_free(t);
    loss_stop(&rig);
}

static bool is_let_in(struct scheduler *s, size_t tokens, enum err no) {
    enum err e = scheduler_reserve(s, tokens, NULL);
    if (e == ERR_OK)
        scheduler_release(s, tokens);
    else
        CHECK_INT(e, no);
    return e == ERR_OK;
}

// Down and given up, without anything that computes all meanwhile.
static void given_up(enum scheduler_spare kind) {
    struct loss_setup o = {.kind = kind};
    struct loss_rig rig = loss_start(&o);
    struct test_job *waits = job_of(3, 1, LANE_BULK), *ends = job_of(3, 2, LANE_INTERACTIVE);
    lossy_lose(rig.main, -1);
    AWAIT(scheduler_read_stats(rig.s).main.condition == REPLICA_DOWN);
    if (kind == SPARE_NONE) // what comes is refused at once
        AWAIT(!is_let_in(rig.s, 10, ERR_UNAVAILABLE));
    else
        CHECK(is_let_in(rig.s, 10, ERR_OK));
    scheduler_submit(rig.s, &waits->job);
    CHECK_INT(atomic_load(&waits->ends), 0);
    lossy_raise(rig.main);
    check_right(waits);
    AWAIT(is_let_in(rig.s, 10, ERR_UNAVAILABLE));
    lossy_lose(rig.main, -1);
    scheduler_submit(rig.s, &ends->job);
    lossy_give_up(rig.main);
    job_wait(ends);
    CHECK_INT(ends->job.err, ERR_UNAVAILABLE);
    CHECK_STR(ends->job.msg.text,
              "the process that computes was lost and is not there again; retry later");
    AWAIT(!is_let_in(rig.s, 10, ERR_UNAVAILABLE));
    replica_retry(rig.main);
    AWAIT(is_let_in(rig.s, 10, ERR_UNAVAILABLE));
    job_free(ends);
    ends = job_of(3, 2, LANE_INTERACTIVE);
    scheduler_submit(rig.s, &ends->job);
    check_right(ends);
    job_free(waits);
    job_free(ends);
    loss_stop(&rig);
}

// The same where the CPU computes all meanwhile.
static void on_the_cpu(void) {
    struct loss_setup o = {.kind = SPARE_CPU};
    struct loss_rig rig = loss_start(&o);
    lossy_give_up(rig.main);
    for (uint32_t i = 0; i < 4; i++) {
        struct test_job *t = job_of(5, i + 1, i % 2 ? LANE_BULK : LANE_INTERACTIVE);
        t->job.reserved = 9;
        CHECK_INT(scheduler_reserve(rig.s, 9, NULL), ERR_OK);
        scheduler_submit(rig.s, &t->job);
        check_right(t);
        job_free(t);
    }
    struct scheduler_stats stats = scheduler_read_stats(rig.s);
    CHECK(stats.fallbacks[LOSS_EXIT] >= 4);
    CHECK_INT(stats.main.condition, REPLICA_GIVEN_UP);
    CHECK_INT(stats.spare.condition, REPLICA_UP);
    CHECK(clock_now_us() - stats.heartbeat_us < 30000000); // the process that is down has none
    loss_stop(&rig);
}

// The service ends while nothing can compute: in its time, each job told once.
static void end_while_down(enum scheduler_spare kind) {
    struct loss_setup o = {.kind = kind, .bulk_ahead = 1};
    struct loss_rig rig = loss_start(&o);
    struct test_job *t[6];
    uint64_t before = batches_on(rig.main);
    if (rig.quarantine)
        lossy_lose(rig.quarantine, -1);
    gate_shut();
    for (uint32_t i = 0; i < 3; i++) {
        t[i] = i < 2 ? bulk_of(i) : job_of(2, i, LANE_INTERACTIVE);
        scheduler_submit(rig.s, &t[i]->job);
    }
    hold(&rig, before, 3);
    lose(&rig, 3);
    for (uint32_t i = 3; i < 6; i++) {
        t[i] = i < 5 ? bulk_of(i) : job_of(2, i, LANE_INTERACTIVE);
        scheduler_submit(rig.s, &t[i]->job);
    }
    int64_t began = clock_now_us();
    scheduler_end(rig.s, 50000);
    CHECK(clock_now_us() - began < 30000000);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(atomic_load(&t[i]->ends), 1);
        CHECK_INT(t[i]->job.err, ERR_UNAVAILABLE);
        job_free(t[i]);
    }
    loss_stop(&rig);
}

// How many batches of bulk are with a replica at once.
static void ahead(size_t bulk_ahead) {
    struct loss_setup o = {.kind = SPARE_NONE, .bulk_ahead = bulk_ahead};
    struct loss_rig rig = loss_start(&o);
    struct test_job *t = job_of(100, 1, LANE_BULK);
    scheduler_submit(rig.s, &t->job);
    check_right(t);
    CHECK_INT(lossy_read_counts(rig.main).most_at_once, 1 + bulk_ahead);
    job_free(t);
    loss_stop(&rig);
}

// With a slow spare less is let in while it computes all, in proportion.
static void less_is_let_in(void) {
    enum { FULL = 100000 };
    slow_put(loss_devices[1], 4000);
    struct loss_setup o = {.kind = SPARE_CPU, .queue_tokens = FULL};
    struct loss_rig rig = loss_start(&o);
    CHECK_INT(scheduler_read_stats(rig.s).queue_limit, FULL);
    CHECK_INT(scheduler_reserve(rig.s, 5000, NULL), ERR_OK);
    CHECK(is_let_in(rig.s, FULL / 5, ERR_OK));
    lossy_lose(rig.main, -1);
    AWAIT(scheduler_read_stats(rig.s).queue_limit < FULL / 4);
    CHECK(!is_let_in(rig.s, FULL / 5, ERR_OVERLOADED));
    lossy_raise(rig.main);
    AWAIT(scheduler_read_stats(rig.s).queue_limit == FULL);
    CHECK(is_let_in(rig.s, FULL / 5, ERR_OK));
    scheduler_release(rig.s, 5000);
    slow_take_off(loss_devices[1]);
    loss_stop(&rig);
}

// A quarantine that does not come up is not waited for for ever.
static void no_quarantine(void) {
    struct loss_setup o = {.kind = SPARE_QUARANTINE, .holds_nothing = true};
    struct loss_rig rig = loss_start(&o);
    struct test_job *t = job_of(2, 1, LANE_INTERACTIVE);
    uint64_t before = batches_on(rig.main);
    lossy_lose(rig.quarantine, -1);
    gate_shut();
    scheduler_submit(rig.s, &t->job);
    hold(&rig, before, 1);
    lose(&rig, 1);
    job_wait(t);
    CHECK_INT(t->job.err, ERR_UNAVAILABLE);
    CHECK_INT(batches_on(rig.quarantine), 3);
    lossy_raise(rig.main);
    job_free(t);
    loss_stop(&rig);
}

struct raiser {
    struct replica *r;
    bool gives_up;
};

static void *raise_thread(void *arg) {
    struct raiser *w = arg;
    nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
    if (w->gives_up)
        lossy_give_up(w->r);
    else
        lossy_raise(w->r);
    return NULL;
}

// The service begins while the replica is down.
static void begin_while_down(enum scheduler_spare kind, bool gives_up) {
    struct loss_setup o = {.kind = kind};
    struct loss_rig rig = loss_prepare(&o);
    struct raiser w = {.r = rig.main, .gives_up = gives_up};
    struct thread_options name = {.name = "raiser"};
    struct errmsg msg = {0};
    pthread_t thread;
    lossy_lose(rig.main, -1);
    loss_begin(&rig, &o);
    CHECK(thread_start(&thread, &name, raise_thread, &w, NULL) == ERR_OK);
    enum err e = scheduler_wait_ready(rig.s, &msg);
    CHECK_INT(e, gives_up && kind != SPARE_CPU ? ERR_UNAVAILABLE : ERR_OK);
    pthread_join(thread, NULL);
    if (e == ERR_OK) {
        struct test_job *t = job_of(2, 1, LANE_INTERACTIVE);
        scheduler_submit(rig.s, &t->job);
        check_right(t);
        job_free(t);
    }
    loss_stop(&rig);
}

// A model comes and goes while the replica is down and the spare has all.
static void models_meanwhile(void) {
    struct loss_setup o = {.kind = SPARE_CPU, .models = 1};
    struct loss_rig rig = loss_start(&o);
    struct errmsg msg = {0};
    lossy_lose(rig.main, -1);
    CHECK_OK(scheduler_add_model(rig.s, loss_models[1], &msg), msg);
    struct test_job *t = job_new(loss_models[1], 4, 20, 1, LANE_BULK);
    scheduler_submit(rig.s, &t->job);
    check_right(t);
    job_free(t);
    lossy_raise(rig.main);
    t = job_new(loss_models[1], 4, 20, 2, LANE_INTERACTIVE);
    scheduler_submit(rig.s, &t->job);
    check_right(t);
    CHECK_OK(scheduler_remove_model(rig.s, loss_models[1], &msg), msg);
    job_free(t);
    loss_stop(&rig);
}

int main(void) {
    loss_kit_open();
    if (check_failed)
        return check_done();
    gate_put(loss_devices[0]);
    by_deadline();
    poison(SPARE_QUARANTINE,
           "the process that computes ended with this request in it, and a second "
           "one that had nothing else did too");
    poison(SPARE_NONE, "the process that computes ended 3 times with this request in it");
    poison(SPARE_CPU, "");
    late_and_gone();
    two_deaths();
    given_up(SPARE_NONE);
    given_up(SPARE_QUARANTINE);
    on_the_cpu();
    end_while_down(SPARE_NONE);
    end_while_down(SPARE_QUARANTINE);
    ahead(0);
    ahead(1);
    less_is_let_in();
    no_quarantine();
    begin_while_down(SPARE_NONE, false);
    begin_while_down(SPARE_NONE, true);
    begin_while_down(SPARE_QUARANTINE, false);
    begin_while_down(SPARE_CPU, true);
    models_meanwhile();
    loss_kit_close();
    return check_done();
}
