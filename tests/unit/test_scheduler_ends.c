// What ends in the middle of a forward: a stop, a client that is gone, a batch of which one still
// waits; the heartbeat of a long forward and of one that hangs; and that no urgency makes a long
// job one that others cannot pass.
#include "base/thread.h"
#include "tests/unit/gate_kit.h"
#include "tests/unit/scheduler_rig.h"

enum { LONGEST = 400 };

struct test_text {
    struct generation g;
    int32_t prompt[64], ids[LONGEST];
    atomic_int ends;
};

static void on_progress(struct generation *g) { (void)g; }
static void on_end(struct generation *g) {
    atomic_fetch_add(&((struct test_text *)g->ctx)->ends, 1);
}

static struct test_text *text_new(size_t prompt, size_t output) {
    struct test_text *t = calloc(1, sizeof *t);
    for (size_t i = 0; i < prompt; i++)
        t->prompt[i] = (int32_t)(3 + i);
    t->g = (struct generation){.model = models[1],
                               .prompt = t->prompt,
                               .prompt_len = prompt,
                               .max_tokens = output,
                               .sampling = {.top_p = 1, .repetition_penalty = 1},
                               .ignore_eos = true,
                               .progress = on_progress,
                               .done = on_end,
                               .ctx = t,
                               .ids = t->ids};
    return t;
}

static void text_wait(struct test_text *t) {
    while (atomic_load(&t->ends) == 0)
        await_nap();
}

static struct scheduler *start(size_t batch_tokens) {
    struct scheduler_options o = {.replica = replica,
                                  .models = models,
                                  .model_count = 2,
                                  .max_batch_tokens = batch_tokens,
                                  .kv_cache_bytes = (size_t)4 << 20};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    gate_open();
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    gate_shut();
    atomic_store(&gate_passed, 0);
    return s;
}

static void *end_thread(void *scheduler) {
    scheduler_end(scheduler, 0);
    return NULL;
}

// Ends the scheduler while a forward stands at the gate, which then opens.
static void end_at_gate(struct scheduler *s) {
    pthread_t thread;
    struct thread_options o = {.name = "end"};
    CHECK(thread_start(&thread, &o, end_thread, s, NULL) == ERR_OK);
    for (bool stopping = false; !stopping;) { // one that is refused: the stop has begun
        struct test_job *t = job_new(models[0], 0, 1, 1, LANE_BULK);
        scheduler_submit(s, &t->job);
        job_wait(t);
        stopping = t->job.err == ERR_UNAVAILABLE;
        job_free(t);
    }
    gate_open();
    pthread_join(thread, NULL);
}

static void test_stop(void) {
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        struct scheduler *s = start(0);
        struct test_job *t = job_new(models[0], 20, 20, 1, (enum lane)lane);
        scheduler_submit(s, &t->job);
        gate_wait(0);
        end_at_gate(s);
        CHECK_INT(atomic_load(&t->ends), 1);
        CHECK_INT(t->job.err, ERR_UNAVAILABLE);
        CHECK_STR(t->job.msg.text, "the service is stopping");
        CHECK_INT(atomic_load(&gate_passed), 1); // the model's second layer was not begun
        CHECK_INT(scheduler_read_stats(s).forwards_ended, 1);
        CHECK_INT(scheduler_read_stats(s).queued_tokens, 0);
        job_free(t);
        scheduler_free(s);
    }
    // a prompt, a step of it inside a bulk batch, and a text that decodes
    struct scheduler *s = start(0);
    struct test_job *bulk = job_new(models[0], 20, 20, 1, LANE_BULK);
    struct test_text *text = text_new(40, LONGEST);
    scheduler_submit(s, &bulk->job);
    gate_wait(0);
    scheduler_generate(s, &text->g);
    while (scheduler_read_stats(s).generation.running == 0) // until its step is with the replica
        await_nap();
    gate_let(1);
    gate_wait(1); // the step's first product: the batch is set aside
    end_at_gate(s);
    CHECK_INT(text->g.err, ERR_UNAVAILABLE);
    CHECK_STR(text->g.msg.text, "the service is stopping");
    CHECK_INT(bulk->job.err, ERR_UNAVAILABLE);
    // no product of the second layer of either: the step has two or more a layer
    CHECK(atomic_load(&gate_passed) <= 3);
    CHECK_INT(scheduler_read_stats(s).generation.steps_ended, 1);
    CHECK_INT(scheduler_read_stats(s).forwards_ended, 1);
    CHECK_INT(scheduler_read_stats(s).generation.kv_blocks_used, 0);
    free(text);
    job_free(bulk);
    scheduler_free(s);
}

// The scheduler looks over what is in flight every few milliseconds, and tells the replica.
static void wait_for_ends_asked(struct scheduler *s, uint64_t ends) {
    while (scheduler_read_stats(s).ends_asked < ends)
        await_nap();
}

static void test_gone(void) {
    struct scheduler *s = start(0);
    struct test_job *gone = job_new(models[0], 20, 20, 1, LANE_BULK);
    struct test_job *next = job_new(models[0], 20, 20, 2, LANE_BULK);
    scheduler_submit(s, &gone->job);
    gate_wait(0);
    scheduler_submit(s, &next->job);
    atomic_store(&gone->job.cancelled, true);
    wait_for_ends_asked(s, 1);
    gate_let(1);
    job_wait(gone); // while the gate is shut: nothing more of it was computed
    CHECK_INT(gone->job.err, ERR_CANCELLED);
    gate_wait(1); // its successor
    CHECK_INT(scheduler_read_stats(s).forwards_ended, 1);
    // of two in a batch one is gone: the other is computed
    struct test_job *a = job_new(models[0], 3, 20, 3, LANE_BULK);
    struct test_job *b = job_new(models[0], 3, 20, 4, LANE_BULK);
    scheduler_submit(s, &a->job);
    scheduler_submit(s, &b->job);
    gate_let(2);
    job_wait(next);
    CHECK_INT(next->job.err, ERR_OK);
    gate_wait(3);
    atomic_store(&a->job.cancelled, true);
    gate_open();
    job_wait(a);
    job_wait(b);
    CHECK_INT(b->job.err, ERR_OK);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK(stats.forwards_ended == 1 && stats.queued_tokens == 0 && stats.queued_jobs == 0);
    job_free(gone);
    job_free(next);
    job_free(a);
    job_free(b);

    gate_shut();
    atomic_store(&gate_passed, 0);
    struct test_text *text = text_new(40, LONGEST), *after = text_new(40, 20);
    scheduler_generate(s, &text->g);
    gate_wait(0);
    scheduler_generate(s, &after->g);
    atomic_store(&text->g.cancelled, true);
    wait_for_ends_asked(s, 2);
    gate_open();
    text_wait(text);
    text_wait(after);
    CHECK_INT(text->g.err, ERR_CANCELLED);
    CHECK_INT(text->g.produced, 0);
    CHECK_INT(after->g.err, ERR_OK);
    CHECK_INT(after->g.produced, 20);
    CHECK_INT(scheduler_read_stats(s).generation.steps_ended, 1);
    CHECK_INT(scheduler_read_stats(s).generation.kv_blocks_used, 0);
    free(text);
    free(after);
    scheduler_stop(s, 1000000);
}

// It beats at each pause point; where none comes, it does not.
static void test_heartbeat(void) {
    struct scheduler *s = start(4096);
    struct test_job *t = job_new(models[0], 200, 60, 1, LANE_BULK); // pieces of 1,024 rows
    scheduler_submit(s, &t->job);
    int64_t last = 0;
    for (int i = 0; i < 4; i++) {
        gate_wait(i);
        int64_t seen = scheduler_read_stats(s).heartbeat_us;
        CHECK(seen > last);
        for (int k = 0; k < 10; k++) {
            await_nap();
            CHECK_INT(scheduler_read_stats(s).heartbeat_us, seen); // it stands at the gate
        }
        last = seen;
        gate_let(1);
    }
    gate_open();
    job_wait(t);
    CHECK_INT(t->job.err, ERR_OK);
    job_free(t);
    scheduler_stop(s, 1000000);
}

// A long job that calls itself interactive is not: a short one comes in its middle.
static void test_no_monster(void) {
    struct scheduler *s = start(4096);
    struct test_job *large = job_new(models[0], 200, 20, 1, LANE_INTERACTIVE);
    struct test_job *small = job_new(models[0], 1, 20, 2, LANE_INTERACTIVE);
    CHECK(large->job.cu_seqlens[200] > 3 * INTERACTIVE_TOKENS);
    scheduler_submit(s, &large->job);
    gate_wait(0);
    scheduler_submit(s, &small->job);
    gate_open();
    job_wait(large);
    job_wait(small);
    CHECK(small->order < large->order);
    CHECK(scheduler_read_stats(s).yields > 0);
    job_free(large);
    job_free(small);
    // nor do many of them make one: an interactive batch has INTERACTIVE_TOKENS at most
    gate_shut();
    struct test_job *many[100], *first = job_new(models[0], 1, 20, 2, LANE_INTERACTIVE);
    scheduler_submit(s, &first->job);
    gate_wait(0);
    for (uint32_t i = 0; i < 100; i++)
        scheduler_submit(s, &(many[i] = job_new(models[0], 10, 20, i, LANE_INTERACTIVE))->job);
    uint64_t before = scheduler_read_stats(s).batches;
    gate_open();
    size_t tokens = 0;
    for (int i = 0; i < 100; i++) {
        job_wait(many[i]);
        tokens += (size_t)many[i]->job.cu_seqlens[10];
        job_free(many[i]);
    }
    CHECK(scheduler_read_stats(s).batches - before >= tokens / INTERACTIVE_TOKENS);
    job_wait(first);
    job_free(first);
    scheduler_stop(s, 1000000);
}

// Urgent ones among bulk: before their owner's own, or before everybody's.
static void test_urgent_bulk(void) {
    struct scheduler *s = start(64);
    struct test_job *t[6];
    struct test_job *first = job_new(models[0], 30, 20, 1, LANE_BULK);
    scheduler_submit(s, &first->job);
    gate_wait(0);
    for (uint32_t i = 0; i < 6; i++) {
        t[i] = job_new(models[0], 60, 20, i, LANE_BULK);
        t[i]->job.owner = 1 + i / 3; // 1 1 1 2 2 2
    }
    t[2]->job.urgent = JOB_BEFORE_OWN;
    t[5]->job.urgent = JOB_BEFORE_ALL;
    for (int i = 0; i < 6; i++)
        scheduler_submit(s, &t[i]->job);
    gate_open();
    for (int i = 0; i < 6; i++)
        job_wait(t[i]);
    job_wait(first);
    CHECK(t[5]->order < t[0]->order && t[5]->order < t[2]->order && t[5]->order < t[3]->order);
    CHECK(t[2]->order < t[0]->order && t[2]->order < t[1]->order);
    for (int i = 0; i < 6; i++)
        job_free(t[i]);
    job_free(first);
    scheduler_stop(s, 1000000);
}

int main(void) {
    if (!rig_open(2, EMBEDDER, GENERATOR))
        return check_done();
    gate_put(device);
    test_stop();
    test_gone();
    test_heartbeat();
    test_no_monster();
    test_urgent_bulk();
    rig_close();
    return check_done();
}
