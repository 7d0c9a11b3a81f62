// What tests of steps and generators share: a tiny model on a device, a vocabulary of letters and
// generations with their memory.
#ifndef TRINE_TESTS_UNIT_GENERATOR_KIT_H
#define TRINE_TESTS_UNIT_GENERATOR_KIT_H

#include "engine/generator.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/inline_replica.h"
#include "tests/kit/test_device.h"
#include "tests/precisions.h"

#include <stdlib.h>
#include <string.h>

#define KIT_MODEL "tests/golden/data/decoders/qwen2-tied"

enum { KIT_OUTPUT = 40, KIT_TOP = 2, KIT_PROMPT = 64 };

static struct model kit_model;

// A model's weights on a device; kit_model is that model from now on.
static inline struct replica_model kit_load_path(struct device *d, const char *path) {
    struct errmsg msg = {0};
    struct replica_model loaded = {.device = d};
    kit_model = (struct model){.name = "tiny", .task = TASK_GENERATE};
    struct decoder_config *config = &kit_model.decoder_config;
    CHECK_OK(decoder_config_load(path, config, &msg), msg);
    struct weights *w = NULL;
    CHECK_OK(weights_open(path, &w, &msg), msg);
    CHECK_OK(decoder_load(w, config, PRECISION_STORED, d, &loaded.decoder, &msg), msg);
    weights_close(w);
    kit_model.max_length = config->max_positions;
    model_spec(&kit_model, &loaded.spec);
    return loaded;
}

static inline struct replica_model kit_load(struct device *d) {
    return kit_load_path(d, KIT_MODEL);
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

// Of kit_model; whatever the options lack is what most want.
static inline struct generator *kit_generator_of(struct generator_options o) {
    o.model = &kit_model;
    o.kv_dtype = DTYPE_F32;
    o.kv_bytes = o.kv_bytes ? o.kv_bytes : 1 << 20;
    o.max_sequences = o.max_sequences ? o.max_sequences : 8;
    o.release = o.release ? o.release : kit_release;
    struct generator *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(generator_new(&o, &g, &msg), msg);
    return g;
}

static inline struct generator *kit_generator(struct inline_replica *replica, struct masks *masks,
                                              bool speculate, size_t ahead) {
    return kit_generator_of((struct generator_options){
        .replica = &replica->head, .speculate = speculate, .ahead = ahead, .masks = masks});
}

static inline struct generation_stats kit_stats(struct generator *g) {
    struct generation_stats s = {0};
    generator_add_stats(g, &s);
    return s;
}

// Until all texts have ended; naps where all of them wait for masks.
static inline void kit_run(struct generator *g) {
    struct forward_hooks none = {0};
    int64_t until = clock_now_us() + AWAIT_US;
    while (generator_busy(g) && clock_now_us() < until)
        if (!inline_replica_step(g, &none))
            await_nap();
    CHECK(!generator_busy(g));
}

// How far a step gets before something happens to it.
enum kit_stage { KIT_BEGUN, KIT_COMPUTED, KIT_DRAWN, KIT_STAGES };

static inline void kit_go_until(struct generator *g, struct step *s, enum kit_stage stage) {
    struct errmsg msg = {0};
    struct step_engine *e = inline_replica_engine(g);
    if (stage == KIT_BEGUN)
        return;
    CHECK_OK(step_engine_forward(e, s, NULL, &msg), msg);
    if (stage == KIT_DRAWN && CHECK(generator_fill_masks(g, s, true)))
        CHECK_OK(step_engine_draw(e, s, &msg), msg);
}

// The rest of a step, and the next one behind it where it goes ahead.
static inline void kit_finish_step(struct generator *g, struct step *s) {
    kit_go_until(g, s, KIT_DRAWN);
    struct step *next = generator_begin_step(g);
    generator_end_step(g, s, true, ERR_OK, "");
    if (next) {
        kit_go_until(g, next, KIT_DRAWN);
        generator_end_step(g, next, true, ERR_OK, "");
    }
}

static inline bool kit_same(const struct kit_gen *a, const struct kit_gen *b) {
    size_t n = a->g.produced;
    return n == b->g.produced && a->g.err == b->g.err && a->g.end == b->g.end &&
           memcmp(a->ids, b->ids, n * sizeof *a->ids) == 0 &&
           memcmp(a->logprobs, b->logprobs, n * sizeof *a->logprobs) == 0 &&
           memcmp(a->top, b->top, n * KIT_TOP * sizeof *a->top) == 0;
}

#endif
