// Caches on a device with memory of its own, whose size is made up here: they take all that is left
// of it and nothing of this machine's; what the device does not have after all makes them smaller;
// and a cache that comes in another's place comes behind it, for there is no room for both.
#include "engine/generators.h"
#include "tests/check.h"

#include <stdint.h>
#include <string.h>

enum { BLOCK_BYTES = 4096, CONTEXT = 64, PLACES = 16, SEQUENCES = 4096 };
static const size_t workspace = 1 << 20, weights = 8 << 20;

// ---- a device: what it has, and what is out of it

static struct {
    size_t has, used, most;
    size_t bytes[PLACES]; // of each place, from 1
    uint64_t places;
    int refused;
} card;

static enum err size_steps(struct replica *r, uint64_t model, const struct step_limits *limits,
                           enum dtype kv_dtype, struct replica_step_sizes *out,
                           struct errmsg *msg) {
    (void)r, (void)model, (void)limits, (void)kv_dtype, (void)msg;
    *out = (struct replica_step_sizes){.block_bytes = BLOCK_BYTES, .workspace_bytes = workspace};
    return ERR_OK;
}
static size_t weight_bytes(struct replica *r, uint64_t model) {
    (void)r, (void)model;
    return weights;
}
static size_t step_bytes_of(struct replica *r, uint64_t place) {
    (void)r, (void)place;
    return workspace;
}
static struct replica_health health(struct replica *r) {
    (void)r;
    return (struct replica_health){.life = 1};
}
static enum err open_steps(struct replica *r, uint64_t model,
                           const struct step_engine_options *options, uint64_t *place,
                           struct errmsg *msg) {
    size_t bytes = options->blocks * BLOCK_BYTES + workspace;
    (void)r, (void)model;
    if (card.used + bytes > card.has) {
        card.refused++;
        return err_set(msg, ERR_NOMEM, "no memory on the card");
    }
    *place = ++card.places;
    card.bytes[*place % PLACES] = bytes;
    card.used += bytes;
    card.most = card.used > card.most ? card.used : card.most;
    return ERR_OK;
}
static void close_steps(struct replica *r, uint64_t place) {
    (void)r;
    card.used -= card.bytes[place % PLACES];
    card.bytes[place % PLACES] = 0;
}

static const struct replica_ops ops = {.size_steps = size_steps,
                                       .weight_bytes = weight_bytes,
                                       .step_bytes = step_bytes_of,
                                       .health = health,
                                       .open_steps = open_steps,
                                       .close_steps = close_steps};
static struct replica replica = {.ops = &ops, .facts = {.name = "card", .kv_block_tokens = 16}};

static void wake(void *ctx) { (void)ctx; }
static void release(void *ctx, size_t tokens) { (void)ctx, (void)tokens; }

static struct model models[2], *all[2];

// As the scheduler has them: n models' weights are there.
static struct memory_plans plans_of(size_t usable, size_t n) {
    struct memory_plans plans = {.apart = true};
    memory_plan_begin(&plans.machine);
    memory_plan_begin_device(&plans.device, usable);
    plans.device.resident = n * weights;
    replica.facts.memory_bytes = usable;
    return plans;
}

static struct generators_options options_of(bool has_spare) {
    return (struct generators_options){.replica = &replica,
                                       .max_sequences = SEQUENCES,
                                       .has_spare = has_spare,
                                       .release = release,
                                       .wake = wake};
}

static void begin(size_t has) {
    memset(&card, 0, sizeof card);
    card.has = has;
}

// ---- tests

static void test_all_of_it(void) {
    enum { USABLE = 64 << 20 };
    struct memory_plans plans = plans_of(USABLE, 2);
    struct memory_plan before = plans.machine;
    struct generators_options o = options_of(false);
    struct generators g;
    struct errmsg msg = {0};
    begin(USABLE);
    CHECK_OK(generators_init(&g, &o, all, 2, &plans, &msg), msg);
    size_t left = USABLE - 2 * weights - 2 * workspace - plans.device.reserve;
    CHECK(plans.device.caches <= left && plans.device.caches > left - 2 * BLOCK_BYTES);
    CHECK_INT(plans.machine.caches, before.caches);
    CHECK_INT(plans.machine.workspaces, before.workspaces);
    CHECK_INT(card.refused, 0);
    generators_free(&g);
    CHECK_INT(card.used, 0);
}

// The words are of the card and its option.
static void test_too_little(void) {
    struct memory_plans plans = plans_of(2 * weights + 2 * workspace, 2);
    struct generators_options o = options_of(false);
    struct generators g;
    struct errmsg msg = {0};
    begin(SIZE_MAX);
    CHECK_INT(generators_init(&g, &o, all, 2, &plans, &msg), ERR_TOO_LARGE);
    CHECK(strstr(msg.text, "the GPU's memory (--gpu-memory)") && strstr(msg.text, "raise --gpu"));
    CHECK(strstr(msg.text, "program") == NULL);
}

static void test_smaller_after_all(void) {
    enum { USABLE = 64 << 20, HAS = 30 << 20 }; // others have taken some of it
    struct memory_plans plans = plans_of(USABLE, 1);
    struct generators_options o = options_of(false);
    struct generators g;
    struct errmsg msg = {0};
    begin(HAS);
    CHECK_OK(generators_init(&g, &o, all, 1, &plans, &msg), msg);
    CHECK(card.refused > 0 && card.used <= HAS && card.used > HAS / 2);
    CHECK(plans.device.caches + workspace == card.used);
    generators_free(&g);
    plans = plans_of(USABLE, 1); // a size that was asked for is not made smaller
    o.cache_bytes = 40 << 20;
    begin(HAS);
    CHECK_INT(generators_init(&g, &o, all, 1, &plans, &msg), ERR_NOMEM);
    CHECK_INT(card.refused, 1);
    begin(0); // none at all ends too
    o.cache_bytes = 0;
    plans = plans_of(USABLE, 1);
    enum err e = generators_init(&g, &o, all, 1, &plans, &msg);
    CHECK(e == ERR_NOMEM || e == ERR_TOO_LARGE);
}

// A model that comes has what the others' caches lose, and they lose it first.
static void test_comes_and_goes(void) {
    enum { USABLE = 64 << 20 };
    struct memory_plans plans = plans_of(USABLE, 1);
    struct generators_options o = options_of(false);
    struct generators g;
    struct generator *one = NULL;
    struct errmsg msg = {0};
    begin(USABLE - weights);
    CHECK_OK(generators_init(&g, &o, all, 1, &plans, &msg), msg);
    size_t alone = generator_cache_bytes(g.items[0]);
    plans = plans_of(USABLE, 2);
    card.has -= weights; // the other model's
    CHECK_OK(generators_make(&g, &models[1], &plans, &one, &msg), msg);
    CHECK_OK(generators_put(&g, one, &msg), msg);
    CHECK(generator_cache_bytes(g.items[0]) < alone);
    CHECK_INT(generator_cache_bytes(g.items[0]), generator_cache_bytes(one));
    CHECK_INT(card.refused, 0);
    generators_take(&g, one);
    generator_free(one);
    plans = plans_of(USABLE, 1);
    card.has += weights;
    generators_share_out(&g, &plans);
    CHECK_INT(generator_cache_bytes(g.items[0]), alone);
    CHECK_INT(card.refused, 0);

    // what cannot be had in its place leaves it what it had
    size_t context = generator_context(g.items[0]);
    card.has = card.used;
    CHECK_INT(generator_resize(g.items[0], 2 * alone, &msg), ERR_NOMEM);
    CHECK_INT(generator_cache_bytes(g.items[0]), alone);
    CHECK_INT(generator_context(g.items[0]), context);
    CHECK(card.used > alone);
    generators_free(&g);
    CHECK_INT(card.used, 0);
}

// The CPU's copies are of this machine's memory; that they have no room keeps nothing from
// starting.
static void test_spare(void) {
    enum { USABLE = 64 << 20 };
    struct memory_plans plans = plans_of(USABLE, 1);
    struct generators_options o = options_of(true);
    struct generators g;
    struct errmsg msg = {0};
    begin(USABLE);
    CHECK_OK(generators_init(&g, &o, all, 1, &plans, &msg), msg);
    CHECK(plans.machine.spare > weights && plans.device.spare == 0);
    generators_free(&g);
    plans = plans_of(USABLE, 1);
    plans.machine.limit.bytes = memory_plan_sum(&plans.machine) + weights / 2;
    begin(USABLE);
    CHECK_OK(generators_init(&g, &o, all, 1, &plans, &msg), msg);
    CHECK_INT(plans.machine.spare, 0);
    generators_free(&g);
}

int main(void) {
    for (int i = 0; i < 2; i++) {
        models[i] = (struct model){.id = (uint64_t)i + 1,
                                   .name = "m",
                                   .task = TASK_GENERATE,
                                   .dtype = DTYPE_F32,
                                   .max_length = CONTEXT};
        all[i] = &models[i];
    }
    test_all_of_it();
    test_too_little();
    test_smaller_after_all();
    test_comes_and_goes();
    test_spare();
    return check_done();
}
