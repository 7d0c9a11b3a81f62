// Prompt-lookup drafting: guesses a text's next tokens from what followed the same few tokens
// earlier in it (an answer that quotes its prompt). Role: the guess and how long it may be; a
// guess is verified by the step that computes it, so the output never depends on it.
// Source followed: transformers' prompt_lookup_num_tokens (n-gram matching over prompt and output).
// Thread rule: one owner.
#ifndef TRINE_ENGINE_DRAFT_H
#define TRINE_ENGINE_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DRAFT_MAX = 8 };

// How well drafting has gone in a text.
struct draft_policy {
    unsigned length; // to guess next; 0: the start
    unsigned misses; // guesses in a row of which nothing came true
    unsigned rests;  // steps still to go without a guess
};

// Points *draft at tokens that are likely to follow tokens[0 .. n), within tokens, and returns how
// many there are, at most `most`; 0: no guess.
size_t draft_make(struct draft_policy *p, const int32_t *tokens, size_t n, size_t most,
                  const int32_t **draft);
// Whether there would be a guess, if it may be of any length.
bool draft_is_likely(const struct draft_policy *p, const int32_t *tokens, size_t n);
// Of `made` guessed tokens `came_true` did.
void draft_learn(struct draft_policy *p, size_t made, size_t came_true);

#endif
