// What the tests of the worker's program share: models that are loaded in a worker and on a replica
// of this process, and random work for both. A failure is counted and reported by check.h.
#ifndef TRINE_TESTS_UNIT_WORKER_KIT_H
#define TRINE_TESTS_UNIT_WORKER_KIT_H

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"
#include "tests/check.h"
#include "tests/kit/replica_kit.h"
#include "tests/kit/worker_driver.h"
#include "worker/link.h"
#include "worker/sandbox.h"

#include <stdlib.h>
#include <sys/wait.h>

enum { KIT_REGION = 16 << 20, KIT_TOKENS = 512, KIT_THREADS = 2 };

static char kit_program[4200];
static struct device *kit_device;
static struct replica *kit_local; // in this process

static inline void kit_begin(const char *program) {
    struct cpu_options o = {.threads = KIT_THREADS};
    struct errmsg msg = {0};
    json_init();
    driver_find_program(program, kit_program, sizeof kit_program);
    CHECK_OK(cpu_device_new(&o, &kit_device, &msg), msg);
    CHECK_OK(replica_local_new(kit_device, &kit_local, &msg), msg);
    CHECK_OK(replica_size_batches(kit_local, KIT_TOKENS, &msg), msg);
}

static inline void kit_end(void) {
    replica_free(kit_local);
    cpu_device_free(kit_device);
}

static inline struct model *kit_model(const char *path) {
    struct model_options o = {.path = path, .task = -1, .pool_mode = -1};
    o.to_rerank = strstr(path, "reranker") != NULL;
    struct model *m = NULL;
    struct errmsg msg = {0};
    CHECK_OK(model_load(&o, &m, &msg), msg);
    return m;
}

static inline enum err kit_size_batches(struct worker_driver *d, size_t tokens) {
    unsigned char payload[64];
    struct errmsg msg = {0};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    wire_write_size_batches(&w, tokens);
    return driver_ask(d, WIRE_SIZE_BATCHES, &w, NULL, &msg);
}

// A worker that is greeted, and has batches of KIT_TOKENS.
static inline bool kit_start(struct worker_driver *d, const char *faults) {
    struct wire_ready ready;
    return CHECK(driver_start(d, kit_program, KIT_REGION, faults)) &&
           CHECK(driver_greet(d, KIT_THREADS, &ready)) &&
           CHECK(kit_size_batches(d, KIT_TOKENS) == ERR_OK);
}

// Closes its socket: it ends by that, and had nothing to say.
static inline void kit_end_well(struct worker_driver *d) {
    char *words;
    int status = driver_end(d, &words);
    if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == WIRE_END_CLOSED))
        fprintf(stderr, "    status %x: %s\n", status, words);
    if (sandbox_is_built) // else it says that it has none
        CHECK_STR(words, "");
    mem_free(words);
}

// ---- batches

struct kit_batch {
    struct replica_batch b;
    struct driver_batch out;
    int32_t ids[KIT_TOKENS], positions[KIT_TOKENS], types[KIT_TOKENS], cu[KIT_TOKENS + 1];
    int32_t skip[KIT_TOKENS];
    size_t dim;
};

static uint32_t kit_seed = 1;
static inline uint32_t kit_random(void) {
    kit_seed = kit_seed * 1664525U + 1013904223U;
    return kit_seed >> 8;
}

// Sequences of up to `longest` tokens, as many as go into `tokens`.
static inline struct kit_batch *kit_batch_new(const struct model *m, size_t tokens, size_t longest,
                                              enum share share) {
    struct kit_batch *k = calloc(1, sizeof *k);
    size_t n = 0, s = 0;
    while (n < tokens && s < KIT_TOKENS) {
        size_t len = 2 + kit_random() % (longest - 1);
        len = len > tokens - n ? tokens - n : len;
        for (size_t i = 0; i < len; i++, n++) {
            k->ids[n] = (int32_t)(kit_random() % model_vocab(m));
            k->positions[n] = (int32_t)i;
        }
        k->cu[++s] = (int32_t)n;
    }
    k->dim = m->dim;
    k->b.tokens = (struct batch){.ids = k->ids,
                                 .positions = k->positions,
                                 .type_ids = k->types,
                                 .cu_seqlens = k->cu,
                                 .tokens = n,
                                 .seqs = s};
    k->b.skip = k->skip;
    k->b.normalize = m->task == TASK_EMBED;
    k->b.rows = calloc(s * m->dim, sizeof(float));
    k->b.work.model = m->id;
    k->b.work.share = share;
    return k;
}

static inline void kit_batch_free(struct kit_batch *k) {
    free(k->b.rows);
    free(k);
}

struct kit_wait {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool over;
};

static inline void kit_done(struct replica_work *w) {
    struct kit_wait *k = w->ctx;
    pthread_mutex_lock(&k->mutex);
    k->over = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->mutex);
}

static inline void kit_wait(struct kit_wait *k) {
    pthread_mutex_lock(&k->mutex);
    while (!k->over)
        pthread_cond_wait(&k->wake, &k->mutex);
    pthread_mutex_unlock(&k->mutex);
}

// The rows that this process gives; the caller's (free).
static inline float *kit_want(struct kit_batch *k) {
    struct kit_wait wait = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    float *rows = k->b.rows, *want = calloc(k->b.tokens.seqs * k->dim, sizeof *want);
    k->b.rows = want;
    k->b.work.done = kit_done;
    k->b.work.ctx = &wait;
    replica_encode(kit_local, &k->b);
    kit_wait(&wait);
    CHECK_OK(k->b.work.err, k->b.work.msg);
    k->b.rows = rows;
    return want;
}

static inline void kit_send(struct worker_driver *d, struct kit_batch *k) {
    driver_send_batch(d, &k->b, k->dim, &k->out);
}

// The next message is its answer.
static inline enum err kit_receive(struct worker_driver *d, struct kit_batch *k,
                                   struct errmsg *msg) {
    if (!driver_receive(d))
        return err_set(msg, ERR_LOST, "the worker is gone");
    return driver_read_batch(d, &k->b, &k->out, msg);
}

// Has the same bits from the worker as from this process.
static inline bool kit_same_bits(struct worker_driver *d, struct kit_batch *k) {
    struct errmsg msg = {0};
    float *want = kit_want(k);
    kit_send(d, k);
    CHECK_OK(kit_receive(d, k, &msg), msg);
    bool same = memcmp(want, k->b.rows, k->b.tokens.seqs * k->dim * sizeof *want) == 0;
    free(want);
    return CHECK(same);
}

#endif
