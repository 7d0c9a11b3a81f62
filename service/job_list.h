// Jobs in a row: a lane of the scheduler, or those that have ended and are to be told so. Role:
// order and count only; why a job comes or goes is the scheduler's. Thread rule: the list's owner
// guards it; job_list_count may be called by anybody at any time.
#ifndef TRINE_SERVICE_JOB_LIST_H
#define TRINE_SERVICE_JOB_LIST_H

#include "service/job.h"

struct job_list { // zero: empty
    struct job *head, *tail;
    atomic_size_t count;
};

void job_list_push(struct job_list *l, struct job *job);
// `before` is the one before it, NULL at the head.
void job_list_remove_after(struct job_list *l, struct job *before, struct job *job);
// Calls each one's done, which may free it: without locks. The list is not to be used again.
void job_list_call_done(struct job_list *l);

static inline size_t job_list_count(const struct job_list *l) {
    return atomic_load_explicit(&l->count, memory_order_relaxed);
}

#endif
