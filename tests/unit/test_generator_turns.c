// A generator shared between owners, in steps and tokens: a newcomer has a place, and tokens in
// every step, whatever another has running; prompts take turns; and what a text says never depends
// on it.
#include "tests/unit/generator_kit.h"

#define MODEL "tests/golden/data/decoders/qwen2-long"

enum { PROMPT = 1000, OUTPUT = 600, MANY = 32 };

static size_t ahead; // steps that go ahead
static struct device *device;
static struct replica_model loaded;
static struct inline_replica replica;

struct test_gen {
    struct generation g;
    int32_t prompt[PROMPT], ids[OUTPUT];
    float logprobs[OUTPUT];
    int ended;
};

static void on_progress(struct generation *g) { (void)g; }
static void on_done(struct generation *g) { ((struct test_gen *)g->ctx)->ended++; }

static struct test_gen *gen_new(uint32_t seed, size_t prompt_len, size_t max_tokens) {
    struct test_gen *t = calloc(1, sizeof *t);
    uint32_t x = seed * 2654435761u + 17;
    for (size_t i = 0; i < prompt_len; i++) {
        x = x * 1664525u + 1013904223u;
        t->prompt[i] = (int32_t)((x >> 16) % 60 + 2);
    }
    t->g = (struct generation){
        .model = &kit_model,
        .prompt = t->prompt,
        .prompt_len = prompt_len,
        .max_tokens = max_tokens,
        .sampling = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = seed},
        .ignore_eos = true,
        .want_logprobs = true,
        .progress = on_progress,
        .done = on_done,
        .ctx = t,
        .ids = t->ids,
        .logprobs = t->logprobs};
    return t;
}

static struct generator *generator(size_t kv_tokens, size_t max_sequences) {
    struct kv_shape one = decoder_kv_shape(loaded.decoder, 32, 1, DTYPE_F32);
    return kit_generator_of((struct generator_options){
        .replica = &replica.head,
        .kv_bytes = kv_tokens / 32 * device->ops->kv_block_bytes(device, &one),
        .max_sequences = max_sequences,
        .speculate = true,
        .ahead = ahead});
}

static void step(struct generator *g) {
    struct forward_hooks none = {0};
    CHECK(inline_replica_step(g, &none));
}

static size_t tokens_of(struct test_gen *const *t, size_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += t[i]->g.produced;
    return sum;
}

static void cancel(struct generator *g, struct test_gen **t, size_t n) {
    struct forward_hooks none = {0};
    for (size_t i = 0; i < n; i++)
        atomic_store(&t[i]->g.cancelled, true);
    while (generator_busy(g))
        (void)inline_replica_step(g, &none);
    CHECK_INT(kit_stats(g).kv_blocks_used, 0);
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(t[i]->ended, 1);
        free(t[i]);
    }
    generator_free(g);
}

// Owner 1 fills every slot (or the whole cache), and more wait; owner 2's question is answered in a
// few steps all the same. Owners are keys, or without keys requests.
static void newcomer(size_t kv_tokens, size_t slots, bool keys) {
    struct generator *g = generator(kv_tokens, slots);
    struct test_gen *many[MANY + 1];
    for (uint32_t i = 0; i < MANY; i++) {
        many[i] = gen_new(i, 10, OUTPUT);
        many[i]->g.owner = keys;
        many[i]->g.request = 1;
        generator_submit(g, &many[i]->g);
    }
    for (int i = 0; i < 100; i++)
        step(g);
    size_t preempted = kit_stats(g).preemptions;
    struct test_gen *one = many[MANY] = gen_new(99, 10, 1);
    one->g.owner = keys ? 2 : 0;
    one->g.request = 2;
    generator_submit(g, &one->g);
    int steps = 0;
    for (; !one->ended && steps < 100; steps++)
        step(g);
    CHECK(steps <= 3);
    CHECK_INT(one->g.err, ERR_OK);
    CHECK_INT(one->g.produced, 1);
    CHECK(kit_stats(g).preemptions > preempted);
    cancel(g, many, MANY + 1);
}

// A prompt that the cache cannot hold beside a text that may stay: nobody is set aside for it in
// vain, a small question of another owner goes before it, and it comes when the text has ended,
// whoever went before it.
static void no_room(void) {
    struct generator *g = generator(1024, 8);
    struct test_gen *t[8];
    size_t n = 0;
    t[n++] = gen_new(1, 600, 100); // may stay: its owner has no other
    t[n++] = gen_new(2, 10, 150);
    t[n++] = gen_new(3, 10, 150); // one of these could give way
    t[n++] = gen_new(4, 900, 1);  // has no room
    t[n++] = gen_new(5, 10, 1);
    t[n++] = gen_new(6, 10, OUTPUT);
    for (size_t i = 0; i < n; i++) {
        t[i]->g.owner = i < 2 ? i + 1 : i;
        if (i < 3)
            generator_submit(g, &t[i]->g);
    }
    for (int i = 0; i < 20; i++)
        step(g);
    CHECK_INT(kit_stats(g).preemptions, 0);
    for (size_t i = 3; i < n; i++)
        generator_submit(g, &t[i]->g);
    // in the same microsecond, as it may well be: the order in which they came counts all the same
    t[4]->g.submitted_us = t[5]->g.submitted_us = t[3]->g.submitted_us;
    for (int i = 0; i < 10; i++)
        step(g);
    CHECK_INT(kit_stats(g).preemptions, 0);
    CHECK_INT(t[4]->ended, 1);
    CHECK_INT(t[3]->ended, 0);
    CHECK(t[5]->g.produced > 0);
    while (!t[3]->ended && !t[5]->ended)
        step(g);
    CHECK_INT(t[3]->ended, 1);
    CHECK_INT(t[5]->ended, 0);
    cancel(g, t, n);
}

// A text that went before one which waits for room, and was set aside, goes before it again: what
// it had computed is found in the cache, so that it decodes in the very step in which it joins. Its
// owner has a turn in that step, beside two others'.
static void decodes_at_once(void) {
    struct generator *g = generator(1024, 8);
    struct test_gen *t[4] = {gen_new(1, 400, 300), gen_new(2, 10, 300), gen_new(3, 900, 1),
                             gen_new(4, 32, 100)}; // a block: 32 positions
    for (size_t i = 0; i < 4; i++)
        t[i]->g.owner = i + 1;
    generator_submit(g, &t[0]->g);
    generator_submit(g, &t[1]->g);
    while (t[0]->g.produced == 0 || t[1]->g.produced == 0)
        step(g);
    generator_submit(g, &t[2]->g); // has no room
    step(g);
    CHECK_INT(kit_stats(g).running, 2);
    generator_submit(g, &t[3]->g);
    while (t[3]->g.produced == 0)
        step(g);
    CHECK_INT(t[3]->g.produced, 1);
    CHECK_INT(t[2]->g.produced, 0);
    generator_take_back(g); // where one went ahead
    for (size_t i = g->running_count; i-- > 0;)
        if (g->running[i]->g == &t[3]->g)
            generator_set_aside(g, g->running[i]);
    CHECK_INT(g->running_count, 2);
    step(g);
    CHECK_INT(g->running_count, 3);
    CHECK_INT(t[3]->g.preemptions, 1);
    CHECK_INT(t[3]->g.produced, 2);
    CHECK_INT(t[2]->g.produced, 0);
    cancel(g, t, 4);
}

// Within one owner a request with nothing running has a place beside one of many choices.
static void newcomer_of_one_key(void) {
    struct generator *g = generator(32768, 8);
    struct test_gen *many[MANY + 1];
    for (uint32_t i = 0; i <= MANY; i++) {
        many[i] = gen_new(i, 10, i < MANY ? OUTPUT : 5);
        many[i]->g.owner = 7;
        many[i]->g.request = i < MANY ? 1 : 2;
        if (i < MANY)
            generator_submit(g, &many[i]->g);
    }
    for (int i = 0; i < 20; i++)
        step(g);
    generator_submit(g, &many[MANY]->g);
    int steps = 0;
    for (; !many[MANY]->ended && steps < 100; steps++)
        step(g);
    CHECK(steps <= 8);
    cancel(g, many, MANY + 1);
}

// Tokens of two owners over some steps, in proportion to their weights; and a stream beside many
// texts has one in every step, of which these have no more than half.
static void rows(void) {
    struct generator *g = generator(65536, 2 * MANY);
    struct test_gen *all[2 * MANY + 1];
    for (uint32_t i = 0; i < 2 * MANY; i++) {
        all[i] = gen_new(i, 10, OUTPUT);
        all[i]->g.owner = 1 + i / MANY;
        all[i]->g.weight = i < MANY ? 1 : 3;
        generator_submit(g, &all[i]->g);
    }
    while (tokens_of(all, MANY) < MANY || tokens_of(all + MANY, MANY) < MANY)
        step(g);
    size_t light = tokens_of(all, MANY), heavy = tokens_of(all + MANY, MANY);
    for (int i = 0; i < 100; i++)
        step(g);
    light = tokens_of(all, MANY) - light;
    heavy = tokens_of(all + MANY, MANY) - heavy;
    CHECK(light >= 380 && light <= 420 && heavy >= 1180 && heavy <= 1230);
    size_t least = OUTPUT, most = 0; // and each owner's own take turns
    for (int i = 0; i < MANY; i++) {
        least = all[i]->g.produced < least ? all[i]->g.produced : least;
        most = all[i]->g.produced > most ? all[i]->g.produced : most;
    }
    CHECK(most - least <= 4);

    for (int i = MANY; i < 2 * MANY; i++)
        atomic_store(&all[i]->g.cancelled, true);
    struct test_gen *one = all[2 * MANY] = gen_new(99, 10, 200);
    one->g.owner = 3;
    generator_submit(g, &one->g);
    while (one->g.produced == 0)
        step(g);
    size_t stream = one->g.produced;
    light = tokens_of(all, MANY);
    for (int i = 0; i < 50; i++)
        step(g);
    CHECK(one->g.produced - stream >= 50);
    light = tokens_of(all, MANY) - light;
    CHECK(light >= 350 && light <= 450);
    cancel(g, all, 2 * MANY + 1);
}

// Long prompts of one owner do not all come before another's.
static void prompts(void) {
    struct generator *g = generator(65536, MANY);
    struct test_gen *many[17];
    for (uint32_t i = 0; i < 17; i++) {
        many[i] = gen_new(i, 900, 1);
        many[i]->g.owner = 1 + i / 16;
        generator_submit(g, &many[i]->g);
    }
    struct forward_hooks none = {0};
    size_t before = 0;
    while (!many[16]->ended)
        (void)inline_replica_step(g, &none);
    for (int i = 0; i < 16; i++)
        before += many[i]->ended > 0;
    CHECK(before <= 3);
    cancel(g, many, 17);
}

// What was set aside and stepped by turns says what it says alone.
static void same_bits(void) {
    struct test_gen *alone[MANY], *all[MANY];
    struct forward_hooks none = {0};
    struct generator *g = generator(32768, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        alone[i] = gen_new(i, 5 + i * 9, 20 + i * 3);
        generator_submit(g, &alone[i]->g);
    }
    while (generator_busy(g))
        (void)inline_replica_step(g, &none);
    generator_free(g);
    g = generator(640, 6);
    for (uint32_t i = 0; i < MANY; i++) {
        all[i] = gen_new(i, 5 + i * 9, 20 + i * 3);
        all[i]->g.owner = i % 5;
        all[i]->g.request = 100 + i / 2;
        all[i]->g.weight = (int)(i % 5);
        generator_submit(g, &all[i]->g);
        for (int k = 0; k < 3; k++)
            (void)inline_replica_step(g, &none);
    }
    while (generator_busy(g))
        (void)inline_replica_step(g, &none);
    CHECK(kit_stats(g).preemptions > 5);
    CHECK_INT(kit_stats(g).kv_blocks_used, 0);
    for (int i = 0; i < MANY; i++) {
        size_t n = all[i]->g.max_tokens;
        CHECK(all[i]->ended == 1 && all[i]->g.produced == n &&
              memcmp(all[i]->ids, alone[i]->ids, n * sizeof *alone[i]->ids) == 0 &&
              memcmp(all[i]->logprobs, alone[i]->logprobs, n * sizeof(float)) == 0);
        free(all[i]);
        free(alone[i]);
    }
    generator_free(g);
}

int main(void) {
    struct errmsg msg = {0};
    struct cpu_options options = {.threads = 2};
    CHECK_OK(test_device_new(&options, &device, &msg), msg);
    loaded = kit_load_path(device, MODEL);
    inline_replica_init(&replica, &loaded);
    if (check_failed)
        return check_done();
    for (ahead = 0; ahead <= GENERATOR_AHEAD_MOST; ahead++) {
        newcomer(32768, 8, true);
        newcomer(32768, 8, false);
        newcomer(1024, 32, true); // the cache is what is full
        newcomer_of_one_key();
        no_room();
        decodes_at_once();
        rows();
        prompts();
        same_bits();
    }
    decoder_free(loaded.decoder);
    test_device_free(device);
    return check_done();
}
