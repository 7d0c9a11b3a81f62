// What sampling.c's parts share. Role: candidates and how some of them are chosen; the history's
// effect; the generator. Thread rule: as sampling.h.
#ifndef TRINE_DECODER_SAMPLING_INTERNAL_H
#define TRINE_DECODER_SAMPLING_INTERNAL_H

#include "decoder/sampling.h"

struct candidate {
    float w; // a logit or a weight
    int32_t id;
};

// More likely, or as likely and of a lower id.
static inline bool candidate_before(struct candidate a, struct candidate b) {
    return a.w > b.w || (a.w == b.w && a.id < b.id);
}

// The one of n that k - 1 others are before, k in [1, n]. Reorders c.
struct candidate candidates_nth(struct candidate *c, size_t n, size_t k);
// The last that is needed, in order, to reach `mass` (all weights' sum at least, or the last of
// all), n >= 1. Reorders c.
struct candidate candidates_reach(struct candidate *c, size_t n, double mass);

// Repetition, presence and frequency penalties; h may be NULL.
void sampling_history_apply(const struct sampling_history *h, const struct sampling *s,
                            float *logits, size_t vocab);

// Output `position` of the SplitMix64 stream seeded with `seed` (Steele, Lea, Flood 2014; Vigna's
// splitmix64.c): a function of its arguments alone.
static inline uint64_t sampling_random(uint64_t seed, uint64_t position) {
    uint64_t z = seed + (position + 1) * 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

#endif
