// What computes steps (step.h) on a device. Role: owns one model's KV storage there, the workspace
// of its steps, and of each sequence that decodes what the penalties and the next step need: what
// was said, and the token drawn last. It knows no queues, no requests, no grammars and no text;
// full logits never leave it.
// The steps of a model come in the order in which they were put together, each drawn before the
// next one's forward. Thread rule: the device's driving thread.
#ifndef TRINE_ENGINE_STEP_ENGINE_H
#define TRINE_ENGINE_STEP_ENGINE_H

#include "engine/replica_model.h"
#include "engine/step.h"

struct step_engine;

// ERR_NOMEM, ERR_TOO_LARGE.
enum err step_engine_new(const struct replica_model *m, const struct step_engine_options *options,
                         struct step_engine **out, struct errmsg *msg) MUST_CHECK;
void step_engine_free(struct step_engine *e);          // NULL is fine
size_t step_engine_bytes(const struct step_engine *e); // its workspace, KV apart
// Of a block of the model's cache, what the device lays out beside it included; 0: kv_new refuses
// the model's heads.
size_t step_engine_block_bytes(const struct replica_model *m, size_t block_tokens, enum dtype kv);
// Of the workspace of steps with these limits. SIZE_MAX: more than a size counts.
size_t step_engine_workspace_bytes(const struct replica_model *m, const struct step_limits *limits);

// Computes the rows. An error (the device's, or a pause's that ended it) is the whole step's. A
// step may be given again, here or to another engine, and has the same bits; what goes on from
// STEP_LAST_DRAWN is late then.
enum err step_engine_forward(struct step_engine *e, const struct step *s,
                             const struct forward_hooks *hooks, struct errmsg *msg) MUST_CHECK;
// Draws from what the last forward computed, which was of this step. An error is the whole step's;
// a part's own is in the part.
enum err step_engine_draw(struct step_engine *e, struct step *s, struct errmsg *msg) MUST_CHECK;

#endif
