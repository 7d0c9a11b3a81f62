// See scheduler.h: the generators' steps, to the replica and back. A generator's step is submitted
// as soon as it can be put together, the next one before the results of this one are known where
// that is possible (generator.h), so that the device has work while these are read.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "engine/replica_wait.h"

enum { WARM_DEATHS = 3 }; // of a warm-up, and the model is not served

static struct step_flight *flight_of(struct replica_work *w) { return w->ctx; }

// On the replica's thread, as the next.
static void on_computed(struct replica_step *work) {
    struct step_flight *f = flight_of(&work->work);
    atomic_store(&f->over, true);
    scheduler_wake(f->s);
}

static void on_done(struct replica_work *work) {
    struct step_flight *f = flight_of(work);
    struct scheduler *s = f->s;
    // In one hold of the mutex: the thread takes it to end the step, so that what waits for the
    // last step to end, and then frees the scheduler, does so behind this.
    pthread_mutex_lock(&s->mutex);
    atomic_store(&f->back, true);
    scheduler_kick(s);
    pthread_mutex_unlock(&s->mutex);
}

static struct step_flight *oldest_of(struct step_line *l) {
    return l->count > 0 ? &l->flights[l->oldest] : NULL;
}

struct step_flight *scheduler_nth_of(struct step_line *l, size_t i) {
    return &l->flights[(l->oldest + i) % (1 + GENERATOR_AHEAD_MOST)];
}

// There is one in flight.
static void end(struct step_line *l) {
    struct step_flight *f = scheduler_nth_of(l, 0);
    const struct replica_work *w = &f->work.work;
    enum err e = w->err;
    const char *why = w->msg.text;
    if (e == ERR_CANCELLED) {
        bool stops = scheduler_is_stopping(f->s);
        e = stops ? ERR_UNAVAILABLE : ERR_CANCELLED;
        why = stops ? "the service is stopping" : "the client is gone";
    }
    pthread_mutex_lock(&f->s->mutex);
    l->oldest = (l->oldest + 1) % (1 + GENERATOR_AHEAD_MOST);
    l->count--;
    pthread_mutex_unlock(&f->s->mutex);
    generator_end_step(l->generator, f->step, atomic_load(&w->began_us) != 0, e, why);
}

// Where its masks are there, or its forward is over.
static void release_draw(struct step_line *l) {
    struct step_flight *f = oldest_of(l);
    if (!f || f->released || atomic_load(&f->back) ||
        !generator_fill_masks(l->generator, f->step, atomic_load(&f->over)))
        return;
    f->released = true;
    replica_draw_step(f->replica, &f->work);
}

// A suspect is with the main replica, or will be, and nothing is begun beside it.
static bool goes_alone(struct scheduler *s, const struct step_line *l) {
    return l->site == &s->sites[SITE_MAIN] && atomic_load(&s->alone);
}

// It has not been anywhere. Mutex held.
static void come_back(struct step_flight *f, enum err e) {
    f->work.work.err = e;
    f->work.work.exposed = false;
    atomic_store(&f->work.work.began_us, 0);
    atomic_store(&f->back, true);
    scheduler_kick(f->s);
}

static bool begin(struct scheduler *s, struct step_line *l) {
    struct generator *g = l->generator;
    struct step *step = generator_begin_step(g);
    if (!step)
        return false;
    struct step_flight *f = scheduler_nth_of(l, l->count);
    double prompts = generator_step_prompt_part(g, step);
    f->s = s;
    f->step = step;
    f->released = f->told = false;
    atomic_store(&f->over, false);
    atomic_store(&f->back, false);
    f->work.work.model = generator_model(g)->id;
    f->work.work.share = prompts < 1 ? SHARE_DECODE : SHARE_PREFILL;
    f->work.work.done = on_done;
    f->work.work.ctx = f;
    f->work.place = generator_place(g);
    f->work.life = generator_life(g);
    f->work.step = step;
    f->work.prompt_part = prompts;
    f->work.computed = on_computed;
    const char *ids[CRASH_IDS];
    size_t n = generator_step_requests(step, ids, CRASH_IDS);
    f->work.work.request_count = 0;
    for (size_t i = 0; i < n; i++)
        replica_name_request(&f->work.work, ids[i]);
    pthread_mutex_lock(&s->mutex);
    l->count++;
    f->replica = l->replica;
    // what is told to end when the service stops, or the replica changes, is all there is
    if (s->stopping || l->site->replica != l->replica) {
        come_back(f, ERR_CANCELLED);
    } else if (goes_alone(s, l)) { // since this thread has looked: the step is begun anew later
        come_back(f, ERR_LOST);
    } else {
        replica_submit_step(f->replica, &f->work);
        // nothing that this thread has to do is waited for where there are no masks
        f->released = !step_is_masked(step);
        if (f->released)
            replica_draw_step(f->replica, &f->work);
    }
    pthread_mutex_unlock(&s->mutex);
    return true;
}

static bool all_are_back(struct step_line *l) {
    for (size_t i = 0; i < l->count; i++)
        if (!atomic_load(&scheduler_nth_of(l, i)->back))
            return false;
    return true;
}

// Goes on with the generator on another replica, as soon as all of its steps are back. What was
// computed before is taken; the others are taken back, and put together anew there.
static void move(struct scheduler *s, struct step_line *l, struct replica *to) {
    struct generator *g = l->generator;
    struct step_flight *f;
    while ((f = oldest_of(l)) && atomic_load(&f->back) && !f->work.work.err)
        end(l);
    if (!all_are_back(l))
        return;
    struct errmsg msg = {0};
    enum err e = generator_move(g, to, &msg);
    if (e) { // without storage it can do nothing more
        generator_take_back(g);
        generator_end_all(g, e, msg.text);
    }
    pthread_mutex_lock(&s->mutex);
    l->count = 0;
    l->replica = to;
    pthread_cond_broadcast(&s->ready);
    pthread_mutex_unlock(&s->mutex);
}

static struct replica *where_to(struct scheduler *s, const struct scheduler_site *site) {
    pthread_mutex_lock(&s->mutex);
    struct replica *r = site->replica;
    pthread_mutex_unlock(&s->mutex);
    return r;
}

static bool is_lost(const struct step_flight *f) { return f->work.work.err == ERR_LOST; }

static void run_line(struct scheduler *s, struct step_line *l, struct replica *to) {
    struct generator *g = l->generator;
    bool stops = scheduler_is_stopping(s);
    if (l->replica != to && !stops)
        move(s, l, to);
    if (l->replica != to && !stops)
        return;
    if (!generator_busy(g) && l->count == 0)
        return;
    bool any = false;
    struct step_flight *f;
    for (; (f = oldest_of(l)) && atomic_load(&f->back) && !is_lost(f); any = true)
        end(l);
    if (f && atomic_load(&f->back)) { // it is lost, and so are those behind it
        if (!all_are_back(l))
            return;
        scheduler_lose_line(s, l);
    }
    release_draw(l);
    if (stops)
        return;
    struct replica_health h = replica_health(l->replica);
    bool lives = scheduler_line_lives(s, l, &h);
    scheduler_sort_line(s, l, &h);
    if (!lives)
        generator_tend(g);
    if (!lives || s->quiet || goes_alone(s, l))
        return;
    while (generator_busy(g) && generator_ready(g) && begin(s, l))
        any = true;
    release_draw(l);
    if (any)
        generator_update_stats(g);
    else if (!generator_ready(g))
        generator_tend(g);
}

static void run_site(struct scheduler *s, struct scheduler_site *site) {
    if (site->line_count == 0)
        return;
    struct replica *to = where_to(s, site);
    for (size_t i = 0; i < site->line_count; i++)
        run_line(s, site->lines[i], to);
}

void scheduler_run_steps(struct scheduler *s) {
    size_t lines = 0;
    scheduler_look_at_spare(s);
    for (int i = 0; i < SITE_COUNT; i++) {
        run_site(s, &s->sites[i]);
        lines += s->sites[i].line_count;
    }
    if (lines == 0 || scheduler_generates(s))
        return;
    pthread_mutex_lock(&s->mutex); // scheduler_end may wait for that
    scheduler_give_back(s, 0, false);
    pthread_mutex_unlock(&s->mutex);
}

// Mutex held.
static void tell(struct scheduler *s, struct step_flight *f) {
    f->told = true;
    s->stats.ends_asked++;
    replica_cancel(f->replica, &f->work.work);
}

static void look_over_line(struct scheduler *s, struct step_line *l) {
    for (size_t k = 0; k < l->count; k++) {
        struct step_flight *f = scheduler_nth_of(l, k);
        if (!generator_step_is_gone(f->step))
            continue;
        pthread_mutex_lock(&s->mutex);
        if (!f->told && !atomic_load(&f->back))
            tell(s, f);
        pthread_mutex_unlock(&s->mutex);
    }
}

void scheduler_look_over_steps(struct scheduler *s) {
    for (int i = 0; i < SITE_COUNT; i++)
        for (size_t k = 0; k < s->sites[i].line_count; k++)
            look_over_line(s, s->sites[i].lines[k]);
}

static void call_back_line(struct scheduler *s, struct step_line *l) {
    for (size_t k = 0; k < l->count; k++) {
        struct step_flight *f = scheduler_nth_of(l, k);
        if (f->told || atomic_load(&f->back) || (!s->stopping && f->replica == l->site->replica))
            continue;
        f->told = true;
        s->stats.moved += !s->stopping;
        replica_cancel(f->replica, &f->work.work);
    }
}

void scheduler_call_back_steps(struct scheduler *s) {
    for (int i = 0; i < SITE_COUNT; i++)
        for (size_t k = 0; k < s->sites[i].line_count; k++)
            call_back_line(s, s->sites[i].lines[k]);
}

bool scheduler_steps_move(const struct scheduler *s) {
    for (int i = 0; i < SITE_COUNT; i++)
        for (size_t k = 0; k < s->sites[i].line_count; k++)
            if (s->sites[i].lines[k]->replica != s->sites[i].replica)
                return true;
    return false;
}

bool scheduler_has_steps(const struct scheduler *s) {
    for (int i = 0; i < SITE_COUNT; i++)
        for (size_t k = 0; k < s->sites[i].line_count; k++)
            if (s->sites[i].lines[k]->count > 0)
                return true;
    return false;
}

struct step_line *scheduler_line_of(const struct scheduler_site *site, const struct model *m) {
    for (size_t i = 0; i < site->line_count; i++)
        if (generator_model(site->lines[i]->generator) == m)
            return site->lines[i];
    return NULL;
}

// Mutex held, or nobody else there yet.
static enum err put_line(struct scheduler_site *site, struct generator *g) {
    struct step_line **more =
        mem_realloc(site->lines, site->line_count + 1, sizeof(struct step_line *));
    if (more)
        site->lines = more;
    struct step_line *line = more ? mem_calloc(1, sizeof *line) : NULL;
    if (!line)
        return ERR_NOMEM;
    line->site = site;
    line->replica = site->replica;
    line->generator = g;
    site->lines[site->line_count++] = line;
    return ERR_OK;
}

enum err scheduler_make_lines(struct scheduler *s) {
    enum err e = ERR_OK;
    for (int i = 0; i < SITE_COUNT; i++) {
        struct scheduler_site *site = &s->sites[i];
        for (size_t k = 0; k < site->generators.count && !e; k++)
            e = put_line(site, site->generators.items[k]);
    }
    return e;
}

void scheduler_free_lines(struct scheduler *s) {
    for (int i = 0; i < SITE_COUNT; i++) {
        struct scheduler_site *site = &s->sites[i];
        while (site->line_count > 0)
            mem_free(site->lines[--site->line_count]);
        mem_free(site->lines);
    }
}

enum err scheduler_put_generator(struct scheduler_site *site, struct generator *g,
                                 struct errmsg *msg) {
    if (put_line(site, g))
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", site->line_count + 1);
    enum err e = generators_put(&site->generators, g, msg);
    if (e)
        mem_free(site->lines[--site->line_count]);
    return e;
}

void scheduler_take_generator(struct scheduler_site *site, const struct generator *g) {
    size_t at = 0;
    while (site->lines[at]->generator != g)
        at++;
    generators_take(&site->generators, g);
    mem_free(site->lines[at]);
    for (site->line_count--; at < site->line_count; at++)
        site->lines[at] = site->lines[at + 1];
}

static void on_warm_computed(struct replica_step *work) { (void)work; } // its draw is released

static enum err warm_once(struct scheduler *s, struct scheduler_site *site, struct generator *g,
                          bool *exposed, struct errmsg *msg) {
    struct replica_wait w;
    enum err e = replica_wait_begin(&w);
    if (e)
        return err_set(msg, e, "no memory to warm model '%s' up", generator_model(g)->name);
    struct step *step = generator_begin_warm_up(g);
    struct replica_step work = {.work = {.model = generator_model(g)->id,
                                         .share = SHARE_PREFILL,
                                         .done = replica_wait_done,
                                         .ctx = &w},
                                .place = generator_place(g),
                                .life = generator_life(g),
                                .step = step,
                                .prompt_part = 1,
                                .computed = on_warm_computed};
    replica_submit_step(site->replica, &work);
    replica_draw_step(site->replica, &work);
    e = replica_wait_end(&w, site->replica, &work.work, scheduler_is_stopping, s, msg);
    *exposed = e == ERR_LOST && work.work.exposed;
    return generator_end_warm_up(g, step, e, msg);
}

enum err scheduler_warm_generator(struct scheduler *s, struct scheduler_site *site,
                                  struct generator *g, struct errmsg *msg) {
    for (unsigned deaths = 0;;) {
        bool exposed = false;
        enum err e = warm_once(s, site, g, &exposed, msg);
        if (e != ERR_LOST)
            return e;
        deaths += exposed;
        if (deaths == WARM_DEATHS)
            return err_set(msg, ERR_INTERNAL,
                           "the device's process ended three times while model '%s' was warmed up",
                           generator_model(g)->name);
        // a spare never ends, or is started by what comes
        if (site == &s->sites[SITE_MAIN] && (e = scheduler_wait_main(s, false, msg)))
            return e;
        generator_resume(g, replica_health(site->replica).life);
    }
}

// Where the device is given up and the spare can have all, the service begins with that.
static bool goes_without(const struct scheduler *s, const struct scheduler_site *site) {
    return site == &s->sites[SITE_MAIN] && s->options.spare_kind == SPARE_CPU &&
           replica_health(site->replica).condition == REPLICA_GIVEN_UP;
}

enum err scheduler_warm_generators(struct scheduler *s, struct errmsg *msg) {
    enum err e = ERR_OK;
    for (int i = 0; i < SITE_COUNT; i++) {
        struct scheduler_site *site = &s->sites[i];
        for (size_t k = 0; k < site->generators.count && !e; k++) {
            e = scheduler_warm_generator(s, site, site->generators.items[k], msg);
            if (e == ERR_UNAVAILABLE && goes_without(s, site))
                e = ERR_OK;
        }
    }
    return e ? e : scheduler_warm_spare(s, msg);
}
