// See step.h. Drawing is shared out over the device's threads, a sequence a task: within one the
// rows come in order, for a row counts only when the row before drew the token that it computes.
#include "engine/step.h"

#include "base/mem.h"

#include <string.h>

struct step_engine {
    const struct model *model;
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
    // Of each thread that draws.
    struct sampling_scratch **scratches; // [workers]
    uint64_t mask_work;                  // that this step has for each mask
    struct mat drawn_from;               // logits of the step that is drawn
};

void step_engine_free(struct step_engine *e) {
    if (!e)
        return;
    if (e->kv)
        e->device->ops->kv_free(e->device, e->kv);
    e->device->ops->workspace_free(e->device, &e->ws);
    for (size_t i = 0; e->scratches && i < e->device->workers; i++)
        sampling_scratch_free(e->scratches[i]);
    mem_free(e->scratches);
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
    size_t table, workers = e->device->workers;
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
    e->scratches = mem_calloc(workers, sizeof(struct sampling_scratch *));
    if (!e->ids || !e->positions || !e->slots || !e->cu_seqlens || !e->context_lens ||
        !e->block_tables || !e->logit_rows || !e->parts || !e->first_logit || !e->results ||
        !e->scratches)
        return false;
    for (size_t i = 0; i < workers; i++)
        if (sampling_scratch_new(e->vocab, &e->scratches[i]) != ERR_OK)
            return false;
    return true;
}

enum err step_engine_new(const struct model *m, const struct step_options *options,
                         struct step_engine **out, struct errmsg *msg) {
    *out = NULL;
    struct step_engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for the steps of model '%s'", m->name);
    *e = (struct step_engine){
        .model = m, .device = m->device, .options = *options, .vocab = m->decoder_config.vocab};
    e->table_stride = (options->max_context + options->block_tokens - 1) / options->block_tokens;
    struct kv_shape shape =
        decoder_kv_shape(m->decoder, options->block_tokens, options->blocks, options->kv_dtype);
    size_t bytes = decoder_workspace_bytes(m->decoder, options->max_tokens, options->max_logits);
    enum err err = m->device->ops->kv_new(m->device, &shape, &e->kv, msg);
    if (!err && (m->device->ops->workspace_new(m->device, bytes, &e->ws) || !make_arrays(e)))
        err = err_set(msg, ERR_NOMEM, "no memory for a workspace of %zu bytes for model '%s'",
                      bytes, m->name);
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
    e->parts[s].waits = false;
    e->parts[s].err = ERR_OK;
    e->parts[s].why = "";
    e->seqs++;
    return &e->parts[s];
}

static bool ends(const struct step_part *p, int32_t id) {
    for (size_t i = 0; i < p->end_count; i++)
        if (p->end_ids[i] == id)
            return true;
    return false;
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

// Draws one row; false when the rows behind it do not count.
static bool draw_row(struct step_engine *e, struct step_part *p, size_t row, const float *logits,
                     struct sampling_scratch *scratch, struct sampling_result *out) {
    struct mask_job *mask = p->mask;
    struct sampling_row r = {.logits = logits,
                             .vocab = e->vocab,
                             .sampling = p->sampling,
                             .history = p->history,
                             .position = p->position + row,
                             .top = p->top,
                             .want_logprob = p->want_logprob};
    if (mask) {
        if (mask->err)
            return fail(p, mask->err, mask->msg.text);
        r.mask = mask->constrained ? mask->mask : NULL;
    }
    sampling_draw(&r, scratch, out);
    if (out->id < 0)
        return fail_draw(e, p, out->end);
    p->drawn++;
    sampling_history_add(p->history, out->id);
    bool over = ends(p, out->id);
    if (mask && !over)
        mask_job_advance(mask, out->id, e->mask_work);
    // the row behind computes the token at this index, if there is one
    size_t next = p->count - p->wanted + row + 1;
    if (next >= p->count || p->ids[next] != out->id || over)
        return false;
    p->waits = mask && !mask_job_ready(mask);
    return !p->waits;
}

static void draw_part(void *ctx, size_t task, int worker) {
    struct step_engine *e = ctx;
    struct step_part *p = &e->parts[task];
    struct sampling_scratch *scratch = e->scratches[worker];
    for (size_t row = 0; row < p->wanted; row++) {
        size_t at = e->first_logit[task] + row;
        const float *logits = e->drawn_from.data + at * e->drawn_from.ld;
        struct sampling_result *out = &e->results[at];
        if (p->sampling) {
            if (!draw_row(e, p, row, logits, scratch, out))
                break;
        } else {
            sampling_score(logits, e->vocab, p->next[row], p->top, scratch, out);
            if (out->id < 0) {
                (void)fail_draw(e, p, out->end);
                break;
            }
            p->drawn++;
        }
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
    e->drawn_from = decoder_forward(e->model->decoder, &s, e->kv, &e->ws, hooks);
    enum err err = device_sync(e->device, msg);
    size_t masks = 0;
    for (size_t i = 0; i < e->seqs; i++)
        masks += e->parts[i].mask != NULL;
    e->mask_work = masks_work_of_step(masks);
    if (!err && e->logits > 0)
        device_each(e->device, e->seqs, draw_part, e);
    return err;
}
