// See draw.h. One draw's block for the card, in this order: counters (zero), parts, rows, words;
// its answer: outcomes, results, alternatives. Rows whose token is their argmax come first, as they
// need the first kernel alone.
#include "compute/cuda/draw.h"

#include "base/mem.h"
#include "compute/cuda/kernels/draw_step.h"

#include <float.h>
#include <string.h>

enum {
    WINDOW_ROWS = 256,  // of one launch
    ADJUSTED_ROWS = 64, // of them, those that are written anew for bias, penalties or a mask
    PART_WORDS = 64,    // that a part has beforehand for end ids and biases
    SAID_WORDS = 16384, // all parts together for histories
};

// Memory on both sides, of which the first bytes are copied.
struct draw_block {
    char *host, *device;
    size_t bytes;
};

// A draw under way.
struct draw_asked {
    uint64_t ticket; // 0: none
    struct draw_part *parts;
    size_t count;
    struct draw_block in, out;
};

struct gpu_draw {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_draw_limits limits;
    uint64_t tickets;
    struct draw_asked asked[GPU_DRAWS_UNDER_WAY];
    int32_t *drawn; // [slots] the card's
    uint32_t *seen; // [ceil(vocab / 32)] bits, zero
};

// What a draw consists of, and where it lies.
struct draw_plan {
    size_t vocab, parts, rows, simple, words, tops;           // parts: those with rows
    size_t parts_done, parts_at, rows_at, words_at, in_bytes; // rows_done lies at 0
    size_t results_at, tops_at, out_bytes;                    // outcomes lie at 0
};

static size_t upto(size_t n, size_t to) { return (n + to - 1) / to * to; }

static size_t mask_words(size_t vocab) { return (vocab + 31) / 32; }

static bool is_simple(const struct draw_part *p) {
    return p->sampling && !(p->sampling->temperature > 0) && p->top == 0 && !p->want_logprob;
}

static bool penalizes(const struct draw_part *p) {
    return p->sampling && p->history && sampling_penalizes(p->sampling);
}

static bool is_masked(const struct draw_part *p, size_t row) {
    return p->sampling && p->masks && p->masks[row];
}

static size_t next_count(const struct draw_part *p) {
    return p->sampling && p->count > 0 ? p->count - 1 : p->count;
}

static size_t top_count(const struct draw_part *p, size_t vocab) {
    size_t top = p->top < SAMPLING_MAX_TOP ? p->top : SAMPLING_MAX_TOP;
    return top < vocab ? top : vocab;
}

// ---- memory

static void block_free(struct gpu_draw *d, struct draw_block *b) {
    if (b->host)
        d->api->free_host(d->gpu, b->host);
    if (b->device)
        d->api->free(d->gpu, b->device);
    *b = (struct draw_block){0};
}

// At least so many bytes on both sides; what was there is gone. ERR_NOMEM: it has none.
static enum err block_room(struct gpu_draw *d, struct draw_block *b, size_t bytes) {
    if (bytes <= b->bytes)
        return ERR_OK;
    size_t more = b->bytes > 0 ? 2 * bytes : bytes; // the first size is what was planned
    void *host = NULL, *device = NULL;
    block_free(d, b);
    enum err err = d->api->alloc_host(d->gpu, more, &host);
    if (!err && (err = d->api->alloc(d->gpu, more, &device)))
        d->api->free_host(d->gpu, host);
    if (err)
        return err;
    *b = (struct draw_block){host, device, more};
    return ERR_OK;
}

static void place(struct draw_plan *p) {
    size_t parts = p->parts;
    p->parts_done = p->rows * sizeof(uint32_t);
    p->parts_at = upto(p->parts_done + parts * sizeof(uint32_t), 16);
    p->rows_at = upto(p->parts_at + parts * sizeof(struct gpu_draw_part), 16);
    p->words_at = upto(p->rows_at + p->rows * sizeof(struct gpu_draw_row), 16);
    p->in_bytes = p->words_at + p->words * sizeof(uint32_t);
    p->results_at = parts * sizeof(struct gpu_draw_outcome); // no gap, which nobody would write
    p->tops_at = p->results_at + p->rows * sizeof(struct gpu_draw_result);
    p->out_bytes = p->tops_at + p->tops * GPU_DRAW_TOP * sizeof(struct gpu_draw_top);
}

void gpu_draw_free(struct gpu_draw *d) {
    if (!d)
        return;
    for (size_t i = 0; i < GPU_DRAWS_UNDER_WAY; i++) {
        block_free(d, &d->asked[i].in);
        block_free(d, &d->asked[i].out);
    }
    if (d->drawn)
        d->api->free(d->gpu, d->drawn);
    mem_free(d->seen);
    mem_free(d);
}

static enum err make(struct gpu_draw *d) {
    const struct gpu_draw_limits *l = &d->limits;
    size_t masked = l->rows < ADJUSTED_ROWS ? l->rows : ADJUSTED_ROWS;
    struct draw_plan most = {
        .vocab = l->vocab, .parts = l->parts, .rows = l->rows, .tops = l->rows};
    most.words = l->rows + l->parts * PART_WORDS + masked * mask_words(l->vocab) + SAID_WORDS;
    place(&most);
    void *drawn = NULL;
    enum err err = ERR_OK;
    if (!(d->seen = mem_calloc(mask_words(l->vocab), sizeof *d->seen)))
        return ERR_NOMEM;
    if (l->slots > 0 && (err = d->api->alloc(d->gpu, l->slots * sizeof *d->drawn, &drawn)))
        return err;
    d->drawn = drawn;
    for (size_t i = 0; i < GPU_DRAWS_UNDER_WAY && !err; i++) {
        err = block_room(d, &d->asked[i].in, most.in_bytes);
        if (!err)
            err = block_room(d, &d->asked[i].out, most.out_bytes);
    }
    return err;
}

enum err gpu_draw_new(const struct gpu_api *api, struct gpu *gpu, struct gpu_stream *s,
                      const struct gpu_draw_limits *limits, struct gpu_draw **out,
                      struct errmsg *msg) {
    *out = NULL;
    if (limits->vocab > GPU_DRAW_VOCAB)
        return err_set(msg, ERR_UNSUPPORTED,
                       "a vocabulary of %zu tokens: the GPU draws from %d at most", limits->vocab,
                       GPU_DRAW_VOCAB);
    struct gpu_draw *d = mem_calloc(1, sizeof *d);
    if (!d)
        return err_set(msg, ERR_NOMEM, "no memory for drawing tokens on the GPU");
    *d = (struct gpu_draw){.api = api, .gpu = gpu, .limits = *limits};
    enum err err = make(d);
    if (err) {
        gpu_draw_free(d);
        return err_set(msg, err, "no memory on the GPU, or pinned, for drawing %zu rows of tokens",
                       limits->rows);
    }
    if (d->drawn)
        api->fill(s, d->drawn, 0, limits->slots * sizeof *d->drawn);
    *out = d;
    return ERR_OK;
}

const int32_t *gpu_draw_drawn(const struct gpu_draw *d) { return d->drawn; }

static size_t adjusted_ld(size_t vocab) { return upto(vocab, 64); }

size_t gpu_draw_bytes(const struct gpu_draw_limits *limits, size_t vocab) {
    if (vocab > GPU_DRAW_VOCAB)
        return SIZE_MAX;
    size_t rows = limits->rows < WINDOW_ROWS ? limits->rows : WINDOW_ROWS;
    size_t adjusted = limits->rows < ADJUSTED_ROWS ? limits->rows : ADJUSTED_ROWS;
    return arena_cost(rows, gpu_draw_scratch_bytes(vocab)) +
           arena_cost(adjusted, adjusted_ld(vocab) * sizeof(float));
}

// ---- laying out

static bool fits(const struct gpu_draw *d, const struct draw_args *a, struct draw_plan *plan) {
    *plan = (struct draw_plan){.vocab = a->logits.cols};
    if (a->logits.dtype != DTYPE_F32 || a->logits.ld % 4 != 0 || plan->vocab == 0 ||
        plan->vocab > d->limits.vocab || a->count > d->limits.parts)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct draw_part *p = &a->parts[i];
        if (p->count > d->limits.rows - plan->rows || p->first > a->logits.rows ||
            p->count > a->logits.rows - p->first)
            return false;
        if (p->sampling && (p->count > GPU_DRAW_ROWS || (d->drawn && p->slot >= d->limits.slots)))
            return false;
        if (p->goes_on && !d->drawn)
            return false;
        plan->parts += p->count > 0;
        plan->rows += p->count;
        plan->simple += is_simple(p) ? p->count : 0;
        plan->tops += p->top > 0 ? p->count : 0;
        plan->words += next_count(p);
        if (!p->sampling || p->count == 0)
            continue;
        plan->words += p->end_count + 2 * p->sampling->bias_count;
        plan->words += penalizes(p) ? 2 * p->history->distinct : 0;
        for (size_t row = 0; row < p->count; row++)
            plan->words += is_masked(p, row) ? mask_words(plan->vocab) : 0;
    }
    place(plan);
    return true;
}

// The block as it is filled.
struct draw_writer {
    const struct draw_plan *plan;
    struct gpu_draw_part *parts;
    struct gpu_draw_row *rows;
    uint32_t *words;
    uint32_t word_count, row_count, top_rows;
    size_t simple_at, other_at; // where the next row of the kind lies
};

static uint32_t write_words(struct draw_writer *w, const void *from, size_t count) {
    uint32_t at = w->word_count;
    if (count > 0)
        memcpy(w->words + at, from, count * sizeof *w->words);
    w->word_count += (uint32_t)count;
    return at;
}

static bool repeats(struct gpu_draw *d, const struct sampling *s, size_t vocab) {
    bool twice = false;
    for (size_t i = 0; i < s->bias_count; i++) {
        size_t id = (size_t)s->bias[i].id;
        if (s->bias[i].id < 0 || id >= vocab)
            continue;
        twice = twice || (d->seen[id / 32] >> id % 32 & 1U);
        d->seen[id / 32] |= 1U << id % 32;
    }
    for (size_t i = 0; i < s->bias_count; i++)
        if (s->bias[i].id >= 0 && (size_t)s->bias[i].id < vocab)
            d->seen[(size_t)s->bias[i].id / 32] = 0;
    return twice;
}

static void write_said(struct draw_writer *w, const struct sampling_history *h,
                       struct gpu_draw_part *to) {
    to->said = w->word_count;
    to->said_count = (uint32_t)h->distinct;
    to->said_below = (int32_t)(h->vocab < w->plan->vocab ? h->vocab : w->plan->vocab);
    for (size_t i = 0; i < h->distinct; i++) {
        w->words[w->word_count++] = (uint32_t)h->ids[i];
        w->words[w->word_count++] = h->counts[h->ids[i]] / 2;
    }
}

static void write_part(struct gpu_draw *d, struct draw_writer *w, const struct draw_part *p,
                       struct gpu_draw_part *to) {
    *to = (struct gpu_draw_part){
        .rows = (uint32_t)p->count, .first = w->row_count, .slot = -1, .top_p = 1};
    to->next = write_words(w, p->next, next_count(p));
    to->scores = !p->sampling;
    if (to->scores)
        return;
    const struct sampling *s = p->sampling;
    if (s->temperature > 0) {
        float by = 1 / s->temperature;
        to->by = by < FLT_MAX ? by : FLT_MAX;
    }
    to->seed = s->seed;
    to->position = p->position;
    to->top_p = s->top_p;
    to->min_p = s->min_p;
    to->top_k = s->top_k;
    to->repetition = s->repetition_penalty;
    to->presence = s->presence_penalty;
    to->frequency = s->frequency_penalty;
    to->slot = d->drawn ? (int32_t)p->slot : -1;
    to->end_count = (uint32_t)p->end_count;
    to->ends = write_words(w, p->end_ids, p->end_count);
    to->bias_count = (uint32_t)s->bias_count;
    to->bias = write_words(w, s->bias, 2 * s->bias_count);
    to->bias_repeats = repeats(d, s, w->plan->vocab);
    to->penalizes = penalizes(p);
    to->goes_on = to->penalizes && p->goes_on;
    if (to->penalizes)
        write_said(w, p->history, to);
}

static void write_rows(struct draw_writer *w, const struct draw_part *p, uint32_t part) {
    const struct gpu_draw_part *to = &w->parts[part];
    bool simple = is_simple(p);
    for (size_t i = 0; i < p->count; i++) {
        struct gpu_draw_row *row = &w->rows[simple ? w->simple_at++ : w->other_at++];
        *row = (struct gpu_draw_row){.logits = (uint32_t)(p->first + i),
                                     .part = part,
                                     .index = (uint32_t)i,
                                     .result = w->row_count++,
                                     .mask = GPU_DRAW_ABSENT,
                                     .adjusted = GPU_DRAW_ABSENT,
                                     .top = GPU_DRAW_ABSENT};
        if (is_masked(p, i))
            row->mask = write_words(w, p->masks[i], mask_words(w->plan->vocab));
        row->adjusts = to->bias_count > 0 || to->penalizes || row->mask != GPU_DRAW_ABSENT;
        row->logprob = to->scores || p->want_logprob || p->top > 0;
        if (p->top > 0) {
            row->top = w->top_rows++;
            row->top_count = (uint32_t)top_count(p, w->plan->vocab);
        }
    }
}

static void lay_out(struct gpu_draw *d, const struct draw_args *a, const struct draw_plan *plan,
                    char *block) {
    memset(block, 0, plan->parts_at);
    struct draw_writer w = {.plan = plan,
                            .parts = (void *)(block + plan->parts_at),
                            .rows = (void *)(block + plan->rows_at),
                            .words = (void *)(block + plan->words_at),
                            .other_at = plan->simple};
    uint32_t part = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (a->parts[i].count == 0)
            continue;
        write_part(d, &w, &a->parts[i], &w.parts[part]);
        write_rows(&w, &a->parts[i], part++);
    }
}

// ---- launches

// The rows from step->from on that are launched together, in which each that is written anew gets a
// place: always the same one, so that what is being copied already does not change. `in`: the
// block of the plan.
static void window(char *in, const struct draw_plan *plan, struct gpu_draw_step *step) {
    struct gpu_draw_row *rows = (void *)(in + plan->rows_at);
    const struct gpu_draw_part *parts = (const void *)(in + plan->parts_at);
    size_t n = 0, simple = plan->simple > step->from ? plan->simple - step->from : 0;
    step->adjusted_rows = 0;
    step->weighs = 0;
    for (; step->from + n < plan->rows && n < WINDOW_ROWS; n++) {
        struct gpu_draw_row *row = &rows[step->from + n];
        const struct gpu_draw_part *part = &parts[row->part];
        if (n < simple)
            continue;
        if (row->adjusts && part->by > 0) {
            if (step->adjusted_rows == ADJUSTED_ROWS)
                break;
            row->adjusted = (uint32_t)step->adjusted_rows++;
        }
        if (row->logprob ||
            (part->by > 0 && (part->top_k <= 0 || (size_t)part->top_k >= plan->vocab)))
            step->weighs = 1;
    }
    step->count = n;
    step->simple = simple < n ? simple : n;
}

// The most that any window has of both.
static void windows_most(char *in, const struct draw_plan *plan, size_t *rows, size_t *adjusted) {
    struct gpu_draw_step step = {.from = 0};
    *rows = *adjusted = 0;
    for (; step.from < plan->rows; step.from += step.count) {
        window(in, plan, &step);
        *rows = step.count > *rows ? step.count : *rows;
        *adjusted = step.adjusted_rows > *adjusted ? step.adjusted_rows : *adjusted;
    }
}

static void launch(struct gpu_draw *d, struct gpu_stream *s, const struct draw_args *a,
                   const struct draw_plan *plan, struct draw_asked *asked, void *scratch,
                   float *adjusted) {
    char *in = asked->in.device, *out = asked->out.device;
    struct gpu_draw_step step = {
        .logits = {a->logits.data, a->logits.rows, plan->vocab, a->logits.ld, GPU_F32},
        .parts = (const void *)(in + plan->parts_at),
        .part_count = plan->parts,
        .rows = (const void *)(in + plan->rows_at),
        .row_count = plan->rows,
        .words = (const void *)(in + plan->words_at),
        .word_count = plan->words,
        .rows_done = (void *)in,
        .parts_done = (void *)(in + plan->parts_done),
        .drawn = d->drawn,
        .slots = d->limits.slots,
        .results = (void *)(out + plan->results_at),
        .tops = (void *)(out + plan->tops_at),
        .top_rows = plan->tops,
        .outcomes = (void *)out,
        .scratch = scratch,
        .adjusted = adjusted,
        .adjusted_ld = adjusted_ld(plan->vocab)};
    for (; step.from < plan->rows; step.from += step.count) {
        window(asked->in.host, plan, &step);
        gpu_launch_draw(s, &step);
    }
}

enum err gpu_draw_ask(struct gpu_draw *d, struct gpu_stream *s, const struct draw_args *a,
                      struct arena *ws, uint64_t *ticket, struct errmsg *msg) {
    struct draw_plan plan;
    struct draw_asked *asked = &d->asked[d->tickets % GPU_DRAWS_UNDER_WAY];
    *ticket = 0;
    if (!fits(d, a, &plan))
        return err_set(msg, ERR_INTERNAL, "a draw of %zu sequences is beyond the GPU's limits",
                       a->count);
    if (asked->ticket != 0)
        return err_set(msg, ERR_INTERNAL, "%d draws are under way on the GPU already",
                       GPU_DRAWS_UNDER_WAY);
    if (block_room(d, &asked->in, plan.in_bytes) || block_room(d, &asked->out, plan.out_bytes))
        return err_set(msg, ERR_NOMEM, "no memory on the GPU, or pinned, for a draw of %zu bytes",
                       plan.in_bytes);
    lay_out(d, a, &plan, asked->in.host);
    size_t mark = ws->used, rows, adjusted;
    windows_most(asked->in.host, &plan, &rows, &adjusted);
    void *scratch = arena_alloc(ws, rows, gpu_draw_scratch_bytes(plan.vocab));
    float *anew = arena_alloc(ws, adjusted, adjusted_ld(plan.vocab) * sizeof(float));
    ws->used = mark;
    if (!scratch || !anew)
        return err_set(msg, ERR_INTERNAL, "workspace of %zu bytes has no room for drawing",
                       ws->size);
    asked->ticket = *ticket = ++d->tickets;
    asked->parts = a->parts;
    asked->count = a->count;
    if (plan.rows == 0)
        return ERR_OK;
    d->api->copy_in(s, asked->in.device, asked->in.host, plan.in_bytes);
    launch(d, s, a, &plan, asked, scratch, anew);
    d->api->copy_out(s, asked->out.host, asked->out.device, plan.out_bytes);
    return ERR_OK;
}

// ---- results

// One row's. What a card that has failed leaves may be anything: no list is longer than its room.
static void deliver_row(const struct gpu_draw_result *from, const struct gpu_draw_top *top,
                        size_t tops, struct sampling_result *to) {
    *to = (struct sampling_result){.id = from->id,
                                   .end = (enum sampling_end)from->end,
                                   .logprob = from->logprob,
                                   .top_count = from->top_count < tops ? from->top_count : tops};
    for (size_t k = 0; k < to->top_count; k++)
        to->top[k] = (struct token_logprob){top[k].id, top[k].logprob};
}

static void deliver_part(const struct gpu_draw_outcome *outcome, struct draw_part *p,
                         const struct gpu_draw_result *from, const struct gpu_draw_top *tops) {
    p->drawn = outcome->drawn;
    p->failed = outcome->failed == 1;
    if ((size_t)outcome->drawn + outcome->failed - 1 >=
        p->count) { // no draw ends so: the card failed
        p->drawn = 0;
        p->failed = true;
        p->results[0] = (struct sampling_result){.id = -1, .end = SAMPLING_NONFINITE};
        return;
    }
    for (size_t row = 0; row < p->drawn + (p->failed ? 1 : 0); row++)
        deliver_row(&from[row], tops + row * GPU_DRAW_TOP,
                    p->top < GPU_DRAW_TOP ? p->top : GPU_DRAW_TOP, &p->results[row]);
}

static void deliver(const struct draw_asked *asked) {
    struct draw_plan plan = {0};
    for (size_t i = 0; i < asked->count; i++) {
        plan.parts += asked->parts[i].count > 0;
        plan.rows += asked->parts[i].count;
    }
    place(&plan);
    const struct gpu_draw_outcome *outcome = (const void *)asked->out.host;
    const struct gpu_draw_result *results = (const void *)(asked->out.host + plan.results_at);
    const struct gpu_draw_top *tops = (const void *)(asked->out.host + plan.tops_at);
    for (size_t i = 0; i < asked->count; i++) {
        struct draw_part *p = &asked->parts[i];
        if (p->count == 0) {
            p->drawn = 0;
            p->failed = false;
            continue;
        }
        deliver_part(outcome++, p, results, tops);
        results += p->count;
        tops += p->top > 0 ? p->count * GPU_DRAW_TOP : 0;
    }
}

void gpu_draw_deliver(struct gpu_draw *d, uint64_t ticket) {
    uint64_t kept = d->tickets > GPU_DRAWS_UNDER_WAY ? d->tickets - GPU_DRAWS_UNDER_WAY : 0;
    for (uint64_t t = kept + 1; t <= ticket && t <= d->tickets; t++) {
        struct draw_asked *asked = &d->asked[(t - 1) % GPU_DRAWS_UNDER_WAY];
        if (asked->ticket != t)
            continue;
        deliver(asked);
        asked->ticket = 0;
    }
}
