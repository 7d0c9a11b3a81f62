// See scheduler.h: where things are computed. All goes to the main replica while it is up. While it
// is not, a spare that is a device of this process has all; else what was accepted waits, unless
// the main one is given up. What a life of the main one had in hand when it ended is computed apart
// (scheduler_batches.c).
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/thread.h"
#include "engine/warm_up.h"

enum {
    LOOK_US = 20000,       // how often a wait for the main replica looks whether the service stops
    MEASURE_US = 50000,    // of a site's time: what its rate is read from
    LEAST_QUEUE = 1 << 10, // tokens that are let in, however slow the spare is
    RATE_PARTS = 4,        // a new reading of the rate counts for one of these
};

struct scheduler_site *scheduler_where(struct scheduler *s) {
    if (s->sites[SITE_MAIN].health.condition == REPLICA_UP)
        return &s->sites[SITE_MAIN];
    return s->options.spare_kind == SPARE_CPU ? &s->sites[SITE_SPARE] : NULL;
}

bool scheduler_is_unserved(const struct scheduler *s) {
    return s->options.spare_kind != SPARE_CPU &&
           s->sites[SITE_MAIN].health.condition == REPLICA_GIVEN_UP;
}

enum err scheduler_say_unserved(struct errmsg *msg) {
    return err_set(msg, ERR_UNAVAILABLE,
                   "the process that computes was lost and is not there again; retry later");
}

// How fast the spare is, as a part of the main replica's speed; 0: not known. By what both have
// encoded; where nothing is encoded, by the prompts of what generates: they are what the queue
// holds of it.
static double spare_part(const struct scheduler *s) {
    const struct scheduler_site *main = &s->sites[SITE_MAIN], *spare = &s->sites[SITE_SPARE];
    return main->rate > 0 && spare->rate > 0 ? spare->rate / main->rate : s->generates_at;
}

// As much is let in as the spare computes in the time in which the main replica would have computed
// all that the queue holds.
static void scale_admission(struct scheduler *s) {
    size_t full = s->admission.full, limit = full;
    double part = spare_part(s);
    if (s->sites[SITE_MAIN].health.condition != REPLICA_UP && s->options.spare_kind == SPARE_CPU &&
        part > 0 && part < 1)
        limit = (size_t)((double)full * part);
    if (limit < LEAST_QUEUE)
        limit = full < LEAST_QUEUE ? full : LEAST_QUEUE;
    s->admission.limit = limit;
}

void scheduler_look_at_main(struct scheduler *s) {
    struct scheduler_site *main = &s->sites[SITE_MAIN];
    const struct replica_health was = main->health;
    main->health = replica_health(main->replica);
    if (main->health.condition == was.condition && main->health.life == was.life)
        return;
    for (int i = 0; i < LOSS_COUNT; i++)
        if (main->health.losses[i] != was.losses[i])
            s->cause = (enum replica_loss)i;
    scale_admission(s);
    s->sweep_at_us = 0; // some of what waits may have to end
    pthread_cond_broadcast(&s->ready);
    scheduler_kick(s);
}

// On the replica's thread.
static void on_change(void *ctx) {
    struct scheduler *s = ctx;
    pthread_mutex_lock(&s->mutex);
    scheduler_look_at_main(s);
    scheduler_pump(s);
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_watch_main(struct scheduler *s, bool on) {
    replica_watch(s->sites[SITE_MAIN].replica, on ? on_change : NULL, s);
    if (!on)
        return;
    pthread_mutex_lock(&s->mutex); // it may have changed before
    scheduler_look_at_main(s);
    pthread_mutex_unlock(&s->mutex);
}

enum err scheduler_wait_main(struct scheduler *s, bool or_spare, struct errmsg *msg) {
    const struct scheduler_site *main = &s->sites[SITE_MAIN];
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->mutex);
    for (;;) {
        scheduler_look_at_main(s);
        int64_t now = clock_now_us();
        if (!s->warmed) // else it is not the scheduler's own thread that waits
            atomic_store(&s->heartbeat_us, now);
        if (s->stopping)
            e = err_set(msg, ERR_UNAVAILABLE, "the service is stopping");
        else if (or_spare && scheduler_where(s) == &s->sites[SITE_SPARE])
            e = ERR_LOST;
        else if (main->health.condition == REPLICA_GIVEN_UP)
            e = err_set(msg, ERR_UNAVAILABLE, "the process that computes is given up: %s",
                        main->health.why);
        if (e || main->health.condition == REPLICA_UP)
            break;
        thread_cond_wait_until(&s->ready, &s->mutex, now + LOOK_US);
    }
    pthread_mutex_unlock(&s->mutex);
    return e;
}

// ---- the first forwards, and how fast they are

static enum err warm_on(struct scheduler *s, struct scheduler_site *site, const struct model *m,
                        struct errmsg *msg) {
    enum err e = warm_up_encoder(site->replica, m, scheduler_is_stopping, s, msg);
    if (e || s->options.spare_kind != SPARE_CPU)
        return e;
    int64_t began = clock_now_us();
    if ((e = warm_up_encoder(site->replica, m, scheduler_is_stopping, s, msg)))
        return e;
    size_t tokens = m->max_length < WARM_UP_TOKENS ? m->max_length : WARM_UP_TOKENS;
    pthread_mutex_lock(&s->mutex);
    if (site->rate == 0)
        site->rate = (double)tokens / (double)(clock_now_us() - began + 1);
    pthread_mutex_unlock(&s->mutex);
    return ERR_OK;
}

enum err scheduler_warm_encoder(struct scheduler *s, const struct model *m, struct errmsg *msg) {
    enum err e = ERR_OK;
    if (s->options.spare_kind == SPARE_CPU)
        e = warm_on(s, &s->sites[SITE_SPARE], m, msg);
    while (!e) {
        if ((e = scheduler_wait_main(s, true, msg)))
            return e == ERR_LOST ? ERR_OK : e;
        if ((e = warm_on(s, &s->sites[SITE_MAIN], m, msg)) != ERR_LOST)
            return e;
        e = ERR_OK; // again in the next life
    }
    return e;
}

void scheduler_note_before(struct scheduler_site *site) {
    site->before = replica_read_stats(site->replica);
    site->measured_used_us =
        site->before.used_us[SHARE_INTERACTIVE] + site->before.used_us[SHARE_BULK];
}

static void measure(struct scheduler_site *site) {
    struct replica_stats r = replica_read_stats(site->replica);
    int64_t used = r.used_us[SHARE_INTERACTIVE] + r.used_us[SHARE_BULK];
    int64_t us = used - site->measured_used_us;
    uint64_t tokens = site->tokens - site->measured_tokens;
    if (us < MEASURE_US)
        return;
    double rate = (double)tokens / (double)us;
    if (tokens > 0)
        site->rate += site->rate > 0 ? (rate - site->rate) / RATE_PARTS : rate;
    site->measured_used_us = used;
    site->measured_tokens = site->tokens;
}

// Of a model's prompts, on the spare; 0: not known. The thread's.
static double spare_prompt_us(const struct scheduler *s, const struct model *m) {
    const struct scheduler_site *spare = &s->sites[SITE_SPARE];
    for (size_t i = 0; i < spare->line_count; i++)
        if (generator_model(spare->lines[i]->generator) == m)
            return generator_prompt_us(spare->lines[i]->generator);
    return 0;
}

// The spare's rate of prompts as a part of the main replica's, over the models that both have
// computed; 0: there are none. The thread's.
static double measure_prompts(const struct scheduler *s) {
    const struct scheduler_site *main = &s->sites[SITE_MAIN];
    double here = 0, there = 0;
    for (size_t i = 0; i < main->line_count; i++) {
        const struct generator *g = main->lines[i]->generator;
        double one = generator_prompt_us(g), other = spare_prompt_us(s, generator_model(g));
        if (one > 0 && other > 0) {
            here += one;
            there += other;
        }
    }
    return there > 0 ? here / there : 0;
}

void scheduler_measure(struct scheduler *s) {
    if (s->options.spare_kind != SPARE_CPU)
        return;
    int64_t now = clock_now_us();
    double prompts = measure_prompts(s);
    pthread_mutex_lock(&s->mutex);
    if (now - s->measured_us >= MEASURE_US) {
        s->measured_us = now;
        for (int i = 0; i < SITE_COUNT; i++)
            measure(&s->sites[i]);
        if (prompts > 0) // else what was known stays: the spare's copy may have gone
            s->generates_at = prompts;
        scale_admission(s);
    }
    pthread_mutex_unlock(&s->mutex);
}
