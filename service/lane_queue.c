// See lane_queue.h. What an owner was given is counted up for as long as it has jobs; the one with
// the least is next. Owners are few: they are looked through.
#include "service/lane_queue.h"

// Of jobs that come before all others' (JOB_BEFORE_ALL), whosever they are.
#define OWNER_FIRST UINT64_MAX

static struct lane_owner *find(struct lane_queue *q, uint64_t id) {
    for (size_t i = 0; i < q->owner_count; i++)
        if (q->owners[i].id == id)
            return &q->owners[i];
    return NULL;
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
    if (o->jobs.head)
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
    struct lane_owner *o = join(q, job->urgent == JOB_BEFORE_ALL ? OWNER_FIRST : job->owner);
    job->lane_owner = o->id;
    put(o, job);
    atomic_fetch_add_explicit(&q->count, 1, memory_order_relaxed);
}

void lane_queue_begin(struct lane_queue *q) {
    q->cut++;
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
    struct job *found = NULL;
    for (size_t i = 0; i < q->owner_count; i++) {
        struct lane_owner *o = &q->owners[i];
        bool sooner =
            !next || (next->id != OWNER_FIRST && (o->id == OWNER_FIRST || o->given < next->given));
        struct job *job = sooner ? candidate(q, o) : NULL;
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
    if (next->given > q->now)
        q->now = next->given;
    return found;
}

void lane_queue_took(struct lane_queue *q, struct job *job, size_t tokens, enum lane_after after) {
    struct lane_owner *o = find(q, job->lane_owner);
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

void lane_queue_sweep(struct lane_queue *q, bool (*over)(void *ctx, struct job *job), void *ctx,
                      struct job_list *out) {
    for (size_t i = q->owner_count; i-- > 0;) {
        struct lane_owner *o = &q->owners[i];
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
}
