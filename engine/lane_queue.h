// A lane of encoding jobs, with a list for each owner (API key). Role: whose job comes next. Owners
// take turns by the tokens that they were given, in proportion to their weights; one that comes
// begins where the others are, so who had nothing to do saved up nothing. Within an owner jobs come
// in order, urgent ones first. Jobs that come before everybody's (JOB_BEFORE_ALL) are nobody's
// turn: they cost no owner anything. Without keys there is one owner. Thread rule: the scheduler's
// mutex; lane_queue_count from any thread at any time.
#ifndef TRINE_ENGINE_LANE_QUEUE_H
#define TRINE_ENGINE_LANE_QUEUE_H

#include "engine/job_list.h"

// Owners with jobs at once. One more joins the list of another: they share its turns, of which each
// job still counts by its own weight. A service has as many connections at most, by default.
enum { LANE_OWNERS = 256 };

struct lane_owner {
    uint64_t id;
    double given; // tokens over weight, lately
    struct job_list jobs;
    struct job *before; // of a cut: the last job that was looked at
};

struct lane_queue { // zero: empty
    struct lane_owner owners[LANE_OWNERS];
    struct lane_owner first; // the jobs that come before all others', whosever they are
    size_t owner_count;      // those with jobs are the first ones
    double now;              // what the owner whose turn it is has been given
    // Of the cut: its number, and what all of its jobs share.
    uint64_t cut;
    const struct model *model;
    bool normalize;
    atomic_size_t count;
};

void lane_queue_push(struct lane_queue *q, struct job *job);
static inline size_t lane_queue_count(const struct lane_queue *q) {
    return atomic_load_explicit(&q->count, memory_order_relaxed);
}

// Cuts a batch: each call after begin gives the next job to take sequences from, in turn, of one
// model and normalisation (the first one's); NULL: there is none left. A job is given once a cut.
void lane_queue_begin(struct lane_queue *q);
struct job *lane_queue_next(struct lane_queue *q);
// What became of the job given last: it was given tokens, and leaves (all its sequences are taken),
// goes behind its owner's others that are as urgent (to_end), or stays where it is.
enum lane_after { LANE_LEAVES, LANE_TO_END, LANE_STAYS };
void lane_queue_took(struct lane_queue *q, struct job *job, size_t tokens, enum lane_after after);

// Moves every job for which over(ctx, job) is true into `out`.
void lane_queue_sweep(struct lane_queue *q, bool (*over)(void *ctx, struct job *job), void *ctx,
                      struct job_list *out);

#endif
