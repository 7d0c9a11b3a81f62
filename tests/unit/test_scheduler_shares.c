// Every kind of work has its share of the device while all of them have more than it can do, and
// every owner of jobs its turns. Time is the device's own, as the scheduler books it, and work is
// counted; so a slow or loaded machine changes nothing.
#include "tests/kit/await.h"
#include "tests/unit/gate_kit.h"
#include "tests/unit/scheduler_rig.h"

enum { SHORT = 9000, TEXTS = 600, LONGEST = 440, PROMPT = 60 };

struct test_text {
    struct generation g;
    int32_t prompt[LONGEST + PROMPT], ids[LONGEST];
};

static atomic_size_t texts_ended, short_ended, texts_begun;

static void on_progress(struct generation *g) {
    if (atomic_load(&g->produced) == 1)
        atomic_fetch_add(&texts_begun, 1);
}
static void on_text_end(struct generation *g) {
    (void)g;
    atomic_fetch_add(&texts_ended, 1);
}
static void on_short_end(struct job *job) {
    job_on_done(job);
    atomic_fetch_add(&short_ended, 1);
}

static struct scheduler *start(size_t max_sequences) {
    struct scheduler_options o = {.replica = replica,
                                  .models = models,
                                  .model_count = 2,
                                  .max_queue_tokens = 100000000,
                                  .kv_cache_bytes = (size_t)16 << 20,
                                  .max_sequences = max_sequences,
                                  .no_speculation = true};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    return s;
}

// Bulk, `texts` and short jobs, all of them more than enough; returns what each kind was given
// while all had work.
static struct scheduler_stats flood(size_t prompt, size_t output) {
    struct scheduler *s = start(8);
    static struct test_text texts[TEXTS];
    static struct test_job *urgent[SHORT];
    struct scheduler_stats before, now, after;
    atomic_store(&texts_ended, 0);
    atomic_store(&texts_begun, 0);
    atomic_store(&short_ended, 0);
    struct test_job *bulk = job_new(models[0], 60000, 30, 1, LANE_BULK);
    for (uint32_t i = 0; i < SHORT; i++) {
        urgent[i] = job_new(models[0], 8, 30, i, LANE_INTERACTIVE);
        urgent[i]->job.done = on_short_end;
    }
    scheduler_submit(s, &bulk->job);
    for (uint32_t i = 0; i < TEXTS; i++) {
        struct test_text *t = &texts[i];
        random_state = i + 1;
        for (size_t k = 0; k < prompt; k++)
            t->prompt[k] = (int32_t)(random_next() % model_vocab(models[1]));
        t->g = (struct generation){.model = models[1],
                                   .prompt = t->prompt,
                                   .prompt_len = prompt,
                                   .max_tokens = output,
                                   .sampling = {.top_p = 1, .repetition_penalty = 1},
                                   .ignore_eos = true,
                                   .progress = on_progress,
                                   .done = on_text_end,
                                   .ids = t->ids};
        scheduler_generate(s, &t->g);
    }
    while (output && atomic_load(&texts_begun) < 8)
        await_nap();
    for (uint32_t i = 0; i < SHORT; i++)
        scheduler_submit(s, &urgent[i]->job);
    // until each is at it: what the start has cost may be owed still
    struct scheduler_stats begin = scheduler_read_stats(s);
    do {
        await_nap();
        before = scheduler_read_stats(s);
    } while (before.used_us[SHARE_BULK] - begin.used_us[SHARE_BULK] < 1000 &&
             atomic_load(&short_ended) < SHORT / 2);
    after = before;
    // the last look at which none had ended yet
    for (;;) {
        now = scheduler_read_stats(s);
        if (atomic_load(&texts_ended) + 8 >= TEXTS || atomic_load(&short_ended) + 8 >= SHORT ||
            atomic_load(&bulk->ends) || now.busy_us - before.busy_us > 2000000)
            break;
        after = now;
        await_nap();
    }
    CHECK_INT(atomic_load(&bulk->ends), 0);
    atomic_store(&bulk->job.cancelled, true);
    for (int i = 0; i < TEXTS; i++)
        atomic_store(&texts[i].g.cancelled, true);
    for (int i = 0; i < SHORT; i++)
        atomic_store(&urgent[i]->job.cancelled, true);
    job_wait(bulk);
    while (atomic_load(&texts_ended) < TEXTS || atomic_load(&short_ended) < SHORT)
        await_nap();
    scheduler_stop(s, 1000000);
    for (int i = 0; i < SHORT; i++)
        job_free(urgent[i]);
    job_free(bulk);
    for (int i = 0; i < SHARE_COUNT; i++)
        after.used_us[i] -= before.used_us[i];
    after.busy_us -= before.busy_us;
    after.generation.output_tokens -= before.generation.output_tokens;
    return after;
}

static double part(const struct scheduler_stats *s, enum share share) {
    return (double)s->used_us[share] / (double)s->busy_us;
}

// A window that is too short shows nothing.
static void check_window(const struct scheduler_stats *s) { CHECK(s->busy_us > 100000); }

// The bars are at a third of what each is promised: the window is short where the machine is fast.
static void test_shares(void) {
    struct scheduler_stats s = flood(4, LONGEST);
    printf("decoding: interactive %.3f, decoding %.3f, bulk %.3f of %.2f s\n",
           part(&s, SHARE_INTERACTIVE), part(&s, SHARE_DECODE), part(&s, SHARE_BULK),
           (double)s.busy_us / 1e6);
    check_window(&s);
    CHECK(part(&s, SHARE_INTERACTIVE) > share_percent[SHARE_INTERACTIVE] / 300.0);
    CHECK(part(&s, SHARE_DECODE) > share_percent[SHARE_DECODE] / 300.0);
    CHECK(part(&s, SHARE_BULK) > share_percent[SHARE_BULK] / 300.0);
    CHECK(s.generation.output_tokens > 8); // more than had begun

    s = flood(LONGEST, 1);
    printf("prompts: interactive %.3f, prompts %.3f, bulk %.3f of %.2f s\n",
           part(&s, SHARE_INTERACTIVE), part(&s, SHARE_PREFILL), part(&s, SHARE_BULK),
           (double)s.busy_us / 1e6);
    check_window(&s);
    CHECK(part(&s, SHARE_INTERACTIVE) > share_percent[SHARE_INTERACTIVE] / 300.0);
    CHECK(part(&s, SHARE_PREFILL) > share_percent[SHARE_PREFILL] / 300.0);
    CHECK(part(&s, SHARE_BULK) > share_percent[SHARE_BULK] / 300.0);

    s = flood(LONGEST, 100); // all four in one window
    printf("all: interactive %.3f, decoding %.3f, prompts %.3f, bulk %.3f of %.2f s\n",
           part(&s, SHARE_INTERACTIVE), part(&s, SHARE_DECODE), part(&s, SHARE_PREFILL),
           part(&s, SHARE_BULK), (double)s.busy_us / 1e6);
    check_window(&s);
    for (int i = 0; i < SHARE_COUNT; i++)
        CHECK(part(&s, (enum share)i) > share_percent[i] / 200.0);
}

// In both lanes: owner 2's one job comes behind one batch or two of owner 1's many, not all of
// them, and a heavier owner's jobs are done sooner.
static void test_owners(enum lane lane, size_t seqs) {
    enum { MANY = 400 };
    struct scheduler *s = start(1);
    struct test_job *many[MANY], *one[4], *heavy[MANY / 2];
    gate_shut(); // while they queue
    struct test_job *first = job_new(models[0], 1, 30, 1, lane);
    first->job.owner = 9;
    scheduler_submit(s, &first->job);
    gate_wait(0);
    for (uint32_t i = 0; i < MANY; i++) {
        many[i] = job_new(models[0], seqs, 30, i + 2, lane);
        many[i]->job.owner = 1;
        scheduler_submit(s, &many[i]->job);
    }
    for (uint32_t i = 0; i < MANY / 2; i++) {
        heavy[i] = job_new(models[0], seqs, 30, i + 2, lane);
        heavy[i]->job.owner = 2;
        heavy[i]->job.weight = 3;
        scheduler_submit(s, &heavy[i]->job);
    }
    for (uint32_t i = 0; i < 4; i++) {
        one[i] = job_new(models[0], seqs, 30, i + 2, lane);
        one[i]->job.owner = 3 + i;
        scheduler_submit(s, &one[i]->job);
    }
    gate_open();
    int sooner = 0;
    for (int i = 0; i < MANY; i++)
        job_wait(many[i]);
    for (int i = 0; i < MANY / 2; i++)
        job_wait(heavy[i]);
    job_wait(first);
    for (int i = 0; i < 4; i++) {
        job_wait(one[i]);
        int before = 0;
        for (int k = 0; k < MANY; k++)
            before += many[k]->order < one[i]->order;
        CHECK(before < MANY / 10);
    }
    for (int k = 0; k < MANY; k++)
        sooner += many[k]->order < heavy[MANY / 2 - 1]->order;
    // three for each one of the other's: a sixth of them; in bulk an owner's own take turns too
    CHECK(sooner < MANY / 4 && (lane == LANE_BULK || sooner > MANY / 10));
    for (int i = 0; i < MANY; i++)
        job_free(many[i]);
    for (int i = 0; i < MANY / 2; i++)
        job_free(heavy[i]);
    for (int i = 0; i < 4; i++)
        job_free(one[i]);
    job_free(first);
    scheduler_stop(s, 1000000);
}

int main(void) {
    if (!rig_open(2, EMBEDDER, GENERATOR))
        return check_done();
    gate_put(device);
    test_shares();
    test_owners(LANE_INTERACTIVE, 8);
    test_owners(LANE_BULK, 40);
    rig_close();
    return check_done();
}
