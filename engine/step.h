// One step of a generating model on its device: ragged rows of many sequences in, drawn tokens out.
// Role: owns the model's KV storage, the workspace and the host arrays of a step; runs the forward
// pass and draws. It knows no queues, no requests and no text; full logits never leave it.
// Thread rule: the engine's thread.
#ifndef TRINE_ENGINE_STEP_H
#define TRINE_ENGINE_STEP_H

#include "engine/masks.h"
#include "engine/replica_model.h"

struct step_engine;

struct step_options {
    size_t block_tokens, blocks; // of the KV cache
    enum dtype kv_dtype;
    size_t max_tokens;  // rows of a step
    size_t max_seqs;    // sequences in a step
    size_t max_logits;  // rows of a step from which tokens are drawn or scored
    size_t max_context; // tokens of a sequence
};

// Of a forward of so many tokens and rows of logits, and of drawing from these. SIZE_MAX: more than
// a size counts.
size_t step_workspace_bytes(const struct replica_model *m, size_t tokens, size_t logits);
// ERR_NOMEM, ERR_TOO_LARGE.
enum err step_engine_new(const struct replica_model *m, const struct step_options *options,
                         struct step_engine **out, struct errmsg *msg) MUST_CHECK;
void step_engine_free(struct step_engine *e);          // NULL is fine
size_t step_engine_bytes(const struct step_engine *e); // workspace and host arrays, KV apart

// A sequence's part of a step: `count` tokens that follow the `context` which the cache holds.
struct step_part {
    // Set by the caller.
    const int32_t *ids; // [count]
    size_t count, context;
    const int32_t *blocks; // its block table, room for context + count
    size_t block_count;
    size_t wanted; // logits of the last `wanted` tokens are used
    // Tokens are drawn from the wanted rows, the first one at `position`: from a further row only
    // when the token that its row computes is the one drawn before it (a draft that came true).
    // Otherwise (scores) the rows' next tokens are known and are scored: next[wanted].
    const struct sampling *sampling;  // NULL: scores
    struct sampling_history *history; // is told of what is drawn; or NULL
    struct mask_job *mask;            // READY; goes on behind what is drawn; or NULL
    const int32_t *end_ids;           // a drawn end token ends the drawing
    size_t end_count;
    uint64_t position;
    const int32_t *next;
    size_t top; // alternatives wanted
    bool want_logprob;
    void *ctx; // the caller's own

    // Results of step_run.
    const struct sampling_result *results; // [drawn]; until the next step
    size_t drawn;
    bool waits;      // drafts were left alone because the mask behind them takes more work
    enum err err;    // ERR_NONFINITE, or the mask's
    const char *why; // in words; as long as the mask's job
    bool over;       // step.c's: nothing more is drawn
};

void step_clear(struct step_engine *e);
size_t step_room(const struct step_engine *e);        // tokens that still fit
size_t step_logits_room(const struct step_engine *e); // wanted rows that still fit
size_t step_tokens(const struct step_engine *e);
// Copies a part into the step; NULL when it does not fit. The part may be read after step_run.
struct step_part *step_add(struct step_engine *e, const struct step_part *part);
// The parts of the step in the order they were added.
size_t step_parts(const struct step_engine *e);
struct step_part *step_part_at(struct step_engine *e, size_t i);
// Computes and draws. An error is the whole step's; a part's own is in the part.
enum err step_run(struct step_engine *e, const struct forward_hooks *hooks,
                  struct errmsg *msg) MUST_CHECK;

#endif
