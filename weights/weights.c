// See weights.h: opening a folder, with or without shards, or a GGUF file.
#include "weights/weights.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/weights_internal.h"

#include <stdlib.h>
#include <string.h>

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

enum { MAX_INDEX_BYTES = 64 << 20 };

// One line of the index: which shard holds which tensor. Both borrow from the JSON tree.
struct placed {
    const char *tensor, *file;
    bool found;
};

static int by_file_then_name(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    int c = strcmp(x->file, y->file);
    return c ? c : strcmp(x->tensor, y->tensor);
}

static int by_name(const void *a, const void *b) {
    const struct weights_named *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum err read_header(struct weights_shard *s, struct errmsg *msg) {
    char first[SAFETENSORS_FIRST_BYTES];
    size_t n = s->file.size < sizeof first ? s->file.size : sizeof first, length = 0;
    enum err e = file_read_at(&s->file, 0, first, n, msg);
    if (!e)
        e = safetensors_header(s->path, first, s->file.size, &length, msg);
    if (e)
        return e;
    n = SAFETENSORS_LENGTH_BYTES + length;
    char *bytes = mem_alloc(n, 1);
    if (!bytes)
        return err_set(msg, ERR_NOMEM, "%s: no memory for a header of %zu bytes", s->path, n);
    e = file_read_at(&s->file, 0, bytes, n, msg);
    // read again, the length may be another: it must still fit what was read
    size_t again = 0;
    if (!e)
        e = safetensors_header(s->path, bytes, s->file.size, &again, msg);
    if (!e && again != length)
        e = err_set(msg, ERR_IO, "%s: changed while it was read", s->path);
    if (!e)
        e = safetensors_parse(s->path, bytes, s->file.size, &s->content, msg);
    mem_free(bytes);
    return e;
}

// Takes `path` over, success or not.
static enum err add_shard(struct weights *w, char *path, struct errmsg *msg) {
    struct weights_shard *s = &w->shards[w->shard_count];
    enum err e = file_open(&s->file, path, msg);
    if (e) {
        mem_free(path);
        return e;
    }
    const char *slash = strrchr(path, '/');
    s->path = path;
    s->name = slash ? slash + 1 : path;
    w->shard_count++; // from here weights_close lets it go
    e = read_header(s, msg);
    for (size_t i = 0; i < s->content.count; i++)
        s->content.tensors[i].file = &s->file;
    w->count += s->content.count;
    return e;
}

static void list_shards(struct weights *w) {
    size_t n = 0;
    for (size_t s = 0; s < w->shard_count; s++)
        for (size_t i = 0; i < w->shards[s].content.count; i++, n++)
            w->entries[n] =
                (struct weights_entry){w->shards[s].content.tensors[i], &w->shards[s], false};
}

// All shards are open: one list of entries in file order, and one sorted by name.
static enum err make_lists(struct weights *w, struct errmsg *msg) {
    w->entries = mem_calloc(w->count, sizeof *w->entries);
    w->sorted = mem_calloc(w->count, sizeof *w->sorted);
    if (!w->entries || !w->sorted)
        return err_set(msg, ERR_NOMEM, "%s: no memory to list %zu tensors", w->path, w->count);
    size_t n = w->count;
    enum err e = ERR_OK;
    if (w->gguf)
        e = weights_list_gguf(w, msg);
    else
        list_shards(w);
    if (e)
        return e;
    for (size_t i = 0; i < n; i++)
        w->sorted[i] = (struct weights_named){w->entries[i].tensor.name, &w->entries[i]};
    if (n)
        qsort(w->sorted, n, sizeof *w->sorted, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&w->sorted[i - 1], &w->sorted[i]) == 0)
            return err_set(msg, ERR_INVALID, "%s: tensor '%s' stands in %s too",
                           w->sorted[i].entry->shard->path, w->sorted[i].name,
                           w->sorted[i - 1].entry->shard->path);
    return ERR_OK;
}

static enum err open_one(struct weights *w, const char *path, struct errmsg *msg) {
    w->shards = mem_calloc(1, sizeof *w->shards);
    char *own = mem_strndup(path, strlen(path));
    if (!w->shards || !own) {
        mem_free(own);
        return err_set(msg, ERR_NOMEM, "%s: no memory to open it", path);
    }
    enum err e = add_shard(w, own, msg);
    return e ? e : make_lists(w, msg);
}

// A shard is a plain file name beside the index: nothing that leads out of the folder.
static enum err check_shard_name(const struct weights *w, const struct placed *p,
                                 struct errmsg *msg) {
    static const char suffix[] = ".safetensors";
    size_t n = strlen(p->file);
    if (strchr(p->file, '/') || strchr(p->file, '\\') || p->file[0] == '.')
        return err_set(
            msg, ERR_INVALID,
            "%s: tensor '%.256s': shard '%.200s' must be a plain file name in the folder", w->path,
            p->tensor, p->file);
    if (n <= sizeof suffix - 1 || n > 200 || strcmp(p->file + n - (sizeof suffix - 1), suffix) != 0)
        return err_set(msg, ERR_INVALID,
                       "%s: tensor '%.256s': shard '%.200s' is no .safetensors file", w->path,
                       p->tensor, p->file);
    return ERR_OK;
}

static enum err read_weight_map(const struct weights *w, const cJSON *root, struct placed **out,
                                size_t *count, struct errmsg *msg) {
    const cJSON *map = cJSON_IsObject(root) ? json_get(root, "weight_map") : NULL, *item;
    if (!map || !cJSON_IsObject(map) || !map->child)
        return err_set(msg, ERR_INVALID, "%s: no weight_map", w->path);
    size_t n = (size_t)cJSON_GetArraySize(map);
    struct placed *p = mem_calloc(n, sizeof *p);
    if (!p)
        return err_set(msg, ERR_NOMEM, "%s: no memory for %zu names", w->path, n);
    enum err e = ERR_OK;
    size_t i = 0;
    cJSON_ArrayForEach(item, map) {
        p[i] = (struct placed){item->string, cJSON_IsString(item) ? item->valuestring : "", false};
        e = check_shard_name(w, &p[i++], msg);
        if (e) {
            mem_free(p);
            return e;
        }
    }
    qsort(p, n, sizeof *p, by_file_then_name);
    *out = p;
    *count = n;
    return ERR_OK;
}

// p[0..n), sorted: every file once.
static enum err open_shards(struct weights *w, const char *folder, const struct placed *p, size_t n,
                            struct errmsg *msg) {
    size_t files = 0;
    for (size_t i = 0; i < n; i++)
        files += i == 0 || strcmp(p[i - 1].file, p[i].file) != 0;
    w->shards = mem_calloc(files, sizeof *w->shards);
    if (!w->shards)
        return err_set(msg, ERR_NOMEM, "%s: no memory for %zu shards", w->path, files);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(p[i - 1].file, p[i].file) == 0)
            continue;
        char *path = file_join(folder, p[i].file);
        if (!path)
            return err_set(msg, ERR_NOMEM, "%s: no memory to open it", p[i].file);
        if (!file_exists(path)) {
            mem_free(path);
            return err_set(msg, ERR_NOT_FOUND,
                           "%s: shard '%s' is missing (it holds tensor '%.200s')", w->path,
                           p[i].file, p[i].tensor);
        }
        enum err e = add_shard(w, path, msg);
        if (e)
            return e;
    }
    return ERR_OK;
}

// The index and the shards must agree, in both directions.
static enum err check_index(const struct weights *w, struct placed *p, size_t n,
                            struct errmsg *msg) {
    for (size_t i = 0; i < w->count; i++) {
        struct placed key = {w->entries[i].tensor.name, w->entries[i].shard->name, false};
        struct placed *at = p ? bsearch(&key, p, n, sizeof *p, by_file_then_name) : NULL;
        if (!at)
            return err_set(msg, ERR_INVALID, "%s: tensor '%s' is here, but not in %s",
                           w->entries[i].shard->path, key.tensor, index_name);
        at->found = true;
    }
    for (size_t i = 0; i < n; i++)
        if (!p[i].found)
            return err_set(msg, ERR_INVALID, "%s: tensor '%.256s' is not in its shard '%s'",
                           w->path, p[i].tensor, p[i].file);
    return ERR_OK;
}

static enum err open_index(struct weights *w, const char *folder, struct errmsg *msg) {
    cJSON *root;
    enum err e = json_parse_file(w->path, MAX_INDEX_BYTES, &root, msg);
    if (e)
        return e;
    struct placed *p = NULL;
    size_t n = 0;
    e = read_weight_map(w, root, &p, &n, msg);
    if (!e)
        e = open_shards(w, folder, p, n, msg);
    if (!e)
        e = make_lists(w, msg);
    if (!e)
        e = check_index(w, p, n, msg);
    mem_free(p);
    cJSON_Delete(root);
    return e;
}

// Takes `path` over.
static struct weights *weights_new(char *path) {
    struct weights *w = path ? mem_calloc(1, sizeof *w) : NULL;
    if (w)
        w->path = path;
    else
        mem_free(path);
    return w;
}

static enum err finish(struct weights *w, enum err e, struct weights **out) {
    if (e)
        weights_close(w);
    else
        *out = w;
    return e;
}

static enum err no_weights(const char *folder, struct errmsg *msg) {
    char *torch = file_join(folder, "pytorch_model.bin");
    bool there = torch && file_exists(torch);
    mem_free(torch);
    if (there)
        return err_set(msg, ERR_UNSUPPORTED,
                       "%s: only pytorch_model.bin is there, which can run code when it is opened: "
                       "model.safetensors is read",
                       folder);
    return err_set(msg, ERR_NOT_FOUND, "%s: neither %s nor %s is there", folder, single_name,
                   index_name);
}

static enum err open_gguf_file(struct weights *w, const char *path, struct errmsg *msg) {
    w->shards = mem_calloc(1, sizeof *w->shards);
    w->shard_count = w->shards ? 1 : 0;
    if (w->shards)
        w->shards[0].path = mem_strndup(path, strlen(path));
    if (!w->shards || !w->shards[0].path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open it", path);
    enum err e = gguf_open(path, &w->gguf, msg);
    if (e)
        return e;
    w->count = gguf_tensor_count(w->gguf);
    return make_lists(w, msg);
}

static enum err open_gguf(const char *path, struct weights **out, struct errmsg *msg) {
    struct weights *w = weights_new(mem_strndup(path, strlen(path)));
    if (!w)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open it", path);
    return finish(w, open_gguf_file(w, path, msg), out);
}

static enum err open_file(const char *path, struct weights **out, struct errmsg *msg) {
    *out = NULL;
    struct weights *w = weights_new(mem_strndup(path, strlen(path)));
    if (!w)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open it", path);
    return finish(w, open_one(w, path, msg), out);
}

static enum err open_folder(const char *folder, struct weights **out, struct errmsg *msg) {
    char *single = file_join(folder, single_name), *index = file_join(folder, index_name);
    enum err e = ERR_OK;
    if (!single || !index)
        e = err_set(msg, ERR_NOMEM, "%s: no memory to open it", folder);
    else if (file_exists(single))
        e = open_file(single, out, msg);
    else if (!file_exists(index))
        e = no_weights(folder, msg);
    else {
        struct weights *w = weights_new(index);
        index = NULL; // w's now
        e = w ? finish(w, open_index(w, folder, msg), out)
              : err_set(msg, ERR_NOMEM, "%s: no memory to open it", folder);
    }
    mem_free(single);
    mem_free(index);
    return e;
}

enum err weights_open(const char *path, struct weights **out, struct errmsg *msg) {
    *out = NULL;
    return !file_is_dir(path) && file_exists(path) ? open_gguf(path, out, msg)
                                                   : open_folder(path, out, msg);
}

void weights_close(struct weights *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->shard_count; i++) {
        safetensors_free(&w->shards[i].content);
        file_close(&w->shards[i].file);
        mem_free(w->shards[i].path);
    }
    mem_free(w->shards);
    mem_free(w->entries);
    mem_free(w->sorted);
    gguf_close(w->gguf);
    mem_free(w->names);
    mem_free(w->path);
    mem_free(w);
}
