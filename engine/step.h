// One step of a generating model, as a message to the device that computes it: ragged rows of many
// sequences, and what comes of them. Plain data that could cross a process: numbers, ids and
// arrays; nothing of it points into a request, a grammar or a queue.
// A step goes in two messages. step_engine.h's forward computes the rows; the draw comes when the
// sender has put the masks into the parts, which it makes while the forward runs. A row whose mask
// is not there then is not drawn (`late`), and the sender repeats it in a later step. So a step may
// be sent before what the one before it drew is known: STEP_LAST_DRAWN stands for that token.
// Thread rule: the sender's; from the forward to the results of the draw the device's, but for the
// masks, which are written before the draw is asked for.
#ifndef TRINE_ENGINE_STEP_H
#define TRINE_ENGINE_STEP_H

#include "compute/sampling.h"
#include "compute/tensor.h"
#include "engine/draft.h"

// As ids[0] of a part: the token that was drawn for this sequence in the step before this one.
#define STEP_LAST_DRAWN (-1)

enum { STEP_ROWS_MOST = 1 + DRAFT_MAX }; // wanted rows of a part that draws

// What may be wrong with one part's draw.
enum step_fault {
    STEP_FAULT_NONE,
    STEP_FAULT_NONFINITE, // the model gave logits that are not finite
    STEP_FAULT_OVERFLOW,  // what was added to them leaves none that is finite
    STEP_FAULT_FORBIDDEN, // a bias forbids every token that the mask allows
    STEP_FAULT_ENDED,     // the mask allows none
    STEP_FAULT_MEMORY,    // for what was said so far
    STEP_FAULT_COUNT,
};
// In words, and as an error (ERR_OK, ERR_NONFINITE, ERR_INVALID, ERR_INTERNAL, ERR_NOMEM). What is
// none of these is told as STEP_FAULT_ENDED is.
const char *step_fault_words(enum step_fault f);
enum err step_fault_err(enum step_fault f);

// A sequence's part of a step: `count` tokens that follow the `context` which the cache holds.
struct step_part {
    // Set by the sender, and left alone until the results are there.
    uint64_t sequence;  // names it; no other has the same
    const int32_t *ids; // [count], copied by step_add
    size_t count, context;
    const int32_t *blocks; // [block_count] its block table, copied by step_add: room for all
    size_t block_count;
    size_t wanted; // logits of the last `wanted` tokens are used
    // Tokens are drawn from the wanted rows, the first one at `position`: from a further row only
    // when the token that its row computes is the one drawn before it (a draft that came true).
    // Otherwise (scores) the rows' next tokens are known and are scored: next[wanted].
    bool draws;
    struct sampling sampling;
    uint64_t position;
    // What the penalties need: the prompt, and of the output what the sender knows. The device adds
    // what it has drawn since.
    const int32_t *tokens; // [prompt_len + logged]
    size_t prompt_len, logged;
    const int32_t *end_ids; // a drawn end token ends the drawing
    size_t end_count;
    const int32_t *next;
    size_t top; // alternatives wanted
    bool want_logprob;
    bool masked;   // only what masks allow is drawn
    void *ctx;     // the sender's own,
    uint64_t note; // as well

    // Set by the sender before the draw. Masks of the first rows: [ceil(vocab / 32)] bits of
    // allowed tokens, NULL: any token. Rows behind them are not drawn.
    const uint32_t *masks[STEP_ROWS_MOST];
    size_t mask_count;

    // Results.
    const struct sampling_result *results; // [drawn], as long as the step
    size_t drawn;
    bool late;    // its mask, or the token it was to go on from, was not there: nothing was drawn
    enum err err; // of this part alone: that of its fault
    enum step_fault fault;
};

struct step_limits {
    size_t block_tokens;
    size_t max_tokens;  // rows of a step
    size_t max_seqs;    // sequences in a step
    size_t max_logits;  // rows of a step from which tokens are drawn or scored
    size_t max_context; // tokens of a sequence
};

// What the steps of a model are computed with.
struct step_engine_options {
    struct step_limits limits;
    size_t blocks; // of the KV cache
    enum dtype kv_dtype;
};

struct step {
    struct step_limits limits;
    size_t table_stride;
    // As decoder.h's step has them; ids[t] may be STEP_LAST_DRAWN.
    int32_t *ids, *positions, *slots;   // [max_tokens]
    int32_t *cu_seqlens, *context_lens; // [max_seqs + 1], [max_seqs]
    int32_t *block_tables;              // [max_seqs, table_stride]
    int32_t *logit_rows;                // [max_logits]
    struct step_part *parts;            // [max_seqs]
    size_t *first_logit;                // [max_seqs]
    struct sampling_result *results;    // [max_logits]
    size_t tokens, seqs, logits;
};

// ERR_NOMEM.
enum err step_new(const struct step_limits *limits, struct step **out) MUST_CHECK;
void step_free(struct step *s); // NULL is fine
size_t step_bytes(const struct step_limits *limits);

void step_clear(struct step *s);
static inline size_t step_logits_room(const struct step *s) {
    return s->limits.max_logits - s->logits;
}
// Copies a part into the step; NULL when it does not fit.
struct step_part *step_add(struct step *s, const struct step_part *part);
bool step_is_masked(const struct step *s); // whether any of its parts is

#endif
