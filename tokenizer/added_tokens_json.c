// The added_tokens section: parsing and building the searches. See added_tokens.h.
#include "base/buf.h"
#include "base/mem.h"
#include "tokenizer/added_tokens.h"

#include <stdlib.h>
#include <string.h>

static int32_t new_node(struct added_matcher *m, unsigned char byte) {
    if (m->count == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 64;
        struct added_matcher_node *nodes =
            cap < INT32_MAX ? mem_realloc(m->nodes, cap, sizeof *nodes) : NULL;
        if (!nodes)
            return -1;
        m->nodes = nodes;
        m->cap = cap;
    }
    m->nodes[m->count] = (struct added_matcher_node){-1, -1, -1, byte};
    return (int32_t)m->count++;
}

static int32_t child_or_new(struct added_matcher *m, int32_t node, unsigned char byte) {
    for (int32_t c = m->nodes[node].child; c >= 0; c = m->nodes[c].next)
        if (m->nodes[c].byte == byte)
            return c;
    int32_t c = new_node(m, byte);
    if (c >= 0) {
        m->nodes[c].next = m->nodes[node].child;
        m->nodes[node].child = c;
    }
    return c;
}

static enum err add_pattern(struct added_tokens *a, size_t index, struct errmsg *msg) {
    const struct added_token *token = &a->items[index];
    struct added_matcher *m = token->normalized ? &a->normalized : &a->raw;
    if (!token->pattern_len) // normalizes to nothing, so it is never found
        return ERR_OK;
    int32_t node = m->count ? 0 : new_node(m, 0);
    for (size_t i = 0; node >= 0 && i < token->pattern_len; i++)
        node = child_or_new(m, node, (unsigned char)token->pattern[i]);
    if (node < 0)
        return err_set(msg, ERR_NOMEM, "no memory for the added tokens");
    if (m->nodes[node].token >= 0)
        return err_set(msg, ERR_INVALID, "added tokens '%s' and '%s' are the same once normalized",
                       a->items[m->nodes[node].token].content, token->content);
    m->nodes[node].token = (int32_t)index;
    m->first[(unsigned char)token->pattern[0]] = true;
    return ERR_OK;
}

static enum err read_flags(const cJSON *json, struct added_token *t, struct errmsg *msg) {
    struct {
        const char *key;
        bool *at;
    } flags[] = {{"single_word", &t->single_word},
                 {"lstrip", &t->lstrip},
                 {"rstrip", &t->rstrip},
                 {"normalized", &t->normalized},
                 {"special", &t->special}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (!json_get(json, flags[i].key))
            return err_set(msg, ERR_INVALID, "added token '%s': '%s' is missing", t->content,
                           flags[i].key);
        enum err e = json_get_bool(json, flags[i].key, false, flags[i].at, msg);
        if (e)
            return err_prefix(msg, e, "added token '%s'", t->content);
    }
    return ERR_OK;
}

// Reads one entry into t. An entry with an empty content is skipped: t stays empty.
static enum err read_token(const cJSON *json, struct added_token *t, struct errmsg *msg) {
    const char *content;
    int64_t id;
    *t = (struct added_token){0};
    enum err e = json_get_string(json, "content", NULL, &content, msg);
    if (e)
        return e;
    if (!content)
        return err_set(msg, ERR_INVALID, "added token without a 'content'");
    e = json_get_int(json, "id", 0, UINT32_MAX, -1, &id, msg);
    if (e)
        return e;
    if (id < 0)
        return err_set(msg, ERR_INVALID, "added token '%s' has no 'id'", content);
    if (!*content)
        return ERR_OK;
    t->len = strlen(content);
    t->content = mem_strndup(content, t->len);
    return t->content ? read_flags(json, t, msg)
                      : err_set(msg, ERR_NOMEM, "no memory for the added tokens");
}

static enum err make_pattern(struct added_token *t, const struct normalizer *normalizer,
                             struct errmsg *msg) {
    struct normal normal = {0};
    struct normalizer_work work = {0};
    enum err e = ERR_OK;
    normal_set(&normal, t->content, 0, t->len);
    if (t->normalized)
        e = normalizer_apply(normalizer, &normal, &work);
    if (!e && !normal.failed)
        t->pattern = mem_strndup(normal.len ? normal.text : "", normal.len);
    t->pattern_len = normal.len;
    normal_free(&normal);
    normalizer_work_free(&work);
    return t->pattern ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for the added tokens");
}

static int by_id(const void *a, const void *b) {
    const struct added_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

// A spelling is special when any token of that content was, as in is_special_token.
static void mark_skipped(struct added_tokens *a, const struct vocab *contents,
                         const bool *special) {
    for (size_t i = 0; i < a->count; i++) {
        struct added_token *t = &a->items[i];
        int32_t named = vocab_id(contents, t->pattern, t->pattern_len);
        t->skipped = named >= 0 && special[named];
    }
}

// Makes tokens of the entries: a content seen before replaces the earlier one, a new one gets its
// id.
static enum err collect(const cJSON *json, const struct vocab *vocab, struct added_tokens *a,
                        struct vocab *contents, bool *special, struct errmsg *msg) {
    size_t next_id = vocab->count;
    const cJSON *item;
    cJSON_ArrayForEach(item, json) {
        struct added_token t;
        enum err e = read_token(item, &t, msg);
        if (e || !t.content) {
            mem_free(t.content);
            if (e)
                return e;
            continue;
        }
        int32_t at = vocab_id(contents, t.content, t.len);
        if (at >= 0) {
            t.id = a->items[at].id;
            mem_free(a->items[at].content);
        } else {
            at = (int32_t)a->count++;
            t.id = vocab_id(vocab, t.content, t.len);
            if (t.id < 0)
                t.id = (int32_t)next_id++;
            vocab_add(contents, t.content, t.len, at);
        }
        a->items[at] = t;
        special[at] = special[at] || t.special;
        const char *taken = vocab_piece(vocab, t.id);
        if (taken && strcmp(taken, t.content) != 0)
            return err_set(msg, ERR_INVALID, "added token '%s': id %d is also that of '%s'",
                           t.content, t.id, taken);
    }
    return ERR_OK;
}

static enum err build(const cJSON *json, const struct vocab *vocab,
                      const struct normalizer *normalizer, struct added_tokens *a,
                      struct vocab *contents, bool *special, struct errmsg *msg) {
    enum err e = collect(json, vocab, a, contents, special, msg);
    for (size_t i = 0; !e && i < a->count; i++)
        e = make_pattern(&a->items[i], normalizer, msg);
    if (e)
        return e;
    mark_skipped(a, contents, special);
    qsort(a->items, a->count, sizeof *a->items, by_id);
    for (size_t i = 0; !e && i < a->count; i++)
        e = add_pattern(a, i, msg);
    return e;
}

enum err added_tokens_parse(const cJSON *json, const struct vocab *vocab,
                            const struct normalizer *normalizer, struct added_tokens *out,
                            struct errmsg *msg) {
    *out = (struct added_tokens){0};
    size_t count = 0, bytes = 0;
    const cJSON *item;
    if (json && !cJSON_IsArray(json))
        return err_set(msg, ERR_INVALID, "'added_tokens' must be an array");
    cJSON_ArrayForEach(item, json) {
        const cJSON *content = json_get(item, "content");
        bytes += cJSON_IsString(content) ? strlen(content->valuestring) : 0;
        count++;
    }
    if (!count)
        return ERR_OK;
    struct vocab contents;
    out->items = mem_calloc(count, sizeof *out->items);
    bool *special = mem_calloc(count, sizeof *special);
    enum err e = vocab_init(&contents, count, bytes, count - 1);
    if (e || !out->items || !special || count > VOCAB_ID_MAX)
        e = err_set(msg, ERR_NOMEM, "no memory for the added tokens");
    else
        e = build(json, vocab, normalizer, out, &contents, special, msg);
    vocab_free(&contents);
    mem_free(special);
    return e;
}
