// See job_list.h.
#include "engine/job_list.h"

void job_list_insert_after(struct job_list *l, struct job *before, struct job *job) {
    job->next = before ? before->next : l->head;
    if (before)
        before->next = job;
    else
        l->head = job;
    if (!job->next)
        l->tail = job;
}

void job_list_push(struct job_list *l, struct job *job) { job_list_insert_after(l, l->tail, job); }

void job_list_remove_after(struct job_list *l, struct job *before, struct job *job) {
    if (before)
        before->next = job->next;
    else
        l->head = job->next;
    if (l->tail == job)
        l->tail = before;
    job->next = NULL;
}

void job_list_call_done(struct job_list *l) {
    for (struct job *job = l->head, *next; job; job = next) {
        next = job->next;
        job->done(job);
    }
}
