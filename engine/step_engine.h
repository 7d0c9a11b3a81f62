// What computes steps (step.h) on a device. Role: owns one model's KV storage there, the workspace
// of its steps, and of each sequence that decodes what the penalties and the next step need: what
// was said, and the token drawn last. It knows no queues, no requests, no grammars and no text;
// full logits never leave it.
// The steps of a model come in the order in which they were put together, each drawn before the
// next one's forward. On a device that keeps what it drew (drawn_slots) the draw need only have
// been asked for: the next forward is begun while this one and its draw are being computed, and
// goes on from tokens that nobody has seen yet. Two steps are under way then, at most, and they are
// finished in their order. Thread rule: the device's driving thread.
#ifndef TRINE_ENGINE_STEP_ENGINE_H
#define TRINE_ENGINE_STEP_ENGINE_H

#include "engine/replica_model.h"
#include "engine/step.h"

struct step_engine;

// ERR_NOMEM, ERR_TOO_LARGE.
enum err step_engine_new(const struct replica_model *m, const struct step_engine_options *options,
                         struct step_engine **out, struct errmsg *msg) MUST_CHECK;
// The same with so many of the device's slots, from `first` on, as step_engine_slots says: its
// draws may be finished later than they are asked for.
enum err step_engine_new_ahead(const struct replica_model *m,
                               const struct step_engine_options *options, size_t first,
                               struct step_engine **out, struct errmsg *msg) MUST_CHECK;
size_t step_engine_slots(const struct step_limits *limits);
bool step_engine_goes_ahead(const struct step_engine *e); // it was made so
void step_engine_free(struct step_engine *e);             // NULL is fine
size_t step_engine_bytes(const struct step_engine *e);    // its workspace, KV apart
// Of a block of the model's cache, what the device lays out beside it included; 0: kv_new refuses
// the model's heads.
size_t step_engine_block_bytes(const struct replica_model *m, size_t block_tokens, enum dtype kv);
// Of the workspace of steps with these limits. SIZE_MAX: more than a size counts.
size_t step_engine_workspace_bytes(const struct replica_model *m, const struct step_limits *limits);

// ---- a step at once

// Computes the rows. An error (the device's, or a pause's that ended it) is the whole step's. A
// step may be given again, here or to another engine, and has the same bits; what goes on from
// STEP_LAST_DRAWN is late then.
enum err step_engine_forward(struct step_engine *e, const struct step *s,
                             const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;
// Draws from what the last forward computed, which was of this step. An error is the whole step's;
// a part's own is in the part.
enum err step_engine_draw(struct step_engine *e, struct step *s, struct errmsg *msg) MUST_CHECK;

// ---- a step in its parts, for one that goes ahead

// As step_engine_forward, but what it asks of the device is not waited for.
enum err step_engine_begin(struct step_engine *e, const struct step *s,
                           const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;
// Until all that was begun is computed.
enum err step_engine_wait(struct step_engine *e, struct errmsg *msg) MUST_CHECK;
// Asks for the draw from what the last forward computes, which is of this step. Its parts, and what
// they name, stay until it is finished. An error is the whole step's: there is nothing to finish.
enum err step_engine_ask(struct step_engine *e, struct step *s, struct errmsg *msg) MUST_CHECK;
// Waits for a step's draw, the oldest one's that was asked for, and puts the results into its
// parts. One that was to go on from a token that was not drawn after all is late.
enum err step_engine_finish(struct step_engine *e, struct step *s, struct errmsg *msg) MUST_CHECK;

#endif
