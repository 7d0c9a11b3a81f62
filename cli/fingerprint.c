// See fingerprint.h. Eight bytes a step, by multiplying and folding: as fast as a model's weights
// can be read.
#define _GNU_SOURCE // DT_DIR, scandir's alphasort
#include "cli/fingerprint.h"

#include "base/file.h"
#include "base/mem.h"
#include "weights/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t h, uint64_t v) {
    unsigned __int128 p = (unsigned __int128)(h ^ v) * UINT64_C(0xa0761d6478bd642f);
    return (uint64_t)p ^ (uint64_t)(p >> 64) ^ (v + (h << 17));
}

uint64_t fingerprint_add(uint64_t h, const void *bytes, size_t n) {
    const char *p = bytes;
    h = mix(h, (uint64_t)n);
    uint64_t v;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&v, p, 8);
        h = mix(h, v);
    }
    v = 0;
    if (n)
        memcpy(&v, p, n);
    return mix(h, v);
}

static bool counts(const char *name) {
    static const char *const tails[] = {".json", ".txt", ".safetensors"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        size_t t = strlen(tails[i]);
        if (name[0] != '.' && n > t && strcmp(name + n - t, tails[i]) == 0)
            return true;
    }
    return false;
}

static enum err add_file(const char *path, const char *name, uint64_t *h, struct errmsg *msg) {
    struct file_map map;
    enum err e = file_map_open(&map, path, msg);
    if (e)
        return e;
    *h = fingerprint_add(*h, name, strlen(name));
    *h = fingerprint_add(*h, map.data, map.size);
    file_map_close(&map);
    return ERR_OK;
}

static enum err add_folder(const char *folder, int depth, uint64_t *h, struct errmsg *msg);

// Module folders ("1_Pooling") lie one level down.
static enum err add_entry(const char *folder, const char *name, int depth, uint64_t *h,
                          struct errmsg *msg) {
    char *path = file_join(folder, name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory", folder);
    enum err e = ERR_OK;
    if (!file_is_dir(path))
        e = counts(name) ? add_file(path, name, h, msg) : ERR_OK;
    else if (depth == 0 && name[0] >= '0' && name[0] <= '9')
        e = add_folder(path, 1, h, msg);
    mem_free(path);
    return e;
}

static enum err add_folder(const char *folder, int depth, uint64_t *h, struct errmsg *msg) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0)
        return err_set(msg, ERR_IO, "%s: cannot list: %s", folder, strerror(errno));
    enum err e = ERR_OK;
    for (int i = 0; i < n; i++) {
        if (!e)
            e = add_entry(folder, entries[i]->d_name, depth, h, msg);
        free(entries[i]); // scandir's own, not ours
    }
    free(entries);
    return e;
}

// A file, and the other parts of a split one.
static enum err add_files(const char *path, uint64_t *h, struct errmsg *msg) {
    enum err e = add_file(path, "", h, msg);
    char *part;
    for (size_t i = 2; !e && gguf_part_path(path, i, &part); i++) {
        e = part ? add_file(part, "", h, msg) : err_set(msg, ERR_NOMEM, "%s: no memory", path);
        mem_free(part);
    }
    return e;
}

enum err fingerprint_model(const char *path, uint64_t *out, struct errmsg *msg) {
    *out = FINGERPRINT_START;
    return file_is_dir(path) ? add_folder(path, 0, out, msg) : add_files(path, out, msg);
}
