// See pair.h. The judging prompt is tokenized in pieces, its beginning and end once (pair_frame.h):
// they meet where the model's pre-tokenizer splits in any case (behind a newline, and between a
// colon and a space), so the tokens are those of the whole text.
#include "engine/pair.h"

#include "engine/pair_frame.h"
#include "tokenizer/encoding.h"

#include <string.h>

static const char before_query[] =
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: ";
static const char behind_query[] = "\n<Document>:";
static const char before_document[] = " ";

static const struct tokenizer_options bare = {.truncate = TRUNCATE_NONE};

size_t pair_special_count(const struct model *m) {
    return m->causal ? pair_frame_len(m->frame) : tokenizer_special_count(m->tokenizer, true);
}

bool pair_query_crowds(const struct model *m, size_t query_tokens) {
    size_t special = pair_special_count(m);
    return !m->causal && m->max_length > special && query_tokens > (m->max_length - special) / 2;
}

static enum err encode_between(const struct model *m, struct tokenizer_scratch *s,
                               const char *before, struct text text, const char *behind,
                               struct buf *work, struct encoding *out, struct errmsg *msg) {
    if (*before || *behind) {
        buf_reset(work);
        buf_puts(work, before);
        buf_append(work, text.bytes, text.len);
        buf_puts(work, behind);
        if (work->failed)
            return err_set(msg, ERR_NOMEM, "no memory for a text of %zu bytes", text.len);
        text = (struct text){work->data, work->len};
    }
    return tokenizer_encode(m->tokenizer, s, text, NULL, &bare, out, msg);
}

enum err pair_encode_query(const struct model *m, struct tokenizer_scratch *s, const char *prompt,
                           struct text query, struct buf *work, struct encoding *out,
                           struct errmsg *msg) {
    if (!m->causal)
        return encode_between(m, s, prompt ? prompt : "", query, "", work, out, msg);
    return encode_between(m, s, before_query, query, behind_query, work, out, msg);
}

enum err pair_encode_document(const struct model *m, struct tokenizer_scratch *s,
                              struct text document, struct buf *work, struct encoding *out,
                              struct errmsg *msg) {
    return encode_between(m, s, m->causal ? before_document : "", document, "", work, out, msg);
}

static void put(struct encoding *out, const int32_t *ids, size_t n, bool special) {
    memcpy(out->ids + out->len, ids, n * sizeof *ids);
    memset(out->type_ids + out->len, 0, n * sizeof *out->type_ids);
    memset(out->spans + out->len, 0, n * sizeof *out->spans);
    memset(out->special + out->len, special, n);
    out->len += n;
}

enum err pair_assemble(const struct model *m, const struct encoding *query,
                       const struct encoding *document, const struct tokenizer_options *options,
                       struct encoding *out, struct errmsg *msg) {
    if (!m->causal) {
        enum err e = tokenizer_assemble(m->tokenizer, query, document, options, out, msg);
        if (!e && out->len == 0) // no special tokens, and texts of what the normalizer drops
            e = err_set(msg, ERR_INVALID, "it has no tokens, and neither has the query");
        return e;
    }
    const struct pair_frame *f = m->frame;
    size_t beside = f->prefix_len + query->len + f->suffix_len, n = document->len;
    out->len = 0;
    out->full_len = beside + n;
    out->truncated = false;
    if (options->truncate != TRUNCATE_NONE && out->full_len > options->max_length) {
        if (beside >= options->max_length)
            return err_set(msg, ERR_INVALID,
                           "the query leaves no room for a document in %zu tokens",
                           options->max_length);
        n = options->max_length - beside;
        out->truncated = true;
    }
    if (encoding_reserve(out, beside + n) != ERR_OK)
        return err_set(msg, ERR_NOMEM, "no memory for %zu tokens", beside + n);
    const int32_t *kept = document->ids;
    if (options->side == TRUNCATE_LEFT)
        kept += document->len - n;
    put(out, f->prefix, f->prefix_len, true);
    put(out, query->ids, query->len, false);
    put(out, kept, n, false);
    put(out, f->suffix, f->suffix_len, true);
    return ERR_OK;
}
