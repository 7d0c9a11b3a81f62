// The tokens that tokenizer_config.json and its neighbours add to those of tokenizer.json, and the
// flags of tokens that they change. See tokenizer_config.h.
#include "base/mem.h"
#include "tokenizer/tokenizer_config.h"
#include "tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 65536

static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
enum { NAMES = sizeof names / sizeof *names, LISTS = sizeof lists / sizeof *lists };

// The spelling that a class gives a token when no file names it, in the order of `names`.
static const char *const bert_names[NAMES] = {NULL,    NULL,    "[UNK]", "[SEP]",
                                              "[PAD]", "[CLS]", "[MASK]"};
static const char *const gpt2_names[NAMES] = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"};
static const char *const qwen2_names[NAMES] = {NULL, "<|endoftext|>", "<|endoftext|>", NULL,
                                               "<|endoftext|>"};

struct flags {
    bool single_word, lstrip, rstrip, normalized, special;
};

struct merge {
    const struct tokenizer_files *f;
    cJSON *list;                // the result
    const struct vocab *vocab;  // the model's
    struct vocab seen, special; // contents of the list; those that a file or the class names
    const cJSON **items;        // [of seen]
    size_t count;               // of seen and items
    size_t next_id; // what a token gets that is neither in the vocabulary nor in the list
    size_t vocab_size;
    struct errmsg *msg;
};

static enum err no_memory(const struct merge *m) {
    return err_set(m->msg, ERR_NOMEM, "no memory for the added tokens");
}

// As in transformers' AddedToken: a special token is not normalized unless it says so.
static enum err read_flags(const cJSON *entry, bool special, struct flags *out,
                           struct errmsg *msg) {
    enum err e = json_get_bool(entry, "special", special, &out->special, msg);
    if (!e)
        e = json_get_bool(entry, "single_word", false, &out->single_word, msg);
    if (!e)
        e = json_get_bool(entry, "lstrip", false, &out->lstrip, msg);
    if (!e)
        e = json_get_bool(entry, "rstrip", false, &out->rstrip, msg);
    return e ? e : json_get_bool(entry, "normalized", !out->special, &out->normalized, msg);
}

static bool same_flags(const cJSON *entry, const struct flags *b) {
    struct flags a;
    return !read_flags(entry, false, &a, NULL) && a.single_word == b->single_word &&
           a.lstrip == b->lstrip && a.rstrip == b->rstrip && a.normalized == b->normalized &&
           a.special == b->special;
}

static bool has(const struct vocab *v, const char *content) {
    return vocab_id(v, content, strlen(content)) >= 0;
}

static const cJSON *listed(const struct merge *m, const char *content) {
    int32_t at = vocab_id(&m->seen, content, strlen(content));
    return at < 0 ? NULL : m->items[at];
}

static void see(struct merge *m, const cJSON *item, const char *content) {
    if (!vocab_add(&m->seen, content, strlen(content), (int32_t)m->count))
        return; // the first of a content keeps the place; which flags count is the reader's affair
    m->items[m->count++] = item;
    m->next_id += !has(m->vocab, content);
}

static enum err append(struct merge *m, const char *content, const struct flags *f) {
    cJSON *t = cJSON_CreateObject();
    bool ok = t && cJSON_AddNumberToObject(t, "id", (double)m->next_id) &&
              cJSON_AddStringToObject(t, "content", content) &&
              cJSON_AddBoolToObject(t, "single_word", f->single_word) &&
              cJSON_AddBoolToObject(t, "lstrip", f->lstrip) &&
              cJSON_AddBoolToObject(t, "rstrip", f->rstrip) &&
              cJSON_AddBoolToObject(t, "normalized", f->normalized) &&
              cJSON_AddBoolToObject(t, "special", f->special);
    if (!ok || !cJSON_AddItemToArray(m->list, t)) {
        cJSON_Delete(t);
        return no_memory(m);
    }
    see(m, t, content);
    return ERR_OK;
}

// ---- special tokens by name

// Calls for every special token that a file or the class names; stops at the first failure.
typedef enum err name_taker(void *ctx, const cJSON *item, const char *content);

static enum err each_named(const struct tokenizer_files *f, name_taker *take, void *ctx) {
    const char *const *defaults = f->kind == CLASS_BERT    ? bert_names
                                  : f->kind == CLASS_GPT2  ? gpt2_names
                                  : f->kind == CLASS_QWEN2 ? qwen2_names
                                                           : NULL;
    enum err e = ERR_OK;
    for (size_t i = 0; i < NAMES && !e; i++) {
        const cJSON *item = json_get(f->config, names[i]);
        const char *content = tokenizer_config_spelling(item);
        bool none = cJSON_GetObjectItemCaseSensitive(f->config, names[i]) != NULL; // null
        if (!content && defaults && !none)
            content = defaults[i];
        if (content && *content)
            e = take(ctx, item, content);
    }
    for (size_t i = 0; i < LISTS && !e; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, json_get(f->config, lists[i])) {
            const char *content = tokenizer_config_spelling(item);
            if (content && *content && !e)
                e = take(ctx, item, content);
        }
    }
    return e;
}

static enum err note_named(void *ctx, const cJSON *item, const char *content) {
    struct vocab *v = ctx;
    (void)item;
    if (v->count < v->size && !has(v, content))
        (void)vocab_add(v, content, strlen(content), (int32_t)v->count);
    return ERR_OK;
}

// A token of that name becomes an added token, and special, if it is not one already. transformers
// gives a token that the vocabulary lacks the next free id. When the model has no row for that id,
// which only a text that spells the token would show, it stays text here.
static enum err add_named(void *ctx, const cJSON *item, const char *content) {
    struct merge *m = ctx;
    struct flags f = {.special = true};
    bool room = !m->vocab_size || m->next_id < m->vocab_size;
    if (listed(m, content) || (!room && !has(m->vocab, content)))
        return ERR_OK;
    enum err e = read_flags(cJSON_IsObject(item) ? item : NULL, !cJSON_IsObject(item), &f, m->msg);
    f.special = true;
    return e ? e : append(m, content, &f);
}

// ---- tokens by id

struct config_entry {
    long id;
    const char *content;
    const cJSON *flags; // NULL: added_tokens.json, which has none
};

static int by_id(const void *a, const void *b) {
    const struct config_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

// added_tokens_decoder: {"151643": {"content": ..., flags}}.
static enum err read_decoder(const cJSON *json, struct config_entry *out, size_t *n,
                             struct errmsg *msg) {
    const cJSON *item;
    cJSON_ArrayForEach(item, json) {
        char *end;
        long id = strtol(item->string, &end, 10);
        const char *content = NULL;
        enum err e = json_get_string(item, "content", NULL, &content, msg);
        if (e)
            return e;
        if (!content || *end || !*item->string || id < 0)
            return err_set(msg, ERR_INVALID,
                           "'added_tokens_decoder': '%s' must be an id, with an object that has a "
                           "'content'",
                           item->string);
        if (*content)
            out[(*n)++] = (struct config_entry){id, content, item};
    }
    return ERR_OK;
}

// added_tokens.json: {"<tool>": 151657}. When the list of tokenizer.json has the id, that entry
// counts.
static enum err read_added(const struct merge *m, const cJSON *json, struct config_entry *out,
                           size_t *n) {
    const cJSON *item, *other;
    bool *taken = mem_calloc(VOCAB_ID_MAX + 1, sizeof *taken);
    if (!taken)
        return no_memory(m);
    cJSON_ArrayForEach(other, m->list) {
        const cJSON *id = json_get(other, "id");
        if (cJSON_IsNumber(id) && id->valuedouble >= 0 && id->valuedouble <= VOCAB_ID_MAX)
            taken[(size_t)id->valuedouble] = true;
    }
    enum err e = ERR_OK;
    cJSON_ArrayForEach(item, json) {
        double v = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(v >= 0 && v <= VOCAB_ID_MAX) || v != (double)(long)v) {
            e = err_set(m->msg, ERR_INVALID, "added_tokens.json: '%s' must have an id",
                        item->string);
            break;
        }
        out[*n] = (struct config_entry){(long)v, item->string, NULL};
        *n += !taken[(size_t)v] && *item->string;
    }
    mem_free(taken);
    return e;
}

static enum err add_entry(struct merge *m, const struct config_entry *x) {
    bool special = has(&m->special, x->content);
    struct flags f;
    enum err e = read_flags(x->flags, !x->flags && special, &f, m->msg);
    if (e)
        return e;
    const cJSON *there = listed(m, x->content);
    if (there && same_flags(there, &f))
        return ERR_OK;
    f.special = f.special || special;
    return append(m, x->content, &f);
}

static enum err add_entries(struct merge *m) {
    const cJSON *decoder = json_get(m->f->config, "added_tokens_decoder");
    if (decoder && !cJSON_IsObject(decoder))
        return err_set(m->msg, ERR_INVALID, "'added_tokens_decoder' must be an object");
    const cJSON *source = decoder ? decoder : m->f->added_tokens;
    size_t most = (size_t)cJSON_GetArraySize(source), n = 0;
    if (!most)
        return ERR_OK;
    if (most > TOKENS_MAX)
        return err_set(m->msg, ERR_INVALID, "%zu added tokens, at most %d are taken", most,
                       TOKENS_MAX);
    struct config_entry *entries = mem_calloc(most, sizeof *entries);
    if (!entries)
        return no_memory(m);
    enum err e =
        decoder ? read_decoder(decoder, entries, &n, m->msg) : read_added(m, source, entries, &n);
    qsort(entries, n, sizeof *entries, by_id);
    for (size_t i = 0; i < n && !e; i++)
        e = add_entry(m, &entries[i]);
    mem_free(entries);
    return e;
}

// ---- all

static size_t bytes_of(const cJSON *list, bool keys) {
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, list) {
        const char *content = keys ? item->string : tokenizer_config_spelling(item);
        n += content ? strlen(content) : 0;
    }
    return n;
}

// Room for all that may be looked up: the list, the entries of the files, the named tokens.
static enum err make_room(struct merge *m) {
    const struct tokenizer_files *f = m->f;
    size_t named = NAMES, bytes = NAMES * sizeof "<|endoftext|>";
    for (size_t i = 0; i < NAMES; i++) {
        const char *content = tokenizer_config_spelling(json_get(f->config, names[i]));
        bytes += content ? strlen(content) : 0;
    }
    for (size_t i = 0; i < LISTS; i++) {
        named += (size_t)cJSON_GetArraySize(json_get(f->config, lists[i]));
        bytes += bytes_of(json_get(f->config, lists[i]), false);
    }
    if (vocab_init(&m->special, named, bytes, named))
        return no_memory(m);
    const cJSON *decoder = json_get(f->config, "added_tokens_decoder");
    size_t count = named + (size_t)cJSON_GetArraySize(m->list) +
                   (size_t)cJSON_GetArraySize(decoder) +
                   (size_t)cJSON_GetArraySize(f->added_tokens);
    bytes += bytes_of(m->list, false) + bytes_of(decoder, false) + bytes_of(f->added_tokens, true);
    m->items = mem_calloc(count, sizeof *m->items);
    return !m->items || vocab_init(&m->seen, count, bytes, count) ? no_memory(m) : ERR_OK;
}

enum err tokenizer_config_tokens(cJSON *root, const struct vocab *vocab,
                                 const struct tokenizer_files *f, size_t vocab_size,
                                 struct errmsg *msg) {
    struct merge m = {.f = f,
                      .list = cJSON_GetObjectItemCaseSensitive(root, "added_tokens"),
                      .vocab = vocab,
                      .next_id = vocab->count,
                      .vocab_size = vocab_size,
                      .msg = msg};
    const cJSON *item;
    if (!m.list || cJSON_IsNull(m.list)) {
        cJSON_DeleteItemFromObjectCaseSensitive(root, "added_tokens");
        m.list = cJSON_AddArrayToObject(root, "added_tokens");
    }
    if (m.list && !cJSON_IsArray(m.list))
        return ERR_OK; // refused by who reads it
    enum err e = m.list ? make_room(&m) : no_memory(&m);
    if (!e) {
        cJSON_ArrayForEach(item, m.list) {
            const char *content = tokenizer_config_spelling(item);
            if (content && *content)
                see(&m, item, content);
        }
        e = each_named(f, note_named, &m.special);
    }
    if (!e)
        e = add_entries(&m);
    if (!e)
        e = each_named(f, add_named, &m);
    vocab_free(&m.seen);
    vocab_free(&m.special);
    mem_free(m.items);
    return e ? err_prefix(msg, e, "tokenizer_config.json") : ERR_OK;
}
