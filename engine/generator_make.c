// How a generator is made, its storage, and the first step. See generator.h.
#include "engine/generator_internal.h"

#include "base/clock.h"
#include "base/mem.h"

enum {
    WARM_UP_TOKENS = 64,
    LEAST_BLOCKS = 2, // of a cache, where the model's context is not shorter
};

static size_t step_tokens_most(const struct generator_options *o) {
    return generator_chunk(o) + o->max_sequences + DRAFT_ROWS;
}
static size_t step_logits_most(size_t seqs) { return seqs + DRAFT_ROWS + SCORED_CHUNK; }

static struct step_limits limits_of(const struct generator_options *o, size_t block_tokens,
                                    size_t context) {
    return (struct step_limits){.block_tokens = block_tokens,
                                .max_tokens = step_tokens_most(o),
                                .max_seqs = o->max_sequences,
                                .max_logits = step_logits_most(o->max_sequences),
                                .max_context = context + block_tokens};
}

// What its replica says of the steps; whatever context they have.
static enum err size_steps(const struct generator_options *o, size_t block_tokens,
                           struct replica_step_sizes *out, struct errmsg *msg) {
    struct step_limits limits = limits_of(o, block_tokens, o->model->max_length);
    *out = (struct replica_step_sizes){0};
    enum err e = replica_size_steps(o->replica, o->model->id, &limits, o->kv_dtype, out, msg);
    if (!e && out->block_bytes == 0)
        e = err_set(msg, ERR_INTERNAL, "model '%s': a block of its cache takes no memory",
                    o->model->name);
    return e;
}

enum err generator_choose_size(const struct generator_options *options, struct generator_size *out,
                               struct errmsg *msg) {
    const struct model *m = options->model;
    size_t tokens = replica_facts(options->replica)->kv_block_tokens;
    size_t each = (m->max_length + tokens - 1) / tokens, most;
    struct replica_step_sizes sizes;
    enum err e = size_steps(options, tokens, &sizes, msg);
    if (e)
        return e;
    size_t block = sizes.block_bytes;
    size_t blocks = options->kv_bytes / block;
    size_t least = each < LEAST_BLOCKS ? each : LEAST_BLOCKS;
    if (blocks < least)
        return err_set(msg, ERR_TOO_LARGE,
                       "model '%s': a KV cache of %zu bytes holds no sequence, it takes %zu at "
                       "least; raise --kv-cache-mib",
                       m->name, options->kv_bytes, least * block);
    if (mem_mul_overflows(each, options->max_sequences, &most) || most > INT32_MAX / tokens)
        most = INT32_MAX / tokens;
    if (blocks > most)
        blocks = most;
    *out = (struct generator_size){
        .block_tokens = tokens,
        .blocks = blocks,
        .cache_bytes = blocks * block,
        .context = blocks < each ? blocks * tokens : m->max_length,
        .max_sequences = options->max_sequences,
        .workspace_bytes = sizes.workspace_bytes,
    };
    return ERR_OK;
}

enum err generator_storage_new(const struct generator_options *options,
                               const struct generator_size *size, struct generator_storage *out,
                               struct errmsg *msg) {
    struct step_engine_options o = {.limits = limits_of(options, size->block_tokens, size->context),
                                    .blocks = size->blocks,
                                    .kv_dtype = options->kv_dtype};
    // before it is opened: if a life ends meanwhile, the place has had nothing in it
    *out = (struct generator_storage){.replica = options->replica,
                                      .life = replica_health(options->replica).life};
    enum err e = replica_open_steps(options->replica, options->model->id, &o, &out->place, msg);
    for (size_t i = 0; i <= options->ahead && !e; i++)
        if ((e = step_new(&o.limits, &out->steps[i])))
            (void)err_set(msg, e, "no memory for the steps of model '%s'", options->model->name);
    if (!e)
        e = kv_blocks_new(size->blocks, size->block_tokens, &out->blocks, msg);
    if (e)
        generator_storage_free(out);
    return e;
}

void generator_storage_free(struct generator_storage *s) {
    for (size_t i = 0; i <= GENERATOR_AHEAD_MOST; i++)
        step_free(s->steps[i]);
    if (s->place)
        replica_close_steps(s->replica, s->place);
    kv_blocks_free(s->blocks);
    *s = (struct generator_storage){0};
}

static size_t workspace_bytes(const struct generator *g) {
    size_t steps = (1 + g->options.ahead) * step_bytes(&g->flights[0].step->limits);
    return steps + replica_step_bytes(g->options.replica, g->place);
}

void generator_storage_swap(struct generator *g, struct generator_storage *s) {
    struct generator_storage had = {
        .replica = g->options.replica, .place = g->place, .life = g->life, .blocks = g->blocks};
    for (size_t i = 0; i <= GENERATOR_AHEAD_MOST; i++) {
        had.steps[i] = g->flights[i].step;
        g->flights[i].step = s->steps[i];
    }
    g->options.replica = s->replica;
    g->place = s->place;
    g->life = s->life;
    g->blocks = s->blocks;
    if (g->flights[0].step)
        atomic_store(&g->workspace_bytes, workspace_bytes(g));
    *s = had;
}

enum err generator_new(const struct generator_options *options, struct generator **out,
                       struct errmsg *msg) {
    *out = NULL;
    const struct model *m = options->model;
    struct generator_size size = {0};
    enum err e = generator_choose_size(options, &size, msg);
    if (e)
        return e;
    struct generator *g = mem_calloc(1, sizeof *g);
    if (!g)
        return err_set(msg, ERR_NOMEM, "no memory for the generator of model '%s'", m->name);
    g->options = *options;
    g->model = m;
    g->block_tokens = size.block_tokens;
    g->block_count = size.blocks;
    g->context = size.context;
    g->cache_bytes = size.cache_bytes;
    g->inbox_tail = &g->inbox;
    pthread_mutex_init(&g->mutex, NULL);
    size_t seqs = options->max_sequences;
    struct generator_storage storage = {0};
    e = generator_storage_new(options, &size, &storage, msg);
    generator_storage_swap(g, &storage);
    if (!e && (!(g->running = mem_calloc(seqs, sizeof(struct sequence *))) ||
               turns_init(&g->turns, seqs)))
        e = err_set(msg, ERR_NOMEM, "no memory for %zu sequences", seqs);
    if (e) {
        generator_free(g);
        return e;
    }
    g->stats.kv_blocks = size.blocks;
    g->stats.kv_bytes = size.cache_bytes;
    g->stats.kv_tokens = size.blocks * size.block_tokens;
    *out = g;
    return ERR_OK;
}

void generator_free(struct generator *g) {
    if (!g)
        return;
    generator_take_back(g);
    struct generator_storage storage = {0};
    generator_storage_swap(g, &storage);
    generator_storage_free(&storage);
    pthread_mutex_destroy(&g->mutex);
    turns_free(&g->turns);
    mem_free(g->running);
    mem_free(g);
}

struct step *generator_begin_warm_up(struct generator *g) {
    size_t n = g->context < WARM_UP_TOKENS ? g->context : WARM_UP_TOKENS;
    int32_t ids[WARM_UP_TOKENS], blocks[WARM_UP_TOKENS];
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i % g->model->decoder_config.vocab);
    size_t count = (n + g->block_tokens - 1) / g->block_tokens;
    for (size_t i = 0; i < count; i++)
        blocks[i] = kv_blocks_take(g->blocks);
    struct step_part part = {.ids = ids,
                             .count = n,
                             .blocks = blocks,
                             .block_count = count,
                             .wanted = 1,
                             .draws = true,
                             .sampling = {.top_p = 1, .repetition_penalty = 1}}; // greedy
    struct step *step = g->flights[0].step;
    step_clear(step);
    (void)step_add(step, &part);
    g->flights[0].begun_us = clock_now_us();
    return step;
}

enum err generator_end_warm_up(struct generator *g, struct step *step, enum err e,
                               struct errmsg *msg) {
    const struct step_part *part = &step->parts[0];
    if (!e && part->err)
        e = err_set(msg, part->err, "model '%s': %s", g->model->name,
                    step_fault_words(part->fault));
    if (!e)
        g->warm_us = (double)(clock_now_us() - g->flights[0].begun_us) / (double)part->count;
    kv_blocks_release(g->blocks, step->block_tables, part->block_count);
    return e;
}
