// See scheduler.h: generations when a life of a replica ends. The steps that come back lost are
// taken back, and the generator waits for the next life with all that it had; a text goes on behind
// its log, so its client sees a pause. What main must not or need not compute goes over to the
// spare's generator of the same model, which is made when it is first wanted, by the spare's
// thread: texts that were in flight at two deaths, and where the spare is this process's CPU those
// that have their next token sooner there.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

enum {
    LOOK_US = 20000, // how often a thread that waits for the spare looks
    AGAIN_US = 10000000,
};

// A generator that the spare's thread has made.
struct scheduler_made {
    struct generator *generator;
    struct scheduler_made *next;
};

static bool is_main(const struct scheduler *s, const struct step_line *l) {
    return l->site == &s->sites[SITE_MAIN];
}

// ---- the spare's generators

// On the spare's thread.
static enum err on_spare_loaded(void *ctx, const struct model *m, struct errmsg *msg) {
    struct scheduler *s = ctx;
    struct scheduler_site *site = &s->sites[SITE_SPARE];
    if (m->task != TASK_GENERATE)
        return ERR_OK;
    pthread_mutex_lock(&s->mutex);
    const struct generator *one = scheduler_generator_of(s, m);
    size_t context = one ? generator_context(one) : 0;
    struct generators like = {.options = s->sites[SITE_MAIN].generators.options,
                              .masks = s->sites[SITE_MAIN].generators.masks};
    pthread_mutex_unlock(&s->mutex);
    if (!one)
        return err_set(msg, ERR_NOT_FOUND, "model '%s' is not served any more", m->name);
    like.options.replica = site->replica;
    struct scheduler_made *made = mem_calloc(1, sizeof *made);
    if (!made)
        return err_set(msg, ERR_NOMEM, "no memory for the generator of model '%s'", m->name);
    enum err e = generators_make_spare(&like, m, context, &made->generator, msg);
    if (!e && s->options.spare_kind == SPARE_CPU) // a quarantine's process has its canary
        e = scheduler_warm_generator(s, site, made->generator, msg);
    if (e) {
        generator_free(made->generator);
        mem_free(made);
        return e;
    }
    pthread_mutex_lock(&s->mutex);
    made->next = s->spare_made;
    s->spare_made = made;
    scheduler_kick(s);
    pthread_mutex_unlock(&s->mutex);
    return ERR_OK;
}

enum err scheduler_start_spare(struct scheduler *s, struct errmsg *msg) {
    if (!s->options.spare)
        return ERR_OK;
    struct spare_options o = {.replica = s->options.spare,
                              .loaded = on_spare_loaded,
                              .changed = scheduler_wake,
                              .ctx = s,
                              .again_us = AGAIN_US};
    return spare_start(&o, &s->spare, msg);
}

void scheduler_stop_spare(struct scheduler *s) {
    spare_stop(s->spare);
    while (s->spare_made) {
        struct scheduler_made *made = s->spare_made;
        s->spare_made = made->next;
        generator_free(made->generator);
        mem_free(made);
    }
}

void scheduler_look_at_spare(struct scheduler *s) {
    if (!s->spare)
        return;
    pthread_mutex_lock(&s->mutex);
    for (struct scheduler_made *made; (made = s->spare_made);) {
        s->spare_made = made->next;
        struct errmsg msg = {0};
        if (scheduler_put_generator(&s->sites[SITE_SPARE], made->generator, &msg)) {
            log_event(LOG_LEVEL_WARN, "spare_refused", NULL, "%s", msg.text);
            generator_free(made->generator);
        }
        mem_free(made);
    }
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_take_spare_generator(struct scheduler *s, const struct model *m) {
    struct scheduler_site *site = &s->sites[SITE_SPARE];
    scheduler_look_at_spare(s);
    struct generator *one = generators_find(&site->generators, m);
    if (!one)
        return;
    generator_end_all(one, ERR_NOT_FOUND, "the model is not served any more");
    pthread_mutex_lock(&s->mutex);
    scheduler_take_generator(site, one);
    pthread_mutex_unlock(&s->mutex);
    generator_free(one);
}

static void nap(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    (void)thread_cond_wait_until(&s->ready, &s->mutex, clock_now_us() + LOOK_US);
    pthread_mutex_unlock(&s->mutex);
}

enum err scheduler_warm_spare(struct scheduler *s, struct errmsg *msg) {
    const struct scheduler_site *site = &s->sites[SITE_MAIN];
    if (!s->spare || !s->options.warm_spare)
        return ERR_OK;
    for (size_t i = 0; i < site->line_count; i++)
        (void)spare_want(s->spare, generator_model(site->lines[i]->generator));
    for (size_t i = 0; i < site->line_count;) {
        const struct model *m = generator_model(site->lines[i]->generator);
        enum spare_state at = spare_look(s->spare, m);
        if (at == SPARE_REFUSED) {
            struct errmsg why = spare_refusal(s->spare, m);
            return err_set(msg, why.code, "%s", why.text);
        }
        if (at == SPARE_COMING && scheduler_is_stopping(s))
            return err_set(msg, ERR_UNAVAILABLE, "the service is stopping");
        if (at == SPARE_COMING)
            nap(s);
        else
            i++;
    }
    return ERR_OK;
}

// ---- what becomes of those that wait

// What is asked for each of them.
struct sorting {
    struct scheduler *s;
    const struct model *model;
    struct generator *there; // NULL: not yet
    struct replica_health here;
    double here_us, there_us; // until a prompt's first token would be computed
    double here_each, there_each;
    bool left;     // some wait for the spare's generator
    uint64_t over; // that go over
};

static enum generator_fate ends(struct errmsg *why, enum err e, const char *words,
                                const char *more) {
    err_set(why, e, "%s%s", words, more);
    return GENERATION_ENDS;
}

static enum generator_fate ends_dead(struct errmsg *why) {
    return ends(why, ERR_INTERNAL, "the device's process ended three times with this request in it",
                "");
}

static enum generator_fate ends_unserved(struct errmsg *why) {
    (void)scheduler_say_unserved(why);
    return GENERATION_ENDS;
}

// Where the spare has no generator of the model.
static enum generator_fate without_spare(struct sorting *t, bool can_wait, struct errmsg *why) {
    if (spare_want(t->s->spare, t->model) == SPARE_REFUSED && !can_wait)
        return ends(why, ERR_UNAVAILABLE,
                    "the device's process was lost, and nothing else can have ",
                    spare_refusal(t->s->spare, t->model).text);
    t->left = true;
    return GENERATION_STAYS;
}

// Whether its next token would come sooner on the spare.
static bool is_sooner_there(struct sorting *t, size_t known) {
    double here = t->here_us + t->here_each * (double)known;
    double there = t->there_us + t->there_each * (double)known;
    *(there < here ? &t->there_us : &t->here_us) = there < here ? there : here;
    return there < here;
}

static enum generator_fate goes_over(struct sorting *t) {
    t->over++;
    return GENERATION_GOES_OVER;
}

static enum generator_fate decide_at_main(void *ctx, const struct generation *n, size_t known,
                                          struct errmsg *why) {
    struct sorting *t = ctx;
    enum scheduler_spare kind = t->s->options.spare_kind;
    bool given_up = t->here.condition == REPLICA_GIVEN_UP;
    const struct generator *main = scheduler_generator_of(t->s, t->model);
    bool fits = t->there && generator_has_room(t->there, n, generator_context(main));
    if (n->deaths >= DEATHS_MOST)
        return ends_dead(why);
    if (kind != SPARE_NONE && n->deaths >= GENERATORS_DEATHS_HERE) {
        if (!t->there)
            return without_spare(t, false, why);
        return fits ? goes_over(t)
                    : ends(why, ERR_UNAVAILABLE,
                           "the device's process ended twice with this "
                           "request in it, and there is no room for it elsewhere",
                           "");
    }
    if (kind != SPARE_CPU || (t->there && !fits))
        return given_up ? ends_unserved(why) : GENERATION_STAYS;
    if (t->here.condition == REPLICA_UP)
        return GENERATION_STAYS;
    if (!t->there)
        return without_spare(t, !given_up, why);
    return given_up || is_sooner_there(t, known) ? goes_over(t) : GENERATION_STAYS;
}

// On the spare: of those in flight when a quarantine's life ended this was one death too many.
static enum generator_fate decide_at_spare(void *ctx, const struct generation *n, size_t known,
                                           struct errmsg *why) {
    const struct sorting *t = ctx;
    (void)known;
    if (n->deaths >= DEATHS_MOST)
        return ends_dead(why);
    if (t->here.condition == REPLICA_GIVEN_UP)
        return ends_unserved(why);
    return t->there && n->deaths < GENERATORS_DEATHS_HERE ? GENERATION_GOES_OVER : GENERATION_STAYS;
}

static void sort_main(struct scheduler *s, struct step_line *l, const struct replica_health *h) {
    struct generator *g = l->generator;
    struct sorting t = {.s = s,
                        .model = generator_model(g),
                        .there =
                            generators_find(&s->sites[SITE_SPARE].generators, generator_model(g)),
                        .here = *h};
    if (t.there) {
        int64_t wait_us = h->expected_us - clock_now_us();
        t.here_each = generator_prompt_us(g);
        t.there_each = generator_prompt_us(t.there);
        t.here_us = wait_us > 0 ? (double)wait_us : 0;
        t.there_us = t.there_each * (double)generator_tokens_due(t.there);
    }
    generator_sort_out(g, t.there, decide_at_main, &t);
    pthread_mutex_lock(&s->mutex);
    s->stats.fallbacks[s->cause] += t.over;
    pthread_mutex_unlock(&s->mutex);
    l->sorts = t.left || h->condition != REPLICA_UP;
}

// Whoever counts the sites' generations one after the other must not miss one that goes from a
// later one to an earlier.
static void set_sorting(struct scheduler *s, bool on) {
    pthread_mutex_lock(&s->mutex);
    s->sorting = on;
    pthread_mutex_unlock(&s->mutex);
}

static void sort_spare(struct scheduler *s, struct step_line *l, const struct replica_health *h) {
    struct step_line *main = scheduler_line_of(&s->sites[SITE_MAIN], generator_model(l->generator));
    bool back = s->options.spare_kind == SPARE_CPU && main && !generator_is_lost(main->generator) &&
                replica_health(main->replica).condition == REPLICA_UP;
    struct sorting t = {.s = s, .here = *h, .there = back ? main->generator : NULL};
    set_sorting(s, true);
    generator_sort_out(l->generator, t.there, decide_at_spare, &t);
    set_sorting(s, false);
    l->sorts = false;
}

void scheduler_sort_line(struct scheduler *s, struct step_line *l, const struct replica_health *h) {
    if (is_main(s, l)) {
        if (l->sorts)
            sort_main(s, l, h);
        return;
    }
    if (l->sorts || h->condition == REPLICA_GIVEN_UP ||
        (s->options.spare_kind == SPARE_CPU && generator_waits(l->generator)))
        sort_spare(s, l, h);
}

// ---- lives

// The decoders' copies come at the first loss, before one is waited for.
static void want_spare(struct scheduler *s, const struct step_line *l) {
    if (is_main(s, l) && s->options.spare_kind == SPARE_CPU)
        (void)spare_want(s->spare, generator_model(l->generator));
}

void scheduler_lose_line(struct scheduler *s, struct step_line *l) {
    bool exposed[1 + GENERATOR_AHEAD_MOST];
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_work *w = &scheduler_nth_of(l, i)->work.work;
        exposed[i] = w->err == ERR_LOST && w->exposed;
    }
    generator_lose(l->generator, exposed);
    l->sorts = true;
    pthread_mutex_lock(&s->mutex);
    l->count = 0;
    pthread_mutex_unlock(&s->mutex);
    want_spare(s, l);
}

bool scheduler_line_lives(struct scheduler *s, struct step_line *l,
                          const struct replica_health *h) {
    struct generator *g = l->generator;
    // a quarantine is started by what comes
    bool up = h->condition == REPLICA_UP ||
              (!is_main(s, l) && s->options.spare_kind == SPARE_QUARANTINE &&
               h->condition == REPLICA_DOWN);
    if (up && !generator_is_lost(g) && generator_life(g) == h->life)
        return true;
    if (l->count > 0)
        return false;            // they come back by themselves
    if (!generator_is_lost(g)) { // it ended with nothing in hand
        generator_lose(g, NULL);
        l->sorts = true;
        want_spare(s, l);
    }
    if (up)
        generator_resume(g, h->life);
    return up;
}
