// Canaries and sentinels: four fixed tokens whose numbers are known, and whether a worker gives
// them. What is known comes from a replica of this process where it has the model, else from the
// worker's first life.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "engine/replica_wait.h"

#include <math.h>
#include <string.h>

// What another kind of device than the reference may be off by, of the largest number of a row, and
// of a logprob: its sums have another order, and narrow floats a hundredth of f32's bits. A greedy
// token must be the same where the reference's was likelier than any other by twice as much.
static const float off_f32 = 1e-4F, off_narrow = 0.02F;
static const float least_logprob = 10; // what is off is a logit, of some tens

enum { REFERENCE_TOKENS = 64 }; // what a reference is sized for where nobody has

enum err replica_worker_truth_init(struct worker_truth *t, size_t n, struct errmsg *msg) {
    *t = (struct worker_truth){.n = n};
    t->right = mem_calloc(n, sizeof *t->right);
    t->other = mem_calloc(n, sizeof *t->other);
    return t->right && t->other ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for a sentinel");
}

void replica_worker_truth_free(struct worker_truth *t) {
    mem_free(t->right);
    mem_free(t->other);
    *t = (struct worker_truth){0};
}

static bool all_finite(const float *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

static bool same_row(const struct worker_truth *t, const float *want, const float *got) {
    float most = 0, off = t->narrow ? off_narrow : off_f32;
    for (size_t i = 0; i < t->n; i++)
        most = fmaxf(most, fabsf(want[i]));
    for (size_t i = 0; i < t->n; i++)
        if (!(fabsf(want[i] - got[i]) <= off * most))
            return false;
    return true;
}

static bool same_draw(const struct worker_truth *t, const float *want, const float *got) {
    float off = (t->narrow ? off_narrow : off_f32) * fmaxf(least_logprob, fabsf(want[1]));
    bool near = fabsf(want[1] - got[1]) <= off;
    return near && got[0] >= 0 && (want[0] == got[0] || t->margin <= 2 * off);
}

static bool same_numbers(const struct replica_worker *w, const struct worker_truth *t,
                         const float *want, const float *got) {
    if (memcmp(want, got, t->n * sizeof *want) == 0)
        return true;
    if (w->same_device || !all_finite(got, t->n))
        return false;
    return t->is_draw ? same_draw(t, want, got) : same_row(t, want, got);
}

bool replica_worker_truth_agrees(const struct replica_worker *w, struct worker_truth *t,
                                 const float *got, bool canary) {
    if (t->known && same_numbers(w, t, t->right, got)) {
        t->agreed = t->agreed || canary;
        return true;
    }
    if (!canary || t->agreed)
        return false;
    bool again = t->has_other && same_numbers(w, t, t->other, got);
    if (again || (!t->known && all_finite(got, t->n))) {
        memcpy(t->right, got, t->n * sizeof *got);
        t->known = true;
        t->agreed = again;
        return true;
    }
    memcpy(t->other, got, t->n * sizeof *got);
    t->has_other = true;
    return false;
}

static void sentinel_ids(size_t vocab, int32_t ids[SENTINEL_COUNT]) {
    for (size_t i = 0; i < SENTINEL_COUNT; i++)
        ids[i] = (int32_t)((5 + 7 * i) % (vocab ? vocab : 1));
}

void replica_worker_sentinel_part(size_t vocab, size_t first, size_t blocks,
                                  int32_t room[3 * SENTINEL_COUNT], struct step_part *out) {
    int32_t *table = room + SENTINEL_COUNT;
    sentinel_ids(vocab, room);
    for (size_t i = 0; i < blocks; i++)
        table[i] = (int32_t)(first + i);
    *out = (struct step_part){
        .sequence = UINT64_MAX,
        .ids = room,
        .count = SENTINEL_COUNT,
        .blocks = table,
        .block_count = blocks,
        .wanted = 1,
        .draws = true,
        .sampling = {.top_p = 1, .repetition_penalty = 1},
        .position = SENTINEL_COUNT,
        .tokens = room,
        .prompt_len = SENTINEL_COUNT,
        .want_logprob = true,
    };
}

void replica_worker_sentinel_numbers(const struct step_part *p, float out[2]) {
    bool drawn = !p->err && !p->late && p->drawn == 1;
    out[0] = drawn ? (float)p->results[0].id : -1;
    out[1] = drawn ? p->results[0].logprob : NAN;
}

// ---- copies with a sentinel

void replica_worker_batch_copy_free(struct worker_batch_copy *c) {
    mem_free(c->ids);
    mem_free(c->positions);
    mem_free(c->type_ids);
    mem_free(c->ends);
    mem_free(c->skip);
    *c = (struct worker_batch_copy){0};
}

enum err replica_worker_batch_room(struct replica_worker *w, size_t tokens, struct errmsg *msg) {
    size_t n = tokens + SENTINEL_COUNT;
    if (n <= w->batch_copy.tokens)
        return ERR_OK;
    struct worker_batch_copy c = {.tokens = n};
    c.ids = mem_calloc(n, sizeof *c.ids);
    c.positions = mem_calloc(n, sizeof *c.positions);
    c.type_ids = mem_calloc(n, sizeof *c.type_ids);
    c.ends = mem_calloc(n + 1, sizeof *c.ends);
    c.skip = mem_calloc(n, sizeof *c.skip);
    if (!c.ids || !c.positions || !c.type_ids || !c.ends || !c.skip) {
        replica_worker_batch_copy_free(&c);
        return err_set(msg, ERR_NOMEM, "no memory for batches of %zu tokens", tokens);
    }
    replica_worker_batch_copy_free(&w->batch_copy);
    w->batch_copy = c;
    return ERR_OK;
}

// n numbers, or as many zeros where there are none.
static void copy_numbers(int32_t *to, const int32_t *from, size_t n) {
    if (from)
        memcpy(to, from, n * sizeof *to);
    else
        memset(to, 0, n * sizeof *to);
}

bool replica_worker_copy_batch(struct replica_worker *w, const struct worker_model *m,
                               const struct replica_batch *b, struct replica_batch *out) {
    const struct worker_batch_copy *c = &w->batch_copy;
    size_t n = b->tokens.tokens, seqs = b->tokens.seqs;
    if (n + SENTINEL_COUNT > c->tokens || seqs + 1 > c->tokens)
        return false;
    copy_numbers(c->ids, b->tokens.ids, n);
    copy_numbers(c->positions, b->tokens.positions, n);
    copy_numbers(c->type_ids, b->tokens.type_ids, n);
    copy_numbers(c->ends, b->tokens.cu_seqlens, seqs + 1);
    copy_numbers(c->skip, b->skip, seqs);
    sentinel_ids(m->wire.vocab, c->ids + n);
    for (int32_t i = 0; i < SENTINEL_COUNT; i++) {
        c->positions[n + (size_t)i] = i;
        c->type_ids[n + (size_t)i] = 0;
    }
    c->ends[seqs + 1] = (int32_t)(n + SENTINEL_COUNT);
    c->skip[seqs] = 0;
    out->work.model = b->work.model;
    out->work.share = b->work.share;
    out->normalize = b->normalize;
    out->skip = b->skip ? c->skip : NULL;
    out->tokens = (struct batch){.ids = c->ids,
                                 .positions = c->positions,
                                 .type_ids = c->type_ids,
                                 .cu_seqlens = c->ends,
                                 .tokens = n + SENTINEL_COUNT,
                                 .seqs = seqs + 1};
    return true;
}

// The step's own parts, with results in the copy.
static void copy_parts(struct step *to, const struct step *s) {
    memcpy(to->ids, s->ids, s->tokens * sizeof *to->ids);
    memcpy(to->positions, s->positions, s->tokens * sizeof *to->positions);
    memcpy(to->slots, s->slots, s->tokens * sizeof *to->slots);
    memcpy(to->cu_seqlens, s->cu_seqlens, (s->seqs + 1) * sizeof *to->cu_seqlens);
    memcpy(to->context_lens, s->context_lens, s->seqs * sizeof *to->context_lens);
    memcpy(to->block_tables, s->block_tables, s->seqs * s->table_stride * sizeof *to->block_tables);
    memcpy(to->logit_rows, s->logit_rows, s->logits * sizeof *to->logit_rows);
    memcpy(to->first_logit, s->first_logit, s->seqs * sizeof *to->first_logit);
    memcpy(to->parts, s->parts, s->seqs * sizeof *to->parts);
    for (size_t i = 0; i < s->seqs; i++)
        to->parts[i].results = &to->results[to->first_logit[i]];
    to->tokens = s->tokens;
    to->seqs = s->seqs;
    to->logits = s->logits;
}

struct worker_copy *replica_worker_copy_step(struct worker_place *p, const struct step *s) {
    struct worker_copy *c = NULL;
    for (int i = 0; i < WORKER_COPIES && !c; i++)
        c = p->copies[i].taken ? NULL : &p->copies[i];
    if (!c || s->seqs == 0 || s->table_stride != c->step->table_stride ||
        s->seqs >= c->step->limits.max_seqs || s->logits >= c->step->limits.max_logits ||
        s->tokens + SENTINEL_COUNT > c->step->limits.max_tokens)
        return NULL;
    copy_parts(c->step, s);
    if (!step_add(c->step, &p->sentinel))
        return NULL;
    c->taken = true;
    return c;
}

void replica_worker_copy_masks(struct worker_copy *c, const struct step *s) {
    for (size_t i = 0; i < s->seqs; i++) {
        struct step_part *to = &c->step->parts[i];
        memcpy(to->masks, s->parts[i].masks, sizeof to->masks);
        to->mask_count = s->parts[i].mask_count;
    }
}

void replica_worker_copy_results(const struct worker_copy *c, struct step *s) {
    memcpy(s->results, c->step->results, s->logits * sizeof *s->results);
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *from = &c->step->parts[i];
        struct step_part *to = &s->parts[i];
        to->drawn = from->drawn;
        to->late = from->late;
        to->err = from->err;
        to->fault = from->fault;
    }
}

bool replica_worker_sentinel_due(const struct replica_worker *w, const struct worker_entry *e,
                                 size_t tokens, int64_t now_us) {
    return e->checked_us == 0 || tokens >= SENTINEL_FROM ||
           now_us - e->checked_us >= w->options.sentinel_us;
}

const struct worker_truth *replica_worker_batch_truth(const struct worker_model *m,
                                                      bool normalize) {
    return &m->truth[m->wire.task == TASK_EMBED && normalize];
}

// ---- the canary

// What a batch of the sentinel alone is.
static void fill_batch(struct replica_batch *b, const struct wire_model *m, bool normalize,
                       int32_t ids[SENTINEL_COUNT], int32_t positions[SENTINEL_COUNT],
                       int32_t ends[2], float *row) {
    static const int32_t zeros[SENTINEL_COUNT];
    sentinel_ids(m->vocab, ids);
    for (int32_t i = 0; i < SENTINEL_COUNT; i++)
        positions[i] = i;
    ends[0] = 0;
    ends[1] = SENTINEL_COUNT;
    b->work.model = m->model;
    b->work.share = SHARE_INTERACTIVE;
    b->tokens = (struct batch){.ids = ids,
                               .positions = positions,
                               .type_ids = zeros,
                               .cu_seqlens = ends,
                               .tokens = SENTINEL_COUNT,
                               .seqs = 1};
    b->skip = zeros;
    b->normalize = normalize;
    b->rows = row;
}

static void on_batch(struct replica_work *work) {
    struct replica_worker *w = work->ctx;
    if (work->err == ERR_LOST) // the life has ended, and its errand with it
        return;
    pthread_mutex_lock(&w->mutex);
    struct worker_model *m = replica_worker_find_model(w, work->model);
    bool right =
        m && !work->err &&
        replica_worker_truth_agrees(w, &m->truth[w->errand.normalize], w->canary_row, true);
    replica_worker_errand_checked(w, work->err, &work->msg, right);
    pthread_mutex_unlock(&w->mutex);
}

static void on_step(struct replica_work *work) {
    struct replica_worker *w = work->ctx;
    float got[2];
    if (work->err == ERR_LOST)
        return;
    replica_worker_sentinel_numbers(&w->canary_parts->parts[0], got);
    pthread_mutex_lock(&w->mutex);
    struct worker_place *p = replica_worker_find_place(w, w->errand.subject);
    bool right = p && !work->err && replica_worker_truth_agrees(w, &p->truth, got, true);
    replica_worker_errand_checked(w, work->err, &work->msg, right);
    pthread_mutex_unlock(&w->mutex);
}

static void on_computed(struct replica_step *s) { (void)s; } // its draw is released with it

static enum err send_batch(struct replica_worker *w, const struct worker_model *m,
                           struct errmsg *msg) {
    struct replica_batch *b = &w->canary_batch;
    if (w->canary_room < m->wire.dim) {
        float *more = mem_realloc(w->canary_row, m->wire.dim, sizeof *more);
        if (!more)
            return err_set(msg, ERR_NOMEM, "no memory for a canary");
        w->canary_row = more;
        w->canary_room = m->wire.dim;
    }
    replica_reset_work(&b->work);
    fill_batch(b, &m->wire, w->errand.normalize, w->canary_ids, w->canary_positions, w->canary_ends,
               w->canary_row);
    b->work.done = on_batch;
    b->work.ctx = w;
    return replica_worker_send_work(w, &b->work, msg);
}

// A step of the sentinel alone. ERR_NOMEM.
static enum err make_step(struct step_limits limits, const struct step_part *part,
                          struct step **out, struct errmsg *msg) {
    limits.max_tokens = SENTINEL_COUNT;
    limits.max_seqs = limits.max_logits = 1;
    limits.max_context = SENTINEL_COUNT;
    if (step_new(&limits, out))
        return err_set(msg, ERR_NOMEM, "no memory for a canary");
    if (step_add(*out, part))
        return ERR_OK;
    step_free(*out);
    *out = NULL;
    return err_set(msg, ERR_INTERNAL, "a canary does not fit its step");
}

static enum err send_step(struct replica_worker *w, const struct worker_place *p,
                          struct errmsg *msg) {
    struct replica_step *s = &w->canary_step;
    step_free(w->canary_parts);
    w->canary_parts = NULL;
    enum err e = make_step(p->wire.options.limits, &p->sentinel, &w->canary_parts, msg);
    if (e)
        return e;
    replica_reset_work(&s->work);
    s->work.model = p->wire.model;
    s->work.share = SHARE_PREFILL;
    s->work.done = on_step;
    s->work.ctx = w;
    s->computed = on_computed;
    s->place = p->wire.place;
    s->life = w->health.life;
    s->step = w->canary_parts;
    s->prompt_part = 1;
    s->released = true;
    return replica_worker_send_work(w, &s->work, msg);
}

enum err replica_worker_send_canary(struct replica_worker *w, struct errmsg *msg) {
    if (w->errand.kind == ERRAND_CHECK_MODEL) {
        const struct worker_model *m = replica_worker_find_model(w, w->errand.subject);
        return m ? send_batch(w, m, msg) : err_set(msg, ERR_INTERNAL, "a canary without a model");
    }
    const struct worker_place *p = replica_worker_find_place(w, w->errand.subject);
    return p ? send_step(w, p, msg) : err_set(msg, ERR_INTERNAL, "a canary without a place");
}

// ---- the reference

static bool reference_has(const struct replica_worker *w, uint64_t model) {
    struct replica *r = w->options.reference;
    return r && replica_weight_bytes(r, model) > 0;
}

enum err replica_worker_ask_batch(const struct replica_worker *w, struct worker_model *m,
                                  struct errmsg *msg) {
    struct replica *r = w->options.reference;
    if (!reference_has(w, m->wire.model) || m->wire.task == TASK_GENERATE)
        return ERR_OK;
    if (replica_read_stats(r).workspace_bytes == 0) {
        enum err e = replica_size_batches(r, REFERENCE_TOKENS, msg);
        if (e)
            return e;
    }
    for (int normalize = 0; normalize < (m->wire.task == TASK_EMBED ? 2 : 1); normalize++) {
        int32_t ids[SENTINEL_COUNT], positions[SENTINEL_COUNT], ends[2];
        struct worker_truth *t = &m->truth[normalize];
        struct replica_wait wait;
        struct replica_batch b = {.work = {.done = replica_wait_done, .ctx = &wait}};
        struct errmsg why;
        enum err e = replica_wait_begin(&wait);
        if (e)
            return err_set(msg, e, "no memory for the canary of model '%s'", m->name);
        fill_batch(&b, &m->wire, normalize, ids, positions, ends, t->right);
        replica_encode(r, &b);
        if ((e = replica_wait_end(&wait, r, &b.work, NULL, NULL, &why)))
            return err_set(msg, e, "the canary of model '%s' on %s: %s", m->name,
                           replica_facts(r)->name, why.text);
        t->known = t->agreed = true;
    }
    return ERR_OK;
}

// How much likelier the part's token was than the next one.
static float margin_of(const struct step_part *p) {
    const struct sampling_result *first = p->drawn ? &p->results[0] : NULL;
    return first && first->top_count > 1 ? first->top[0].logprob - first->top[1].logprob : 0;
}

static enum err ask_step(struct replica *r, uint64_t place, const struct step_limits *limits,
                         struct worker_place *p, struct errmsg *msg) {
    struct replica_wait wait;
    struct errmsg why;
    int32_t room[3 * SENTINEL_COUNT];
    struct step_part part;
    struct step *step;
    replica_worker_sentinel_part(p->wire.vocab, 0, replica_worker_sentinel_blocks(limits), room,
                                 &part);
    part.top = 2;
    enum err e = make_step(*limits, &part, &step, msg);
    if (e)
        return e;
    if ((e = replica_wait_begin(&wait))) {
        step_free(step);
        return err_set(msg, e, "no memory for a canary");
    }
    struct replica_step s = {
        .work = {.model = p->wire.model,
                 .share = SHARE_PREFILL,
                 .done = replica_wait_done,
                 .ctx = &wait},
        .place = place,
        .life = replica_health(r).life,
        .step = step,
        .prompt_part = 1,
        .computed = on_computed,
    };
    replica_submit_step(r, &s);
    replica_draw_step(r, &s);
    if ((e = replica_wait_end(&wait, r, &s.work, NULL, NULL, &why)))
        e = err_set(msg, e, "a canary on %s: %s", replica_facts(r)->name, why.text);
    replica_worker_sentinel_numbers(&step->parts[0], p->truth.right);
    p->truth.margin = margin_of(&step->parts[0]);
    step_free(step);
    return e;
}

enum err replica_worker_ask_step(const struct replica_worker *w, struct worker_place *p,
                                 struct errmsg *msg) {
    struct replica *r = w->options.reference;
    struct step_engine_options o = p->wire.options;
    uint64_t place;
    if (!reference_has(w, p->wire.model))
        return ERR_OK;
    o.limits.max_tokens = SENTINEL_COUNT;
    o.limits.max_seqs = o.limits.max_logits = 1;
    o.limits.max_context = SENTINEL_COUNT;
    o.blocks = replica_worker_sentinel_blocks(&o.limits);
    enum err e = replica_open_steps(r, p->wire.model, &o, &place, msg);
    if (e)
        return e;
    e = ask_step(r, place, &o.limits, p, msg);
    replica_close_steps(r, place);
    p->truth.known = p->truth.agreed = !e;
    return e;
}
