// What sampling.c's parts share. Role: one row's draw and its scratch; candidates and how some of
// them are chosen; the generator. Thread rule: pure over what the caller owns; a scratch belongs to
// one thread at a time.
#ifndef TRINE_COMPUTE_CPU_SAMPLING_INTERNAL_H
#define TRINE_COMPUTE_CPU_SAMPLING_INTERNAL_H

#include "base/arena.h"
#include "compute/sampling.h"

struct sampling_candidate {
    float w; // a logit or a weight
    int32_t id;
};

// A thread's memory for rows of `vocab` logits.
struct sampling_scratch {
    size_t vocab;
    float *logits;              // [vocab]: after bias, penalties and mask
    float *weights;             // [vocab]: e^((logit - most) / temperature)
    float *blocks, *raw_blocks; // [blocks]: largest of each, of `logits` and of the raw row
    double *sums;               // [blocks]: of weights
    struct sampling_candidate *chosen,
        *moving; // [vocab]: in order of ids; a copy that selection reorders
};

// What a scratch takes of an arena; SIZE_MAX on overflow. False: there is no room.
size_t sampling_scratch_bytes(size_t vocab);
bool sampling_scratch_place(struct arena *a, size_t vocab, struct sampling_scratch *out);

struct sampling_row {
    const float *logits; // [vocab] raw
    size_t vocab;
    const struct sampling *sampling;
    const struct sampling_history *history; // or NULL
    const int32_t *more;                    // [more_count] output behind the history
    size_t more_count;
    const uint32_t *mask; // [ceil(vocab / 32)] bits of allowed tokens, or NULL
    uint64_t position;    // of the token to be drawn, in its sequence
    size_t top;           // alternatives wanted, at most SAMPLING_MAX_TOP
    bool want_logprob;    // implied by top
};

// Never fails but by id -1. Greedy without penalties, bias and logprobs is one pass of argmax.
void sampling_draw(const struct sampling_row *row, struct sampling_scratch *scratch,
                   struct sampling_result *out);
// logprob (and top) of a token that is known: an echoed prompt.
void sampling_score(const float *logits, size_t vocab, int32_t id, size_t top,
                    struct sampling_scratch *scratch, struct sampling_result *out);

// More likely, or as likely and of a lower id.
static inline bool candidate_before(struct sampling_candidate a, struct sampling_candidate b) {
    return a.w > b.w || (a.w == b.w && a.id < b.id);
}

// The one of n that k - 1 others are before, k in [1, n]. Reorders c.
struct sampling_candidate sampling_nth(struct sampling_candidate *c, size_t n, size_t k);
// The last that is needed, in order, to reach `mass` (all weights' sum at least, or the last of
// all), n >= 1. Reorders c.
struct sampling_candidate sampling_reach(struct sampling_candidate *c, size_t n, double mass);

// Repetition, presence and frequency penalties of the row's history and what came behind it.
void sampling_penalize(const struct sampling_row *row, float *logits);

// Output `position` of the SplitMix64 stream seeded with `seed` (Steele, Lea, Flood 2014; in C by
// Vigna): a function of its arguments alone.
static inline uint64_t sampling_random(uint64_t seed, uint64_t position) {
    uint64_t z = seed + (position + 1) * 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

#endif
