// See tables.h.
#include "worker/tables.h"

#include "base/mem.h"

void tables_init(struct tables *t) { pthread_mutex_init(&t->mutex, NULL); }

static void free_place(struct tables_place *p) {
    for (size_t i = 0; i < TABLES_STEPS; i++)
        step_free(p->steps[i]);
    mem_free(p);
}

void tables_free(struct tables *t) {
    for (size_t i = 0; i < t->place_count; i++)
        free_place(t->places[i]);
    t->place_count = 0;
    pthread_mutex_destroy(&t->mutex);
}

// ---- models

// Its index; model_count: none. Mutex held.
static size_t model_at(const struct tables *t, uint64_t model) {
    size_t i = 0;
    while (i < t->model_count && t->models[i].wire.model != model)
        i++;
    return i;
}

enum err tables_add_model(struct tables *t, const struct wire_model *m, struct errmsg *msg) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->mutex);
    if (model_at(t, m->model) < t->model_count)
        e = err_set(msg, ERR_INVALID, "model %llu is loaded already", (unsigned long long)m->model);
    else if (t->model_count == TABLES_MODELS)
        e = err_set(msg, ERR_TOO_LARGE, "%d models are loaded, and no more can be", TABLES_MODELS);
    else
        t->models[t->model_count++] = (struct tables_model){.wire = *m};
    pthread_mutex_unlock(&t->mutex);
    return e;
}

static bool look_up(struct tables *t, uint64_t model, size_t batches, struct wire_model *out) {
    pthread_mutex_lock(&t->mutex);
    size_t at = model_at(t, model);
    bool found = at < t->model_count;
    if (found) {
        *out = t->models[at].wire;
        t->models[at].batches += batches;
    }
    pthread_mutex_unlock(&t->mutex);
    return found;
}

bool tables_find_model(struct tables *t, uint64_t model, struct wire_model *out) {
    return look_up(t, model, 0, out);
}

bool tables_take_model(struct tables *t, uint64_t model, struct wire_model *out) {
    return look_up(t, model, 1, out);
}

void tables_give_model(struct tables *t, uint64_t model) {
    pthread_mutex_lock(&t->mutex);
    t->models[model_at(t, model)].batches--;
    pthread_mutex_unlock(&t->mutex);
}

// Mutex held.
static bool is_in_use(const struct tables *t, const struct tables_model *m) {
    bool open = false;
    for (size_t i = 0; i < t->place_count; i++)
        open |= t->places[i]->wire.model == m->wire.model;
    return open || m->batches > 0;
}

enum err tables_remove_model(struct tables *t, uint64_t model, struct errmsg *msg) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->mutex);
    size_t at = model_at(t, model);
    if (at < t->model_count && is_in_use(t, &t->models[at]))
        e = err_set(msg, ERR_INVALID, "model %llu is unloaded with work or places of its own",
                    (unsigned long long)model);
    else if (at < t->model_count)
        t->models[at] = t->models[--t->model_count];
    pthread_mutex_unlock(&t->mutex);
    return e;
}

struct wire_batch_limits tables_limits(struct tables *t, const struct wire_model *m) {
    pthread_mutex_lock(&t->mutex);
    size_t tokens = t->batch_tokens;
    pthread_mutex_unlock(&t->mutex);
    // as replica_size_batches has it: so many, or one sequence of the model's length
    bool longer = tokens > 0 && m->max_length > tokens;
    return (struct wire_batch_limits){.tokens = longer ? m->max_length : tokens, .seqs = tokens};
}

void tables_set_batch_tokens(struct tables *t, size_t tokens) {
    pthread_mutex_lock(&t->mutex);
    t->batch_tokens = tokens;
    pthread_mutex_unlock(&t->mutex);
}

// ---- places

// Mutex held.
static size_t place_at(const struct tables *t, uint64_t place) {
    size_t i = 0;
    while (i < t->place_count && t->places[i]->wire.place != place)
        i++;
    return i;
}

enum err tables_add_place(struct tables *t, const struct wire_place *p, uint64_t local,
                          struct errmsg *msg) {
    struct tables_place *one = mem_calloc(1, sizeof *one);
    if (!one)
        return err_set(msg, ERR_NOMEM, "no memory for a place of steps");
    one->wire = *p;
    one->local = local;
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->mutex);
    if (place_at(t, p->place) < t->place_count)
        e = err_set(msg, ERR_INVALID, "place %llu is open already", (unsigned long long)p->place);
    else if (t->place_count == TABLES_PLACES)
        e = err_set(msg, ERR_TOO_LARGE, "%d places are open, and no more can be", TABLES_PLACES);
    else
        t->places[t->place_count++] = one;
    pthread_mutex_unlock(&t->mutex);
    if (e)
        mem_free(one);
    return e;
}

struct tables_place *tables_find_place(struct tables *t, uint64_t place) {
    pthread_mutex_lock(&t->mutex);
    size_t at = place_at(t, place);
    struct tables_place *p = at < t->place_count ? t->places[at] : NULL;
    pthread_mutex_unlock(&t->mutex);
    return p;
}

enum err tables_remove_place(struct tables *t, uint64_t place, uint64_t *local,
                             struct errmsg *msg) {
    *local = 0;
    struct tables_place *gone = NULL;
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->mutex);
    size_t at = place_at(t, place);
    if (at < t->place_count)
        gone = t->places[at];
    for (size_t i = 0; gone && i < TABLES_STEPS; i++)
        if (gone->out[i])
            e = err_set(msg, ERR_INVALID, "place %llu is closed with a step in it",
                        (unsigned long long)place);
    if (gone && !e) {
        t->places[at] = t->places[--t->place_count];
        *local = gone->local;
    }
    pthread_mutex_unlock(&t->mutex);
    if (gone && !e)
        free_place(gone);
    return e;
}

// ---- steps

enum err tables_take_step(struct tables *t, struct tables_place *p, size_t *at,
                          struct errmsg *msg) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->mutex);
    size_t i = 0;
    while (i < TABLES_STEPS && p->out[i])
        i++;
    if (i == TABLES_STEPS)
        e = err_set(msg, ERR_INVALID, "a place has more than %d steps", TABLES_STEPS);
    else if (!p->steps[i] && step_new(&p->wire.options.limits, &p->steps[i]))
        e = err_set(msg, ERR_NOMEM, "no memory for a step");
    else
        p->out[i] = true;
    pthread_mutex_unlock(&t->mutex);
    *at = i;
    return e;
}

void tables_give_step(struct tables *t, struct tables_place *p, size_t at) {
    pthread_mutex_lock(&t->mutex);
    p->out[at] = false;
    pthread_mutex_unlock(&t->mutex);
}
