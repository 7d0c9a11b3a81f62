// See lossy_replica.h: how one is made, what it hands on to the inner one as it is, its places, and
// what is said of it and to it. Work and lives: lossy_replica_work.c.
#include "tests/kit/lossy_replica_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>

static enum err load(struct replica *r, const struct replica_spec *spec, struct errmsg *msg) {
    return replica_load(lossy_of(r)->options.inner, spec, msg);
}

static void unload(struct replica *r, uint64_t model) {
    replica_unload(lossy_of(r)->options.inner, model);
}

static size_t weight_bytes(struct replica *r, uint64_t model) {
    return replica_weight_bytes(lossy_of(r)->options.inner, model);
}

static enum err size_batches(struct replica *r, size_t tokens, struct errmsg *msg) {
    return replica_size_batches(lossy_of(r)->options.inner, tokens, msg);
}

static enum err size_steps(struct replica *r, uint64_t model, const struct step_limits *limits,
                           enum dtype kv_dtype, struct replica_step_sizes *out,
                           struct errmsg *msg) {
    return replica_size_steps(lossy_of(r)->options.inner, model, limits, kv_dtype, out, msg);
}

static enum err open_steps(struct replica *r, uint64_t model,
                           const struct step_engine_options *options, uint64_t *place,
                           struct errmsg *msg) {
    struct lossy *l = lossy_of(r);
    struct lossy_place p = {.model = model, .options = *options};
    enum err e = replica_open_steps(l->options.inner, model, options, &p.inner, msg);
    if (e)
        return e;
    pthread_mutex_lock(&l->mutex);
    size_t i = 0;
    while (i < LOSSY_PLACES && l->places[i].number)
        i++;
    if (i == LOSSY_PLACES)
        abort();
    p.number = *place = 1000 + ++l->place_count;
    l->places[i] = p;
    pthread_mutex_unlock(&l->mutex);
    return ERR_OK;
}

static void close_steps(struct replica *r, uint64_t place) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    for (size_t i = 0; i < LOSSY_PLACES; i++)
        if (place && l->places[i].number == place) {
            replica_close_steps(l->options.inner, l->places[i].inner);
            l->places[i].number = 0;
        }
    pthread_mutex_unlock(&l->mutex);
}

static size_t bytes_of_steps(struct replica *r, uint64_t place) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    uint64_t inner = lossy_inner_place(l, place);
    pthread_mutex_unlock(&l->mutex);
    return replica_step_bytes(l->options.inner, inner);
}

// One that is down shows no life.
static struct replica_stats stats(struct replica *r) {
    struct lossy *l = lossy_of(r);
    struct replica_stats s = replica_read_stats(l->options.inner);
    pthread_mutex_lock(&l->mutex);
    if (l->health.condition != REPLICA_UP)
        s.heartbeat_us = 0;
    pthread_mutex_unlock(&l->mutex);
    return s;
}

static struct replica_health health(struct replica *r) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    struct replica_health h = l->health;
    pthread_mutex_unlock(&l->mutex);
    return h;
}

static void watch(struct replica *r, void (*changed)(void *ctx), void *ctx) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    l->watcher = changed;
    l->watcher_ctx = ctx;
    while (l->telling && !pthread_equal(pthread_self(), l->thread))
        pthread_cond_wait(&l->told, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
}

static void retry(struct replica *r) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    if (l->health.condition == REPLICA_GIVEN_UP) {
        l->health.condition = REPLICA_DOWN;
        l->health.expected_us = l->raise_us = clock_now_us();
        l->changed = true;
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->mutex);
}

static void free_parts(struct lossy *l) {
    for (size_t i = 0; i < LOSSY_PLACES; i++)
        if (l->places[i].number)
            replica_close_steps(l->options.inner, l->places[i].inner);
    pthread_cond_destroy(&l->wake);
    pthread_cond_destroy(&l->told);
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}

static void free_lossy(struct replica *r) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    l->ending = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->thread, NULL);
    free_parts(l);
}

static const struct replica_ops lossy_ops = {
    .load = load,
    .unload = unload,
    .weight_bytes = weight_bytes,
    .size_batches = size_batches,
    .size_steps = size_steps,
    .open_steps = open_steps,
    .close_steps = close_steps,
    .step_bytes = bytes_of_steps,
    .encode = lossy_encode,
    .step = lossy_step,
    .draw = lossy_draw,
    .cancel = lossy_cancel,
    .stats = stats,
    .health = health,
    .watch = watch,
    .retry = retry,
    .free = free_lossy,
};

enum err lossy_replica_new(const struct lossy_options *options, struct replica **out,
                           struct errmsg *msg) {
    *out = NULL;
    struct lossy *l = mem_calloc(1, sizeof *l);
    if (!l)
        return err_set(msg, ERR_NOMEM, "no memory for a replica");
    l->options = *options;
    l->random = options->seed;
    l->per_thousand = options->per_thousand;
    l->tail = &l->held;
    l->head.ops = &lossy_ops;
    l->head.facts = *replica_facts(options->inner);
    l->head.facts.steps_ahead = options->steps_ahead;
    l->head.facts.bulk_ahead = options->bulk_ahead;
    snprintf(l->head.facts.name, sizeof l->head.facts.name, "lossy");
    l->health = (struct replica_health){.condition = REPLICA_UP, .life = 1, .pid = 1, .starts = 1};
    pthread_mutex_init(&l->mutex, NULL);
    enum err e = ERR_OK;
    if (thread_cond_init(&l->wake) || thread_cond_init(&l->told))
        e = err_set(msg, ERR_NOMEM, "no memory for a replica");
    struct thread_options t = {.name = "lossy"};
    if (!e)
        e = thread_start(&l->thread, &t, lossy_run, l, msg);
    if (e) {
        free_parts(l);
        return e;
    }
    *out = &l->head;
    return ERR_OK;
}

// ---- what tests say to it

void lossy_set_chance(struct replica *r, int per_thousand) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    l->per_thousand = per_thousand;
    pthread_mutex_unlock(&l->mutex);
}

void lossy_lose(struct replica *r, int64_t down_us) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    lossy_end_life(l, LOSS_KILLED, down_us);
    pthread_mutex_unlock(&l->mutex);
}

void lossy_raise(struct replica *r) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    if (l->health.condition != REPLICA_UP) {
        l->raise_us = clock_now_us();
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->mutex);
}

void lossy_give_up(struct replica *r) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    lossy_end_life(l, LOSS_EXIT, -1);
    l->health.condition = REPLICA_GIVEN_UP;
    l->raise_us = 0;
    l->changed = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
}

struct lossy_counts lossy_read_counts(struct replica *r) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    struct lossy_counts c = l->counts;
    pthread_mutex_unlock(&l->mutex);
    return c;
}
