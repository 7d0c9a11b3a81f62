// A tokenizer from vocab.json and merges.txt, for a folder without tokenizer.json: it is written
// down as a tokenizer.json tree. The class that tokenizer_config.json names decides the normalizer
// and the pattern. Source followed: transformers, models/gpt2/tokenization_gpt2.py,
// models/qwen2/tokenization_qwen2.py.
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#define ADDED_MAX 65536

static const struct class {
    const char *name;
    bool qwen2;
} classes[] = {{"GPT2Tokenizer", false},
               {"GPT2TokenizerFast", false},
               {"Qwen2Tokenizer", true},
               {"Qwen2TokenizerFast", true}};

static enum err find_class(const cJSON *config, const struct class **out, struct errmsg *msg) {
    const char *name;
    bool bos = false, eos = false;
    enum err e = json_get_string(config, "tokenizer_class", "", &name, msg);
    if (!e)
        e = json_get_bool(config, "add_bos_token", false, &bos, msg);
    if (!e)
        e = json_get_bool(config, "add_eos_token", false, &eos, msg);
    if (e)
        return e;
    const struct class *found = NULL;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        found = strcmp(classes[i].name, name) == 0 ? &classes[i] : found;
    if (!found || bos || eos)
        return err_set(msg, ERR_UNSUPPORTED,
                       "tokenizer_class '%s'%s needs a tokenizer.json (vocab.json and merges.txt "
                       "alone are enough for GPT2Tokenizer and Qwen2Tokenizer)",
                       name, bos || eos ? " with add_bos_token or add_eos_token" : "");
    *out = found;
    return ERR_OK;
}

static cJSON *parts_of(const struct class *class, bool prefix) {
    struct buf b = {0};
    const char *regex = split_regex(SPLIT_QWEN2);
    buf_printf(&b, "{\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[],\"normalizer\":%s,",
               class->qwen2 ? "{\"type\":\"NFC\"}" : "null");
    buf_puts(&b, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    if (class->qwen2) {
        buf_puts(&b, "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":");
        json_quote(&b, regex, strlen(regex));
        buf_puts(&b, "}},");
    }
    buf_printf(&b,
               "{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"use_regex\":%s}]},"
               "\"model\":{\"type\":\"BPE\",\"merges\":[]}}",
               prefix ? "true" : "false", class->qwen2 ? "false" : "true");
    cJSON *root = b.failed ? NULL : cJSON_Parse(b.data);
    buf_free(&b);
    return root;
}

// Each line is two pieces; a first line "#version: ..." is not one.
static enum err add_merges(const char *text, size_t len, cJSON *list, struct errmsg *msg) {
    size_t bad;
    if (!utf8_valid(text, len, &bad) || memchr(text, '\0', len))
        return err_set(msg, ERR_INVALID, "merges.txt is not valid UTF-8 without NUL");
    for (size_t at = 0, end; at < len; at = end + 1) {
        const char *stop = memchr(text + at, '\n', len - at);
        end = stop ? (size_t)(stop - text) : len;
        size_t n = end > at && text[end - 1] == '\r' ? end - at - 1 : end - at;
        if (!n || (at == 0 && n >= 8 && memcmp(text, "#version", 8) == 0))
            continue;
        char *line = mem_strndup(text + at, n);
        cJSON *item = line ? cJSON_CreateString(line) : NULL;
        mem_free(line);
        if (!item || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            return err_set(msg, ERR_NOMEM, "no memory for the merges");
        }
    }
    return ERR_OK;
}

static int by_key(const void *a, const void *b) {
    const cJSON *x = *(const cJSON *const *)a, *y = *(const cJSON *const *)b;
    long i = strtol(x->string, NULL, 10), k = strtol(y->string, NULL, 10);
    return (i > k) - (i < k);
}

static bool add_one(cJSON *list, const cJSON *entry, const char *content, const char *id) {
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
    cJSON *t = cJSON_CreateObject();
    bool ok = t && cJSON_AddNumberToObject(t, "id", strtod(id, NULL)) &&
              cJSON_AddStringToObject(t, "content", content);
    for (size_t i = 0; ok && i < 5; i++) {
        const cJSON *flag = entry ? json_get(entry, flags[i]) : NULL;
        bool set = flag ? cJSON_IsTrue(flag) : !entry && i == 4;
        ok = cJSON_AddBoolToObject(t, flags[i], set) != NULL;
    }
    if (ok && cJSON_AddItemToArray(list, t))
        return true;
    cJSON_Delete(t);
    return false;
}

static bool holds(const cJSON *list, const char *content) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) if (strcmp(json_get(item, "content")->valuestring, content) ==
                                       0) return true;
    return false;
}

// added_tokens_decoder in the order of its ids, which are its keys.
static enum err add_listed(const cJSON *config, cJSON *list, struct errmsg *msg) {
    const cJSON *decoder = json_get(config, "added_tokens_decoder"), *item;
    size_t count = 0, n = 0;
    cJSON_ArrayForEach(item, decoder) count++;
    if (decoder && (!cJSON_IsObject(decoder) || count > ADDED_MAX))
        return err_set(msg, ERR_INVALID, "'added_tokens_decoder' must be an object of at most %d",
                       ADDED_MAX);
    const cJSON **sorted = mem_calloc(count + 1, sizeof(const cJSON *));
    if (!sorted)
        return err_set(msg, ERR_NOMEM, "no memory for the added tokens");
    cJSON_ArrayForEach(item, decoder) sorted[n++] = item;
    qsort(sorted, n, sizeof *sorted, by_key);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && !e; i++) {
        const char *content;
        e = json_get_string(sorted[i], "content", NULL, &content, msg);
        if (!e && !content)
            e = err_set(msg, ERR_INVALID, "added token '%s' without a 'content'",
                        sorted[i]->string);
        if (!e && !add_one(list, sorted[i], content, sorted[i]->string))
            e = err_set(msg, ERR_NOMEM, "no memory for the added tokens");
    }
    mem_free(sorted);
    return e;
}

// The tokens that the class names are special, whether they are listed or not.
static enum err add_named(const struct class *class, const cJSON *config, cJSON *list,
                          struct errmsg *msg) {
    static const struct {
        const char *key, *gpt2, *qwen2;
    } named[] = {{"bos_token", "<|endoftext|>", NULL},
                 {"eos_token", "<|endoftext|>", "<|endoftext|>"},
                 {"unk_token", "<|endoftext|>", "<|endoftext|>"},
                 {"pad_token", NULL, "<|endoftext|>"}};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        const cJSON *item = json_get(config, named[i].key);
        const cJSON *content = cJSON_IsObject(item) ? json_get(item, "content") : item;
        const char *name = cJSON_IsString(content)                     ? content->valuestring
                           : cJSON_GetObjectItem(config, named[i].key) ? NULL // null says: none
                           : class->qwen2                              ? named[i].qwen2
                                                                       : named[i].gpt2;
        if (name && *name && !holds(list, name) && !add_one(list, NULL, name, "0"))
            return err_set(msg, ERR_NOMEM, "no memory for the added tokens");
    }
    return ERR_OK;
}

enum err vocab_merges_to_json(cJSON *vocab, const char *merges, size_t len, const cJSON *config,
                              cJSON **root, struct errmsg *msg) {
    const struct class *class = &classes[0];
    bool prefix = false;
    *root = NULL;
    enum err e = find_class(config, &class, msg);
    if (!e)
        e = json_get_bool(config, "add_prefix_space", false, &prefix, msg);
    if (!e && !(*root = parts_of(class, prefix)))
        e = err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
    if (e) {
        cJSON_Delete(vocab);
        return e;
    }
    cJSON *model = cJSON_GetObjectItem(*root, "model");
    cJSON *added = cJSON_GetObjectItem(*root, "added_tokens");
    if (!cJSON_AddItemToObject(model, "vocab", vocab)) {
        cJSON_Delete(vocab);
        return err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
    }
    e = add_merges(merges, len, cJSON_GetObjectItem(model, "merges"), msg);
    if (!e)
        e = add_listed(config, added, msg);
    return e ? e : add_named(class, config, added, msg);
}
