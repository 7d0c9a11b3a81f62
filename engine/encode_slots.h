// The encode slots: assemble ragged batches from pieces of jobs and run them on one device. Role:
// own the workspaces and the host arrays of a batch, two sets of them (a bulk batch that is set
// aside and an interactive one inside it). They know nothing of queues. Thread rule: the
// scheduler's engine thread only.
#ifndef TRINE_ENGINE_ENCODE_SLOTS_H
#define TRINE_ENGINE_ENCODE_SLOTS_H

#include "engine/job.h"
#include "engine/replica_local.h"

// A sequence of a job that a batch computes.
struct encode_piece {
    struct job *job;
    size_t seq;
};

struct encode_slot {
    struct arena ws;
    int32_t *ids, *positions, *type_ids; // [max_tokens]
    int32_t *cu_seqlens;                 // [max_seqs + 1]
    int32_t *skip;                       // [max_seqs]
    struct encode_piece *pieces;         // [max_seqs]
    float *rows;                         // [max_seqs * max_dim]
    size_t most_tokens;                  // of a batch of more than one sequence
    size_t tokens, seqs;                 // of the batch being filled
};

struct encode_slots {
    struct replica *replica;
    struct device *device; // its
    size_t max_tokens, max_seqs, max_dim;
    struct encode_slot items[LANE_COUNT];
};

// Sizes both slots for the largest of the models. A batch holds at most batch_tokens tokens (an
// interactive one INTERACTIVE_TOKENS), or one sequence of a model's full length. ERR_NOMEM.
enum err encode_slots_init(struct encode_slots *e, struct replica *r, struct model *const *models,
                           size_t n, size_t batch_tokens, struct errmsg *msg) MUST_CHECK;
void encode_slots_free(struct encode_slots *e);
size_t encode_slots_bytes(const struct encode_slots *e);

void encode_slot_clear(struct encode_slot *slot);
// Adds sequence `seq` of the job; false when it does not fit beside what is there. The first
// sequence always fits.
bool encode_slot_add(const struct encode_slots *e, struct encode_slot *slot, struct job *job,
                     size_t seq);
// Runs the slot's batch (all its pieces are of one model and one `normalize`); the rows lie in
// slot->rows in the order of the pieces.
enum err encode_slot_run(struct encode_slots *e, struct encode_slot *slot,
                         const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;
// A forward of `tokens` tokens with arbitrary ids: pages, caches and kernels are warm afterwards.
enum err encode_slots_warm_up(struct encode_slots *e, const struct model *m, size_t tokens,
                              const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;

#endif
