// See sampling.h, and sampling_internal.h for one row. Sources followed: transformers
// generation/logits_process.py (RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
// TopKLogitsWarper, TopPLogitsWarper, MinPLogitsWarper), OpenAI's description of presence and
// frequency penalties. Of tokens that tie at a cut the lower ids stay, where transformers keeps all
// (top-k) or any (top-p).
#include "compute/cpu/logit_rows.h"
#include "compute/cpu/sampling_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

size_t sampling_scratch_bytes(size_t vocab) {
    size_t blocks = logit_blocks(vocab), sum = 0;
    size_t parts[] = {arena_cost(vocab, sizeof(float)),
                      arena_cost(vocab, sizeof(float)),
                      arena_cost(blocks, sizeof(float)),
                      arena_cost(blocks, sizeof(float)),
                      arena_cost(blocks, sizeof(double)),
                      arena_cost(vocab, sizeof(struct sampling_candidate)),
                      arena_cost(vocab, sizeof(struct sampling_candidate))};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (__builtin_add_overflow(sum, parts[i], &sum))
            return SIZE_MAX;
    return sum;
}

bool sampling_scratch_place(struct arena *a, size_t vocab, struct sampling_scratch *s) {
    size_t blocks = logit_blocks(vocab);
    *s = (struct sampling_scratch){.vocab = vocab};
    s->logits = arena_alloc(a, vocab, sizeof *s->logits);
    s->weights = arena_alloc(a, vocab, sizeof *s->weights);
    s->blocks = arena_alloc(a, blocks, sizeof *s->blocks);
    s->raw_blocks = arena_alloc(a, blocks, sizeof *s->raw_blocks);
    s->sums = arena_alloc(a, blocks, sizeof *s->sums);
    s->chosen = arena_alloc(a, vocab, sizeof *s->chosen);
    s->moving = arena_alloc(a, vocab, sizeof *s->moving);
    return s->logits && s->weights && s->blocks && s->raw_blocks && s->sums && s->chosen &&
           s->moving;
}

// Values of at least `least`, above -inf, in order of ids; only blocks that may hold one are read.
static size_t gather(const float *x, size_t n, const float *blocks, float block_least, float least,
                     struct sampling_candidate *out) {
    size_t count = 0;
    for (size_t b = 0; b < logit_blocks(n); b++) {
        if (blocks[b] < block_least || blocks[b] == -INFINITY)
            continue;
        size_t end = (b + 1) * LOGIT_BLOCK < n ? (b + 1) * LOGIT_BLOCK : n;
        for (size_t i = b * LOGIT_BLOCK; i < end; i++)
            if (x[i] >= least && x[i] != -INFINITY)
                out[count++] = (struct sampling_candidate){x[i], (int32_t)i};
    }
    return count;
}

// The k largest of x, in order of ids, to s->chosen; fewer when fewer are above -inf.
// The k'th largest of the blocks' maxima is no more than the k'th largest value.
static size_t gather_top(struct sampling_scratch *s, const float *x, size_t n, const float *blocks,
                         size_t k) {
    size_t all = logit_blocks(n);
    float least = -INFINITY;
    if (k <= all) {
        for (size_t b = 0; b < all; b++)
            s->moving[b] = (struct sampling_candidate){blocks[b], (int32_t)b};
        least = sampling_nth(s->moving, all, k).w;
    }
    size_t count = gather(x, n, blocks, least, least, s->chosen);
    if (count <= k)
        return count;
    memcpy(s->moving, s->chosen, count * sizeof *s->moving);
    struct sampling_candidate last = sampling_nth(s->moving, count, k);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!candidate_before(last, s->chosen[i]))
            s->chosen[kept++] = s->chosen[i];
    return kept;
}

// Of the chosen weights those that top-p and min-p leave; `total` is the sum of all that compete.
static size_t narrow(struct sampling_scratch *s, size_t count, const struct sampling *p,
                     double total) {
    struct sampling_candidate last = {-1, 0};
    if (p->top_p < 1 && count > 0) {
        memcpy(s->moving, s->chosen, count * sizeof *s->moving);
        last = sampling_reach(s->moving, count, (double)p->top_p * total);
    }
    float most = 0;
    for (size_t i = 0; i < count; i++)
        most = s->chosen[i].w > most ? s->chosen[i].w : most;
    float least = p->min_p * most;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!candidate_before(last, s->chosen[i]) && s->chosen[i].w >= least)
            s->chosen[kept++] = s->chosen[i];
    return kept;
}

// u in [0, 1): the token in whose part of the whole it falls. One of weight 0 has no part.
static int32_t pick(const struct sampling_candidate *c, size_t count, double u) {
    double total = 0, at = 0;
    int32_t id = -1;
    for (size_t i = 0; i < count; i++)
        total += (double)c[i].w;
    for (size_t i = 0; i < count; i++) {
        if (c[i].w <= 0)
            continue;
        id = c[i].id;
        at += (double)c[i].w;
        if (at > u * total)
            break;
    }
    return id;
}

static int32_t pick_dense(const struct sampling_scratch *s, size_t n, double total, double u) {
    double at = 0, target = u * total;
    size_t block = 0, blocks = logit_blocks(n), last = 0;
    for (block = 0; block < blocks; block++) {
        if (s->sums[block] > 0)
            last = block;
        if (at + s->sums[block] > target)
            break;
        at += s->sums[block];
    }
    block = block < blocks ? block : last; // the sums' rounding
    size_t end = (block + 1) * LOGIT_BLOCK < n ? (block + 1) * LOGIT_BLOCK : n;
    int32_t id = -1;
    for (size_t i = block * LOGIT_BLOCK; i < end; i++) {
        if (s->weights[i] <= 0)
            continue;
        id = (int32_t)i;
        at += (double)s->weights[i];
        if (at > target)
            break;
    }
    return id;
}

// Candidates enough for top-p: those above the first of some thresholds that hold its mass.
static size_t gather_mass(struct sampling_scratch *s, size_t n, float most, float by,
                          const struct sampling *p, double total) {
    float least = p->min_p;
    if (p->top_p < 1)
        for (float depth = 2; depth < 87; depth *= 1.5F) {
            float w = expf(-depth);
            if (w <= least)
                break;
            if (logit_mass(s->weights, n, w) >= (double)p->top_p * total) {
                least = w;
                break;
            }
        }
    // a block's largest weight, by its largest logit: a little below, for rounding
    float logit = least > 0 ? most + (logf(least) - 1e-3F) / by : -INFINITY;
    return gather(s->weights, n, s->blocks, logit - 1e-3F * fabsf(logit),
                  least > 0 ? least : FLT_MIN, s->chosen);
}

static int32_t draw(struct sampling_scratch *s, const float *logits, size_t n, float most,
                    const struct sampling *p, uint64_t position) {
    double u = (double)(sampling_random(p->seed, position) >> 11) * 0x1p-53;
    float by = 1 / p->temperature;
    by = by < FLT_MAX ? by : FLT_MAX; // the largest logit's distance is 0, and 0 x inf is not
    size_t count;
    double total = 0;
    if (p->top_k > 0 && (size_t)p->top_k < n) {
        count = gather_top(s, logits, n, s->blocks, (size_t)p->top_k);
        for (size_t i = 0; i < count; i++) {
            float x = s->chosen[i].w;
            total += logit_exp(&x, 1, most, by, &s->chosen[i].w, NULL);
        }
    } else {
        total = logit_exp(logits, n, most, by, s->weights, s->sums);
        if (p->top_p >= 1 && p->min_p <= 0)
            return pick_dense(s, n, total, u);
        count = gather_mass(s, n, most, by, p, total);
    }
    return pick(s->chosen, narrow(s, count, p, total), u);
}

// ---- logprobs ----

static void note_logprobs(const float *logits, size_t n, float most, int32_t id, size_t top,
                          struct sampling_scratch *s, struct sampling_result *out) {
    double norm = (double)most + log(logit_exp(logits, n, most, 1, NULL, NULL));
    out->logprob = (float)((double)logits[id] - norm);
    top = top < SAMPLING_MAX_TOP ? top : SAMPLING_MAX_TOP;
    top = top < n ? top : n;
    if (top == 0)
        return;
    size_t count = gather_top(s, logits, n, s->raw_blocks, top);
    for (size_t i = 0; i < count; i++) { // by insertion: there are 20 at most
        struct sampling_candidate c = s->chosen[i];
        size_t at = out->top_count++;
        for (; at > 0 && candidate_before(c, s->moving[at - 1]); at--)
            s->moving[at] = s->moving[at - 1];
        s->moving[at] = c;
    }
    for (size_t i = 0; i < out->top_count; i++)
        out->top[i] =
            (struct token_logprob){s->moving[i].id, (float)((double)s->moving[i].w - norm)};
}

void sampling_score(const float *logits, size_t vocab, int32_t id, size_t top,
                    struct sampling_scratch *scratch, struct sampling_result *out) {
    bool finite;
    *out = (struct sampling_result){.id = -1, .end = SAMPLING_NONFINITE};
    if (vocab == 0 || vocab > scratch->vocab || id < 0 || (size_t)id >= vocab)
        return;
    float most = logit_max(logits, vocab, scratch->raw_blocks, &finite);
    if (!finite)
        return;
    out->id = id;
    out->end = SAMPLING_DRAWN;
    note_logprobs(logits, vocab, most, id, top, scratch, out);
}

// ---- a row ----

static void forbid(const uint32_t *mask, size_t vocab, float *logits) {
    for (size_t from = 0; from < vocab; from += 32) {
        uint32_t bits = mask[from / 32];
        for (size_t i = from; bits != UINT32_MAX && i < vocab && i < from + 32; i++)
            if (!(bits >> (i - from) & 1U))
                logits[i] = -INFINITY;
    }
}

// The row after bias, penalties and mask, and its maxima; the raw one where there are none.
static const float *adjust(const struct sampling_row *row, struct sampling_scratch *s,
                           float *most) {
    const struct sampling *p = row->sampling;
    bool finite;
    if (!row->mask && !row->history && p->bias_count == 0) {
        memcpy(s->blocks, s->raw_blocks, logit_blocks(row->vocab) * sizeof *s->blocks);
        return row->logits;
    }
    memcpy(s->logits, row->logits, row->vocab * sizeof *s->logits);
    for (size_t i = 0; i < p->bias_count; i++)
        if (p->bias[i].id >= 0 && (size_t)p->bias[i].id < row->vocab)
            s->logits[p->bias[i].id] += p->bias[i].bias;
    sampling_penalize(row, s->logits);
    if (row->mask)
        forbid(row->mask, row->vocab, s->logits);
    *most = logit_max(s->logits, row->vocab, s->blocks, &finite);
    return s->logits;
}

void sampling_draw(const struct sampling_row *row, struct sampling_scratch *scratch,
                   struct sampling_result *out) {
    bool finite;
    *out = (struct sampling_result){.id = -1, .end = SAMPLING_NONFINITE};
    if (row->vocab == 0 || row->vocab > scratch->vocab)
        return;
    float raw_most = logit_max(row->logits, row->vocab, scratch->raw_blocks, &finite);
    if (!finite)
        return;
    float most = raw_most;
    const float *logits = adjust(row, scratch, &most);
    out->end = most == -INFINITY && row->mask ? SAMPLING_NONE : SAMPLING_OVERFLOW;
    if (!(most > -INFINITY) || most == INFINITY)
        return;
    if (row->sampling->temperature > 0)
        out->id = draw(scratch, logits, row->vocab, most, row->sampling, row->position);
    else
        out->id = (int32_t)logit_find(logits, row->vocab, most, scratch->blocks);
    if (out->id >= 0)
        out->end = SAMPLING_DRAWN;
    if (out->id >= 0 && (row->want_logprob || row->top > 0))
        note_logprobs(row->logits, row->vocab, raw_most, out->id, row->top, scratch, out);
}
