// See step_engine.h. What is kept of a sequence is found by its number. It is made again from the
// step's part where it is not there, or is ahead of what the part says (a row that did not count).
#include "engine/step_engine.h"

#include "base/mem.h"

#include <string.h>

// What is kept of one sequence.
struct said {
    uint64_t sequence; // 0: nobody's
    uint64_t used;     // number of the last step with it
    int32_t last;      // drawn in that step; STEP_LAST_DRAWN: none was
    bool has_history;
    size_t outputs; // in the history
    struct sampling_history history;
};

struct step_engine {
    const struct replica_model *model;
    struct device *device;
    struct step_engine_options options;
    struct kv_cache *kv;
    size_t vocab;
    struct arena ws;
    bool kept;         // the device keeps what it can of the steps that decode
    uint64_t number;   // of the step at hand
    struct mat logits; // of its forward
    int32_t *ids;      // [max_tokens] with the tokens that were drawn last
    struct said *said; // [max_seqs]
    struct said **of;  // [max_seqs] of each part that draws
    bool *lost;        // [max_seqs] the part's first token is not known
    struct draw_part *draws;
    size_t *drawing; // [max_seqs] the part of each draw
};

void step_engine_free(struct step_engine *e) {
    if (!e)
        return;
    if (e->kv)
        e->device->ops->kv_free(e->device, e->kv);
    e->device->ops->workspace_free(e->device, &e->ws);
    for (size_t i = 0; e->said && i < e->options.limits.max_seqs; i++)
        sampling_history_free(&e->said[i].history);
    mem_free(e->ids);
    mem_free(e->said);
    mem_free(e->of);
    mem_free(e->lost);
    mem_free(e->draws);
    mem_free(e->drawing);
    mem_free(e);
}

static bool make_arrays(struct step_engine *e) {
    const struct step_limits *l = &e->options.limits;
    e->ids = mem_calloc(l->max_tokens, sizeof *e->ids);
    e->said = mem_calloc(l->max_seqs, sizeof *e->said);
    e->of = mem_calloc(l->max_seqs, sizeof(struct said *));
    e->lost = mem_calloc(l->max_seqs, sizeof *e->lost);
    e->draws = mem_calloc(l->max_seqs, sizeof *e->draws);
    e->drawing = mem_calloc(l->max_seqs, sizeof *e->drawing);
    return e->ids && e->said && e->of && e->lost && e->draws && e->drawing;
}

size_t step_engine_block_bytes(const struct replica_model *m, size_t block_tokens, enum dtype kv) {
    struct kv_shape one = decoder_kv_shape(m->decoder, block_tokens, 1, kv);
    return m->device->ops->kv_block_bytes(m->device, &one);
}

// Of a forward, and of drawing from what it gives.
size_t step_engine_workspace_bytes(const struct replica_model *m,
                                   const struct step_limits *limits) {
    size_t forward = decoder_workspace_bytes(m->decoder, limits->max_tokens, limits->max_logits),
           draw = m->device->ops->draw_bytes(m->device, m->spec.decoder_config.vocab), sum;
    return __builtin_add_overflow(forward, draw, &sum) ? SIZE_MAX : sum;
}

enum err step_engine_new(const struct replica_model *m, const struct step_engine_options *options,
                         struct step_engine **out, struct errmsg *msg) {
    *out = NULL;
    struct step_engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for the steps of model '%s'", m->spec.name);
    *e = (struct step_engine){.model = m,
                              .device = m->device,
                              .options = *options,
                              .vocab = m->spec.decoder_config.vocab};
    const struct step_limits *l = &options->limits;
    struct kv_shape shape =
        decoder_kv_shape(m->decoder, l->block_tokens, options->blocks, options->kv_dtype);
    shape.context = l->max_context;
    size_t bytes = step_engine_workspace_bytes(m, l);
    enum err err = m->device->ops->kv_new(m->device, &shape, &e->kv, msg);
    if (!err && (m->device->ops->workspace_new(m->device, bytes, &e->ws) || !make_arrays(e)))
        err = err_set(msg, ERR_NOMEM, "no memory for a workspace of %zu bytes for model '%s'",
                      bytes, m->spec.name);
    if (err) {
        step_engine_free(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

size_t step_engine_bytes(const struct step_engine *e) { return e->ws.size; }

// ---- what is kept of sequences

static struct said *find_said(struct step_engine *e, uint64_t sequence) {
    for (size_t i = 0; i < e->options.limits.max_seqs; i++)
        if (e->said[i].sequence == sequence)
            return &e->said[i];
    return NULL;
}

// In place of the one that was used longest ago; there is one that is not in this step.
static struct said *begin_said(struct step_engine *e, uint64_t sequence) {
    struct said *oldest = &e->said[0];
    for (size_t i = 1; i < e->options.limits.max_seqs; i++)
        if (e->said[i].used < oldest->used)
            oldest = &e->said[i];
    oldest->sequence = sequence;
    oldest->last = STEP_LAST_DRAWN;
    oldest->has_history = false;
    return oldest;
}

// The parts' ids with what was drawn last in them, and whose tokens the parts will draw.
static void find_sequences(struct step_engine *e, const struct step *s) {
    memcpy(e->ids, s->ids, s->tokens * sizeof *e->ids);
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *p = &s->parts[i];
        int32_t *first = &e->ids[s->cu_seqlens[i]];
        struct said *said = p->draws ? find_said(e, p->sequence) : NULL;
        e->lost[i] = false;
        if (*first == STEP_LAST_DRAWN) {
            bool there = said && said->used + 1 == e->number && said->last >= 0;
            *first = there ? said->last : 0;
            e->lost[i] = !there;
        }
        if (said)
            said->used = e->number;
        e->of[i] = said;
    }
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *p = &s->parts[i];
        if (p->draws && !e->of[i]) {
            e->of[i] = begin_said(e, p->sequence);
            e->of[i]->used = e->number;
        }
    }
}

// Everything said before the part's first draw. ERR_NOMEM.
static enum err update_history(struct step_engine *e, const struct step_part *p, size_t part,
                               const struct step *s) {
    struct said *said = e->of[part];
    struct sampling_history *h = &said->history;
    size_t before = (size_t)p->position - p->prompt_len;
    if (!h->ids && sampling_history_init(h, e->vocab))
        return ERR_NOMEM;
    if (!said->has_history || said->outputs > before) {
        sampling_history_begin(h, p->tokens, p->prompt_len);
        said->has_history = true;
        said->outputs = 0;
    }
    for (; said->outputs < p->logged && said->outputs < before; said->outputs++)
        sampling_history_add(h, p->tokens[p->prompt_len + said->outputs]);
    for (; said->outputs < before; said->outputs++) // the one that the part goes on from
        sampling_history_add(h, e->ids[s->cu_seqlens[part]]);
    return ERR_OK;
}

// ---- the forward

// Steps that decode, of each size that the device keeps. Their rows belong to nothing: they have no
// context and no slot.
static void keep_steps(struct step_engine *e) {
    const struct device_ops *ops = e->device->ops;
    const struct step_limits *l = &e->options.limits;
    size_t stride = (l->max_context + l->block_tokens - 1) / l->block_tokens;
    size_t most = l->max_seqs < l->max_logits ? l->max_seqs : l->max_logits;
    e->kept = true;
    if (!ops->keep)
        return;
    int32_t *zeros = mem_calloc(most, (stride + 4) * sizeof *zeros); // arrays lie apart
    int32_t *ends = mem_calloc(2 * (most + 1), sizeof *ends);
    for (size_t i = 0; ends && i <= most; i++)
        ends[i] = ends[most + 1 + i] = (int32_t)i;
    ops->keep(e->device, true);
    for (size_t n = 0; zeros && ends && (n = ops->keep_next(e->device, n, true)) && n <= most;) {
        struct decoder_step d = {.ids = zeros,
                                 .positions = zeros + most,
                                 .slots = zeros + 2 * most,
                                 .cu_seqlens = ends,
                                 .context_lens = zeros + 3 * most,
                                 .block_tables = zeros + 4 * most,
                                 .table_stride = stride,
                                 .tokens = n,
                                 .seqs = n,
                                 .logit_rows = ends + most + 1,
                                 .logit_count = n};
        arena_reset(&e->ws);
        (void)decoder_forward(e->model->decoder, &d, e->kv, &e->ws, NULL);
    }
    ops->keep(e->device, false);
    mem_free(zeros);
    mem_free(ends);
}

enum err step_engine_forward(struct step_engine *e, const struct step *s,
                             const struct forward_hooks *hooks, struct errmsg *msg) {
    e->number++;
    if (!e->kept)
        keep_steps(e);
    find_sequences(e, s);
    struct decoder_step d = {.ids = e->ids,
                             .positions = s->positions,
                             .slots = s->slots,
                             .cu_seqlens = s->cu_seqlens,
                             .context_lens = s->context_lens,
                             .block_tables = s->block_tables,
                             .table_stride = s->table_stride,
                             .tokens = s->tokens,
                             .seqs = s->seqs,
                             .logit_rows = s->logit_rows,
                             .logit_count = s->logits};
    for (size_t i = 0; i < s->seqs; i++) // until the draw
        if (e->of[i])
            e->of[i]->last = STEP_LAST_DRAWN;
    arena_reset(&e->ws);
    e->logits = decoder_forward(e->model->decoder, &d, e->kv, &e->ws, hooks);
    return device_sync(e->device, msg);
}

// ---- the draw

static void fail(struct step_part *p, enum step_fault fault) {
    p->fault = fault;
    p->err = step_fault_err(fault);
}

static bool allows_any(const uint32_t *mask, size_t vocab) {
    for (size_t i = 0; mask && i < (vocab + 31) / 32; i++)
        if (mask[i])
            return true;
    return false;
}

// What a row without a token is called.
static void fail_draw(const struct step_engine *e, struct step_part *p, enum sampling_end end) {
    switch (end) {
    case SAMPLING_NONFINITE:
        fail(p, STEP_FAULT_NONFINITE);
        return;
    case SAMPLING_OVERFLOW:
        fail(p, STEP_FAULT_OVERFLOW);
        return;
    case SAMPLING_DRAWN:
    case SAMPLING_NONE:
        break;
    }
    if (p->masked && p->drawn < p->mask_count && allows_any(p->masks[p->drawn], e->vocab))
        fail(p, STEP_FAULT_FORBIDDEN);
    else
        fail(p, STEP_FAULT_ENDED);
}

// The draw of a part; false: nothing is drawn of it.
static bool begin_draw(struct step_engine *e, struct step *s, size_t i, struct draw_part *d) {
    struct step_part *p = &s->parts[i];
    size_t rows = p->wanted;
    p->drawn = 0;
    fail(p, STEP_FAULT_NONE);
    if (p->masked && rows > p->mask_count)
        rows = p->mask_count;
    p->late = p->wanted > 0 && (e->lost[i] || rows == 0);
    if (rows == 0 || p->late)
        return false;
    size_t first = (size_t)s->cu_seqlens[i + 1] - p->wanted;
    *d = (struct draw_part){.first = s->first_logit[i],
                            .count = rows,
                            .next = p->draws ? e->ids + first + 1 : p->next,
                            .top = p->top,
                            .results = &s->results[s->first_logit[i]]};
    if (!p->draws)
        return true;
    d->sampling = &p->sampling;
    d->masks = p->masked ? p->masks : NULL;
    d->end_ids = p->end_ids;
    d->end_count = p->end_count;
    d->position = p->position;
    d->want_logprob = p->want_logprob;
    if (!sampling_penalizes(&p->sampling))
        return true;
    d->history = &e->of[i]->history;
    if (!update_history(e, p, i, s))
        return true;
    fail(p, STEP_FAULT_MEMORY);
    return false;
}

static void end_draw(struct step_engine *e, struct step_part *p, struct said *said,
                     const struct draw_part *d) {
    p->drawn = d->drawn;
    if (d->failed)
        fail_draw(e, p, d->results[d->drawn].end);
    if (!p->draws || p->drawn == 0)
        return;
    said->last = p->results[p->drawn - 1].id;
    for (size_t k = 0; d->history && k < p->drawn; k++, said->outputs++)
        sampling_history_add(&said->history, p->results[k].id);
}

enum err step_engine_draw(struct step_engine *e, struct step *s, struct errmsg *msg) {
    struct draw_args a = {.logits = e->logits, .parts = e->draws};
    for (size_t i = 0; i < s->seqs; i++)
        if (begin_draw(e, s, i, &e->draws[a.count]))
            e->drawing[a.count++] = i;
    if (a.count == 0)
        return ERR_OK;
    e->device->ops->draw(e->device, &a, &e->ws);
    enum err err = device_sync(e->device, msg);
    for (size_t k = 0; k < a.count && !err; k++)
        end_draw(e, &s->parts[e->drawing[k]], e->of[e->drawing[k]], &e->draws[k]);
    return err;
}
