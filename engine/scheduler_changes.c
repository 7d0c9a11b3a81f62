// See scheduler.h: what models that come and go change in the thread's own things: generators, and
// how the caches' memory is divided. A change is made between steps: the thread begins none while
// one waits, and those in flight end meanwhile.
#include "engine/scheduler_internal.h"

size_t scheduler_workspace_bytes(struct scheduler *s) {
    return replica_read_stats(s->sites[SITE_MAIN].replica).workspace_bytes +
           scheduler_flights_bytes(s);
}

void scheduler_plan_workspaces(struct scheduler *s, struct memory_plans *plans, size_t *encoding) {
    const struct scheduler_site *spare = &s->sites[SITE_SPARE];
    struct memory_plan *of_replica = memory_plans_of_replica(plans);
    plans->machine.workspaces = scheduler_flights_bytes(s);
    if (plans->apart && s->options.spare_kind == SPARE_CPU)
        plans->machine.workspaces += replica_read_stats(spare->replica).workspace_bytes;
    if (plans->apart)
        of_replica->workspaces = 0;
    of_replica->workspaces += replica_read_stats(s->sites[SITE_MAIN].replica).workspace_bytes;
    *encoding = of_replica->workspaces;
}

// Bytes that a model has, or has not any more: of the main replica, and on the machine.
struct change_bytes {
    size_t replica, machine;
};

// On both replicas where each has it from the start. What comes to the spare when it is wanted
// (generators.h) is in the plan apart, and a quarantine has one model at a time.
static struct change_bytes weights_of(struct scheduler *s, const struct model *m) {
    bool both = s->options.spare_kind == SPARE_CPU && m->task != TASK_GENERATE;
    size_t bytes = replica_weight_bytes(s->sites[SITE_MAIN].replica, m->id);
    return s->memory.apart ? (struct change_bytes){.replica = bytes, .machine = both ? bytes : 0}
                           : (struct change_bytes){.machine = (both ? 2 : 1) * bytes};
}

static size_t less(size_t from, size_t bytes) { return from > bytes ? from - bytes : 0; }

// What the generators divide among them.
static struct memory_plans plan_without_generators(struct scheduler *s, size_t *encoding) {
    pthread_mutex_lock(&s->mutex);
    struct memory_plans plans = s->memory;
    scheduler_plan_workspaces(s, &plans, encoding);
    s->sites[SITE_MAIN].generators.options.replica = s->sites[SITE_MAIN].replica;
    pthread_mutex_unlock(&s->mutex);
    memory_plans_of_replica(&plans)->caches = 0;
    return plans;
}

static void note_plans(struct scheduler *s, struct memory_plans *plans, size_t encoding) {
    pthread_mutex_lock(&s->mutex);
    s->memory = *plans;
    s->step_workspaces = memory_plans_of_replica(plans)->workspaces - encoding;
    pthread_mutex_unlock(&s->mutex);
}

static enum err make(struct scheduler *s, struct scheduler_change *c) {
    struct change_bytes w = weights_of(s, c->model);
    bool generates = c->model->task == TASK_GENERATE;
    size_t encoding;
    struct memory_plans plans = plan_without_generators(s, &encoding);
    plans.machine.resident += w.machine;
    plans.device.resident += w.replica;
    enum err e = generators_make(&s->sites[SITE_MAIN].generators, generates ? c->model : NULL,
                                 &plans, &c->generator, &c->msg);
    if (!e)
        note_plans(s, &plans, encoding);
    return e;
}

static void share_out(struct scheduler *s, struct change_bytes gone) {
    size_t encoding;
    struct memory_plans plans = plan_without_generators(s, &encoding);
    plans.machine.resident = less(plans.machine.resident, gone.machine);
    plans.device.resident = less(plans.device.resident, gone.replica);
    generators_share_out(&s->sites[SITE_MAIN].generators, &plans);
    note_plans(s, &plans, encoding);
}

// The memory of a model that is not there any more.
static void give_back(struct scheduler *s, const struct model *m) {
    share_out(s, weights_of(s, m));
}

static enum err list(struct scheduler *s, struct scheduler_change *c) {
    pthread_mutex_lock(&s->mutex);
    enum err e = scheduler_put_generator(&s->sites[SITE_MAIN], c->generator, &c->msg);
    pthread_mutex_unlock(&s->mutex);
    if (!e) // another may have gone since it was made
        share_out(s, (struct change_bytes){0});
    return e;
}

static void take_out(struct scheduler *s, const struct model *m) {
    struct generator *one = scheduler_generator_of(s, m);
    if (one) {
        generator_end_all(one, ERR_NOT_FOUND, "the model is not served any more");
        pthread_mutex_lock(&s->mutex);
        scheduler_take_generator(&s->sites[SITE_MAIN], one);
        pthread_mutex_unlock(&s->mutex);
        generator_free(one);
    }
    give_back(s, m);
}

static void make_one(struct scheduler *s, struct scheduler_change *c) {
    switch (c->kind) {
    case CHANGE_MAKE:
        c->err = make(s, c);
        break;
    case CHANGE_LIST:
        c->err = list(s, c);
        break;
    case CHANGE_DROP:
        generator_free(c->generator);
        give_back(s, c->model);
        break;
    case CHANGE_GONE:
        take_out(s, c->model);
        break;
    case CHANGE_BARE:
        scheduler_take_spare_generator(s, c->model);
        break;
    }
}

// Nothing of a model that leaves may be in hand. Mutex held.
static bool can_be_made(struct scheduler *s, const struct scheduler_change *c) {
    if (c->kind != CHANGE_GONE)
        return true;
    const struct scheduler_model *m = scheduler_model_of(s, c->model->id);
    for (int i = 0; i < SITE_COUNT; i++) {
        const struct generator *one = generators_find(&s->sites[i].generators, c->model);
        if (one && generator_busy(one))
            return false;
    }
    return m->jobs == 0;
}

static struct scheduler_change **next_change(struct scheduler *s) {
    struct scheduler_change **at = &s->changes;
    while (*at && !can_be_made(s, *at))
        at = &(*at)->next;
    return at;
}

static struct scheduler_change *take_next(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    struct scheduler_change **at = next_change(s), *c = *at;
    s->quiet = c != NULL;
    if (c && scheduler_has_steps(s))
        c = NULL; // later: an end of a step wakes the thread
    if (c)
        *at = c->next;
    pthread_mutex_unlock(&s->mutex);
    return c;
}

void scheduler_make_changes(struct scheduler *s) {
    bool any = false;
    for (struct scheduler_change *c; (c = take_next(s)); any = true) {
        make_one(s, c);
        pthread_mutex_lock(&s->mutex);
        c->made = true;
        pthread_cond_broadcast(&s->ready);
        pthread_mutex_unlock(&s->mutex);
    }
    if (any)
        scheduler_wake(s); // for the steps that were not begun meanwhile
}

void scheduler_refuse_changes(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    s->ended = true;
    for (struct scheduler_change *c = s->changes; c; c = c->next) {
        c->err = err_set(&c->msg, ERR_UNAVAILABLE, "the service is stopping");
        c->made = true;
    }
    s->changes = NULL;
    pthread_cond_broadcast(&s->ready);
    pthread_mutex_unlock(&s->mutex);
}

enum err scheduler_change(struct scheduler *s, struct scheduler_change *c) {
    c->err = ERR_OK;
    c->made = false;
    c->next = NULL;
    pthread_mutex_lock(&s->mutex);
    if (s->ended) {
        c->err = err_set(&c->msg, ERR_UNAVAILABLE, "the service is stopping");
    } else {
        struct scheduler_change **at = &s->changes;
        while (*at)
            at = &(*at)->next;
        *at = c;
        scheduler_kick(s);
        while (!c->made)
            pthread_cond_wait(&s->ready, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return c->err;
}
