// See wire_work.h: steps on their way to the worker, and the masks that follow them. What
// can be told from the rest does not go across (positions, slots, lengths, rows of logits):
// step_add makes it again, so that it cannot contradict.
#include "engine/wire_internal.h"
#include "engine/wire_work.h"

#include <float.h>
#include <math.h>

// A part's numbers, one behind the other; its arrays stand behind all parts' ids.
enum { PART_BYTES = 96, SAMPLING_BYTES = 40, MASK_BYTES = 16 };
enum { PART_DRAWS = 1, PART_LOGPROB = 2, PART_MASKED = 4, PART_FLAGS = 7 };
enum { STEP_DRAW = 1 };

_Static_assert(sizeof(struct logit_bias) == 8, "two numbers of four bytes, without padding");

static bool has_history(const struct step_part *p) {
    return p->draws && sampling_penalizes(&p->sampling);
}

static size_t next_count(const struct step_part *p) { return p->draws ? 0 : p->wanted; }

// ---- sizes

struct sum {
    size_t n;
    bool over;
};

static void add(struct sum *s, size_t count, size_t each) {
    size_t bytes;
    s->over = s->over || __builtin_mul_overflow(count, each, &bytes) ||
              __builtin_add_overflow(s->n, bytes, &s->n);
}

static void add_part(struct sum *request, struct sum *answer, const struct step_part *p) {
    add(request, 1, PART_BYTES);
    add(request, p->count, 4);
    add(request, p->block_count, 4);
    add(request, has_history(p) ? p->prompt_len : 0, 4);
    add(request, has_history(p) ? p->logged : 0, 4);
    add(request, p->draws ? p->end_count : 0, 4);
    add(request, next_count(p), 4);
    add(request, p->draws ? p->sampling.bias_count : 0, sizeof(struct logit_bias));
    add(answer, 1, WIRE_RESULT_BYTES);
    add(answer, p->wanted, 4U + (wire_has_logprobs(p) ? 4U : 0U) + (p->top ? 4 + 8 * p->top : 0));
}

enum err wire_size_step(const struct replica_step *s, struct wire_block *out, struct errmsg *msg) {
    struct sum request = {0}, answer = {0};
    for (size_t i = 0; i < s->step->seqs; i++)
        add_part(&request, &answer, &s->step->parts[i]);
    if (request.over || answer.over)
        return err_set(msg, ERR_TOO_LARGE, "a step is larger than a size counts");
    return wire_block_of(request.n, answer.n, out, msg);
}

// ---- parts

static void put_sampling(unsigned char **at, const struct sampling *s) {
    wire_put_u64(at, s->seed);
    wire_put_f32(at, s->temperature);
    wire_put_f32(at, s->top_p);
    wire_put_f32(at, s->min_p);
    wire_put_u32(at, (uint32_t)s->top_k);
    wire_put_f32(at, s->repetition_penalty);
    wire_put_f32(at, s->presence_penalty);
    wire_put_f32(at, s->frequency_penalty);
    wire_put_u32(at, (uint32_t)s->bias_count);
}

static void put_part(unsigned char **at, const struct step_part *p) {
    static const struct sampling none = {0};
    uint32_t flags = (p->draws ? PART_DRAWS : 0) | (p->want_logprob ? PART_LOGPROB : 0) |
                     (p->masked ? PART_MASKED : 0);
    wire_put_u64(at, p->sequence);
    wire_put_u64(at, p->draws ? p->position : 0);
    wire_put_u32(at, (uint32_t)p->count);
    wire_put_u32(at, (uint32_t)p->context);
    wire_put_u32(at, (uint32_t)p->block_count);
    wire_put_u32(at, (uint32_t)p->wanted);
    wire_put_u32(at, p->draws ? (uint32_t)p->prompt_len : 0);
    wire_put_u32(at, p->draws ? (uint32_t)p->logged : 0);
    wire_put_u32(at, p->draws ? (uint32_t)p->end_count : 0);
    wire_put_u32(at, (uint32_t)p->top);
    wire_put_u32(at, flags);
    wire_put_u32(at, 0);
    put_sampling(at, p->draws ? &p->sampling : &none);
}

static void put_arrays(unsigned char **at, const struct step_part *p, const int32_t *blocks) {
    wire_put_array(at, blocks, p->block_count);
    if (has_history(p))
        wire_put_array(at, p->tokens, p->prompt_len + p->logged);
    wire_put_array(at, p->end_ids, p->draws ? p->end_count : 0);
    wire_put_array(at, p->next, next_count(p));
    wire_put_array(at, p->sampling.bias, p->draws ? 2 * p->sampling.bias_count : 0);
}

void wire_write_step(struct pack_writer *w, const struct replica_step *s, bool draw,
                     unsigned char *bulk) {
    const struct step *step = s->step;
    pack_put_u64(w, s->place);
    pack_put_u32(w, (uint32_t)s->work.share);
    pack_put_u32(w, draw ? STEP_DRAW : 0);
    pack_put_f64(w, s->prompt_part);
    pack_put_u32(w, (uint32_t)step->seqs);
    pack_put_u32(w, (uint32_t)step->tokens);
    for (size_t i = 0; i < step->seqs; i++)
        put_part(&bulk, &step->parts[i]);
    wire_put_array(&bulk, step->ids, step->tokens);
    // what step_add copied may be gone from where the parts have it
    for (size_t i = 0; i < step->seqs; i++)
        put_arrays(&bulk, &step->parts[i], step->block_tables + i * step->table_stride);
}

static void get_sampling(const unsigned char **at, struct sampling *s) {
    s->seed = wire_get_u64(at);
    s->temperature = wire_get_f32(at);
    s->top_p = wire_get_f32(at);
    s->min_p = wire_get_f32(at);
    s->top_k = (int32_t)wire_get_u32(at);
    s->repetition_penalty = wire_get_f32(at);
    s->presence_penalty = wire_get_f32(at);
    s->frequency_penalty = wire_get_f32(at);
    s->bias_count = wire_get_u32(at);
}

// A number that is not one is in no range.
static bool is_within(float v, float least, float most) { return v >= least && v <= most; }

static bool is_sampling(const struct sampling *s) {
    return is_within(s->temperature, 0, FLT_MAX) && is_within(s->top_p, FLT_TRUE_MIN, 1) &&
           is_within(s->min_p, 0, 1) && s->top_k >= 0 &&
           is_within(s->repetition_penalty, FLT_TRUE_MIN, FLT_MAX) &&
           is_within(s->presence_penalty, -2, 2) && is_within(s->frequency_penalty, -2, 2);
}

static bool is_zero(const unsigned char *p, size_t n) {
    while (n > 0 && p[n - 1] == 0)
        n--;
    return n == 0;
}

// Reads the numbers of a part, and which of them can be. Its arrays are not there yet.
static bool get_part(const unsigned char *at, const struct wire_place *place, struct step_part *p) {
    const struct step_limits *l = &place->options.limits;
    *p = (struct step_part){.sequence = wire_get_u64(&at)};
    p->position = wire_get_u64(&at);
    p->count = wire_get_u32(&at);
    p->context = wire_get_u32(&at);
    p->block_count = wire_get_u32(&at);
    p->wanted = wire_get_u32(&at);
    p->prompt_len = wire_get_u32(&at);
    p->logged = wire_get_u32(&at);
    p->end_count = wire_get_u32(&at);
    p->top = wire_get_u32(&at);
    uint32_t flags = wire_get_u32(&at), zero = wire_get_u32(&at);
    const unsigned char *sampling = at;
    get_sampling(&at, &p->sampling);
    p->draws = flags & PART_DRAWS;
    p->want_logprob = flags & PART_LOGPROB;
    p->masked = flags & PART_MASKED;
    size_t known = p->prompt_len + p->logged;
    bool drawing = p->draws ? p->wanted >= 1 && p->wanted <= STEP_ROWS_MOST &&
                                  is_sampling(&p->sampling) && known <= INT32_MAX &&
                                  p->position >= known && p->position - known <= 1
                            : is_zero(sampling, SAMPLING_BYTES) && p->position == 0 && known == 0 &&
                                  p->end_count == 0 && !p->masked;
    return drawing && zero == 0 && !(flags & ~(uint32_t)PART_FLAGS) && p->count >= 1 &&
           p->count <= l->max_tokens && p->context + p->count <= l->max_context &&
           p->context + p->count <= place->max_length && p->wanted <= p->count &&
           p->top <= SAMPLING_MAX_TOP &&
           p->block_count <= (l->max_context + l->block_tokens - 1) / l->block_tokens &&
           p->context + p->count <= p->block_count * l->block_tokens;
}

static bool are_biases(const struct logit_bias *bias, size_t n, size_t vocab) {
    for (size_t i = 0; i < n; i++)
        if ((uint32_t)bias[i].id >= vocab || !is_within(bias[i].bias, -INFINITY, INFINITY))
            return false;
    return true;
}

// The ids of the part and its arrays; false: something is not there or out of its range.
static bool take_arrays(struct pack_reader *rest, const struct wire_place *place,
                        struct step_part *p) {
    size_t vocab = place->vocab, known = has_history(p) ? p->prompt_len + p->logged : 0,
           next = next_count(p), biases = p->sampling.bias_count;
    p->blocks = wire_take_array(rest, p->block_count);
    p->tokens = wire_take_array(rest, known);
    p->end_ids = wire_take_array(rest, p->end_count);
    p->next = wire_take_array(rest, next);
    p->sampling.bias = wire_take_array(rest, 2 * biases);
    if (rest->failed)
        return false;
    bool last = p->ids[0] == STEP_LAST_DRAWN;
    return (!last || (p->draws && p->count == 1 && p->wanted == 1)) &&
           p->position - (p->prompt_len + p->logged) == last &&
           wire_ids_are_below(p->ids + last, p->count - last, vocab) &&
           wire_ids_are_below(p->blocks, p->block_count, place->options.blocks) &&
           wire_ids_are_below(p->tokens, known, vocab) &&
           wire_ids_are_below(p->end_ids, p->end_count, vocab) &&
           wire_ids_are_below(p->next, next, vocab) && are_biases(p->sampling.bias, biases, vocab);
}

static enum err read_parts(const unsigned char *bulk, size_t length, size_t parts, size_t tokens,
                           const struct wire_place *place, struct step *step, struct errmsg *msg) {
    struct pack_reader rest = pack_reader_of(bulk, length);
    const unsigned char *records = pack_get_bytes(&rest, parts * PART_BYTES);
    const int32_t *ids = wire_take_array(&rest, tokens);
    if (rest.failed)
        return err_set(msg, ERR_INVALID, "STEP: %zu bytes of bulk for %zu parts, %zu tokens",
                       length, parts, tokens);
    step_clear(step);
    for (size_t i = 0; i < parts; i++) {
        struct step_part p;
        bool sane =
            get_part(records + i * PART_BYTES, place, &p) && p.count <= tokens - step->tokens;
        p.ids = ids + step->tokens;
        if (!sane || !take_arrays(&rest, place, &p) || !step_add(step, &p))
            return err_set(msg, ERR_INVALID, "STEP: part %zu has a number out of its range", i);
    }
    if (step->tokens != tokens || !pack_done(&rest))
        return err_set(msg, ERR_INVALID, "STEP: its bulk goes on behind its end");
    return ERR_OK;
}

enum err wire_read_step(const struct channel_message *m, const unsigned char *bulk,
                        const struct wire_place *place, struct step *step, struct replica_step *out,
                        bool *draw, size_t *answer, struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    uint64_t number = pack_get_u64(&r);
    uint32_t share = pack_get_below(&r, SHARE_COUNT), flags = pack_get_u32(&r);
    double prompt_part = pack_get_f64(&r);
    size_t parts = pack_get_u32(&r), tokens = pack_get_u32(&r);
    bool sane = (share == SHARE_DECODE || share == SHARE_PREFILL) &&
                !(flags & ~(uint32_t)STEP_DRAW) && prompt_part >= 0 && prompt_part <= 1;
    enum err e = wire_end_payload(m, &r, sane, msg);
    if (e)
        return e;
    if (!place || place->place != number)
        return err_set(msg, ERR_INVALID, "STEP: there is no place %llu here",
                       (unsigned long long)number);
    const struct step_limits *l = &step->limits;
    if (parts < 1 || parts > l->max_seqs || tokens < 1 || tokens > l->max_tokens)
        return err_set(msg, ERR_INVALID, "STEP: %zu parts, %zu tokens, of at most %zu and %zu",
                       parts, tokens, l->max_seqs, l->max_tokens);
    e = read_parts(bulk, (size_t)m->bulk_length, parts, tokens, place, step, msg);
    struct sum request = {0}, results = {0};
    for (size_t i = 0; i < parts && !e; i++) {
        add_part(&request, &results, &step->parts[i]);
        if (flags & STEP_DRAW && step->parts[i].masked)
            e = err_set(msg, ERR_INVALID, "STEP: part %zu is drawn before its mask comes", i);
    }
    *answer = results.n;
    *draw = flags & STEP_DRAW;
    out->work.model = place->model;
    out->work.share = (enum share)share;
    out->prompt_part = prompt_part;
    out->step = step;
    return e;
}

// ---- masks

static size_t mask_words(size_t vocab) { return (vocab + 31) / 32; }

enum err wire_size_draw(const struct step *s, size_t vocab, struct wire_block *out,
                        struct errmsg *msg) {
    struct sum sum = {0};
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *p = &s->parts[i];
        if (!p->masked || p->mask_count == 0)
            continue;
        add(&sum, 1, MASK_BYTES);
        for (size_t k = 0; k < p->mask_count; k++)
            add(&sum, p->masks[k] ? mask_words(vocab) : 0, 4);
    }
    if (sum.over)
        return err_set(msg, ERR_TOO_LARGE, "a step's masks are larger than a size counts");
    return wire_block_of(sum.n, 0, out, msg);
}

void wire_write_draw(struct pack_writer *w, const struct step *s, size_t vocab,
                     unsigned char *bulk) {
    uint32_t parts = 0;
    for (size_t i = 0; i < s->seqs; i++) {
        const struct step_part *p = &s->parts[i];
        if (!p->masked || p->mask_count == 0)
            continue;
        uint32_t there = 0;
        for (size_t k = 0; k < p->mask_count && k < STEP_ROWS_MOST; k++)
            there |= (uint32_t)(p->masks[k] != NULL) << k;
        wire_put_u32(&bulk, (uint32_t)i);
        wire_put_u32(&bulk, (uint32_t)p->mask_count);
        wire_put_u32(&bulk, there);
        wire_put_u32(&bulk, 0);
        for (size_t k = 0; k < p->mask_count; k++)
            if (p->masks[k])
                wire_put_array(&bulk, p->masks[k], mask_words(vocab));
        parts++;
    }
    pack_put_u32(w, parts);
}

// One part's; *next: the first part that may be named still.
static bool take_masks(struct pack_reader *rest, size_t vocab, struct step *s, size_t *next) {
    const unsigned char *at = pack_get_bytes(rest, MASK_BYTES);
    if (!at)
        return false;
    size_t part = wire_get_u32(&at), count = wire_get_u32(&at);
    uint32_t there = wire_get_u32(&at), zero = wire_get_u32(&at);
    if (part < *next || part >= s->seqs)
        return false;
    *next = part + 1;
    struct step_part *p = &s->parts[part];
    if (!p->masked || count < 1 || count > p->wanted || there >> count || zero)
        return false;
    for (size_t k = 0; k < count; k++) {
        p->masks[k] = there >> k & 1 ? wire_take_array(rest, mask_words(vocab)) : NULL;
        if (rest->failed)
            return false;
    }
    p->mask_count = count;
    return true;
}

enum err wire_read_draw(const struct channel_message *m, const unsigned char *bulk, size_t vocab,
                        struct step *s, struct errmsg *msg) {
    struct pack_reader r = wire_reader_of(m);
    size_t parts = pack_get_u32(&r), next = 0;
    enum err e = wire_end_payload(m, &r, true, msg);
    if (e)
        return e;
    struct pack_reader rest = pack_reader_of(bulk, (size_t)m->bulk_length);
    for (size_t i = 0; i < parts; i++)
        if (!take_masks(&rest, vocab, s, &next))
            return err_set(msg, ERR_INVALID, "DRAW: its masks are not those of its step's parts");
    if (!pack_done(&rest))
        return err_set(msg, ERR_INVALID, "DRAW: its bulk goes on behind its end");
    return ERR_OK;
}
