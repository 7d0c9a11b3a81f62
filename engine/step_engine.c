// See step_engine.h. What is kept of a sequence is found by its number. It is made again from the
// step's part where it is not there, or is ahead of what the part says (a row that did not count).
#include "engine/step_engine.h"

#include "base/mem.h"

#include <string.h>

// What is kept of one sequence.
struct said {
    uint64_t sequence;     // 0: nobody's
    uint64_t used;         // number of the last step with it,
    uint64_t asked, drawn; // in which a token of it was asked for, and came
    int32_t last;          // that one
    bool has_history;
    size_t outputs; // in the history
    struct sampling_history history;
};

// A step from its forward to the end of its draw.
struct run {
    uint64_t number;
    const struct step *step;
    int32_t *ids;     // [max_tokens] with the tokens that were drawn last
    struct said **of; // [max_seqs] of each part that draws
    bool *lost;       // [max_seqs] the part's first token is not known
    bool *goes_on;    // [max_seqs] it is what the step before draws, which was not over
    struct draw_part *draws;
    size_t *drawing; // [max_seqs] the part of each draw
    size_t count;    // draws
    struct mat logits;
    uint64_t mark;
};
enum { RUNS = 2, NO_SLOTS = -1 };

struct step_engine {
    const struct replica_model *model;
    struct device *device;
    struct step_engine_options options;
    struct kv_cache *kv;
    size_t vocab;
    struct arena ws;
    bool kept;  // the device keeps what it can of the steps that decode
    bool ahead; // draws may be under way when the next step begins
    size_t first_slot;
    uint64_t number;       // of the step that was begun last
    uint64_t finished;     // of the last one whose draw is over
    struct run runs[RUNS]; // by their steps' numbers
    struct said *said;     // [said_count]
    size_t said_count;
};

static void free_run(struct run *r) {
    mem_free(r->ids);
    mem_free(r->of);
    mem_free(r->lost);
    mem_free(r->goes_on);
    mem_free(r->draws);
    mem_free(r->drawing);
}

void step_engine_free(struct step_engine *e) {
    if (!e)
        return;
    if (e->kv)
        e->device->ops->kv_free(e->device, e->kv);
    e->device->ops->workspace_free(e->device, &e->ws);
    for (size_t i = 0; e->said && i < e->said_count; i++)
        sampling_history_free(&e->said[i].history);
    mem_free(e->said);
    for (int i = 0; i < RUNS; i++)
        free_run(&e->runs[i]);
    mem_free(e);
}

static bool make_run(const struct step_limits *l, struct run *r) {
    r->ids = mem_calloc(l->max_tokens, sizeof *r->ids);
    r->of = mem_calloc(l->max_seqs, sizeof(struct said *));
    r->lost = mem_calloc(l->max_seqs, sizeof *r->lost);
    r->goes_on = mem_calloc(l->max_seqs, sizeof *r->goes_on);
    r->draws = mem_calloc(l->max_seqs, sizeof *r->draws);
    r->drawing = mem_calloc(l->max_seqs, sizeof *r->drawing);
    return r->ids && r->of && r->lost && r->goes_on && r->draws && r->drawing;
}

static bool make_arrays(struct step_engine *e) {
    const struct step_limits *l = &e->options.limits;
    e->said_count = e->ahead ? step_engine_slots(l) : l->max_seqs;
    e->said = mem_calloc(e->said_count, sizeof *e->said);
    bool made = e->said != NULL;
    for (int i = 0; i < (e->ahead ? RUNS : 1) && made; i++)
        made = make_run(l, &e->runs[i]);
    return made;
}

static struct run *run_of(struct step_engine *e, uint64_t number) {
    return &e->runs[e->ahead ? number % RUNS : 0];
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

// Of the sequences of two steps: those of the one that is under way keep what they have.
size_t step_engine_slots(const struct step_limits *limits) { return RUNS * limits->max_seqs; }

static enum err make(const struct replica_model *m, const struct step_engine_options *options,
                     long first_slot, struct step_engine **out, struct errmsg *msg) {
    *out = NULL;
    struct step_engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for the steps of model '%s'", m->spec.name);
    *e = (struct step_engine){.model = m,
                              .device = m->device,
                              .options = *options,
                              .ahead = first_slot >= 0,
                              .first_slot = first_slot >= 0 ? (size_t)first_slot : 0,
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

enum err step_engine_new(const struct replica_model *m, const struct step_engine_options *options,
                         struct step_engine **out, struct errmsg *msg) {
    return make(m, options, NO_SLOTS, out, msg);
}

enum err step_engine_new_ahead(const struct replica_model *m,
                               const struct step_engine_options *options, size_t first,
                               struct step_engine **out, struct errmsg *msg) {
    return make(m, options, (long)first, out, msg);
}

bool step_engine_goes_ahead(const struct step_engine *e) { return e->ahead; }
size_t step_engine_bytes(const struct step_engine *e) { return e->ws.size; }

// ---- what is kept of sequences

static struct said *find_said(struct step_engine *e, uint64_t sequence) {
    for (size_t i = 0; i < e->said_count; i++)
        if (e->said[i].sequence == sequence)
            return &e->said[i];
    return NULL;
}

// In place of the one that was used longest ago; there is one that is neither in this step nor in
// one that is under way.
static struct said *begin_said(struct step_engine *e, uint64_t sequence) {
    struct said *oldest = &e->said[0];
    for (size_t i = 1; i < e->said_count; i++)
        if (e->said[i].used < oldest->used)
            oldest = &e->said[i];
    oldest->sequence = sequence;
    oldest->asked = oldest->drawn = 0;
    oldest->has_history = false;
    return oldest;
}

static size_t slot_of(const struct step_engine *e, const struct said *said) {
    return e->first_slot + (size_t)(said - e->said);
}

// The part's first token, where it is the one that was drawn in the step before this one.
static void find_last(struct step_engine *e, struct run *r, size_t part, int32_t *first,
                      const struct said *said) {
    uint64_t before = r->number - 1;
    bool there = said && said->drawn == before && said->last >= 0;
    r->goes_on[part] = said && said->asked == before && e->finished < before;
    r->lost[part] = !there && !r->goes_on[part];
    *first = r->goes_on[part] ? EMBED_DRAWN(slot_of(e, said)) : there ? said->last : 0;
}

// The parts' ids with what was drawn last in them, and whose tokens the parts will draw.
static void find_sequences(struct step_engine *e, struct run *r, const struct step *s) {
    memcpy(r->ids, s->ids, s->tokens * sizeof *r->ids);
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *p = &s->parts[i];
        int32_t *first = &r->ids[s->cu_seqlens[i]];
        struct said *said = p->draws ? find_said(e, p->sequence) : NULL;
        r->lost[i] = r->goes_on[i] = false;
        if (*first == STEP_LAST_DRAWN)
            find_last(e, r, i, first, said);
        if (said)
            said->used = r->number;
        r->of[i] = said;
    }
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *p = &s->parts[i];
        if (p->draws && !r->of[i]) {
            r->of[i] = begin_said(e, p->sequence);
            r->of[i]->used = r->number;
        }
    }
}

// Everything said before the part's first draw that is known. ERR_NOMEM.
static enum err update_history(struct step_engine *e, struct run *r, const struct step *s,
                               size_t part) {
    const struct step_part *p = &s->parts[part];
    struct said *said = r->of[part];
    struct sampling_history *h = &said->history;
    size_t before = (size_t)p->position - p->prompt_len;
    if (r->goes_on[part]) // the last of them is on the device alone
        before--;
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
        sampling_history_add(h, r->ids[s->cu_seqlens[part]]);
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

enum err step_engine_begin(struct step_engine *e, const struct step *s,
                           const struct forward_hooks *hooks, struct errmsg *msg) {
    struct run *r = run_of(e, ++e->number);
    if (!e->kept) // nothing is under way yet
        keep_steps(e);
    r->number = e->number;
    r->step = s;
    r->count = 0;
    if (!e->ahead)
        e->finished = r->number - 1;
    find_sequences(e, r, s);
    struct decoder_step d = {.ids = r->ids,
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
    arena_reset(&e->ws);
    r->logits = decoder_forward(e->model->decoder, &d, e->kv, &e->ws, hooks);
    return device_failure(e->device, msg);
}

enum err step_engine_wait(struct step_engine *e, struct errmsg *msg) {
    return device_sync(e->device, msg);
}

enum err step_engine_forward(struct step_engine *e, const struct step *s,
                             const struct forward_hooks *hooks, struct errmsg *msg) {
    enum err begun = step_engine_begin(e, s, hooks, msg);
    enum err err = step_engine_wait(e, begun ? NULL : msg);
    return begun ? begun : err;
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
static bool begin_draw(struct step_engine *e, struct run *r, struct step *s, size_t i,
                       struct draw_part *d) {
    struct step_part *p = &s->parts[i];
    size_t rows = p->wanted;
    p->drawn = 0;
    fail(p, STEP_FAULT_NONE);
    if (p->masked && rows > p->mask_count)
        rows = p->mask_count;
    p->late = p->wanted > 0 && (r->lost[i] || rows == 0);
    if (rows == 0 || p->late)
        return false;
    size_t first = (size_t)s->cu_seqlens[i + 1] - p->wanted;
    *d = (struct draw_part){.first = s->first_logit[i],
                            .count = rows,
                            .next = p->draws ? r->ids + first + 1 : p->next,
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
    d->slot = slot_of(e, r->of[i]);
    d->goes_on = r->goes_on[i];
    r->of[i]->asked = r->number;
    if (!sampling_penalizes(&p->sampling))
        return true;
    d->history = &r->of[i]->history;
    if (!update_history(e, r, s, i))
        return true;
    r->of[i]->asked = 0;
    fail(p, STEP_FAULT_MEMORY);
    return false;
}

enum err step_engine_ask(struct step_engine *e, struct step *s, struct errmsg *msg) {
    struct run *r = run_of(e, e->number);
    struct draw_args a = {.logits = r->logits, .parts = r->draws};
    for (size_t i = 0; i < s->seqs; i++)
        if (begin_draw(e, r, s, i, &r->draws[a.count]))
            r->drawing[a.count++] = i;
    r->count = a.count;
    if (a.count == 0)
        return ERR_OK;
    e->device->ops->draw(e->device, &a, &e->ws);
    if (e->ahead)
        r->mark = e->device->ops->mark(e->device);
    enum err err = device_failure(e->device, msg);
    if (err) // what was not asked for is nothing to go on from
        for (size_t k = 0; k < a.count; k++)
            if (r->of[r->drawing[k]])
                r->of[r->drawing[k]]->asked = 0;
    return err;
}

// The token before it has come, or has not; what was drawn behind one that has not is nothing.
static bool goes_on_from_nothing(const struct run *r, size_t part, const struct said *said) {
    return r->goes_on[part] && !(said->drawn == r->number - 1 && said->last >= 0);
}

static void end_draw(struct step_engine *e, const struct run *r, size_t part, struct step_part *p,
                     const struct draw_part *d) {
    struct said *said = r->of[part];
    if (p->draws && goes_on_from_nothing(r, part, said)) {
        p->late = true;
        return;
    }
    p->drawn = d->drawn;
    if (d->failed)
        fail_draw(e, p, d->results[d->drawn].end);
    if (!p->draws || p->drawn == 0)
        return;
    // what it went on from: the draw before it had no need of a history
    for (; d->history && r->goes_on[part] && said->outputs < p->position - p->prompt_len;
         said->outputs++)
        sampling_history_add(&said->history, said->last);
    said->last = p->results[p->drawn - 1].id;
    said->drawn = r->number;
    for (size_t k = 0; d->history && k < p->drawn; k++, said->outputs++)
        sampling_history_add(&said->history, p->results[k].id);
}

enum err step_engine_finish(struct step_engine *e, struct step *s, struct errmsg *msg) {
    struct run *r = run_of(e, e->number);
    enum err err = ERR_OK;
    if (r->step != s)
        r = run_of(e, e->number - 1);
    if (r->count > 0 && e->ahead) {
        e->device->ops->wait_mark(e->device, r->mark);
        err = device_failure(e->device, msg);
    } else if (r->count > 0) {
        err = device_sync(e->device, msg);
    }
    for (size_t k = 0; k < r->count && !err; k++)
        end_draw(e, r, r->drawing[k], &s->parts[r->drawing[k]], &r->draws[k]);
    e->finished = r->number;
    return err;
}

enum err step_engine_draw(struct step_engine *e, struct step *s, struct errmsg *msg) {
    enum err err = step_engine_ask(e, s, msg);
    return err ? err : step_engine_finish(e, s, msg);
}
