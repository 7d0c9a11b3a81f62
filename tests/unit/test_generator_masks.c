// Generating under grammars: a sequence whose mask is still being made sits steps out, the others
// go on; its text has the same bits alone and beside others, drafted and not; it may end at any
// moment.
#include "base/mem.h"
#include "base/thread.h"
#include "engine/generator.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/inline_replica.h"
#include "tests/kit/test_device.h"
#include "tests/precisions.h"

#include <math.h>
#include <semaphore.h>
#include <stdlib.h>

#define MODEL "tests/golden/data/decoders/qwen2-tied"

enum { OUTPUT = 24, TOP = 2 };

static size_t ahead; // steps that go ahead
static struct device *device;
static struct model model;
static struct replica_model loaded;
static struct inline_replica replica;
static struct grammar_vocab *vocab;
static struct masks *masks;
static struct grammar *easy, *costly, *dead;

static void load(void) {
    struct errmsg msg = {0};
    loaded = (struct replica_model){.device = device};
    model = (struct model){.name = "tiny", .task = TASK_GENERATE};
    CHECK_OK(decoder_config_load(MODEL, &model.decoder_config, &msg), msg);
    struct weights *w = NULL;
    CHECK_OK(weights_open(MODEL, &w, &msg), msg);
    CHECK_OK(
        decoder_load(w, &model.decoder_config, PRECISION_STORED, device, &loaded.decoder, &msg),
        msg);
    weights_close(w);
    model.max_length = model.decoder_config.max_positions;
    model_spec(&model, &loaded.spec);
    inline_replica_init(&replica, &loaded);
}

// The model's ids as letters, then pairs of letters; the last one is the end.
static void make_vocab(void) {
    static char bytes[512][2];
    size_t n = model.decoder_config.vocab;
    struct grammar_token *tokens = calloc(n, sizeof *tokens);
    for (size_t i = 0; i + 1 < n; i++) {
        bytes[i][0] = (char)('a' + i % 26);
        bytes[i][1] = (char)('a' + i / 26);
        tokens[i] = (struct grammar_token){bytes[i], i < 26 ? 1 : 2};
    }
    int32_t end = (int32_t)n - 1;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(tokens, n, &end, 1, &vocab, &msg), msg);
    free(tokens);
}

static struct grammar *gbnf(const char *text) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_from_gbnf(text, strlen(text), &g, &msg), msg);
    return g;
}

static struct grammar *make_costly(void) {
    static char text[1 << 16];
    size_t at = (size_t)snprintf(text, sizeof text, "root ::= x0");
    for (int i = 1; i < 300; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, " | x%d", i);
    for (int i = 0; i < 300; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "\nx%d ::= ([a-m]+ | [f-z]+)+ \"%d\"",
                               i, i);
    return gbnf(text);
}

struct test_gen {
    struct generation g;
    int32_t prompt[64], ids[OUTPUT];
    float logprobs[OUTPUT];
    struct token_logprob top[OUTPUT * TOP];
    int ended;
};

static void on_progress(struct generation *g) { (void)g; }

// As a request's end: the grammar's state is gone with the call.
static void on_done(struct generation *g) {
    grammar_state_free(g->grammar);
    g->grammar = NULL;
    ((struct test_gen *)g->ctx)->ended++;
}

static struct test_gen *gen_new(uint32_t seed, const struct grammar *grammar) {
    struct test_gen *t = calloc(1, sizeof *t);
    uint32_t x = seed * 2654435761u + 17;
    size_t len = 1 + seed * 7 % 60;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        // every other prompt repeats itself, so that drafts are made
        t->prompt[i] = (int32_t)(seed % 2 ? (x >> 16) % 60 + 2 : 2 + i % 5);
    }
    t->g = (struct generation){.model = &model,
                               .prompt = t->prompt,
                               .prompt_len = len,
                               .max_tokens = OUTPUT,
                               .sampling = {.temperature = seed % 2 ? 0.9f : 0,
                                            .top_p = 1,
                                            .repetition_penalty = 1,
                                            .seed = seed},
                               .ignore_eos = true,
                               .want_logprobs = true,
                               .top_logprobs = TOP,
                               .progress = on_progress,
                               .done = on_done,
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

static void on_release(void *ctx, size_t tokens) {
    (void)ctx;
    (void)tokens;
}

static struct generator *generator(size_t max_sequences, bool speculate) {
    struct generator_options o = {.model = &model,
                                  .replica = &replica.head,
                                  .kv_bytes = 1 << 20,
                                  .kv_dtype = DTYPE_F32,
                                  .max_sequences = max_sequences,
                                  .speculate = speculate,
                                  .masks = masks,
                                  .ahead = ahead,
                                  .release = on_release};
    struct generator *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(generator_new(&o, &g, &msg), msg);
    return g;
}

static void step(struct generator *g) {
    struct forward_hooks none = {0};
    if (!inline_replica_step(g, &none)) // all of them wait
        await_nap();
}

static void run(struct generator *g) {
    for (int i = 0; i < 200000 && generator_busy(g); i++)
        step(g);
    CHECK(!generator_busy(g));
}

static struct test_gen *alone(uint32_t seed, const struct grammar *grammar) {
    struct generator *g = generator(1, false);
    struct test_gen *t = gen_new(seed, grammar);
    generator_submit(g, &t->g);
    run(g);
    CHECK_INT(t->ended, 1);
    CHECK_INT(t->g.err, ERR_OK);
    CHECK(t->g.produced > 0);
    generator_free(g);
    return t;
}

static bool same(const struct test_gen *a, const struct test_gen *b) {
    size_t n = a->g.produced;
    return n == b->g.produced && memcmp(a->ids, b->ids, n * sizeof *a->ids) == 0 &&
           memcmp(a->logprobs, b->logprobs, n * sizeof *a->logprobs) == 0 &&
           memcmp(a->top, b->top, n * TOP * sizeof *a->top) == 0;
}

static const struct grammar *grammar_of(uint32_t seed) {
    return seed % 5 == 0 ? costly : seed % 5 == 1 ? NULL : easy;
}

static void same_bits(void) {
    enum { MANY = 12 };
    struct test_gen *expected[MANY], *t[MANY];
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
        run(g);
        for (uint32_t i = 0; i < MANY; i++) {
            CHECK_INT(t[i]->ended, 1);
            equal += same(t[i], expected[i]);
            drafted += grammar_of(i) == easy ? t[i]->g.accepted : 0;
            free(t[i]);
        }
        CHECK_INT(equal, MANY);
        struct generation_stats s = {0};
        generator_add_stats(g, &s);
        CHECK_INT(s.kv_blocks_used, 0);
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
static struct test_gen *hold(struct generator *g) {
    struct test_gen *t = gen_new(5, costly);
    atomic_store(&holding, true);
    generator_submit(g, &t->g);
    while (!atomic_load(&is_held))
        step(g);
    return t;
}

static void let_go(void) { sem_post(&gate); }

// While nobody makes masks, the sequences that need them stand still and the others do not.
static void others_go_on(void) {
    struct test_gen *plain = alone(1, NULL), *led = alone(2, easy), *slow = alone(10, costly);
    struct generator *g = generator(8, true);
    struct test_gen *first = hold(g), *a = gen_new(1, NULL), *b = gen_new(2, easy),
                    *c = gen_new(10, costly);
    generator_submit(g, &a->g);
    generator_submit(g, &b->g);
    generator_submit(g, &c->g);
    for (int i = 0; i < 2000 && !(a->ended && b->ended); i++)
        step(g);
    CHECK(a->ended == 1 && same(a, plain));
    CHECK(b->ended == 1 && same(b, led)); // its masks come within a step's work
    CHECK_INT(c->g.produced, 0);
    CHECK(first->g.produced <= 1 && first->ended == 0);
    CHECK_INT(generator_count(g), 2);
    struct forward_hooks none = {0};
    CHECK(!inline_replica_step(g, &none)); // nothing to compute, and nothing computed twice
    let_go();
    run(g);
    CHECK(c->ended == 1 && same(c, slow));
    CHECK_INT(first->ended, 1);
    struct test_gen *all[] = {plain, led, slow, first, a, b, c};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    generator_free(g);
}

// What ends while its mask waits for a thread ends at once; while one is at it, with its return.
static void ended_while_away(void) {
    struct generator *g = generator(8, true);
    struct test_gen *first = hold(g), *t[6];
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
    run(g);
    for (uint32_t i = 0; i < 6; i++) {
        CHECK_INT(t[i]->ended, 1);
        free(t[i]);
    }
    CHECK_INT(first->ended, 1);
    CHECK_INT(first->g.err, ERR_OK);
    free(first);
    struct generation_stats s = {0};
    generator_add_stats(g, &s);
    CHECK_INT(s.kv_blocks_used, 0);
    // all at once, in the middle of it
    struct test_gen *last[4];
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
    CHECK_INT(mask_job_new(state, model.decoder_config.vocab, NULL, &small), ERR_OK);
    struct test_gen *first = hold(g), *t = gen_new(10, costly), *after = gen_new(1, NULL);
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
    run(g);
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
    struct test_gen *t = gen_new(3, dead), *bias = gen_new(4, NULL);
    struct logit_bias infinite = {.id = 3, .bias = INFINITY};
    bias->g.sampling.bias = &infinite;
    bias->g.sampling.bias_count = 1;
    generator_submit(g, &t->g);
    generator_submit(g, &bias->g);
    run(g);
    CHECK_INT(t->ended, 1);
    CHECK_INT(t->g.err, ERR_UNSUPPORTED);
    CHECK_STR(t->g.msg.text, "'grammar' cannot go on: its rule \"tail\" asks for the byte '0', and "
                             "this model has no token for that");
    CHECK_INT(bias->g.err, ERR_INVALID);
    CHECK_STR(bias->g.msg.text, "'logit_bias' and penalties leave no logit that is finite");
    free(t);
    free(bias);
    // all that the grammar allows is biased away
    struct test_gen *none = gen_new(2, NULL);
    struct logit_bias never = {.id = 0, .bias = -INFINITY};
    struct grammar *a = gbnf("root ::= \"a\"");
    CHECK_OK(grammar_state_new(a, vocab, &none->g.grammar, &msg), msg);
    none->g.sampling.bias = &never;
    none->g.sampling.bias_count = 1;
    generator_submit(g, &none->g);
    run(g);
    CHECK_INT(none->g.err, ERR_INVALID);
    CHECK_STR(none->g.msg.text, "'logit_bias' forbids every token that the grammar allows");
    free(none);
    grammar_free(a);
    // its end is a token like any other to the generator: nothing can follow it
    struct test_gen *over = gen_new(2, easy);
    grammar_state_free(over->g.grammar);
    struct grammar *one = gbnf("root ::= \"a\"");
    CHECK_OK(grammar_state_new(one, vocab, &over->g.grammar, &msg), msg);
    generator_submit(g, &over->g);
    run(g);
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
    load();
    make_vocab();
    CHECK_OK(masks_new(1, wake, NULL, &masks, &msg), msg);
    easy = gbnf("root ::= ([a-p]+ | [d-z]+)+ \"0\"");
    dead = gbnf("root ::= [a-z] [a-z] tail\ntail ::= \"0\"");
    costly = make_costly();
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
