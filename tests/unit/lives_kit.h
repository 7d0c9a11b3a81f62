// What tests of generations that outlive replicas share: a model, replicas that lose lives, a
// scheduler in front of them, and texts of every kind with what each is to be.
#ifndef TRINE_TESTS_UNIT_LIVES_KIT_H
#define TRINE_TESTS_UNIT_LIVES_KIT_H

#include "base/clock.h"
#include "base/json.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"
#include "engine/scheduler.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/lossy_replica.h"
#include "tests/kit/replica_kit.h"
#include "tests/unit/costly_grammar.h"

#include <stdlib.h>
#include <string.h>

#define LIVES_MODEL "tests/golden/data/tiny_chat"

enum { LIVES_KINDS = 30, LIVES_PROMPT = 120, LIVES_OUTPUT = 60, LIVES_TOP = 2 };

static struct device *lives_devices[2];
static struct replica *lives_locals[2];
static struct model *lives_model;
static struct grammar *lives_easy, *lives_costly;

// A text with its memory and an account of what was told of it.
struct lives_text {
    struct generation g;
    int32_t prompt[LIVES_PROMPT], ids[LIVES_OUTPUT];
    float logprobs[LIVES_OUTPUT], scores[LIVES_PROMPT];
    struct token_logprob top[LIVES_OUTPUT * LIVES_TOP], prompt_top[LIVES_PROMPT * LIVES_TOP];
    atomic_int ends;
    atomic_size_t told;
    atomic_bool shrank;
};

static inline void lives_progress(struct generation *g) {
    struct lives_text *t = g->ctx;
    size_t told = atomic_load_explicit(&g->produced, memory_order_acquire);
    if (told <= atomic_load(&t->told))
        atomic_store(&t->shrank, true);
    atomic_store(&t->told, told);
}

static inline void lives_done(struct generation *g) {
    grammar_state_free(g->grammar);
    g->grammar = NULL;
    atomic_fetch_add(&((struct lives_text *)g->ctx)->ends, 1);
}

// Of each kind another: greedy and drawn, with and without penalties, under a grammar, with a
// scored prompt, with a prompt that repeats itself (drafts), and choices of one long prompt.
static inline struct lives_text *lives_text_new(uint32_t kind) {
    struct lives_text *t = calloc(1, sizeof *t);
    size_t vocab = model_vocab(lives_model), len = 1 + kind * 13 % 70;
    uint32_t x = kind * 2654435761u + 17;
    for (size_t i = 0; i < LIVES_PROMPT; i++) {
        x = x * 1664525u + 1013904223u;
        t->prompt[i] = (int32_t)(kind % 5 == 2 ? 40 + i % 6 : 20 + (x >> 12) % (vocab - 40));
        if (kind % 3 == 0) // of one prompt
            t->prompt[i] = (int32_t)(30 + (i * 7 + i / 9) % 200);
    }
    t->g = (struct generation){.model = lives_model,
                               .prompt = t->prompt,
                               .prompt_len = kind % 3 ? len : 100,
                               .max_tokens = kind % 7 == 6 ? 10 : LIVES_OUTPUT,
                               .sampling = {.temperature = kind % 2 ? 0.9f : 0,
                                            .top_p = 0.95f,
                                            .repetition_penalty = kind % 4 ? 1 : 1.2f,
                                            .frequency_penalty = kind % 5 ? 0 : 0.7f,
                                            .seed = kind},
                               .ignore_eos = true,
                               .want_logprobs = true,
                               .top_logprobs = LIVES_TOP,
                               .owner = kind % 2,
                               .request = kind % 3 ? kind + 1 : 1,
                               .progress = lives_progress,
                               .done = lives_done,
                               .ctx = t,
                               .ids = t->ids,
                               .logprobs = t->logprobs,
                               .top = t->top};
    if (kind % 5 == 4) {
        t->g.prompt_logprobs = true;
        t->g.prompt_scores = t->scores;
        t->g.prompt_top = t->prompt_top;
    }
    const struct grammar *grammar = kind % 5 == 1   ? lives_easy
                                    : kind % 5 == 3 ? lives_costly
                                                    : NULL;
    const struct grammar_vocab *words = NULL;
    struct errmsg msg = {0};
    if (grammar) {
        CHECK_OK(model_grammar_vocab(lives_model, &words, &msg), msg);
        CHECK_OK(grammar_state_new(grammar, words, &t->g.grammar, &msg), msg);
        t->g.grammar_of = "'grammar'";
        t->g.ignore_eos = false; // the grammar's end is the text's
    }
    return t;
}

static inline void lives_wait(struct lives_text *t) {
    WAIT_UNTIL(atomic_load(&t->ends) != 0);
    CHECK_INT(atomic_load(&t->ends), 1);
}

// As far as it came it is what it was to be, told once.
static inline bool lives_begins_as(const struct lives_text *t, const struct lives_text *whole) {
    size_t n = t->g.produced;
    return n <= whole->g.produced && memcmp(t->ids, whole->ids, n * sizeof *t->ids) == 0 &&
           memcmp(t->logprobs, whole->logprobs, n * sizeof *t->logprobs) == 0 &&
           memcmp(t->top, whole->top, n * LIVES_TOP * sizeof *t->top) == 0 &&
           (n == 0 || (memcmp(t->scores, whole->scores, sizeof t->scores) == 0 &&
                       memcmp(t->prompt_top, whole->prompt_top, sizeof t->prompt_top) == 0)) &&
           !atomic_load(&t->shrank) && atomic_load(&t->told) == n;
}

static inline bool lives_same(const struct lives_text *t, const struct lives_text *whole) {
    return t->g.produced == whole->g.produced && t->g.err == whole->g.err &&
           t->g.end == whole->g.end && lives_begins_as(t, whole);
}

struct lives_setup {
    enum scheduler_spare kind;
    size_t steps_ahead, kv_bytes, max_sequences;
    int per_thousand;
    int64_t down_most_us;
    uint64_t seed;
    int32_t poison;
    bool speculate, warm;
    bool chance_at_start; // lives end by chance from the first step on
    // Made.
    struct replica *main, *spare; // spare: lossy, of a quarantine; else a local one
    struct scheduler *s;
};

static inline struct replica *lives_replica(const struct lives_setup *p, size_t device,
                                            bool quarantine) {
    struct lossy_options o = {.inner = lives_locals[device],
                              .seed = p->seed + device,
                              .down_most_us = p->down_most_us,
                              .steps_ahead = p->steps_ahead,
                              .quarantine = quarantine,
                              .poison = p->poison};
    struct replica *r = NULL;
    struct errmsg msg = {0};
    CHECK_OK(lossy_replica_new(&o, &r, &msg), msg);
    return r;
}

static inline enum err lives_try_start(struct lives_setup *p, struct errmsg *msg) {
    p->main = lives_replica(p, 0, false);
    if (p->chance_at_start)
        lossy_set_chance(p->main, p->per_thousand);
    p->spare = p->kind == SPARE_CPU          ? lives_locals[1]
               : p->kind == SPARE_QUARANTINE ? lives_replica(p, 1, true)
                                             : NULL;
    struct scheduler_options o = {.replica = p->main,
                                  .spare = p->spare,
                                  .spare_kind = p->kind,
                                  .warm_spare = p->warm,
                                  .models = &lives_model,
                                  .model_count = 1,
                                  .kv_cache_bytes = p->kv_bytes ? p->kv_bytes : (size_t)4 << 20,
                                  .max_sequences = p->max_sequences ? p->max_sequences : 6,
                                  .no_speculation = !p->speculate};
    enum err e = scheduler_start(&o, &p->s, msg);
    return e ? e : scheduler_wait_ready(p->s, msg);
}

static inline void lives_start(struct lives_setup *p) {
    struct errmsg msg = {0};
    CHECK_OK(lives_try_start(p, &msg), msg);
    lossy_set_chance(p->main, p->per_thousand);
}

// With the account of blocks; returns the figures.
static inline struct scheduler_stats lives_stop(struct lives_setup *p) {
    struct scheduler_stats stats = scheduler_read_stats(p->s);
    CHECK_INT(stats.generation.kv_blocks_used, 0);
    CHECK_INT(stats.generation.running + stats.generation.waiting, 0);
    CHECK_INT(stats.queued_tokens, 0);
    scheduler_stop(p->s, 1000000);
    replica_free(p->main);
    if (p->kind == SPARE_QUARANTINE)
        replica_free(p->spare);
    return stats;
}

static inline void lives_generate(struct lives_setup *p, struct lives_text *t) {
    scheduler_generate(p->s, &t->g);
}

static inline struct grammar *lives_gbnf(const char *text) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_from_gbnf(text, strlen(text), &g, &msg), msg);
    return g;
}

static struct lives_text *lives_expected[LIVES_KINDS];

// Models, devices, and what every kind of text is where nothing is lost.
static inline void lives_begin(void) {
    struct errmsg msg = {0};
    json_init();
    CHECK_OK(kit_model_load(LIVES_MODEL, &lives_model, &msg), msg);
    for (int d = 0; d < 2; d++) {
        struct cpu_options options = {.threads = 1};
        CHECK_OK(cpu_device_new(&options, &lives_devices[d], &msg), msg);
        CHECK_OK(replica_local_new(lives_devices[d], &lives_locals[d], &msg), msg);
    }
    CHECK_OK(kit_replica_load(lives_locals[0], lives_model, &msg), msg);
    lives_easy = lives_gbnf("root ::= ([a-p ]+ | [d-z]+)+ \"0\"");
    lives_costly = costly_grammar(COSTLY_FOR_AS_LONG(40));
    struct lives_setup quiet = {.max_sequences = 1};
    lives_start(&quiet);
    for (uint32_t i = 0; i < LIVES_KINDS && !check_failed; i++) {
        lives_expected[i] = lives_text_new(i);
        lives_generate(&quiet, lives_expected[i]);
        lives_wait(lives_expected[i]);
        CHECK_OK(lives_expected[i]->g.err, lives_expected[i]->g.msg);
        CHECK(lives_expected[i]->g.produced > 0);
    }
    (void)lives_stop(&quiet);
}

static inline void lives_end(void) {
    for (int i = 0; i < LIVES_KINDS; i++)
        free(lives_expected[i]);
    grammar_free(lives_easy);
    grammar_free(lives_costly);
    for (int d = 0; d < 2; d++) {
        replica_free(lives_locals[d]);
        cpu_device_free(lives_devices[d]);
    }
    model_release(lives_model);
}

#endif
