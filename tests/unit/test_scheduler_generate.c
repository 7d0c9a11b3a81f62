// Generations and encoding jobs on one device at once, from many threads: each has the bits that it
// has alone, urgent encoding passes, bulk is not starved, what is cancelled leaves no block, and
// every end is told once. What each kind of work is given under a flood is test_scheduler_shares's.
#include "base/clock.h"
#include "base/thread.h"
#include "engine/generator.h"
#include "tests/kit/await.h"
#include "tests/unit/scheduler_rig.h"

enum { LONGEST = 400, KINDS = 12, THREADS = 3 };

struct test_generation {
    struct generation g;
    int32_t prompt[64], ids[LONGEST];
    float logprobs[LONGEST];
    atomic_int ends;
    atomic_size_t told;
    size_t most; // it is cancelled here at the latest, however slow its client's thread; 0: never
};

static void on_progress(struct generation *g) {
    struct test_generation *t = g->ctx;
    size_t told = atomic_load_explicit(&g->produced, memory_order_acquire);
    atomic_store(&t->told, told);
    if (t->most && told >= t->most)
        atomic_store(&g->cancelled, true);
}

static void on_end(struct generation *g) {
    atomic_fetch_add(&((struct test_generation *)g->ctx)->ends, 1);
}

static struct test_generation *generation_new(uint32_t kind, size_t max_tokens) {
    struct test_generation *t = calloc(1, sizeof *t);
    size_t prompt_len = 1 + kind * 13 % 60;
    random_state = kind + 1;
    for (size_t i = 0; i < prompt_len; i++)
        t->prompt[i] = (int32_t)(random_next() % model_vocab(models[1]));
    t->g = (struct generation){.model = models[1],
                               .prompt = t->prompt,
                               .prompt_len = prompt_len,
                               .max_tokens = max_tokens,
                               .sampling = {.temperature = kind % 3 ? 1 : 0,
                                            .top_p = 1,
                                            .repetition_penalty = 1,
                                            .seed = kind},
                               .ignore_eos = true,
                               .want_logprobs = true,
                               .owner = kind,
                               .progress = on_progress,
                               .done = on_end,
                               .ctx = t,
                               .ids = t->ids,
                               .logprobs = t->logprobs};
    return t;
}

static atomic_int wrong; // of what threads did, for check.h is for one thread

static void generate(struct scheduler *s, struct test_generation *t) {
    t->g.reserved = t->g.prompt_len;
    atomic_fetch_add(&wrong, scheduler_reserve(s, t->g.reserved, NULL) != ERR_OK);
    scheduler_generate(s, &t->g);
}

static void wait_for(atomic_int *ends) {
    WAIT_UNTIL(atomic_load(ends) != 0);
    atomic_fetch_add(&wrong, atomic_load(ends) != 1);
}

static void generation_wait(struct test_generation *t) { wait_for(&t->ends); }

static struct scheduler *start(void) {
    struct scheduler_options o = {.replica = replica,
                                  .models = models,
                                  .model_count = 2,
                                  .kv_cache_bytes = (size_t)16 << 20,
                                  .max_sequences = 8};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    return s;
}

static void submit(struct scheduler *s, struct test_job *t) {
    t->job.reserved = 5;
    atomic_fetch_add(&wrong, scheduler_reserve(s, t->job.reserved, NULL) != ERR_OK);
    scheduler_submit(s, &t->job);
}

static struct test_job *encoding_of(uint32_t kind) {
    return job_new(models[0], 1 + kind % 5, 30, kind + 1, kind % 2 ? LANE_BULK : LANE_INTERACTIVE);
}

static size_t output_of(uint32_t kind) { return 20 + kind * 17 % 100; }

static struct test_generation *texts[KINDS]; // alone
static struct test_job *vectors[KINDS];

static void alone(void) {
    struct scheduler *s = start();
    for (uint32_t k = 0; k < KINDS; k++) {
        generate(s, texts[k] = generation_new(k, output_of(k)));
        generation_wait(texts[k]);
        CHECK_INT(texts[k]->g.err, ERR_OK);
        CHECK_INT(texts[k]->told, output_of(k));
        submit(s, vectors[k] = encoding_of(k));
        job_wait(vectors[k]);
        CHECK_INT(vectors[k]->job.err, ERR_OK);
    }
    scheduler_stop(s, 1000000);
}

struct client {
    struct scheduler *s;
    uint32_t first;
    atomic_int same, cancelled; // of what it asked for
};

static void *client_thread(void *arg) {
    struct client *c = arg;
    struct test_generation *t[KINDS], *gone[KINDS];
    struct test_job *j[KINDS];
    for (uint32_t i = 0; i < KINDS; i++) {
        uint32_t kind = (i + c->first) % KINDS;
        generate(c->s, t[i] = generation_new(kind, output_of(kind)));
        submit(c->s, j[i] = encoding_of(kind));
        gone[i] = generation_new(kind + KINDS, LONGEST);
        gone[i]->most = LONGEST / 2;
        generate(c->s, gone[i]);
        if (i % 3 == 0)
            await_nap();
    }
    for (uint32_t i = 0; i < KINDS; i++) { // some before they begin, some in the middle
        while (i % 2 && atomic_load(&gone[i]->told) < 3 && atomic_load(&gone[i]->ends) == 0)
            await_nap();
        atomic_store(&gone[i]->g.cancelled, true);
    }
    for (uint32_t i = 0; i < KINDS; i++) {
        uint32_t kind = (i + c->first) % KINDS;
        size_t n = output_of(kind), floats = j[i]->job.seqs * models[0]->dim;
        generation_wait(t[i]);
        wait_for(&j[i]->ends);
        generation_wait(gone[i]);
        c->same += t[i]->g.err == ERR_OK && t[i]->g.produced == n &&
                   memcmp(t[i]->ids, texts[kind]->ids, n * sizeof *t[i]->ids) == 0 &&
                   memcmp(t[i]->logprobs, texts[kind]->logprobs, n * sizeof(float)) == 0;
        c->same += j[i]->job.err == ERR_OK &&
                   memcmp(j[i]->job.out, vectors[kind]->job.out, floats * sizeof(float)) == 0;
        c->cancelled += gone[i]->g.err == ERR_CANCELLED && gone[i]->g.produced < LONGEST;
        free(t[i]);
        free(gone[i]);
        job_free(j[i]);
    }
    return NULL;
}

static void together(void) {
    struct scheduler *s = start();
    struct client clients[THREADS];
    pthread_t threads[THREADS];
    struct thread_options o = {.name = "client"};
    for (uint32_t i = 0; i < THREADS; i++) {
        clients[i] = (struct client){.s = s, .first = i * 5};
        CHECK(thread_start(&threads[i], &o, client_thread, &clients[i], NULL) == ERR_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
        CHECK_INT(clients[i].same, 2 * KINDS);
        CHECK_INT(clients[i].cancelled, KINDS);
    }
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK_INT(stats.generation.kv_blocks_used, 0);
    CHECK_INT(stats.generation.running + stats.generation.waiting, 0);
    CHECK_INT(stats.generation.done, THREADS * KINDS);
    CHECK_INT(stats.generation.cancelled, THREADS * KINDS);
    CHECK_INT(stats.queued_tokens + stats.queued_jobs, 0);
    scheduler_stop(s, 1000000);
}

// Both kinds of encoding end while eight texts are still being generated.
static void device_is_shared(void) {
    struct scheduler *s = start();
    struct test_generation *t[8];
    for (uint32_t i = 0; i < 8; i++) {
        t[i] = generation_new(i, LONGEST);
        t[i]->g.prompt_len = 4;
        generate(s, t[i]);
    }
    while (atomic_load(&t[7]->told) < 2 && atomic_load(&t[7]->ends) == 0)
        await_nap();
    struct test_job *urgent = encoding_of(2), *bulk = encoding_of(3);
    submit(s, bulk);
    submit(s, urgent);
    job_wait(urgent);
    job_wait(bulk);
    size_t running = 0;
    for (int i = 0; i < 8; i++)
        running += atomic_load(&t[i]->ends) == 0;
    CHECK(running > 0);
    CHECK(urgent->job.err == ERR_OK && bulk->job.err == ERR_OK);
    for (int i = 0; i < 8; i++) {
        generation_wait(t[i]);
        CHECK_INT(t[i]->g.err, ERR_OK);
        free(t[i]);
    }
    job_free(urgent);
    job_free(bulk);
    scheduler_stop(s, 1000000);
}

static void stop(void) {
    struct scheduler *s = start();
    struct errmsg msg = {0};
    struct test_generation *t[20];
    for (uint32_t i = 0; i < 20; i++)
        generate(s, t[i] = generation_new(i, LONGEST));
    scheduler_end(s, 0); // no time to finish them
    size_t refused = 0;
    for (int i = 0; i < 20; i++) {
        CHECK_INT(atomic_load(&t[i]->ends), 1);
        CHECK(t[i]->g.err == ERR_UNAVAILABLE || t[i]->g.err == ERR_OK);
        refused += t[i]->g.err == ERR_UNAVAILABLE;
        free(t[i]);
    }
    CHECK(refused > 0);
    CHECK_INT(scheduler_reserve(s, 1, &msg), ERR_UNAVAILABLE);
    CHECK_INT(scheduler_read_stats(s).generation.kv_blocks_used, 0);
    scheduler_free(s);
    // drained: what was taken is finished
    s = start();
    struct test_generation *whole = generation_new(1, 50);
    generate(s, whole);
    scheduler_stop(s, 60000000);
    CHECK_INT(whole->ends, 1);
    CHECK_INT(whole->g.err, ERR_OK);
    CHECK_INT(whole->g.produced, 50);
    free(whole);
}

static void not_a_generator(void) {
    struct scheduler *s = start();
    struct test_generation *t = generation_new(1, 5);
    t->g.model = models[0];
    generate(s, t);
    CHECK_INT(t->ends, 1);
    CHECK_INT(t->g.err, ERR_UNSUPPORTED);
    CHECK_INT(scheduler_context(s, models[0]), 0);
    CHECK_INT(scheduler_context(s, models[1]), 512);
    CHECK_INT(scheduler_read_stats(s).queued_tokens, 0);
    free(t);
    scheduler_stop(s, 1000000);
}

int main(void) {
    if (!rig_open(2, EMBEDDER, GENERATOR))
        return check_done();
    alone();
    for (replica->facts.steps_ahead = 0; replica->facts.steps_ahead <= GENERATOR_AHEAD_MOST;
         replica->facts.steps_ahead++) {
        together();
        device_is_shared();
        stop();
    }
    replica->facts.steps_ahead = 0;
    not_a_generator();
    for (int i = 0; i < KINDS; i++) {
        free(texts[i]);
        job_free(vectors[i]);
    }
    rig_close();
    CHECK_INT(wrong, 0);
    return check_done();
}
