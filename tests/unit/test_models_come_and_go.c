// Models are added and removed a thousand times while threads embed, rerank and generate on those
// that stay and on those that go: no request fails but for a model that is not there, every result
// has the bits that it had the first time, the memory's numbers are right after each change, and at
// the end there is no more than there was before the first.
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "tests/kit/await.h"
#include "tests/unit/heap_bytes.h"
#include "tests/unit/scheduler_kit.h"

#define DATA "tests/golden/data/"

enum {
    CYCLES = 1000, // of one model added and removed
    TOGETHER = 60, // of them for each that goes, by threads of their own
    CLIENTS = 3,
    KINDS = 6,
    PROMPT = 20,
    OUTPUT = 12,
    GOING = 3, // kinds below it stay
};

static const struct {
    const char *name, *path;
    enum model_task task;
} kinds[KINDS] = {
    {"stay-embed", DATA "bert-last-f16", TASK_EMBED},
    {"stay-rerank", DATA "bert-cross-encoder", TASK_RERANK},
    {"stay-generate", DATA "tiny_chat", TASK_GENERATE},
    {"go-embed", DATA "bert-mean-st6", TASK_EMBED},
    {"go-classify", DATA "bert-classifier", TASK_CLASSIFY},
    {"go-generate", DATA "tiny_chat", TASK_GENERATE},
};

static struct engine *engine;
static struct test_job *vectors[KINDS]; // what each kind's job gave the first time
static int32_t texts[KINDS][OUTPUT];
static float chances[KINDS][OUTPUT];
static atomic_bool over;
static atomic_int wrong, not_there, refused, served[KINDS]; // check.h is for one thread

static struct model *add(size_t kind) {
    struct model_options o = {
        .path = kinds[kind].path, .name = kinds[kind].name, .task = -1, .pool_mode = -1};
    struct model *m = NULL;
    struct errmsg msg = {0};
    enum err e = engine_add_model(engine, &o, &m, &msg);
    if (e)
        fprintf(stderr, "    %s: %s\n", kinds[kind].name, msg.text);
    atomic_fetch_add(&wrong, e != ERR_OK);
    return m;
}

// Lets go of the caller's hold too.
static void remove_model(struct model *m) {
    struct errmsg msg = {0};
    enum err e = engine_remove_model(engine, m, &msg);
    if (e)
        fprintf(stderr, "    %s: %s\n", m->name, msg.text);
    struct model *found = registry_find(engine->models, m->name);
    atomic_fetch_add(&wrong,
                     e != ERR_OK || found || replica_weight_bytes(engine->replica, m->id) != 0);
    model_release(m);
}

// ---- what clients ask

struct asked {
    struct generation g;
    int32_t prompt[PROMPT], ids[OUTPUT];
    float logprobs[OUTPUT];
    atomic_int ends;
};

static void on_progress(struct generation *g) { (void)g; }
static void on_end(struct generation *g) { atomic_fetch_add(&((struct asked *)g->ctx)->ends, 1); }

static void wait_for(atomic_int *ends) { WAIT_UNTIL(atomic_load(ends) != 0); }

static enum err generate(const struct model *m, size_t kind, int32_t *ids, float *logprobs) {
    struct asked *a = calloc(1, sizeof *a);
    for (size_t i = 0; i < PROMPT; i++)
        a->prompt[i] = (int32_t)((i * 7 + 5) % model_vocab(m));
    a->g = (struct generation){
        .model = m,
        .prompt = a->prompt,
        .prompt_len = PROMPT,
        .max_tokens = OUTPUT,
        .sampling = {.temperature = 0.8f, .top_p = 1, .repetition_penalty = 1.1f, .seed = kind},
        .ignore_eos = true,
        .want_logprobs = true,
        .progress = on_progress,
        .done = on_end,
        .ctx = a,
        .ids = a->ids,
        .logprobs = a->logprobs};
    scheduler_generate(engine->scheduler, &a->g);
    wait_for(&a->ends);
    enum err e = atomic_load(&a->ends) ? a->g.err : ERR_INTERNAL;
    if (!e && a->g.produced != OUTPUT)
        e = ERR_INTERNAL;
    memcpy(ids, a->ids, sizeof a->ids);
    memcpy(logprobs, a->logprobs, sizeof a->logprobs);
    if (atomic_load(&a->ends))
        free(a);
    return e;
}

static struct test_job *encode(const struct model *m, size_t kind, enum lane lane) {
    struct test_job *t = job_new(m, 1 + kind, 20, (uint32_t)kind + 1, lane);
    scheduler_submit(engine->scheduler, &t->job);
    wait_for(&t->ends);
    if (!atomic_load(&t->ends))
        t->job.err = ERR_INTERNAL;
    return t;
}

// Whether it was computed right; *e: whether it was computed.
static bool is_right(const struct model *m, size_t kind, uint32_t turn, enum err *e) {
    if (m->task == TASK_GENERATE) {
        int32_t ids[OUTPUT];
        float logprobs[OUTPUT];
        *e = generate(m, kind, ids, logprobs);
        return *e || (memcmp(ids, texts[kind], sizeof ids) == 0 &&
                      memcmp(logprobs, chances[kind], sizeof logprobs) == 0);
    }
    struct test_job *t = encode(m, kind, turn % 2 ? LANE_BULK : LANE_INTERACTIVE);
    *e = t->job.err;
    bool right = *e || memcmp(t->job.out, vectors[kind]->job.out,
                              t->job.seqs * m->dim * sizeof *t->job.out) == 0;
    if (atomic_load(&t->ends))
        job_free(t);
    return right;
}

static void *ask_on(void *arg) {
    uint32_t x = *(const uint32_t *)arg;
    while (!atomic_load(&over)) {
        x = x * 1664525u + 1013904223u;
        size_t kind = (x >> 10) % KINDS;
        bool goes = kind >= GOING;
        struct model *m = registry_find(engine->models, kinds[kind].name);
        enum err e = ERR_OK;
        if (!m) {
            atomic_fetch_add(goes ? &not_there : &wrong, 1);
            await_nap();
            continue;
        }
        bool right = is_right(m, kind, x >> 20, &e);
        if (goes && e == ERR_NOT_FOUND)
            atomic_fetch_add(&refused, 1);
        else
            atomic_fetch_add(e || !right ? &wrong : &served[kind], 1);
        if (e && e != ERR_NOT_FOUND)
            fprintf(stderr, "    %s: error %d\n", m->name, (int)e);
        model_release(m);
    }
    return NULL;
}

// ---- changes

// What there is of memory.
struct numbers {
    size_t workspaces, caches, resident; // as planned
    size_t workspace_bytes, kv_bytes;    // as there are
    size_t stays_cache;                  // of the generator that stays
};

static struct numbers read_numbers(const struct model *stays) {
    struct scheduler_stats s = scheduler_read_stats(engine->scheduler);
    struct memory_plan p = scheduler_memory(engine->scheduler).machine;
    struct numbers n = {.workspaces = p.workspaces,
                        .caches = p.caches,
                        .resident = p.resident,
                        .workspace_bytes = s.workspace_bytes,
                        .kv_bytes = s.generation.kv_bytes};
    size_t sequences;
    scheduler_cache(engine->scheduler, stays, &n.stays_cache, &sequences);
    return n;
}

static bool same(struct numbers a, struct numbers b) { return memcmp(&a, &b, sizeof a) == 0; }

static void wait_for_service(size_t kind) {
    int before = atomic_load(&served[kind]);
    AWAIT(atomic_load(&served[kind]) > before);
}

// One after the other; the numbers behind each.
static int by_turns(int cycles, const struct model *stays) {
    struct numbers without = read_numbers(stays), with[KINDS] = {0};
    int right = 0;
    for (int i = 0; i < cycles; i++) {
        size_t kind = GOING + (size_t)i % (KINDS - GOING);
        struct model *m = add(kind);
        if (!m)
            return right;
        struct numbers n = read_numbers(stays);
        if (i < KINDS - GOING)
            with[kind] = n;
        bool ok = same(n, with[kind]) &&
                  n.resident == without.resident + replica_weight_bytes(engine->replica, m->id);
        if (i % 20 == 0) // that they are used is seen now and then
            wait_for_service(kind);
        remove_model(m);
        right += ok && same(read_numbers(stays), without);
    }
    // the generators share the cache, in whole blocks; the classifier has the longest rows
    CHECK(with[3].stays_cache == without.stays_cache && with[3].caches == without.caches);
    CHECK(with[5].stays_cache * 2 <= without.stays_cache && with[5].caches <= without.caches);
    CHECK(with[5].stays_cache * 2 > without.stays_cache - (64 << 10));
    CHECK(with[5].workspaces > without.workspaces && with[4].workspaces > without.workspaces);
    CHECK(with[5].kv_bytes == with[5].caches && without.kv_bytes == without.stays_cache);
    return right;
}

static void *come_and_go(void *arg) {
    size_t kind = *(const size_t *)arg;
    for (int i = 0; i < TOGETHER; i++) {
        struct model *m = add(kind);
        if (!m)
            return NULL;
        remove_model(m);
    }
    return NULL;
}

// Each kind by a thread of its own.
static void at_once(void) {
    pthread_t threads[KINDS];
    static const size_t own[KINDS] = {0, 1, 2, 3, 4, 5};
    struct thread_options t = {.name = "changes"};
    struct errmsg msg = {0};
    for (size_t k = GOING; k < KINDS; k++)
        CHECK_OK(thread_start(&threads[k], &t, come_and_go, (void *)(uintptr_t)&own[k], &msg), msg);
    for (size_t k = GOING; k < KINDS; k++)
        pthread_join(threads[k], NULL);
}

static void first_time(size_t kind) {
    struct model *m = registry_find(engine->models, kinds[kind].name);
    CHECK(m && m->task == kinds[kind].task);
    if (m->task == TASK_GENERATE)
        CHECK_INT(generate(m, kind, texts[kind], chances[kind]), ERR_OK);
    else
        CHECK_INT((vectors[kind] = encode(m, kind, LANE_BULK))->job.err, ERR_OK);
    model_release(m);
}

// ---- refusals

static void refusals(const struct model *stays) {
    struct errmsg msg = {0};
    struct model *m = add(3), *found = registry_find(engine->models, "go-embed");
    CHECK(m == found);
    struct model_options again = {
        .path = kinds[4].path, .name = "go-embed", .task = -1, .pool_mode = -1};
    CHECK_INT(engine_add_model(engine, &again, NULL, &msg), ERR_INVALID);
    CHECK_INT(scheduler_add_model(engine->scheduler, m, &msg), ERR_INVALID);
    model_hold(m);
    remove_model(m);
    CHECK_INT(engine_remove_model(engine, m, &msg), ERR_NOT_FOUND);
    CHECK_INT(scheduler_remove_model(engine->scheduler, m, &msg), ERR_NOT_FOUND);
    // found before it went, asked for after
    struct test_job *t = encode(found, 3, LANE_INTERACTIVE);
    CHECK_INT(t->job.err, ERR_NOT_FOUND);
    CHECK_STR(t->job.msg.text, "model 'go-embed' is not served any more");
    job_free(t);
    model_release(found);
    model_release(m);
    // no model, and nothing changed
    struct numbers before = read_numbers(stays);
    struct model_options none = {.path = DATA "none", .name = "none", .task = -1, .pool_mode = -1};
    CHECK_INT(engine_add_model(engine, &none, NULL, &msg), ERR_NOT_FOUND);
    CHECK(same(read_numbers(stays), before));
}

// A text that may fill more than half of the cache is being generated: another generator is
// refused, and comes when it is done. By a scheduler of its own, whose cache is small.
static void refused_for_a_text(void) {
    struct engine_options none = {.threads = 1};
    struct engine *own;
    struct errmsg msg = {0};
    CHECK_OK(engine_open(&none, &own, &msg), msg);
    struct model *models[2];
    for (size_t i = 0; i < 2; i++) {
        struct model_options o = {
            .path = kinds[5].path, .name = i ? "b" : "a", .task = -1, .pool_mode = -1};
        CHECK_OK(engine_add_model(own, &o, &models[i], &msg), msg);
    }
    struct scheduler_options options = {.replica = own->replica,
                                        .models = models,
                                        .model_count = 1,
                                        .kv_cache_bytes = 140 << 10, // some 600 tokens
                                        .max_sequences = 2};
    CHECK_OK(scheduler_start(&options, &own->scheduler, &msg), msg);
    CHECK_OK(scheduler_wait_ready(own->scheduler, &msg), msg);
    size_t context = scheduler_context(own->scheduler, models[0]);
    CHECK_INT(context, 512);
    struct asked *a = calloc(1, sizeof *a);
    int32_t *ids = calloc(context, sizeof *ids);
    a->g = (struct generation){.model = models[0],
                               .prompt = a->prompt,
                               .prompt_len = PROMPT,
                               .max_tokens = context - PROMPT,
                               .sampling = {.top_p = 1, .repetition_penalty = 1},
                               .ignore_eos = true,
                               .progress = on_progress,
                               .done = on_end,
                               .ctx = a,
                               .ids = ids};
    scheduler_generate(own->scheduler, &a->g);
    enum err e = scheduler_add_model(own->scheduler, models[1], &msg);
    bool still = !atomic_load(&a->ends);
    atomic_store(&a->g.cancelled, true);
    wait_for(&a->ends);
    CHECK_INT(a->ends, 1);
    if (still) { // else it had ended before the other came
        CHECK_INT(e, ERR_TOO_LARGE);
        CHECK(strstr(msg.text, "model 'a' would be left") && strstr(msg.text, "--kv-cache-mib"));
        CHECK_INT(scheduler_context(own->scheduler, models[0]), context);
        CHECK_OK(scheduler_add_model(own->scheduler, models[1], &msg), msg);
    }
    CHECK(scheduler_context(own->scheduler, models[0]) < context);
    CHECK_INT(scheduler_context(own->scheduler, models[1]),
              scheduler_context(own->scheduler, models[0]));
    CHECK_OK(scheduler_remove_model(own->scheduler, models[0], &msg), msg);
    CHECK_INT(scheduler_context(own->scheduler, models[0]), 0);
    CHECK_INT(scheduler_context(own->scheduler, models[1]), context);
    model_release(models[0]);
    model_release(models[1]);
    engine_close(own);
    free(ids);
    free(a);
}

// The heap, when nothing is in flight and workspaces of models that went are let go: a lane has its
// new one with its next batch.
static size_t settled_heap(void) {
    struct model *m = registry_find(engine->models, kinds[0].name);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        struct test_job *t = encode(m, 0, (enum lane)lane);
        CHECK_INT(t->job.err, ERR_OK);
        job_free(t);
    }
    model_release(m);
    return heap_bytes();
}

static void open_engine(size_t kv_cache_mib) {
    struct engine_options options = {
        .threads = 1, .kv_cache_mib = kv_cache_mib, .max_sequences = 16};
    struct errmsg msg = {0};
    CHECK_OK(engine_open(&options, &engine, &msg), msg);
}

int main(void) {
    json_init();
    open_engine(1);
    struct errmsg msg = {0};
    for (size_t k = 0; k < GOING; k++)
        model_release(add(k));
    CHECK_OK(engine_start(engine, &msg), msg);
    struct model *stays = registry_find(engine->models, kinds[2].name);
    for (size_t k = 0; k < KINDS; k++) {
        struct model *m = k < GOING ? NULL : add(k);
        first_time(k);
        if (m)
            remove_model(m);
    }
    refusals(stays);
    refused_for_a_text();
    size_t heap = settled_heap();
    struct thread_options t = {.name = "client"};
    pthread_t threads[CLIENTS];
    static uint32_t seeds[CLIENTS] = {1, 2, 3};
    for (int i = 0; i < CLIENTS; i++)
        CHECK_OK(thread_start(&threads[i], &t, ask_on, &seeds[i], &msg), msg);
    int cycles = CYCLES - TOGETHER * (KINDS - GOING);
    int64_t begin = clock_now_us();
    CHECK_INT(by_turns(cycles, stays), cycles);
    at_once();
    double seconds = (double)(clock_now_us() - begin) / 1e6;
    atomic_store(&over, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    size_t heap_after = settled_heap();
    printf("%d cycles in %.1f s; served %d %d %d, and by those that go %d %d %d; not there %d, "
           "refused %d; heap %zu, then %zu\n",
           CYCLES, seconds, served[0], served[1], served[2], served[3], served[4], served[5],
           not_there, refused, heap, heap_after);
    CHECK_INT(wrong, 0);
    CHECK(not_there > 0);
    for (size_t k = 0; k < KINDS; k++)
        CHECK(served[k] > 10);
    // what threads keep of the heap for their next use; a model takes more than that
    CHECK(heap_after <= heap + (256 << 10));
    struct scheduler_stats s = scheduler_read_stats(engine->scheduler);
    CHECK_INT(s.generation.running + s.generation.waiting + s.generation.kv_blocks_used, 0);
    CHECK_INT(s.jobs_done, served[0] + served[1] + served[3] + served[4] + 4 + 2 * LANE_COUNT);
    CHECK_INT(registry_count(engine->models), GOING);
    model_release(stays);
    engine_close(engine);
    for (size_t k = 0; k < KINDS; k++)
        if (vectors[k])
            job_free(vectors[k]);
    return check_done();
}
