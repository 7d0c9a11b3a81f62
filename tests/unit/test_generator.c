// Continuous batching on a tiny real model: a generation's tokens and logprobs have the same bits
// alone, among many, chunked, set aside and taken up again, cached and drafted; gone clients'
// blocks are free; every end is told once.
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "tests/unit/generator_kit.h"

#define LONG_MODEL "tests/golden/data/decoders/qwen2-long"

enum { PROMPT = 40, OUTPUT = 48, TOP = 3 };

static size_t ahead; // steps that go ahead
static struct device *device;
static struct replica_model loaded;
static struct inline_replica replica;

static void load(const char *path) {
    decoder_free(loaded.decoder);
    loaded = kit_load_path(device, path);
    inline_replica_init(&replica, &loaded);
}

// A generation with its memory and an account of what was told of it.
struct test_gen {
    struct generation g;
    int32_t prompt[512], ids[128];
    float logprobs[128], scores[128];
    struct token_logprob top[128 * TOP];
    int progressed, ended;
};

static void on_progress(struct generation *g) { ((struct test_gen *)g->ctx)->progressed++; }
static void on_done(struct generation *g) { ((struct test_gen *)g->ctx)->ended++; }

static struct test_gen *gen_new(uint32_t seed, size_t prompt_len, size_t max_tokens) {
    struct test_gen *t = calloc(1, sizeof *t);
    uint32_t x = seed * 2654435761u + 17;
    for (size_t i = 0; i < prompt_len; i++) {
        x = x * 1664525u + 1013904223u;
        t->prompt[i] = (int32_t)((x >> 16) % 69 + 2);
    }
    t->g = (struct generation){.model = &kit_model,
                               .prompt = t->prompt,
                               .prompt_len = prompt_len,
                               .max_tokens = max_tokens,
                               .sampling = {.temperature = seed % 2 ? 0.9f : 0,
                                            .top_p = 0.95f,
                                            .repetition_penalty = seed % 3 ? 1 : 1.2f,
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
    return t;
}

static size_t released;
static void on_release(void *ctx, size_t tokens) {
    (void)ctx;
    released += tokens;
}

static size_t bytes_per_token(void) {
    struct kv_shape one = decoder_kv_shape(loaded.decoder, 32, 1, DTYPE_F32);
    return device->ops->kv_block_bytes(device, &one) / 32;
}

// kv_tokens: what the cache holds.
static struct generator *generator(size_t kv_tokens, size_t max_sequences, bool speculate) {
    struct generator *g =
        kit_generator_of((struct generator_options){.replica = &replica.head,
                                                    .kv_bytes = kv_tokens * bytes_per_token(),
                                                    .max_sequences = max_sequences,
                                                    .speculate = speculate,
                                                    .ahead = ahead,
                                                    .release = on_release});
    struct errmsg msg = {0};
    CHECK_OK(inline_replica_warm_up(g, &msg), msg);
    return g;
}

static bool same(const struct test_gen *a, const struct test_gen *b) {
    size_t n = a->g.produced;
    return n == b->g.produced && memcmp(a->ids, b->ids, n * sizeof *a->ids) == 0 &&
           memcmp(a->logprobs, b->logprobs, n * sizeof *a->logprobs) == 0 &&
           memcmp(a->top, b->top, n * TOP * sizeof *a->top) == 0;
}

static struct test_gen *alone(uint32_t seed, size_t prompt_len, size_t max_tokens) {
    struct generator *g = generator(1024, 1, false);
    struct test_gen *t = gen_new(seed, prompt_len, max_tokens);
    generator_submit(g, &t->g);
    kit_run(g);
    CHECK_INT(t->ended, 1);
    CHECK_INT(t->g.err, ERR_OK);
    CHECK_INT(t->g.produced, max_tokens);
    CHECK_INT(t->g.end, GENERATION_LENGTH);
    CHECK_INT(kit_stats(g).steps, max_tokens); // a short prompt's own step draws
    generator_free(g);
    return t;
}

enum { MANY = 24 };
static struct test_gen *expected[MANY];

// Every third one grows over several blocks.
static size_t prompt_of(size_t i) { return 1 + i * 7 % PROMPT; }
static size_t output_of(size_t i) { return i % 3 == 0 ? 80 : 1 + i * 11 % OUTPUT; }

// All of them at once, submitted a few a step.
static void together(size_t kv_tokens, size_t max_sequences, bool speculate, bool tight) {
    struct generator *g = generator(kv_tokens, max_sequences, speculate);
    struct forward_hooks none = {0};
    struct test_gen *all[MANY];
    released = 0;
    for (size_t i = 0; i < MANY; i++) {
        all[i] = gen_new((uint32_t)i, prompt_of(i), output_of(i));
        all[i]->g.reserved = 10;
        generator_submit(g, &all[i]->g);
        if (i % 3 == 2)
            (void)inline_replica_step(g, &none);
    }
    kit_run(g);
    size_t equal = 0, ended = 0;
    for (size_t i = 0; i < MANY; i++) {
        equal += same(all[i], expected[i]);
        ended += all[i]->ended == 1 && all[i]->progressed >= 1;
        free(all[i]);
    }
    CHECK_INT(equal, MANY);
    CHECK_INT(ended, MANY);
    CHECK_INT(released, 10 * MANY);
    struct generation_stats s = kit_stats(g);
    CHECK_INT(s.kv_blocks_used, 0);
    CHECK_INT(s.done, MANY);
    if (tight)
        CHECK(s.preemptions > 0);
    else
        CHECK_INT(s.preemptions, 0);
    generator_free(g);
}

static enum err resize(struct generator *g, size_t kv_tokens, struct errmsg *msg) {
    return generator_resize(g, kv_tokens * bytes_per_token(), msg);
}

// The cache is made anew at other sizes while sequences run in it: their logs go on as if it had
// not been.
static void other_sizes(void) {
    static const size_t sizes[] = {128, 1024, 6 * 32, 5 * 32, 512};
    for (int speculate = 0; speculate < 2; speculate++) {
        struct generator *g = generator(4096, 8, speculate);
        struct forward_hooks none = {0};
        struct errmsg msg = {0};
        struct test_gen *all[MANY];
        size_t equal = 0, taken = 0, resized = 0;
        for (size_t i = 0; i < MANY; i++) {
            all[i] = gen_new((uint32_t)i, prompt_of(i), output_of(i));
            generator_submit(g, &all[i]->g);
        }
        for (int steps = 0; generator_busy(g) && steps < 10000; steps++) {
            (void)inline_replica_step(g, &none);
            if (steps % 7 != 6)
                continue;
            taken += kit_stats(g).running;
            CHECK_OK(resize(g, sizes[resized % 5], &msg), msg);
            CHECK_INT(kit_stats(g).kv_tokens, sizes[resized % 5]);
            CHECK_INT(kit_stats(g).running, 0);
            resized++;
        }
        for (size_t i = 0; i < MANY; i++) {
            equal += all[i]->ended == 1 && same(all[i], expected[i]);
            free(all[i]);
        }
        CHECK_INT(equal, MANY);
        CHECK(resized > 5 && taken > 10);
        CHECK(kit_stats(g).preemptions >= taken); // each was set aside
        CHECK_INT(kit_stats(g).kv_blocks_used, 0);
        generator_free(g);
    }
}

static void same_bits(void) {
    for (size_t i = 0; i < MANY; i++)
        expected[i] = alone((uint32_t)i, prompt_of(i), output_of(i));
    together(4096, 32, false, false);
    together(4096, 5, true, false);
    together(6 * 32, 32, false, true); // the cache is short: sequences are set aside
    together(6 * 32, 32, true, true);
    other_sizes();
    for (size_t i = 0; i < MANY; i++)
        free(expected[i]);
}

// What was accepted keeps the room that it may need; what comes is measured against what there is.
static void least_size(void) {
    struct generator *g = generator(1024, 4, false);
    struct forward_hooks none = {0};
    struct errmsg msg = {0};
    struct test_gen *in_line = gen_new(2, 20, 30), *big = gen_new(3, 30, 60);
    generator_submit(g, &big->g); // 90 tokens, 3 blocks
    (void)inline_replica_step(g, &none);
    generator_submit(g, &in_line->g);
    CHECK_INT(resize(g, 2 * 32, &msg), ERR_TOO_LARGE);
    CHECK_STR(msg.text, "model 'tiny' would be left a KV cache of 64 tokens, and a text of up to "
                        "96 is being generated; try again later, or raise --kv-cache-mib");
    CHECK_INT(generator_fits(g, 2 * 32 * bytes_per_token(), NULL), ERR_TOO_LARGE);
    CHECK_INT(generator_context(g), 128);
    CHECK_OK(generator_fits(g, 3 * 32 * bytes_per_token(), &msg), msg);
    CHECK_OK(resize(g, 3 * 32, &msg), msg);
    struct test_gen *late = gen_new(4, 96, 1);
    generator_submit(g, &late->g);
    CHECK_INT(late->g.err, ERR_INVALID);
    kit_run(g);
    CHECK_INT(big->g.produced, 60);
    CHECK_INT(in_line->g.produced, 30);
    CHECK_INT(resize(g, 32, &msg), ERR_TOO_LARGE); // no text at all
    CHECK_OK(resize(g, 2 * 32, &msg), msg);
    struct test_gen *again = gen_new(2, 40, 24), *whole = alone(2, 40, 24);
    generator_submit(g, &again->g);
    kit_run(g);
    CHECK(same(again, whole));
    // memory that fails leaves it as it was
    for (long n = 1; n < 100; n++) {
        fault_arm(FAULT_ALLOC, n, false);
        enum err e = resize(g, 512, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        CHECK_INT(generator_context(g), reached ? 64 : 128);
        CHECK_INT(e, reached ? ERR_NOMEM : ERR_OK);
        if (!reached) {
            CHECK(n > 10);
            break;
        }
    }
    struct test_gen *all[] = {in_line, big, late, again, whole};
    for (size_t i = 0; i < 5; i++)
        free(all[i]);
    generator_free(g);
}

// What one sequence alone cannot have ends it with its length.
static void full_cache(void) {
    struct generator *g = generator(3 * 32, 4, false);
    CHECK_INT(generator_context(g), 96);
    struct test_gen *t = gen_new(2, 40, 80), *big = gen_new(3, 100, 4);
    generator_submit(g, &t->g);
    generator_submit(g, &big->g);
    CHECK_INT(big->ended, 1);
    CHECK_INT(big->g.err, ERR_INVALID);
    CHECK(strstr(big->g.msg.text, "100 tokens") != NULL && strstr(big->g.msg.text, "96") != NULL);
    kit_run(g);
    CHECK_INT(t->g.end, GENERATION_LENGTH);
    CHECK_INT(t->g.produced, 56);
    free(t);
    free(big);
    generator_free(g);
}

// A generator is made exactly where its size says so, and is of that size.
static void sizes(void) {
    static const struct {
        size_t max_length, kv_tokens, max_sequences, blocks, context; // blocks 0: refused
    } cases[] = {
        {512, 1024, 4, 32, 512}, {512, 1 << 20, 2, 32, 512}, {512, 511, 4, 15, 480},
        {512, 64, 4, 2, 64},     {512, 63, 4, 0, 0},         {33, 63, 1, 0, 0},
        {33, 64, 1, 2, 33},      {20, 32, 1, 1, 20},         {20, 1 << 20, 1, 1, 20},
        {20, 31, 1, 0, 0},       {20, 1 << 20, 3, 3, 20},    {512, 0, 1, 0, 0},
    };
    size_t own = kit_model.max_length;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct generator_options o = {.model = &kit_model,
                                      .replica = &replica.head,
                                      .kv_bytes = cases[i].kv_tokens * bytes_per_token(),
                                      .kv_dtype = DTYPE_F32,
                                      .max_sequences = cases[i].max_sequences,
                                      .ahead = ahead,
                                      .release = on_release};
        struct generator_size size = {0};
        struct generator *g = NULL;
        struct errmsg msg = {0}, same = {0};
        kit_model.max_length = cases[i].max_length;
        enum err e = generator_choose_size(&o, &size, &msg);
        CHECK_INT(generator_new(&o, &g, &same), e);
        CHECK_STR(same.text, msg.text);
        CHECK_INT(size.blocks, cases[i].blocks);
        CHECK_INT(size.context, cases[i].context);
        if (e) {
            char least[32];
            snprintf(least, sizeof least, " %zu at least",
                     (cases[i].max_length > 32 ? 64 : 32) * bytes_per_token());
            CHECK_INT(e, ERR_TOO_LARGE);
            CHECK(strstr(msg.text, least) && strstr(msg.text, "--kv-cache-mib"));
            continue;
        }
        CHECK_INT(size.max_sequences, cases[i].max_sequences);
        CHECK_INT(generator_context(g), size.context);
        CHECK_INT(kit_stats(g).kv_blocks, size.blocks);
        CHECK_INT(kit_stats(g).kv_bytes, size.cache_bytes);
        CHECK_OK(inline_replica_warm_up(g, &msg), msg);
        struct test_gen *t = gen_new(2, size.context - 10, 128);
        generator_submit(g, &t->g);
        kit_run(g);
        CHECK_INT(t->g.err, ERR_OK);
        CHECK_INT(t->g.end, GENERATION_LENGTH);
        CHECK_INT(t->g.produced, 10);
        free(t);
        generator_free(g);
    }
    kit_model.max_length = own;
}

static void prefixes(void) {
    struct generator *g = generator(4096, 8, false);
    struct test_gen *a = gen_new(4, 70, 20), *b = gen_new(4, 70, 20), *c = gen_new(4, 70, 20);
    a->g.owner = b->g.owner = 1;
    c->g.owner = 2;
    generator_submit(g, &a->g);
    kit_run(g);
    generator_submit(g, &b->g);
    generator_submit(g, &c->g);
    kit_run(g);
    CHECK_INT(a->g.cached_tokens, 0);
    CHECK_INT(b->g.cached_tokens, 64);
    CHECK_INT(c->g.cached_tokens, 0); // another key's
    CHECK(same(a, b));
    CHECK(same(a, c));
    // two of the same prompt at once: the second waits for the first one's blocks
    struct test_gen *d = gen_new(8, 100, 4), *e = gen_new(8, 100, 4);
    generator_submit(g, &d->g);
    generator_submit(g, &e->g);
    kit_run(g);
    CHECK_INT(d->g.cached_tokens, 0);
    CHECK_INT(e->g.cached_tokens, 96);
    CHECK(same(d, e));
    struct test_gen *all[] = {a, b, c, d, e};
    for (size_t i = 0; i < 5; i++)
        free(all[i]);
    generator_free(g);
}

static void drafts(void) {
    // a prompt that repeats itself: a greedy tiny model goes on repeating
    struct test_gen *with = gen_new(6, 48, 60), *without = gen_new(6, 48, 60);
    for (size_t i = 0; i < 48; i++)
        with->prompt[i] = without->prompt[i] = (int32_t)(2 + i % 6);
    struct generator *g = generator(1024, 4, true), *plain = generator(1024, 4, false);
    generator_submit(g, &with->g);
    generator_submit(plain, &without->g);
    kit_run(g);
    kit_run(plain);
    CHECK(same(with, without));
    CHECK(with->g.drafted > 0);
    CHECK_INT(without->g.drafted, 0);
    CHECK_INT(kit_stats(g).drafted, with->g.drafted);
    CHECK_INT(kit_stats(g).accepted, with->g.accepted);
    CHECK(kit_stats(g).steps + with->g.accepted >= 60);
    free(with);
    free(without);
    generator_free(g);
    generator_free(plain);
}

static void ends(void) {
    struct forward_hooks none = {0};
    struct generator *g = generator(4096, 8, false);
    struct test_gen *t[20];
    for (uint32_t i = 0; i < 20; i++) {
        t[i] = gen_new(i, 20, 100);
        generator_submit(g, &t[i]->g);
    }
    for (int i = 0; i < 10; i++)
        (void)inline_replica_step(g, &none);
    atomic_store(&t[0]->g.stop_wanted, true);
    for (int i = 1; i < 20; i++)
        atomic_store(&t[i]->g.cancelled, true);
    size_t produced = t[1]->g.produced;
    (void)inline_replica_step(g, &none);
    CHECK(!generator_busy(g));
    CHECK_INT(t[0]->g.end, GENERATION_STOP);
    CHECK_INT(t[0]->g.err, ERR_OK);
    CHECK(t[0]->g.produced > 0);
    CHECK_INT(t[1]->g.err, ERR_CANCELLED);
    CHECK_INT(t[1]->g.produced, produced);
    CHECK_INT(t[19]->g.produced, 0); // it had not begun
    CHECK_INT(kit_stats(g).kv_blocks_used, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(t[i]->ended, 1);
        free(t[i]);
    }
    // an end token
    struct test_gen *a = gen_new(2, 20, 30);
    generator_submit(g, &a->g);
    kit_run(g);
    int32_t end = a->ids[7];
    size_t first = 0;
    while (a->ids[first] != end)
        first++;
    kit_model.generation.eos_ids = &end;
    kit_model.generation.eos_count = 1;
    struct test_gen *b = gen_new(2, 20, 30), *late = gen_new(3, 20, 30);
    b->g.ignore_eos = false;
    late->g.deadline_us = clock_now_us() - 1;
    generator_submit(g, &b->g);
    generator_submit(g, &late->g);
    kit_run(g);
    CHECK_INT(b->g.end, GENERATION_STOP);
    CHECK_INT(b->g.produced, first);
    CHECK(memcmp(a->ids, b->ids, first * sizeof *a->ids) == 0);
    CHECK_INT(late->g.err, ERR_DEADLINE);
    kit_model.generation.eos_count = 0;
    free(a);
    free(b);
    free(late);
    // all at once, and nothing behind it
    struct test_gen *left = gen_new(5, 20, 100), *after = gen_new(5, 20, 100);
    generator_submit(g, &left->g);
    (void)inline_replica_step(g, &none);
    generator_end_all(g, ERR_UNAVAILABLE, "stopping");
    generator_submit(g, &after->g);
    CHECK_INT(left->g.err, ERR_UNAVAILABLE);
    CHECK_INT(after->g.err, ERR_UNAVAILABLE);
    CHECK_INT(left->ended + after->ended, 2);
    free(left);
    free(after);
    generator_free(g);
}

// The prompt's own logprobs are those that generating it would have had.
static void scores(void) {
    struct generator *g = generator(4096, 4, false);
    struct test_gen *a = gen_new(4, 30, 40);
    a->g.sampling = (struct sampling){.top_p = 1, .repetition_penalty = 1};
    generator_submit(g, &a->g);
    kit_run(g);
    for (int tokens = 0; tokens < 2; tokens++) {
        struct test_gen *b = gen_new(4, 70, (size_t)tokens * 5);
        memcpy(b->prompt, a->prompt, 30 * sizeof *a->prompt);
        memcpy(b->prompt + 30, a->ids, 40 * sizeof *a->ids);
        b->g.prompt_logprobs = true;
        b->g.prompt_scores = b->scores;
        struct token_logprob top[70 * TOP];
        b->g.prompt_top = top;
        generator_submit(g, &b->g);
        kit_run(g);
        CHECK_INT(b->g.err, ERR_OK);
        CHECK_INT(b->g.end, GENERATION_LENGTH);
        CHECK_INT(b->g.produced, tokens * 5);
        CHECK_INT(b->g.cached_tokens, 0);
        CHECK(memcmp(b->scores + 30, a->logprobs, 40 * sizeof *a->logprobs) == 0);
        CHECK(memcmp(top + 30 * TOP, a->top, 40 * TOP * sizeof *top) == 0);
        free(b);
    }
    free(a);
    generator_free(g);
    // one that is only scored may fill the whole cache: nothing comes behind it
    g = generator(96, 4, false);
    struct test_gen *full = gen_new(5, 96, 0);
    CHECK_INT(generator_context(g), 96);
    full->g.prompt_logprobs = true;
    full->g.prompt_scores = full->scores;
    full->g.top_logprobs = 0;
    generator_submit(g, &full->g);
    kit_run(g);
    CHECK_INT(full->ended, 1);
    CHECK_INT(full->g.err, ERR_OK);
    CHECK(full->scores[95] < 0);
    free(full);
    generator_free(g);
}

// A short prompt behind a long one has its first token first, and the long one is not held up for
// long by any number of them.
static void short_prompts(void) {
    struct forward_hooks none = {0};
    struct generator *g = generator(8192, 16, false);
    struct test_gen *old = gen_new(1, 500, 3), *t[12];
    generator_submit(g, &old->g);
    for (uint32_t i = 0; i < 12; i++) {
        t[i] = gen_new(i + 2, 10, 100);
        generator_submit(g, &t[i]->g);
    }
    (void)inline_replica_step(g, &none);
    CHECK_INT(t[0]->g.produced + t[11]->g.produced, 1);
    CHECK_INT(old->g.produced, 0);
    int steps = 1;
    while (old->g.produced == 0 && steps < 100) {
        (void)inline_replica_step(g, &none);
        steps++;
    }
    CHECK(t[0]->g.produced > 0);
    CHECK(steps < 80); // half of the smallest chunk a step
    kit_run(g);
    for (int i = 0; i < 12; i++) {
        CHECK_INT(t[i]->g.produced, 100);
        free(t[i]);
    }
    free(old);
    generator_free(g);
}

// Every allocation of a submission fails in turn: the error is told, the next one is served.
static void faults(void) {
    struct generator *g = generator(1024, 4, false);
    size_t failed = 0;
    for (long n = 1; n < 40; n++) {
        struct test_gen *t = gen_new(1, 20, 5);
        t->g.sampling.repetition_penalty = 1.3f;
        fault_arm(FAULT_ALLOC, n, false);
        generator_submit(g, &t->g);
        kit_run(g);
        fault_disarm();
        CHECK_INT(t->ended, 1);
        if (t->g.err) {
            CHECK_INT(t->g.err, ERR_NOMEM);
            failed++;
        } else {
            CHECK_INT(t->g.produced, 5);
        }
        free(t);
    }
    CHECK(failed > 2);
    CHECK_INT(kit_stats(g).kv_blocks_used, 0);
    generator_free(g);
}

int main(void) {
    struct errmsg msg = {0};
    struct cpu_options options = {.threads = 2};
    CHECK_OK(test_device_new(&options, &device, &msg), msg);
    load(KIT_MODEL);
    sizes();
    for (ahead = 0; ahead <= GENERATOR_AHEAD_MOST; ahead++) {
        load(KIT_MODEL);
        same_bits();
        full_cache();
        least_size();
        prefixes();
        drafts();
        ends();
        scores();
        faults();
        load(LONG_MODEL);
        short_prompts();
    }
    decoder_free(loaded.decoder);
    test_device_free(device);
    return check_done();
}
