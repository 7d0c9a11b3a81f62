// See replica_local.h: what is loaded, workspaces, and the queues that work is submitted to. The
// thread that computes it is replica_run.c's.
#include "engine/replica_local_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdint.h>
#include <stdio.h>

// ---- workspaces

// For the largest of the models, and `more` where it is not NULL. Mutex held.
static size_t workspace_bytes(const struct replica_local *l, const struct replica_model *more) {
    size_t most = 0;
    for (size_t i = 0; i <= l->model_count; i++) {
        const struct replica_model *m = i < l->model_count ? l->models[i] : more;
        if (!m)
            continue;
        size_t longest = m->spec.max_length;
        size_t tokens = longest > l->batch_tokens ? longest : l->batch_tokens;
        size_t bytes = replica_model_workspace_bytes(m, tokens, l->batch_tokens);
        most = bytes > most ? bytes : most;
    }
    return most;
}

// Workspaces of this size come in the place of those that are there; each before the next batch in
// it. `loading` held.
static enum err replace_workspaces(struct replica_local *l, size_t bytes, struct errmsg *msg) {
    const struct device_ops *ops = l->device->ops;
    struct arena made[REPLICA_LANES] = {0};
    for (size_t i = 0; i < REPLICA_LANES; i++) {
        if (ops->workspace_new(l->device, bytes, &made[i]) == ERR_OK)
            continue;
        while (i > 0)
            ops->workspace_free(l->device, &made[--i]);
        return err_set(msg, ERR_NOMEM,
                       "no memory for a workspace of %zu bytes; lower --max-batch-tokens", bytes);
    }
    pthread_mutex_lock(&l->mutex);
    l->workspace_bytes = bytes;
    for (size_t i = 0; i < REPLICA_LANES; i++) {
        struct arena was = l->spare[i];
        l->spare[i] = made[i];
        made[i] = was;
        l->has_spare[i] = true;
    }
    pthread_mutex_unlock(&l->mutex);
    for (size_t i = 0; i < REPLICA_LANES; i++)
        ops->workspace_free(l->device, &made[i]);
    return ERR_OK;
}

static enum err size_batches(struct replica *r, size_t tokens, struct errmsg *msg) {
    struct replica_local *l = replica_local_of(r);
    pthread_mutex_lock(&l->loading);
    pthread_mutex_lock(&l->mutex);
    l->batch_tokens = tokens;
    size_t bytes = workspace_bytes(l, NULL), had = l->workspace_bytes;
    pthread_mutex_unlock(&l->mutex);
    enum err e = bytes == had ? ERR_OK : replace_workspaces(l, bytes, msg);
    pthread_mutex_unlock(&l->loading);
    return e;
}

// ---- models

// Room for one more in the list. Mutex held.
static bool make_room(struct replica_local *l) {
    if (l->model_count < l->model_room)
        return true;
    size_t room = l->model_room ? 2 * l->model_room : 4;
    struct replica_model **more = mem_realloc(l->models, room, sizeof(struct replica_model *));
    if (!more)
        return false;
    l->models = more;
    l->model_room = room;
    return true;
}

// Lists a model whose weights are there, with workspaces that are large enough for it.
static enum err list_model(struct replica_local *l, struct replica_model *loaded,
                           struct errmsg *msg) {
    pthread_mutex_lock(&l->mutex);
    bool room = make_room(l);
    size_t had = l->workspace_bytes, bytes = l->batch_tokens ? workspace_bytes(l, loaded) : had;
    pthread_mutex_unlock(&l->mutex);
    if (!room)
        return err_set(msg, ERR_NOMEM, "%s: no memory", loaded->spec.path);
    enum err e = bytes > had ? replace_workspaces(l, bytes, msg) : ERR_OK;
    if (e)
        return e;
    pthread_mutex_lock(&l->mutex);
    l->models[l->model_count++] = loaded;
    pthread_mutex_unlock(&l->mutex);
    return ERR_OK;
}

static enum err load(struct replica *r, const struct replica_spec *spec, struct errmsg *msg) {
    struct replica_local *l = replica_local_of(r);
    struct replica_model *loaded;
    pthread_mutex_lock(&l->loading);
    enum err e = replica_model_load(spec, l->device, &loaded, msg);
    if (!e && (e = list_model(l, loaded, msg)))
        replica_model_free(loaded);
    pthread_mutex_unlock(&l->loading);
    return e;
}

// Its place in the list; model_count: none. Mutex held.
static size_t place_of(const struct replica_local *l, uint64_t model) {
    size_t i = 0;
    while (i < l->model_count && l->models[i]->spec.model != model)
        i++;
    return i;
}

struct replica_model *replica_local_find(struct replica_local *l, uint64_t model) {
    pthread_mutex_lock(&l->mutex);
    size_t at = place_of(l, model);
    struct replica_model *found = at < l->model_count ? l->models[at] : NULL;
    pthread_mutex_unlock(&l->mutex);
    return found;
}

static void unload(struct replica *r, uint64_t model) {
    struct replica_local *l = replica_local_of(r);
    struct replica_model *gone = NULL;
    pthread_mutex_lock(&l->loading);
    pthread_mutex_lock(&l->mutex);
    size_t at = place_of(l, model);
    if (at < l->model_count) {
        gone = l->models[at];
        l->models[at] = l->models[--l->model_count];
    }
    size_t had = l->workspace_bytes, bytes = l->batch_tokens ? workspace_bytes(l, NULL) : had;
    pthread_mutex_unlock(&l->mutex);
    if (bytes < had) // where there is no memory for smaller ones, the large ones stay
        (void)!replace_workspaces(l, bytes, NULL);
    replica_model_free(gone);
    pthread_mutex_unlock(&l->loading);
}

static size_t weight_bytes(struct replica *r, uint64_t model) {
    const struct replica_model *m = replica_local_find(replica_local_of(r), model);
    return m ? m->weight_bytes : 0;
}

// ---- steps

// So many of the device's slots that no other place has: the first ones between two others'.
// Mutex held. SIZE_MAX: there are not so many.
static size_t find_slots(const struct replica_local *l, size_t n) {
    size_t first = 0;
    bool moved = l->device->drawn_slots > 0 && l->device->ops->mark && l->device->ops->wait_mark;
    if (!moved)
        return SIZE_MAX;
    while (moved) {
        moved = false;
        for (const struct replica_steps *s = l->steps; s; s = s->next)
            if (s->slots && first < s->first_slot + s->slots && s->first_slot < first + n) {
                first = s->first_slot + s->slots;
                moved = true;
            }
    }
    return first + n <= l->device->drawn_slots ? first : SIZE_MAX;
}

// Where it has slots its steps go ahead.
static enum err make_steps(struct replica_local *l, const struct replica_model *m,
                           const struct step_engine_options *options, struct replica_steps *one,
                           struct errmsg *msg) {
    size_t n = step_engine_slots(&options->limits);
    pthread_mutex_lock(&l->mutex);
    one->first_slot = find_slots(l, n);
    pthread_mutex_unlock(&l->mutex);
    if (one->first_slot == SIZE_MAX)
        return step_engine_new(m, options, &one->engine, msg);
    one->slots = n;
    return step_engine_new_ahead(m, options, one->first_slot, &one->engine, msg);
}

static enum err open_steps(struct replica *r, uint64_t model,
                           const struct step_engine_options *options, uint64_t *place,
                           struct errmsg *msg) {
    struct replica_local *l = replica_local_of(r);
    const struct replica_model *m = replica_local_find(l, model);
    struct replica_steps *one = mem_calloc(1, sizeof *one);
    enum err e;
    if (!one)
        return err_set(msg, ERR_NOMEM, "no memory for a model's steps");
    if (!m)
        e = err_set(msg, ERR_INTERNAL, "steps of a model that is not loaded");
    else
        e = make_steps(l, m, options, one, msg);
    if (e) {
        mem_free(one);
        return e;
    }
    pthread_mutex_lock(&l->mutex);
    one->place = *place = ++l->places;
    one->next = l->steps;
    l->steps = one;
    pthread_mutex_unlock(&l->mutex);
    return ERR_OK;
}

static void close_steps(struct replica *r, uint64_t place) {
    struct replica_local *l = replica_local_of(r);
    pthread_mutex_lock(&l->mutex);
    struct replica_steps **at = &l->steps, *gone;
    while (*at && (*at)->place != place)
        at = &(*at)->next;
    if ((gone = *at))
        *at = gone->next;
    pthread_mutex_unlock(&l->mutex);
    if (gone)
        step_engine_free(gone->engine);
    mem_free(gone);
}

struct step_engine *replica_steps_at(struct replica_local *l, uint64_t place) {
    pthread_mutex_lock(&l->mutex);
    const struct replica_steps *s = l->steps;
    while (s && s->place != place)
        s = s->next;
    pthread_mutex_unlock(&l->mutex);
    return s ? s->engine : NULL;
}

static enum err size_steps(struct replica *r, uint64_t model, const struct step_limits *limits,
                           enum dtype kv_dtype, struct replica_step_sizes *out,
                           struct errmsg *msg) {
    const struct replica_model *m = replica_local_find(replica_local_of(r), model);
    if (!m || !m->decoder)
        return err_set(msg, ERR_INTERNAL, "steps of a model that is not loaded");
    *out = (struct replica_step_sizes){
        .block_bytes = step_engine_block_bytes(m, limits->block_tokens, kv_dtype),
        .workspace_bytes = step_engine_workspace_bytes(m, limits)};
    if (out->block_bytes == 0) // a shape that kv_new would refuse in its own words
        return err_set(msg, ERR_UNSUPPORTED, "model '%s': no KV cache for heads of %zu",
                       m->spec.name, m->spec.decoder_config.head_dim);
    return ERR_OK;
}

static size_t bytes_of_steps(struct replica *r, uint64_t place) {
    const struct step_engine *e = replica_steps_at(replica_local_of(r), place);
    return e ? step_engine_bytes(e) : 0;
}

// ---- work

static void submit(struct replica *r, struct replica_work *w) {
    struct replica_local *l = replica_local_of(r);
    replica_reset_work(w);
    w->queued = true;
    pthread_mutex_lock(&l->mutex);
    w->number = ++l->submitted;
    replica_list_push(&l->queue[w->share], w);
    atomic_fetch_or(&l->queued, SHARE_BIT(w->share));
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
}

static void encode(struct replica *r, struct replica_batch *b) { submit(r, &b->work); }

static void step(struct replica *r, struct replica_step *s) {
    s->released = s->forwarded = false;
    submit(r, &s->work);
}

static void draw(struct replica *r, struct replica_step *s) {
    struct replica_local *l = replica_local_of(r);
    pthread_mutex_lock(&l->mutex);
    s->released = true;
    if (s->forwarded && !s->work.queued && !atomic_load(&s->work.cancelled)) {
        s->work.queued = true;
        replica_list_push(&l->queue[s->work.share], &s->work);
        atomic_fetch_or(&l->queued, SHARE_BIT(s->work.share));
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->mutex);
}

// Whether it waits for its draw to be released. Mutex held.
static bool is_parked(const struct replica_local *l, const struct replica_work *w) {
    const struct replica_step *s = l->forwarded;
    while (s && &s->work != w)
        s = s->next_forwarded;
    return s && !s->released;
}

static void unqueue(struct replica_local *l, struct replica_work *w) {
    struct replica_list *q = &l->queue[w->share];
    replica_list_remove(q, w);
    if (!q->head)
        atomic_fetch_and(&l->queued, ~SHARE_BIT(w->share));
    w->queued = false;
}

static void cancel(struct replica *r, struct replica_work *w) {
    struct replica_local *l = replica_local_of(r);
    pthread_mutex_lock(&l->mutex);
    bool waits = w->queued || is_parked(l, w);
    if (w->queued)
        unqueue(l, w);
    if (waits && !atomic_load(&w->cancelled)) {
        replica_list_push(&l->dead, w);
        atomic_fetch_or(&l->queued, REPLICA_DEAD_BIT);
        pthread_cond_signal(&l->wake);
    }
    atomic_store(&w->cancelled, true);
    pthread_mutex_unlock(&l->mutex);
}

static struct replica_stats stats(struct replica *r) {
    struct replica_local *l = replica_local_of(r);
    struct replica_stats s = {.heartbeat_us = atomic_load(&l->heartbeat_us),
                              .yields = atomic_load(&l->yields)};
    for (int i = 0; i < SHARE_COUNT; i++)
        s.used_us[i] = atomic_load(&l->used_us[i]);
    pthread_mutex_lock(&l->mutex);
    s.workspace_bytes = REPLICA_LANES * l->workspace_bytes;
    pthread_mutex_unlock(&l->mutex);
    return s;
}

// ---- its life: one, as long as this process's

static struct replica_health health(struct replica *r) {
    (void)r;
    return (struct replica_health){
        .condition = REPLICA_UP, .present = true, .life = 1, .starts = 1};
}

static void watch(struct replica *r, void (*changed)(void *ctx), void *ctx) {
    (void)r;
    (void)changed;
    (void)ctx;
}

static void retry(struct replica *r) { (void)r; }

static void free_parts(struct replica_local *l) {
    const struct device_ops *ops = l->device->ops;
    while (l->steps)
        close_steps(&l->head, l->steps->place);
    for (size_t i = 0; i < l->model_count; i++)
        replica_model_free(l->models[i]);
    for (size_t i = 0; i < REPLICA_LANES; i++) {
        ops->workspace_free(l->device, &l->workspaces[i]);
        ops->workspace_free(l->device, &l->spare[i]);
    }
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->mutex);
    pthread_mutex_destroy(&l->loading);
    mem_free(l->models);
    mem_free(l);
}

static void free_local(struct replica *r) {
    struct replica_local *l = replica_local_of(r);
    pthread_mutex_lock(&l->mutex);
    l->ending = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
    if (!l->is_fed)
        pthread_join(l->thread, NULL);
    free_parts(l);
}

static enum err new_local(struct device *d, const struct replica_feed *feed, struct replica **out,
                          struct errmsg *msg) {
    static const struct replica_ops ops = {
        .load = load,
        .unload = unload,
        .weight_bytes = weight_bytes,
        .size_batches = size_batches,
        .size_steps = size_steps,
        .open_steps = open_steps,
        .close_steps = close_steps,
        .step_bytes = bytes_of_steps,
        .encode = encode,
        .step = step,
        .draw = draw,
        .cancel = cancel,
        .stats = stats,
        .health = health,
        .watch = watch,
        .retry = retry,
        .free = free_local,
    };
    *out = NULL;
    struct replica_local *l = mem_calloc(1, sizeof *l);
    if (!l)
        return err_set(msg, ERR_NOMEM, "no memory for a replica");
    l->head.ops = &ops;
    // Without slots the device is the CPU: what a step ahead hides is done on the CPUs that
    // compute, and nothing is gained by it.
    l->head.facts = (struct replica_facts){.kv_block_tokens = d->kv_block_tokens,
                                           .steps_ahead = d->drawn_slots > 0,
                                           .batch_tokens = d->batch_tokens,
                                           .memory_bytes = d->memory_bytes};
    snprintf(l->head.facts.name, sizeof l->head.facts.name, "%s", d->ops->name);
    snprintf(l->head.facts.describe, sizeof l->head.facts.describe, "%s", d->describe);
    l->device = d;
    for (int i = 0; i < SHARE_COUNT; i++)
        replica_list_clear(&l->queue[i]);
    replica_list_clear(&l->dead);
    atomic_store(&l->heartbeat_us, clock_now_us());
    pthread_mutex_init(&l->loading, NULL);
    pthread_mutex_init(&l->mutex, NULL);
    enum err e = ERR_OK;
    if (thread_cond_init(&l->wake)) // fails by memory alone, and glibc's never does
        e = err_set(msg, ERR_NOMEM, "no memory for a replica");
    // it drives the device: it gets a roomy stack for deep forwards
    struct thread_options t = {.name = "engine", .stack_bytes = (size_t)2 << 20};
    if (!e && feed) {
        l->is_fed = true;
        l->feed = *feed;
    } else if (!e) {
        e = thread_start(&l->thread, &t, replica_run, l, msg);
    }
    if (e) {
        free_parts(l);
        return e;
    }
    *out = &l->head;
    return ERR_OK;
}

enum err replica_local_new(struct device *d, struct replica **out, struct errmsg *msg) {
    return new_local(d, NULL, out, msg);
}

enum err replica_local_new_fed(struct device *d, const struct replica_feed *feed,
                               struct replica **out, struct errmsg *msg) {
    return new_local(d, feed, out, msg);
}

void replica_local_drive(struct replica *r) { (void)replica_run(replica_local_of(r)); }
