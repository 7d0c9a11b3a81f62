// See replica_worker.h: its making, its end, and what is asked of it. The thread is
// replica_worker_life.c's.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "channel/spawner.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    START_US = 60000000, // for the first life to say what it is
    ARGUMENTS = 8,       // of a worker, and NULL
};

void replica_worker_wake(struct replica_worker *w) {
    if (w->awake)
        return;
    w->awake = true;
    (void)!write(w->wake[1], "", 1);
}

static struct replica_stats worker_stats(struct replica *r) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    struct replica_stats s = w->stats;
    for (int i = 0; i < SHARE_COUNT; i++)
        s.used_us[i] += w->before.used_us[i];
    s.yields += w->before.yields;
    s.workspace_bytes = w->workspace_bytes;
    if (w->flight_count == 0) // a process that has nothing to do says nothing
        s.heartbeat_us = clock_now_us();
    pthread_mutex_unlock(&w->mutex);
    return s;
}

static struct replica_health worker_health(struct replica *r) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    struct replica_health h = w->health;
    h.present = w->phase == WORKER_UP;
    h.again = w->no_starts ? REPLICA_AGAIN_NEVER
              : w->stuck   ? REPLICA_AGAIN_GONE
                           : REPLICA_AGAIN_LATER;
    if (w->down_since_us)
        h.down_us += clock_now_us() - w->down_since_us;
    pthread_mutex_unlock(&w->mutex);
    return h;
}

static void worker_watch(struct replica *r, void (*changed)(void *ctx), void *ctx) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    w->changed = changed;
    w->changed_ctx = ctx;
    while (!changed && w->telling && !pthread_equal(pthread_self(), w->thread))
        pthread_cond_wait(&w->news, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

static void worker_retry(struct replica *r) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    w->retry = w->given_up;
    replica_worker_wake(w);
    pthread_mutex_unlock(&w->mutex);
}

void replica_worker_free_parts(struct replica_worker *w) {
    while (w->places)
        replica_worker_drop_place(w, w->places);
    while (w->models)
        replica_worker_drop_model(w, w->models);
    for (int i = 0; i < 2; i++)
        if (w->wake[i] >= 0)
            close(w->wake[i]);
    if (w->socket >= 0)
        close(w->socket);
    region_free(w->region);
    replica_worker_batch_copy_free(&w->batch_copy);
    step_free(w->canary_parts);
    mem_free(w->canary_row);
    mem_unmap(w->copy, w->options.region_bytes, 1);
    mem_free(w->program);
    mem_free(w->device);
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->mutex);
    mem_free(w);
}

static void worker_free(struct replica *r) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    w->ending = true;
    replica_worker_wake(w);
    pthread_mutex_unlock(&w->mutex);
    if (w->has_thread)
        pthread_join(w->thread, NULL);
    replica_worker_free_parts(w);
}

static int64_t or_else(int64_t value, int64_t otherwise) { return value > 0 ? value : otherwise; }

static void set_options(struct replica_worker *w, const struct replica_worker_options *o) {
    enum { MS = 1000, S = 1000000 };
    w->options = *o;
    struct replica_worker_options *to = &w->options;
    to->watchdog_us = or_else(o->watchdog_us, 2 * S);
    to->backoff_least_us = or_else(o->backoff_least_us, 100 * MS);
    to->backoff_most_us = or_else(o->backoff_most_us, 30 * (int64_t)S);
    to->retry_us = or_else(o->retry_us, 600 * (int64_t)S);
    to->idle_us = or_else(o->idle_us, 10 * (int64_t)S);
    if (to->region_bytes == 0)
        to->region_bytes = (size_t)256 << 20;
    size_t page = (size_t)sysconf(_SC_PAGESIZE); // as the region has it
    to->region_bytes = (to->region_bytes + page - 1) / page * page;
    if (to->backoff_most_us < to->backoff_least_us)
        to->backoff_most_us = to->backoff_least_us;
}

static char *device_argument(const char *device) {
    size_t n = sizeof "device=" + strlen(device);
    char *words = mem_alloc(n, 1);
    if (words)
        snprintf(words, n, "device=%s", device);
    return words;
}

enum err replica_worker_make(const struct replica_worker_options *o, struct replica_worker **out,
                             struct errmsg *msg) {
    static const struct replica_ops ops = {
        .load = replica_worker_load,
        .unload = replica_worker_unload,
        .weight_bytes = replica_worker_weight_bytes,
        .size_batches = replica_worker_size_batches,
        .size_steps = replica_worker_size_steps,
        .open_steps = replica_worker_open_steps,
        .close_steps = replica_worker_close_steps,
        .step_bytes = replica_worker_step_bytes,
        .encode = replica_worker_encode,
        .step = replica_worker_step,
        .draw = replica_worker_draw,
        .cancel = replica_worker_cancel,
        .stats = worker_stats,
        .health = worker_health,
        .watch = worker_watch,
        .retry = worker_retry,
        .free = worker_free,
    };
    *out = NULL;
    struct replica_worker *w = mem_calloc(1, sizeof *w);
    if (!w) {
        err_set(msg, ERR_NOMEM, "no memory for a worker");
        return ERR_NOMEM;
    }
    w->head.ops = &ops;
    set_options(w, o);
    w->wake[0] = w->wake[1] = w->socket = -1;
    w->same_device = true;
    w->health.condition = o->quarantine ? REPLICA_UP : REPLICA_DOWN;
    w->health.life = o->quarantine; // the next one's
    for (int i = 0; i < LINE_COUNT; i++)
        replica_list_clear(&w->waiting[i]);
    replica_list_clear(&w->ended);
    pthread_mutex_init(&w->mutex, NULL);
    enum err e = ERR_OK;
    if (thread_cond_init(&w->news)) // fails by memory alone, and glibc's never does
        e = err_set(msg, ERR_NOMEM, "no memory for a worker");
    w->program = o->program ? mem_strndup(o->program, strlen(o->program)) : NULL;
    if (!e && o->device && *o->device && !(w->device = device_argument(o->device)))
        e = err_set(msg, ERR_NOMEM, "no memory for a worker");
    w->copy = mem_map(w->options.region_bytes, 1);
    if (!e && o->program && !w->program)
        e = err_set(msg, ERR_NOMEM, "no memory for a worker");
    if (!e && !w->copy) {
        char limit[LIMITS_WORDS];
        e = err_set(msg, ERR_NOMEM, "no memory for a worker's answers: %zu KiB%s",
                    w->options.region_bytes / 1024, limits_words(LIMITS_MAPPED, limit));
    }
    if (!e)
        e = channel_pair(w->wake, msg);
    if (o->like) {
        w->head.facts = *replica_facts(o->like);
        w->head.facts.bulk_ahead = w->head.facts.steps_ahead = 0;
        w->has_facts = true;
    }
    if (e) {
        replica_worker_free_parts(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

// Until the first life has said what it is.
static enum err wait_for_facts(struct replica_worker *w, struct errmsg *msg) {
    int64_t until_us = clock_now_us() + START_US;
    enum err e = ERR_OK;
    pthread_mutex_lock(&w->mutex);
    while (!w->has_facts && !w->hopeless && w->failed_starts < WORKER_TRIES && !e)
        if (!thread_cond_wait_until(&w->news, &w->mutex, until_us))
            e = ERR_UNAVAILABLE;
    if (!w->has_facts && w->hopeless)
        *msg = w->start_msg; // it names the program
    else if (!w->has_facts)
        err_set(msg, ERR_UNAVAILABLE, "the worker's program %s does not come up: %s", w->program,
                w->start_msg.text[0] ? w->start_msg.text : "not in a minute");
    if (!w->has_facts)
        e = msg->code;
    pthread_mutex_unlock(&w->mutex);
    return e;
}

enum err replica_worker_new_by(const struct replica_worker_options *o,
                               const struct worker_starter *starter, struct replica **out,
                               struct errmsg *msg) {
    struct replica_worker *w;
    *out = NULL;
    enum err e = replica_worker_make(o, &w, msg);
    if (e)
        return e;
    struct thread_options t = {.name = o->quarantine ? "quarantine" : "worker"};
    w->starter = *starter;
    if (!w->starter.ctx)
        w->starter.ctx = w;
    w->down_since_us = o->quarantine ? 0 : clock_now_us();
    e = thread_start(&w->thread, &t, replica_worker_run, w, msg);
    w->has_thread = !e;
    if (!e && !o->quarantine)
        e = wait_for_facts(w, msg);
    if (e) {
        worker_free(&w->head);
        return e;
    }
    *out = &w->head;
    return ERR_OK;
}

// ---- the spawner's

static enum err spawn(void *ctx, int socket, int region, pid_t *pid, struct errmsg *msg) {
    struct replica_worker *w = ctx;
    const char *name = strrchr(w->program, '/');
    char memory[40];
    const char *argv[ARGUMENTS] = {name ? name + 1 : w->program,
                                   w->options.quarantine ? "quarantine" : "main",
                                   log_level_name(log_least()), log_is_json() ? "json" : "text"};
    size_t n = 4;
    if (w->device)
        argv[n++] = w->device;
    if (w->options.device_memory > 0) {
        snprintf(memory, sizeof memory, "memory=%.6f", w->options.device_memory);
        argv[n++] = memory;
    }
    return spawner_spawn(w->options.spawner, w->program, argv, socket, region, pid, msg);
}

static void kill_process(void *ctx, pid_t pid) {
    struct replica_worker *w = ctx;
    (void)!spawner_kill(w->options.spawner, pid, SIGKILL, NULL);
}

static bool reap(void *ctx, pid_t pid, int *status) {
    struct replica_worker *w = ctx;
    bool gone = false;
    enum err e = spawner_reap(w->options.spawner, pid, status, &gone, NULL);
    if (e) // a spawner that is gone has taken its children with it, by this signal
        *status = SIGKILL;
    return e || gone;
}

enum err replica_worker_new(const struct replica_worker_options *o, struct replica **out,
                            struct errmsg *msg) {
    static const struct worker_starter by_spawner = {
        .spawn = spawn, .kill = kill_process, .reap = reap};
    return replica_worker_new_by(o, &by_spawner, out, msg);
}
