// See masks.h. One list of jobs under a mutex, a few threads. Between two slices of work a thread
// that is at a mask takes another one in between whose sequence has had less than half as much: so
// masks that need little are there soon, and a costly one goes on where it was. One that turns out
// to need more than the one that stands for it has had is given up and queued again: what is lost
// by that is less than what the other has had.
#include "engine/masks.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/thread.h"

#include <string.h>

enum {
    CPUS_A_THREAD = 4,
    MOST_THREADS = 8,
    NICENESS = 10,
    DEEPEST = 48, // masks in the middle of masks, each some kilobytes of stack
    STACK_BYTES = 4 << 20,
};

struct masks {
    pthread_t threads[MOST_THREADS];
    int started;
    void (*wake)(void *ctx);
    void *ctx;
    pthread_mutex_t mutex;   // guards what is below
    pthread_cond_t work;     // a job came, or stopping
    pthread_cond_t let_go;   // a job is back
    struct mask_job *queued; // the last that came first
    atomic_size_t count;     // of them; read without the mutex
    bool stopping;
};

// ---- a job

enum err mask_job_new(struct grammar_state *grammar, size_t vocab, const char *of,
                      struct mask_job **out) {
    *out = NULL;
    struct mask_job *job = mem_calloc(1, sizeof *job);
    if (!job)
        return ERR_NOMEM;
    size_t words = (vocab + 31) / 32, own = grammar_state_mask_words(grammar);
    // ids that only the logits have stay forbidden
    job->mask = mem_calloc(words > own ? words : own, sizeof *job->mask);
    if (!job->mask) {
        mem_free(job);
        return ERR_NOMEM;
    }
    job->grammar = grammar;
    job->of = of ? of : "the grammar";
    job->words = words > own ? words : own;
    atomic_store(&job->at, MASK_DUE);
    *out = job;
    return ERR_OK;
}

void mask_job_free(struct mask_job *job) {
    if (!job)
        return;
    grammar_mark_free(job->mark);
    mem_free(job->ahead);
    mem_free(job->mask);
    mem_free(job);
}

// token: that was to be taken; -1: none.
static enum err explain(struct mask_job *job, enum err e, int32_t token) {
    char wants[200];
    if (e == ERR_NOMEM)
        return err_set(&job->msg, e, "no memory for a mask of %s", job->of);
    if (token >= 0)
        return err_set(&job->msg, ERR_INTERNAL, "%s refused the token %d that its mask allowed",
                       job->of, (int)token);
    grammar_state_describe(job->grammar, wants, sizeof wants);
    return err_set(&job->msg, e, "%s cannot go on: %s, and this model has no token for that",
                   job->of, wants);
}

// False: given up, the job is as it was but for tokens that were taken. work->most is for all.
static bool make(struct mask_job *job, struct grammar_work *work) {
    uint64_t most = work->most, done = 0;
    enum err e = ERR_OK;
    size_t taken = 0;
    for (; taken < job->token_count && !e; taken += !e) {
        e = grammar_accept_within(job->grammar, job->tokens[taken], work);
        done += work->done;
        if (most)
            work->most = most > done ? most - done : 1;
    }
    if (e && e != ERR_CANCELLED)
        job->err = explain(job, e, job->tokens[taken]);
    job->token_count -= taken;
    memmove(job->tokens, job->tokens + taken, job->token_count * sizeof *job->tokens);
    if (!e) {
        e = grammar_mask_within(job->grammar, work, job->mask, &job->constrained);
        done += work->done;
        if (e && e != ERR_CANCELLED)
            job->err = explain(job, e, -1);
    }
    job->spent += done;
    return e != ERR_CANCELLED;
}

void mask_job_try(struct mask_job *job, uint64_t work) {
    struct grammar_work w = {.most = work};
    if (atomic_load(&job->at) == MASK_DUE && make(job, &w))
        atomic_store(&job->at, MASK_READY);
}

void mask_job_take(struct mask_job *job, const int32_t *tokens, size_t n) {
    memcpy(job->tokens, tokens, n * sizeof *tokens);
    job->token_count = n;
    for (; n > 0; n--)
        job->spent /= 2; // what it took long ago is forgotten
    atomic_store(&job->at, MASK_DUE);
}

const uint32_t *mask_job_row(const struct mask_job *job, size_t drafts) {
    if (drafts == 0)
        return job->constrained ? job->mask : NULL;
    return job->ahead_constrained[drafts - 1] ? job->ahead + (drafts - 1) * job->words : NULL;
}

static bool allows(const uint32_t *mask, int32_t id) {
    return !mask || (mask[id / 32] >> (id % 32) & 1U);
}

// The mask behind one more draft, within what is left of `work`.
static bool look_behind(struct mask_job *job, int32_t draft, size_t at, uint64_t *work) {
    struct grammar_work w = {.most = *work};
    if (!allows(mask_job_row(job, at), draft) ||
        grammar_accept_within(job->grammar, draft, &w) != ERR_OK)
        return false;
    *work -= w.done < *work ? w.done : *work;
    w.most = *work;
    if (*work == 0 || grammar_mask_within(job->grammar, &w, job->ahead + at * job->words,
                                          &job->ahead_constrained[at]) != ERR_OK)
        return false;
    *work -= w.done < *work ? w.done : *work;
    return true;
}

size_t mask_job_look_ahead(struct mask_job *job, const int32_t *drafts, size_t n, uint64_t work) {
    if (!job->ahead)
        job->ahead = mem_calloc(DRAFT_MAX * job->words, sizeof *job->ahead);
    if (!job->ahead || job->err || n > DRAFT_MAX || grammar_state_mark(job->grammar, &job->mark))
        return 0;
    size_t made = 0;
    while (made < n && work > 0 && look_behind(job, drafts[made], made, &work))
        made++;
    grammar_state_go_back(job->grammar, job->mark);
    return made;
}

// ---- the threads

// The job with the least work so far, if that is less than `limit`; of equals the first that came.
// Mutex held.
static struct mask_job *take(struct masks *m, uint64_t limit) {
    struct mask_job **least = NULL;
    for (struct mask_job **at = &m->queued; *at; at = &(*at)->next)
        if ((*at)->spent < limit && (!least || (*at)->spent <= (*least)->spent))
            least = at;
    if (!least)
        return NULL;
    struct mask_job *job = *least;
    *least = job->next;
    job->queued = false;
    atomic_fetch_sub(&m->count, 1);
    return job;
}

struct mask_turn {
    struct masks *m;
    struct mask_job *job;
    uint64_t limit; // of its work, before it goes behind the one that stands for it
    int depth;
};

static void run(struct masks *m, struct mask_job *job, uint64_t limit, int depth);

static bool between_slices(void *ctx, uint64_t done) {
    struct mask_turn *t = ctx;
    struct masks *m = t->m;
    struct mask_job *other;
    if (t->depth < DEEPEST && atomic_load(&m->count) > 0) {
        uint64_t own = t->job->spent + done;
        pthread_mutex_lock(&m->mutex);
        while (!atomic_load(&t->job->unwanted) && (other = take(m, own / 2)))
            run(m, other, own, t->depth + 1);
        pthread_mutex_unlock(&m->mutex);
    }
    return !atomic_load(&t->job->unwanted) && t->job->spent + done <= t->limit;
}

// Mutex held.
static void queue(struct masks *m, struct mask_job *job) {
    job->next = m->queued;
    job->queued = true;
    m->queued = job;
    atomic_fetch_add(&m->count, 1);
    pthread_cond_signal(&m->work);
}

// Mutex held, and let go while the mask is made.
static void run(struct masks *m, struct mask_job *job, uint64_t limit, int depth) {
    pthread_mutex_unlock(&m->mutex);
    struct mask_turn t = {.m = m, .job = job, .limit = limit, .depth = depth};
    struct grammar_work work = {.go_on = between_slices, .ctx = &t};
    bool made = make(job, &work);
    pthread_mutex_lock(&m->mutex);
    if (!made && !atomic_load(&job->unwanted)) {
        queue(m, job);
        return;
    }
    atomic_store(&job->at, made ? MASK_READY : MASK_DUE); // from here on it is its owner's
    pthread_cond_broadcast(&m->let_go);
    pthread_mutex_unlock(&m->mutex);
    m->wake(m->ctx);
    pthread_mutex_lock(&m->mutex);
}

static void *thread(void *arg) {
    struct masks *m = arg;
    struct mask_job *job;
    pthread_mutex_lock(&m->mutex);
    while (!m->stopping) {
        if ((job = take(m, UINT64_MAX)))
            run(m, job, UINT64_MAX, 0);
        else
            pthread_cond_wait(&m->work, &m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
    return NULL;
}

enum err masks_new(int threads, void (*wake)(void *ctx), void *ctx, struct masks **out,
                   struct errmsg *msg) {
    *out = NULL;
    struct masks *m = mem_calloc(1, sizeof *m);
    if (!m)
        return err_set(msg, ERR_NOMEM, "no memory for the masks of grammars");
    m->wake = wake;
    m->ctx = ctx;
    pthread_mutex_init(&m->mutex, NULL);
    enum err e = ERR_OK;
    if (thread_cond_init(&m->work) || thread_cond_init(&m->let_go))
        e = err_set(msg, ERR_NOMEM, "no memory for the masks of grammars");
    int n = threads ? threads : limits_read_cpus("") / CPUS_A_THREAD;
    n = n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : n;
    struct thread_options o = {.name = "masks", .stack_bytes = STACK_BYTES, .nice = NICENESS};
    while (!e && m->started < n) {
        e = thread_start(&m->threads[m->started], &o, thread, m, msg);
        m->started += !e;
    }
    if (e) {
        masks_free(m);
        return e;
    }
    *out = m;
    return ERR_OK;
}

void masks_free(struct masks *m) {
    if (!m)
        return;
    pthread_mutex_lock(&m->mutex);
    m->stopping = true;
    pthread_cond_broadcast(&m->work);
    pthread_mutex_unlock(&m->mutex);
    for (int i = 0; i < m->started; i++)
        pthread_join(m->threads[i], NULL);
    pthread_cond_destroy(&m->work);
    pthread_cond_destroy(&m->let_go);
    pthread_mutex_destroy(&m->mutex);
    mem_free(m);
}

void masks_submit(struct masks *m, struct mask_job *job) {
    pthread_mutex_lock(&m->mutex);
    atomic_store(&job->at, MASK_AWAY);
    queue(m, job);
    pthread_mutex_unlock(&m->mutex);
}

// Mutex held.
static void unqueue(struct masks *m, struct mask_job *job) {
    struct mask_job **at = &m->queued;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    job->queued = false;
    atomic_fetch_sub(&m->count, 1);
    atomic_store(&job->at, MASK_DUE);
}

bool masks_withdraw(struct masks *m, struct mask_job *job) {
    if (atomic_load(&job->at) != MASK_AWAY)
        return true;
    pthread_mutex_lock(&m->mutex);
    if (job->queued)
        unqueue(m, job);
    else
        atomic_store(&job->unwanted, true);
    pthread_mutex_unlock(&m->mutex);
    return atomic_load(&job->at) != MASK_AWAY;
}

void masks_recall(struct masks *m, struct mask_job *job) {
    if (masks_withdraw(m, job))
        return;
    pthread_mutex_lock(&m->mutex);
    while (atomic_load(&job->at) == MASK_AWAY)
        pthread_cond_wait(&m->let_go, &m->mutex);
    pthread_mutex_unlock(&m->mutex);
}
