// The memory of all generators is added up from what replicas say, which may be another process's
// word, and more than a size counts: the sum is then refused, and does not begin again at nothing.
#include "engine/generators.h"
#include "tests/check.h"

#include <stdint.h>

enum { MODELS = 2, BLOCK_BYTES = 4096 };

static size_t workspace, weights; // what the replica says
static int opened;

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

static struct replica_health health(struct replica *r) {
    (void)r;
    return (struct replica_health){.life = 1};
}

static enum err open_steps(struct replica *r, uint64_t model,
                           const struct step_engine_options *options, uint64_t *place,
                           struct errmsg *msg) {
    (void)r, (void)model, (void)options;
    *place = 0;
    opened++;
    return err_set(msg, ERR_INTERNAL, "it was to be refused before");
}

static void wake(void *ctx) { (void)ctx; }
static void release(void *ctx, size_t tokens) { (void)ctx, (void)tokens; }

static enum err plan_for(size_t steps, size_t of_weights, bool has_spare) {
    static const struct replica_ops ops = {.size_steps = size_steps,
                                           .weight_bytes = weight_bytes,
                                           .health = health,
                                           .open_steps = open_steps};
    struct replica replica = {.ops = &ops, .facts = {.name = "vast", .kv_block_tokens = 16}};
    struct model models[MODELS], *all[MODELS];
    for (int i = 0; i < MODELS; i++) {
        models[i] = (struct model){
            .name = "m", .task = TASK_GENERATE, .dtype = DTYPE_F32, .max_length = 64};
        all[i] = &models[i];
    }
    struct generators_options o = {.replica = &replica,
                                   .cache_bytes = (size_t)1 << 20,
                                   .has_spare = has_spare,
                                   .release = release,
                                   .wake = wake};
    struct memory_plans plans = {0};
    struct generators g;
    struct errmsg msg = {0};
    workspace = steps;
    weights = of_weights;
    memory_plan_begin(&plans.machine);
    enum err e = generators_init(&g, &o, all, MODELS, &plans, &msg);
    CHECK(e && msg.text[0]);
    return e;
}

int main(void) {
    CHECK_INT(plan_for(1000, 1000, true), ERR_INTERNAL); // it fits, and is opened
    CHECK_INT(opened, 1);
    opened = 0;
    CHECK_INT(plan_for(SIZE_MAX, 0, false), ERR_TOO_LARGE);
    CHECK_INT(plan_for(SIZE_MAX / 2 + 1, 0, false), ERR_TOO_LARGE); // twice: 0
    CHECK_INT(plan_for(1000, SIZE_MAX - 999, true), ERR_TOO_LARGE); // weights and steps: 0
    CHECK_INT(plan_for(0, SIZE_MAX / 2 + 1, true), ERR_TOO_LARGE);  // on the spare, twice
    CHECK_INT(opened, 0);
    return check_done();
}
