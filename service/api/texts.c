// See texts.h.
#include "service/api/texts.h"

#include "base/mem.h"
#include "engine/pair.h"
#include "engine/prompt.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void api_texts_free(struct api_texts *s) {
    mem_free(s->ids);
    mem_free(s->type_ids);
    mem_free(s->cu_seqlens);
    mem_free(s->skip);
    *s = (struct api_texts){0};
}

static bool grow(int32_t **array, size_t count) {
    int32_t *grown = mem_realloc(*array, count, sizeof **array);
    if (grown)
        *array = grown;
    return grown;
}

static enum err no_room(struct api_error *err) {
    return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the request's tokens");
}

enum err api_texts_reserve(struct api_texts *s, size_t seqs, struct api_error *err) {
    if (seqs <= s->seq_cap && s->cu_seqlens)
        return ERR_OK;
    if (seqs >= INT32_MAX || !grow(&s->cu_seqlens, seqs + 1) || (s->skip && !grow(&s->skip, seqs)))
        return no_room(err);
    if (s->seqs == 0)
        s->cu_seqlens[0] = 0;
    s->seq_cap = seqs;
    return ERR_OK;
}

static enum err reserve_tokens(struct api_texts *s, size_t more, struct api_error *err) {
    if (more <= s->token_cap - s->tokens)
        return ERR_OK;
    size_t cap = s->token_cap * 2 > s->tokens + more ? s->token_cap * 2 : s->tokens + more;
    cap = cap < 256 ? 256 : cap;
    if (cap > INT32_MAX || !grow(&s->ids, cap) || !grow(&s->type_ids, cap))
        return no_room(err);
    s->token_cap = cap;
    return ERR_OK;
}

static enum err close_sequence(struct api_texts *s, size_t len, size_t skip,
                               struct api_error *err) {
    if (skip && !s->skip) {
        s->skip = mem_calloc(s->seq_cap, sizeof *s->skip);
        if (!s->skip)
            return no_room(err);
    }
    if (s->skip)
        s->skip[s->seqs] = (int32_t)skip;
    s->tokens += len;
    s->cu_seqlens[++s->seqs] = (int32_t)s->tokens;
    return ERR_OK;
}

static enum err add_sequence(struct api_texts *s, const struct encoding *e, size_t skip,
                             struct api_error *err) {
    enum err failed = ERR_OK;
    if (s->seqs == s->seq_cap)
        failed = api_texts_reserve(s, s->seq_cap * 2 + 8, err);
    if (!failed)
        failed = reserve_tokens(s, e->len, err);
    if (failed)
        return failed;
    memcpy(s->ids + s->tokens, e->ids, e->len * sizeof *e->ids);
    memcpy(s->type_ids + s->tokens, e->type_ids, e->len * sizeof *e->type_ids);
    s->cut += e->truncated;
    return close_sequence(s, e->len, skip, err);
}

// In the words that platforms look for (OpenAI's), whoever's the request is. whole: the model's own
// length, where that and nothing in the request is the limit.
static enum err too_long(struct api_error *err, const char *field, struct api_place at, size_t have,
                         size_t most, size_t whole) {
    if (most == whole)
        return api_fail(err, ERR_INVALID, "context_length_exceeded", field,
                        "This model's maximum context length is %zu tokens, however you requested "
                        "%zu tokens ('%s', special ones included). Shorten it, or send "
                        "\"truncate\": true",
                        most, have, at.text);
    return api_fail(err, ERR_INVALID, "context_length_exceeded", field,
                    "'%s' has %zu tokens, special ones included; the request lets it have %zu. "
                    "Shorten it, or send \"truncate\": true",
                    at.text, have, most);
}

static struct api_place rules_place(const struct api_text_rules *rules, size_t at) {
    return api_place(rules->field, rules->alone, at);
}

static size_t length_limit(const struct api_text_rules *rules) {
    size_t most = rules->model->max_length;
    if (rules->any_length)
        return SIZE_MAX;
    return rules->max_length && rules->max_length < most ? rules->max_length : most;
}

static enum err add_ids(const struct json_node *list, size_t at, const struct api_text_rules *rules,
                        struct api_texts *out, struct api_error *err) {
    size_t n = 0, vocab = model_vocab(rules->model); // its rows: some may have no token
    for (const struct json_node *id = list->child; id; id = id->next, n++)
        if (id->number >= (double)vocab)
            return api_fail(err, ERR_INVALID, "invalid_token_id", rules->field,
                            "'%s' holds token id %.17g; this model's ids lie below %zu",
                            rules_place(rules, at).text, id->number, vocab);
    size_t most = length_limit(rules), first = 0, keep = n;
    if (n > most && !rules->truncate)
        return too_long(err, rules->field, rules_place(rules, at), n, most,
                        rules->model->max_length);
    if (n > most) {
        keep = most;
        first = rules->side == TRUNCATE_LEFT ? n - most : 0;
        out->cut++;
    }
    enum err e = ERR_OK;
    if (out->seqs == out->seq_cap)
        e = api_texts_reserve(out, out->seq_cap * 2 + 8, err);
    if (!e)
        e = reserve_tokens(out, keep, err);
    if (e)
        return e;
    size_t i = 0;
    for (const struct json_node *id = list->child; id; id = id->next, i++) {
        if (i >= first && i < first + keep) {
            out->ids[out->tokens + i - first] = (int32_t)id->number;
            out->type_ids[out->tokens + i - first] = 0;
        }
    }
    return close_sequence(out, keep, 0, err);
}

enum err api_text_not_encoded(struct api_error *err, enum err e, const char *what) {
    err->slug = e == ERR_NOMEM ? NULL : "tokenizer";
    if (e == ERR_NOMEM)
        return err_set(&err->msg, e, "no memory to tokenize");
    return err_prefix(&err->msg, e, "'%s'", what);
}

static enum err prompt_length(struct front_worker *w, struct tokenizer_scratch *scratch,
                              const struct api_text_rules *rules, size_t *out,
                              struct api_error *err) {
    enum err e = prompt_tokens_left_out(rules->model, scratch, rules->prompt,
                                        front_worker_encoding(w, 1), out, &err->msg);
    return e ? api_text_not_encoded(err, e, "prompt") : ERR_OK;
}

static enum err encode_text(struct front_worker *w, struct tokenizer_scratch *scratch,
                            struct text text, const struct text *pair, size_t at, size_t left_out,
                            const struct api_text_rules *rules, struct api_texts *out,
                            struct api_error *err) {
    const struct model *m = rules->model;
    if (m->frame) // its pairs have a way of their own
        return api_fail(err, ERR_INVALID, "pair_required", rules->field,
                        "'%s' is one text; model '%s' judges pairs of a query and a document",
                        rules_place(rules, at).text, m->name);
    size_t most = length_limit(rules);
    struct tokenizer_options options = {
        .add_special_tokens = !rules->plain,
        .truncate = rules->truncate ? TRUNCATE_LONGEST_FIRST : TRUNCATE_NONE,
        .side = rules->side,
        .max_length = most,
    };
    struct encoding *e = front_worker_encoding(w, 0);
    enum err failed = prompt_encode(m, scratch, rules->prompt, text, pair, &options,
                                    front_worker_text(w), e, &err->msg);
    if (failed)
        return api_text_not_encoded(err, failed, rules_place(rules, at).text);
    if (e->len > most)
        return too_long(err, rules->field, rules_place(rules, at), e->len, most, m->max_length);
    if (e->len == 0) // a template without special tokens, and a text of what the normalizer drops
        return api_empty_input(err, rules->field, rules_place(rules, at), "has no tokens");
    return add_sequence(out, e, prompt_skip(left_out, e), err);
}

// first: the number of the first document in messages.
static enum err encode_pairs(struct front_worker *w, struct text query,
                             const struct text *documents, size_t n, size_t first,
                             const struct api_pair_rules *rules, struct api_texts *out,
                             struct api_error *err) {
    const struct model *m = rules->model;
    struct tokenizer_scratch *scratch;
    if (front_worker_scratch(w, m, &scratch) != ERR_OK)
        return no_room(err);
    struct encoding *q = front_worker_encoding(w, 1), *d = front_worker_encoding(w, 2),
                    *joined = front_worker_encoding(w, 0);
    struct buf *work = front_worker_text(w);
    enum err e = pair_encode_query(m, scratch, rules->prompt, query, work, q, &err->msg);
    if (e)
        return api_text_not_encoded(err, e, "query");
    e = prompt_check_query(m, q->len, &err->msg);
    if (e) {
        err->slug = "query_too_long";
        err->param = "query";
        return e;
    }
    size_t taken = q->len + pair_special_count(m);
    size_t most = m->max_length;
    if (rules->max_document && rules->max_document < most - taken)
        most = taken + rules->max_document;
    const struct tokenizer_options options = {
        .add_special_tokens = true,
        .truncate = rules->truncate ? TRUNCATE_ONLY_SECOND : TRUNCATE_NONE,
        .side = rules->side,
        .max_length = most,
    };
    bool crowding = most == m->max_length && pair_query_crowds(m, q->len);
    e = api_texts_reserve(out, out->seqs + n, err);
    for (size_t i = 0; i < n && !e; i++) {
        e = pair_encode_document(m, scratch, documents[i], work, d, &err->msg);
        if (!e)
            e = pair_assemble(m, q, d, &options, joined, &err->msg);
        if (e)
            return api_text_not_encoded(err, e,
                                        api_place(rules->field, rules->alone, first + i).text);
        out->crowded += crowding && joined->truncated;
        if (joined->len > most)
            return too_long(err, rules->field, api_place(rules->field, rules->alone, first + i),
                            joined->len, most, m->max_length);
        e = add_sequence(out, joined, 0, err);
    }
    return e;
}

enum err api_texts_encode_one(struct front_worker *w, struct text text, const struct text *pair,
                              size_t at, const struct api_text_rules *rules, struct api_texts *out,
                              struct api_error *err) {
    struct tokenizer_scratch *scratch;
    if (pair && rules->model->frame) {
        const struct api_pair_rules judged = {
            .model = rules->model,
            .truncate = rules->truncate,
            .side = rules->side,
            .field = rules->field,
            .alone = rules->alone,
        };
        return encode_pairs(w, text, pair, 1, at, &judged, out, err);
    }
    if (front_worker_scratch(w, rules->model, &scratch) != ERR_OK)
        return no_room(err);
    size_t skip = 0;
    enum err e = pair ? ERR_OK : prompt_length(w, scratch, rules, &skip, err);
    return e ? e : encode_text(w, scratch, text, pair, at, skip, rules, out, err);
}

enum err api_texts_encode(struct front_worker *w, const struct api_inputs *inputs,
                          const struct api_text_rules *rules, struct api_texts *out,
                          struct api_error *err) {
    struct tokenizer_scratch *scratch;
    struct api_text_rules named = *rules;
    rules = &named;
    named.field = inputs->name;
    named.alone = inputs->single;
    if (front_worker_scratch(w, rules->model, &scratch) != ERR_OK)
        return no_room(err);
    size_t skip, at = 0;
    enum err e = prompt_length(w, scratch, rules, &skip, err);
    if (!e)
        e = api_texts_reserve(out, out->seqs + inputs->count, err);
    const struct json_node *item = inputs->single ? inputs->value : inputs->value->child;
    for (; !e && at < inputs->count; item = item->next, at++) {
        if (json_is(item, JSON_STRING)) {
            struct text text = {item->text, strlen(item->text)};
            e = encode_text(w, scratch, text, NULL, at, skip, rules, out, err);
        } else {
            e = add_ids(item, at, rules, out, err);
        }
    }
    if (e == ERR_INVALID && !err->param)
        err->param = inputs->name;
    return e;
}

enum err api_texts_encode_all(struct front_worker *w, const struct text *texts, size_t n,
                              const struct api_text_rules *rules, struct api_texts *out,
                              struct api_error *err) {
    struct tokenizer_scratch *scratch;
    if (front_worker_scratch(w, rules->model, &scratch) != ERR_OK)
        return no_room(err);
    size_t skip;
    enum err e = prompt_length(w, scratch, rules, &skip, err);
    if (!e)
        e = api_texts_reserve(out, out->seqs + n, err);
    for (size_t i = 0; i < n && !e; i++)
        e = encode_text(w, scratch, texts[i], NULL, i, skip, rules, out, err);
    return e;
}

enum err api_texts_encode_pairs(struct front_worker *w, struct text query,
                                const struct text *documents, size_t n,
                                const struct api_pair_rules *rules, struct api_texts *out,
                                struct api_error *err) {
    return encode_pairs(w, query, documents, n, 0, rules, out, err);
}
