// Text to ids: the flow from bytes through added tokens, normalizer, pre-tokenizer and model to the
// template. See tokenizer.h.
#include "tokenizer/encode.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/trim.h"
#include "tokenizer/truncate.h"
#include "tokenizer/unicode.h"

#include <string.h>

enum err encode_push_trimmed(struct encode_job *j, int32_t id, const char *token, size_t len,
                             struct token_span span) {
    const struct postprocess *p = &j->t->postprocess;
    if (p->trim_offsets)
        span = trim_span(j->text, token, len, j->out->len == 0, p->add_prefix_space, span);
    return encode_push(j->out, id, span);
}

// Encodes a word of the normalized text in the scratch; the spans of its pieces are looked up byte
// by byte.
static enum err take_normal_word(void *context, size_t begin, size_t end) {
    struct encode_job *j = context;
    const struct normal *n = &j->s->normal;
    struct wordpiece_work *w = &j->s->words;
    const char *word = n->text + begin;
    uint64_t hash = vocab_hash(VOCAB_HASH_START, word, end - begin);
    enum err e = wordpiece_encode(&j->t->wordpiece, w, word, end - begin, hash);
    size_t at = begin;
    for (size_t i = 0; i < w->count && !e; i++) {
        size_t to = begin + w->pieces[i].end;
        const char *piece = vocab_piece(&j->t->wordpiece.vocab, w->pieces[i].id);
        struct token_span span = {n->align[at].begin, n->align[to - 1].end};
        e = encode_push_trimmed(j, w->pieces[i].id, piece, strlen(piece), span);
        at = to;
    }
    return e;
}

// Encodes any text, through every part as the file has it.
static enum err encode_general(struct encode_job *j, size_t begin, size_t end) {
    struct tokenizer_scratch *s = j->s;
    struct normal *n = &s->normal;
    normal_set(n, j->text.bytes, begin, end);
    enum err e = n->failed ? ERR_NOMEM : normalizer_apply(&j->t->normalizer, n, &s->normalizer);
    if (e)
        return e;
    if (!j->t->added.normalized.nodes)
        return pretokenizer_walk(&j->t->pretokenizer, n->text, 0, n->len, take_normal_word, j);
    e = added_tokens_split(&j->t->added, &j->t->added.normalized, n->text, n->len, &s->normalized);
    for (size_t i = 0; i < s->normalized.count && !e; i++) {
        const struct added_split *split = &s->normalized.items[i];
        struct token_span span = {n->align[split->begin].begin, n->align[split->end - 1].end};
        if (split->token)
            e = encode_push_trimmed(j, split->token->id, n->text + split->begin,
                                    split->end - split->begin, span);
        else
            e = pretokenizer_walk(&j->t->pretokenizer, n->text, split->begin, split->end,
                                  take_normal_word, j);
    }
    return e;
}

static enum err take_ascii_word(struct encode_job *j, const char *word, size_t len, uint64_t hash,
                                size_t begin) {
    struct wordpiece_work *w = &j->s->words;
    enum err e = wordpiece_encode(&j->t->wordpiece, w, word, len, hash);
    size_t at = 0;
    for (size_t i = 0; i < w->count && !e; i++) {
        struct token_span span = {(uint32_t)(begin + at), (uint32_t)(begin + w->pieces[i].end)};
        e = encode_push(j->out, w->pieces[i].id, span);
        at = w->pieces[i].end;
    }
    return e;
}

// ASCII words go straight to the model. What stands between two spaces and is not all ASCII takes
// the general path, by itself.
static enum err encode_by_words(struct encode_job *j, size_t begin, size_t end) {
    const uint8_t *class = j->t->ascii_class;
    const char *normal = j->t->ascii_normal;
    char *lower = j->s->lower;
    const char *text = j->text.bytes;
    enum err e = ERR_OK;
    for (size_t at = begin; at < end && !e;) {
        if (class[(unsigned char)text[at]] == ASCII_SPACE) {
            at++;
            continue;
        }
        size_t start = at, len = 0, first = j->out->len, word = at;
        uint64_t hash = VOCAB_HASH_START;
        for (; at < end && !e; at++) {
            unsigned char c = (unsigned char)text[at];
            if (class[c] == ASCII_LETTER) {
                lower[len++] = normal[c];
                hash = vocab_hash_step(hash, (unsigned char)normal[c]);
                continue;
            }
            if (class[c] == ASCII_SLOW)
                break;
            if (len)
                e = take_ascii_word(j, lower, len, hash, word);
            len = 0;
            hash = VOCAB_HASH_START;
            word = at + 1;
            if (class[c] == ASCII_SPACE)
                break;
            if (!e)
                e = take_ascii_word(j, &normal[c], 1,
                                    vocab_hash_step(VOCAB_HASH_START, (unsigned char)normal[c]),
                                    at);
        }
        if (e)
            break;
        if (at < end && class[(unsigned char)text[at]] == ASCII_SLOW) {
            j->out->len = first;
            while (at < end && class[(unsigned char)text[at]] != ASCII_SPACE)
                at++;
            e = encode_general(j, start, at);
        } else if (len) {
            e = take_ascii_word(j, lower, len, hash, word);
        }
    }
    return e;
}

static enum err encode_text(const struct tokenizer *t, struct tokenizer_scratch *s,
                            struct text text, struct encoding *out) {
    struct encode_job j = {t, s, text, out};
    out->len = 0;
    if (t->ascii_fast && s->lower_cap < text.len) {
        char *lower = mem_realloc(s->lower, text.len, 1);
        if (!lower)
            return ERR_NOMEM;
        s->lower = lower;
        s->lower_cap = text.len;
    }
    enum err e = added_tokens_split(&t->added, &t->added.raw, text.bytes, text.len, &s->raw);
    for (size_t i = 0; i < s->raw.count && !e; i++) {
        const struct added_split *split = &s->raw.items[i];
        if (split->token)
            e = encode_push_trimmed(
                &j, split->token->id, text.bytes + split->begin, split->end - split->begin,
                (struct token_span){(uint32_t)split->begin, (uint32_t)split->end});
        else if (t->kind == MODEL_BPE)
            e = encode_bpe(&j, split->begin, split->end);
        else if (t->ascii_fast)
            e = encode_by_words(&j, split->begin, split->end);
        else
            e = encode_general(&j, split->begin, split->end);
    }
    return e;
}

enum err tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct text text,
                          const struct text *pair, const struct tokenizer_options *options,
                          struct encoding *out, struct errmsg *msg) {
    if (text.len > UINT32_MAX || (pair && pair->len > UINT32_MAX))
        return err_set(msg, ERR_TOO_LARGE, "a text of 4 GiB or more");
    enum err e = encode_text(t, s, text, &s->first);
    if (!e && pair)
        e = encode_text(t, s, *pair, &s->second);
    if (e)
        err_set(msg, e, "no memory to encode %zu bytes", text.len + (pair ? pair->len : 0));
    else
        e = tokenizer_assemble(t, &s->first, pair ? &s->second : NULL, options, out, msg);
    scratch_trim(s);
    return e;
}

static void copy_text(const struct encoding *from, size_t keep, enum truncate_side side,
                      int32_t type_id, struct encoding *out) {
    size_t skip = side == TRUNCATE_LEFT ? from->len - keep : 0;
    if (keep) {
        memcpy(out->ids + out->len, from->ids + skip, keep * sizeof *out->ids);
        memcpy(out->spans + out->len, from->spans + skip, keep * sizeof *out->spans);
        memset(out->special + out->len, 0, keep);
    }
    for (size_t i = 0; i < keep; i++)
        out->type_ids[out->len + i] = type_id;
    out->len += keep;
}

enum err tokenizer_assemble(const struct tokenizer *t, const struct encoding *a,
                            const struct encoding *b, const struct tokenizer_options *options,
                            struct encoding *out, struct errmsg *msg) {
    const struct postprocess_template *template = b ? &t->postprocess.pair : &t->postprocess.single;
    size_t special = options->add_special_tokens ? template->special : 0;
    size_t first = a->len, second = b ? b->len : 0;
    out->len = 0;
    out->full_len = first + second + special;
    if (options->truncate != TRUNCATE_NONE && options->max_length < special)
        return err_set(msg, ERR_INVALID, "max_length %zu is below the %zu tokens that are put in",
                       options->max_length, special);
    enum err e = truncate_lengths(options->truncate, options->max_length - special, b != NULL,
                                  &first, &second, msg);
    if (e)
        return e;
    if (encoding_reserve(out, first + second + special))
        return err_set(msg, ERR_NOMEM, "no memory for %zu tokens", first + second + special);
    for (size_t i = 0; i < template->count; i++) {
        const struct postprocess_piece *p = &template->pieces[i];
        if (p->what == TEMPLATE_FIRST) {
            copy_text(a, first, options->side, p->type_id, out);
        } else if (p->what == TEMPLATE_SECOND && b) {
            copy_text(b, second, options->side, p->type_id, out);
        } else if (p->what == TEMPLATE_TOKEN && options->add_special_tokens) {
            out->ids[out->len] = p->id;
            out->type_ids[out->len] = p->type_id;
            out->spans[out->len] = (struct token_span){0, 0};
            out->special[out->len++] = 1;
        }
    }
    out->truncated = out->len < out->full_len;
    return ERR_OK;
}

enum err tokenizer_probe_ascii(struct tokenizer *t) {
    const struct pretokenizer *p = &t->pretokenizer;
    t->ascii_fast = normalizer_splits_at_spaces(&t->normalizer) && !t->added.normalized.nodes &&
                    p->count == 1 && p->steps[0].kind != PRETOKENIZER_WHITESPACE &&
                    t->kind == MODEL_WORDPIECE && !t->postprocess.trim_offsets;
    memset(t->ascii_class, ASCII_SLOW, sizeof t->ascii_class);
    struct normal n = {0};
    struct normalizer_work work = {0};
    enum err e = ERR_OK;
    for (unsigned c = 1; t->ascii_fast && c < 0x80 && !e; c++) {
        char byte = (char)c;
        normal_set(&n, &byte, 0, 1);
        e = n.failed ? ERR_NOMEM : normalizer_apply(&t->normalizer, &n, &work);
        if (e || n.len != 1 || (unsigned char)n.text[0] >= 0x80)
            continue;
        unsigned flags = unicode_flags((unsigned char)n.text[0]);
        bool alone = p->steps[0].kind == PRETOKENIZER_BERT && (flags & UNICODE_PUNCTUATION);
        t->ascii_normal[c] = n.text[0];
        t->ascii_class[c] = flags & UNICODE_WHITESPACE ? ASCII_SPACE
                            : alone                    ? ASCII_PUNCTUATION
                                                       : ASCII_LETTER;
    }
    normal_free(&n);
    normalizer_work_free(&work);
    return e;
}
