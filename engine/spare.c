// See spare.h.
#include "engine/spare.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

// A model that was wanted.
struct spare_model {
    struct spare_model *next;
    const struct model *model; // held
    enum spare_state state;
    bool ours;    // loaded here: whoever has started the service may have loaded it before
    bool leaving; // it is not to be begun any more
    int64_t refused_us;
    struct errmsg why;
};

struct spare {
    struct spare_options options;
    pthread_t thread;
    pthread_mutex_t mutex; // guards what is below
    pthread_cond_t wake;   // a model is wanted, a load is over, or the end
    struct spare_model *models;
    const struct spare_model *at_hand;
    bool ending;
};

// Mutex held, of this and the next two.
static struct spare_model **find(struct spare *s, const struct model *m) {
    struct spare_model **at = &s->models;
    while (*at && (*at)->model != m)
        at = &(*at)->next;
    return at;
}

static struct spare_model *next_wanted(const struct spare *s) {
    struct spare_model *one = s->models;
    while (one && (one->state != SPARE_COMING || one->leaving))
        one = one->next;
    return one;
}

// Those that were wanted first come first.
static struct spare_model *add(struct spare *s, const struct model *m) {
    struct spare_model **at = find(s, m);
    *at = mem_calloc(1, sizeof **at);
    if (*at)
        (*at)->model = model_hold(m);
    return *at;
}

// ---- the thread

static enum err bring(struct spare *s, const struct model *m, bool *ours, struct errmsg *msg) {
    struct replica *r = s->options.replica;
    enum err e = ERR_OK;
    *ours = replica_weight_bytes(r, m->id) == 0;
    if (*ours) {
        struct replica_spec spec;
        model_spec(m, &spec);
        e = replica_load(r, &spec, msg);
    }
    if (e)
        *ours = false;
    if (!e && (e = s->options.loaded(s->options.ctx, m, msg)) && *ours) {
        replica_unload(r, m->id);
        *ours = false;
    }
    return e;
}

static void log_outcome(const struct model *m, enum err e, const struct errmsg *msg,
                        int64_t took_us) {
    if (e)
        log_event(LOG_LEVEL_ERROR, "spare_refused",
                  LOG_FIELDS(log_string("model", m->name), log_string("error", msg->text)),
                  "model '%s' cannot be brought where it would be computed in the worker's place: "
                  "%s",
                  m->name, msg->text);
    else
        log_event(LOG_LEVEL_INFO, "spare_loaded",
                  LOG_FIELDS(log_string("model", m->name),
                             log_real("duration_ms", (double)took_us / 1e3)),
                  "model '%s' is ready to be computed in the worker's place", m->name);
}

static void *run(void *spare) {
    struct spare *s = spare;
    pthread_mutex_lock(&s->mutex);
    while (!s->ending) {
        struct spare_model *one = next_wanted(s);
        if (!one) {
            pthread_cond_wait(&s->wake, &s->mutex);
            continue;
        }
        s->at_hand = one; // it stays in the list for as long
        pthread_mutex_unlock(&s->mutex);
        struct errmsg msg = {0};
        int64_t begun = clock_now_us();
        bool ours;
        enum err e = bring(s, one->model, &ours, &msg);
        int64_t now = clock_now_us();
        log_outcome(one->model, e, &msg, now - begun);
        pthread_mutex_lock(&s->mutex);
        one->ours = ours;
        one->state = e ? SPARE_REFUSED : SPARE_THERE;
        one->refused_us = now;
        one->why = msg;
        s->at_hand = NULL;
        pthread_cond_broadcast(&s->wake);
        pthread_mutex_unlock(&s->mutex);
        s->options.changed(s->options.ctx);
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

// ---- from other threads

enum spare_state spare_want(struct spare *s, const struct model *m) {
    int64_t now = clock_now_us();
    pthread_mutex_lock(&s->mutex);
    struct spare_model *one = *find(s, m);
    if (!one)
        one = add(s, m);
    bool asks = one && !one->leaving &&
                (one->state == SPARE_ABSENT ||
                 (one->state == SPARE_REFUSED && now - one->refused_us >= s->options.again_us));
    if (asks) {
        one->state = SPARE_COMING;
        pthread_cond_broadcast(&s->wake);
    }
    enum spare_state state = one ? one->state : SPARE_REFUSED;
    pthread_mutex_unlock(&s->mutex);
    return state;
}

enum spare_state spare_look(struct spare *s, const struct model *m) {
    pthread_mutex_lock(&s->mutex);
    const struct spare_model *one = *find(s, m);
    enum spare_state state = one ? one->state : SPARE_ABSENT;
    pthread_mutex_unlock(&s->mutex);
    return state;
}

struct errmsg spare_refusal(struct spare *s, const struct model *m) {
    struct errmsg why = {.code = ERR_NOMEM, .text = "no memory"};
    pthread_mutex_lock(&s->mutex);
    const struct spare_model *one = *find(s, m);
    if (one)
        why = one->why;
    pthread_mutex_unlock(&s->mutex);
    return why;
}

static void drop(struct spare *s, struct spare_model *one) {
    if (one->ours)
        replica_unload(s->options.replica, one->model->id);
    model_release(one->model);
    mem_free(one);
}

void spare_bar(struct spare *s, const struct model *m) {
    pthread_mutex_lock(&s->mutex);
    struct spare_model *one = *find(s, m);
    if (one)
        one->leaving = true;
    while (one && s->at_hand == one)
        pthread_cond_wait(&s->wake, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
}

void spare_let_go(struct spare *s, const struct model *m) {
    pthread_mutex_lock(&s->mutex);
    struct spare_model **at = find(s, m), *one = *at;
    if (one)
        *at = one->next;
    pthread_mutex_unlock(&s->mutex);
    if (one)
        drop(s, one);
}

void spare_free(struct spare *s) {
    if (!s)
        return;
    while (s->models) {
        struct spare_model *one = s->models;
        s->models = one->next;
        drop(s, one);
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

void spare_stop(struct spare *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->mutex);
    s->ending = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
}

enum err spare_start(const struct spare_options *options, struct spare **out, struct errmsg *msg) {
    *out = NULL;
    struct spare *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "no memory for the models' spare");
    s->options = *options;
    pthread_mutex_init(&s->mutex, NULL);
    enum err e = ERR_OK;
    if (thread_cond_init(&s->wake)) // fails by memory alone, and glibc's never does
        e = err_set(msg, ERR_NOMEM, "no memory for the models' spare");
    struct thread_options t = {.name = "spare", .stack_bytes = (size_t)2 << 20};
    if (!e)
        e = thread_start(&s->thread, &t, run, s, msg);
    if (e) {
        spare_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}
