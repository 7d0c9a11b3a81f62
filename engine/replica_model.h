// A model on one device: its weights there, and the forward pass of an encoding batch through them.
// Role: what a replica holds of a model, by what it was told of it (replica_spec.h): it knows no
// struct model. It opens the model's files by itself (those of spec->sources, where there are any)
// and lets them go again, and asks the system nothing else.
// Thread rule: loaded and freed by any thread; else immutable, and the device's driving thread runs
// it.
#ifndef TRINE_ENGINE_REPLICA_MODEL_H
#define TRINE_ENGINE_REPLICA_MODEL_H

#include "compute/batch.h"
#include "decoder/decoder.h"
#include "encoder/encoder.h"
#include "engine/replica_spec.h"
#include "pooling/pooler.h"
#include "pooling/score_head.h"

struct replica_model {
    struct replica_spec spec; // its strings are its own, and `sources` is NULL
    struct device *device;
    struct encoder *encoder; // NULL: a decoder
    struct decoder *decoder; // NULL: an encoder
    struct pooling *pooler;  // TASK_EMBED, else NULL
    struct score_head *head; // TASK_RERANK and TASK_CLASSIFY of an encoder, else NULL
    struct weight *answers;  // of a decoder's TASK_RERANK: [2, D] the head's rows of yes and no
    size_t weight_bytes;
    uint64_t kept_in; // the workspace in which its small batches are kept; the driving thread's
};

// ERR_TOO_LARGE when the weights do not fit into what memory spec->room says there is; else as
// weights_open and what binds them to a device.
enum err replica_model_load(const struct replica_spec *spec, struct device *d,
                            struct replica_model **out, struct errmsg *msg) MUST_CHECK;
void replica_model_free(struct replica_model *r); // NULL is fine

// Workspace bytes for one forward of at most this many tokens and sequences.
size_t replica_model_workspace_bytes(const struct replica_model *r, size_t tokens, size_t seqs);

// Has the device keep its small batches in this workspace, of at most this many tokens, where it
// keeps any. Drives the device.
void replica_model_keep(const struct replica_model *r, size_t tokens, struct arena *ws);

// Runs a batch: rows [S, dim], raw (vectors normalised when `normalize`; logits as they are),
// copied to out. skip as in struct pool_args. Drives the device; resets ws first.
enum err replica_model_run(const struct replica_model *r, const struct batch *b,
                           const int32_t *skip, bool normalize, struct arena *ws,
                           const struct forward_hooks *hooks, float *out,
                           struct errmsg *msg) MUST_CHECK;

#endif
