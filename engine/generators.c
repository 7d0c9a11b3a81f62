// See generators.h.
#include "engine/generators.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdint.h>

enum { DEFAULT_SEQUENCES = 32, LESS_SHARE = 4, LESS_TRIES = 8 };

static enum dtype choose_dtype(const struct generators_options *o, const struct model *m) {
    if (o->kv_dtype == KV_DTYPE_AUTO)
        return m->dtype == DTYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    return o->kv_dtype == KV_DTYPE_F16 ? DTYPE_F16 : DTYPE_F32;
}

// As large as its batches of other texts: what makes it work well there does here.
static size_t choose_chunk(size_t batch_tokens) {
    return batch_tokens < GENERATOR_CHUNK        ? GENERATOR_CHUNK
           : batch_tokens > GENERATOR_CHUNK_MOST ? GENERATOR_CHUNK_MOST
                                                 : batch_tokens;
}

static struct generator_options options_for(const struct generators *g, const struct model *m,
                                            size_t bytes) {
    const struct generators_options *o = &g->options;
    return (struct generator_options){
        .model = m,
        .replica = o->replica,
        .ahead = replica_facts(o->replica)->steps_ahead,
        .chunk = choose_chunk(replica_facts(o->replica)->batch_tokens),
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
                           struct memory_plans *plans, size_t share, struct errmsg *msg) {
    struct memory_plan *plan = memory_plans_of_replica(plans), *machine = &plans->machine;
    struct generator_size size;
    enum err e = ERR_OK;
    plan->caches = machine->spare = 0;
    for (size_t i = 0; i < n && !e; i++) {
        struct generator_options sized = options_for(g, models[i], share);
        if ((e = generator_choose_size(&sized, &size, msg)))
            return e;
        plan->caches += size.cache_bytes;
        size_t spare = g->options.has_spare ? spare_bytes(g, models[i], &size) : 0;
        if (!g->options.spare_for_one)
            machine->spare = memory_plan_add(machine->spare, spare);
        else if (spare > machine->spare)
            machine->spare = spare;
    }
    return e;
}

// Memory of this machine for what the device leaves when it is lost. It starts without, for the
// device has all that it needs: what the spare cannot have then it refuses by itself.
static enum err check_beside(const struct generators *g, struct memory_plan *machine,
                             struct errmsg *msg) {
    struct errmsg why = {0};
    if (!memory_plan_check(machine, &why))
        return ERR_OK;
    struct memory_plan without = *machine;
    without.spare = 0;
    enum err e = memory_plan_check(&without, msg);
    if (!e)
        log_event(LOG_LEVEL_WARN, "fallback_memory", LOG_FIELDS(log_string("why", why.text)),
                  "this machine has no memory for all that %s would leave it with: %s",
                  replica_facts(g->options.replica)->name, why.text);
    *machine = without;
    return e;
}

// models[n] generate. *share: bytes that each one's cache may have.
static enum err add_to_plan(const struct generators *g, const struct model *const *models, size_t n,
                            struct memory_plans *plans, size_t *share, struct errmsg *msg) {
    struct memory_plan *plan = memory_plans_of_replica(plans), *machine = &plans->machine;
    struct generator_size size;
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && !e; i++) {
        struct generator_options any = options_for(g, models[i], SIZE_MAX); // whatever its size
        if (!(e = generator_choose_size(&any, &size, msg)))
            plan->workspaces = memory_plan_add(plan->workspaces, size.workspace_bytes);
    }
    // as large as was said, or as there is room beside all workspaces
    machine->spare = 0;
    size_t caches = g->options.cache_bytes ? g->options.cache_bytes : memory_plan_caches(plan);
    *share = n ? caches / n : 0;
    if (!e)
        e = add_caches(g, models, n, plans, *share, msg);
    if (!e && n > 0 && plan->spare > 0 && !g->options.cache_bytes &&
        memory_plan_check(plan, NULL)) {
        // smaller ones, beside what is kept for the spare
        plan->caches = 0;
        size_t beside = memory_plan_caches(plan);
        caches = beside < caches ? beside : caches;
        *share = caches / n;
        e = add_caches(g, models, n, plans, *share, msg);
    }
    if (e == ERR_TOO_LARGE && !g->options.cache_bytes) // what nobody asked for cannot be raised
        return memory_plan_no_room(plan, caches, msg);
    if (!e)
        e = memory_plan_check(plan, msg);
    return e || !plans->apart ? e : check_beside(g, machine, msg);
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

// All of them, at this share. On an error none is left.
static enum err make_all(struct generators *g, const struct model *const *models, size_t n,
                         struct errmsg *msg) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && !e; i++) {
        struct generator *one = NULL;
        e = make(g, models[i], g->share, &one, msg);
        if (!e && (e = generators_put(g, one, msg)))
            generator_free(one);
    }
    while (e && g->count > 0)
        generator_free(g->items[--g->count]);
    return e;
}

// Whether the device may have room for smaller caches, where it had none for those that were
// planned: what others hold of it, and what lies between what it gives, nobody knows beforehand.
static bool plan_less(const struct generators *g, struct memory_plans *plans,
                      const struct errmsg *why) {
    struct memory_plan *d = &plans->device;
    size_t less = d->caches / LESS_SHARE;
    if (!plans->apart || g->options.cache_bytes || less == 0 || less > d->limit.bytes)
        return false;
    d->limit.bytes -= less;
    log_event(LOG_LEVEL_WARN, "cache_smaller",
              LOG_FIELDS(log_string("why", why->text), log_size("bytes", d->caches - less)),
              "the GPU has less memory than was planned with: KV caches of %zu MiB are tried (%s)",
              (d->caches - less) >> 20, why->text);
    return true;
}

enum err generators_init(struct generators *g, const struct generators_options *options,
                         struct model *const *models, size_t n, struct memory_plans *plans,
                         struct errmsg *msg) {
    *g = (struct generators){.options = *options};
    const struct model **those = mem_calloc(n, sizeof(const struct model *));
    if (!those)
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", n);
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (models[i]->task == TASK_GENERATE)
            those[count++] = models[i];
    size_t workspaces = memory_plans_of_replica(plans)->workspaces;
    struct errmsg why = {0};
    enum err e;
    int tries = 0;
    do {
        memory_plans_of_replica(plans)->workspaces = workspaces;
        e = add_to_plan(g, those, count, plans, &g->share, &why);
        if (!e)
            e = make_all(g, those, count, &why);
    } while (e == ERR_NOMEM && ++tries < LESS_TRIES && plan_less(g, plans, &why));
    if (e && msg)
        *msg = why;
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

enum err generators_make(struct generators *g, const struct model *m, struct memory_plans *plans,
                         struct generator **out, struct errmsg *msg) {
    const struct model **models = models_of(g, m);
    size_t share, done = 0;
    *out = NULL;
    if (!models)
        return err_set(msg, ERR_NOMEM, "no memory for %zu generators", g->count + 1);
    enum err e = add_to_plan(g, models, g->count + (m != NULL), plans, &share, msg);
    mem_free(models);
    for (size_t i = 0; i < g->count && !e; i++)
        e = generator_fits(g->items[i], share, msg); // before anything is set aside for it
    if (!e && plans->apart) // a device gives nothing twice: the new one has what the others lose
        e = resize(g, &done, share, msg);
    if (!e && m)
        e = make(g, m, share, out, msg);
    if (!e && !plans->apart)
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

void generators_share_out(struct generators *g, struct memory_plans *plans) {
    const struct model **models = models_of(g, NULL);
    size_t share;
    if (models && !add_to_plan(g, models, g->count, plans, &share, NULL)) {
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
