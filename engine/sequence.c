// See sequence.h.
#include "engine/sequence.h"

#include "base/mem.h"

#include <string.h>

static atomic_uint_fast64_t numbers; // of the sequences so far

// A part of a step may be read when the request is over: it has biases of its own.
static enum err copy_sampling(struct sequence *s, const struct generation *g) {
    size_t early = g->min_tokens > 0 ? g->early.bias_count : 0, n = g->sampling.bias_count;
    s->sampling = g->sampling;
    if (g->min_tokens > 0)
        s->early = g->early;
    if (n + early == 0)
        return ERR_OK;
    s->biases = mem_alloc(n + early, sizeof *s->biases);
    if (!s->biases)
        return ERR_NOMEM;
    for (size_t i = 0; i < n + early; i++)
        s->biases[i] = i < n ? g->sampling.bias[i] : g->early.bias[i - n];
    s->sampling.bias = s->biases;
    s->early.bias = s->biases + n;
    return ERR_OK;
}

enum err sequence_new(struct generation *g, size_t vocab, size_t block_tokens, uint64_t owner,
                      struct sequence **out) {
    *out = NULL;
    struct sequence *s = mem_calloc(1, sizeof *s);
    size_t most = g->prompt_len + g->max_tokens;
    if (!s || most < g->max_tokens) {
        mem_free(s);
        return ERR_NOMEM;
    }
    s->g = g;
    s->number = atomic_fetch_add(&numbers, 1) + 1;
    s->owner = owner;
    s->account = g->owner ? g->owner : g->request;
    s->tokens = mem_alloc(most, sizeof *s->tokens);
    s->blocks = mem_alloc(most / block_tokens + 2, sizeof *s->blocks);
    enum err e = s->tokens && s->blocks ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = copy_sampling(s, g);
    if (!e && g->grammar)
        e = mask_job_new(g->grammar, vocab, g->grammar_of, &s->mask);
    if (e) {
        sequence_free(s);
        return e;
    }
    memcpy(s->tokens, g->prompt, g->prompt_len * sizeof *s->tokens);
    s->known = g->prompt_len;
    // nothing predicts the first token
    s->scored = g->prompt_logprobs ? 1 : g->prompt_len;
    *out = s;
    return ERR_OK;
}

void sequence_free(struct sequence *s) {
    if (!s)
        return;
    mem_free(s->biases);
    mask_job_free(s->mask);
    mem_free(s->tokens);
    mem_free(s->blocks);
    mem_free(s);
}

bool sequence_decodes(const struct sequence *s) {
    return (s->prefilled || s->coming > 0) && sequence_pending(s) == 1;
}

void sequence_drop_rows(struct sequence *s) {
    s->dropped++;
    s->live = s->coming = 0;
    s->sent = s->computed;
    s->alone = false;
}

bool sequence_grow(struct sequence *s, struct kv_blocks *b, size_t block_tokens, size_t tokens) {
    size_t want = (tokens + block_tokens - 1) / block_tokens;
    while (s->block_count < want) {
        int32_t block = kv_blocks_take(b);
        if (block == KV_NO_BLOCK)
            return false;
        s->blocks[s->block_count++] = block;
    }
    return true;
}

bool sequence_place(struct sequence *s, struct kv_blocks *b, size_t block_tokens, size_t spare,
                    size_t *lacks) {
    bool search = s->scored >= s->g->prompt_len; // a prompt that is scored is computed in full
    if (search)
        s->block_count = kv_blocks_match(b, s->owner, s->tokens, s->known - 1, s->blocks);
    s->published = s->block_count;
    s->computed = s->sent = s->block_count * block_tokens;
    // a prompt that is only scored needs no room behind it: it may be as long as the whole cache
    size_t positions = s->known + (s->g->max_tokens > 0);
    size_t want = (positions + block_tokens - 1) / block_tokens - s->block_count;
    *lacks = want + spare > kv_blocks_room(b) ? want + spare - kv_blocks_room(b) : 0;
    if (*lacks > 0 || !sequence_grow(s, b, block_tokens, positions)) {
        sequence_unplace(s, b);
        return false;
    }
    return true;
}

void sequence_publish(struct sequence *s, struct kv_blocks *b, size_t block_tokens) {
    for (; (s->published + 1) * block_tokens <= s->computed; s->published++) {
        size_t i = s->published;
        s->blocks[i] = kv_blocks_publish(b, s->owner, i > 0 ? s->blocks[i - 1] : KV_NO_BLOCK,
                                         s->blocks[i], s->tokens + i * block_tokens);
    }
}

void sequence_unplace(struct sequence *s, struct kv_blocks *b) {
    kv_blocks_release(b, s->blocks, s->block_count);
    s->block_count = s->published = s->computed = 0;
    sequence_drop_rows(s);
}

size_t sequence_common(const struct sequence *a, const struct sequence *b, size_t block_tokens) {
    size_t n = a->known < b->known ? a->known : b->known, same = 0;
    while (same < n && a->tokens[same] == b->tokens[same])
        same++;
    return same / block_tokens * block_tokens;
}
