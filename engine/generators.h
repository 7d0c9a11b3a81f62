// The generators of all models that generate. Role: divides the caches' memory among them and
// finds the one that a generation is for. A model that comes or goes changes what each of the
// others has.
// Thread rule: the scheduler's thread. Others may look too (find, busy, count, add_stats) where
// generators_put and _take and they are called under one lock; that is the caller's.
#ifndef TRINE_ENGINE_GENERATORS_H
#define TRINE_ENGINE_GENERATORS_H

#include "engine/generator.h"
#include "engine/memory_plan.h"

// A generation that was in flight at so many losses goes on on the spare, where there is one.
enum { GENERATORS_DEATHS_HERE = 2 };

struct generators_options {
    struct replica *replica; // the models are loaded on it
    size_t cache_bytes;      // of all models together; 0: a quarter of what is available, or less
    enum kv_dtype kv_dtype;
    size_t max_sequences; // running at once; 0: 32
    bool no_speculation, share_prefixes;
    // Another replica has what this one cannot: when it is wanted there a model's weights come to
    // it, with a cache for one text of any length. The memory for that is planned.
    bool has_spare;
    bool spare_for_one; // model and text at a time
    // As struct generator_options says.
    void (*release)(void *ctx, size_t tokens);
    void (*wake)(void *ctx); // one that had nothing to compute may have now; from any thread
    void *ctx;
};

struct generators {
    struct generators_options options;
    struct generator **items; // [count]
    size_t count;
    size_t share; // bytes that each one's cache may have
    struct masks *masks;
};

// For those of the models that generate. plans: what is there and allocated beside them; their
// caches and workspaces are added to the replica's, what the spare may come to hold to the
// machine's, and they are checked before anything is made. A device that has less than was planned
// gets smaller caches, which is logged, where no size was asked for. ERR_NOMEM, ERR_TOO_LARGE,
// ERR_IO.
enum err generators_init(struct generators *g, const struct generators_options *options,
                         struct model *const *models, size_t n, struct memory_plans *plans,
                         struct errmsg *msg) MUST_CHECK;
void generators_free(struct generators *g);

// Makes the generator of one more model (NULL: one comes that does not generate) and gives the
// others the cache that is theirs beside it.
// plans: as generators_init wants them, without any generator. On an error all is as it was: the
// others' caches may have been made anew. ERR_NOMEM, ERR_IO, ERR_TOO_LARGE: a cache would be too
// small, for a text at all or for one that was accepted.
enum err generators_make(struct generators *g, const struct model *m, struct memory_plans *plans,
                         struct generator **out, struct errmsg *msg) MUST_CHECK;
// A generator of a model for a spare replica, on which it is loaded: with a cache for texts of this
// context. g: as main's generators are, but for options.replica, which is the spare; only the
// options and the masks are read. It is not listed. Any thread. ERR_NOMEM, ERR_TOO_LARGE.
enum err generators_make_spare(const struct generators *g, const struct model *m, size_t context,
                               struct generator **out, struct errmsg *msg) MUST_CHECK;
// Puts what was made into the list, or takes one out of it; neither makes or frees one.
enum err generators_put(struct generators *g, struct generator *one, struct errmsg *msg) MUST_CHECK;
void generators_take(struct generators *g, const struct generator *one);
// Gives each what there is without the one that was taken. plans: as above. Where memory is out a
// cache keeps the size that it has.
void generators_share_out(struct generators *g, struct memory_plans *plans);

// NULL: the model does not generate.
struct generator *generators_find(const struct generators *g, const struct model *m);
bool generators_busy(const struct generators *g); // with generations
void generators_end(struct generators *g, enum err err, const char *why);
size_t generators_workspace_bytes(const struct generators *g);
void generators_add_stats(struct generators *g, struct generation_stats *sum);

#endif
