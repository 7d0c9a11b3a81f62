// See generators.h.
#include "engine/generators.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdint.h>

enum { DEFAULT_SEQUENCES = 32 };

static enum dtype choose_dtype(const struct generators_options *o, const struct model *m) {
    if (o->kv_dtype == KV_DTYPE_AUTO)
        return m->dtype == DTYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    return o->kv_dtype == KV_DTYPE_F16 ? DTYPE_F16 : DTYPE_F32;
}

static struct generator_options options_for(const struct generators *g, const struct model *m,
                                            size_t bytes) {
    const struct generators_options *o = &g->options;
    return (struct generator_options){
        .model = m,
        .replica = o->replica,
        .ahead = replica_facts(o->replica)->steps_ahead,
        .kv_bytes = bytes,
        .kv_dtype = choose_dtype(o, m),
        .max_sequences = o->max_sequences ? o->max_sequences : DEFAULT_SEQUENCES,
        .speculate = !o->no_speculation,
        .share_prefixes = o->share_prefixes,
        .masks = g->masks,
        .deaths_most = o->has_spare ? GENERATORS_DEATHS_HERE : 0,
        .release = o->release,
        .ctx = o->ctx,
    };
}

// ---- the memory of all: workspaces first, and of what is left each cache as much as the others

// What a model takes on the spare replica, when one of this size takes so much here.
static size_t spare_bytes(const struct generators *g, const struct model *m,
                          const struct generator_size *size) {
    size_t blocks = (size->context + size->block_tokens - 1) / size->block_tokens;
    size_t weights = replica_weight_bytes(g->options.replica, m->id);
    return memory_plan_add(memory_plan_add(weights, size->workspace_bytes),
                           blocks * (size->cache_bytes / size->blocks));
}

// Caches of this share each.
static enum err add_caches(const struct generators *g, const struct model *const *models, size_t n,
                           struct memory_plan *plan, size_t share, struct errmsg *msg) {
    struct generator_size size;
    enum err e = ERR_OK;
    plan->caches = plan->spare = 0;
    for (size_t i = 0; i < n && !e; i++) {
        struct generator_options sized = options_for(g, models[i], share);
        if ((e = generator_choose_size(&sized, &size, msg)))
            return e;
        plan->caches += size.cache_bytes;
        size_t spare = g->options.has_spare ? spare_bytes(g, models[i], &size) : 0;
        if (!g->options.spare_for_one)
            plan->spare = memory_plan_add(plan->spare, spare);
        else if (spare > plan->spare)
            plan->spare = spare;
    }
    return e;
}

// models[n] generate. *share: bytes that each one's cache may have.
static enum err add_to_plan(const struct generators *g, const struct model *const *models, size_t n,
                            struct memory_plan *plan, size_t *share, struct errmsg *msg) {
    struct generator_size size;
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && !e; i++) {
        struct generator_options any = options_for(g, models[i], SIZE_MAX); // whatever its size
        if (!(e = generator_choose_size(&any, &size, msg)))
            plan->workspaces = memory_plan_add(plan->workspaces, size.workspace_bytes);
    }
    // as large as was said, or as there is room beside all workspaces
    plan->spare = 0;
    size_t caches = g->options.cache_bytes ? g->options.cache_bytes : memory_plan_caches(plan);
    *share = n ? caches / n : 0;
    if (!e)
        e = add_caches(g, models, n, plan, *share, msg);
    if (!e && n > 0 && plan->spare > 0 && !g->options.cache_bytes &&
        memory_plan_check(plan, NULL)) {
        // smaller ones, beside what is kept for the spare
        plan->caches = 0;
        size_t beside = memory_plan_caches(plan);
        caches = beside < caches ? beside : caches;
        *share = caches / n;
        e = add_caches(g, models, n, plan, *share, msg);
    }
    if (e == ERR_TOO_LARGE && !g->options.cache_bytes) // what nobody asked for cannot be raised
        return memory_plan_no_room(plan, caches, msg);
    return e ? e : memory_plan_check(plan, msg);
}

// The models of all generators, and `more` where it is not NULL; the caller frees it. NULL: memory.
static const struct model **models_of(const struct generators *g, const struct model *more) {
    const struct model **models = mem_calloc(g->count + 1, sizeof(const struct model *));
    if (!models)
        return NULL;
    for (size_t i = 0; i < g->count; i++)
        models[i] = generator_model(g->items[i]);
    models[g->count] = more;
    return models;
}

// ---- coming and going

enum err generators_put(struct generators *g, struct generator *one, struct errmsg *msg) {
    struct generator **grown = mem_realloc(g->items, g->count + 1, sizeof(struct generator *));
    if (!grown)
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", g->count + 1);
    g->items = grown;
    g->items[g->count++] = one;
    return ERR_OK;
}

void generators_take(struct generators *g, const struct generator *one) {
    size_t at = 0;
    while (g->items[at] != one)
        at++;
    for (g->count--; at < g->count; at++)
        g->items[at] = g->items[at + 1];
}

static enum err make(struct generators *g, const struct model *m, size_t share,
                     struct generator **out, struct errmsg *msg) {
    if (!g->masks) {
        enum err e = masks_new(0, g->options.wake, g->options.ctx, &g->masks, msg);
        if (e)
            return e;
    }
    struct generator_options options = options_for(g, m, share);
    return generator_new(&options, out, msg);
}

enum err generators_make_spare(const struct generators *g, const struct model *m, size_t context,
                               struct generator **out, struct errmsg *msg) {
    struct generator_options options = options_for(g, m, SIZE_MAX);
    struct generator_size size;
    *out = NULL;
    options.deaths_most = 0;
    if (g->options.spare_for_one) {
        options.max_sequences = 1;
        options.ahead = 0;
    }
    enum err e = generator_choose_size(&options, &size, msg);
    if (e)
        return e;
    size_t blocks = (context + size.block_tokens - 1) / size.block_tokens;
    options.kv_bytes = blocks * (size.cache_bytes / size.blocks);
    return generator_new(&options, out, msg);
}

enum err generators_init(struct generators *g, const struct generators_options *options,
                         struct model *const *models, size_t n, struct memory_plan *plan,
                         struct errmsg *msg) {
    *g = (struct generators){.options = *options};
    const struct model **those = mem_calloc(n, sizeof(const struct model *));
    if (!those)
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", n);
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (models[i]->task == TASK_GENERATE)
            those[count++] = models[i];
    enum err e = add_to_plan(g, those, count, plan, &g->share, msg);
    for (size_t i = 0; i < count && !e; i++) {
        struct generator *one = NULL;
        e = make(g, those[i], g->share, &one, msg);
        if (!e && (e = generators_put(g, one, msg)))
            generator_free(one);
    }
    mem_free(those);
    if (e)
        generators_free(g);
    return e;
}

// The first n have caches of this share at most. On an error those before have.
static enum err resize(struct generators *g, size_t *n, size_t share, struct errmsg *msg) {
    enum err e = ERR_OK;
    for (*n = 0; *n < g->count && !(e = generator_resize(g->items[*n], share, msg));)
        ++*n;
    return e;
}

// A larger cache. Where memory is out the smaller one, which is right too, stays.
static void resize_or_keep(struct generator *g, size_t share) {
    struct errmsg msg = {0};
    if (generator_resize(g, share, &msg))
        log_event(LOG_LEVEL_WARN, "cache_kept",
                  LOG_FIELDS(log_string("model", generator_model(g)->name),
                             log_string("error", msg.text)),
                  "model '%s' keeps the KV cache that it has: %s", generator_model(g)->name,
                  msg.text);
}

enum err generators_make(struct generators *g, const struct model *m, struct memory_plan *plan,
                         struct generator **out, struct errmsg *msg) {
    const struct model **models = models_of(g, m);
    size_t share, done = 0;
    *out = NULL;
    if (!models)
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", g->count + 1);
    enum err e = add_to_plan(g, models, g->count + (m != NULL), plan, &share, msg);
    mem_free(models);
    for (size_t i = 0; i < g->count && !e; i++)
        e = generator_fits(g->items[i], share, msg); // before anything is set aside for it
    if (!e && m)
        e = make(g, m, share, out, msg);
    if (!e)
        e = resize(g, &done, share, msg);
    if (!e) {
        g->share = share;
        return ERR_OK;
    }
    while (done > 0) // to what it had
        resize_or_keep(g->items[--done], g->share);
    generator_free(*out);
    *out = NULL;
    return e;
}

void generators_share_out(struct generators *g, struct memory_plan *plan) {
    const struct model **models = models_of(g, NULL);
    size_t share;
    if (models && !add_to_plan(g, models, g->count, plan, &share, NULL)) {
        g->share = share;
        for (size_t i = 0; i < g->count; i++)
            resize_or_keep(g->items[i], share);
    }
    mem_free(models);
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

bool generators_busy(const struct generators *g) {
    for (size_t i = 0; i < g->count; i++)
        if (generator_count(g->items[i]) > 0)
            return true;
    return false;
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
