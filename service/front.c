// See front.h. One mutex guards three lists and the idle threads; each thread sleeps on its own
// condition, so a post wakes exactly one, the one that slept last (its caches are warmest).
#include "service/front.h"

#include "base/crash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>

enum { KEPT = 1 << 20 }; // bytes of each of a worker's buffers, from one task to the next

struct scratch_entry {
    uint64_t model; // its id: an address may be another model's later
    struct tokenizer_scratch *scratch;
};

struct front_worker {
    struct front *front;
    pthread_t thread;
    pthread_cond_t wake;
    bool cond_made, started;
    bool quick_only;
    bool woken;                      // by a post that took it off the idle list
    bool asleep;                     // nobody but who has the mutex touches its scratches
    bool drop;                       // its scratches, when its task has ended
    struct front_worker *idle_next;  // below it in the idle list
    struct scratch_entry *scratches; // [scratch_count], one a model
    size_t scratch_count;
    struct encoding encodings[FRONT_ENCODINGS];
    struct buf text;
};

struct front {
    pthread_mutex_t mutex;
    struct {
        struct front_task *head, *tail;
        size_t length;
        uint64_t run;
    } queues[FRONT_QUEUES];
    struct front_worker *idle_any, *idle_quick; // most recent first
    size_t idle;
    bool stopping;
    struct front_worker *workers; // [count]
    size_t count;
};

static struct front_task *take(struct front *f, bool quick_only) {
    for (int q = 0; q < (quick_only ? FRONT_QUICK + 1 : FRONT_QUEUES); q++) {
        struct front_task *task = f->queues[q].head;
        if (!task)
            continue;
        f->queues[q].head = task->next;
        if (!task->next)
            f->queues[q].tail = NULL;
        f->queues[q].length--;
        f->queues[q].run++;
        return task;
    }
    return NULL;
}

// What a large text made large goes back with its task; a scratch sees to itself.
static void trim(struct front_worker *w) {
    for (size_t i = 0; i < FRONT_ENCODINGS; i++)
        encoding_trim(&w->encodings[i], KEPT);
    buf_trim(&w->text, KEPT);
}

static void drop_scratches(struct front_worker *w) {
    for (size_t i = 0; i < w->scratch_count; i++)
        tokenizer_scratch_free(w->scratches[i].scratch);
    w->scratch_count = 0;
}

static void *work(void *arg) {
    struct front_worker *w = arg;
    struct front *f = w->front;
    struct front_worker **idle = w->quick_only ? &f->idle_quick : &f->idle_any;
    pthread_mutex_lock(&f->mutex);
    for (;;) {
        // at the end every thread takes all, for the others may have ended
        struct front_task *task = take(f, w->quick_only && !f->stopping);
        if (task) {
            pthread_mutex_unlock(&f->mutex);
            task->run(task, w);
            crash_work_back_to(0);
            trim(w);
            pthread_mutex_lock(&f->mutex);
            if (w->drop)
                drop_scratches(w);
            w->drop = false;
            continue;
        }
        if (f->stopping)
            break;
        w->woken = false;
        w->asleep = true;
        w->idle_next = *idle;
        *idle = w;
        f->idle++;
        while (!w->woken)
            pthread_cond_wait(&w->wake, &f->mutex);
        w->asleep = false;
    }
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

// Takes the most recent sleeper off a list; false when nobody sleeps there. The mutex is held.
static bool wake_one(struct front *f, struct front_worker **idle) {
    struct front_worker *w = *idle;
    if (!w)
        return false;
    *idle = w->idle_next;
    f->idle--;
    w->woken = true;
    pthread_cond_signal(&w->wake);
    return true;
}

void front_post(struct front *f, struct front_task *task, enum front_queue queue) {
    task->next = NULL;
    pthread_mutex_lock(&f->mutex);
    if (f->queues[queue].tail)
        f->queues[queue].tail->next = task;
    else
        f->queues[queue].head = task;
    f->queues[queue].tail = task;
    f->queues[queue].length++;
    if (queue != FRONT_QUICK || !wake_one(f, &f->idle_quick))
        (void)wake_one(f, &f->idle_any);
    pthread_mutex_unlock(&f->mutex);
}

static void forget(struct front_worker *w, uint64_t model) {
    for (size_t i = 0; i < w->scratch_count; i++) {
        if (w->scratches[i].model != model)
            continue;
        tokenizer_scratch_free(w->scratches[i].scratch);
        w->scratches[i--] = w->scratches[--w->scratch_count];
    }
}

// A worker in a task may be using the scratch, or may be making it: it drops all that it has, which
// are made again at their next use.
void front_forget_model(struct front *f, uint64_t model) {
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count; i++) {
        if (f->workers[i].asleep)
            forget(&f->workers[i], model);
        else
            f->workers[i].drop = true;
    }
    pthread_mutex_unlock(&f->mutex);
}

static void free_worker(struct front_worker *w) {
    drop_scratches(w);
    mem_free(w->scratches);
    for (size_t i = 0; i < FRONT_ENCODINGS; i++)
        encoding_free(&w->encodings[i]);
    buf_free(&w->text);
    if (w->cond_made)
        pthread_cond_destroy(&w->wake);
}

void front_stop(struct front *f) {
    if (!f)
        return;
    pthread_mutex_lock(&f->mutex);
    f->stopping = true;
    while (wake_one(f, &f->idle_any) || wake_one(f, &f->idle_quick))
        ;
    pthread_mutex_unlock(&f->mutex);
    for (size_t i = 0; i < f->count; i++) {
        if (f->workers[i].started)
            pthread_join(f->workers[i].thread, NULL);
    }
    for (size_t i = 0; i < f->count; i++)
        free_worker(&f->workers[i]);
    pthread_mutex_destroy(&f->mutex);
    mem_free(f->workers);
    mem_free(f);
}

enum err front_start(const struct front_options *options, struct front **out, struct errmsg *msg) {
    *out = NULL;
    int cpus = limits_read_cpus("");
    int count = options->threads ? options->threads : (cpus > 2 ? cpus : 2) + 2;
    if (count < 2)
        count = 2;
    struct front *f = mem_calloc(1, sizeof *f);
    struct front_worker *workers = mem_calloc((size_t)count, sizeof *workers);
    if (!f || !workers) {
        mem_free(f);
        mem_free(workers);
        return err_set(msg, ERR_NOMEM, "no memory for %d front threads", count);
    }
    pthread_mutex_init(&f->mutex, NULL);
    f->workers = workers;
    f->count = (size_t)count;
    enum err e = ERR_OK;
    for (int i = 0; i < count && !e; i++) {
        struct front_worker *w = &workers[i];
        w->front = f;
        w->quick_only = i == 0;
        e = thread_cond_init(&w->wake);
        if (e) {
            err_set(msg, e, "no condition for a front thread");
            break;
        }
        w->cond_made = true;
        char name[16];
        snprintf(name, sizeof name, "front-%d", i % 1000);
        struct thread_options t = {
            .name = name,
            .nice = options->nice,
            .stack_bytes = options->stack_bytes ? options->stack_bytes : (size_t)1 << 20,
        };
        e = thread_start(&w->thread, &t, work, w, msg);
        w->started = !e;
    }
    if (e) {
        front_stop(f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

struct front_stats front_read_stats(struct front *f) {
    struct front_stats s = {.threads = f->count};
    pthread_mutex_lock(&f->mutex);
    s.idle = f->idle;
    for (int q = 0; q < FRONT_QUEUES; q++) {
        s.queued[q] = f->queues[q].length;
        s.run[q] = f->queues[q].run;
    }
    pthread_mutex_unlock(&f->mutex);
    return s;
}

enum err front_worker_scratch(struct front_worker *w, const struct model *m,
                              struct tokenizer_scratch **out) {
    for (size_t i = 0; i < w->scratch_count; i++) {
        if (w->scratches[i].model == m->id) {
            *out = w->scratches[i].scratch;
            return ERR_OK;
        }
    }
    struct scratch_entry *grown =
        mem_realloc(w->scratches, w->scratch_count + 1, sizeof *w->scratches);
    if (!grown)
        return ERR_NOMEM;
    w->scratches = grown;
    enum err e = tokenizer_scratch_new(m->tokenizer, out);
    if (e)
        return e;
    grown[w->scratch_count++] = (struct scratch_entry){m->id, *out};
    return ERR_OK;
}

struct encoding *front_worker_encoding(struct front_worker *w, size_t i) {
    return &w->encodings[i];
}

struct buf *front_worker_text(struct front_worker *w) {
    return &w->text;
}
