// What the worker has: models, and places where steps are computed. Role: what is needed to read
// messages about them, found by the numbers that the parent gave. The replica has the weights and
// the caches themselves.
// Thread rule: the thread of controls adds and removes, the thread that computes looks up. What is
// removed is not in use: the parent removes nothing of which it has work out, and where it does,
// the process ends.
#ifndef TRINE_WORKER_TABLES_H
#define TRINE_WORKER_TABLES_H

#include "engine/wire_work.h"

#include <pthread.h>

enum {
    TABLES_MODELS = 256, // at once
    TABLES_PLACES = 256,
    TABLES_STEPS = 8, // of a place, at once
};

struct tables_place {
    struct wire_place wire;
    uint64_t local;                   // the replica's number of it
    struct step *steps[TABLES_STEPS]; // made when they are first needed, and then kept
    bool out[TABLES_STEPS];
};

struct tables {
    pthread_mutex_t mutex; // guards all
    struct tables_model {
        struct wire_model wire;
        size_t batches; // in hand
    } models[TABLES_MODELS];
    size_t model_count;
    struct tables_place *places[TABLES_PLACES];
    size_t place_count;
    size_t batch_tokens; // 0: no batches yet
};

void tables_init(struct tables *t);
void tables_free(struct tables *t);

// ERR_INVALID: there is one of the number; ERR_TOO_LARGE: no room.
enum err tables_add_model(struct tables *t, const struct wire_model *m,
                          struct errmsg *msg) MUST_CHECK;
// False: there is none of that number. Copied out.
bool tables_find_model(struct tables *t, uint64_t model, struct wire_model *out);
// The same for a batch, which tables_give_model ends.
bool tables_take_model(struct tables *t, uint64_t model, struct wire_model *out);
void tables_give_model(struct tables *t, uint64_t model);
// Of one that is not there: nothing. ERR_INVALID: it has batches in hand or places open.
enum err tables_remove_model(struct tables *t, uint64_t model, struct errmsg *msg) MUST_CHECK;
// What a batch of the model may have.
struct wire_batch_limits tables_limits(struct tables *t, const struct wire_model *m);
void tables_set_batch_tokens(struct tables *t, size_t tokens);

// As of models; ERR_NOMEM too.
enum err tables_add_place(struct tables *t, const struct wire_place *p, uint64_t local,
                          struct errmsg *msg) MUST_CHECK;
// NULL: there is none. It is there until it is removed.
struct tables_place *tables_find_place(struct tables *t, uint64_t place);
// Takes it out and tells its number of the replica's; 0: there was none, or (ERR_INVALID) some of
// its steps are out.
enum err tables_remove_place(struct tables *t, uint64_t place, uint64_t *local,
                             struct errmsg *msg) MUST_CHECK;

// A step with the place's limits; *at names it. ERR_INVALID: too many are out; ERR_NOMEM.
enum err tables_take_step(struct tables *t, struct tables_place *p, size_t *at,
                          struct errmsg *msg) MUST_CHECK;
void tables_give_step(struct tables *t, struct tables_place *p, size_t at);

#endif
