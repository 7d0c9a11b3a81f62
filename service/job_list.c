// See job_list.h.
#include "service/job_list.h"

void job_list_push(struct job_list *l, struct job *job) {
    job->next = NULL;
    if (l->tail)
        l->tail->next = job;
    else
        l->head = job;
    l->tail = job;
    atomic_fetch_add_explicit(&l->count, 1, memory_order_relaxed);
}

void job_list_remove_after(struct job_list *l, struct job *before, struct job *job) {
    if (before)
        before->next = job->next;
    else
        l->head = job->next;
    if (l->tail == job)
        l->tail = before;
    job->next = NULL;
    atomic_fetch_sub_explicit(&l->count, 1, memory_order_relaxed);
}

void job_list_call_done(struct job_list *l) {
    for (struct job *job = l->head, *next; job; job = next) {
        next = job->next;
        job->done(job);
    }
}
