// What transformers' own processors leave of rows of logits: the cases of data/sampling.txt
// (tools/make_sampling_goldens.py). Thread rule: main thread only.
#ifndef TRINE_TESTS_SAMPLING_GOLDEN_H
#define TRINE_TESTS_SAMPLING_GOLDEN_H

#include "compute/sampling.h"

#include <stdio.h>

struct sampling_golden {
    size_t vocab, prompts, outputs;
    struct sampling s;
    int32_t prompt[64], output[64];
    float row[512], probs[512], logprobs[512];
};

static inline bool sampling_golden_floats(FILE *f, float *to, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (fscanf(f, "%f", &to[i]) != 1)
            return false;
    return true;
}

static inline bool sampling_golden_ids(FILE *f, int32_t *to, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (n > 64 || fscanf(f, "%d", &to[i]) != 1)
            return false;
    return true;
}

static inline bool sampling_golden_read(FILE *f, struct sampling_golden *g) {
    struct sampling *s = &g->s;
    *s = (struct sampling){0};
    if (fscanf(f, "%zu %f %d %f %f %f %f %f %zu %zu", &g->vocab, &s->temperature, &s->top_k,
               &s->top_p, &s->min_p, &s->repetition_penalty, &s->presence_penalty,
               &s->frequency_penalty, &g->prompts, &g->outputs) != 10 ||
        g->vocab > 512)
        return false;
    return sampling_golden_ids(f, g->prompt, g->prompts) &&
           sampling_golden_ids(f, g->output, g->outputs) &&
           sampling_golden_floats(f, g->row, g->vocab) &&
           sampling_golden_floats(f, g->probs, g->vocab) &&
           sampling_golden_floats(f, g->logprobs, g->vocab);
}

#endif
