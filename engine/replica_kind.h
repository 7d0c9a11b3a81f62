// What the kinds of replicas share below replica.h: what a piece of work is part of, and work in a
// row. For replica_local's and replica_worker's own files. Thread rule: one owner, or a mutex of
// the kind's.
#ifndef TRINE_ENGINE_REPLICA_KIND_H
#define TRINE_ENGINE_REPLICA_KIND_H

#include "engine/replica.h"

#include <stddef.h>

static inline bool replica_is_step(const struct replica_work *w) {
    return w->share == SHARE_DECODE || w->share == SHARE_PREFILL;
}
// Of one that is a step, and of one that is none.
static inline struct replica_step *replica_step_of(struct replica_work *w) {
    return (struct replica_step *)(void *)((char *)w - offsetof(struct replica_step, work));
}
static inline struct replica_batch *replica_batch_of(struct replica_work *w) {
    return (struct replica_batch *)(void *)((char *)w - offsetof(struct replica_batch, work));
}

// As it is submitted: what came of it before, here or elsewhere, is forgotten.
static inline void replica_reset_work(struct replica_work *w) {
    w->err = ERR_OK;
    w->exposed = w->queued = false;
    w->next = NULL;
    atomic_store(&w->began_us, 0);
    atomic_store(&w->cancelled, false);
}

// Work in the order of its submission, by its `next`.
struct replica_list {
    struct replica_work *head, **tail;
};
// What a list begins with.
static inline void replica_list_clear(struct replica_list *q) {
    q->head = NULL;
    q->tail = &q->head;
}
static inline void replica_list_push(struct replica_list *q, struct replica_work *w) {
    w->next = NULL;
    *q->tail = w;
    q->tail = &w->next;
}
// Takes out the one that stands at `at`, which is the list's head or a `next` in it.
static inline void replica_list_take(struct replica_list *q, struct replica_work **at) {
    if (!(*at = (*at)->next))
        q->tail = at;
}
// Takes out one that is in it.
static inline void replica_list_remove(struct replica_list *q, const struct replica_work *w) {
    struct replica_work **at = &q->head;
    while (*at != w)
        at = &(*at)->next;
    replica_list_take(q, at);
}

#endif
