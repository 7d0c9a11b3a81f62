// What a forward pass is given: a ragged batch (S sequences laid end to end, no padding anywhere,
// host memory), and where it may be set aside or end.
// Thread rule: borrowed by a forward pass for its duration.
#ifndef TRINE_COMPUTE_BATCH_H
#define TRINE_COMPUTE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch {
    const int32_t *ids;        // [N] token ids, already checked against the vocabulary
    const int32_t *positions;  // [N] 0-based within each sequence
    const int32_t *type_ids;   // [N] token types; ignored by models without them
    const int32_t *cu_seqlens; // [S + 1] cumulative lengths: sequence s is [cu[s], cu[s + 1])
    size_t tokens, seqs;       // N, S
};

// Called at each point where a forward may be set aside: between layers, between the halves of one,
// and in a long batch between pieces of these, so that they come at bounded times. It may run other
// forwards on the same device. False: the forward ends there, without a result; whoever says so has
// recorded why (device_fail).
struct forward_hooks {
    bool (*pause)(void *ctx); // NULL: never
    void *ctx;
};

static inline bool forward_goes_on(const struct forward_hooks *hooks) {
    return !hooks || !hooks->pause || hooks->pause(hooks->ctx);
}

// Rows of a matrix that are computed between two pause points: enough that products lose nothing
// by it, few enough that they take a fraction of a second.
enum { FORWARD_PIECE = 1024 };

// Queries of attention between two pause points, where each meets at most `keys` keys: a multiple
// of ATTENTION_ROWS (device.h).
static inline size_t forward_queries(size_t keys) {
    enum { PAIRS = 1 << 22, LEAST = 256 };
    size_t rows = PAIRS / (keys ? keys : 1) / LEAST * LEAST;
    return rows > LEAST ? rows : LEAST;
}

#endif
