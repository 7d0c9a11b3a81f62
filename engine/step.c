// See step.h.
#include "engine/step.h"

#include "base/mem.h"

#include <string.h>

struct step_engine {
    const struct replica_model *model;
    struct device *device;
    struct step_options options;
    struct kv_cache *kv;
    size_t vocab, table_stride;
    struct arena ws;
    // The step being put together.
    int32_t *ids, *positions, *slots;   // [max_tokens]
    int32_t *cu_seqlens, *context_lens; // [max_seqs + 1], [max_seqs]
    int32_t *block_tables;              // [max_seqs, table_stride]
    int32_t *logit_rows;                // [max_logits]
    struct step_part *parts;            // [max_seqs]
    size_t *first_logit;                // [max_seqs]
    size_t tokens, seqs, logits;
    struct sampling_result *results; // [max_logits]
    uint64_t mask_work;              // that this step has for each mask
    // Of the draw: parts, whose they are, their masks and the rows that are next.
    struct draw_part *draws; // [max_seqs]
    size_t *drawing, *last_row;
    const uint32_t **masks;
};

void step_engine_free(struct step_engine *e) {
    if (!e)
        return;
    if (e->kv)
        e->device->ops->kv_free(e->device, e->kv);
    e->device->ops->workspace_free(e->device, &e->ws);
    mem_free(e->draws);
    mem_free(e->drawing);
    mem_free(e->last_row);
    mem_free(e->masks);
    mem_free(e->ids);
    mem_free(e->positions);
    mem_free(e->slots);
    mem_free(e->cu_seqlens);
    mem_free(e->context_lens);
    mem_free(e->block_tables);
    mem_free(e->logit_rows);
    mem_free(e->parts);
    mem_free(e->first_logit);
    mem_free(e->results);
    mem_free(e);
}

static bool make_arrays(struct step_engine *e) {
    const struct step_options *o = &e->options;
    size_t table;
    if (mem_mul_overflows(o->max_seqs, e->table_stride, &table))
        return false;
    e->ids = mem_calloc(o->max_tokens, sizeof *e->ids);
    e->positions = mem_calloc(o->max_tokens, sizeof *e->positions);
    e->slots = mem_calloc(o->max_tokens, sizeof *e->slots);
    e->cu_seqlens = mem_calloc(o->max_seqs + 1, sizeof *e->cu_seqlens);
    e->context_lens = mem_calloc(o->max_seqs, sizeof *e->context_lens);
    e->block_tables = mem_calloc(table, sizeof *e->block_tables);
    e->logit_rows = mem_calloc(o->max_logits, sizeof *e->logit_rows);
    e->parts = mem_calloc(o->max_seqs, sizeof *e->parts);
    e->first_logit = mem_calloc(o->max_seqs, sizeof *e->first_logit);
    e->results = mem_calloc(o->max_logits, sizeof *e->results);
    e->draws = mem_calloc(o->max_seqs, sizeof *e->draws);
    e->drawing = mem_calloc(o->max_seqs, sizeof *e->drawing);
    e->last_row = mem_calloc(o->max_seqs, sizeof *e->last_row);
    e->masks = mem_calloc(o->max_seqs, sizeof *e->masks);
    if (!e->ids || !e->positions || !e->slots || !e->cu_seqlens || !e->context_lens ||
        !e->block_tables || !e->logit_rows || !e->parts || !e->first_logit || !e->results ||
        !e->draws || !e->drawing || !e->last_row || !e->masks)
        return false;
    return true;
}

size_t step_workspace_bytes(const struct replica_model *m, size_t tokens, size_t logits) {
    size_t forward = decoder_workspace_bytes(m->decoder, tokens, logits),
           draw = m->device->ops->draw_bytes(m->device, m->model->decoder_config.vocab), sum;
    return __builtin_add_overflow(forward, draw, &sum) ? SIZE_MAX : sum;
}

enum err step_engine_new(const struct replica_model *m, const struct step_options *options,
                         struct step_engine **out, struct errmsg *msg) {
    *out = NULL;
    struct step_engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for the steps of model '%s'", m->model->name);
    *e = (struct step_engine){.model = m,
                              .device = m->device,
                              .options = *options,
                              .vocab = m->model->decoder_config.vocab};
    e->table_stride = (options->max_context + options->block_tokens - 1) / options->block_tokens;
    struct kv_shape shape =
        decoder_kv_shape(m->decoder, options->block_tokens, options->blocks, options->kv_dtype);
    size_t bytes = step_workspace_bytes(m, options->max_tokens, options->max_logits);
    enum err err = m->device->ops->kv_new(m->device, &shape, &e->kv, msg);
    if (!err && (m->device->ops->workspace_new(m->device, bytes, &e->ws) || !make_arrays(e)))
        err = err_set(msg, ERR_NOMEM, "no memory for a workspace of %zu bytes for model '%s'",
                      bytes, m->model->name);
    if (err) {
        step_engine_free(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

size_t step_engine_bytes(const struct step_engine *e) {
    const struct step_options *o = &e->options;
    return e->ws.size + o->max_seqs * (e->table_stride * sizeof(int32_t) + sizeof *e->parts) +
           o->max_tokens * 3 * sizeof(int32_t) + o->max_logits * sizeof *e->results;
}

void step_clear(struct step_engine *e) { e->tokens = e->seqs = e->logits = 0; }

size_t step_room(const struct step_engine *e) {
    return e->seqs < e->options.max_seqs ? e->options.max_tokens - e->tokens : 0;
}

size_t step_logits_room(const struct step_engine *e) { return e->options.max_logits - e->logits; }
size_t step_tokens(const struct step_engine *e) { return e->tokens; }
size_t step_parts(const struct step_engine *e) { return e->seqs; }
struct step_part *step_part_at(struct step_engine *e, size_t i) {
    return &e->parts[i];
}

struct step_part *step_add(struct step_engine *e, const struct step_part *part) {
    if (part->count > step_room(e) || part->wanted > step_logits_room(e) ||
        part->block_count > e->table_stride)
        return NULL;
    size_t s = e->seqs, bt = e->options.block_tokens;
    for (size_t i = 0; i < part->count; i++) {
        size_t at = part->context + i;
        e->ids[e->tokens + i] = part->ids[i];
        e->positions[e->tokens + i] = (int32_t)at;
        e->slots[e->tokens + i] = part->blocks[at / bt] * (int32_t)bt + (int32_t)(at % bt);
    }
    memcpy(e->block_tables + s * e->table_stride, part->blocks,
           part->block_count * sizeof *part->blocks);
    e->cu_seqlens[s] = (int32_t)e->tokens;
    e->context_lens[s] = (int32_t)(part->context + part->count);
    e->tokens += part->count;
    e->cu_seqlens[s + 1] = (int32_t)e->tokens;
    e->first_logit[s] = e->logits;
    for (size_t i = part->wanted; i > 0; i--)
        e->logit_rows[e->logits++] = (int32_t)(e->tokens - i);
    e->parts[s] = *part;
    e->parts[s].results = &e->results[e->first_logit[s]];
    e->parts[s].drawn = 0;
    e->parts[s].waits = e->parts[s].over = false;
    e->last_row[s] = e->tokens - part->wanted;
    e->parts[s].err = ERR_OK;
    e->parts[s].why = "";
    e->seqs++;
    return &e->parts[s];
}

static bool fail(struct step_part *p, enum err err, const char *why) {
    p->err = err;
    p->why = why;
    return false;
}

static bool allows_any(const struct mask_job *mask, size_t vocab) {
    for (size_t i = 0; mask && mask->constrained && i < (vocab + 31) / 32; i++)
        if (mask->mask[i])
            return true;
    return false;
}

// What a row without a token is called.
static bool fail_draw(const struct step_engine *e, struct step_part *p, enum sampling_end end) {
    switch (end) {
    case SAMPLING_NONFINITE:
        return fail(p, ERR_NONFINITE, "the model gave logits that are not finite");
    case SAMPLING_OVERFLOW:
        return fail(p, ERR_INVALID, "'logit_bias' and penalties leave no logit that is finite");
    case SAMPLING_DRAWN:
    case SAMPLING_NONE:
        break;
    }
    if (allows_any(p->mask, e->vocab))
        return fail(p, ERR_INVALID, "'logit_bias' forbids every token that the grammar allows");
    return fail(p, ERR_INTERNAL, "the text has ended where another token was to come");
}

static bool ends(const struct step_part *p, int32_t id) {
    for (size_t i = 0; i < p->end_count; i++)
        if (p->end_ids[i] == id)
            return true;
    return false;
}

// The draw of the part's rows that are next; false: there is none. Under a grammar one at a time.
static bool next_draw(struct step_engine *e, size_t i, struct draw_part *d) {
    struct step_part *p = &e->parts[i];
    if (p->wanted == 0 || p->drawn == p->wanted || p->err || p->over)
        return false;
    struct mask_job *mask = p->mask;
    if (mask && mask->err)
        return fail(p, mask->err, mask->msg.text);
    size_t row = e->first_logit[i] + p->drawn;
    e->masks[i] = mask && mask->constrained ? mask->mask : NULL;
    *d = (struct draw_part){.first = row,
                            .count = mask ? 1 : p->wanted,
                            .sampling = p->sampling,
                            .history = p->history,
                            .masks = mask ? &e->masks[i] : NULL,
                            .next = p->sampling ? e->ids + e->last_row[i] + 1 : p->next,
                            .end_ids = p->end_ids,
                            .end_count = p->end_count,
                            .position = p->position + p->drawn,
                            .top = p->top,
                            .want_logprob = p->want_logprob,
                            .results = &e->results[row]};
    return true;
}

static void take_draw(struct step_engine *e, size_t i, const struct draw_part *d) {
    struct step_part *p = &e->parts[i];
    size_t before = p->drawn;
    p->drawn += d->drawn;
    p->over = true;
    for (size_t k = before; p->sampling && p->history && k < p->drawn; k++)
        sampling_history_add(p->history, p->results[k].id);
    if (d->failed) {
        (void)fail_draw(e, p, d->results[d->drawn].end);
        return;
    }
    if (!p->mask)
        return;
    int32_t id = p->results[before].id;
    bool over = ends(p, id);
    if (!over)
        mask_job_advance(p->mask, id, e->mask_work);
    e->last_row[i]++;
    if (p->drawn == p->wanted || e->ids[e->last_row[i]] != id || over)
        return;
    p->waits = !mask_job_ready(p->mask);
    p->over = p->waits;
}

static enum err draw(struct step_engine *e, struct mat logits, struct errmsg *msg) {
    for (;;) {
        struct draw_args a = {.logits = logits, .parts = e->draws};
        for (size_t i = 0; i < e->seqs; i++)
            if (next_draw(e, i, &e->draws[a.count]))
                e->drawing[a.count++] = i;
        if (a.count == 0)
            return ERR_OK;
        e->device->ops->draw(e->device, &a, &e->ws);
        enum err err = device_sync(e->device, msg);
        if (err)
            return err;
        for (size_t k = 0; k < a.count; k++)
            take_draw(e, e->drawing[k], &e->draws[k]);
    }
}

enum err step_run(struct step_engine *e, const struct forward_hooks *hooks, struct errmsg *msg) {
    struct decoder_step s = {.ids = e->ids,
                             .positions = e->positions,
                             .slots = e->slots,
                             .cu_seqlens = e->cu_seqlens,
                             .context_lens = e->context_lens,
                             .block_tables = e->block_tables,
                             .table_stride = e->table_stride,
                             .tokens = e->tokens,
                             .seqs = e->seqs,
                             .logit_rows = e->logit_rows,
                             .logit_count = e->logits};
    arena_reset(&e->ws);
    struct mat logits = decoder_forward(e->model->decoder, &s, e->kv, &e->ws, hooks);
    enum err err = device_sync(e->device, msg);
    size_t masks = 0;
    for (size_t i = 0; i < e->seqs; i++)
        masks += e->parts[i].mask != NULL;
    e->mask_work = masks_work_of_step(masks);
    return err || e->logits == 0 ? err : draw(e, logits, msg);
}
