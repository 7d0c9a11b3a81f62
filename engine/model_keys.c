// See model_keys.h.
#include "engine/model_keys.h"

#include "base/file.h"
#include "base/mem.h"
#include "pooling/pooler.h"
#include "tokenizer/tokenizer_config.h"
#include "weights/config_keys.h"
#include "weights/config_rules.h"
#include "weights/decoder_config.h"
#include "weights/gguf_rules.h"
#include "weights/st_config.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FILE_BYTES = 64 << 20 };

struct model_keys_walk {
    model_key_seen *see;
    void *ctx;
    const char *file; // the one that is walked
};

static void see_key(void *ctx, const char *key, enum key_fate fate) {
    const struct model_keys_walk *w = ctx;
    w->see(w->ctx, w->file, key, fate);
}

static void walk_file(struct model_keys_walk *w, const char *file, const struct key_rules *rules,
                      const cJSON *root) {
    w->file = file;
    key_rules_walk(rules, root, see_key, w);
}

// A file that is not there, or cannot be read, has no keys here: its reader says what is wrong.
static cJSON *open_file(const char *folder, const char *name) {
    cJSON *root = NULL;
    char *path = file_join(folder, name);
    if (path && file_exists(path) && json_parse_file(path, MAX_FILE_BYTES, &root, NULL))
        root = NULL;
    mem_free(path);
    return root;
}

// What config.json says of generating counts in a decoder that has no file for it.
static void walk_config(struct model_keys_walk *w, const char *folder) {
    cJSON *root = open_file(folder, "config.json");
    cJSON *generation = open_file(folder, "generation_config.json");
    const struct key_rules *known = root ? config_rules_of(root) : NULL;
    enum decoder_arch arch;
    bool generates = root && decoder_config_arch(root, &arch);
    if (known) {
        const struct key_rules *g =
            generates && !generation ? &config_keys_generation : &config_keys_generation_idle;
        const struct key_rules both = {.rules = g->rules, .count = g->count, .more = known};
        walk_file(w, "config.json", &both, root);
    }
    if (generation && generates)
        walk_file(w, "generation_config.json", &config_keys_generation, generation);
    cJSON_Delete(root);
    cJSON_Delete(generation);
}

static void walk_module(void *ctx, const char *name, const struct key_rules *rules,
                        const cJSON *root) {
    walk_file(ctx, name, rules, root);
}

static void walk_named(struct model_keys_walk *w, const char *folder, const char *name,
                       const struct key_rules *rules) {
    cJSON *root = open_file(folder, name);
    if (root)
        walk_file(w, name, rules, root);
    cJSON_Delete(root);
}

static void walk_gguf(struct model_keys_walk *w, const char *path) {
    struct gguf *g;
    if (gguf_open(path, &g, NULL))
        return;
    w->file = "metadata";
    gguf_rules_walk(g, config_rules_of_gguf(g), see_key, w);
    gguf_close(g);
}

void model_keys_each(const char *path, const char *transformer, bool large, model_key_seen *see,
                     void *ctx) {
    struct model_keys_walk w = {.see = see, .ctx = ctx};
    if (!file_is_dir(path)) {
        walk_gguf(&w, path);
        return;
    }
    walk_config(&w, transformer);
    pooling_each_file(path, walk_module, &w);
    for (size_t i = 0; i < ST_CONFIG_NAMES; i++)
        walk_named(&w, transformer, st_config_names[i], &config_keys_sentence_bert);
    walk_named(&w, path, "config_sentence_transformers.json", &config_keys_sentence_transformers);
    walk_named(&w, transformer, "tokenizer_config.json", &tokenizer_config_keys);
    walk_named(&w, transformer, "special_tokens_map.json", &tokenizer_special_map_keys);
    walk_named(&w, transformer, "added_tokens.json", &tokenizer_added_tokens_keys);
    walk_named(&w, transformer, "chat_template.json", &config_keys_chat_template);
    if (large)
        walk_named(&w, transformer, "tokenizer.json", &tokenizer_json_keys);
}

// ---- unknown ones ----

struct unknown {
    const char *path;
    char file[160]; // the keys below are its
    struct key_unknown keys;
};

static void warn(const struct key_unknown *keys, const char *folder, const char *file) {
    char *name = keys->count ? file_join(folder, file) : NULL;
    key_unknown_warn(keys, name ? name : file);
    mem_free(name);
}

static void flush(struct unknown *u) {
    warn(&u->keys, u->path, u->file);
    buf_reset(&u->keys.names);
    u->keys.count = 0;
}

static void note(void *ctx, const char *file, const char *key, enum key_fate fate) {
    struct unknown *u = ctx;
    if (strcmp(u->file, file) != 0) {
        flush(u);
        snprintf(u->file, sizeof u->file, "%s", file);
    }
    key_unknown_see(&u->keys, key, fate);
}

void model_keys_warn(const char *path, const char *transformer, const struct tokenizer *t) {
    struct unknown u = {.path = path};
    model_keys_each(path, transformer, false, note, &u);
    flush(&u);
    buf_free(&u.keys.names);
    warn(tokenizer_unknown_keys(t), transformer, "tokenizer.json");
}
