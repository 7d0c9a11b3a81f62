// See lane_queue.h. What an owner was given is counted up for as long as it has jobs; the one with
// the least is next. Owners are few: they are looked through.
#include "engine/lane_queue.h"

static struct lane_owner *find(struct lane_queue *q, uint64_t id) {
    for (size_t i = 0; i < q->owner_count; i++)
        if (q->owners[i].id == id)
            return &q->owners[i];
    return NULL;
}

static struct lane_owner *list_of(struct lane_queue *q, const struct job *job) {
    return job->urgent == JOB_BEFORE_ALL ? &q->first : find(q, job->lane_owner);
}

static struct lane_owner *join(struct lane_queue *q, uint64_t id) {
    struct lane_owner *o = find(q, id);
    if (o)
        return o;
    if (q->owner_count == LANE_OWNERS)
        return &q->owners[id % LANE_OWNERS];
    o = &q->owners[q->owner_count++];
    *o = (struct lane_owner){.id = id, .given = q->now};
    return o;
}

static void leave_if_empty(struct lane_queue *q, struct lane_owner *o) {
    if (o->jobs.head || o == &q->first)
        return;
    struct lane_owner *last = &q->owners[--q->owner_count];
    if (o != last) {
        o->id = last->id;
        o->given = last->given;
        o->before = last->before;
        o->jobs = last->jobs;
    }
}

// Behind all that are as urgent.
static void put(struct lane_owner *o, struct job *job) {
    struct job *before = NULL;
    if (job->urgent == JOB_IN_ORDER)
        before = o->jobs.tail;
    else
        for (struct job *j = o->jobs.head; j && j->urgent != JOB_IN_ORDER; j = j->next)
            before = j;
    job_list_insert_after(&o->jobs, before, job);
}

void lane_queue_push(struct lane_queue *q, struct job *job) {
    struct lane_owner *o = job->urgent == JOB_BEFORE_ALL ? &q->first : join(q, job->owner);
    job->lane_owner = o->id;
    put(o, job);
    atomic_fetch_add_explicit(&q->count, 1, memory_order_relaxed);
}

void lane_queue_begin(struct lane_queue *q) {
    q->cut++;
    q->first.before = NULL;
    for (size_t i = 0; i < q->owner_count; i++)
        q->owners[i].before = NULL;
    q->model = NULL;
}

// The owner's next job that the cut may take from; o->before is left in front of it.
static struct job *candidate(const struct lane_queue *q, struct lane_owner *o) {
    struct job *job = o->before ? o->before->next : o->jobs.head;
    while (job && (job->cut == q->cut ||
                   (q->model && (job->model != q->model || job->normalize != q->normalize)))) {
        o->before = job;
        job = job->next;
    }
    return job;
}

struct job *lane_queue_next(struct lane_queue *q) {
    struct lane_owner *next = NULL;
    struct job *found = candidate(q, &q->first);
    for (size_t i = 0; i < q->owner_count && (next || !found); i++) {
        struct lane_owner *o = &q->owners[i];
        struct job *job = !next || o->given < next->given ? candidate(q, o) : NULL;
        if (job) {
            next = o;
            found = job;
        }
    }
    if (!found)
        return NULL;
    found->cut = q->cut;
    q->model = found->model;
    q->normalize = found->normalize;
    if (next && next->given > q->now) // what comes before all is nobody's turn
        q->now = next->given;
    return found;
}

void lane_queue_took(struct lane_queue *q, struct job *job, size_t tokens, enum lane_after after) {
    struct lane_owner *o = list_of(q, job);
    if (!o)
        return; // an owner is there for as long as it has jobs
    o->given += (double)tokens / (double)(job->weight ? job->weight : 1);
    if (after == LANE_STAYS) {
        o->before = job;
        return;
    }
    job_list_remove_after(&o->jobs, o->before, job);
    if (after == LANE_TO_END) {
        put(o, job);
        return;
    }
    atomic_fetch_sub_explicit(&q->count, 1, memory_order_relaxed);
    leave_if_empty(q, o);
}

static void sweep(struct lane_queue *q, struct lane_owner *o, bool (*over)(void *, struct job *),
                  void *ctx, struct job_list *out) {
    struct job *before = NULL;
    for (struct job *job = o->jobs.head, *next; job; job = next) {
        next = job->next;
        if (!over(ctx, job)) {
            before = job;
            continue;
        }
        job_list_remove_after(&o->jobs, before, job);
        job_list_push(out, job);
        atomic_fetch_sub_explicit(&q->count, 1, memory_order_relaxed);
    }
    leave_if_empty(q, o);
}

void lane_queue_sweep(struct lane_queue *q, bool (*over)(void *ctx, struct job *job), void *ctx,
                      struct job_list *out) {
    sweep(q, &q->first, over, ctx, out);
    for (size_t i = q->owner_count; i-- > 0;)
        sweep(q, &q->owners[i], over, ctx, out);
}
