// The thread that drives a replica's device. It computes what is submitted in the order that
// shares.h gives. Every forward calls back at its pause points. There the time is booked, and what
// is more urgent, or due, is computed in the middle of it: interactive batches, which run to their
// end, and steps, each in workspaces of their own (so bulk is set aside for both, a step for
// interactive batches, and a step of prompts alone for another model's decoding). So urgent work
// waits for a fraction of a layer. There, too, a forward ends that was cancelled.
// Of a device that keeps what it drew (device.h's drawn_slots) a step is asked for and finished
// later: the next step's forward is asked for before this one's tokens are waited for, so that the
// device has work while these are read, sent and answered. What is no step finishes all of them
// first.
#include "engine/replica_local_internal.h"

#include "base/clock.h"
#include "base/thread.h"

enum {
    HEARTBEAT_US = 500000, // an idle thread shows its life this often
    FOLLOWS_US = 1000,     // what follows a step is waited for this long
};

// A forward, while it computes or is set aside.
struct replica_forward {
    struct replica_local *l;
    struct replica_work *work;
    struct replica_forward *outer;
};

// The kinds of work that it is: a step may be two.
static unsigned shares_of(struct replica_work *w) {
    unsigned also = w->share == SHARE_DECODE && replica_step_of(w)->prompt_part > 0;
    return SHARE_BIT(w->share) | (also ? SHARE_BIT(SHARE_PREFILL) : 0);
}

// A model's steps come one after the other, each drawn before the next one: they share its cache
// and workspace. Mutex held.
static bool can_begin(const struct replica_local *l, const struct replica_work *w) {
    for (const struct replica_forward *f = l->top; f; f = f->outer)
        if (replica_is_step(f->work) && f->work->model == w->model)
            return false;
    for (const struct replica_step *s = l->forwarded; s; s = s->next_forwarded)
        if (&s->work != w && s->work.model == w->model)
            return false;
    for (int i = SHARE_DECODE; i <= SHARE_PREFILL; i++)
        for (const struct replica_work *o = l->queue[i].head; o; o = o->next)
            if (o->model == w->model && o->number < w->number)
                return false;
    return true;
}

static const unsigned step_shares = SHARE_BIT(SHARE_DECODE) | SHARE_BIT(SHARE_PREFILL);

// Which kinds of steps can begin. Mutex held.
static unsigned ready_steps(const struct replica_local *l) {
    unsigned can = 0;
    for (int i = SHARE_DECODE; i <= SHARE_PREFILL; i++)
        for (struct replica_work *w = l->queue[i].head; w; w = w->next)
            if (can_begin(l, w))
                can |= shares_of(w);
    return can;
}

// Which kinds of submitted work can begin.
static unsigned ready(struct replica_local *l) {
    unsigned queued = atomic_load_explicit(&l->queued, memory_order_relaxed);
    unsigned can = queued & ~(step_shares | REPLICA_DEAD_BIT);
    if (!(queued & step_shares))
        return can;
    pthread_mutex_lock(&l->mutex);
    can |= ready_steps(l);
    pthread_mutex_unlock(&l->mutex);
    return can;
}

// Steps that are about to come.
static unsigned expected(struct replica_local *l) {
    if (l->expected && clock_now_us() >= l->expected_until_us)
        l->expected = 0;
    return l->expected;
}

// Takes the first of the queue that can begin and is this kind of work. Mutex held.
static struct replica_work *take_from(struct replica_local *l, enum share queue, enum share share) {
    struct replica_list *q = &l->queue[queue];
    for (struct replica_work **at = &q->head; *at; at = &(*at)->next) {
        struct replica_work *w = *at;
        if (!(shares_of(w) & SHARE_BIT(share)) || (replica_is_step(w) && !can_begin(l, w)))
            continue;
        replica_list_take(q, at);
        if (!q->head)
            atomic_fetch_and(&l->queued, ~SHARE_BIT(queue));
        w->queued = false;
        return w;
    }
    return NULL;
}

static struct replica_work *take(struct replica_local *l, enum share share) {
    pthread_mutex_lock(&l->mutex);
    struct replica_work *w = take_from(l, share, share);
    if (!w && share == SHARE_PREFILL) // beside what decodes
        w = take_from(l, SHARE_DECODE, share);
    pthread_mutex_unlock(&l->mutex);
    return w;
}

// ---- time

static void book(struct replica_local *l, enum share share, unsigned waiting, int64_t us) {
    shares_book(&l->shares, share, waiting, us);
    atomic_fetch_add(&l->used_us[share], us);
}

// Books the time since the last lap to the forward that had the device.
static void lap(struct replica_forward *f) {
    struct replica_local *l = f->l;
    int64_t now = clock_now_us(), us = now - l->lap_us;
    unsigned waiting = ready(l) | expected(l) | l->under_way;
    l->lap_us = now;
    atomic_store(&l->heartbeat_us, now);
    int64_t prefill = replica_is_step(f->work)
                          ? (int64_t)((double)us * replica_step_of(f->work)->prompt_part)
                          : 0;
    if (prefill > 0)
        book(l, SHARE_PREFILL, waiting, prefill);
    if (us > prefill)
        book(l, f->work->share, waiting, us - prefill);
}

// ---- forwards

static void run(struct replica_local *l, struct replica_work *w);

// It is drawn, or will not be.
static void forget_forwarded(struct replica_local *l, struct replica_step *s) {
    pthread_mutex_lock(&l->mutex);
    struct replica_step **at = &l->forwarded;
    while (*at && *at != s)
        at = &(*at)->next_forwarded;
    if (*at)
        *at = s->next_forwarded;
    pthread_mutex_unlock(&l->mutex);
}

// Ends what was cancelled before it was begun, or drawn.
static void bury(struct replica_local *l) {
    if (!(atomic_load_explicit(&l->queued, memory_order_relaxed) & REPLICA_DEAD_BIT))
        return;
    pthread_mutex_lock(&l->mutex);
    struct replica_work *w = l->dead.head;
    replica_list_clear(&l->dead);
    atomic_fetch_and(&l->queued, ~REPLICA_DEAD_BIT);
    pthread_mutex_unlock(&l->mutex);
    for (struct replica_work *next; w; w = next) {
        next = w->next;
        if (replica_is_step(w))
            forget_forwarded(l, replica_step_of(w));
        w->err = err_set(&w->msg, ERR_CANCELLED, "cancelled");
        w->done(w);
    }
}

// Records why a forward ends here; false where it goes on.
static bool must_end(const struct replica_forward *f) {
    if (!atomic_load(&f->work->cancelled))
        return false;
    device_fail(f->l->device, ERR_CANCELLED, "cancelled");
    return true;
}

// What may be computed in the middle of it.
static unsigned may_pass(const struct replica_forward *f) {
    unsigned urgent = SHARE_BIT(SHARE_INTERACTIVE);
    switch (f->work->share) {
    case SHARE_BULK:
        return urgent | step_shares;
    case SHARE_PREFILL:
        return urgent | SHARE_BIT(SHARE_DECODE);
    case SHARE_DECODE:
        return urgent;
    default:
        return 0;
    }
}

// Whether something other than `before` is queued by then.
static bool wait_for_change(struct replica_local *l, unsigned before, int64_t until_us) {
    bool came = true;
    pthread_mutex_lock(&l->mutex);
    while (came && atomic_load(&l->queued) == before)
        came = thread_cond_wait_until(&l->wake, &l->mutex, until_us);
    pthread_mutex_unlock(&l->mutex);
    return came;
}

static bool feed_until_change(struct replica_local *l, unsigned before, int64_t until_us) {
    while (atomic_load(&l->queued) == before)
        if (clock_now_us() >= until_us || !l->feed.wait(l->feed.ctx, until_us))
            return false;
    return true;
}

// Until something comes, or what was expected has not. The device's time while nothing uses it is
// nobody's.
static void wait_for_expected(struct replica_local *l) {
    unsigned before = atomic_load(&l->queued);
    bool came = l->is_fed ? feed_until_change(l, before, l->expected_until_us)
                          : wait_for_change(l, before, l->expected_until_us);
    if (!came || atomic_load(&l->queued) & step_shares)
        l->expected = 0;
    l->lap_us = clock_now_us();
}

// Lets the feed see what has come in the meantime.
static void look_for_work(struct replica_local *l) {
    if (!l->is_fed || l->lap_us - l->looked_us < REPLICA_LOOK_US)
        return;
    l->looked_us = l->lap_us;
    l->feed.look(l->feed.ctx);
}

// Computes what comes next of these kinds of work, and of `own`; false: that is `own`, or there is
// none.
static bool run_next(struct replica_local *l, unsigned among, unsigned own) {
    for (;;) {
        unsigned can = ready(l) & among, comes = expected(l) & among & ~can;
        if (!can && !(own && comes))
            return false;
        enum share next = shares_next(&l->shares, can | comes | own);
        if (SHARE_BIT(next) & comes) {
            wait_for_expected(l);
            continue;
        }
        struct replica_work *w = SHARE_BIT(next) & can ? take(l, next) : NULL;
        if (w)
            run(l, w);
        return w != NULL;
    }
}

// The pause of every forward.
static bool pause_forward(void *ctx) {
    struct replica_forward *f = ctx;
    struct replica_local *l = f->l;
    if (l->device->ops->pace)
        l->device->ops->pace(l->device);
    lap(f);
    look_for_work(l);
    bury(l);
    if (must_end(f))
        return false;
    unsigned among = may_pass(f);
    if (!((ready(l) | expected(l)) & among))
        return true;
    // what runs inside syncs the device: what this one has recorded is kept out
    struct errmsg held;
    enum err failed = device_sync(l->device, &held);
    bool yielded = false;
    while (run_next(l, among, SHARE_BIT(f->work->share)))
        yielded = true;
    if (failed)
        device_fail(l->device, failed, "%s", held.text);
    if (yielded)
        atomic_fetch_add(&l->yields, 1);
    return !must_end(f);
}

// The lane's workspace, which may have to be another than before.
static struct arena *workspace_of(struct replica_local *l, size_t lane) {
    struct arena old = {0};
    pthread_mutex_lock(&l->mutex);
    if (l->has_spare[lane]) {
        old = l->workspaces[lane];
        l->workspaces[lane] = l->spare[lane];
        l->spare[lane] = (struct arena){0};
        l->has_spare[lane] = false;
        l->workspace_count++;
    }
    pthread_mutex_unlock(&l->mutex);
    l->device->ops->workspace_free(l->device, &old);
    return &l->workspaces[lane];
}

// The model's small batches are known to the device, in the workspace that is in use.
static void keep_small(struct replica_local *l, struct replica_model *m, struct arena *ws) {
    if (m->kept_in == l->workspace_count)
        return;
    pthread_mutex_lock(&l->mutex);
    size_t tokens = l->batch_tokens;
    pthread_mutex_unlock(&l->mutex);
    replica_model_keep(m, tokens, ws);
    m->kept_in = l->workspace_count;
}

static enum err encode_batch(struct replica_local *l, struct replica_batch *b,
                             const struct forward_hooks *hooks, struct errmsg *msg) {
    struct replica_model *m = replica_local_find(l, b->work.model);
    if (!m)
        return err_set(msg, ERR_INTERNAL, "a batch's model is not loaded");
    struct arena *ws = workspace_of(l, replica_lane(b->work.share));
    if (b->work.share == SHARE_INTERACTIVE)
        keep_small(l, m, ws);
    return replica_model_run(m, &b->tokens, b->skip, b->normalize, ws, hooks, b->rows, msg);
}

// ---- steps

enum step_stage { STEP_ENDED, STEP_PARKED, STEP_ASKED };

static void expect_next(struct replica_local *l, struct replica_work *w) {
    l->expected |= shares_of(w); // it comes as soon as this one's results are seen
    l->expected_until_us = l->lap_us + FOLLOWS_US;
}

// Waits for the oldest of those that were asked for.
static void finish_oldest(struct replica_local *l) {
    struct replica_step *s = l->asked[0];
    struct replica_work *w = &s->work;
    struct replica_forward f = {.l = l, .work = w};
    unsigned before = l->under_way;
    l->asked_count--;
    for (size_t i = 0; i < l->asked_count; i++)
        l->asked[i] = l->asked[i + 1];
    l->under_way |= shares_of(w);
    w->err = step_engine_finish(replica_steps_at(l, s->place), s->step, &w->msg);
    lap(&f);
    l->under_way = before;
    l->step_us = l->lap_us - atomic_load(&w->began_us);
    expect_next(l, w);
    w->done(w);
}

static void finish_steps(struct replica_local *l, size_t left) {
    while (l->asked_count > left)
        finish_oldest(l);
}

// One whose draw was not released before its forward was asked for: whoever releases it needs the
// results of those before it, and word that the forward is over.
static enum err wait_for_forward(struct replica_local *l, struct step_engine *engine,
                                 struct replica_work *w) {
    finish_steps(l, 0);
    enum err e = step_engine_wait(engine, &w->msg);
    if (l->is_fed)
        l->feed.look(l->feed.ctx); // it may have been released meanwhile
    return e;
}

static bool is_released(struct replica_local *l, const struct replica_step *s) {
    pthread_mutex_lock(&l->mutex);
    bool released = s->released;
    pthread_mutex_unlock(&l->mutex);
    return released;
}

// Its forward, with what is asked for waited for where the engine does not go ahead, or its draw is
// not released.
static enum err forward_step(struct replica_local *l, struct step_engine *engine,
                             struct replica_step *s, const struct forward_hooks *hooks) {
    struct replica_work *w = &s->work;
    if (!step_engine_goes_ahead(engine))
        return step_engine_forward(engine, s->step, hooks, &w->msg);
    enum err e = step_engine_begin(engine, s->step, hooks, &w->msg);
    return e || is_released(l, s) ? e : wait_for_forward(l, engine, w);
}

static enum err draw_step(struct replica_local *l, struct step_engine *engine,
                          struct replica_step *s, enum step_stage *stage) {
    struct replica_work *w = &s->work;
    bool ahead = step_engine_goes_ahead(engine) && !l->top->outer;
    enum err e = step_engine_ask(engine, s->step, &w->msg);
    if (e)
        return e;
    if (!ahead) {
        finish_steps(l, 0);
        return step_engine_finish(engine, s->step, &w->msg);
    }
    l->asked[l->asked_count++] = s;
    *stage = STEP_ASKED;
    return ERR_OK;
}

static enum step_stage compute_step(struct replica_local *l, struct replica_step *s,
                                    const struct forward_hooks *hooks) {
    struct replica_work *w = &s->work;
    struct step_engine *engine = replica_steps_at(l, s->place);
    enum step_stage stage = STEP_ENDED;
    if (!engine) {
        w->err = err_set(&w->msg, ERR_INTERNAL, "a step's model is not there");
        return STEP_ENDED;
    }
    if (!s->forwarded) {
        w->err = forward_step(l, engine, s, hooks);
        if (w->err)
            return STEP_ENDED;
        pthread_mutex_lock(&l->mutex);
        bool released = s->released, gone = atomic_load(&w->cancelled);
        if (!gone) {
            s->forwarded = true;
            s->next_forwarded = l->forwarded;
            l->forwarded = s;
        }
        pthread_mutex_unlock(&l->mutex);
        if (gone)
            w->err = err_set(&w->msg, ERR_CANCELLED, "cancelled");
        if (gone || !released)
            return gone ? STEP_ENDED : STEP_PARKED;
    }
    w->err = draw_step(l, engine, s, &stage);
    forget_forwarded(l, s);
    return stage;
}

static void run(struct replica_local *l, struct replica_work *w) {
    unsigned before = l->under_way;
    struct replica_forward f = {.l = l, .work = w, .outer = l->top};
    struct forward_hooks hooks = {.pause = pause_forward, .ctx = &f};
    enum step_stage stage = STEP_ENDED;
    if (!replica_is_step(w))
        finish_steps(l, 0);
    unsigned named = crash_work_on(NULL);
    for (size_t i = 0; i < w->request_count; i++)
        crash_work_on(w->requests[i]);
    atomic_store(&w->began_us, clock_now_us());
    l->top = &f;
    l->under_way |= shares_of(w);
    if (replica_is_step(w))
        stage = compute_step(l, replica_step_of(w), &hooks);
    else
        w->err = encode_batch(l, replica_batch_of(w), &hooks, &w->msg);
    lap(&f);
    crash_work_back_to(named);
    l->under_way = before;
    l->top = f.outer;
    if (stage == STEP_ASKED) {
        finish_steps(l, REPLICA_ASKED_MOST - 1);
        return;
    }
    finish_steps(l, 0); // those before it end before it does
    if (replica_is_step(w))
        expect_next(l, w);
    if (stage == STEP_ENDED)
        w->done(w);
    else
        replica_step_of(w)->computed(replica_step_of(w));
}

// ---- the thread

// Whether nothing can be begun: what was before is no measure of what comes then. Mutex held.
static bool is_idle(struct replica_local *l) {
    if ((atomic_load(&l->queued) & ~step_shares) || ready_steps(l))
        return false;
    shares_forget(&l->shares);
    l->expected = 0;
    atomic_store(&l->heartbeat_us, clock_now_us());
    return true;
}

// Waits until there is work; false when the thread must end.
static bool wait_for_work(struct replica_local *l) {
    pthread_mutex_lock(&l->mutex);
    while (!l->ending && is_idle(l))
        thread_cond_wait_until(&l->wake, &l->mutex, atomic_load(&l->heartbeat_us) + HEARTBEAT_US);
    bool go_on = !l->ending;
    pthread_mutex_unlock(&l->mutex);
    return go_on;
}

static bool wait_for_feed(struct replica_local *l) {
    for (;;) {
        pthread_mutex_lock(&l->mutex);
        bool idle = is_idle(l);
        pthread_mutex_unlock(&l->mutex);
        if (!idle)
            return true;
        if (!l->feed.wait(l->feed.ctx, 0))
            return false;
    }
}

// Whether something is there to be begun, or comes, while the device has a step. What follows it
// comes, if it does, when the results of the one before it were seen.
static bool follows(struct replica_local *l) {
    int64_t wait_us = l->step_us / 2 < FOLLOWS_US ? l->step_us / 2 : FOLLOWS_US;
    int64_t until_us = clock_now_us() + wait_us;
    bool came = true;
    for (;;) {
        unsigned before = atomic_load(&l->queued);
        if (l->is_fed)
            l->feed.look(l->feed.ctx);
        if (ready(l) || !came)
            return ready(l) != 0;
        if (atomic_load(&l->queued) == before)
            came = l->is_fed ? feed_until_change(l, before, until_us)
                             : wait_for_change(l, before, until_us);
    }
}

// Until there is work; false when the thread must end.
static bool wait_for_any(struct replica_local *l) {
    while (l->asked_count > 0) {
        if (follows(l))
            return true;
        finish_oldest(l);
    }
    return l->is_fed ? wait_for_feed(l) : wait_for_work(l);
}

void *replica_run(void *local) {
    struct replica_local *l = local;
    while (wait_for_any(l)) {
        bury(l);
        l->lap_us = clock_now_us();
        atomic_store(&l->heartbeat_us, l->lap_us);
        (void)run_next(l, ~0U, 0);
    }
    return NULL;
}
