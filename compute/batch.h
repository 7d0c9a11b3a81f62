// What a forward pass is given: a ragged batch (S sequences laid end to end, no padding anywhere,
// host memory), and where it may be set aside.
// Thread rule: borrowed by a forward pass for its duration.
#ifndef TRINE_COMPUTE_BATCH_H
#define TRINE_COMPUTE_BATCH_H

#include <stddef.h>
#include <stdint.h>

struct batch {
    const int32_t *ids;        // [N] token ids, already checked against the vocabulary
    const int32_t *positions;  // [N] 0-based within each sequence
    const int32_t *type_ids;   // [N] token types; ignored by models without them
    const int32_t *cu_seqlens; // [S + 1] cumulative lengths: sequence s is [cu[s], cu[s + 1])
    size_t tokens, seqs;       // N, S
};

// Called at each point where a forward may be set aside: between layers, and between the halves of
// one. It may run other forwards on the same device.
struct forward_hooks {
    void (*pause)(void *ctx); // NULL: never
    void *ctx;
};

#endif
