// A job: some tokenized sequences for one model, and the rows that come of them. Role: what passes
// between a request (or the bulk CLI) and the scheduler. A job and all its arrays are owned by the
// one who submits it; the scheduler borrows it from submit until `done` is called, exactly once.
#ifndef TRINE_ENGINE_JOB_H
#define TRINE_ENGINE_JOB_H

#include "base/err.h"
#include "engine/computed.h"
#include "engine/model.h"

#include <stdatomic.h>

enum lane {
    LANE_INTERACTIVE, // at most INTERACTIVE_TOKENS a job; a longer one goes to bulk whatever it
                      // says
    LANE_BULK,
    LANE_COUNT,
};
// An interactive batch is not set aside for another, and so is no longer than this either.
enum { INTERACTIVE_TOKENS = 512 };

enum job_urgency {
    JOB_IN_ORDER,
    JOB_BEFORE_OWN, // before the other jobs of its owner
    JOB_BEFORE_ALL, // before everybody's
};

struct job {
    // Set by the submitter.
    const struct model *model;
    int32_t *ids, *type_ids; // [N] all sequences end to end
    int32_t *cu_seqlens;     // [seqs + 1]
    int32_t *skip;           // [seqs] prompt tokens kept out of the pool, or NULL
    size_t seqs;
    bool normalize; // vectors: L2-normalise
    float *out;     // [seqs, model->dim] results
    enum lane lane;
    uint64_t owner;          // whose turn in the lane it takes: one per API key; 0: nobody's
    int weight;              // of the owner's turns; 0: 1
    enum job_urgency urgent; // in its lane
    // Monotonic; passed before its first compute, or while what a loss left of it waits:
    // ERR_DEADLINE. 0: none
    int64_t deadline_us;
    size_t reserved;               // tokens held by scheduler_reserve
    void (*done)(struct job *job); // on the scheduler's thread (the submitter's where nothing is
                                   // computed): must be quick, may free the job
    void *ctx;                     // the submitter's own
    const char *request_id;        // whose it is, for a crash's report; or NULL

    // Set by anyone, any time before done: its remaining work is dropped (ERR_CANCELLED).
    atomic_bool cancelled;

    // Results, valid in done.
    enum err err;
    struct errmsg msg;
    struct computed computed;     // its rows
    int64_t queue_us, compute_us; // waiting for the first compute; from then to the last row

    // The scheduler's own while it has the job.
    struct job *next;
    size_t taken, finished; // sequences handed to batches; sequences done
    int64_t submitted_us, started_us;
    unsigned deaths;          // lives of the main replica that ended with some of it in hand,
    uint64_t died_in;         // the last of them
    uint64_t lane_owner, cut; // of lane_queue.h
    bool listed;              // still in its lane
    bool large;               // as admission.h sees it
};

static inline int64_t job_deadline(const struct job *job) { // none is the last one
    return job->deadline_us ? job->deadline_us : INT64_MAX;
}
static inline bool job_is_late(const struct job *job, int64_t now_us) {
    return job->deadline_us && now_us > job->deadline_us;
}

#endif
