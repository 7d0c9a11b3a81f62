// Where models run: one device and the weights of the models that are loaded on it. Role: the
// boundary below the scheduler, behind a table of functions so that what is in front does not know
// where the device is: in this process (replica_local.h) or elsewhere. Models are named by their
// numbers (model.h). It knows no tokenizer, no text, no grammar and no request.
// Thread rule: every function from any thread.
#ifndef TRINE_ENGINE_REPLICA_H
#define TRINE_ENGINE_REPLICA_H

#include "engine/model.h"

struct replica;

struct replica_ops {
    enum err (*load)(struct replica *r, const struct model *m, struct errmsg *msg);
    void (*unload)(struct replica *r, uint64_t model);
    size_t (*weight_bytes)(struct replica *r, uint64_t model);
    void (*free)(struct replica *r);
};

// The head of every replica; a kind puts its own fields behind it.
struct replica {
    const struct replica_ops *ops;
};

// Reads the model's weights and prepares them, on the calling thread: what is being computed goes
// on beside it. The replica holds the model until replica_unload. ERR_TOO_LARGE, ERR_NOMEM, and
// what its files give cause for.
static inline MUST_CHECK enum err replica_load(struct replica *r, const struct model *m,
                                               struct errmsg *msg) {
    return r->ops->load(r, m, msg);
}
// Nothing of it is being computed. Of a model that is not loaded: nothing happens.
static inline void replica_unload(struct replica *r, uint64_t model) { r->ops->unload(r, model); }
// Bytes of its weights; 0: it is not loaded.
static inline size_t replica_weight_bytes(struct replica *r, uint64_t model) {
    return r->ops->weight_bytes(r, model);
}
// Unloads what is loaded still. NULL is fine.
static inline void replica_free(struct replica *r) {
    if (r)
        r->ops->free(r);
}

#endif
