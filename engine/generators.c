// See generators.h.
#include "engine/generators.h"

#include "base/mem.h"

#include <stdint.h>

enum { DEFAULT_SEQUENCES = 32 };

static enum dtype choose_dtype(const struct generators_options *o, const struct model *m) {
    if (o->kv_dtype == KV_DTYPE_AUTO)
        return m->dtype == DTYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    return o->kv_dtype == KV_DTYPE_F16 ? DTYPE_F16 : DTYPE_F32;
}

static size_t count_models(const struct generators_options *o) {
    size_t n = 0;
    for (size_t i = 0; i < o->model_count; i++)
        n += o->models[i]->task == TASK_GENERATE;
    return n;
}

// For one of them; they share the caches' memory evenly.
static struct generator_options options_for(const struct generators_options *o, struct model *m,
                                            size_t caches) {
    return (struct generator_options){
        .model = m,
        .loaded = replica_local_find(o->replica, m->id),
        .kv_bytes = caches / count_models(o),
        .kv_dtype = choose_dtype(o, m),
        .max_sequences = o->max_sequences ? o->max_sequences : DEFAULT_SEQUENCES,
        .speculate = !o->no_speculation,
        .share_prefixes = o->share_prefixes,
        .release = o->release,
        .ctx = o->ctx,
    };
}

// The cache is as large as was said, or as there is room beside all workspaces.
static enum err add_to_plan(const struct generators_options *o, struct memory_plan *plan,
                            size_t *caches, struct errmsg *msg) {
    struct generator_size size;
    enum err e = ERR_OK;
    for (size_t i = 0; i < o->model_count && !e; i++) {
        struct model *m = o->models[i];
        if (m->task != TASK_GENERATE)
            continue;
        struct generator_options any = options_for(o, m, SIZE_MAX); // whatever the cache's size
        if (!(e = generator_choose_size(&any, &size, msg)))
            plan->workspaces += size.workspace_bytes;
    }
    *caches = o->cache_bytes ? o->cache_bytes : memory_plan_caches(plan);
    for (size_t i = 0; i < o->model_count && !e; i++) {
        struct model *m = o->models[i];
        if (m->task != TASK_GENERATE)
            continue;
        struct generator_options sized = options_for(o, m, *caches);
        if (!(e = generator_choose_size(&sized, &size, msg)))
            plan->caches += size.cache_bytes;
    }
    // what nobody asked for cannot be raised
    return e == ERR_TOO_LARGE && !o->cache_bytes ? memory_plan_no_room(plan, *caches, msg) : e;
}

enum err generators_init(struct generators *g, const struct generators_options *options,
                         struct memory_plan *plan, struct errmsg *msg) {
    *g = (struct generators){0};
    size_t n = count_models(options), caches;
    enum err e = add_to_plan(options, plan, &caches, msg);
    if (!e)
        e = memory_plan_check(plan, msg);
    if (e || n == 0)
        return e;
    g->items = mem_calloc(n, sizeof(struct generator *));
    if (!g->items)
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", n);
    e = masks_new(0, options->wake, options->ctx, &g->masks, msg);
    if (e) {
        generators_free(g);
        return e;
    }
    for (size_t i = 0; i < options->model_count; i++) {
        struct model *m = options->models[i];
        if (m->task != TASK_GENERATE)
            continue;
        struct generator_options each = options_for(options, m, caches);
        each.masks = g->masks;
        e = generator_new(&each, &g->items[g->count], msg);
        if (e) {
            generators_free(g);
            return e;
        }
        g->count++;
    }
    return ERR_OK;
}

void generators_free(struct generators *g) {
    for (size_t i = 0; i < g->count; i++)
        generator_free(g->items[i]);
    masks_free(g->masks);
    mem_free(g->items);
    *g = (struct generators){0};
}

struct generator *generators_find(const struct generators *g, const struct model *m) {
    for (size_t i = 0; i < g->count; i++)
        if (generator_model(g->items[i]) == m)
            return g->items[i];
    return NULL;
}

size_t generators_count(const struct generators *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->count; i++)
        n += generator_count(g->items[i]);
    return n;
}

bool generators_busy(const struct generators *g) { return generators_count(g) > 0; }

unsigned generators_ready(const struct generators *g) {
    unsigned shares = 0;
    for (size_t i = 0; i < g->count; i++)
        if (generator_busy(g->items[i]))
            shares |= generator_ready(g->items[i]);
    return shares;
}

void generators_tend(struct generators *g) {
    for (size_t i = 0; i < g->count; i++)
        if (generator_busy(g->items[i]) && !generator_ready(g->items[i]))
            generator_tend(g->items[i]);
}

struct generator *generators_next(struct generators *g, unsigned shares) {
    for (size_t i = 0; i < g->count; i++) {
        struct generator *one = g->items[g->turn++ % g->count];
        if (generator_busy(one) && generator_ready(one) & shares)
            return one;
    }
    return NULL;
}

enum err generators_warm_up(struct generators *g, const struct forward_hooks *hooks,
                            struct errmsg *msg) {
    for (size_t i = 0; i < g->count; i++) {
        enum err e = generator_warm_up(g->items[i], hooks, msg);
        if (e)
            return e;
    }
    return ERR_OK;
}

void generators_end(struct generators *g, enum err err, const char *why) {
    for (size_t i = 0; i < g->count; i++)
        generator_end_all(g->items[i], err, why);
}

size_t generators_workspace_bytes(const struct generators *g) {
    size_t bytes = 0;
    for (size_t i = 0; i < g->count; i++)
        bytes += generator_workspace_bytes(g->items[i]);
    return bytes;
}

void generators_add_stats(struct generators *g, struct generation_stats *sum) {
    for (size_t i = 0; i < g->count; i++)
        generator_add_stats(g->items[i], sum);
}
