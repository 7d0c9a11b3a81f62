// Whether what is loaded and what is about to be allocated fits into what the system allows. Role:
// the arithmetic, and the words for it. Allocating does not tell: pages are given when they are
// touched, and a control group's limit ends the process then, without a word.
// A device with memory of its own has a plan of its own beside this process's.
// Thread rule: pure functions but for memory_plan_begin, which asks the system.
#ifndef TRINE_ENGINE_MEMORY_PLAN_H
#define TRINE_ENGINE_MEMORY_PLAN_H

#include "base/err.h"
#include "base/limits.h"

#include <stdbool.h>

struct memory_plan {
    struct limits_memory limit;
    size_t resident;   // program, weights and tokenizers: what is there already; all that is
                       // mapped where that is what the limit counts
    size_t workspaces; // of encoding and of generation's steps
    size_t caches;     // keys and values
    size_t spare;      // what comes when a device is lost: weights, workspaces and caches beside it
    size_t reserve;    // for requests, connections and answers
    bool is_device;    // the memory of a device, which holds nothing but models
};

// Of a main replica: where its weights, workspaces and caches are, and beside it what this machine
// holds for it. Where the replica has no memory of its own there is one plan, the machine's.
struct memory_plans {
    struct memory_plan machine, device; // device: only where the replica has its own
    bool apart;
};
static inline struct memory_plan *memory_plans_of_replica(struct memory_plans *p) {
    return p->apart ? &p->device : &p->machine;
}

// The limit, what the process holds now and what is kept for requests.
void memory_plan_begin(struct memory_plan *p);
// Of a device with so much that may be used, nothing of which is held yet.
void memory_plan_begin_device(struct memory_plan *p, size_t bytes);
size_t memory_plan_add(size_t a, size_t b); // SIZE_MAX: more than a size counts
size_t memory_plan_sum(const struct memory_plan *p);

// What all caches may have when nothing was said: a quarter of the limit, or what is left beside
// all else where that is less; of a device all that is left.
size_t memory_plan_caches(const struct memory_plan *p);

// ERR_TOO_LARGE when the sum is over the limit: what is needed for what, what there is and by whose
// word, and the option to lower.
enum err memory_plan_check(const struct memory_plan *p, struct errmsg *msg) MUST_CHECK;

// ERR_TOO_LARGE, for caches that may have no more than this and can hold no text.
enum err memory_plan_no_room(const struct memory_plan *p, size_t caches,
                             struct errmsg *msg) MUST_CHECK;

// e, and where it is ERR_NOMEM what is taken, what there is and by whose word, and `lower`, behind
// what msg says. For what an allocation finds out though the sums were right.
enum err memory_plan_explain(enum err e, const char *lower, struct errmsg *msg) MUST_CHECK;

// The same for a model's weights, before they are read: `bytes` of them beside what is there.
enum err memory_plan_check_weights(const struct memory_plan *p, const char *path, size_t bytes,
                                   struct errmsg *msg) MUST_CHECK;

#endif
