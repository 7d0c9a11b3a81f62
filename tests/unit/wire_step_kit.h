// Random steps for the tests of the codec: of every kind of part that there is, with masks, and
// with results such as a device gives. Thread rule: main thread only.
#ifndef TRINE_TESTS_WIRE_STEP_KIT_H
#define TRINE_TESTS_WIRE_STEP_KIT_H

#include "tests/unit/wire_kit.h"

#include <float.h>

enum {
    KIT_BLOCK = 16,
    KIT_BLOCKS = 60,
    KIT_CONTEXT = 160,
    KIT_VOCAB = 100,
    KIT_WORDS = (KIT_VOCAB + 31) / 32,
    KIT_SEQS = 9,
    KIT_ENDS = 2,
};

static const struct wire_place kit_place = {.place = 4,
                                            .model = 3,
                                            .options = {.limits = {.block_tokens = KIT_BLOCK,
                                                                   .max_tokens = 200,
                                                                   .max_seqs = KIT_SEQS,
                                                                   .max_logits = 80,
                                                                   .max_context = KIT_CONTEXT},
                                                        .blocks = KIT_BLOCKS,
                                                        .kv_dtype = DTYPE_F32},
                                            .vocab = KIT_VOCAB,
                                            .max_length = KIT_CONTEXT - 2};

// What a part of a step points to.
struct kit_part {
    int32_t tokens[KIT_CONTEXT + 1], blocks[KIT_CONTEXT / KIT_BLOCK], next[64], ends[KIT_ENDS];
    struct logit_bias bias[3];
    uint32_t masks[STEP_ROWS_MOST][KIT_WORDS];
};
static struct kit_part kit_parts[KIT_SEQS];

static inline int32_t kit_id(void) { return (int32_t)wire_random(KIT_VOCAB); }

static inline void kit_sampling(struct kit_part *k, struct sampling *s) {
    *s = (struct sampling){.temperature = wire_random(2) ? 0 : 0.7F,
                           .top_p = wire_random(2) ? 1 : FLT_MIN,
                           .min_p = 0.05F * (float)wire_random(3),
                           .top_k = (int32_t)wire_random(3) * 20,
                           .repetition_penalty = wire_random(2) ? 1 : 1.1F,
                           .presence_penalty = wire_random(3) ? 0 : -2,
                           .frequency_penalty = wire_random(3) ? 0 : 2,
                           .seed = ((uint64_t)wire_random(UINT32_MAX) << 32) | 7,
                           .bias = k->bias,
                           .bias_count = wire_random(4)};
    for (size_t i = 0; i < 3; i++)
        k->bias[i] = (struct logit_bias){kit_id(), i ? -100 + (float)wire_random(200) : -INFINITY};
}

// kind 0: a prompt's chunk of which nothing is wanted; 1: scores; 2: the last of a prompt, which
// draws; 3: decodes, with drafts perhaps; 4: goes on from what was drawn last.
static inline struct step_part kit_part_of(size_t i, unsigned kind) {
    struct kit_part *k = &kit_parts[i];
    static const int32_t last = STEP_LAST_DRAWN;
    for (size_t t = 0; t <= KIT_CONTEXT; t++)
        k->tokens[t] = kit_id();
    for (size_t b = 0; b < KIT_CONTEXT / KIT_BLOCK; b++)
        k->blocks[b] = (int32_t)wire_random(KIT_BLOCKS);
    for (size_t t = 0; t < 64; t++)
        k->next[t] = kit_id();
    struct step_part p = {.sequence = 1000 + i, .ids = k->tokens, .blocks = k->blocks};
    p.count = kind >= 3 ? 1 + (kind == 3 ? wire_random(4) : 0) : 1 + wire_random(20);
    p.context = wire_random((uint32_t)(KIT_CONTEXT - 2 - p.count));
    p.block_count = (p.context + p.count + KIT_BLOCK - 1) / KIT_BLOCK;
    p.wanted = kind == 0   ? 0
               : kind == 2 ? 1
               : kind == 1 ? 1 + wire_random((uint32_t)p.count)
                           : p.count;
    p.wanted = p.wanted > STEP_ROWS_MOST ? STEP_ROWS_MOST : p.wanted;
    p.top = wire_random(2) ? wire_random(SAMPLING_MAX_TOP + 1) : 0;
    p.want_logprob = wire_random(2);
    if (kind == 1)
        p.next = k->next;
    if (kind < 2)
        return p;
    p.draws = true;
    kit_sampling(k, &p.sampling);
    p.tokens = k->tokens;
    p.prompt_len = 1 + wire_random(30);
    p.logged = wire_random(30);
    p.position = p.prompt_len + p.logged + (kind == 4);
    p.ids = kind == 4 ? &last : k->tokens;
    p.end_ids = k->ends;
    p.end_count = wire_random(KIT_ENDS + 1);
    for (size_t e = 0; e < KIT_ENDS; e++)
        k->ends[e] = kit_id();
    p.masked = wire_random(3) == 0;
    return p;
}

// Returns whether a part of it is masked.
static inline bool kit_step(struct step *s, size_t parts) {
    bool masked = false;
    step_clear(s);
    for (size_t i = 0; i < parts; i++) {
        struct step_part p = kit_part_of(i, wire_random(5));
        if (!CHECK(step_add(s, &p) != NULL))
            return false;
        masked = masked || p.masked;
    }
    return masked;
}

// As many masks as there are by chance; each allows what its row is to draw.
static inline void kit_masks(struct step *s) {
    for (size_t i = 0; i < s->seqs; i++) {
        struct step_part *p = &s->parts[i];
        p->mask_count = p->masked ? wire_random((uint32_t)p->wanted + 1) : 0;
        for (size_t k = 0; k < p->mask_count; k++) {
            memset(kit_parts[i].masks[k], 0xFF, sizeof kit_parts[i].masks[k]);
            kit_parts[i].masks[k][wire_random(KIT_WORDS)] = 0xF0F0F0F1;
            p->masks[k] = wire_random(3) ? kit_parts[i].masks[k] : NULL;
        }
    }
}

static inline bool kit_ends(const struct step_part *p, int32_t id) {
    bool is = false;
    for (size_t e = 0; e < p->end_count; e++)
        is = is || p->end_ids[e] == id;
    return is;
}

static inline bool kit_allows(const struct step_part *p, size_t row, int32_t id) {
    return !p->masked || !p->masks[row] || p->masks[row][id / 32] >> (id % 32) & 1;
}

static inline void kit_result(const struct step_part *p, struct sampling_result *r, int32_t id) {
    *r = (struct sampling_result){.id = id, .end = SAMPLING_DRAWN};
    if (p->want_logprob || p->top || !p->draws)
        r->logprob = -0.25F * (float)wire_random(10);
    r->top_count = p->top ? wire_random((uint32_t)p->top + 1) : 0;
    for (size_t t = 0; t < r->top_count; t++)
        r->top[t] = (struct token_logprob){kit_id(), -0.5F * (float)(t / 2)};
}

// What a device would make of it: drafts come true or not, parts fail or are late.
static inline void kit_results(struct step *s) {
    for (size_t i = 0; i < s->seqs; i++) {
        struct step_part *p = &s->parts[i];
        struct sampling_result *r = s->results + s->first_logit[i];
        const int32_t *ids = s->ids + s->cu_seqlens[i], *drafts = ids + p->count - p->wanted + 1;
        size_t rows = p->masked && p->mask_count < p->wanted ? p->mask_count : p->wanted;
        bool fails = wire_random(6) == 0, lost = ids[0] == STEP_LAST_DRAWN && wire_random(4) == 0;
        p->drawn = 0;
        p->fault = STEP_FAULT_NONE;
        p->late = p->wanted > 0 && (rows == 0 || lost);
        for (size_t k = 0; k < rows && !p->late; k++) {
            if (fails && wire_random(2)) {
                p->fault = (enum step_fault)(1 + wire_random(STEP_FAULT_COUNT - 1));
                break;
            }
            int32_t id = !p->draws ? p->next[k] : kit_id();
            if (p->draws && k + 1 < rows && wire_random(2) && kit_allows(p, k, drafts[k]))
                id = drafts[k];
            while (p->draws && !kit_allows(p, k, id))
                id = kit_id();
            kit_result(p, &r[k], id);
            p->drawn++;
            if (p->draws && (k + 1 == rows || id != drafts[k] || kit_ends(p, id)))
                break;
        }
        p->err = step_fault_err(p->fault);
    }
}

#endif
