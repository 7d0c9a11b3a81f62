// See scheduler.h: models that come and go while others are served, and another replica in the
// place of the one before.
#include "engine/scheduler_internal.h"

#include "base/log.h"
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
    struct encode_room room = encode_room_for(all, s->model_count + 1, scheduler_batch_most(s));
    mem_free(all);
    if (room.tokens <= s->room.tokens && room.dim <= s->room.dim)
        return ERR_OK;
    pthread_mutex_unlock(&s->mutex);
    enum err e = scheduler_make_room(s, &room);
    pthread_mutex_lock(&s->mutex);
    return e;
}

static void take_from_list(struct scheduler *s, uint64_t id) {
    pthread_mutex_lock(&s->mutex);
    struct scheduler_model *m = scheduler_model_of(s, id);
    const struct model *gone = m ? m->model : NULL;
    if (m)
        *m = s->models[--s->model_count];
    pthread_mutex_unlock(&s->mutex);
    model_release(gone);
}

// Jobs for it are taken from here on.
static enum err put_in(struct scheduler *s, const struct model *m, struct errmsg *msg) {
    pthread_mutex_lock(&s->mutex);
    enum err e = scheduler_model_of(s, m->id)
                     ? err_set(msg, ERR_INVALID, "model '%s' is served already", m->name)
                     : make_room_for(s, m);
    if (e == ERR_NOMEM)
        err_set(msg, e, "no memory for the batches of model '%s'", m->name);
    if (!e)
        s->models[s->model_count++] = (struct scheduler_model){.model = model_hold(m)};
    pthread_mutex_unlock(&s->mutex);
    return e;
}

// What the other models' room is, which may be less.
static void shrink_room(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    struct model **all = mem_calloc(s->model_count + 1, sizeof(struct model *));
    for (size_t i = 0; all && i < s->model_count; i++)
        all[i] = s->models[i].model->self;
    struct encode_room room = s->room;
    if (all)
        room = encode_room_for(all, s->model_count, scheduler_batch_most(s));
    mem_free(all);
    bool less = room.tokens < s->room.tokens || room.dim < s->room.dim;
    pthread_mutex_unlock(&s->mutex);
    if (less && scheduler_make_room(s, &room))
        log_debug("batches keep the room that they have: no memory for less");
}

enum err scheduler_add_model(struct scheduler *s, const struct model *m, struct errmsg *msg) {
    struct scheduler_change c = {.kind = CHANGE_MAKE, .model = m};
    enum err e = scheduler_change(s, &c);
    if (e) {
        if (msg)
            *msg = c.msg;
        return e;
    }
    struct generator *one = c.generator;
    e = one ? scheduler_warm_generator(s, &s->sites[SITE_MAIN], one, msg)
            : scheduler_warm_encoder(s, m, msg);
    if (!e)
        e = put_in(s, m, msg);
    if (!e && one) {
        c.kind = CHANGE_LIST;
        if ((e = scheduler_change(s, &c)) && msg)
            *msg = c.msg;
        if (e)
            take_from_list(s, m->id);
    }
    if (!e && one && s->spare && s->options.warm_spare)
        (void)spare_want(s->spare, m);
    if (!e)
        return ERR_OK;
    c.kind = CHANGE_DROP;
    if (scheduler_change(s, &c) && one) // the thread has ended: it is nobody's
        generator_free(one);
    return e;
}

enum err scheduler_remove_model(struct scheduler *s, const struct model *m, struct errmsg *msg) {
    struct scheduler_change c = {.kind = CHANGE_GONE, .model = m};
    pthread_mutex_lock(&s->mutex);
    struct scheduler_model *found = scheduler_model_of(s, m->id);
    bool there = found && !found->leaving;
    if (there)
        found->leaving = true;
    pthread_mutex_unlock(&s->mutex);
    if (!there)
        return err_set(msg, ERR_NOT_FOUND, "model '%s' is not served", m->name);
    enum err e = scheduler_change(s, &c);
    if (e) {
        if (msg)
            *msg = c.msg;
        return e;
    }
    if (s->spare) { // what it may be making is made, and taken away again
        spare_bar(s->spare, m);
        c.kind = CHANGE_BARE;
        if ((e = scheduler_change(s, &c))) {
            if (msg)
                *msg = c.msg;
            return e;
        }
        spare_let_go(s->spare, m);
    }
    take_from_list(s, m->id);
    shrink_room(s);
    return ERR_OK;
}

enum err scheduler_use_replica(struct scheduler *s, struct replica *r, struct errmsg *msg) {
    enum err e = replica_size_batches(r, s->sites[SITE_MAIN].batch_tokens, msg);
    if (e)
        return e;
    scheduler_watch_main(s, false);
    pthread_mutex_lock(&s->mutex);
    struct scheduler_site *main = &s->sites[SITE_MAIN];
    struct replica *from = main->replica;
    for (size_t i = 0; i < s->model_count && !e; i++)
        if (replica_weight_bytes(r, s->models[i].model->id) == 0)
            e = err_set(msg, ERR_NOT_FOUND, "model '%s' is not loaded on the other replica",
                        s->models[i].model->name);
    if (!e && from != r) {
        struct replica_stats was = replica_read_stats(from), is = replica_read_stats(r);
        for (int i = 0; i < SHARE_COUNT; i++) // what the one has done counts on with the other
            main->before.used_us[i] += is.used_us[i] - was.used_us[i];
        main->before.yields += is.yields - was.yields;
        main->replica = r;
        scheduler_call_back_flights(s);
        scheduler_call_back_steps(s);
        scheduler_kick(s);
        while (!s->stopping && (scheduler_has_flights_on(s, from) || scheduler_steps_move(s)))
            pthread_cond_wait(&s->ready, &s->mutex);
        if (s->stopping)
            e = err_set(msg, ERR_UNAVAILABLE, "the service is stopping");
    }
    pthread_mutex_unlock(&s->mutex);
    scheduler_watch_main(s, true);
    return e;
}
