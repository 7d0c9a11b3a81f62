// The thread of a replica whose device is in another process: it starts that, brings it up, hears
// what it says, looks at deadlines, sees it end, and begins again. Whatever goes wrong in a life is
// told by replica_worker_lose; what follows is always the same: condition first, then all its work,
// then the process.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel/spawner.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h> // what a status says
#include <string.h>
#include <unistd.h>

enum {
    IDLE_US = 500000,        // an idle thread looks round so often
    HOLD_US = 50000,         // a quarantine's cache waits so long for its next step
    LONG_LIFE_US = 10000000, // a life that was up for so long was no failure
    END_US = 20000,          // for a process whose socket has closed to be gone by itself
    BOW_OUT_US = 2000000,    // for one that is to end, before it is killed
    KILL_US = 5000000,       // for one that was killed to be gone
    REAP_LEAST_US = 500,     // between looks
    REAP_MOST_US = 200000,
    MESSAGES = 32, // that are taken before the thread looks round
};

void replica_worker_lose(struct replica_worker *w, enum replica_loss loss, const char *fmt, ...) {
    va_list ap;
    if (w->losing)
        return;
    w->losing = true;
    w->loss = loss;
    va_start(ap, fmt);
    vsnprintf(w->loss_why, sizeof w->loss_why, fmt, ap);
    va_end(ap);
    replica_worker_wake(w);
}

// ---- telling

static bool tell_change(struct replica_worker *w) {
    if (!w->tells)
        return false;
    w->tells = false;
    if (!w->changed)
        return true;
    void (*changed)(void *) = w->changed;
    void *ctx = w->changed_ctx;
    w->telling = true;
    pthread_mutex_unlock(&w->mutex);
    changed(ctx);
    pthread_mutex_lock(&w->mutex);
    w->telling = false;
    pthread_cond_broadcast(&w->news);
    return true;
}

bool replica_worker_deliver(struct replica_worker *w) {
    bool any = tell_change(w);
    struct replica_work *work = w->ended.head;
    replica_list_clear(&w->ended);
    if (!work)
        return any;
    pthread_mutex_unlock(&w->mutex);
    for (struct replica_work *next; work; work = next) {
        next = work->next;
        work->done(work);
    }
    pthread_mutex_lock(&w->mutex);
    return true;
}

static void set_condition(struct replica_worker *w, enum replica_condition c) {
    if (w->options.quarantine)
        c = REPLICA_UP;
    w->tells = true;
    w->health.condition = c;
    pthread_cond_broadcast(&w->news);
}

// ---- a life begins

void replica_worker_begin_life(struct replica_worker *w, int socket, struct region *region,
                               pid_t pid) {
    if (!w->options.quarantine || w->health.life == 0)
        w->health.life++;
    w->health.completed = 0;
    w->health.pid = pid;
    w->health.starts++;
    w->socket = socket;
    w->region = region;
    region_space_init(&w->space, region_size(region));
    w->sequence = 0;
    w->blocked = w->losing = false;
    w->pid = pid;
    w->started_us = clock_now_us();
    w->phase = WORKER_COMING;
    w->errand = (struct worker_errand){.kind = ERRAND_HELLO};
}

static enum err spawn(struct replica_worker *w, int ends[2], struct region **region, pid_t *pid,
                      struct errmsg *msg) {
    enum err e = channel_pair(ends, msg);
    if (e)
        return e;
    e = region_new(w->options.region_bytes, region, msg);
    if (!e) {
        e = w->starter.spawn(w->starter.ctx, ends[1], region_fd(*region), pid, msg);
        if (e)
            region_free(*region);
    }
    close(ends[1]);
    if (e)
        close(ends[0]);
    return e;
}

// How long until the next life, as those before it have gone.
static int64_t backoff_us(const struct replica_worker *w) {
    int64_t us = w->options.backoff_least_us, most = w->options.backoff_most_us;
    for (unsigned i = 1; i < w->short_lives && us < most; i++)
        us *= 2;
    return us < most ? us : most;
}

static void log_given_up(const struct replica_worker *w) {
    if (w->no_starts)
        log_event(LOG_LEVEL_ERROR, "worker_given_up",
                  LOG_FIELDS(log_int("life", (int64_t)w->health.life)),
                  "the worker is given up: %s", w->health.why);
    else
        log_event(LOG_LEVEL_ERROR, "worker_given_up",
                  LOG_FIELDS(log_int("life", (int64_t)w->health.life),
                             log_int("retry_s", w->options.retry_us / 1000000)),
                  "the worker is given up after %u generations without work done: %s; it is tried "
                  "again in %lld s, and at SIGHUP",
                  w->idle_lives, w->health.why, (long long)(w->options.retry_us / 1000000));
}

// What the next life waits for, after one that gave `fruit` or did not.
static void plan_next(struct replica_worker *w, bool was_long, bool fruit, int64_t now) {
    w->short_lives = was_long && fruit ? 0 : w->short_lives + 1;
    w->idle_lives = was_long || fruit ? 0 : w->idle_lives + 1;
    w->next_us = now + backoff_us(w);
    if (w->options.give_up_after > 0 && !w->options.quarantine &&
        (w->no_starts || w->idle_lives >= (unsigned)w->options.give_up_after)) {
        w->given_up = true;
        w->next_us = now + w->options.retry_us;
        log_given_up(w);
        set_condition(w, REPLICA_GIVEN_UP);
    }
    w->health.expected_us = w->next_us + w->came_up_us;
}

// All that waits in line.
static void end_waiting(struct replica_worker *w, enum err e, const char *words) {
    for (int i = 0; i < LINE_COUNT; i++) {
        struct replica_work *work = w->waiting[i].head, *next;
        replica_list_clear(&w->waiting[i]);
        for (; work; work = next) {
            next = work->next;
            replica_worker_end_work(w, work, e, false, words);
        }
    }
}

// Of a quarantine: what was held is not to be held for ever.
static void end_held(struct replica_worker *w) {
    char words[400];
    snprintf(words, sizeof words, "the quarantine worker cannot be started: %s", w->health.why);
    end_waiting(w, ERR_UNAVAILABLE, words);
    w->quarantine_failures = 0;
}

static void count_failed_start(struct replica_worker *w) {
    w->failed_starts++;
    if (!w->hopeless)
        err_set(&w->start_msg, ERR_UNAVAILABLE, "%s", w->health.why);
    if (w->options.quarantine && (w->no_starts || ++w->quarantine_failures >= WORKER_TRIES))
        end_held(w);
    pthread_cond_broadcast(&w->news);
}

// Mutex held, but while the spawner works.
static void start_life(struct replica_worker *w) {
    int ends[2];
    struct region *region = NULL;
    pid_t pid = 0;
    struct errmsg msg;
    w->retry = false;
    if (w->given_up) {
        w->given_up = false;
        set_condition(w, REPLICA_DOWN);
    }
    pthread_mutex_unlock(&w->mutex);
    enum err e = spawn(w, ends, &region, &pid, &msg);
    pthread_mutex_lock(&w->mutex);
    if (!e) {
        w->loss_told = false;
        replica_worker_begin_life(w, ends[0], region, pid);
        return;
    }
    snprintf(w->health.why, sizeof w->health.why, "%.250s", msg.text);
    w->health.losses[LOSS_START]++;
    log_event(LOG_LEVEL_WARN, "worker_lost",
              LOG_FIELDS(log_string("cause", "start"), log_string("why", w->health.why)),
              "the worker cannot be started: %s", w->health.why);
    w->no_starts = e == ERR_UNAVAILABLE;
    plan_next(w, false, false, clock_now_us());
    count_failed_start(w);
    w->hopeless = true; // nothing ran that could do better the next time
    err_set(&w->start_msg, e, "%s", msg.text);
}

static void come_up(struct replica_worker *w) {
    int64_t now = clock_now_us();
    w->phase = WORKER_UP;
    w->up_us = w->idle_since_us = now;
    w->came_up_us = now - w->started_us;
    w->failed_starts = w->quarantine_failures = 0;
    if (w->down_since_us)
        w->health.down_us += now - w->down_since_us;
    w->down_since_us = 0;
    log_event(LOG_LEVEL_INFO, "worker_up",
              LOG_FIELDS(log_int("life", (int64_t)w->health.life), log_int("pid", w->pid),
                         log_int("duration_ms", w->came_up_us / 1000)),
              "the %sworker's generation %llu is up after %lld ms (pid %d)",
              w->options.quarantine ? "quarantine " : "", (unsigned long long)w->health.life,
              (long long)(w->came_up_us / 1000), (int)w->pid);
    set_condition(w, REPLICA_UP);
}

// ---- a life ends

static void add_stats(struct replica_worker *w) {
    for (int i = 0; i < SHARE_COUNT; i++)
        w->before.used_us[i] += w->stats.used_us[i];
    w->before.yields += w->stats.yields;
    w->stats = (struct replica_stats){0};
}

void replica_worker_end_life(struct replica_worker *w) {
    char words[320];
    snprintf(words, sizeof words, "the worker's generation %llu has ended: %s",
             (unsigned long long)w->health.life, w->health.why);
    for (size_t i = 0; i < WORKER_FLIGHTS; i++) {
        struct replica_work *work = w->flights[i].work;
        if (w->flights[i].copy)
            w->flights[i].copy->taken = false;
        w->flights[i] = (struct worker_flight){0};
        if (work)
            replica_worker_end_work(w, work, ERR_LOST, true, words);
    }
    w->flight_count = 0;
    if (!w->options.quarantine)
        end_waiting(w, ERR_LOST, words);
    add_stats(w);
    w->errand = (struct worker_errand){0};
    replica_worker_models_lost(w);
    close(w->socket);
    w->socket = -1;
    region_free(w->region);
    w->region = NULL;
    w->losing = w->blocked = false;
    w->phase = WORKER_GOING;
    w->killed_us = w->reap_us = 0;
    w->killed = w->stuck = false;
    w->health.pid = 0;
    if (w->options.quarantine) { // the next one's: what is made now is made for it
        w->health.life++;
        set_condition(w, REPLICA_UP);
    }
}

// True: there is no such process any more. Mutex not held.
static bool reap(struct replica_worker *w, int *status) {
    *status = 0;
    return w->starter.reap(w->starter.ctx, w->pid, status);
}

// Waits for a process that has closed its socket, which it does as it ends, so that its cause is
// known. Mutex held, but in between.
static bool see_end(struct replica_worker *w, int *status) {
    int64_t until_us = clock_now_us() + END_US;
    pthread_mutex_unlock(&w->mutex);
    bool gone = reap(w, status);
    while (!gone && clock_now_us() < until_us) {
        (void)poll(NULL, 0, 1);
        gone = reap(w, status);
    }
    pthread_mutex_lock(&w->mutex);
    return gone;
}

static void log_loss(const struct replica_worker *w, size_t in_flight, size_t waiting) {
    // one that never came up is told by whoever wanted it
    log_event(w->hopeless ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "worker_lost",
              LOG_FIELDS(log_string("cause", replica_loss_name(w->loss)),
                         log_int("life", (int64_t)w->health.life), log_int("pid", w->pid),
                         log_string("why", w->health.why), log_size("in_flight", in_flight),
                         log_size("waiting", waiting)),
              "the %sworker's generation %llu is lost (%s): %s; %zu pieces of work were in it",
              w->options.quarantine ? "quarantine " : "", (unsigned long long)w->health.life,
              replica_loss_name(w->loss), w->health.why, in_flight);
}

static size_t count_waiting(const struct replica_worker *w) {
    size_t n = 0;
    for (int i = 0; i < LINE_COUNT; i++)
        for (const struct replica_work *work = w->waiting[i].head; work; work = work->next)
            n++;
    return n;
}

// The present life is lost: w->losing.
static void lose_life(struct replica_worker *w) {
    bool was_up = w->phase == WORKER_UP, gone = false;
    int status = 0;
    if (w->loss == LOSS_EXIT)
        gone = see_end(w, &status);
    if (gone && WIFSIGNALED(status))
        w->loss = LOSS_KILLED;
    else if (gone && WIFEXITED(status) && WEXITSTATUS(status) == WIRE_END_NO_MEMORY)
        w->loss = LOSS_MEMORY;
    if (gone)
        spawner_status_words(status, w->health.why, sizeof w->health.why);
    else
        snprintf(w->health.why, sizeof w->health.why, "%s", w->loss_why);
    if (!was_up && (w->loss == LOSS_EXIT || w->loss == LOSS_HANG || w->loss == LOSS_KILLED))
        w->loss = LOSS_START;
    int64_t now = clock_now_us();
    size_t in_flight = w->flight_count;
    bool fruit = w->health.completed > 0, was_long = was_up && now - w->up_us >= LONG_LIFE_US;
    w->health.losses[w->loss]++;
    log_loss(w, in_flight, count_waiting(w));
    if (!w->down_since_us && !w->options.quarantine)
        w->down_since_us = now;
    set_condition(w, REPLICA_DOWN);
    plan_next(w, was_long, fruit, now);
    replica_worker_end_life(w);
    if (!was_up)
        count_failed_start(w);
    if (gone) {
        w->phase = WORKER_NONE;
        w->pid = 0;
    }
}

// Lets a process go that has nothing to do: it ends when its socket closes.
static void bow_out(struct replica_worker *w) {
    replica_worker_end_life(w);
    w->killed_us = clock_now_us() + BOW_OUT_US; // then
}

// One look at a process that is to end. Mutex held, but in between.
static void see_to_end(struct replica_worker *w, int64_t now) {
    int status;
    bool kill_it = !w->killed && now >= w->killed_us;
    pthread_mutex_unlock(&w->mutex);
    if (kill_it)
        w->starter.kill(w->starter.ctx, w->pid);
    bool gone = reap(w, &status);
    pthread_mutex_lock(&w->mutex);
    if (gone) {
        w->phase = WORKER_NONE;
        w->pid = 0;
        if (w->stuck) { // the CPU has had its work; now a new life can begin
            w->stuck = w->given_up = false;
            w->next_us = now;
            set_condition(w, REPLICA_DOWN);
        }
        return;
    }
    if (kill_it) {
        w->killed = true;
        w->killed_us = now;
        w->reap_us = 0;
    }
    int64_t step = w->reap_us ? 2 * w->reap_us : REAP_LEAST_US;
    w->reap_us = step > REAP_MOST_US ? REAP_MOST_US : step;
    if (w->killed && !w->stuck && now - w->killed_us >= KILL_US) {
        w->stuck = w->given_up = true;
        log_event(LOG_LEVEL_ERROR, "worker_given_up",
                  LOG_FIELDS(log_int("life", (int64_t)w->health.life), log_int("pid", w->pid)),
                  "the worker's process %d cannot be killed: no other is started before it is gone",
                  (int)w->pid);
        set_condition(w, REPLICA_GIVEN_UP);
    }
}

// ---- the thread

static void hear(struct replica_worker *w, int socket) {
    for (int i = 0; i < MESSAGES; i++) {
        struct channel_message m;
        struct errmsg msg;
        enum err e = channel_receive(socket, &w->buffer, &m, false, &msg);
        if (e == ERR_OVERLOADED)
            return;
        if (e) {
            pthread_mutex_lock(&w->mutex);
            replica_worker_lose(w, e == ERR_LOST ? LOSS_EXIT : LOSS_PROTOCOL, "%s",
                                e == ERR_LOST ? "its socket closed" : msg.text);
            pthread_mutex_unlock(&w->mutex);
            return;
        }
        replica_worker_take(w, &m);
    }
}

// Sleeps until something comes, or until_us. Mutex not held.
static void rest(struct replica_worker *w, int socket, bool blocked, int64_t until_us) {
    struct pollfd fds[2] = {{.fd = w->wake[0], .events = POLLIN},
                            {.fd = socket, .events = (short)(POLLIN | (blocked ? POLLOUT : 0))}};
    int64_t us = until_us - clock_now_us();
    int ms = us <= 0 ? 0 : (int)((us + 999) / 1000);
    if (poll(fds, socket < 0 ? 1 : 2, ms) <= 0)
        return;
    if (fds[0].revents) {
        char bytes[16];
        pthread_mutex_lock(&w->mutex);
        (void)!read(w->wake[0], bytes, sizeof bytes);
        w->awake = false;
        pthread_mutex_unlock(&w->mutex);
    }
    if (socket < 0)
        return;
    if (fds[1].revents & POLLOUT) {
        pthread_mutex_lock(&w->mutex);
        w->blocked = false;
        pthread_mutex_unlock(&w->mutex);
    }
    if (fds[1].revents & (POLLIN | POLLHUP | POLLERR))
        hear(w, socket);
}

static bool wants_life(const struct replica_worker *w, int64_t now) {
    if (w->ending || (w->given_up && w->no_starts))
        return false;
    if (w->retry && w->given_up)
        return true;
    if (w->options.quarantine && !replica_worker_first_waiting(w))
        return false;
    return now >= w->next_us;
}

// Whether a quarantine's next piece is of another model than the cache that it holds. What closes
// that cache for it ends the life, so that steps behind what it held are known to be stale; and not
// while they come one after the other.
static bool holds_another(const struct replica_worker *w) {
    const struct replica_work *first = replica_worker_first_waiting(w);
    if (!w->options.quarantine || w->phase != WORKER_UP || w->flight_count > 0 || !first ||
        w->errand.kind != ERRAND_NONE)
        return false;
    for (const struct worker_place *p = w->places; p; p = p->next)
        if (p->entry.there == w->health.life && p->wire.model != first->model)
            return true;
    return false;
}

// A process that is there: what it lacks, whether it is late. Mutex held.
static int64_t tend(struct replica_worker *w, int64_t now) {
    if (w->ending) { // all work is done, and nobody waits for a load's answer or a canary's
        bow_out(w);
        return now;
    }
    replica_worker_clock_check(w, now);
    bool holds = holds_another(w);
    if (holds && now >= w->idle_since_us + HOLD_US) {
        bow_out(w);
        return now;
    }
    bool complete = holds || replica_worker_run_errands(w);
    if (w->losing)
        return now;
    if (w->phase == WORKER_COMING && complete)
        come_up(w);
    replica_worker_send_waiting(w);
    if (holds && w->flight_count == 0)
        return w->idle_since_us + HOLD_US;
    bool idle = w->flight_count == 0 && !replica_worker_first_waiting(w) && complete;
    int64_t next = replica_worker_clock_next(w, now);
    if (!w->options.quarantine || !idle || w->phase != WORKER_UP)
        return next;
    int64_t over_us = w->idle_since_us + w->options.idle_us;
    if (now < over_us)
        return next < over_us ? next : over_us;
    bow_out(w);
    return now;
}

// What is to be done now; returns when to look again. Mutex held, but in between.
static int64_t look_round(struct replica_worker *w) {
    int64_t now = clock_now_us();
    if (w->losing) {
        lose_life(w);
        return now;
    }
    switch (w->phase) {
    case WORKER_NONE:
        if (wants_life(w, now)) {
            start_life(w);
            return now;
        }
        replica_worker_send_waiting(w); // steps whose life is gone
        return w->given_up || w->options.quarantine || w->next_us > now + IDLE_US ? now + IDLE_US
                                                                                  : w->next_us;
    case WORKER_GOING:
        see_to_end(w, now);
        return w->phase == WORKER_NONE ? now : now + w->reap_us;
    default:
        return tend(w, now);
    }
}

void *replica_worker_run(void *worker) {
    struct replica_worker *w = worker;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        int64_t next = look_round(w);
        if (replica_worker_deliver(w))
            continue;
        if (w->ending && w->phase == WORKER_NONE)
            break;
        if (w->ending && w->stuck) // it cannot be waited for
            break;
        int socket = w->losing ? -1 : w->socket;
        bool blocked = w->blocked;
        pthread_mutex_unlock(&w->mutex);
        rest(w, socket, blocked, next);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}
