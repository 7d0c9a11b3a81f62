// Generating under grammars: a sequence whose mask is still being made sits steps out, the others
// go on; its text has the same bits alone and beside others, drafted and not; it may end at any
// moment.
#include "base/thread.h"
#include "tests/kit/await.h"
#include "tests/unit/costly_grammar.h"
#include "tests/unit/generator_kit.h"

#include <math.h>
#include <semaphore.h>
#include <stdlib.h>

enum { OUTPUT = 24 };

static size_t ahead; // steps that go ahead
static struct device *device;
static struct replica_model loaded;
static struct inline_replica replica;
static struct grammar_vocab *vocab;
static struct masks *masks;
static struct grammar *easy, *costly, *dead;

static struct kit_gen *gen_new(uint32_t seed, const struct grammar *grammar) {
    struct kit_gen *t = kit_gen_new(seed, grammar, vocab);
    t->g.max_tokens = OUTPUT;
    return t;
}

static struct generator *generator(size_t max_sequences, bool speculate) {
    return kit_generator_of((struct generator_options){.replica = &replica.head,
                                                       .max_sequences = max_sequences,
                                                       .speculate = speculate,
                                                       .masks = masks,
                                                       .ahead = ahead});
}

static void step(struct generator *g) {
    struct forward_hooks none = {0};
    if (!inline_replica_step(g, &none)) // all of them wait
        await_nap();
}

static struct kit_gen *alone(uint32_t seed, const struct grammar *grammar) {
    struct generator *g = generator(1, false);
    struct kit_gen *t = gen_new(seed, grammar);
    generator_submit(g, &t->g);
    kit_run(g);
    CHECK_INT(t->ended, 1);
    CHECK_INT(t->g.err, ERR_OK);
    CHECK(t->g.produced > 0);
    generator_free(g);
    return t;
}

static const struct grammar *grammar_of(uint32_t seed) {
    return seed % 5 == 0 ? costly : seed % 5 == 1 ? NULL : easy;
}

static void same_bits(void) {
    enum { MANY = 12 };
    struct kit_gen *expected[MANY], *t[MANY];
    size_t drafted = 0;
    for (uint32_t i = 0; i < MANY; i++)
        expected[i] = alone(i, grammar_of(i));
    for (size_t at_once = 3; at_once <= 16; at_once += 13) {
        struct generator *g = generator(at_once, at_once < 5);
        size_t equal = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            t[i] = gen_new(i, grammar_of(i));
            generator_submit(g, &t[i]->g);
            step(g);
        }
        kit_run(g);
        for (uint32_t i = 0; i < MANY; i++) {
            CHECK_INT(t[i]->ended, 1);
            equal += kit_same(t[i], expected[i]);
            drafted += grammar_of(i) == easy ? t[i]->g.accepted : 0;
            free(t[i]);
        }
        CHECK_INT(equal, MANY);
        CHECK_INT(kit_stats(g).kv_blocks_used, 0);
        generator_free(g);
    }
    CHECK(drafted > 0); // drafts come true under a grammar too
    for (uint32_t i = 0; i < MANY; i++)
        free(expected[i]);
}

// ---- a thread that is held

static sem_t gate;
static atomic_bool holding, is_held;

static void wake(void *ctx) {
    (void)ctx;
    if (!atomic_exchange(&holding, false))
        return;
    atomic_store(&is_held, true);
    while (sem_wait(&gate))
        ;
    atomic_store(&is_held, false);
}

// The only thread makes a first mask, and then nothing until `let_go`.
static struct kit_gen *hold(struct generator *g) {
    struct kit_gen *t = gen_new(5, costly);
    atomic_store(&holding, true);
    generator_submit(g, &t->g);
    while (!atomic_load(&is_held))
        step(g);
    return t;
}

static void let_go(void) { sem_post(&gate); }

// While nobody makes masks, the sequences that need them stand still and the others do not.
static void others_go_on(void) {
    struct kit_gen *plain = alone(1, NULL), *led = alone(2, easy), *slow = alone(10, costly);
    struct generator *g = generator(8, true);
    struct kit_gen *first = hold(g), *a = gen_new(1, NULL), *b = gen_new(2, easy),
                   *c = gen_new(10, costly);
    generator_submit(g, &a->g);
    generator_submit(g, &b->g);
    generator_submit(g, &c->g);
    for (int i = 0; i < 2000 && !(a->ended && b->ended); i++)
        step(g);
    CHECK(a->ended == 1 && kit_same(a, plain));
    CHECK(b->ended == 1 && kit_same(b, led)); // its masks come within a step's work
    CHECK_INT(c->g.produced, 0);
    CHECK(first->g.produced <= 1 && first->ended == 0);
    CHECK_INT(generator_count(g), 2);
    struct forward_hooks none = {0};
    CHECK(!inline_replica_step(g, &none)); // nothing to compute, and nothing computed twice
    let_go();
    kit_run(g);
    CHECK(c->ended == 1 && kit_same(c, slow));
    CHECK_INT(first->ended, 1);
    struct kit_gen *all[] = {plain, led, slow, first, a, b, c};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    generator_free(g);
}

// What ends while its mask waits for a thread ends at once; while one is at it, with its return.
static void ended_while_away(void) {
    struct generator *g = generator(8, true);
    struct kit_gen *first = hold(g), *t[6];
    for (uint32_t i = 0; i < 6; i++) {
        t[i] = gen_new(10 + 5 * i, costly);
        generator_submit(g, &t[i]->g);
    }
    step(g);
    atomic_store(&t[0]->g.cancelled, true);
    atomic_store(&t[1]->g.stop_wanted, true);
    step(g);
    CHECK_INT(t[0]->ended, 1);
    CHECK_INT(t[0]->g.err, ERR_CANCELLED);
    CHECK(t[1]->ended == 1 && t[1]->g.end == GENERATION_STOP && t[1]->g.produced == 0);
    let_go();
    // now the thread is at one of them, which one is chance
    for (uint32_t i = 2; i < 6; i++) {
        step(g);
        atomic_store(&t[i]->g.cancelled, true);
    }
    kit_run(g);
    for (uint32_t i = 0; i < 6; i++) {
        CHECK_INT(t[i]->ended, 1);
        free(t[i]);
    }
    CHECK_INT(first->ended, 1);
    CHECK_INT(first->g.err, ERR_OK);
    free(first);
    CHECK_INT(kit_stats(g).kv_blocks_used, 0);
    // all at once, in the middle of it
    struct kit_gen *last[4];
    for (uint32_t i = 0; i < 4; i++) {
        last[i] = gen_new(5 * i, costly);
        generator_submit(g, &last[i]->g);
        step(g);
    }
    generator_end_all(g, ERR_UNAVAILABLE, "stopping");
    CHECK(!generator_busy(g));
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_INT(last[i]->ended, 1);
        CHECK_INT(last[i]->g.err, ERR_UNAVAILABLE);
        free(last[i]);
    }
    generator_free(g);
}

// The thread comes into the middle of the mask that waits: it makes a small one in between that
// seems to have had more, and stands there.
static bool into_the_middle(void *ctx) {
    struct mask_job *small = ctx;
    small->spent = 2 * MASKS_WORK_MOST;
    masks_submit(masks, small);
    atomic_store(&holding, true);
    let_go();
    while (atomic_load(&holding))
        await_nap();
    CHECK(mask_job_ready(small));
    device_fail(device, ERR_INTERNAL, "a device that broke");
    return false;
}

// A step fails that computes the prompt of a sequence whose mask is being made: what is said of it
// when the mask is back is what would have been said at once.
static void failed_while_away(void) {
    struct errmsg msg = {0};
    masks_free(masks); // with it a wake of the test before that may be under way
    CHECK_OK(masks_new(1, wake, NULL, &masks, &msg), msg);
    struct generator *g = generator(8, false);
    struct grammar_state *state = NULL;
    struct mask_job *small = NULL;
    CHECK_OK(grammar_state_new(easy, vocab, &state, &msg), msg);
    CHECK_INT(mask_job_new(state, kit_model.decoder_config.vocab, NULL, &small), ERR_OK);
    struct kit_gen *first = hold(g), *t = gen_new(10, costly), *after = gen_new(1, NULL);
    struct forward_hooks none = {0};
    while (inline_replica_step(g, &none)) // until it waits for its mask
        ;
    generator_submit(g, &t->g);
    struct forward_hooks breaks = {.pause = into_the_middle, .ctx = small};
    CHECK(inline_replica_step(g, &breaks));
    CHECK_INT(t->ended, 0); // its mask is away
    generator_submit(g, &after->g);
    while (!after->ended)
        step(g);
    CHECK_INT(t->ended, 0);
    let_go();
    kit_run(g);
    CHECK_INT(first->ended, 1);
    CHECK_INT(t->ended, 1);
    CHECK_INT(t->g.err, ERR_INTERNAL);
    CHECK_STR(t->g.msg.text, "a device that broke");
    mask_job_free(small);
    grammar_state_free(state);
    free(first);
    free(t);
    free(after);
    generator_free(g);
}

// What went wrong is said as what it is.
static void words(void) {
    struct errmsg msg = {0};
    struct generator *g = generator(4, false);
    struct kit_gen *t = gen_new(3, dead), *bias = gen_new(4, NULL);
    struct logit_bias infinite = {.id = 3, .bias = INFINITY};
    bias->g.sampling.bias = &infinite;
    bias->g.sampling.bias_count = 1;
    generator_submit(g, &t->g);
    generator_submit(g, &bias->g);
    kit_run(g);
    CHECK_INT(t->ended, 1);
    CHECK_INT(t->g.err, ERR_UNSUPPORTED);
    CHECK_STR(t->g.msg.text, "'grammar' cannot go on: its rule \"tail\" asks for the byte '0', and "
                             "this model has no token for that");
    CHECK_INT(bias->g.err, ERR_INVALID);
    CHECK_STR(bias->g.msg.text, "'logit_bias' and penalties leave no logit that is finite");
    free(t);
    free(bias);
    // all that the grammar allows is biased away
    struct kit_gen *none = gen_new(2, NULL);
    struct logit_bias never = {.id = 0, .bias = -INFINITY};
    struct grammar *a = kit_gbnf("root ::= \"a\"");
    CHECK_OK(grammar_state_new(a, vocab, &none->g.grammar, &msg), msg);
    none->g.sampling.bias = &never;
    none->g.sampling.bias_count = 1;
    generator_submit(g, &none->g);
    kit_run(g);
    CHECK_INT(none->g.err, ERR_INVALID);
    CHECK_STR(none->g.msg.text, "'logit_bias' forbids every token that the grammar allows");
    free(none);
    grammar_free(a);
    // its end is a token like any other to the generator: nothing can follow it
    struct kit_gen *over = gen_new(2, easy);
    grammar_state_free(over->g.grammar);
    struct grammar *one = kit_gbnf("root ::= \"a\"");
    CHECK_OK(grammar_state_new(one, vocab, &over->g.grammar, &msg), msg);
    generator_submit(g, &over->g);
    kit_run(g);
    CHECK_INT(over->g.err, ERR_INTERNAL);
    CHECK_STR(over->g.msg.text, "the text has ended where another token was to come");
    free(over);
    grammar_free(one);
    generator_free(g);
}

int main(void) {
    struct errmsg msg = {0};
    struct cpu_options cpu = {.threads = 2};
    CHECK_OK(test_device_new(&cpu, &device, &msg), msg);
    sem_init(&gate, 0, 0);
    loaded = kit_load(device);
    inline_replica_init(&replica, &loaded);
    vocab = kit_vocab();
    CHECK_OK(masks_new(1, wake, NULL, &masks, &msg), msg);
    easy = kit_gbnf("root ::= ([a-p]+ | [d-z]+)+ \"0\"");
    dead = kit_gbnf("root ::= [a-z] [a-z] tail\ntail ::= \"0\"");
    costly = costly_grammar(300);
    for (ahead = 0; ahead <= GENERATOR_AHEAD_MOST && !check_failed; ahead++) {
        same_bits();
        others_go_on();
        ended_while_away();
        failed_while_away();
        words();
    }
    grammar_free(easy);
    grammar_free(costly);
    grammar_free(dead);
    masks_free(masks);
    grammar_vocab_free(vocab);
    decoder_free(loaded.decoder);
    test_device_free(device);
    return check_done();
}
