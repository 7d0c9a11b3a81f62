// Work in flight is moved from one replica to another, two devices in one process: the same bits as
// undisturbed, each end told once, nothing lost. See scheduler_use_replica.
#include "base/json.h"
#include "base/thread.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"
#include "tests/kit/replica_kit.h"
#include "tests/unit/gate_kit.h"
#include "tests/unit/scheduler_kit.h"

#include <string.h>

#define EMBEDDER "tests/golden/data/bert-mean-st6"
#define GENERATOR "tests/golden/data/tiny_chat"

enum { JOBS = 24, TEXTS = 6, PROMPT = 40, OUTPUT = 60, MOVES = 12 };

static struct device *devices[2];
static struct replica *replicas[2];
static struct model *models[2];

// A text with its memory and an account of what was told of it.
struct test_text {
    struct generation g;
    int32_t prompt[PROMPT], ids[OUTPUT];
    float logprobs[OUTPUT];
    atomic_int ends;
};

static void on_progress(struct generation *g) { (void)g; }
static void on_end(struct generation *g) {
    atomic_fetch_add(&((struct test_text *)g->ctx)->ends, 1);
}

static struct test_text *text_new(uint32_t seed) {
    struct test_text *t = calloc(1, sizeof *t);
    random_state = seed + 1;
    for (size_t i = 0; i < PROMPT; i++)
        t->prompt[i] = (int32_t)(random_next() % model_vocab(models[1]));
    t->g = (struct generation){
        .model = models[1],
        .prompt = t->prompt,
        .prompt_len = PROMPT,
        .max_tokens = OUTPUT,
        .sampling = {.temperature = seed % 2 ? 0.8f : 0,
                     .top_p = 1,
                     .repetition_penalty = seed % 3 ? 1.0f : 1.2f,
                     .seed = seed},
        .want_logprobs = true,
        .ignore_eos = true,
        .progress = on_progress,
        .done = on_end,
        .ctx = t,
        .ids = t->ids,
        .logprobs = t->logprobs,
    };
    return t;
}

static void text_wait(struct test_text *t) {
    while (atomic_load(&t->ends) == 0)
        await_nap();
    CHECK_INT(t->g.err, ERR_OK);
    CHECK_INT(t->g.produced, OUTPUT);
}

static struct scheduler *start(void) {
    struct scheduler_options o = {.replica = replicas[0],
                                  .models = models,
                                  .model_count = 2,
                                  .max_batch_tokens = 256,
                                  .kv_cache_bytes = (size_t)4 << 20};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    gate_open();
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    return s;
}

static struct test_job *job_of(uint32_t i) {
    return job_new(models[0], i % 2 ? 40 : 5, 30, i + 1, i % 2 ? LANE_BULK : LANE_INTERACTIVE);
}

static float *vectors[JOBS];
static struct test_text *texts[TEXTS];

static void undisturbed(void) {
    struct scheduler *s = start();
    for (uint32_t i = 0; i < JOBS; i++) {
        struct test_job *t = job_of(i);
        scheduler_submit(s, &t->job);
        job_wait(t);
        CHECK_INT(t->job.err, ERR_OK);
        vectors[i] = t->job.out;
        t->job.out = NULL;
        job_free(t);
    }
    for (uint32_t i = 0; i < TEXTS; i++) {
        scheduler_generate(s, &(texts[i] = text_new(i))->g);
        text_wait(texts[i]);
    }
    scheduler_stop(s, 1000000);
}

static void check_job(struct test_job *t, uint32_t i) {
    job_wait(t);
    CHECK_INT(t->job.err, ERR_OK);
    CHECK(memcmp(t->job.out, vectors[i], t->job.seqs * models[0]->dim * sizeof(float)) == 0);
    job_free(t);
}

static void check_text(struct test_text *t, uint32_t i) {
    text_wait(t);
    CHECK(memcmp(t->ids, texts[i]->ids, sizeof t->ids) == 0);
    CHECK(memcmp(t->logprobs, texts[i]->logprobs, sizeof t->logprobs) == 0);
    CHECK_INT(atomic_load(&t->ends), 1);
    free(t);
}

struct mover {
    struct scheduler *s;
    int to, moves; // moves: to and fro, as often
    enum err err;
    atomic_bool over;
};

static void *move_thread(void *arg) {
    struct mover *m = arg;
    for (int i = 0; i < m->moves && !m->err; i++) {
        m->err = scheduler_use_replica(m->s, replicas[m->to ^ (i & 1)], NULL);
        await_nap();
    }
    atomic_store(&m->over, true);
    return NULL;
}

static void begin_move(struct mover *m, pthread_t *thread) {
    struct thread_options o = {.name = "mover"};
    CHECK(thread_start(thread, &o, move_thread, m, NULL) == ERR_OK);
}

// A batch stands in the middle of its forward on the first replica. When the gate opens it ends
// there at the next pause, and is computed by the second one.
static void in_flight(enum lane lane) {
    struct scheduler *s = start();
    struct mover m = {.s = s, .to = 1, .moves = 1};
    pthread_t thread;
    uint32_t i = lane == LANE_BULK;
    struct test_job *t = job_of(i);
    gate_shut();
    atomic_store(&gate_passed, 0);
    scheduler_submit(s, &t->job);
    gate_wait(0);
    int64_t before = replica_read_stats(replicas[1]).used_us[SHARE_INTERACTIVE] +
                     replica_read_stats(replicas[1]).used_us[SHARE_BULK];
    begin_move(&m, &thread);
    while (scheduler_read_stats(s).moved == 0)
        await_nap();
    CHECK_INT(atomic_load(&t->ends), 0);
    gate_open();
    pthread_join(thread, NULL);
    CHECK_INT(m.err, ERR_OK);
    CHECK_INT(atomic_load(&gate_passed), 1); // no more of it there
    check_job(t, i);
    int64_t after = replica_read_stats(replicas[1]).used_us[SHARE_INTERACTIVE] +
                    replica_read_stats(replicas[1]).used_us[SHARE_BULK];
    CHECK(after > before);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK(stats.jobs_done == 1 && stats.queued_tokens == 0 && stats.queued_jobs == 0);
    t = job_of(i); // and back
    CHECK(scheduler_use_replica(s, replicas[0], NULL) == ERR_OK);
    scheduler_submit(s, &t->job);
    check_job(t, i);
    scheduler_stop(s, 1000000);
}

// The same of a text in mid-sentence.
static void in_mid_sentence(void) {
    struct scheduler *s = start();
    struct mover m = {.s = s, .to = 1, .moves = 1};
    pthread_t thread;
    struct test_text *t = text_new(1);
    scheduler_generate(s, &t->g);
    while (atomic_load(&t->g.produced) < 5)
        ;
    gate_shut();
    if (atomic_load(&t->g.produced) < OUTPUT - 5)
        gate_wait(0);
    begin_move(&m, &thread);
    while (scheduler_read_stats(s).moved == 0 && !atomic_load(&m.over))
        await_nap();
    gate_open();
    pthread_join(thread, NULL);
    CHECK_INT(m.err, ERR_OK);
    check_text(t, 1);
    scheduler_stop(s, 1000000);
}

// Jobs of both lanes and texts, moved to and fro all the while.
static void mixed(void) {
    struct scheduler *s = start();
    struct mover m = {.s = s, .to = 1, .moves = MOVES};
    pthread_t thread;
    struct test_job *jobs[JOBS];
    struct test_text *more[TEXTS];
    for (uint32_t i = 0; i < TEXTS; i++)
        scheduler_generate(s, &(more[i] = text_new(i))->g);
    for (uint32_t i = 0; i < JOBS; i++)
        scheduler_submit(s, &(jobs[i] = job_of(i))->job);
    begin_move(&m, &thread);
    for (uint32_t i = 0; i < JOBS; i++)
        check_job(jobs[i], i);
    for (uint32_t i = 0; i < TEXTS; i++)
        check_text(more[i], i);
    pthread_join(thread, NULL);
    CHECK_INT(m.err, ERR_OK);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK(stats.jobs_done == JOBS && stats.generation.done == TEXTS);
    CHECK(stats.queued_tokens == 0 && stats.queued_jobs == 0);
    scheduler_stop(s, 1000000);
}

static void not_loaded(void) {
    struct scheduler *s = start();
    struct errmsg msg = {0};
    struct replica *empty = NULL;
    CHECK_OK(replica_local_new(devices[1], &empty, &msg), msg);
    CHECK_INT(scheduler_use_replica(s, empty, &msg), ERR_NOT_FOUND);
    struct test_job *t = job_of(0); // nothing has changed
    scheduler_submit(s, &t->job);
    check_job(t, 0);
    scheduler_stop(s, 1000000);
    replica_free(empty);
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    const char *paths[] = {EMBEDDER, GENERATOR};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kit_model_load(paths[i], &models[i], &msg), msg);
    }
    for (int d = 0; d < 2; d++) {
        struct cpu_options options = {.threads = 1 + d};
        CHECK_OK(cpu_device_new(&options, &devices[d], &msg), msg);
        CHECK_OK(replica_local_new(devices[d], &replicas[d], &msg), msg);
        for (int i = 0; i < 2 && !check_failed; i++)
            CHECK_OK(kit_replica_load(replicas[d], models[i], &msg), msg);
    }
    if (check_failed)
        return check_done();
    gate_put(devices[0]);
    undisturbed();
    in_flight(LANE_INTERACTIVE);
    in_flight(LANE_BULK);
    for (size_t ahead = 0; ahead <= 1; ahead++) { // steps that go ahead of the one at hand
        replicas[0]->facts.steps_ahead = replicas[1]->facts.steps_ahead = ahead;
        in_mid_sentence();
        mixed();
    }
    not_loaded();
    for (int i = 0; i < JOBS; i++)
        free(vectors[i]);
    for (int i = 0; i < TEXTS; i++)
        free(texts[i]);
    for (int d = 0; d < 2; d++) {
        replica_free(replicas[d]);
        cpu_device_free(devices[d]);
    }
    for (int i = 0; i < 2; i++)
        model_release(models[i]);
    return check_done();
}
