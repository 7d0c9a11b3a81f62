// Which files of a repository a model needs. Role: reads the hub's listing (the answer of
// /api/models/{repo}/revision/{revision}?blobs=true; huggingface_hub's ModelInfo and RepoSibling)
// and picks. It opens no connection and no file. The listing is not trusted: a file name that
// leaves its folder, a missing size or a missing hash is an error.
// Thread rule: pure functions; a listing and a plan have one owner.
#ifndef TRINE_HUB_PLAN_H
#define TRINE_HUB_PLAN_H

#include "base/err.h"
#include "base/json.h"
#include "hub/check.h"

#include <stdbool.h>
#include <stdint.h>

#define HUB_INDEX_FILE "model.safetensors.index.json"

struct hub_file {
    char *name; // relative to the repository's root, safe to join below a folder; owned
    uint64_t size;
    enum hub_hash_kind kind;
    char hash[DIGEST_HEX_MAX];
};

struct hub_files {
    struct hub_file *list; // [count], owned
    size_t count, cap;
};

struct hub_listing {
    char commit[41]; // 40 hex digits
    cJSON *root;     // owned
};

// ERR_INVALID names what is wrong with the answer.
enum err hub_listing_read(const char *text, size_t len, struct hub_listing *out,
                          struct errmsg *msg) MUST_CHECK;
void hub_listing_free(struct hub_listing *l);

// The files a model needs: configuration, tokenizer, modules, and model.safetensors or its index
// (whose shards hub_plan_shards adds). With `file` (a name in the repository) that file alone.
// ERR_NOT_FOUND: `file` is not there. ERR_UNSUPPORTED: weights, but not as safetensors.
enum err hub_plan_files(const struct hub_listing *l, const char *file, struct hub_files *out,
                        struct errmsg *msg) MUST_CHECK;
// The shards that the index (the content of HUB_INDEX_FILE) names.
enum err hub_plan_shards(const struct hub_listing *l, const char *index, size_t len,
                         struct hub_files *out, struct errmsg *msg) MUST_CHECK;

const struct hub_file *hub_files_find(const struct hub_files *files, const char *name);
// Appends a copy. ERR_NOMEM.
enum err hub_files_add(struct hub_files *files, const struct hub_file *file,
                       struct errmsg *msg) MUST_CHECK;
void hub_files_free(struct hub_files *files);

#endif
