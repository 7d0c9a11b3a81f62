// See wire_work.h: what came of a step. A part's numbers stand in front of its own results,
// of which there are as many as tokens were drawn or scored.
#include "engine/wire_internal.h"
#include "engine/wire_work.h"

#include <math.h>

enum { RESULT_LATE = 1 };

_Static_assert(sizeof(struct token_logprob) == 8, "two numbers of four bytes, without padding");

// ---- the worker's side

static void put_part(unsigned char **at, const struct step_part *p) {
    wire_put_u32(at, (uint32_t)p->drawn);
    wire_put_u32(at, p->late ? RESULT_LATE : 0);
    wire_put_u32(at, (uint32_t)p->fault);
    wire_put_u32(at, 0);
    for (size_t k = 0; k < p->drawn; k++) {
        const struct sampling_result *r = &p->results[k];
        wire_put_u32(at, (uint32_t)r->id);
        if (wire_has_logprobs(p))
            wire_put_f32(at, r->logprob);
        if (p->top > 0) {
            wire_put_u32(at, (uint32_t)r->top_count);
            wire_put_array(at, r->top, 2 * r->top_count);
        }
    }
}

size_t wire_write_step_done(struct pack_writer *w, const struct step *s, enum err e,
                            const struct errmsg *msg, int64_t began_us, unsigned char *bulk) {
    unsigned char *at = bulk;
    wire_put_verdict(w, e, msg);
    pack_put_i64(w, began_us);
    for (size_t i = 0; i < s->seqs && !e; i++)
        put_part(&at, &s->parts[i]);
    return (size_t)(at - bulk);
}

// ---- the parent's side

// What a part can have come to.
struct due {
    const struct step_part *part;
    const int32_t *ids; // of the part's rows
    struct sampling_result *results;
    size_t vocab;
    bool last; // its first token is the one drawn before, which may not be there
};

// Above 0 only by what a sum of exponentials is rounded by. Minus infinity is where a float has no
// number so far below the others.
static bool is_logprob(float v) { return v <= 0.01F; }

static bool take_top(struct pack_reader *rest, const struct due *d, struct sampling_result *r) {
    const unsigned char *at = pack_get_bytes(rest, 4);
    size_t count = at ? wire_get_u32(&at) : SIZE_MAX;
    if (count > d->part->top || count > SAMPLING_MAX_TOP)
        return false;
    const unsigned char *top = wire_take_array(rest, 2 * count);
    if (!top)
        return false;
    memcpy(r->top, top, count * sizeof *r->top);
    r->top_count = count;
    for (size_t i = 0; i < count; i++)
        if ((uint32_t)r->top[i].id >= d->vocab || !is_logprob(r->top[i].logprob) ||
            (i > 0 && r->top[i].logprob > r->top[i - 1].logprob))
            return false;
    return true;
}

static bool is_allowed(const struct step_part *p, size_t row, int32_t id) {
    const uint32_t *mask = p->masked ? p->masks[row] : NULL;
    return !mask || mask[id / 32] >> (id % 32) & 1;
}

static bool ends(const struct step_part *p, int32_t id) {
    for (size_t i = 0; i < p->end_count; i++)
        if (p->end_ids[i] == id)
            return true;
    return false;
}

// Row k's. A row behind the first was drawn because the one before gave the token that it computes,
// and ended nothing.
static bool take_result(struct pack_reader *rest, const struct due *d, size_t k) {
    const struct step_part *p = d->part;
    struct sampling_result *r = &d->results[k];
    bool scored = wire_has_logprobs(p);
    const unsigned char *at = pack_get_bytes(rest, scored ? 8 : 4);
    if (!at)
        return false;
    r->id = (int32_t)wire_get_u32(&at);
    r->end = SAMPLING_DRAWN;
    r->logprob = scored ? wire_get_f32(&at) : 0;
    r->top_count = 0;
    if ((uint32_t)r->id >= d->vocab || (scored && !is_logprob(r->logprob)))
        return false;
    if (p->draws ? !is_allowed(p, k, r->id) : r->id != p->next[k])
        return false;
    return p->top == 0 || take_top(rest, d, r);
}

// Whether the draw stopped behind `drawn` rows of `rows` for a cause.
static bool stops_rightly(const struct due *d, size_t drawn, size_t rows) {
    const struct step_part *p = d->part;
    const int32_t *follows = d->ids + p->count - p->wanted + 1;
    for (size_t k = 0; k < drawn && p->draws && k + 1 < rows; k++) {
        bool goes_on = d->results[k].id == follows[k] && !ends(p, d->results[k].id);
        if ((k + 1 < drawn || p->err) != goes_on)
            return false;
    }
    return p->err ? drawn < rows : p->draws ? drawn > 0 : drawn == rows;
}

static bool take_part(struct pack_reader *rest, const struct due *d, struct step_part *p) {
    const unsigned char *at = pack_get_bytes(rest, WIRE_RESULT_BYTES);
    if (!at)
        return false;
    size_t drawn = wire_get_u32(&at);
    uint32_t flags = wire_get_u32(&at), fault = wire_get_u32(&at), zero = wire_get_u32(&at);
    size_t rows = p->masked && p->mask_count < p->wanted ? p->mask_count : p->wanted;
    if (drawn > rows || flags > RESULT_LATE || fault >= STEP_FAULT_COUNT || zero)
        return false;
    p->drawn = drawn;
    p->late = flags & RESULT_LATE;
    p->fault = (enum step_fault)fault;
    p->err = step_fault_err(p->fault);
    if (p->late || (rows == 0 && p->wanted > 0)) // and then nothing else
        return p->late && (d->last || rows == 0) && p->wanted > 0 && drawn == 0 && !p->err;
    for (size_t k = 0; k < drawn; k++)
        if (!take_result(rest, d, k))
            return false;
    return stops_rightly(d, drawn, rows);
}

enum err wire_read_step_done(const struct channel_message *m, const unsigned char *bulk,
                             struct step *s, size_t vocab, int64_t sent_us, int64_t now_us,
                             struct wire_done *out, struct errmsg *msg) {
    enum err e = wire_get_done(m, sent_us, now_us, out, msg);
    if (e)
        return e;
    struct pack_reader rest = pack_reader_of(bulk, (size_t)m->bulk_length);
    if (out->verdict.code && m->bulk_length > 0)
        return err_set(msg, ERR_INVALID, "STEP_DONE: an error has results");
    if (out->verdict.code)
        return ERR_OK;
    for (size_t i = 0; i < s->seqs; i++) {
        struct due d = {.part = &s->parts[i],
                        .ids = s->ids + s->cu_seqlens[i],
                        .results = s->results + s->first_logit[i],
                        .vocab = vocab};
        d.last = d.ids[0] == STEP_LAST_DRAWN;
        if (!take_part(&rest, &d, &s->parts[i]))
            return err_set(msg, ERR_INVALID, "STEP_DONE: part %zu has results that cannot be", i);
    }
    if (!pack_done(&rest))
        return err_set(msg, ERR_INVALID, "STEP_DONE: its bulk goes on behind its end");
    return ERR_OK;
}
