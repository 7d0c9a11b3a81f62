// Another cache for a generator while sequences run: of another size, or on another device. See
// generator.h.
#include "engine/generator_internal.h"

// The blocks that this one may come to hold: it was accepted with the room that there is now.
static size_t blocks_of(const struct generator *g, const struct sequence *s) {
    size_t most = s->g->prompt_len + s->g->max_tokens;
    most = most < g->context ? most : g->context;
    return (most + g->block_tokens - 1) / g->block_tokens;
}

static size_t most_blocks(const struct generator *g, const struct sequence *list, size_t most) {
    for (const struct sequence *s = list; s; s = s->next)
        most = blocks_of(g, s) > most ? blocks_of(g, s) : most;
    return most;
}

// Mutex held.
static enum err check_accepted(const struct generator *g, const struct generator_size *size,
                               struct errmsg *msg) {
    size_t most = most_blocks(g, g->waiting, most_blocks(g, g->inbox, 0));
    for (size_t i = 0; i < g->running_count; i++)
        most = blocks_of(g, g->running[i]) > most ? blocks_of(g, g->running[i]) : most;
    if (most <= size->blocks)
        return ERR_OK;
    return err_set(msg, ERR_TOO_LARGE,
                   "model '%s' would be left a KV cache of %zu tokens, and a text of up to %zu is "
                   "being generated; try again later, or raise --kv-cache-mib",
                   g->model->name, size->blocks * g->block_tokens, most * g->block_tokens);
}

static enum err choose(const struct generator *g, size_t kv_bytes, struct generator_options *o,
                       struct generator_size *size, struct errmsg *msg) {
    *o = g->options;
    o->kv_bytes = kv_bytes;
    return generator_choose_size(o, size, msg);
}

enum err generator_fits(struct generator *g, size_t kv_bytes, struct errmsg *msg) {
    struct generator_options options;
    struct generator_size size;
    enum err e = choose(g, kv_bytes, &options, &size, msg);
    pthread_mutex_lock(&g->mutex);
    if (!e)
        e = check_accepted(g, &size, msg);
    pthread_mutex_unlock(&g->mutex);
    return e;
}

// All running sequences are computed again there.
static void go_on_with(struct generator *g, struct generator_storage *storage) {
    generator_take_back(g);
    while (g->running_count > 0)
        generator_set_aside(g, g->running[g->running_count - 1]);
    generator_storage_swap(g, storage);
}

// What is submitted from here on is measured against the new size, what was before must fit.
static enum err take_size(struct generator *g, const struct generator_size *size, bool check,
                          struct errmsg *msg) {
    pthread_mutex_lock(&g->mutex);
    enum err e = check ? check_accepted(g, size, msg) : ERR_OK;
    if (!e) {
        g->context = size->context;
        g->cache_bytes = size->cache_bytes;
        g->stats.kv_blocks = size->blocks;
        g->stats.kv_bytes = size->cache_bytes;
        g->stats.kv_tokens = size->blocks * g->block_tokens;
    }
    pthread_mutex_unlock(&g->mutex);
    return e;
}

// Of a device with its own memory: what is there goes before the other comes, for there is no room
// for both.
static enum err replace(struct generator *g, const struct generator_options *options,
                        const struct generator_size *size, struct errmsg *msg) {
    struct generator_storage storage = {.replica = g->options.replica, .life = g->life};
    const struct generator_size had = {.block_tokens = g->block_tokens,
                                       .blocks = g->block_count,
                                       .context = g->context,
                                       .cache_bytes = g->cache_bytes};
    enum err e = take_size(g, size, true, msg);
    if (e)
        return e;
    go_on_with(g, &storage);
    generator_storage_free(&storage);
    e = generator_storage_new(options, size, &storage, msg);
    if (!e) {
        generator_storage_swap(g, &storage);
        return ERR_OK;
    }
    (void)take_size(g, &had, false, NULL);
    if (generator_storage_new(&g->options, &had, &storage, NULL)) // somebody else has taken it
        generator_end_all(g, ERR_NOMEM, "the device has no memory left for the model's cache");
    else
        generator_storage_swap(g, &storage);
    return e;
}

static enum err change(struct generator *g, const struct generator_options *options,
                       const struct generator_size *size, struct errmsg *msg) {
    struct generator_storage storage;
    enum err e = generator_storage_new(options, size, &storage, msg);
    if (e)
        return e;
    if (!(e = take_size(g, size, true, msg)))
        go_on_with(g, &storage);
    generator_storage_free(&storage);
    return e;
}

enum err generator_resize(struct generator *g, size_t kv_bytes, struct errmsg *msg) {
    struct generator_options options;
    struct generator_size size;
    enum err e = choose(g, kv_bytes, &options, &size, msg);
    if (e || size.blocks == g->block_count)
        return e;
    e = replica_facts(g->options.replica)->memory_bytes ? replace(g, &options, &size, msg)
                                                        : change(g, &options, &size, msg);
    if (!e) {
        g->options.kv_bytes = kv_bytes; // the one thing of them that changes
        g->block_count = size.blocks;
        generator_update_stats(g);
    }
    return e;
}

enum err generator_move(struct generator *g, struct replica *replica, struct errmsg *msg) {
    struct generator_options options = g->options;
    struct generator_storage storage;
    options.replica = replica;
    struct generator_size size = {
        .block_tokens = g->block_tokens, .blocks = g->block_count, .context = g->context};
    enum err e = generator_storage_new(&options, &size, &storage, msg);
    if (e)
        return e;
    go_on_with(g, &storage);
    generator_storage_free(&storage);
    return ERR_OK;
}
