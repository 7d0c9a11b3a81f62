// Pieces of encoding jobs that were with a device when it was lost, by the order in which they are
// to be computed again: that of their jobs' deadlines, and of their coming where these are the
// same. Role: order only; where they are computed, and what becomes of them, is the scheduler's.
// Thread rule: the scheduler's mutex.
#ifndef TRINE_ENGINE_SUSPECTS_H
#define TRINE_ENGINE_SUSPECTS_H

#include "engine/encode_slots.h"

struct suspects {                // zero: none
    struct encode_piece *pieces; // [count] in order
    size_t count, room;
};

void suspects_free(struct suspects *q);
// Takes the slot's pieces in; ERR_NOMEM: none of them.
enum err suspects_add(struct suspects *q, const struct encode_slot *slot) MUST_CHECK;
// Moves the first ones into the slot, which is empty, as many as fit into so many tokens: of one
// model and normalisation, and where `single` of one job. False: there is none.
bool suspects_cut(struct suspects *q, struct encode_slot *slot, bool single, size_t most);
// Takes those out which `keep` does not want to keep.
void suspects_filter(struct suspects *q, bool (*keep)(void *ctx, struct encode_piece *p),
                     void *ctx);

#endif
