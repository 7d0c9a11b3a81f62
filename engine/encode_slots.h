// The host arrays of an encoding batch, filled with pieces of jobs. Role: assembles what a replica
// is given (struct replica_batch) and knows whose each row is. It knows nothing of queues.
// Thread rule: one owner.
#ifndef TRINE_ENGINE_ENCODE_SLOTS_H
#define TRINE_ENGINE_ENCODE_SLOTS_H

#include "engine/job.h"
#include "engine/replica.h"

// A sequence of a job that a batch computes.
struct encode_piece {
    struct job *job;
    size_t seq;
};

// What slots have room for.
struct encode_room {
    size_t tokens, seqs, dim;
};

struct encode_slot {
    struct encode_room room;
    int32_t *ids, *positions, *type_ids; // [room.tokens]
    int32_t *cu_seqlens;                 // [room.seqs + 1]
    int32_t *skip;                       // [room.seqs]
    struct encode_piece *pieces;         // [room.seqs]
    float *rows;                         // [room.seqs * room.dim]
    int32_t *part_ends;                  // [room.seqs + 1] of a part that is not the first
    size_t most_tokens;                  // that it has room for: more than one sequence
    size_t tokens, seqs;                 // of the batch being filled
};

// Room for a batch of any of the models: batch_tokens, or one sequence of a model's full length.
struct encode_room encode_room_for(struct model *const *models, size_t n, size_t batch_tokens);
size_t encode_room_bytes(const struct encode_room *room); // of the rows, the most of it

// NULL: no memory.
struct encode_slot *encode_slot_new(const struct encode_room *room, size_t most_tokens);
void encode_slot_free(struct encode_slot *slot); // NULL is fine

void encode_slot_clear(struct encode_slot *slot);
// Adds sequence `seq` of the job; false when it does not fit beside what is there into `most`
// tokens, or the slot's room. The first sequence always fits.
bool encode_slot_add(struct encode_slot *slot, struct job *job, size_t seq, size_t most);
// Takes the pieces out of which `keep` does not want to keep; the others' order stays.
void encode_slot_filter(struct encode_slot *slot, bool (*keep)(void *ctx, struct encode_piece *p),
                        void *ctx);
// A batch of the pieces from `begin` on, all of which are of one model and one `normalize`: as many
// as have at most so many tokens, or one. The rows will lie in slot->rows in the order of the
// pieces. Returns where the next batch begins: slot->seqs when this one has the last of them.
size_t encode_slot_fill(struct encode_slot *slot, size_t begin, size_t most,
                        struct replica_batch *b);

#endif
