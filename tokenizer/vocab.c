// See vocab.h: open addressing over (32 bits of hash, id), at most half full.
#include "tokenizer/vocab.h"

#include "base/mem.h"

#include <string.h>

enum err vocab_init(struct vocab *v, size_t count, size_t bytes, size_t max_id) {
    *v = (struct vocab){0};
    size_t slots = 64;
    while (slots < 2 * count)
        slots *= 2;
    v->mask = slots - 1;
    v->size = count ? max_id + 1 : 0;
    v->blob_cap = bytes + count;
    v->blob = mem_alloc(v->blob_cap, 1);
    v->slots = mem_alloc(slots, sizeof *v->slots);
    v->at = mem_alloc(v->size, sizeof *v->at);
    v->len = mem_calloc(v->size, sizeof *v->len);
    if (!v->blob || !v->slots || !v->at || !v->len || v->blob_cap >= UINT32_MAX) {
        vocab_free(v);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < slots; i++)
        v->slots[i] = (struct vocab_slot){0, -1};
    memset(v->at, 0xff, v->size * sizeof *v->at);
    return ERR_OK;
}

void vocab_free(struct vocab *v) {
    mem_free(v->blob);
    mem_free(v->slots);
    mem_free(v->at);
    mem_free(v->len);
    *v = (struct vocab){0};
}

uint64_t vocab_hash(uint64_t h, const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        h = vocab_hash_step(h, (unsigned char)s[i]);
    return h;
}

// FNV's low bits are the good ones, so the tag is taken from the high half after one more mix.
static uint32_t tag_of(uint64_t hash) { return (uint32_t)((hash ^ (hash >> 29)) >> 32); }
static size_t home_of(uint64_t hash) { return (size_t)(hash ^ (hash >> 32)); }

static bool spelled(const struct vocab *v, int32_t id, const char *prefix, size_t prefix_len,
                    const char *s, size_t len) {
    if (v->len[id] != prefix_len + len)
        return false;
    const char *piece = v->blob + v->at[id];
    return memcmp(piece, prefix, prefix_len) == 0 && memcmp(piece + prefix_len, s, len) == 0;
}

int32_t vocab_find(const struct vocab *v, uint64_t hash, const char *prefix, size_t prefix_len,
                   const char *s, size_t len) {
    if (!v->size)
        return -1;
    uint32_t tag = tag_of(hash);
    for (size_t i = home_of(hash) & v->mask; v->slots[i].id >= 0; i = (i + 1) & v->mask)
        if (v->slots[i].tag == tag && spelled(v, v->slots[i].id, prefix, prefix_len, s, len))
            return v->slots[i].id;
    return -1;
}

int32_t vocab_id(const struct vocab *v, const char *piece, size_t len) {
    return vocab_find(v, vocab_hash(VOCAB_HASH_START, piece, len), "", 0, piece, len);
}

bool vocab_add(struct vocab *v, const char *piece, size_t len, int32_t id) {
    if (v->at[id] != UINT32_MAX || v->blob_cap - v->used < len + 1)
        return false;
    uint64_t hash = vocab_hash(VOCAB_HASH_START, piece, len);
    if (vocab_find(v, hash, "", 0, piece, len) >= 0)
        return false;
    size_t i = home_of(hash) & v->mask;
    while (v->slots[i].id >= 0)
        i = (i + 1) & v->mask;
    v->slots[i] = (struct vocab_slot){tag_of(hash), id};
    v->at[id] = (uint32_t)v->used;
    v->len[id] = (uint32_t)len;
    memcpy(v->blob + v->used, piece, len);
    v->blob[v->used + len] = '\0';
    v->used += len + 1;
    v->longest = len > v->longest ? len : v->longest;
    v->count++;
    return true;
}

const char *vocab_piece(const struct vocab *v, int32_t id) {
    if (id < 0 || (size_t)id >= v->size || v->at[id] == UINT32_MAX)
        return NULL;
    return v->blob + v->at[id];
}
