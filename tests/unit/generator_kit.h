// What tests of steps and generators share: a tiny model on a device, a vocabulary of letters and
// generations with their memory.
#ifndef TRINE_TESTS_UNIT_GENERATOR_KIT_H
#define TRINE_TESTS_UNIT_GENERATOR_KIT_H

#include "engine/generator.h"
#include "tests/check.h"
#include "tests/kit/inline_replica.h"
#include "tests/kit/test_device.h"
#include "tests/precisions.h"

#include <stdlib.h>
#include <string.h>

#define KIT_MODEL "tests/golden/data/decoders/qwen2-tied"

enum { KIT_OUTPUT = 40, KIT_TOP = 2, KIT_PROMPT = 64 };

static struct model kit_model;

// The model's weights on a device.
static inline struct replica_model kit_load(struct device *d) {
    struct errmsg msg = {0};
    struct replica_model loaded = {.device = d};
    kit_model.name = "tiny";
    kit_model.task = TASK_GENERATE;
    CHECK_OK(decoder_config_load(KIT_MODEL, &kit_model.decoder_config, &msg), msg);
    struct weights *w = NULL;
    CHECK_OK(weights_open(KIT_MODEL, &w, &msg), msg);
    CHECK_OK(decoder_load(w, &kit_model.decoder_config, PRECISION_STORED, d, &loaded.decoder, &msg),
             msg);
    weights_close(w);
    kit_model.max_length = kit_model.decoder_config.max_positions;
    model_spec(&kit_model, &loaded.spec);
    return loaded;
}

// The model's ids as letters, then pairs of letters; the last one is the end.
static inline struct grammar_vocab *kit_vocab(void) {
    static char bytes[512][2];
    size_t n = kit_model.decoder_config.vocab;
    struct grammar_token *tokens = calloc(n, sizeof *tokens);
    for (size_t i = 0; i + 1 < n; i++) {
        bytes[i][0] = (char)('a' + i % 26);
        bytes[i][1] = (char)('a' + i / 26);
        tokens[i] = (struct grammar_token){bytes[i], i < 26 ? 1 : 2};
    }
    int32_t end = (int32_t)n - 1;
    struct grammar_vocab *v = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(tokens, n, &end, 1, &v, &msg), msg);
    free(tokens);
    return v;
}

static inline struct grammar *kit_gbnf(const char *text) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_from_gbnf(text, strlen(text), &g, &msg), msg);
    return g;
}

// A generation with its memory and an account of what was told of it.
struct kit_gen {
    struct generation g;
    int32_t prompt[KIT_PROMPT], ids[KIT_OUTPUT];
    float logprobs[KIT_OUTPUT];
    struct token_logprob top[KIT_OUTPUT * KIT_TOP];
    int ended;
    size_t told; // tokens, when it was told of some last
    bool shrank;
};

static inline void kit_progress(struct generation *g) {
    struct kit_gen *t = g->ctx;
    t->shrank |= g->produced <= t->told;
    t->told = g->produced;
}

// As a request's end: the grammar's state is gone with the call.
static inline void kit_done(struct generation *g) {
    grammar_state_free(g->grammar);
    g->grammar = NULL;
    ((struct kit_gen *)g->ctx)->ended++;
}

// Of each seed another: greedy and drawn ones, with and without penalties; every other prompt
// repeats itself, so that drafts are made.
static inline struct kit_gen *kit_gen_new(uint32_t seed, const struct grammar *grammar,
                                          const struct grammar_vocab *vocab) {
    struct kit_gen *t = calloc(1, sizeof *t);
    uint32_t x = seed * 2654435761u + 17;
    size_t len = 1 + seed * 7 % 60;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        t->prompt[i] = (int32_t)(seed % 2 ? (x >> 16) % 60 + 2 : 2 + i % 5);
    }
    t->g = (struct generation){.model = &kit_model,
                               .prompt = t->prompt,
                               .prompt_len = len,
                               .max_tokens = KIT_OUTPUT,
                               .sampling = {.temperature = seed % 2 ? 0.9f : 0,
                                            .top_p = 0.95f,
                                            .repetition_penalty = seed % 3 ? 1 : 1.2f,
                                            .frequency_penalty = seed % 5 ? 0 : 0.7f,
                                            .seed = seed},
                               .ignore_eos = true,
                               .want_logprobs = true,
                               .top_logprobs = KIT_TOP,
                               .request = seed + 1,
                               .progress = kit_progress,
                               .done = kit_done,
                               .ctx = t,
                               .ids = t->ids,
                               .logprobs = t->logprobs,
                               .top = t->top};
    struct errmsg msg = {0};
    if (grammar) {
        CHECK_OK(grammar_state_new(grammar, vocab, &t->g.grammar, &msg), msg);
        t->g.grammar_of = "'grammar'";
    }
    return t;
}

static inline void kit_release(void *ctx, size_t tokens) {
    (void)ctx;
    (void)tokens;
}

static inline struct generator *kit_generator(struct inline_replica *replica, struct masks *masks,
                                              bool speculate, size_t ahead) {
    struct generator_options o = {.model = &kit_model,
                                  .replica = &replica->head,
                                  .kv_bytes = 1 << 20,
                                  .kv_dtype = DTYPE_F32,
                                  .max_sequences = 8,
                                  .speculate = speculate,
                                  .ahead = ahead,
                                  .masks = masks,
                                  .release = kit_release};
    struct generator *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(generator_new(&o, &g, &msg), msg);
    return g;
}

static inline bool kit_same(const struct kit_gen *a, const struct kit_gen *b) {
    size_t n = a->g.produced;
    return n == b->g.produced && a->g.err == b->g.err && a->g.end == b->g.end &&
           memcmp(a->ids, b->ids, n * sizeof *a->ids) == 0 &&
           memcmp(a->logprobs, b->logprobs, n * sizeof *a->logprobs) == 0 &&
           memcmp(a->top, b->top, n * KIT_TOP * sizeof *a->top) == 0;
}

#endif
