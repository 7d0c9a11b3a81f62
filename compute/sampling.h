// From rows of raw logits to tokens: what is asked of a device's `draw` (device.h), as plain data.
// Order (docs/models.md): logit_bias, repetition penalty (prompt and output), presence and
// frequency (output), grammar mask, temperature, top-k, top-p, min-p, a draw. Each is as
// transformers or OpenAI defines it; ties go to the lowest id; logprobs are of the raw logits. The
// draw is a function of (seed, position) alone: the same seed gives the same text whatever else
// runs, on every device.
// Thread rule: data; a history belongs to one thread at a time.
#ifndef TRINE_COMPUTE_SAMPLING_H
#define TRINE_COMPUTE_SAMPLING_H

#include "base/err.h"
#include "compute/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct logit_bias {
    int32_t id;
    float bias;
};

struct sampling {
    float temperature;                         // 0: greedy
    float top_p;                               // (0, 1]; 1: off
    float min_p;                               // [0, 1]; 0: off
    int32_t top_k;                             // 0: off
    float repetition_penalty;                  // above 0; 1: off
    float presence_penalty, frequency_penalty; // [-2, 2]; 0: off
    uint64_t seed;
    const struct logit_bias *bias; // [bias_count], borrowed
    size_t bias_count;
};

// Whether a history has an effect.
static inline bool sampling_penalizes(const struct sampling *s) {
    return s->repetition_penalty != 1.0F || s->presence_penalty != 0.0F ||
           s->frequency_penalty != 0.0F;
}

enum { SAMPLING_MAX_TOP = 20 };

struct token_logprob {
    int32_t id;
    float logprob;
};

// What was said so far, for the penalties.
struct sampling_history {
    size_t vocab, distinct;
    int32_t *ids;     // [vocab]: those seen, each once, in order of appearance
    uint32_t *counts; // [vocab]: 2 x times in the output, + 1 when seen at all
};

// Empty. ERR_NOMEM.
enum err sampling_history_init(struct sampling_history *h, size_t vocab) MUST_CHECK;
void sampling_history_free(struct sampling_history *h); // of zeros is fine
// Forgets all and begins with a prompt; ids beyond the vocabulary count for nothing.
void sampling_history_begin(struct sampling_history *h, const int32_t *prompt, size_t n);
void sampling_history_add(struct sampling_history *h, int32_t id); // an output token

enum sampling_end {
    SAMPLING_DRAWN,
    SAMPLING_NONFINITE, // a raw logit is NaN or infinite
    SAMPLING_OVERFLOW,  // they are finite, with bias and penalties one is not
    SAMPLING_NONE,      // the mask allows no token
};

struct sampling_result {
    int32_t id; // -1: none, and `end` says why
    enum sampling_end end;
    float logprob;
    struct token_logprob top[SAMPLING_MAX_TOP]; // most likely first
    size_t top_count;
};

// Some rows of one sequence, one behind the other. A draw goes from row to row for as long as the
// token that the row behind computes is the one that was drawn (a draft that came true), and no
// further than an end token; each row's history is that of the part and `next` before it.
// Scores give the logprobs of tokens that are known.
struct draw_part {
    size_t first, count;                    // rows of the logits
    const struct sampling *sampling;        // NULL: scores
    const struct sampling_history *history; // or NULL
    const uint32_t *const *masks;           // NULL, or [count] of bits of allowed tokens, or NULL
    const int32_t *next;    // draws: [count - 1] that the rows behind compute; scores: [count]
    const int32_t *end_ids; // [end_count]
    size_t end_count;
    uint64_t position; // of the first row's token in its sequence
    size_t top;        // alternatives wanted, at most SAMPLING_MAX_TOP
    bool want_logprob; // implied by top, and by scores
    // Of a device with drawn_slots (device.h): where the last token drawn here is kept, below that
    // number. The history goes on from the one that is kept there where goes_on says so: it is not
    // in `history` yet.
    size_t slot;
    bool goes_on;

    // Results. Where a row gave no token results[drawn] says why, and `failed` that it does.
    struct sampling_result *results; // [count], the caller's
    size_t drawn;
    bool failed;
};

struct draw_args {
    struct mat logits; // [R, V] raw
    struct draw_part *parts;
    size_t count;
};

#endif
