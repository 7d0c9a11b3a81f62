// See plan.h.
#include "hub/plan.h"

#include "base/mem.h"
#include "hub/store.h"

#include <string.h>

static const uint64_t MAX_FILE = (uint64_t)1 << 50; // sums of a thousand of them still fit

static const char *const root_files[] = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "chat_template.jinja",
};

static bool is_hex(const char *s, size_t n) {
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

void hub_files_free(struct hub_files *files) {
    for (size_t i = 0; i < files->count; i++)
        mem_free(files->list[i].name);
    mem_free(files->list);
    *files = (struct hub_files){0};
}

const struct hub_file *hub_files_find(const struct hub_files *files, const char *name) {
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->list[i].name, name) == 0)
            return &files->list[i];
    return NULL;
}

enum err hub_files_add(struct hub_files *files, const struct hub_file *file, struct errmsg *msg) {
    if (files->count == files->cap) {
        size_t cap = files->cap ? 2 * files->cap : 16;
        struct hub_file *list = mem_realloc(files->list, cap, sizeof *list);
        if (!list)
            return err_set(msg, ERR_NOMEM, "no memory for a list of files");
        files->list = list;
        files->cap = cap;
    }
    char *name = mem_strndup(file->name, strlen(file->name));
    if (!name)
        return err_set(msg, ERR_NOMEM, "no memory for a list of files");
    files->list[files->count] = *file;
    files->list[files->count++].name = name;
    return ERR_OK;
}

// A name that leads out of the folder makes the listing hostile: an error. Other odd names are only
// never picked.
static bool climbs(const char *name) {
    if (!*name || *name == '/')
        return true;
    for (const char *part = name;; part++) {
        size_t n = strcspn(part, "/\\");
        if (n == 2 && part[0] == '.' && part[1] == '.')
            return true;
        part += n;
        if (!*part)
            return false;
    }
}

void hub_listing_free(struct hub_listing *l) {
    cJSON_Delete(l->root);
    *l = (struct hub_listing){0};
}

static enum err check_listing(struct hub_listing *l, struct errmsg *msg) {
    const char *commit;
    enum err e = json_get_string(l->root, "sha", NULL, &commit, msg);
    if (e)
        return e;
    if (!cJSON_IsObject(l->root) || !commit || !is_hex(commit, 40))
        return err_set(msg, ERR_INVALID, "no commit in it");
    memcpy(l->commit, commit, 41);
    const cJSON *siblings = json_get(l->root, "siblings"), *sibling;
    if (!cJSON_IsArray(siblings))
        return err_set(msg, ERR_INVALID, "no list of files in it");
    cJSON_ArrayForEach(sibling, siblings) {
        const char *name;
        e = json_get_string(sibling, "rfilename", NULL, &name, msg);
        if (e)
            return e;
        if (!name || climbs(name))
            return err_set(msg, ERR_INVALID, "it names a file '%.100s', which is refused",
                           name ? name : "");
    }
    return ERR_OK;
}

enum err hub_listing_read(const char *text, size_t len, struct hub_listing *out,
                          struct errmsg *msg) {
    *out = (struct hub_listing){0};
    enum err e = json_parse(text, len, &json_limits_file, &out->root, NULL, msg);
    if (!e)
        e = check_listing(out, msg);
    if (e)
        hub_listing_free(out);
    return e ? err_prefix(msg, e, "the hub's list of files") : ERR_OK;
}

static const cJSON *find(const struct hub_listing *l, const char *name) {
    const cJSON *sibling;
    cJSON_ArrayForEach(sibling, json_get(l->root, "siblings")) {
        const cJSON *rfilename = json_get(sibling, "rfilename");
        if (rfilename && strcmp(rfilename->valuestring, name) == 0)
            return sibling;
    }
    return NULL;
}

// An LFS file's blobId is the hash of its pointer, not of its content: its sha256 counts.
static enum err add(const cJSON *sibling, struct hub_files *out, struct errmsg *msg) {
    struct hub_file f = {.name = json_get(sibling, "rfilename")->valuestring};
    const cJSON *lfs = json_get(sibling, "lfs"), *sized = lfs ? lfs : sibling;
    const char *hash;
    int64_t size;
    if (!store_file_valid(f.name))
        return err_set(msg, ERR_INVALID, "the hub names a file '%.100s', which is refused", f.name);
    if (hub_files_find(out, f.name))
        return ERR_OK;
    enum err e = json_get_int(sized, "size", 0, (int64_t)MAX_FILE, -1, &size, msg);
    if (!e)
        e = json_get_string(sized, lfs ? "sha256" : "blobId", NULL, &hash, msg);
    if (e)
        return err_prefix(msg, e, "the hub on %s", f.name);
    if (size < 0)
        return err_set(msg, ERR_INVALID, "the hub gives no size for %s", f.name);
    f.size = (uint64_t)size;
    f.kind = lfs ? HUB_HASH_SHA256 : HUB_HASH_GIT_SHA1;
    if (!hash || !is_hex(hash, lfs ? 64 : 40))
        return err_set(msg, ERR_INVALID, "the hub gives no hash for %s, so it cannot be verified",
                       f.name);
    memcpy(f.hash, hash, strlen(hash) + 1);
    return hub_files_add(out, &f, msg);
}

// A module's folder, as sentence-transformers names them ("1_Pooling/"): the length of that part
// with its slash, 0 for anything else.
static size_t module_part(const char *name) {
    size_t digits = strspn(name, "0123456789");
    if (!digits || name[digits] != '_')
        return 0;
    size_t n = strcspn(name, "/");
    return name[n] == '/' ? n + 1 : 0;
}

static bool starts_and_ends(const char *name, const char *start, const char *end) {
    size_t n = strlen(name), a = strlen(start), b = strlen(end);
    return n >= a + b && strncmp(name, start, a) == 0 && strcmp(name + n - b, end) == 0;
}

static bool wanted(const char *name) {
    for (size_t i = 0; i < sizeof root_files / sizeof *root_files; i++)
        if (strcmp(name, root_files[i]) == 0)
            return true;
    // sentence_roberta_config.json and its like stand for sentence_bert_config.json
    if (!strchr(name, '/') && starts_and_ends(name, "sentence_", "_config.json"))
        return true;
    size_t part = module_part(name);
    return part && (strcmp(name + part, "config.json") == 0 ||
                    strcmp(name + part, "model.safetensors") == 0);
}

static enum err add_weights(const struct hub_listing *l, struct hub_files *out,
                            struct errmsg *msg) {
    const cJSON *whole = find(l, "model.safetensors"), *index = find(l, HUB_INDEX_FILE);
    if (whole || index)
        return add(whole ? whole : index, out, msg);
    const cJSON *sibling;
    cJSON_ArrayForEach(sibling, json_get(l->root, "siblings")) {
        const char *name = json_get(sibling, "rfilename")->valuestring;
        if (starts_and_ends(name, "", ".gguf"))
            return err_set(
                msg, ERR_UNSUPPORTED,
                "no model.safetensors in it, but GGUF files: name one with --file %.200s", name);
    }
    cJSON_ArrayForEach(sibling, json_get(l->root, "siblings")) {
        const char *name = json_get(sibling, "rfilename")->valuestring;
        if (starts_and_ends(name, "", ".bin") || starts_and_ends(name, "", ".safetensors") ||
            starts_and_ends(name, "", ".onnx"))
            return err_set(msg, ERR_UNSUPPORTED,
                           "no model.safetensors in it, only %.200s: look for a revision with "
                           "safetensors (often refs/pr/N)",
                           name);
    }
    return err_set(msg, ERR_UNSUPPORTED, "no model.safetensors in it: not a model");
}

enum err hub_plan_files(const struct hub_listing *l, const char *file, struct hub_files *out,
                        struct errmsg *msg) {
    const cJSON *sibling;
    *out = (struct hub_files){0};
    enum err e = ERR_OK;
    if (file) {
        sibling = find(l, file);
        return sibling ? add(sibling, out, msg)
                       : err_set(msg, ERR_NOT_FOUND, "no file '%.200s' in it", file);
    }
    cJSON_ArrayForEach(sibling, json_get(l->root, "siblings")) {
        const char *name = json_get(sibling, "rfilename")->valuestring;
        size_t part = module_part(name);
        if (!e && wanted(name))
            e = add(sibling, out, msg);
        if (!e && part && strcmp(name + part, "pytorch_model.bin") == 0) {
            char other[300];
            if (part + sizeof "model.safetensors" > sizeof other)
                continue;
            memcpy(other, name, part);
            memcpy(other + part, "model.safetensors", sizeof "model.safetensors");
            if (!find(l, other))
                e = err_set(msg, ERR_UNSUPPORTED, "%s is there, but no %s", name, other);
        }
    }
    if (!e)
        e = add_weights(l, out, msg);
    if (!e && !hub_files_find(out, "config.json"))
        e = err_set(msg, ERR_UNSUPPORTED, "no config.json in it: not a model");
    if (e)
        hub_files_free(out);
    return e;
}

enum err hub_plan_shards(const struct hub_listing *l, const char *index, size_t len,
                         struct hub_files *out, struct errmsg *msg) {
    cJSON *root;
    enum err e = json_parse(index, len, &json_limits_file, &root, NULL, msg);
    if (e)
        return err_prefix(msg, e, HUB_INDEX_FILE);
    const cJSON *map = json_get(root, "weight_map"), *entry;
    if (!cJSON_IsObject(map) || !map->child)
        e = err_set(msg, ERR_INVALID, HUB_INDEX_FILE ": no weight_map in it");
    cJSON_ArrayForEach(entry, map) {
        if (e)
            break;
        const char *name = cJSON_IsString(entry) ? entry->valuestring : "";
        if (hub_files_find(out, name))
            continue;
        const cJSON *sibling = store_file_valid(name) && !strchr(name, '/') ? find(l, name) : NULL;
        if (!sibling)
            e = err_set(msg, ERR_INVALID,
                        HUB_INDEX_FILE ": shard '%.100s' is not in the repository", name);
        else
            e = add(sibling, out, msg);
    }
    cJSON_Delete(root);
    return e;
}
