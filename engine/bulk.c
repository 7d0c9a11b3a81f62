// See bulk.h. Chunk number n lives in ring slot n % CHUNKS and goes FREE -> FILLING -> COMPUTING ->
// DONE -> FREE. Producers take numbers in order under read_mutex, the caller writes them in order.
#include "engine/bulk.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <string.h>

enum {
    CHUNKS = 8,
    TEXTS_PER_CHUNK = 128,
    BYTES_PER_CHUNK = 64 << 10,
    KEPT_BYTES = 1 << 20, // a chunk that held a huge text gives its memory back
    MAX_PRODUCERS = 4,
    TICK_US = 200000,
};

enum chunk_state { CHUNK_FREE, CHUNK_FILLING, CHUNK_COMPUTING, CHUNK_DONE };

struct bulk {
    struct bulk_options options;
    struct bulk_chunk ring[CHUNKS];
    pthread_mutex_t read_mutex; // held through options.read; before mutex
    pthread_mutex_t mutex;      // guards what follows and the chunks' states
    pthread_cond_t moved;       // a state, `ended` or `ending` changed
    size_t next_read, next_write;
    bool ended;  // no chunk will follow next_read
    bool ending; // stopped or failed: producers go home
    enum err read_err;
    struct errmsg read_msg;
    pthread_t threads[MAX_PRODUCERS];
    int thread_count;
};

// --- chunks ---

static enum err chunk_init(struct bulk_chunk *c, struct bulk *b) {
    const struct bulk_options *o = &b->options;
    *c = (struct bulk_chunk){.bulk = b, .cap = o->texts_per_chunk};
    c->text_ends = mem_calloc(c->cap, sizeof *c->text_ends);
    c->label_ends = mem_calloc(c->cap, sizeof *c->label_ends);
    c->job.cu_seqlens = mem_calloc(c->cap + 1, sizeof *c->job.cu_seqlens);
    c->job.skip = mem_calloc(c->cap, sizeof *c->job.skip);
    size_t floats;
    if (!mem_mul_overflows(c->cap, o->model->dim, &floats))
        c->job.out = mem_calloc(floats, sizeof *c->job.out);
    bool ok = c->text_ends && c->label_ends && c->job.cu_seqlens && c->job.skip && c->job.out;
    return ok ? ERR_OK : ERR_NOMEM;
}

static void chunk_free(struct bulk_chunk *c) {
    buf_free(&c->bytes);
    buf_free(&c->labels);
    mem_free(c->text_ends);
    mem_free(c->label_ends);
    mem_free(c->job.ids);
    mem_free(c->job.type_ids);
    mem_free(c->job.cu_seqlens);
    mem_free(c->job.skip);
    mem_free(c->job.out);
}

static void chunk_clear(struct bulk_chunk *c) {
    if (c->bytes.cap > KEPT_BYTES)
        buf_free(&c->bytes);
    buf_reset(&c->bytes);
    buf_reset(&c->labels);
    c->count = c->tokens = c->truncated = 0;
    c->err = ERR_OK;
}

enum err bulk_chunk_add(struct bulk_chunk *c, struct text text, struct text label,
                        struct errmsg *msg) {
    buf_append(&c->bytes, text.bytes, text.len);
    buf_append(&c->labels, label.bytes, label.len);
    if (c->bytes.failed || c->labels.failed || c->count == c->cap)
        return err_set(msg, ERR_NOMEM, "no memory for a text of %zu bytes", text.len);
    c->text_ends[c->count] = c->bytes.len;
    c->label_ends[c->count] = c->labels.len;
    c->count++;
    return ERR_OK;
}

bool bulk_chunk_full(const struct bulk_chunk *c) {
    return c->count == c->cap || c->bytes.len >= c->bulk->options.bytes_per_chunk;
}

static struct text slice(const struct buf *b, const size_t *ends, size_t i) {
    size_t begin = i ? ends[i - 1] : 0;
    return (struct text){b->data ? b->data + begin : "", ends[i] - begin};
}

struct text bulk_chunk_text(const struct bulk_chunk *c, size_t i) {
    return slice(&c->bytes, c->text_ends, i);
}

struct text bulk_chunk_label(const struct bulk_chunk *c, size_t i) {
    return slice(&c->labels, c->label_ends, i);
}

// --- producers ---

static void set_state(struct bulk *b, struct bulk_chunk *c, enum chunk_state state) {
    pthread_mutex_lock(&b->mutex);
    c->state = (int)state;
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->mutex);
}

static void on_done(struct job *job) {
    struct bulk_chunk *c = job->ctx;
    set_state(c->bulk, c, CHUNK_DONE);
}

static enum err grow_tokens(struct bulk_chunk *c, size_t need, struct errmsg *msg) {
    if (need <= c->token_cap)
        return ERR_OK;
    size_t cap = need < 4096 ? 4096 : need * 2;
    int32_t *ids = mem_realloc(c->job.ids, cap, sizeof *ids);
    if (ids)
        c->job.ids = ids;
    int32_t *types = ids ? mem_realloc(c->job.type_ids, cap, sizeof *types) : NULL;
    if (!types)
        return err_set(msg, ERR_NOMEM, "no memory for %zu tokens", cap);
    c->job.type_ids = types;
    c->token_cap = cap;
    return ERR_OK;
}

static enum err encode_chunk(struct bulk *b, struct bulk_chunk *c, struct tokenizer_scratch *s,
                             struct encoding *e, struct errmsg *msg) {
    struct job *job = &c->job;
    for (size_t i = 0; i < c->count; i++) {
        int32_t skip = 0;
        enum err err = b->options.encode(b->options.ctx, s, bulk_chunk_text(c, i), e, &skip, msg);
        if (!err)
            err = grow_tokens(c, c->tokens + e->len, msg);
        if (err)
            return err;
        memcpy(job->ids + c->tokens, e->ids, e->len * sizeof *e->ids);
        memcpy(job->type_ids + c->tokens, e->type_ids, e->len * sizeof *e->type_ids);
        c->tokens += e->len;
        c->truncated += e->truncated;
        job->cu_seqlens[i + 1] = (int32_t)c->tokens;
        job->skip[i] = skip;
    }
    return ERR_OK;
}

static void submit(struct bulk *b, struct bulk_chunk *c) {
    struct job *job = &c->job;
    job->model = b->options.model;
    job->seqs = c->count;
    job->normalize = b->options.normalize;
    job->lane = LANE_BULK;
    job->deadline_us = 0;
    job->reserved = 0; // the ring bounds what waits
    job->done = on_done;
    job->ctx = c;
    atomic_store(&job->cancelled, false);
    // State and submission change together, so that a stop finds every job that it must cancel.
    pthread_mutex_lock(&b->mutex);
    bool drop = b->ending;
    c->state = drop ? CHUNK_DONE : CHUNK_COMPUTING;
    if (drop)
        c->err = err_set(&c->msg, ERR_CANCELLED, "interrupted");
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->mutex);
    if (!drop)
        scheduler_submit(b->options.scheduler, job);
}

// The next chunk, filled; NULL when there is none left to fill.
static struct bulk_chunk *read_next(struct bulk *b) {
    struct bulk_chunk *c = NULL;
    pthread_mutex_lock(&b->read_mutex);
    pthread_mutex_lock(&b->mutex);
    while (!b->ended && !b->ending && b->ring[b->next_read % CHUNKS].state != CHUNK_FREE)
        pthread_cond_wait(&b->moved, &b->mutex);
    if (!b->ended && !b->ending) {
        c = &b->ring[b->next_read % CHUNKS];
        c->state = CHUNK_FILLING;
        b->next_read++;
    }
    pthread_mutex_unlock(&b->mutex);
    if (c) {
        struct errmsg msg = {0};
        chunk_clear(c);
        enum err e = b->options.read(b->options.ctx, c, &msg);
        if (e || !bulk_chunk_full(c)) {
            pthread_mutex_lock(&b->mutex);
            b->ended = true;
            b->read_err = e;
            b->read_msg = msg;
            pthread_cond_broadcast(&b->moved);
            pthread_mutex_unlock(&b->mutex);
        }
    }
    pthread_mutex_unlock(&b->read_mutex);
    return c;
}

static void *producer(void *arg) {
    struct bulk *b = arg;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    enum err ready = tokenizer_scratch_new(b->options.model->tokenizer, &s);
    for (struct bulk_chunk *c; (c = read_next(b));) {
        c->err = ready ? err_set(&c->msg, ERR_NOMEM, "no memory for the tokenizer")
                       : encode_chunk(b, c, s, &e, &c->msg);
        if (c->err || c->count == 0)
            set_state(b, c, CHUNK_DONE);
        else
            submit(b, c);
    }
    encoding_free(&e);
    tokenizer_scratch_free(s);
    return NULL;
}

// --- the caller ---

// Waits for chunk next_write; NULL: the end, or the stop.
static struct bulk_chunk *wait_next(struct bulk *b, bool *stopped) {
    const struct bulk_options *o = &b->options;
    struct bulk_chunk *c = &b->ring[b->next_write % CHUNKS];
    int64_t tick = clock_now_us() + TICK_US;
    pthread_mutex_lock(&b->mutex);
    for (;;) {
        *stopped = o->stop && atomic_load(o->stop);
        bool end = b->ended && b->next_write == b->next_read;
        if (*stopped || end || (b->next_write < b->next_read && c->state == CHUNK_DONE))
            break;
        if (!thread_cond_wait_until(&b->moved, &b->mutex, tick)) {
            tick = clock_now_us() + TICK_US;
            if (o->tick) {
                pthread_mutex_unlock(&b->mutex);
                o->tick(o->ctx);
                pthread_mutex_lock(&b->mutex);
            }
        }
    }
    bool any = !*stopped && b->next_write < b->next_read;
    pthread_mutex_unlock(&b->mutex);
    return any ? c : NULL;
}

static enum err write_all(struct bulk *b, struct errmsg *msg) {
    int64_t ticked = clock_now_us();
    for (;;) {
        bool stopped;
        struct bulk_chunk *c = wait_next(b, &stopped);
        if (stopped)
            return err_set(msg, ERR_CANCELLED, "interrupted");
        if (!c)
            break;
        enum err e = c->err ? c->err : c->count ? c->job.err : ERR_OK;
        if (e)
            return err_set(msg, e, "%s", c->err ? c->msg.text : c->job.msg.text);
        if (c->count && (e = b->options.write(b->options.ctx, c, msg)))
            return e;
        if (b->options.tick && clock_now_us() - ticked > TICK_US) {
            b->options.tick(b->options.ctx);
            ticked = clock_now_us();
        }
        b->next_write++;
        set_state(b, c, CHUNK_FREE);
    }
    if (b->read_err)
        *msg = b->read_msg;
    return b->read_err;
}

// Sends the producers home and waits until the engine holds no chunk of ours.
static void finish(struct bulk *b) {
    pthread_mutex_lock(&b->mutex);
    b->ending = true;
    for (size_t i = 0; i < CHUNKS; i++)
        atomic_store(&b->ring[i].job.cancelled, true);
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->mutex);
    for (int i = 0; i < b->thread_count; i++)
        pthread_join(b->threads[i], NULL);
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < CHUNKS; i++)
        while (b->ring[i].state == CHUNK_COMPUTING)
            pthread_cond_wait(&b->moved, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
}

static enum err start(struct bulk *b, struct errmsg *msg) {
    for (size_t i = 0; i < CHUNKS; i++)
        if (chunk_init(&b->ring[i], b))
            return err_set(msg, ERR_NOMEM, "no memory for %zu texts at a time",
                           b->options.texts_per_chunk);
    struct thread_options t = {.name = "bulk"};
    int n = b->options.producers;
    for (int i = 0; i < n; i++, b->thread_count++) {
        enum err e = thread_start(&b->threads[i], &t, producer, b, msg);
        if (e && i == 0) // one is enough
            return e;
        if (e)
            break;
    }
    return ERR_OK;
}

enum err bulk_run(const struct bulk_options *options, struct errmsg *msg) {
    struct bulk *b = mem_calloc(1, sizeof *b);
    if (!b)
        return err_set(msg, ERR_NOMEM, "no memory for bulk work");
    b->options = *options;
    if (!b->options.texts_per_chunk)
        b->options.texts_per_chunk = TEXTS_PER_CHUNK;
    if (!b->options.bytes_per_chunk)
        b->options.bytes_per_chunk = BYTES_PER_CHUNK;
    if (b->options.producers < 1)
        b->options.producers = 1;
    if (b->options.producers > MAX_PRODUCERS)
        b->options.producers = MAX_PRODUCERS;
    pthread_mutex_init(&b->read_mutex, NULL);
    pthread_mutex_init(&b->mutex, NULL);
    enum err e = thread_cond_init(&b->moved);
    if (e) {
        e = err_set(msg, e, "no memory for bulk work");
    } else {
        e = start(b, msg);
        if (!e)
            e = write_all(b, msg);
        finish(b);
        pthread_cond_destroy(&b->moved);
    }
    pthread_mutex_destroy(&b->mutex);
    pthread_mutex_destroy(&b->read_mutex);
    for (size_t i = 0; i < CHUNKS; i++)
        chunk_free(&b->ring[i]);
    mem_free(b);
    return e;
}
