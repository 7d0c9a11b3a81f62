// Ids to text, and what each token adds to it. See token_stream.h and tokenizer.h.
#include "tokenizer/token_stream.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#include <string.h>

// The spelling to decode; NULL for an id without a token.
static const char *spelling(const struct tokenizer *t, int32_t id) {
    const struct added_token *added = added_tokens_by_id(&t->added, id);
    return added ? added->pattern : vocab_piece(t->vocab, id);
}

enum err tokenizer_bytes_fill(struct tokenizer *t) {
    struct tokenizer_bytes *b = &t->bytes;
    struct buf work = {0};
    b->at = mem_alloc(t->vocab_size + 1, sizeof *b->at);
    for (size_t id = 0; b->at && id < t->vocab_size; id++) {
        const char *piece = spelling(t, (int32_t)id);
        b->at[id] = (uint32_t)b->blob.len;
        if (piece)
            text_decoder_append(&t->decoder, piece, 1, &work, &b->blob);
    }
    buf_free(&work);
    if (!b->at || b->blob.failed || b->blob.len > UINT32_MAX)
        return ERR_NOMEM;
    b->at[t->vocab_size] = (uint32_t)b->blob.len;
    return ERR_OK;
}

void tokenizer_bytes_free(struct tokenizer_bytes *b) {
    buf_free(&b->blob);
    mem_free(b->at);
    b->at = NULL;
}

struct text tokenizer_token_bytes(const struct tokenizer *t, int32_t id) {
    if (id < 0 || (size_t)id >= t->vocab_size || !t->bytes.blob.data)
        return (struct text){"", 0};
    uint32_t at = t->bytes.at[id];
    return (struct text){t->bytes.blob.data + at, t->bytes.at[id + 1] - at};
}

bool tokenizer_token_is_special(const struct tokenizer *t, int32_t id) {
    const struct added_token *added = added_tokens_by_id(&t->added, id);
    return added && added->skipped;
}

int32_t tokenizer_token_id(const struct tokenizer *t, const char *piece, size_t len) {
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.items[i].len == len && memcmp(t->added.items[i].content, piece, len) == 0)
            return t->added.items[i].id;
    return vocab_id(t->vocab, piece, len);
}

void token_stream_init(struct token_stream *s, const struct tokenizer *t,
                       bool skip_special_tokens) {
    *s = (struct token_stream){.tokenizer = t, .skip_special = skip_special_tokens};
}

static void put_replacement(struct buf *out) { buf_append(out, "\xEF\xBF\xBD", 3); }

// The length of a character whose first byte is `first`; 0: no character begins so.
static size_t size_of(unsigned char first) {
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

// True when `byte` can follow what is pending, by the table of well-formed UTF-8.
static bool goes_on(const struct token_stream *s, unsigned char byte) {
    if (!utf8_is_tail((char)byte))
        return false;
    if (s->pending_len > 1)
        return true;
    switch ((unsigned char)s->pending[0]) {
    case 0xE0:
        return byte >= 0xA0;
    case 0xED:
        return byte < 0xA0;
    case 0xF0:
        return byte >= 0x90;
    case 0xF4:
        return byte < 0x90;
    default:
        return true;
    }
}

// Every incomplete character becomes one U+FFFD for its longest valid beginning, as in Rust's
// String::from_utf8_lossy.
static void put_byte(struct token_stream *s, char c, struct buf *out) {
    if (s->pending_len && goes_on(s, (unsigned char)c)) {
        s->pending[s->pending_len++] = c;
        if (s->pending_len == size_of((unsigned char)s->pending[0])) {
            buf_append(out, s->pending, s->pending_len);
            s->pending_len = 0;
        }
        return;
    }
    token_stream_end(s, out);
    size_t size = size_of((unsigned char)c);
    if (size == 1)
        buf_putc(out, c);
    else if (size == 0)
        put_replacement(out);
    else
        s->pending[s->pending_len++] = c;
}

void token_stream_end(struct token_stream *s, struct buf *out) {
    if (s->pending_len)
        put_replacement(out);
    s->pending_len = 0;
}

// The first token of all: a decoder may treat it differently from the others.
static void put_first(struct token_stream *s, int32_t id, struct buf *out) {
    struct buf work = {0};
    text_decoder_append(&s->tokenizer->decoder, spelling(s->tokenizer, id), 0, &work, out);
    buf_free(&work);
}

enum err token_stream_add(struct token_stream *s, int32_t id, struct buf *out, struct errmsg *msg) {
    const struct tokenizer *t = s->tokenizer;
    if (!spelling(t, id)) // a model's vocabulary is often padded beyond its tokenizer's
        return ERR_OK;
    if (s->skip_special && tokenizer_token_is_special(t, id))
        return ERR_OK;
    bool first = s->index++ == 0, raw = t->decoder.kind == DECODER_BYTE_LEVEL;
    struct text bytes = tokenizer_token_bytes(t, id);
    if (!raw && first)
        put_first(s, id, out);
    else if (!raw)
        buf_append(out, bytes.bytes, bytes.len);
    for (size_t i = 0; raw && i < bytes.len; i++)
        put_byte(s, bytes.bytes[i], out);
    return out->failed ? err_set(msg, ERR_NOMEM, "no memory for the text") : ERR_OK;
}

enum err tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                          bool skip_special_tokens, struct buf *out, struct errmsg *msg) {
    struct token_stream s;
    enum err e = ERR_OK;
    token_stream_init(&s, t, skip_special_tokens);
    for (size_t i = 0; i < n && !e; i++)
        e = token_stream_add(&s, ids[i], out, msg);
    token_stream_end(&s, out);
    return !e && out->failed ? err_set(msg, ERR_NOMEM, "no memory for the text") : e;
}
