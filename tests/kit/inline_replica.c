// See inline_replica.h.
#include "tests/kit/inline_replica.h"

#include <stdio.h>

static struct inline_replica *of(struct replica *r) { return (struct inline_replica *)r; }

static enum err size_steps(struct replica *r, uint64_t model, const struct step_limits *limits,
                           enum dtype kv_dtype, struct replica_step_sizes *out,
                           struct errmsg *msg) {
    const struct replica_model *m = of(r)->loaded;
    (void)model;
    *out = (struct replica_step_sizes){
        .block_bytes = step_engine_block_bytes(m, limits->block_tokens, kv_dtype),
        .workspace_bytes = step_engine_workspace_bytes(m, limits)};
    return out->block_bytes ? ERR_OK : err_set(msg, ERR_UNSUPPORTED, "no KV cache");
}

static enum err open_steps(struct replica *r, uint64_t model,
                           const struct step_engine_options *options, uint64_t *place,
                           struct errmsg *msg) {
    struct inline_replica *l = of(r);
    size_t at = 0;
    (void)model;
    while (at < INLINE_REPLICA_PLACES && l->engines[at])
        at++;
    if (at == INLINE_REPLICA_PLACES)
        return err_set(msg, ERR_INTERNAL, "a test opens more places than there are");
    *place = at + 1;
    return step_engine_new(l->loaded, options, &l->engines[at], msg);
}

static void close_steps(struct replica *r, uint64_t place) {
    step_engine_free(of(r)->engines[place - 1]);
    of(r)->engines[place - 1] = NULL;
}

static size_t step_bytes_of(struct replica *r, uint64_t place) {
    return step_engine_bytes(of(r)->engines[place - 1]);
}

static struct replica_health health(struct replica *r) {
    (void)r;
    return (struct replica_health){.condition = REPLICA_UP, .life = 1, .starts = 1};
}

void inline_replica_init(struct inline_replica *r, const struct replica_model *loaded) {
    static const struct replica_ops ops = {
        .size_steps = size_steps,
        .open_steps = open_steps,
        .close_steps = close_steps,
        .step_bytes = step_bytes_of,
        .health = health,
    };
    const struct device *d = loaded->device;
    *r = (struct inline_replica){
        .head = {.ops = &ops, .facts = {.kv_block_tokens = d->kv_block_tokens}}, .loaded = loaded};
    snprintf(r->head.facts.name, sizeof r->head.facts.name, "%s", d->ops->name);
    snprintf(r->head.facts.describe, sizeof r->head.facts.describe, "%s", d->describe);
}

struct step_engine *inline_replica_engine(const struct generator *g) {
    return of(g->options.replica)->engines[generator_place(g) - 1];
}

// The step that was begun ahead, if it is to be computed; else a new one.
static struct step *next_step(struct generator *g) {
    const struct flight *ahead = generator_oldest(g);
    struct step *step = ahead ? ahead->step : NULL;
    if (step && generator_step_is_gone(step)) {
        generator_end_step(g, step, false, ERR_CANCELLED, "the client is gone");
        step = NULL;
    }
    return step ? step : generator_begin_step(g);
}

bool inline_replica_step(struct generator *g, const struct forward_hooks *hooks) {
    struct step *step = next_step(g);
    if (!step)
        return false;
    struct errmsg msg = {0};
    struct step_engine *engine = inline_replica_engine(g);
    (void)generator_fill_masks(g, step, false); // threads are at what takes long meanwhile
    enum err e = step_engine_forward(engine, step, hooks, &msg);
    if (!e && generator_fill_masks(g, step, true))
        e = step_engine_draw(engine, step, &msg);
    if (!e)
        (void)generator_begin_step(g);
    generator_end_step(g, step, true, e, msg.text);
    return true;
}

enum err inline_replica_warm_up(struct generator *g, struct errmsg *msg) {
    struct step *step = generator_begin_warm_up(g);
    struct step_engine *engine = inline_replica_engine(g);
    enum err e = step_engine_forward(engine, step, NULL, msg);
    if (!e)
        e = step_engine_draw(engine, step, msg);
    return generator_end_warm_up(g, step, e, msg);
}
