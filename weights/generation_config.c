// See generation_config.h: folders. Every file may be absent.
// Source followed: transformers generation/configuration_utils.py and
// tokenization_utils_base.py (where chat templates are looked for, and which of several counts).
#include "weights/generation_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "weights/config_keys.h"
#include "weights/generation_config_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CONFIG_BYTES = 16 << 20,
    MAX_TOKENIZER_BYTES = 64 << 20,
    MAX_TEMPLATE_BYTES = 4 << 20,
    MAX_EOS = 256,
};

enum err generation_config_add_eos(struct generation_config *c, int64_t id, struct errmsg *msg) {
    for (size_t i = 0; i < c->eos_count; i++)
        if (c->eos_ids[i] == id)
            return ERR_OK;
    if (c->eos_count == MAX_EOS)
        return err_set(msg, ERR_INVALID, "over %d tokens end a text", MAX_EOS);
    int32_t *ids = mem_realloc(c->eos_ids, c->eos_count + 1, sizeof *ids);
    if (!ids)
        return err_set(msg, ERR_NOMEM, "no memory for the ids that end a text");
    c->eos_ids = ids;
    c->eos_ids[c->eos_count++] = (int32_t)id;
    return ERR_OK;
}

enum err generation_config_copy(const char *s, size_t n, char **to, size_t *len,
                                struct errmsg *msg) {
    *to = mem_strndup(s, n);
    if (!*to)
        return err_set(msg, ERR_NOMEM, "no memory for %zu bytes of text", n);
    if (len)
        *len = n;
    return ERR_OK;
}

// *root stays NULL, and it is no error, where the file is not there.
static enum err read_optional(const char *folder, const char *name, size_t max, cJSON **root,
                              struct errmsg *msg) {
    *root = NULL;
    char *path = file_join(folder, name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open %s", folder, name);
    enum err e = file_exists(path) ? json_parse_file(path, max, root, msg) : ERR_OK;
    if (!e && *root && !cJSON_IsObject(*root)) {
        cJSON_Delete(*root);
        *root = NULL;
        e = err_set(msg, ERR_INVALID, "%s: not a JSON object", path);
    }
    mem_free(path);
    return e;
}

static enum err named(enum err e, const struct generation_sources *s, const char *file) {
    return e ? err_prefix(s->msg, e, "%s/%s", s->folder, file) : ERR_OK;
}

static enum err add_id(const struct generation_sources *s, const cJSON *item,
                       struct generation_config *c) {
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (v < 0 || v != floor(v) || v >= (double)s->vocab)
        return err_set(s->msg, ERR_INVALID,
                       "'eos_token_id' must hold whole numbers below the %zu "
                       "tokens of the model",
                       s->vocab);
    return generation_config_add_eos(c, (int64_t)v, s->msg);
}

// One id or a list of them.
static enum err read_eos_ids(const struct generation_sources *s, const cJSON *root,
                             struct generation_config *c) {
    struct generation_said said = {0};
    enum err e = key_rules_read(&config_keys_generation_eos, root, NULL, &said, s->msg);
    const cJSON *ids = said.eos, *item;
    if (e || !ids)
        return e;
    if (!cJSON_IsArray(ids))
        return add_id(s, ids, c);
    if (cJSON_GetArraySize(ids) > MAX_EOS)
        return err_set(s->msg, ERR_INVALID, "'eos_token_id' has %d ids, at most %d are taken",
                       cJSON_GetArraySize(ids), MAX_EOS);
    cJSON_ArrayForEach(item, ids) {
        if ((e = add_id(s, item, c)))
            return e;
    }
    return ERR_OK;
}

static enum err read_sampling(const struct generation_sources *s, const cJSON *root,
                              struct generation_config *c) {
    struct generation_said said = {.config = *c};
    enum err e = key_rules_check(&config_keys_generation, root, s->msg);
    if (!e)
        e = key_rules_read(&config_keys_generation, root, NULL, &said, s->msg);
    if (e)
        return e;
    *c = said.config;
    if (!said.sample)
        c->temperature = 0;
    return ERR_OK;
}

// "bos_token": "<s>", or an object with the text as "content".
static const char *token_text(const cJSON *root, const char *key) {
    const cJSON *item = json_get(root, key);
    if (cJSON_IsObject(item))
        item = json_get(item, "content");
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static enum err read_tokens(const struct generation_sources *s, struct generation_config *c) {
    const struct {
        const char *key;
        char **to;
    } tokens[] = {{"bos_token", &c->bos_token},
                  {"eos_token", &c->eos_token},
                  {"pad_token", &c->pad_token},
                  {"unk_token", &c->unk_token}};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        const char *text = token_text(s->tokenizer_config, tokens[i].key);
        if (!text)
            text = token_text(s->special_tokens, tokens[i].key);
        enum err e =
            text ? generation_config_copy(text, strlen(text), tokens[i].to, NULL, s->msg) : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

// {"151645": {"content": "<|im_end|>", ...}, ...}
static int64_t find_in_decoder(const cJSON *added, const char *text) {
    const cJSON *item;
    cJSON_ArrayForEach(item, added) {
        const char *content = token_text(item, "content");
        char *end;
        if (!item->string || !content || strcmp(content, text) != 0)
            continue;
        long id = strtol(item->string, &end, 10);
        return *end || end == item->string ? -1 : id;
    }
    return -1;
}

// [{"id": 151645, "content": "<|im_end|>", ...}, ...], and the model's own {"text": id}.
static int64_t find_in_tokenizer(const cJSON *root, const char *text) {
    const cJSON *item, *id = NULL;
    cJSON_ArrayForEach(item, json_get(root, "added_tokens")) {
        const char *content = token_text(item, "content");
        if (content && strcmp(content, text) == 0)
            id = json_get(item, "id");
    }
    // an object's members are a list, walked once
    if (!id && cJSON_IsObject(json_get(json_get(root, "model"), "vocab")))
        id = json_get(json_get(json_get(root, "model"), "vocab"), text);
    return id && cJSON_IsNumber(id) && id->valuedouble >= 0 && id->valuedouble <= INT32_MAX
               ? (int64_t)id->valuedouble
               : -1;
}

// The id that the tokenizer's eos_token has: from tokenizer_config.json, which is small, or else
// from tokenizer.json. A text that is no token ends nothing.
static enum err add_eos_token(const struct generation_sources *s, struct generation_config *c) {
    if (!c->eos_token)
        return ERR_OK;
    int64_t id =
        find_in_decoder(json_get(s->tokenizer_config, "added_tokens_decoder"), c->eos_token);
    if (id < 0) {
        cJSON *root;
        enum err e = read_optional(s->folder, "tokenizer.json", MAX_TOKENIZER_BYTES, &root, s->msg);
        if (e)
            return e;
        id = find_in_tokenizer(root, c->eos_token);
        cJSON_Delete(root);
    }
    if (id < 0)
        return ERR_OK;
    if ((uint64_t)id >= s->vocab)
        return err_set(s->msg, ERR_INVALID,
                       "'eos_token' '%.64s' has the id %lld, the model has %zu tokens",
                       c->eos_token, (long long)id, s->vocab);
    return generation_config_add_eos(c, id, s->msg);
}

// *to stays NULL where the file is not there.
static enum err read_template(const char *folder, const char *name, char **to, size_t *len,
                              struct errmsg *msg) {
    size_t bad;
    char *path = file_join(folder, name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open %s", folder, name);
    enum err e = ERR_OK;
    if (file_exists(path)) {
        e = file_read(path, MAX_TEMPLATE_BYTES, to, len, msg);
        if (!e && !utf8_valid(*to, *len, &bad))
            e = err_set(msg, ERR_INVALID, "%s: not UTF-8 at byte %zu", path, bad);
        if (!e && memchr(*to, '\0', *len))
            e = err_set(msg, ERR_INVALID, "%s: a NUL in a chat template", path);
    }
    mem_free(path);
    return e;
}

static enum err keep_template(const cJSON *text, char **to, size_t *len, struct errmsg *msg) {
    mem_free(*to);
    *to = NULL;
    return generation_config_copy(text->valuestring, strlen(text->valuestring), to, len, msg);
}

// A string, or a list of {"name", "template"}: "default" and "tool_use" are the ones that
// transformers chooses by itself.
static enum err read_template_field(const cJSON *root, struct generation_config *c,
                                    struct errmsg *msg) {
    struct generation_said said = {0};
    enum err e = key_rules_read(&config_keys_chat_template, root, NULL, &said, msg);
    const cJSON *field = said.chat_template, *item;
    if (e || !field)
        return e;
    if (cJSON_IsString(field))
        return keep_template(field, &c->chat_template, &c->chat_template_len, msg);
    if (!cJSON_IsArray(field))
        return err_set(msg, ERR_INVALID, "'chat_template' must be a string or a list");
    cJSON_ArrayForEach(item, field) {
        const cJSON *name = json_get(item, "name"), *text = json_get(item, "template");
        if (!cJSON_IsString(name) || !cJSON_IsString(text))
            return err_set(msg, ERR_INVALID,
                           "'chat_template' must list objects of 'name' and 'template'");
        if (strcmp(name->valuestring, "default") == 0)
            e = keep_template(text, &c->chat_template, &c->chat_template_len, msg);
        else if (strcmp(name->valuestring, "tool_use") == 0)
            e = keep_template(text, &c->tool_template, &c->tool_template_len, msg);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err read_templates(const struct generation_sources *s, struct generation_config *c) {
    cJSON *root = NULL;
    enum err e = read_template(s->folder, "chat_template.jinja", &c->chat_template,
                               &c->chat_template_len, s->msg);
    if (!e && c->chat_template) // it replaces the field and its list
        return read_template(s->folder, "additional_chat_templates/tool_use.jinja",
                             &c->tool_template, &c->tool_template_len, s->msg);
    if (!e)
        e = named(read_template_field(s->tokenizer_config, c, s->msg), s, "tokenizer_config.json");
    if (e || c->chat_template)
        return e;
    e = read_optional(s->folder, "chat_template.json", MAX_CONFIG_BYTES, &root, s->msg);
    if (!e)
        e = named(read_template_field(root, c, s->msg), s, "chat_template.json");
    cJSON_Delete(root);
    return e;
}

enum err generation_config_read_sources(const struct generation_sources *s,
                                        struct generation_config *c) {
    enum err e = named(read_eos_ids(s, s->generation, c), s, "generation_config.json");
    // as transformers: old configurations say of sampling what has a file of its own since
    if (!e)
        e = s->generation ? named(read_sampling(s, s->generation, c), s, "generation_config.json")
                          : named(read_sampling(s, s->config, c), s, "config.json");
    if (!e)
        e = named(read_eos_ids(s, s->config, c), s, "config.json");
    if (!e)
        e = read_tokens(s, c);
    if (!e)
        e = named(add_eos_token(s, c), s, "tokenizer_config.json");
    if (!e)
        e = read_templates(s, c);
    return e;
}

static enum err load_folder(const char *path, size_t vocab, struct generation_config *out,
                            struct errmsg *msg) {
    struct generation_sources s = {.folder = path, .vocab = vocab, .msg = msg};
    const struct {
        const char *name;
        cJSON **root;
    } files[] = {{"generation_config.json", &s.generation},
                 {"config.json", &s.config},
                 {"tokenizer_config.json", &s.tokenizer_config},
                 {"special_tokens_map.json", &s.special_tokens}};
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < sizeof files / sizeof *files; i++)
        e = read_optional(path, files[i].name, MAX_CONFIG_BYTES, files[i].root, msg);
    if (!e)
        e = generation_config_read_sources(&s, out);
    cJSON_Delete(s.generation);
    cJSON_Delete(s.config);
    cJSON_Delete(s.tokenizer_config);
    cJSON_Delete(s.special_tokens);
    return e;
}

static enum err load_gguf(const char *path, size_t vocab, struct generation_config *out,
                          struct errmsg *msg) {
    struct gguf *g;
    enum err e = gguf_open(path, &g, msg);
    if (!e)
        e = generation_config_read_gguf(g, vocab, out, msg);
    gguf_close(g);
    return e;
}

enum err generation_config_load(const char *path, size_t vocab, struct generation_config *out,
                                struct errmsg *msg) {
    *out = generation_config_empty();
    enum err e = file_exists(path) && !file_is_dir(path) ? load_gguf(path, vocab, out, msg)
                                                         : load_folder(path, vocab, out, msg);
    if (e)
        generation_config_free(out);
    return e;
}

void generation_config_free(struct generation_config *c) {
    mem_free(c->eos_ids);
    mem_free(c->chat_template);
    mem_free(c->tool_template);
    mem_free(c->bos_token);
    mem_free(c->eos_token);
    mem_free(c->pad_token);
    mem_free(c->unk_token);
    *c = (struct generation_config){0};
}
