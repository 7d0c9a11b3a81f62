// See bpe.h. Parsing is bpe_json.c.
#include "tokenizer/bpe.h"

#include "base/mem.h"
#include "tokenizer/byte_level.h"

#include <string.h>

#define NONE UINT32_MAX
#define SHORT_WORD 24          // symbols up to which the plain loop is faster than the heap
#define SYMBOLS_KEPT (1 << 14) // a longer word's memory is given back

enum err bpe_work_init(struct bpe_work *w) {
    *w = (struct bpe_work){0};
    w->cache = mem_alloc_aligned((size_t)BPE_CACHE_LINES * BPE_CACHE_WAYS, sizeof *w->cache);
    return w->cache ? ERR_OK : ERR_NOMEM;
}

void bpe_work_free(struct bpe_work *w) {
    mem_free(w->cache);
    mem_free(w->symbols);
    mem_free(w->heap);
    mem_free(w->pieces);
    *w = (struct bpe_work){0};
}

static enum err push(struct bpe_work *w, int32_t id, size_t begin, size_t end) {
    if (w->count == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;
        struct bpe_piece *pieces = mem_realloc(w->pieces, cap, sizeof *pieces);
        if (!pieces)
            return ERR_NOMEM;
        w->pieces = pieces;
        w->cap = cap;
    }
    w->pieces[w->count++] = (struct bpe_piece){id, (uint32_t)begin, (uint32_t)end};
    return ERR_OK;
}

// Merges a word of at most SHORT_WORD bytes, each of which has a piece.
static enum err encode_short(const struct bpe *m, struct bpe_work *w, const char *word,
                             size_t len) {
    int32_t id[SHORT_WORD];
    struct bpe_pair pair[SHORT_WORD];
    uint8_t end[SHORT_WORD];
    const struct bpe_pair none = {BPE_NO_RANK, -1};
    size_t n = len;
    for (size_t i = 0; i < n; i++) {
        id[i] = m->byte_id[(unsigned char)word[i]];
        end[i] = (uint8_t)(i + 1);
    }
    for (size_t i = 0; i + 1 < n; i++)
        pair[i] = bpe_pair_of_bytes(&m->merges, word[i], word[i + 1]);
    pair[n - 1] = none;
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++)
            at = pair[i].rank < pair[at].rank ? i : at;
        if (pair[at].rank == BPE_NO_RANK)
            break;
        id[at] = pair[at].id;
        end[at] = end[at + 1];
        n--;
        for (size_t i = at + 1; i < n; i++) {
            id[i] = id[i + 1];
            end[i] = end[i + 1];
            pair[i] = pair[i + 1];
        }
        if (at > 0)
            pair[at - 1] = bpe_pair_of(&m->merges, id[at - 1], id[at]);
        pair[at] = at + 1 < n ? bpe_pair_of(&m->merges, id[at], id[at + 1]) : none;
    }
    enum err e = ERR_OK;
    for (size_t i = 0, begin = 0; i < n && !e; begin = end[i++])
        e = push(w, id[i], begin, end[i]);
    return e;
}

static enum err heap_push(struct bpe_work *w, uint32_t rank, uint32_t at) {
    if (w->heap_len == w->heap_cap) {
        size_t cap = w->heap_cap ? 2 * w->heap_cap : 256;
        uint64_t *heap = mem_realloc(w->heap, cap, sizeof *heap);
        if (!heap)
            return ERR_NOMEM;
        w->heap = heap;
        w->heap_cap = cap;
    }
    uint64_t key = (uint64_t)rank << 32 | at;
    size_t i = w->heap_len++;
    for (size_t up; i > 0 && w->heap[up = (i - 1) / 2] > key; i = up)
        w->heap[i] = w->heap[up];
    w->heap[i] = key;
    return ERR_OK;
}

static uint64_t heap_pop(struct bpe_work *w) {
    uint64_t top = w->heap[0], key = w->heap[--w->heap_len];
    size_t i = 0, n = w->heap_len;
    for (size_t down; (down = 2 * i + 1) < n; i = down) {
        down += down + 1 < n && w->heap[down + 1] < w->heap[down];
        if (w->heap[down] >= key)
            break;
        w->heap[i] = w->heap[down];
    }
    w->heap[i] = key;
    return top;
}

// Puts on the heap what the symbol at `at` and the next one become.
static enum err offer(struct bpe_work *w, uint32_t at, struct bpe_pair pair) {
    w->symbols[at].rank = pair.rank;
    w->symbols[at].merged = pair.id;
    return pair.rank == BPE_NO_RANK ? ERR_OK : heap_push(w, pair.rank, at);
}

static enum err offer_again(const struct bpe *m, struct bpe_work *w, uint32_t at) {
    const struct bpe_symbol *s = &w->symbols[at];
    const struct bpe_pair none = {BPE_NO_RANK, -1};
    return offer(w, at,
                 s->next == NONE ? none : bpe_pair_of(&m->merges, s->id, w->symbols[s->next].id));
}

// `bytes`: the n symbols are the bytes of the word, one each; NULL: they are not.
static enum err merge_all(const struct bpe *m, struct bpe_work *w, size_t n, const char *bytes) {
    const struct bpe_pair none = {BPE_NO_RANK, -1};
    enum err e = ERR_OK;
    w->heap_len = 0;
    for (size_t i = 0; i < n; i++) {
        w->symbols[i].prev = i ? (uint32_t)(i - 1) : NONE;
        w->symbols[i].next = i + 1 < n ? (uint32_t)(i + 1) : NONE;
    }
    for (size_t i = 0; i < n && !e; i++) {
        bool last = i + 1 == n;
        e = bytes ? offer(w, (uint32_t)i,
                          last ? none : bpe_pair_of_bytes(&m->merges, bytes[i], bytes[i + 1]))
                  : offer_again(m, w, (uint32_t)i);
    }
    while (w->heap_len && !e) {
        uint64_t key = heap_pop(w);
        uint32_t at = (uint32_t)key;
        struct bpe_symbol *s = &w->symbols[at];
        if (s->id < 0 || s->rank != (uint32_t)(key >> 32))
            continue; // the pair is another one by now
        struct bpe_symbol *gone = &w->symbols[s->next];
        s->id = s->merged;
        s->len += gone->len;
        s->next = gone->next;
        gone->id = -1;
        if (s->next != NONE)
            w->symbols[s->next].prev = at;
        e = offer_again(m, w, at);
        if (!e && s->prev != NONE)
            e = offer_again(m, w, s->prev);
    }
    return e;
}

// The index of the byte of a word that holds a given place of its spelling in the byte-level
// alphabet, counted in order.
struct spelled_at {
    const char *word;
    size_t byte, place;
};

static size_t byte_of(struct spelled_at *s, size_t place) {
    for (size_t len; s->place + (len = byte_level_len((unsigned char)s->word[s->byte])) <= place;) {
        s->place += len;
        s->byte++;
    }
    return s->byte;
}

// `spelled`: lengths are counted in the spelling, as Hugging Face does. It matters when bytes
// without a piece were dropped: the pieces behind them then stand too far to the left.
static enum err collect(struct bpe_work *w, const char *word, size_t n, bool spelled) {
    struct spelled_at here = {word, 0, 0};
    enum err e = ERR_OK;
    size_t at = 0;
    for (uint32_t i = n ? 0 : NONE; i != NONE && !e; i = w->symbols[i].next) {
        const struct bpe_symbol *s = &w->symbols[i];
        size_t begin = spelled ? byte_of(&here, at) : at;
        at += s->len;
        e = push(w, s->id, begin, spelled ? byte_of(&here, at - 1) + 1 : at);
    }
    return e;
}

// Makes the symbols of a word that has a byte without a piece of its own.
static size_t spell_with_unknown(const struct bpe *m, struct bpe_work *w, const char *word,
                                 size_t len) {
    size_t n = 0;
    bool unknown = false; // the last symbol is unk
    for (size_t i = 0; i < len; i++) {
        int32_t id = m->byte_id[(unsigned char)word[i]];
        uint32_t spelled = (uint32_t)byte_level_len((unsigned char)word[i]);
        if (id < 0 && m->unk < 0)
            continue;
        if (id < 0 && m->fuse_unk && unknown)
            w->symbols[n - 1].len += spelled;
        else
            w->symbols[n++] = (struct bpe_symbol){.id = id < 0 ? m->unk : id, .len = spelled};
        unknown = id < 0;
    }
    return n;
}

static enum err encode_long(const struct bpe *m, struct bpe_work *w, const char *word, size_t len,
                            bool unknown) {
    if (w->symbol_cap < len) {
        size_t cap = len < 256 ? 256 : len;
        struct bpe_symbol *symbols = mem_realloc(w->symbols, cap, sizeof *symbols);
        if (!symbols)
            return ERR_NOMEM;
        w->symbols = symbols;
        w->symbol_cap = cap;
    }
    size_t n = len;
    if (unknown)
        n = spell_with_unknown(m, w, word, len);
    else
        for (size_t i = 0; i < len; i++)
            w->symbols[i] = (struct bpe_symbol){.id = m->byte_id[(unsigned char)word[i]], .len = 1};
    enum err e = merge_all(m, w, n, unknown ? NULL : word);
    if (!e)
        e = collect(w, word, n, unknown);
    if (w->symbol_cap > SYMBOLS_KEPT) {
        mem_free(w->symbols);
        mem_free(w->heap);
        w->symbols = NULL;
        w->heap = NULL;
        w->symbol_cap = w->heap_cap = 0;
    }
    return e;
}

static int32_t whole_word(const struct bpe *m, const char *word, size_t len) {
    char spelled[2 * BPE_WHOLE_MAX];
    if (len > BPE_WHOLE_MAX)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t cp = byte_level_cp((unsigned char)word[i]);
        if (cp >= 0x80)
            spelled[n++] = (char)(0xC0 | cp >> 6);
        spelled[n++] = (char)(cp < 0x80 ? cp : 0x80 | (cp & 0x3F));
    }
    return vocab_id(&m->vocab, spelled, n);
}

static enum err encode_new(const struct bpe *m, struct bpe_work *w, const char *word, size_t len) {
    bool unknown = false;
    w->count = 0;
    int32_t whole = m->ignore_merges ? whole_word(m, word, len) : -1;
    if (whole >= 0)
        return push(w, whole, 0, len);
    for (size_t i = 0; i < len && !m->every_byte; i++)
        unknown |= m->byte_id[(unsigned char)word[i]] < 0;
    if (len <= SHORT_WORD && !unknown)
        return encode_short(m, w, word, len);
    return encode_long(m, w, word, len, unknown);
}

static void remember(const struct bpe_work *w, const struct bpe_word *word) {
    for (size_t i = 0; i < w->count; i++)
        if (w->pieces[i].begin != (i ? w->pieces[i - 1].end : 0))
            return;
    struct bpe_cached *c = bpe_cache_put(word);
    c->count = (uint8_t)w->count;
    for (size_t i = 0; i < w->count; i++) {
        c->id[i] = w->pieces[i].id;
        c->end[i] = (uint8_t)w->pieces[i].end;
    }
}

enum err bpe_encode(const struct bpe *m, struct bpe_work *w, const struct bpe_word *word) {
    const struct bpe_cached *c = bpe_cache_find(word);
    if (c && w->cap >= BPE_CACHE_PIECES) {
        w->count = c->count;
        for (size_t i = 0, begin = 0; i < c->count; begin = c->end[i++])
            w->pieces[i] = (struct bpe_piece){c->id[i], (uint32_t)begin, c->end[i]};
        return ERR_OK;
    }
    enum err e = encode_new(m, w, word->s, word->len);
    if (!e && word->line && w->count <= BPE_CACHE_PIECES)
        remember(w, word);
    return e;
}
