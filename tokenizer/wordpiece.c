// See wordpiece.h.
#include "tokenizer/wordpiece.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

enum err wordpiece_work_init(struct wordpiece_work *w, const struct wordpiece *m) {
    *w = (struct wordpiece_work){0};
    w->cache = mem_alloc_aligned(WORD_CACHE_SLOTS, sizeof *w->cache);
    w->hashes = mem_alloc(m->vocab.longest + 2, sizeof *w->hashes);
    if (w->cache && w->hashes)
        return ERR_OK;
    wordpiece_work_free(w);
    return ERR_NOMEM;
}

void wordpiece_work_free(struct wordpiece_work *w) {
    mem_free(w->cache);
    mem_free(w->hashes);
    mem_free(w->pieces);
    *w = (struct wordpiece_work){0};
}

static enum err push(struct wordpiece_work *w, int32_t id, size_t end) {
    if (w->count == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;
        struct wordpiece_piece *pieces = mem_realloc(w->pieces, cap, sizeof *pieces);
        if (!pieces)
            return ERR_NOMEM;
        w->pieces = pieces;
        w->cap = cap;
    }
    w->pieces[w->count++] = (struct wordpiece_piece){id, (uint32_t)end};
    return ERR_OK;
}

static bool is_boundary(const char *s, size_t at, size_t len) {
    return at >= len || !utf8_is_tail(s[at]);
}

// The longest piece that begins at `start`; *end behind it, or -1.
static int32_t longest_at(const struct wordpiece *m, struct wordpiece_work *w, const char *word,
                          size_t start, size_t len, size_t *end) {
    size_t prefix_len = start ? m->prefix_len : 0;
    size_t most = m->vocab.longest > prefix_len ? m->vocab.longest - prefix_len : 0;
    most = most < len - start ? most : len - start;
    uint64_t h = start ? m->prefix_hash : VOCAB_HASH_START;
    for (size_t i = 0; i < most; i++)
        w->hashes[i + 1] = h = vocab_hash_step(h, (unsigned char)word[start + i]);
    for (size_t n = most; n > 0; n--) {
        if (!is_boundary(word, start + n, len))
            continue;
        int32_t id = vocab_find(&m->vocab, w->hashes[n], m->prefix, prefix_len, word + start, n);
        if (id >= 0) {
            *end = start + n;
            return id;
        }
    }
    return -1;
}

static enum err encode_new(const struct wordpiece *m, struct wordpiece_work *w, const char *word,
                           size_t len) {
    w->count = 0;
    size_t chars = 0;
    for (size_t i = 0; i < len && chars <= m->max_chars; i++)
        chars += is_boundary(word, i, len);
    if (chars > m->max_chars)
        return push(w, m->unk, len);
    for (size_t at = 0; at < len;) {
        int32_t id = longest_at(m, w, word, at, len, &at);
        if (id < 0) {
            w->count = 0;
            return push(w, m->unk, len);
        }
        enum err e = push(w, id, at);
        if (e)
            return e;
    }
    return ERR_OK;
}

static void remember(struct wordpiece_cached *slot, const struct wordpiece_work *w,
                     const char *word, size_t len, uint64_t hash) {
    slot->hash = hash;
    slot->len = (uint8_t)len;
    slot->count = (uint8_t)w->count;
    for (size_t i = 0; i < w->count; i++) {
        slot->id[i] = w->pieces[i].id;
        slot->end[i] = (uint8_t)w->pieces[i].end;
    }
    memcpy(slot->key, word, len);
}

enum err wordpiece_encode(const struct wordpiece *m, struct wordpiece_work *w, const char *word,
                          size_t len, uint64_t hash) {
    struct wordpiece_cached *slot = &w->cache[(hash ^ (hash >> 32)) % WORD_CACHE_SLOTS];
    if (slot->hash == hash && slot->len == len && memcmp(slot->key, word, len) == 0) {
        w->count = 0;
        for (size_t i = 0; i < slot->count; i++) {
            enum err e = push(w, slot->id[i], slot->end[i]);
            if (e)
                return e;
        }
        return ERR_OK;
    }
    enum err e = encode_new(m, w, word, len);
    if (!e && len <= WORD_CACHE_KEY && w->count <= WORD_CACHE_PIECES)
        remember(slot, w, word, len, hash);
    return e;
}

void wordpiece_free(struct wordpiece *m) {
    vocab_free(&m->vocab);
    mem_free(m->prefix);
    *m = (struct wordpiece){0};
}

enum err wordpiece_parse(const cJSON *json, struct wordpiece *out, struct errmsg *msg) {
    const char *unk, *prefix;
    int64_t max_chars;
    *out = (struct wordpiece){0};
    enum err e = json_get_string(json, "unk_token", NULL, &unk, msg);
    if (!e)
        e = json_get_string(json, "continuing_subword_prefix", NULL, &prefix, msg);
    if (!e)
        e = json_get_int(json, "max_input_chars_per_word", 0, INT32_MAX, -1, &max_chars, msg);
    if (e)
        return e;
    if (!unk || !prefix || max_chars < 0)
        return err_set(msg, ERR_INVALID,
                       "WordPiece needs 'unk_token', 'continuing_subword_prefix' and "
                       "'max_input_chars_per_word'");
    out->max_chars = (size_t)max_chars;
    out->prefix_len = strlen(prefix);
    out->prefix_hash = vocab_hash(VOCAB_HASH_START, prefix, out->prefix_len);
    out->prefix = mem_strndup(prefix, out->prefix_len);
    if (!out->prefix)
        return err_set(msg, ERR_NOMEM, "no memory for the model");
    if ((e = vocab_parse(json_get(json, "vocab"), &out->vocab, msg)))
        return e;
    out->unk = vocab_id(&out->vocab, unk, strlen(unk));
    if (out->unk < 0)
        return err_set(msg, ERR_INVALID, "unk_token '%s' is not in the vocabulary", unk);
    return ERR_OK;
}
