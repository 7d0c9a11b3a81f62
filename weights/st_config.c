// See st_config.h.
#include "weights/st_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/config_keys.h"
#include "weights/st_config_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_BYTES = 16 << 20,
    MAX_PROMPTS = 1 << 12,
};

// *root stays NULL, and it is no error, where the file is not there.
static enum err read_optional(const char *folder, const char *name, cJSON **root,
                              struct errmsg *msg) {
    *root = NULL;
    char *path = file_join(folder, name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open %s", folder, name);
    enum err e = ERR_OK;
    if (file_exists(path)) {
        e = json_parse_file(path, MAX_BYTES, root, msg);
        if (!e && !cJSON_IsObject(*root)) {
            cJSON_Delete(*root);
            *root = NULL;
            e = err_set(msg, ERR_INVALID, "%s: not a JSON object", path);
        }
    }
    mem_free(path);
    return e;
}

static void lower_limit(struct st_config *c, double length) {
    if (length <= ST_MAX_LENGTH && (c->max_length == 0 || (size_t)length < c->max_length))
        c->max_length = (size_t)length;
}

const char *const st_config_names[ST_CONFIG_NAMES] = {
    "sentence_bert_config.json", "sentence_distilbert_config.json", "sentence_roberta_config.json"};

static enum err read_sentence_config(const char *folder, struct st_config *c, struct errmsg *msg) {
    cJSON *root = NULL;
    const char *used = NULL;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && !root && i < ST_CONFIG_NAMES; i++)
        e = read_optional(folder, used = st_config_names[i], &root, msg);
    if (e || !root)
        return e;
    struct st_said said = {0};
    e = key_rules_check(&config_keys_sentence_bert, root, msg);
    if (!e)
        e = key_rules_read(&config_keys_sentence_bert, root, NULL, &said, msg);
    if (!e && said.max_length > 0)
        lower_limit(c, (double)said.max_length);
    cJSON_Delete(root);
    return e ? err_prefix(msg, e, "%s/%s", folder, used) : ERR_OK;
}

static enum err read_tokenizer_config(const char *folder, struct st_config *c, struct errmsg *msg) {
    cJSON *root;
    double length;
    enum err e = read_optional(folder, "tokenizer_config.json", &root, msg);
    if (e || !root)
        return e;
    e = json_get_double(root, "model_max_length", 1, 1e300, 1e30, &length, msg);
    if (!e)
        lower_limit(c, length);
    cJSON_Delete(root);
    return e ? err_prefix(msg, e, "%s/tokenizer_config.json", folder) : ERR_OK;
}

static enum err add_prompt(struct st_config *c, const cJSON *item, struct errmsg *msg) {
    // ST writes null for a name that has no text
    if (!cJSON_IsString(item) && !cJSON_IsNull(item))
        return err_set(msg, ERR_INVALID, "'prompts': '%.100s' must be a string", item->string);
    const char *text = cJSON_IsString(item) ? item->valuestring : "";
    struct st_prompt *p = &c->prompts[c->prompt_count++];
    p->name = mem_strndup(item->string, strlen(item->string));
    p->text = mem_strndup(text, strlen(text));
    return p->name && p->text ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for a prompt");
}

static enum err read_prompts(const struct st_said *said, struct st_config *c, struct errmsg *msg) {
    const cJSON *prompts = said->prompts, *item;
    const char *name = said->default_prompt;
    if (prompts) {
        int n = cJSON_IsObject(prompts) ? cJSON_GetArraySize(prompts) : -1;
        if (n < 0 || n > MAX_PROMPTS)
            return err_set(msg, ERR_INVALID, "'prompts' must be an object of at most %d prompts",
                           MAX_PROMPTS);
        if (!(c->prompts = mem_calloc((size_t)n, sizeof *c->prompts)))
            return err_set(msg, ERR_NOMEM, "no memory for %d prompts", n);
        cJSON_ArrayForEach(item, prompts) {
            enum err e = add_prompt(c, item, msg);
            if (e)
                return e;
        }
    }
    if (!name)
        return ERR_OK;
    c->default_prompt = st_config_prompt(c, name);
    return c->default_prompt
               ? ERR_OK
               : err_set(msg, ERR_INVALID,
                         "'default_prompt_name' is '%.100s', which 'prompts' lacks", name);
}

static enum err read_similarity(const char *name, struct st_config *c, struct errmsg *msg) {
    static const char *const names[] = {"cosine", "dot", "euclidean", "manhattan"};
    if (!name)
        return ERR_OK;
    if (strcmp(name, "dot_product") == 0)
        name = "dot";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            snprintf(c->similarity, sizeof c->similarity, "%s", name);
            return ERR_OK;
        }
    }
    return err_set(msg, ERR_UNSUPPORTED,
                   "similarity_fn_name '%.64s' is not supported (cosine, dot, euclidean, manhattan "
                   "are)",
                   name);
}

static enum err read_cross_encoder(const struct st_said *said, struct st_config *c,
                                   struct errmsg *msg) {
    const char *activation = said->activation;
    c->cross_encoder = said->type && strcmp(said->type, "CrossEncoder") == 0;
    if (c->cross_encoder && activation &&
        !(c->activation = mem_strndup(activation, strlen(activation))))
        return err_set(msg, ERR_NOMEM, "no memory for the name of an activation");
    return ERR_OK;
}

static enum err read_model_config(const char *folder, struct st_config *c, struct errmsg *msg) {
    static const char file[] = "config_sentence_transformers.json";
    cJSON *root;
    enum err e = read_optional(folder, file, &root, msg);
    if (e || !root)
        return e;
    struct st_said said = {0};
    e = key_rules_check(&config_keys_sentence_transformers, root, msg);
    if (!e)
        e = key_rules_read(&config_keys_sentence_transformers, root, NULL, &said, msg);
    if (!e)
        e = read_prompts(&said, c, msg);
    if (!e)
        e = read_similarity(said.similarity, c, msg);
    if (!e)
        e = read_cross_encoder(&said, c, msg);
    cJSON_Delete(root);
    return e ? err_prefix(msg, e, "%s/%s", folder, file) : ERR_OK;
}

enum err st_config_load(const char *folder, const char *transformer, size_t max_positions,
                        struct st_config *out, struct errmsg *msg) {
    *out = (struct st_config){.max_length = max_positions};
    if (file_exists(folder) && !file_is_dir(folder))
        return ERR_OK;
    enum err e = read_sentence_config(transformer, out, msg);
    if (!e)
        e = read_tokenizer_config(transformer, out, msg);
    if (!e)
        e = read_model_config(folder, out, msg);
    if (e)
        st_config_free(out);
    return e;
}

void st_config_drop_prompts(struct st_config *c) {
    for (size_t i = 0; i < c->prompt_count; i++) {
        mem_free(c->prompts[i].name);
        mem_free(c->prompts[i].text);
    }
    mem_free(c->prompts);
    c->prompts = NULL;
    c->prompt_count = 0;
    c->default_prompt = NULL;
}

void st_config_free(struct st_config *c) {
    st_config_drop_prompts(c);
    mem_free(c->activation);
    *c = (struct st_config){0};
}

const char *st_config_prompt(const struct st_config *c, const char *name) {
    for (size_t i = 0; i < c->prompt_count; i++)
        if (strcmp(c->prompts[i].name, name) == 0)
            return c->prompts[i].text;
    return NULL;
}
