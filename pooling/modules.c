// See modules.h.
#include "pooling/modules.h"

#include "base/file.h"
#include "base/mem.h"
#include "pooling/module_keys.h"

#include <stdio.h>
#include <string.h>

enum { MAX_BYTES = 1 << 20 };

// In the order in which sentence-transformers joins several old flags.
static const struct {
    const char *name;
    enum pool_mode mode;
} modes[] = {
    {"cls", POOL_CLS},        {"max", POOL_MAX},
    {"mean", POOL_MEAN},      {"mean_sqrt_len_tokens", POOL_MEAN_SQRT},
    {"lasttoken", POOL_LAST},
};
enum { MODES = sizeof modes / sizeof *modes };
#define SUPPORTED_MODES "cls, max, mean, mean_sqrt_len_tokens, lasttoken are"

const char *pooling_mode_name(enum pool_mode mode) {
    for (size_t i = 0; i < MODES; i++)
        if (modes[i].mode == mode)
            return modes[i].name;
    return "unknown";
}

static enum err add_mode(struct pooling_config *c, const char *name, struct errmsg *msg) {
    for (size_t i = 0; i < MODES; i++) {
        if (strcmp(modes[i].name, name) != 0)
            continue;
        if (c->mode_count == MODULES_MAX_MODES)
            return err_set(msg, ERR_UNSUPPORTED, "more than %d pooling modes side by side",
                           MODULES_MAX_MODES);
        c->modes[c->mode_count++] = modes[i].mode;
        return ERR_OK;
    }
    return err_set(msg, ERR_UNSUPPORTED,
                   "pooling mode '%.64s' is not supported (" SUPPORTED_MODES ")", name);
}

static enum err read_old_flags(const cJSON *root, struct pooling_config *c, struct errmsg *msg) {
    struct pooling_said said = {0};
    enum err e = key_rules_read(&pooling_flag_keys, root, NULL, &said, msg);
    for (size_t i = 0; !e && i < MODES; i++)
        if (said.flags[modes[i].mode])
            e = add_mode(c, modes[i].name, msg);
    if (!e && c->mode_count == 0)
        e = add_mode(c, "mean", msg);
    return e;
}

enum err modules_read_pooling(const cJSON *root, struct pooling_config *out, struct errmsg *msg) {
    *out = (struct pooling_config){.include_prompt = true};
    if (!cJSON_IsObject(root))
        return err_set(msg, ERR_INVALID, "not a JSON object");
    struct pooling_said said = {0};
    enum err e = key_rules_check(&pooling_keys, root, msg);
    if (!e)
        e = key_rules_read(&pooling_keys, root, NULL, &said, msg);
    if (e)
        return e;
    out->dim = said.dim;
    out->include_prompt = said.include_prompt;
    const cJSON *mode = said.mode, *item;
    if (!mode)
        return read_old_flags(root, out, msg);
    if (cJSON_IsString(mode))
        return add_mode(out, mode->valuestring, msg);
    if (!cJSON_IsArray(mode) || !mode->child)
        return err_set(msg, ERR_INVALID, "'pooling_mode' must be a string or an array of strings");
    cJSON_ArrayForEach(item, mode) {
        if (!cJSON_IsString(item))
            return err_set(msg, ERR_INVALID, "'pooling_mode' must be an array of strings");
        if ((e = add_mode(out, item->valuestring, msg)))
            return e;
    }
    return ERR_OK;
}

static const char *last_part(const char *dotted) {
    const char *dot = strrchr(dotted, '.');
    return dot ? dot + 1 : dotted;
}

// "torch.nn.modules.activation.Tanh": the class counts, torch has one of each name.
static enum err read_dense_activation(const char *path, enum activation *out, struct errmsg *msg) {
    static const struct {
        const char *name;
        enum activation activation;
    } known[] = {
        {"Tanh", ACTIVATION_TANH}, {"Identity", ACTIVATION_NONE}, {"ReLU", ACTIVATION_RELU},
        {"GELU", ACTIVATION_GELU}, {"SiLU", ACTIVATION_SILU},
    };
    if (strncmp(path, "torch.nn.", 9) == 0) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (strcmp(known[i].name, last_part(path)) == 0) {
                *out = known[i].activation;
                return ERR_OK;
            }
        }
    }
    return err_set(
        msg, ERR_UNSUPPORTED,
        "activation_function '%.100s' is not supported (Tanh, Identity, ReLU, GELU, SiLU "
        "of torch.nn are)",
        path);
}

enum err modules_read_dense(const cJSON *root, struct module_dense *out, struct errmsg *msg) {
    *out = (struct module_dense){0};
    if (!cJSON_IsObject(root))
        return err_set(msg, ERR_INVALID, "not a JSON object");
    struct module_dense_said said = {0};
    enum err e = key_rules_check(&module_dense_keys, root, msg);
    if (!e)
        e = key_rules_read(&module_dense_keys, root, NULL, &said, msg);
    if (!e && (said.in == 0 || said.out == 0))
        e = err_set(msg, ERR_INVALID, "'%s' is missing",
                    said.in == 0 ? "in_features" : "out_features");
    if (e)
        return e;
    *out = (struct module_dense){.in = said.in, .out = said.out, .bias = said.bias};
    return read_dense_activation(said.activation ? said.activation
                                                 : "torch.nn.modules.activation.Tanh",
                                 &out->activation, msg);
}

// "./1_Pooling/" is 1_Pooling, "." the model's folder itself.
static enum err read_path(const cJSON *module, char out[128], struct errmsg *msg) {
    struct module_said said = {0};
    enum err e = key_rules_read(&module_path_keys, module, NULL, &said, msg);
    if (e)
        return e;
    const char *path = said.path ? said.path : "";
    if (path[0] == '/' || strchr(path, '\\') || strstr(path, "..") || strlen(path) > 100)
        return err_set(msg, ERR_INVALID, "path '%.100s' must lead to a folder within the model's",
                       path);
    while (path[0] == '.' && path[1] == '/')
        for (path += 2; *path == '/';)
            path++;
    size_t n = strcmp(path, ".") == 0 ? 0 : strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--;
    snprintf(out, 128, "%.*s", (int)n, path);
    return ERR_OK;
}

enum { TYPE_TRANSFORMER, TYPE_POOLING, TYPE_DENSE, TYPE_NORMALIZE, TYPE_DROPOUT, TYPES };

// "sentence_transformers.models.Pooling" up to version 5,
// "sentence_transformers.sentence_transformer.modules.pooling.Pooling" from 6 on.
static enum err read_type(const char *type, int *out, struct errmsg *msg) {
    static const char *const names[TYPES] = {"Transformer", "Pooling", "Dense", "Normalize",
                                             "Dropout"};
    if (strncmp(type, "sentence_transformers.", 22) == 0) {
        for (int i = 0; i < TYPES; i++) {
            if (strcmp(names[i], last_part(type)) == 0) {
                *out = i;
                return ERR_OK;
            }
        }
    }
    return err_set(msg, ERR_UNSUPPORTED,
                   "module type '%.100s' is not supported (Transformer, Pooling, Dense, Normalize, "
                   "Dropout of sentence_transformers are)",
                   type);
}

// Module `at` of the list: Transformer, Pooling, then steps.
static enum err place_module(size_t at, int kind, const char *type, const char *path,
                             struct modules *out, char pooling_path[128], struct errmsg *msg) {
    bool in_place = at < 2 ? kind == (int)at : kind >= TYPE_DENSE;
    if (!in_place)
        return err_set(
            msg, ERR_UNSUPPORTED,
            "module %zu is %.100s: Transformer, Pooling, then Dense, Normalize and Dropout is "
            "what is supported",
            at, type);
    if (kind == TYPE_TRANSFORMER)
        snprintf(out->transformer, sizeof out->transformer, "%s", path);
    if (kind == TYPE_POOLING)
        snprintf(pooling_path, 128, "%s", path);
    if (kind < TYPE_DENSE || kind == TYPE_DROPOUT) // dropout is training's
        return ERR_OK;
    if (out->step_count == MODULES_MAX_STEPS)
        return err_set(msg, ERR_UNSUPPORTED, "more than %d modules after Pooling",
                       MODULES_MAX_STEPS);
    struct module_step *s = &out->steps[out->step_count++];
    s->kind = kind == TYPE_DENSE ? MODULE_DENSE : MODULE_NORMALIZE;
    snprintf(s->path, sizeof s->path, "%s", path);
    return ERR_OK;
}

enum err modules_read_list(const cJSON *root, struct modules *out, char pooling_path[128],
                           struct errmsg *msg) {
    *out = (struct modules){0};
    const cJSON *item;
    if (!cJSON_IsArray(root))
        return err_set(msg, ERR_INVALID, "not a JSON array");
    enum err failed = key_rules_check(&module_list_keys, root, msg);
    if (failed)
        return failed;
    size_t at = 0;
    cJSON_ArrayForEach(item, root) {
        struct module_said said = {0};
        char path[128];
        int kind = TYPES;
        if (!cJSON_IsObject(item))
            return err_set(msg, ERR_INVALID, "module %zu is not an object", at);
        enum err e = key_rules_read(&module_list_keys, item, NULL, &said, msg);
        const char *type = said.type ? said.type : "";
        if (!e)
            e = read_type(type, &kind, msg);
        if (!e)
            e = read_path(item, path, msg);
        if (!e)
            e = place_module(at, kind, type, path, out, pooling_path, msg);
        if (e)
            return e;
        at++;
    }
    return at >= 2 ? ERR_OK : err_set(msg, ERR_UNSUPPORTED, "no Pooling module");
}

// folder/path/config.json; *root NULL where it is absent and may be.
static enum err open_config(const char *folder, const char *path, bool optional, cJSON **root,
                            char **name, struct errmsg *msg) {
    *root = NULL;
    *name = NULL;
    char *dir = file_join(folder, path);
    char *full = dir ? file_join(dir, "config.json") : NULL;
    mem_free(dir);
    if (!full)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open a module", folder);
    enum err e = ERR_OK;
    if (!optional || file_exists(full))
        e = json_parse_file(full, MAX_BYTES, root, msg);
    if (e)
        mem_free(full);
    else
        *name = full;
    return e;
}

static enum err load_pooling(const char *folder, const char *path, struct pooling_config *out,
                             struct errmsg *msg) {
    cJSON *root;
    char *name;
    enum err e = open_config(folder, path, false, &root, &name, msg);
    if (e)
        return e;
    e = modules_read_pooling(root, out, msg);
    if (e)
        err_prefix(msg, e, "%s", name);
    cJSON_Delete(root);
    mem_free(name);
    return e;
}

static enum err load_step(const char *folder, struct module_step *s, struct errmsg *msg) {
    cJSON *root;
    char *name;
    enum err e = open_config(folder, s->path, s->kind == MODULE_NORMALIZE, &root, &name, msg);
    if (e)
        return e;
    if (s->kind == MODULE_DENSE)
        e = modules_read_dense(root, &s->dense, msg);
    else if (root) // a config.json beside Normalize is new in version 6
        e = cJSON_IsObject(root) ? key_rules_check(&module_normalize_keys, root, msg)
                                 : err_set(msg, ERR_INVALID, "not a JSON object");
    if (e)
        err_prefix(msg, e, "%s", name);
    cJSON_Delete(root);
    mem_free(name);
    return e;
}

// modules.json; *root stays NULL where there is none. *name is its path, the caller's in any case.
static enum err open_list(const char *path, cJSON **root, char **name, struct errmsg *msg) {
    *root = NULL;
    *name = file_join(path, "modules.json");
    if (!*name)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open modules.json", path);
    return file_exists(*name) ? json_parse_file(*name, MAX_BYTES, root, msg) : ERR_OK;
}

// What a module's class is called; NULL: it does not say.
static const char *type_of(const cJSON *module) {
    struct module_said said = {0};
    return key_rules_read(&module_list_keys, module, NULL, &said, NULL) ? NULL : said.type;
}

// The first module of this kind, which its class's name says; NULL: none.
static const cJSON *find_module(const cJSON *list, const char *kind) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        const char *type = type_of(item);
        if (type && strcmp(last_part(type), kind) == 0)
            return item;
    }
    return NULL;
}

enum err modules_declare_pooling(const char *path, bool *declared, struct errmsg *msg) {
    *declared = false;
    if (file_exists(path) && !file_is_dir(path))
        return modules_declare_gguf(path, declared, msg);
    cJSON *root;
    char *name;
    enum err e = open_list(path, &root, &name, msg);
    *declared = find_module(root, "Pooling") != NULL;
    cJSON_Delete(root);
    mem_free(name);
    return e;
}

enum err modules_find(const char *path, const char *kind, bool *found, char out[128],
                      struct errmsg *msg) {
    cJSON *root;
    char *name;
    out[0] = '\0';
    *found = false;
    if (!file_is_dir(path))
        return ERR_OK;
    enum err e = open_list(path, &root, &name, msg);
    const cJSON *module = find_module(root, kind);
    *found = module != NULL;
    if (!e && module && (e = read_path(module, out, msg)))
        err_prefix(msg, e, "%s", name);
    cJSON_Delete(root);
    mem_free(name);
    return e;
}

// NULL: a module whose config.json nobody reads.
static const struct key_rules *rules_of(const char *type) {
    static const struct key_rules *const rules[TYPES] = {[TYPE_POOLING] = &pooling_keys,
                                                         [TYPE_DENSE] = &module_dense_keys,
                                                         [TYPE_NORMALIZE] = &module_normalize_keys,
                                                         [TYPE_DROPOUT] = &module_dropout_keys};
    int kind;
    if (strcmp(last_part(type), "LogitScore") == 0) // a judge's, which pools nothing
        return &module_logit_score_keys;
    return read_type(type, &kind, NULL) ? NULL : rules[kind];
}

void modules_each_file(const char *path,
                       void (*see)(void *ctx, const char *name, const struct key_rules *rules,
                                   const cJSON *root),
                       void *ctx) {
    cJSON *list, *root;
    char *name, *full, place[128], file[160];
    const cJSON *item;
    if (!file_is_dir(path))
        return;
    enum err e = open_list(path, &list, &name, NULL);
    if (!e && list)
        see(ctx, "modules.json", &module_list_keys, list);
    cJSON_ArrayForEach(item, list) {
        const char *type = type_of(item);
        const struct key_rules *rules = type ? rules_of(type) : NULL;
        if (!rules || read_path(item, place, NULL) ||
            open_config(path, place, true, &root, &full, NULL))
            continue;
        snprintf(file, sizeof file, "%s/config.json", place);
        if (root)
            see(ctx, file, rules, root);
        cJSON_Delete(root);
        mem_free(full);
    }
    cJSON_Delete(list);
    mem_free(name);
}

enum err modules_load(const char *path, struct modules *out, struct errmsg *msg) {
    *out = (struct modules){.pooling = {.modes = {POOL_MEAN}, .mode_count = 1}};
    out->pooling.include_prompt = true;
    if (file_exists(path) && !file_is_dir(path))
        return modules_load_gguf(path, out, msg);
    cJSON *root;
    char *name, pooling[128] = "";
    enum err e = open_list(path, &root, &name, msg);
    bool there = root != NULL;
    if (there && (e = modules_read_list(root, out, pooling, msg)))
        err_prefix(msg, e, "%s", name);
    cJSON_Delete(root);
    mem_free(name);
    if (!there)
        return e;
    if (!e)
        e = load_pooling(path, pooling, &out->pooling, msg);
    for (size_t i = 0; !e && i < out->step_count; i++)
        e = load_step(path, &out->steps[i], msg);
    return e;
}
