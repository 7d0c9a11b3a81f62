// The generators of all models that generate. Role: sizes their caches, gives each its turn and
// finds the one that a generation is for. Thread rule: as generator.h.
#ifndef TRINE_ENGINE_GENERATORS_H
#define TRINE_ENGINE_GENERATORS_H

#include "engine/generator.h"
#include "engine/memory_plan.h"

struct generators_options {
    struct replica *replica;     // the models are loaded on it
    struct model *const *models; // those with TASK_GENERATE count
    size_t model_count;
    size_t cache_bytes; // of all models together; 0: a quarter of what is available, or less
    enum kv_dtype kv_dtype;
    size_t max_sequences; // running at once; 0: 32
    bool no_speculation, share_prefixes;
    // As struct generator_options says.
    void (*release)(void *ctx, size_t tokens);
    void (*wake)(void *ctx); // one that had nothing to compute may have now; from any thread
    void *ctx;
};

struct generators {
    struct generator **items; // [count]
    size_t count;
    size_t turn; // whose step comes next
    struct masks *masks;
};

// plan: what is there and allocated beside them; their caches and workspaces are added to it, and
// it is checked before anything is made. ERR_NOMEM, ERR_TOO_LARGE, ERR_IO.
enum err generators_init(struct generators *g, const struct generators_options *options,
                         struct memory_plan *plan, struct errmsg *msg) MUST_CHECK;
void generators_free(struct generators *g);
// NULL: the model does not generate.
struct generator *generators_find(const struct generators *g, const struct model *m);
bool generators_busy(const struct generators *g);
size_t generators_count(const struct generators *g); // generations in them
// What those that are not in a step have to compute: SHARE_BITs.
unsigned generators_ready(const struct generators *g);
// Ends what is over and waits for masks alone: no step comes by that.
void generators_tend(struct generators *g);
// The next one of those, in turn, that has some of this work; NULL: none has.
struct generator *generators_next(struct generators *g, unsigned shares);
enum err generators_warm_up(struct generators *g, const struct forward_hooks *hooks,
                            struct errmsg *msg) MUST_CHECK;
void generators_end(struct generators *g, enum err err, const char *why);
size_t generators_workspace_bytes(const struct generators *g);
void generators_add_stats(struct generators *g, struct generation_stats *sum);

#endif
