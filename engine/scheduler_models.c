// See scheduler.h: models that come and go while others are served, and another replica in the
// place of the one before.
#include "engine/scheduler_internal.h"

#include "base/mem.h"
#include "engine/warm_up.h"

struct scheduler_model *scheduler_model_of(struct scheduler *s, uint64_t id) {
    for (size_t i = 0; i < s->model_count; i++)
        if (s->models[i].model->id == id)
            return &s->models[i];
    return NULL;
}

// Room for all models and one more. Mutex held; it is let go of on the way.
static enum err make_room_for(struct scheduler *s, const struct model *m) {
    struct model **all = mem_calloc(s->model_count + 1, sizeof(struct model *));
    struct scheduler_model *more = mem_realloc(s->models, s->model_count + 1, sizeof *s->models);
    if (more)
        s->models = more;
    if (!all || !more) {
        mem_free(all);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < s->model_count; i++)
        all[i] = s->models[i].model->self;
    all[s->model_count] = m->self;
    struct encode_room room = encode_room_for(all, s->model_count + 1, s->options.max_batch_tokens);
    mem_free(all);
    if (room.tokens <= s->room.tokens && room.dim <= s->room.dim)
        return ERR_OK;
    pthread_mutex_unlock(&s->mutex);
    enum err e = scheduler_make_room(s, &room);
    pthread_mutex_lock(&s->mutex);
    return e;
}

enum err scheduler_add_model(struct scheduler *s, const struct model *m, struct errmsg *msg) {
    if (m->task != TASK_GENERATE) {
        enum err e = warm_up_encoder(s->replica, m, scheduler_is_stopping, s, msg);
        if (e)
            return e;
    }
    pthread_mutex_lock(&s->mutex);
    enum err e = make_room_for(s, m);
    if (e)
        err_set(msg, e, "no memory for the batches of model '%s'", m->name);
    else
        s->models[s->model_count++] = (struct scheduler_model){.model = model_hold(m)};
    pthread_mutex_unlock(&s->mutex);
    return e;
}

void scheduler_remove_model(struct scheduler *s, uint64_t id) {
    const struct model *gone = NULL;
    pthread_mutex_lock(&s->mutex);
    struct scheduler_model *m = scheduler_model_of(s, id);
    if (m)
        m->leaving = true;
    while ((m = scheduler_model_of(s, id)) && m->jobs > 0)
        pthread_cond_wait(&s->ready, &s->mutex);
    if (m) {
        gone = m->model;
        *m = s->models[--s->model_count];
    }
    pthread_mutex_unlock(&s->mutex);
    model_release(gone);
}

enum err scheduler_use_replica(struct scheduler *s, struct replica *r, struct errmsg *msg) {
    enum err e = replica_size_batches(r, s->options.max_batch_tokens, msg);
    if (e)
        return e;
    pthread_mutex_lock(&s->mutex);
    struct replica *from = s->replica;
    for (size_t i = 0; i < s->model_count && !e; i++)
        if (replica_weight_bytes(r, s->models[i].model->id) == 0)
            e = err_set(msg, ERR_NOT_FOUND, "model '%s' is not loaded on the other replica",
                        s->models[i].model->name);
    if (!e && from != r) {
        struct replica_stats was = replica_read_stats(from), is = replica_read_stats(r);
        for (int i = 0; i < SHARE_COUNT; i++) // what the one has done counts on with the other
            s->before.used_us[i] += is.used_us[i] - was.used_us[i];
        s->before.yields += is.yields - was.yields;
        s->replica = r;
        scheduler_call_back_flights(s);
        scheduler_call_back_steps(s);
        scheduler_kick(s);
        while (!s->stopping && (scheduler_has_flights_on(s, from) || scheduler_steps_move(s)))
            pthread_cond_wait(&s->ready, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return e;
}
