// Work and lives of lossy_replica.h. Work goes on to the inner replica as it is, with `done` and
// `ctx` (and of a step what it says when it is computed, and its place) put aside until it comes
// back. One thread of its own ends what was lost, and begins lives.
#include "tests/kit/lossy_replica_internal.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON_US = 400 };

static uint64_t draw_number(struct lossy *l) { // splitmix64
    uint64_t x = l->random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// ---- lives; mutex held

static void cancel_pieces(struct lossy *l) {
    for (struct lossy_piece *p = l->with; p; p = p->next) {
        p->lost = true;
        if (p->sent)
            replica_cancel(l->options.inner, p->work);
    }
}

void lossy_end_life(struct lossy *l, enum replica_loss cause, int64_t down_us) {
    if (l->health.condition != REPLICA_UP)
        return;
    int64_t now = clock_now_us();
    l->health.condition = REPLICA_DOWN;
    l->health.losses[cause]++;
    l->health.pid = 0;
    snprintf(l->health.why, sizeof l->health.why, "life %llu was lost by cause %d",
             (unsigned long long)l->health.life, (int)cause);
    l->counts.useful += l->busy_life || l->with != NULL;
    l->raise_us = down_us < 0 ? 0 : now + down_us + 1;
    l->health.expected_us = down_us < 0 ? now + 1000000 : l->raise_us;
    l->lose_us = 0;
    l->changed = true;
    cancel_pieces(l);
    pthread_cond_signal(&l->wake);
}

static void lose_by_chance(struct lossy *l) {
    int64_t most = l->options.down_most_us;
    enum replica_loss cause = (enum replica_loss)(draw_number(l) % LOSS_START);
    lossy_end_life(l, cause, most > 0 ? (int64_t)(draw_number(l) % (uint64_t)most) : 0);
}

static bool has_poison(const struct lossy *l, const struct lossy_piece *p) {
    if (!l->options.poison)
        return false;
    const struct replica_batch *b = (const struct replica_batch *)(const void *)p->work;
    const int32_t *ids = p->step ? p->step->step->ids : b->tokens.ids;
    size_t n = p->step ? p->step->step->tokens : b->tokens.tokens;
    for (size_t i = 0; i < n; i++)
        if (ids[i] == l->options.poison)
            return true;
    return false;
}

static enum lossy_fate fate_of(struct lossy *l, const struct lossy_piece *p) {
    if (has_poison(l, p)) {
        l->counts.poisoned++;
        return draw_number(l) % 2 ? FATE_AT_ONCE : FATE_LATE;
    }
    if ((int)(draw_number(l) % 1000) >= l->per_thousand)
        return FATE_LIVES;
    return (enum lossy_fate)(1 + draw_number(l) % (FATE_COUNT - 1));
}

static void send(struct lossy *l, struct lossy_piece *p) {
    p->fate = fate_of(l, p);
    p->next = l->with;
    l->with = p;
    size_t n = 0;
    for (const struct lossy_piece *q = l->with; q; q = q->next)
        n++;
    if (n > l->counts.most_at_once)
        l->counts.most_at_once = n;
    if (p->fate == FATE_BEFORE) { // not to this life any more
        l->with = p->next;
        p->next = l->over;
        l->over = p;
        lose_by_chance(l);
        return;
    }
    p->sent = p->exposed = true;
    l->busy_life = true;
    if (p->step)
        replica_submit_step(l->options.inner, p->step);
    else
        replica_encode(l->options.inner, (struct replica_batch *)(void *)p->work);
    if (p->fate == FATE_AT_ONCE)
        lose_by_chance(l);
    else if (p->fate == FATE_SOON && !l->lose_us)
        l->lose_us = clock_now_us() + (int64_t)(draw_number(l) % SOON_US) + 1;
    pthread_cond_signal(&l->wake);
}

// ---- work

static void restore(struct lossy_piece *p) {
    p->work->done = p->done;
    p->work->ctx = p->ctx;
    if (p->step) {
        p->step->computed = p->computed;
        p->step->place = p->place;
    }
}

// Nothing that a lost piece has in its results is to be read.
static void spoil(const struct lossy_piece *p) {
    if (p->step) {
        struct step *s = p->step->step;
        memset(s->results, 0x7f, s->logits * sizeof *s->results);
        return;
    }
    struct replica_batch *b = (struct replica_batch *)(void *)p->work;
    for (size_t i = 0; i < b->tokens.seqs; i++)
        b->rows[i] = 1e30f;
}

static void free_piece(struct lossy_piece *p) {
    restore(p);
    p->work = NULL;
}

static void take_out(struct lossy_piece **list, const struct lossy_piece *p) {
    while (*list != p)
        list = &(*list)->next;
    *list = p->next;
}

// On the inner replica's thread, as the next.
static void on_done(struct replica_work *w) {
    struct lossy_piece *p = w->ctx;
    struct lossy *l = p->l;
    pthread_mutex_lock(&l->mutex);
    take_out(&l->with, p);
    if (!p->lost && p->fate == FATE_LATE && l->health.condition == REPLICA_UP) {
        p->lost = true;
        lose_by_chance(l);
    }
    bool lost = p->lost;
    if (lost) {
        p->next = l->over;
        l->over = p;
        pthread_cond_signal(&l->wake);
    } else {
        l->health.completed++;
        free_piece(p);
    }
    pthread_mutex_unlock(&l->mutex);
    if (!lost)
        w->done(w);
}

static void on_computed(struct replica_step *s) {
    struct lossy_piece *p = s->work.ctx;
    struct lossy *l = p->l;
    pthread_mutex_lock(&l->mutex);
    void (*computed)(struct replica_step *) = p->computed;
    s->work.ctx = p->ctx; // the sender's again for so long: it is not done before this returns
    pthread_mutex_unlock(&l->mutex);
    computed(s);
    s->work.ctx = p;
}

uint64_t lossy_inner_place(const struct lossy *l, uint64_t number) {
    for (size_t i = 0; i < LOSSY_PLACES; i++)
        if (number && l->places[i].number == number)
            return l->places[i].inner;
    return 0;
}

static void submit(struct replica *r, struct replica_work *w, struct replica_step *step) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    size_t i = 0;
    while (i < LOSSY_PIECES && l->pieces[i].work)
        i++;
    if (i == LOSSY_PIECES)
        abort(); // no sender has so much at once
    struct lossy_piece *p = &l->pieces[i];
    *p = (struct lossy_piece){.l = l, .work = w, .step = step, .done = w->done, .ctx = w->ctx};
    *(step ? &l->counts.steps : &l->counts.batches) += 1;
    w->err = ERR_OK;
    w->exposed = false;
    atomic_store(&w->began_us, 0);
    atomic_store(&w->cancelled, false);
    w->done = on_done;
    w->ctx = p;
    bool past = step && step->life != l->health.life;
    if (step) {
        p->computed = step->computed;
        p->place = step->place;
        step->computed = on_computed;
        step->place = lossy_inner_place(l, p->place);
        l->counts.past_the_life += past;
    }
    if (l->health.condition == REPLICA_UP && !past) {
        send(l, p);
    } else if (l->options.quarantine && !past) {
        p->next = NULL;
        *l->tail = p;
        l->tail = &p->next;
    } else {
        p->next = l->over;
        l->over = p;
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->mutex);
}

void lossy_encode(struct replica *r, struct replica_batch *b) { submit(r, &b->work, NULL); }
void lossy_step(struct replica *r, struct replica_step *s) { submit(r, &s->work, s); }

// With the inner one, and not back; NULL: it is not. Mutex held.
static struct lossy_piece *find(struct lossy *l, const struct replica_work *w) {
    struct lossy_piece *p = l->with;
    while (p && p->work != w)
        p = p->next;
    return p && p->sent ? p : NULL;
}

void lossy_draw(struct replica *r, struct replica_step *s) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    if (find(l, &s->work))
        replica_draw_step(l->options.inner, s);
    pthread_mutex_unlock(&l->mutex);
}

void lossy_cancel(struct replica *r, struct replica_work *w) {
    struct lossy *l = lossy_of(r);
    pthread_mutex_lock(&l->mutex);
    if (find(l, w))
        replica_cancel(l->options.inner, w);
    atomic_store(&w->cancelled, true); // of one that is held
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
}

// ---- its thread; mutex held, let go of on the way

static void tell(struct lossy *l) {
    void (*watcher)(void *) = l->watcher;
    void *ctx = l->watcher_ctx;
    l->changed = false;
    l->telling = true;
    pthread_mutex_unlock(&l->mutex);
    if (watcher)
        watcher(ctx);
    pthread_mutex_lock(&l->mutex);
    l->telling = false;
    pthread_cond_broadcast(&l->told);
}

static void end_lost(struct lossy *l) {
    struct lossy_piece *p = l->over;
    l->over = p->next;
    struct replica_work *w = p->work;
    bool exposed = p->exposed;
    if (exposed)
        spoil(p);
    l->counts.lost++;
    l->counts.exposed += exposed;
    free_piece(p);
    pthread_mutex_unlock(&l->mutex);
    w->exposed = exposed;
    w->err = err_set(&w->msg, ERR_LOST, "the life that had it has ended");
    w->done(w);
    pthread_mutex_lock(&l->mutex);
}

static void end_cancelled(struct lossy *l, struct lossy_piece *p) {
    struct replica_work *w = p->work;
    take_out(&l->held, p);
    l->tail = &l->held;
    while (*l->tail)
        l->tail = &(*l->tail)->next;
    free_piece(p);
    pthread_mutex_unlock(&l->mutex);
    w->err = err_set(&w->msg, ERR_CANCELLED, "cancelled");
    w->done(w);
    pthread_mutex_lock(&l->mutex);
}

static struct lossy_piece *cancelled_one(const struct lossy *l) {
    struct lossy_piece *p = l->held;
    while (p && !atomic_load(&p->work->cancelled))
        p = p->next;
    return p;
}

// The places are empty in the next life. False: there is no memory for them now.
static bool open_places(struct lossy *l) {
    for (size_t i = 0; i < LOSSY_PLACES; i++) {
        struct lossy_place *p = &l->places[i];
        uint64_t opened;
        if (!p->number)
            continue;
        if (replica_open_steps(l->options.inner, p->model, &p->options, &opened, NULL))
            return false;
        replica_close_steps(l->options.inner, p->inner);
        p->inner = opened;
    }
    return true;
}

static void begin_life(struct lossy *l) {
    if (!open_places(l)) {
        l->raise_us = clock_now_us() + 1000;
        return;
    }
    l->health.condition = REPLICA_UP;
    l->health.life++;
    l->health.starts++;
    l->health.completed = 0;
    l->health.pid = (int64_t)l->health.life;
    l->busy_life = false;
    l->raise_us = 0;
    l->changed = true;
}

static void send_held(struct lossy *l) {
    struct lossy_piece *p = l->held;
    if (!(l->held = p->next))
        l->tail = &l->held;
    send(l, p);
}

static void nap(struct lossy *l) {
    int64_t until = clock_now_us() + 100000;
    if (l->lose_us && l->lose_us < until)
        until = l->lose_us;
    if (l->raise_us && l->raise_us < until)
        until = l->raise_us;
    thread_cond_wait_until(&l->wake, &l->mutex, until);
}

void *lossy_run(void *arg) {
    struct lossy *l = arg;
    pthread_mutex_lock(&l->mutex);
    while (!l->ending) {
        int64_t now = clock_now_us();
        bool up = l->health.condition == REPLICA_UP;
        struct lossy_piece *gone = cancelled_one(l);
        if (l->changed)
            tell(l);
        else if (l->over)
            end_lost(l);
        else if (gone)
            end_cancelled(l, gone);
        else if (up && l->lose_us && now >= l->lose_us)
            lose_by_chance(l);
        else if (!up && !l->with && l->raise_us && now >= l->raise_us)
            begin_life(l);
        else if (up && l->held)
            send_held(l);
        else
            nap(l);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}
