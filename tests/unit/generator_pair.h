// What tests of generators that lose or leave their device share: the tiny model on two devices, of
// one thread and of two, and grammars, one of which is costly. Thread rule: main thread only.
#ifndef TRINE_TESTS_UNIT_GENERATOR_PAIR_H
#define TRINE_TESTS_UNIT_GENERATOR_PAIR_H

#include "tests/unit/costly_grammar.h"
#include "tests/unit/generator_kit.h"

struct generator_pair {
    struct device *devices[2];
    struct replica_model loaded[2];
    struct inline_replica replicas[2];
    struct grammar_vocab *vocab;
    struct grammar *easy, *costly;
    struct masks *masks;
};

static inline void generator_pair_wake(void *ctx) { (void)ctx; }

static inline void generator_pair_open(struct generator_pair *p, int costly_words) {
    struct errmsg msg = {0};
    for (int i = 0; i < 2; i++) {
        struct cpu_options cpu = {.threads = 1 + i};
        CHECK_OK(test_device_new(&cpu, &p->devices[i], &msg), msg);
        p->loaded[i] = kit_load(p->devices[i]);
        inline_replica_init(&p->replicas[i], &p->loaded[i]);
    }
    CHECK_OK(masks_new(1, generator_pair_wake, NULL, &p->masks, &msg), msg);
    p->vocab = kit_vocab();
    p->easy = kit_gbnf("root ::= ([a-p]+ | [d-z]+)+ \"0\"");
    p->costly = costly_grammar(costly_words);
}

static inline void generator_pair_close(struct generator_pair *p) {
    grammar_free(p->easy);
    grammar_free(p->costly);
    masks_free(p->masks);
    grammar_vocab_free(p->vocab);
    for (int i = 0; i < 2; i++) {
        decoder_free(p->loaded[i].decoder);
        test_device_free(p->devices[i]);
    }
}

#endif
