// From a row of raw logits to a token. Order (docs/models.md): logit_bias, repetition penalty
// (prompt and output), presence and frequency (output), grammar mask, temperature, top-k, top-p,
// min-p, a draw. Each is as transformers or OpenAI defines it; ties go to the lowest id; logprobs
// are of the raw logits. The draw is a function of (seed, position) alone: the same seed gives the
// same text whatever else runs.
// Thread rule: pure over what the caller owns; a history and a scratch belong to one thread at a
// time.
#ifndef TRINE_DECODER_SAMPLING_H
#define TRINE_DECODER_SAMPLING_H

#include "base/err.h"

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

enum { SAMPLING_MAX_TOP = 20 };

struct token_logprob {
    int32_t id;
    float logprob;
};

// What was said so far, for the penalties. Empty and free of memory while no penalty is set.
struct sampling_history;
// ERR_NOMEM. NULL (and ERR_OK) when `s` needs none.
enum err sampling_history_new(const struct sampling *s, size_t vocab, const int32_t *prompt,
                              size_t n, struct sampling_history **out) MUST_CHECK;
void sampling_history_free(struct sampling_history *h);            // NULL is fine
void sampling_history_add(struct sampling_history *h, int32_t id); // an output token; NULL is fine

// Per-thread memory for rows of `vocab` logits.
struct sampling_scratch;
enum err sampling_scratch_new(size_t vocab, struct sampling_scratch **out) MUST_CHECK;
void sampling_scratch_free(struct sampling_scratch *s);

struct sampling_row {
    const float *logits; // [vocab] raw
    size_t vocab;
    const struct sampling *sampling;
    const struct sampling_history *history; // or NULL
    const uint32_t *mask;                   // [ceil(vocab / 32)] bits of allowed tokens, or NULL
    uint64_t position;                      // of the token to be drawn, in its sequence
    size_t top;                             // alternatives wanted, at most SAMPLING_MAX_TOP
    bool want_logprob;                      // implied by top
};

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

// Never fails but by id -1. Greedy without penalties, bias and logprobs is one pass of argmax.
void sampling_draw(const struct sampling_row *row, struct sampling_scratch *scratch,
                   struct sampling_result *out);

// logprob (and top) of a token that is known: an echoed prompt.
void sampling_score(const float *logits, size_t vocab, int32_t id, size_t top,
                    struct sampling_scratch *scratch, struct sampling_result *out);

#endif
