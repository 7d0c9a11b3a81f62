// See step.h.
#include "engine/step.h"

#include "base/mem.h"

#include <string.h>

static const struct {
    enum err err;
    const char *words;
} faults[STEP_FAULT_COUNT] = {
    [STEP_FAULT_NONE] = {ERR_OK, ""},
    [STEP_FAULT_NONFINITE] = {ERR_NONFINITE, "the model gave logits that are not finite"},
    [STEP_FAULT_OVERFLOW] = {ERR_INVALID,
                             "'logit_bias' and penalties leave no logit that is finite"},
    [STEP_FAULT_FORBIDDEN] = {ERR_INVALID,
                              "'logit_bias' forbids every token that the grammar allows"},
    [STEP_FAULT_ENDED] = {ERR_INTERNAL, "the text has ended where another token was to come"},
    [STEP_FAULT_MEMORY] = {ERR_NOMEM, "no memory for what was said so far"},
};

static enum step_fault known(enum step_fault f) {
    return (unsigned)f < STEP_FAULT_COUNT ? f : STEP_FAULT_ENDED;
}

const char *step_fault_words(enum step_fault f) { return faults[known(f)].words; }

enum err step_fault_err(enum step_fault f) { return faults[known(f)].err; }

static size_t table_stride(const struct step_limits *l) {
    return (l->max_context + l->block_tokens - 1) / l->block_tokens;
}

void step_free(struct step *s) {
    if (!s)
        return;
    mem_free(s->ids);
    mem_free(s->positions);
    mem_free(s->slots);
    mem_free(s->cu_seqlens);
    mem_free(s->context_lens);
    mem_free(s->block_tables);
    mem_free(s->logit_rows);
    mem_free(s->parts);
    mem_free(s->first_logit);
    mem_free(s->results);
    mem_free(s);
}

static bool make_arrays(struct step *s) {
    const struct step_limits *l = &s->limits;
    size_t table;
    if (mem_mul_overflows(l->max_seqs, s->table_stride, &table))
        return false;
    s->ids = mem_calloc(l->max_tokens, sizeof *s->ids);
    s->positions = mem_calloc(l->max_tokens, sizeof *s->positions);
    s->slots = mem_calloc(l->max_tokens, sizeof *s->slots);
    s->cu_seqlens = mem_calloc(l->max_seqs + 1, sizeof *s->cu_seqlens);
    s->context_lens = mem_calloc(l->max_seqs, sizeof *s->context_lens);
    s->block_tables = mem_calloc(table, sizeof *s->block_tables);
    s->logit_rows = mem_calloc(l->max_logits, sizeof *s->logit_rows);
    s->parts = mem_calloc(l->max_seqs, sizeof *s->parts);
    s->first_logit = mem_calloc(l->max_seqs, sizeof *s->first_logit);
    s->results = mem_calloc(l->max_logits, sizeof *s->results);
    return s->ids && s->positions && s->slots && s->cu_seqlens && s->context_lens &&
           s->block_tables && s->logit_rows && s->parts && s->first_logit && s->results;
}

enum err step_new(const struct step_limits *limits, struct step **out) {
    *out = NULL;
    struct step *s = mem_calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->limits = *limits;
    s->table_stride = table_stride(limits);
    if (!make_arrays(s)) {
        step_free(s);
        return ERR_NOMEM;
    }
    *out = s;
    return ERR_OK;
}

size_t step_bytes(const struct step_limits *l) {
    return l->max_seqs * (table_stride(l) * sizeof(int32_t) + sizeof(struct step_part)) +
           l->max_tokens * 3 * sizeof(int32_t) + l->max_logits * sizeof(struct sampling_result);
}

void step_clear(struct step *s) { s->tokens = s->seqs = s->logits = 0; }

// Tokens that still fit.
static size_t room_of(const struct step *s) {
    return s->seqs < s->limits.max_seqs ? s->limits.max_tokens - s->tokens : 0;
}

struct step_part *step_add(struct step *s, const struct step_part *part) {
    if (part->count > room_of(s) || part->wanted > step_logits_room(s) ||
        part->block_count > s->table_stride || (part->draws && part->wanted > STEP_ROWS_MOST))
        return NULL;
    size_t at = s->seqs, bt = s->limits.block_tokens;
    for (size_t i = 0; i < part->count; i++) {
        size_t position = part->context + i;
        s->ids[s->tokens + i] = part->ids[i];
        s->positions[s->tokens + i] = (int32_t)position;
        s->slots[s->tokens + i] =
            part->blocks[position / bt] * (int32_t)bt + (int32_t)(position % bt);
    }
    memcpy(s->block_tables + at * s->table_stride, part->blocks,
           part->block_count * sizeof *part->blocks);
    s->cu_seqlens[at] = (int32_t)s->tokens;
    s->context_lens[at] = (int32_t)(part->context + part->count);
    s->tokens += part->count;
    s->cu_seqlens[at + 1] = (int32_t)s->tokens;
    s->first_logit[at] = s->logits;
    for (size_t i = part->wanted; i > 0; i--)
        s->logit_rows[s->logits++] = (int32_t)(s->tokens - i);
    struct step_part *p = &s->parts[at];
    *p = *part;
    p->results = &s->results[s->first_logit[at]];
    p->mask_count = p->drawn = 0;
    p->late = false;
    p->err = ERR_OK;
    p->fault = STEP_FAULT_NONE;
    s->seqs++;
    return p;
}

bool step_is_masked(const struct step *s) {
    for (size_t i = 0; i < s->seqs; i++)
        if (s->parts[i].masked)
            return true;
    return false;
}
