// What is loaded and open: kept here, so that every life is brought up with it. Whoever asks for
// something enters it into the list and waits; the thread tells the worker
// (replica_worker_errand.c) and says how it went.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>

enum { CALL_US = 600000000 }; // for a worker that is down to come up, and to do it

// ---- the lists

struct worker_model *replica_worker_find_model(struct replica_worker *w, uint64_t model) {
    struct worker_model *m = w->models;
    while (m && m->wire.model != model)
        m = m->next;
    return m;
}

struct worker_place *replica_worker_find_place(struct replica_worker *w, uint64_t place) {
    struct worker_place *p = w->places;
    while (p && p->wire.place != place)
        p = p->next;
    return p;
}

static void free_model(struct worker_model *m) {
    replica_worker_load_free(&m->load);
    replica_worker_truth_free(&m->truth[0]);
    replica_worker_truth_free(&m->truth[1]);
    mem_free(m);
}

static void free_place(struct worker_place *p) {
    replica_worker_truth_free(&p->truth);
    for (int i = 0; i < WORKER_COPIES; i++)
        step_free(p->copies[i].step);
    mem_free(p);
}

void replica_worker_drop_model(struct replica_worker *w, struct worker_model *m) {
    struct worker_model **at = &w->models;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    free_model(m);
}

void replica_worker_drop_place(struct replica_worker *w, struct worker_place *p) {
    struct worker_place **at = &w->places;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free_place(p);
}

static void lost(const struct replica_worker *w, struct worker_entry *e, const char *what) {
    if (e->standing != WORKER_JOINS || ++e->losses < WORKER_TRIES)
        return;
    e->standing = WORKER_FAILED;
    err_set(&e->why, ERR_UNAVAILABLE, "the worker ended %d times while %s: %s", WORKER_TRIES, what,
            w->health.why);
}

// At once, not when the call wakes: the thread would ask for the refused size again before that.
void replica_worker_refuse_size(struct replica_worker *w, const struct errmsg *why) {
    w->size_msg = *why;
    w->batch_tokens = w->tokens_before;
    w->sizing = false;
}

void replica_worker_models_lost(struct replica_worker *w) {
    for (struct worker_place *p = w->places, *next; p; p = next) {
        next = p->next;
        lost(w, &p->entry, "a model's steps were prepared in it");
        if (p->entry.standing == WORKER_LEAVES)
            replica_worker_drop_place(w, p);
    }
    for (struct worker_model *m = w->models, *next; m; m = next) {
        next = m->next;
        lost(w, &m->entry, "it loaded a model");
        if (m->entry.standing == WORKER_LEAVES)
            replica_worker_drop_model(w, m);
    }
    if (w->sizing && ++w->size_losses >= WORKER_TRIES) {
        struct errmsg why;
        err_set(&why, ERR_UNAVAILABLE, "the worker ended %d times meanwhile: %s", WORKER_TRIES,
                w->health.why);
        replica_worker_refuse_size(w, &why);
    }
    if (w->query && !w->query->done && ++w->query->losses >= WORKER_TRIES) {
        err_set(&w->query->msg, ERR_UNAVAILABLE, "the worker ended %d times meanwhile: %s",
                WORKER_TRIES, w->health.why);
        w->query->done = true;
    }
    pthread_cond_broadcast(&w->news);
}

// ---- waiting

// Waits for news. ERR_UNAVAILABLE: there will be none. Mutex held.
static enum err wait_on(struct replica_worker *w, int64_t until_us, struct errmsg *msg) {
    if (w->health.condition == REPLICA_GIVEN_UP)
        return err_set(msg, ERR_UNAVAILABLE, "the worker is given up: %s", w->health.why);
    if (clock_now_us() >= until_us)
        return err_set(msg, ERR_UNAVAILABLE, "the worker did not come up in %d s: %s",
                       CALL_US / 1000000, w->health.why);
    replica_worker_wake(w);
    (void)thread_cond_wait_until(&w->news, &w->mutex, until_us);
    return ERR_OK;
}

// Until an entry stands; what does not is to leave. Mutex held.
static enum err wait_entry(struct replica_worker *w, struct worker_entry *e, struct errmsg *msg) {
    int64_t until_us = clock_now_us() + CALL_US;
    enum err err = ERR_OK;
    while (!err && e->standing == WORKER_JOINS)
        err = wait_on(w, until_us, msg);
    if (!err && e->standing == WORKER_FAILED)
        err = err_set(msg, e->why.code, "%s", e->why.text);
    if (err) {
        e->standing = WORKER_LEAVES; // and is dropped where no life has it
        replica_worker_wake(w);
    }
    return err;
}

// ---- models

static enum err make_model(const struct replica_spec *spec, struct worker_model **out,
                           struct errmsg *msg) {
    struct worker_model *m = mem_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) {
        err_set(msg, ERR_NOMEM, "%s: no memory", spec->path);
        return ERR_NOMEM;
    }
    wire_model_of(spec, &m->wire);
    snprintf(m->name, sizeof m->name, "%s", spec->name);
    m->narrow = spec->precision.floats != COMPUTE_F32 ||
                spec->precision.rounding != ACTIVATION_ROUNDING_NONE;
    enum err e = replica_worker_load_keep(spec, &m->load, msg);
    for (int i = 0; i < 2 && !e; i++)
        e = replica_worker_truth_init(&m->truth[i], spec->dim ? spec->dim : 1, msg);
    m->truth[0].narrow = m->truth[1].narrow = m->narrow;
    if (e) {
        free_model(m);
        return e;
    }
    *out = m;
    return ERR_OK;
}

enum err replica_worker_load(struct replica *r, const struct replica_spec *spec,
                             struct errmsg *msg) {
    struct replica_worker *w = replica_worker_of(r);
    struct worker_model *m;
    enum err e = make_model(spec, &m, msg);
    if (!e && (e = replica_worker_ask_batch(w, m, msg)))
        free_model(m);
    if (e)
        return e;
    pthread_mutex_lock(&w->mutex);
    if ((e = replica_worker_batch_room(w, spec->max_length, msg))) {
        pthread_mutex_unlock(&w->mutex);
        free_model(m);
        return e;
    }
    m->next = w->models;
    w->models = m;
    if (w->options.quarantine)
        m->entry.standing = WORKER_STANDS; // loaded when there is work of it
    else
        e = wait_entry(w, &m->entry, msg);
    pthread_mutex_unlock(&w->mutex);
    return e;
}

void replica_worker_unload(struct replica *r, uint64_t model) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    struct worker_model *m = replica_worker_find_model(w, model);
    if (m) {
        m->entry.standing = WORKER_LEAVES;
        replica_worker_wake(w);
    }
    pthread_mutex_unlock(&w->mutex);
}

size_t replica_worker_weight_bytes(struct replica *r, uint64_t model) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    const struct worker_model *m = replica_worker_find_model(w, model);
    bool there = m && m->entry.standing == WORKER_STANDS;
    size_t bytes = there ? m->weight_bytes : 0;
    pthread_mutex_unlock(&w->mutex);
    if (there && w->options.quarantine && w->options.like)
        bytes = replica_weight_bytes(w->options.like, model);
    return bytes;
}

enum err replica_worker_size_batches(struct replica *r, size_t tokens, struct errmsg *msg) {
    struct replica_worker *w = replica_worker_of(r);
    int64_t until_us = clock_now_us() + CALL_US;
    enum err e = ERR_OK;
    pthread_mutex_lock(&w->mutex);
    while (!e && w->sizing) // another call's
        e = wait_on(w, until_us, msg);
    if (!e)
        e = replica_worker_batch_room(w, tokens, msg);
    if (!e) {
        w->tokens_before = w->batch_tokens;
        w->batch_tokens = tokens;
        w->size_losses = 0;
        w->size_msg = (struct errmsg){0};
    }
    if (!e && !w->options.quarantine) {
        w->sizing = true;
        while (!e && w->sizing &&
               !(w->phase == WORKER_UP && w->sized == w->health.life &&
                 w->sized_tokens == replica_worker_tokens(w)))
            e = wait_on(w, until_us, msg);
        w->sizing = false;
        if (!e && w->size_msg.code)
            e = err_set(msg, w->size_msg.code, "%s", w->size_msg.text);
        if (e)
            w->batch_tokens = w->tokens_before;
        pthread_cond_broadcast(&w->news);
    }
    pthread_mutex_unlock(&w->mutex);
    return e;
}

// ---- steps

// With room for a sentinel beside what is asked for.
static void with_sentinel(struct step_limits *l) {
    l->max_tokens += SENTINEL_COUNT;
    l->max_seqs += 1;
    l->max_logits += 1;
}

enum err replica_worker_size_steps(struct replica *r, uint64_t model,
                                   const struct step_limits *limits, enum dtype kv_dtype,
                                   struct replica_step_sizes *out, struct errmsg *msg) {
    struct replica_worker *w = replica_worker_of(r);
    int64_t until_us = clock_now_us() + CALL_US;
    struct worker_query q = {.q = {.model = model, .limits = *limits, .kv_dtype = kv_dtype}};
    enum err e = ERR_OK;
    if (w->options.quarantine && w->options.like)
        return replica_size_steps(w->options.like, model, limits, kv_dtype, out, msg);
    with_sentinel(&q.q.limits);
    pthread_mutex_lock(&w->mutex);
    while (!e && w->query) // another call's
        e = wait_on(w, until_us, msg);
    if (!e) {
        w->query = &q;
        while (!e && !q.done)
            e = wait_on(w, until_us, msg);
        w->query = NULL;
        pthread_cond_broadcast(&w->news);
    }
    pthread_mutex_unlock(&w->mutex);
    if (!e && q.msg.code)
        e = err_set(msg, q.msg.code, "%s", q.msg.text);
    *out = q.sizes;
    return e;
}

static enum err make_place(const struct step_engine_options *options, uint64_t model, size_t vocab,
                           struct worker_place **out, struct errmsg *msg) {
    struct worker_place *p = mem_calloc(1, sizeof *p);
    *out = NULL;
    if (!p) {
        err_set(msg, ERR_NOMEM, "no memory for a model's steps");
        return ERR_NOMEM;
    }
    p->wire = (struct wire_place){.model = model, .options = *options, .vocab = vocab};
    size_t blocks = replica_worker_sentinel_blocks(&options->limits);
    with_sentinel(&p->wire.options.limits);
    p->wire.options.blocks += blocks;
    replica_worker_sentinel_part(vocab, options->blocks, blocks, p->room, &p->sentinel);
    enum err e = replica_worker_truth_init(&p->truth, 2, msg);
    p->truth.is_draw = true;
    for (int i = 0; i < WORKER_COPIES && !e; i++)
        if (step_new(&p->wire.options.limits, &p->copies[i].step))
            e = err_set(msg, ERR_NOMEM, "no memory for a model's steps");
    if (e) {
        free_place(p);
        return e;
    }
    *out = p;
    return ERR_OK;
}

enum err replica_worker_open_steps(struct replica *r, uint64_t model,
                                   const struct step_engine_options *options, uint64_t *place,
                                   struct errmsg *msg) {
    struct replica_worker *w = replica_worker_of(r);
    struct worker_place *p = NULL;
    pthread_mutex_lock(&w->mutex);
    const struct worker_model *m = replica_worker_find_model(w, model);
    size_t vocab = m ? m->wire.vocab : 0;
    bool narrow = m && m->narrow;
    pthread_mutex_unlock(&w->mutex);
    if (!m)
        return err_set(msg, ERR_INTERNAL, "steps of a model that is not loaded");
    enum err e = make_place(options, model, vocab, &p, msg);
    if (!e)
        p->truth.narrow = narrow;
    if (!e && (e = replica_worker_ask_step(w, p, msg)))
        free_place(p);
    if (e)
        return e;
    pthread_mutex_lock(&w->mutex);
    *place = p->wire.place = ++w->places_made;
    p->next = w->places;
    w->places = p;
    if (w->options.quarantine)
        p->entry.standing = WORKER_STANDS; // opened when there is a step of it
    else
        e = wait_entry(w, &p->entry, msg);
    pthread_mutex_unlock(&w->mutex);
    return e;
}

void replica_worker_close_steps(struct replica *r, uint64_t place) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    struct worker_place *p = replica_worker_find_place(w, place);
    if (p) {
        p->entry.standing = WORKER_LEAVES;
        replica_worker_wake(w);
    }
    pthread_mutex_unlock(&w->mutex);
}

size_t replica_worker_step_bytes(struct replica *r, uint64_t place) {
    struct replica_worker *w = replica_worker_of(r);
    struct replica_step_sizes sizes = {0};
    struct wire_place wire = {0};
    pthread_mutex_lock(&w->mutex);
    const struct worker_place *p = replica_worker_find_place(w, place);
    size_t bytes = p ? p->step_bytes : 0;
    if (p)
        wire = p->wire;
    pthread_mutex_unlock(&w->mutex);
    if (bytes || !wire.model || !w->options.quarantine || !w->options.like)
        return bytes;
    enum err e = replica_size_steps(w->options.like, wire.model, &wire.options.limits,
                                    wire.options.kv_dtype, &sizes, NULL);
    return e ? 0 : sizes.workspace_bytes;
}
