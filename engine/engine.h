// The engine: assembles ragged batches from pieces of jobs and runs them on one device. Role: owns
// the workspaces and the host arrays of a batch, two sets of them (a bulk batch that is set aside
// and an interactive one inside it). It knows nothing of queues.
// Thread rule: the scheduler's engine thread only.
#ifndef TRINE_ENGINE_ENGINE_H
#define TRINE_ENGINE_ENGINE_H

#include "engine/job.h"

// A sequence of a job that a batch computes.
struct engine_piece {
    struct job *job;
    size_t seq;
};

struct engine_slot {
    struct arena ws;
    int32_t *ids, *positions, *type_ids; // [max_tokens]
    int32_t *cu_seqlens;                 // [max_seqs + 1]
    int32_t *skip;                       // [max_seqs]
    struct engine_piece *pieces;         // [max_seqs]
    float *rows;                         // [max_seqs * max_dim]
    size_t most_tokens;                  // of a batch of more than one sequence
    size_t tokens, seqs;                 // of the batch being filled
};

struct engine {
    struct device *device;
    size_t max_tokens, max_seqs, max_dim;
    struct engine_slot slots[LANE_COUNT];
};

// Sizes both slots for the largest of the models. A batch holds at most batch_tokens tokens (an
// interactive one INTERACTIVE_TOKENS), or one sequence of a model's full length. ERR_NOMEM.
enum err engine_init(struct engine *e, struct device *d, struct model *const *models, size_t n,
                     size_t batch_tokens, struct errmsg *msg) MUST_CHECK;
void engine_free(struct engine *e);
size_t engine_workspace_bytes(const struct engine *e);

void engine_slot_clear(struct engine_slot *slot);
// Adds sequence `seq` of the job; false when it does not fit beside what is there. The first
// sequence always fits.
bool engine_slot_add(const struct engine *e, struct engine_slot *slot, struct job *job, size_t seq);
// Runs the slot's batch (all its pieces are of one model and one `normalize`); the rows lie in
// slot->rows in the order of the pieces.
enum err engine_slot_run(struct engine *e, struct engine_slot *slot,
                         const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;
// A forward of `tokens` tokens with arbitrary ids: pages, caches and kernels are warm afterwards.
enum err engine_warm_up(struct engine *e, const struct model *m, size_t tokens,
                        const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;

#endif
