// A generator whose device is lost, hundreds of times at random: what was in flight at every stage,
// what the cache held and the prefixes in it are gone. Texts go on in the same generator, in
// another life of its device, or go over to another generator of another size; every one of them
// has the tokens, the logprobs and the prompt's scores of an uninterrupted run, bit for bit, and is
// told once. Greedy and drawn ones, with penalties, drafts, grammars and scored prompts, choices
// that share their prompt, in caches that are too small for all of them.
#include "base/clock.h"
#include "tests/kit/await.h"
#include "tests/unit/generator_pair.h"

enum { TEXTS = 24, BLOCK = 32, SMALL = 8, ROUNDS = 6 };

// A text of the tests: a generation, with its prompt's scores where it wants them.
struct told {
    struct kit_gen *t;
    float scores[KIT_PROMPT];
    struct token_logprob top[KIT_PROMPT * KIT_TOP];
};

static struct generator_pair pair;
static struct told expected[TEXTS];
static uint32_t dice;

// How long any of it may take: masks are built by another thread, slowly on a busy machine.
static const int64_t limit_us = 300000000;

static uint32_t roll(uint32_t n) {
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % n;
}

// Of three kinds: of their own (with a grammar or without), choices of one long prompt, and scored
// prompts.
static void text_new(struct told *x, uint32_t seed) {
    const struct grammar *grammar = seed % 4 == 1 ? pair.easy : seed % 8 == 2 ? pair.costly : NULL;
    *x = (struct told){.t = kit_gen_new(seed, grammar, pair.vocab)};
    struct generation *g = &x->t->g;
    if (seed % 3 == 0) {
        for (size_t i = 0; i < KIT_PROMPT - 4; i++)
            x->t->prompt[i] = (int32_t)(3 + (i * 7 + i / 5) % 60);
        g->prompt_len = KIT_PROMPT - 4;
        g->request = 1;
    } else if (seed % 5 == 4) {
        g->prompt_logprobs = true;
        g->prompt_scores = x->scores;
        g->prompt_top = x->top;
    }
}

static bool same(const struct told *a, const struct told *b) {
    return kit_same(a->t, b->t) && memcmp(a->scores, b->scores, sizeof a->scores) == 0 &&
           memcmp(a->top, b->top, sizeof a->top) == 0;
}

static struct generator *generator(size_t device, size_t blocks, size_t seqs, bool speculate,
                                   size_t ahead, unsigned deaths_most) {
    return kit_generator_of((struct generator_options){
        .replica = &pair.replicas[device].head,
        .kv_bytes = blocks * step_engine_block_bytes(&pair.loaded[device], BLOCK, DTYPE_F32),
        .max_sequences = seqs,
        .speculate = speculate,
        .ahead = ahead,
        .masks = pair.masks,
        .deaths_most = deaths_most});
}

// Another life's cache: nothing in it is what it was.
static void spoil(struct generator *g, size_t blocks) {
    struct step_limits limits = {.block_tokens = BLOCK,
                                 .max_tokens = BLOCK,
                                 .max_seqs = 1,
                                 .max_logits = 1,
                                 .max_context = BLOCK};
    struct step *s = NULL;
    struct errmsg msg = {0};
    int32_t ids[BLOCK];
    CHECK_INT(step_new(&limits, &s), ERR_OK);
    for (int32_t block = 0; block < (int32_t)blocks; block++) {
        for (size_t i = 0; i < BLOCK; i++)
            ids[i] = (int32_t)roll(60);
        struct step_part part = {
            .ids = ids, .count = BLOCK, .blocks = &block, .block_count = 1, .wanted = 0};
        step_clear(s);
        CHECK(step_add(s, &part) != NULL);
        CHECK_OK(step_engine_forward(inline_replica_engine(g), s, NULL, &msg), msg);
    }
    step_free(s);
}

// One step of g, with the next one behind it where it goes ahead; true: there was one.
static bool one_step(struct generator *g) {
    struct step *s = generator_begin_step(g);
    if (!s)
        return false;
    kit_finish_step(g, s);
    return true;
}

struct course {
    size_t losses, exposures, ahead; // `ahead`: with a second step in flight
    bool over;                       // at this sorting some go over
};

static enum generator_fate decide(void *ctx, const struct generation *n, size_t known,
                                  struct errmsg *why) {
    const struct course *tale = ctx;
    (void)why;
    CHECK_INT(known, n->prompt_len + n->produced);
    return n->deaths >= 2 || (tale->over && roll(3) == 0) ? GENERATION_GOES_OVER : GENERATION_STAYS;
}

// A step begun and not ended, then the end of the device.
static void lose(struct generator *g, size_t blocks, struct course *tale) {
    bool exposed[2] = {roll(3) == 0, false};
    struct step *s = generator_begin_step(g), *next = NULL;
    if (s) {
        enum kit_stage stage = (enum kit_stage)roll(KIT_STAGES);
        kit_go_until(g, s, stage);
        if (stage == KIT_DRAWN)
            next = generator_begin_step(g);
        exposed[1] = next && roll(2);
        tale->ahead += next != NULL;
    }
    tale->losses++;
    tale->exposures += exposed[0] || exposed[1];
    generator_lose(g, exposed);
    CHECK(generator_is_lost(g));
    CHECK(generator_begin_step(g) == NULL);
    CHECK_INT(generator_ready(g), 0);
    spoil(g, blocks);
}

// Nothing is held, nothing is with it any more; returns its figures.
static struct generation_stats close(struct generator *g) {
    struct generation_stats s = {0};
    generator_add_stats(g, &s);
    CHECK_INT(generator_count(g), 0);
    CHECK_INT(s.kv_blocks_used, 0);
    CHECK_INT(s.running + s.waiting, 0);
    generator_free(g);
    return s;
}

// One round: `main` is lost over and over; the spare has other room and no losses.
static void round_of(uint32_t seed, size_t ahead, bool speculate, size_t blocks,
                     size_t spare_seqs) {
    struct generator *g = generator(0, blocks, 6, speculate, ahead, 2);
    struct generator *spare = generator(1, 2 * SMALL, spare_seqs, speculate, 0, 0);
    struct told all[TEXTS];
    struct course tale = {0};
    uint64_t life = 1;
    uint32_t n = 0;
    dice = seed;
    int64_t end = clock_now_us() + limit_us;
    while ((n < TEXTS || generator_busy(g) || generator_busy(spare)) && clock_now_us() < end) {
        while (n < TEXTS && generator_count(g) + generator_count(spare) < 5 + (seed & 3)) {
            text_new(&all[n], n);
            generator_submit(g, &all[n++].t->g);
        }
        bool lost = generator_is_lost(g);
        if (!lost && roll(6) == 0) {
            lose(g, blocks, &tale);
        } else if (lost && roll(3) == 0) {
            generator_resume(g, ++life);
            CHECK_INT(generator_life(g), life);
        }
        tale.over = roll(8) == 0;
        generator_sort_out(g, spare, decide, &tale);
        generator_tend(g);
        if (!one_step(g) && !one_step(spare))
            await_nap();
    }
    size_t equal = 0, once = 0, struck = 0;
    for (uint32_t i = 0; i < n; i++) {
        equal += same(&all[i], &expected[i]);
        once += all[i].t->ended == 1 && !all[i].t->shrank && all[i].t->told == all[i].t->g.produced;
        struck += all[i].t->g.deaths;
        free(all[i].t);
    }
    CHECK_INT(n, TEXTS);
    CHECK_INT(equal, TEXTS);
    CHECK_INT(once, TEXTS);
    CHECK(tale.losses >= 10 && tale.exposures > 0 && struck > 0);
    CHECK(ahead == 0 || tale.ahead > 0);
    struct generation_stats a = close(g), b = close(spare);
    CHECK(a.interrupted > 0 && a.replayed_tokens > 0 && b.handed_over > 0);
    CHECK_INT(a.done + b.done, TEXTS);
}

// ---- single stories

static size_t tell_all(struct generator *g) {
    size_t steps = 0;
    int64_t end = clock_now_us() + limit_us;
    while (generator_busy(g) && clock_now_us() < end)
        if (one_step(g))
            steps++;
        else
            await_nap();
    return steps;
}

// A generation in two steps in flight has one death of the loss, one in none has none.
static void deaths(void) {
    struct generator *g = generator(0, SMALL, 4, false, 1, 0);
    struct told a, b;
    const bool both[2] = {true, true}, second[2] = {false, true};
    text_new(&a, 3);
    text_new(&b, 7);
    generator_submit(g, &a.t->g);
    CHECK(one_step(g));
    struct step *s = generator_begin_step(g), *next;
    CHECK(s != NULL);
    kit_go_until(g, s, KIT_DRAWN);
    CHECK((next = generator_begin_step(g)) != NULL);
    generator_submit(g, &b.t->g);
    generator_lose(g, both);
    CHECK_INT(a.t->g.deaths, 1);
    CHECK_INT(b.t->g.deaths, 0);
    generator_resume(g, 2);
    CHECK((s = generator_begin_step(g)) != NULL);
    CHECK_INT(s->seqs, 2);
    generator_lose(g, second); // there is no second one
    generator_resume(g, 3);
    CHECK((s = generator_begin_step(g)) != NULL);
    generator_lose(g, NULL);
    generator_resume(g, 4);
    CHECK_INT(a.t->g.deaths + b.t->g.deaths, 1);
    CHECK_INT(a.t->g.preemptions + b.t->g.preemptions, 0);
    (void)tell_all(g);
    CHECK(same(&a, &expected[3]) && same(&b, &expected[7]));
    free(a.t);
    free(b.t);
    struct generation_stats stats = close(g);
    CHECK_INT(stats.interrupted, 1 + 2 + 2);
}

// Choices of one prompt compute it once after a loss as well.
static void shared_again(void) {
    struct generator *g = generator(0, 4 * SMALL, 8, false, 0, 0);
    struct told all[4];
    for (uint32_t i = 0; i < 4; i++) {
        text_new(&all[i], 3 * i);
        generator_submit(g, &all[i].t->g);
    }
    for (int i = 0; i < 8; i++)
        CHECK(one_step(g));
    spoil(g, 1); // blocks beyond the first one are the device's own to keep
    generator_lose(g, NULL);
    spoil(g, 4 * SMALL);
    generator_resume(g, 2);
    (void)tell_all(g);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(same(&all[i], &expected[3 * i]));
        free(all[i].t);
    }
    (void)close(g);
}

static enum generator_fate end_struck(void *ctx, const struct generation *n, size_t known,
                                      struct errmsg *why) {
    (void)ctx;
    (void)known;
    if (n->deaths < 1)
        return GENERATION_STAYS;
    err_set(why, ERR_INTERNAL, "the device ended with this request in it");
    return GENERATION_ENDS;
}

static enum generator_fate over(void *ctx, const struct generation *n, size_t known,
                                struct errmsg *why) {
    (void)ctx;
    (void)n;
    (void)known;
    (void)why;
    return GENERATION_GOES_OVER;
}

// What is over ends while nothing runs: cancelled, late, stopped. One is ended by its fate, and no
// other with it, though a thread has its mask.
static void ends_meanwhile(void) {
    struct generator *g = generator(0, SMALL, 6, false, 0, 0);
    struct told x[6];
    const bool first[1] = {true};
    const uint32_t seeds[6] = {2, 3, 5, 7, 10, 11}; // 2 and 10 have the costly grammar
    for (int i = 0; i < 6; i++)
        text_new(&x[i], seeds[i]);
    for (int i = 0; i < 2; i++)
        generator_submit(g, &x[i].t->g);
    while (x[1].t->g.produced < 3)
        if (!one_step(g))
            await_nap();
    while (!generator_begin_step(g))
        await_nap();
    generator_lose(g, first); // x[1], and perhaps x[0]
    CHECK_INT(x[1].t->g.deaths, 1);
    int64_t now = clock_now_us();
    x[3].t->g.deadline_us = now - 1;
    x[2].t->g.deadline_us = now + 3600 * INT64_C(1000000);
    for (int i = 2; i < 6; i++)
        generator_submit(g, &x[i].t->g);
    atomic_store(&x[5].t->g.cancelled, true);
    generator_tend(g);
    CHECK(x[3].t->ended == 1 && x[3].t->g.err == ERR_DEADLINE && x[3].t->g.produced == 0);
    CHECK(x[5].t->ended == 1 && x[5].t->g.err == ERR_CANCELLED);
    bool struck = x[0].t->g.deaths > 0;
    generator_sort_out(g, NULL, end_struck, NULL);
    int64_t end = clock_now_us() + limit_us;
    while (generator_count(g) > (struck ? 2U : 3U) && clock_now_us() < end) {
        generator_tend(g); // a mask comes back
        await_nap();
    }
    CHECK(x[1].t->ended == 1 && x[1].t->g.err == ERR_INTERNAL && x[1].t->g.produced >= 3);
    CHECK_INT(x[0].t->ended, struck);
    generator_resume(g, 2);
    (void)tell_all(g);
    CHECK(struck || same(&x[0], &expected[2]));
    CHECK(same(&x[2], &expected[5]) && same(&x[4], &expected[10]));
    for (int i = 0; i < 6; i++)
        free(x[i].t);
    (void)close(g);
}

// One whose mask a thread has goes over with it, and is ended over there while the thread has it.
static void masks_go_over(void) {
    struct generator *g = generator(0, SMALL, 4, false, 0, 0);
    struct generator *spare = generator(1, SMALL, 1, false, 0, 0);
    struct told a, b;
    text_new(&a, 2);
    text_new(&b, 10);
    generator_submit(g, &a.t->g);
    generator_submit(g, &b.t->g);
    CHECK(one_step(g)); // both masks are asked for
    generator_lose(g, NULL);
    generator_sort_out(g, spare, over, NULL);
    CHECK_INT(generator_count(g), 0);
    CHECK_INT(generator_count(spare), 2);
    atomic_store(&b.t->g.cancelled, true);
    (void)tell_all(spare);
    CHECK(same(&a, &expected[2]));
    CHECK(b.t->ended == 1 && b.t->g.err == ERR_CANCELLED);
    free(a.t);
    free(b.t);
    (void)close(g);
    (void)close(spare);
}

// One with too many deaths waits, and nobody behind it waits for that.
static void barred(void) {
    struct generator *g = generator(0, SMALL, 4, false, 0, 1);
    struct generator *spare = generator(1, SMALL, 1, false, 0, 0);
    struct told a, b;
    const bool exposed[1] = {true};
    text_new(&a, 3);
    text_new(&b, 7);
    generator_submit(g, &a.t->g);
    CHECK(generator_begin_step(g) != NULL);
    generator_lose(g, exposed);
    generator_resume(g, 2);
    generator_submit(g, &b.t->g);
    for (int i = 0; i < 20000 && !b.t->ended; i++)
        (void)one_step(g);
    CHECK(same(&b, &expected[7]));
    CHECK(!one_step(g));
    CHECK(a.t->ended == 0 && a.t->g.produced == 0);
    CHECK(generator_has_room(spare, &a.t->g, generator_context(g)));
    generator_sort_out(g, spare, over, NULL);
    (void)tell_all(spare);
    CHECK(same(&a, &expected[3]));
    free(a.t);
    free(b.t);
    (void)close(g);
    (void)close(spare);
}

// A cache in which it would end earlier is no place for it.
static void room(void) {
    struct generator *g = generator(0, SMALL, 1, false, 0, 0);
    struct generator *spare = generator(1, 3, 1, false, 0, 0); // 96 tokens
    struct generation fits = {.prompt_len = 56, .max_tokens = 40},
                      not = {.prompt_len = 57, .max_tokens = 40},
                      cut = {.prompt_len = 100, .max_tokens = 100};
    CHECK(generator_has_room(spare, &fits, generator_context(g)));
    CHECK(!generator_has_room(spare, &not, generator_context(g)));
    CHECK(!generator_has_room(spare, &cut, generator_context(g)));
    CHECK(generator_has_room(spare, &cut, 96)); // where it comes from it ends there as well
    (void)close(g);
    (void)close(spare);
}

int main(void) {
    generator_pair_open(&pair, COSTLY_FOR_AS_LONG(60));
    pair.devices[1]->kv_block_tokens = BLOCK / 2; // a table of more blocks for the same text
    for (uint32_t i = 0; i < TEXTS && !check_failed; i++) { // alone, with all the room there is
        struct generator *g = generator(0, SMALL, 1, false, 0, 0);
        text_new(&expected[i], i);
        generator_submit(g, &expected[i].t->g);
        (void)tell_all(g);
        CHECK(expected[i].t->ended == 1 && expected[i].t->g.produced == KIT_OUTPUT);
        generator_free(g);
    }
    for (uint32_t i = 0; i < ROUNDS && !check_failed; i++)
        round_of(i * 77 + 5, i % 2, i % 4 > 1, i % 3 ? SMALL : 4, i % 3 == 2 ? 3 : 1);
    if (!check_failed) {
        deaths();
        shared_again();
        ends_meanwhile();
        masks_go_over();
        barred();
        room();
    }
    for (uint32_t i = 0; i < TEXTS; i++)
        free(expected[i].t);
    generator_pair_close(&pair);
    return check_done();
}
