// Jobs in a row: an owner's in a lane of the scheduler, or those that have ended and are to be told
// so. Role: order only; why a job comes or goes is the scheduler's. Thread rule: the list's owner
// guards it.
#ifndef TRINE_ENGINE_JOB_LIST_H
#define TRINE_ENGINE_JOB_LIST_H

#include "engine/job.h"

struct job_list { // zero: empty
    struct job *head, *tail;
};

void job_list_push(struct job_list *l, struct job *job);
// `before` is the one before it, NULL at the head.
void job_list_insert_after(struct job_list *l, struct job *before, struct job *job);
void job_list_remove_after(struct job_list *l, struct job *before, struct job *job);
// Calls each one's done, which may free it: without locks. The list is not to be used again.
void job_list_call_done(struct job_list *l);

#endif
