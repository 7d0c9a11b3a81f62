// See record.h.
#include "hub/record.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "hub/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { RECORD_MAX = 1 << 20 };

static bool mtime_of(const char *folder, const char *name, char out[40], uint64_t *size) {
    struct stat st;
    char *path = file_join(folder, name);
    bool ok = path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    mem_free(path);
    out[0] = '\0';
    if (ok) {
        snprintf(out, 40, "%lld.%09ld", (long long)st.st_mtim.tv_sec, (long)st.st_mtim.tv_nsec);
        *size = (uint64_t)st.st_size;
    }
    return ok;
}

void hub_record_free(struct hub_record *r) {
    mem_free(r->revision);
    mem_free(r->mtimes);
    hub_files_free(&r->files);
    *r = (struct hub_record){0};
}

static enum err read_file_entry(const cJSON *entry, struct hub_record *out, struct errmsg *msg) {
    const char *name, *sha256, *git, *mtime;
    int64_t size;
    enum err e = json_get_string(entry, "name", NULL, &name, msg);
    if (!e)
        e = json_get_int(entry, "size", 0, (int64_t)1 << 50, -1, &size, msg);
    if (!e)
        e = json_get_string(entry, "sha256", NULL, &sha256, msg);
    if (!e)
        e = json_get_string(entry, "git_sha1", NULL, &git, msg);
    if (!e)
        e = json_get_string(entry, "mtime", "", &mtime, msg);
    if (e)
        return e;
    const char *hash = sha256 ? sha256 : git;
    if (!name || !store_file_valid(name) || size < 0 || !hash || strlen(hash) >= DIGEST_HEX_MAX ||
        strlen(mtime) >= sizeof *out->mtimes)
        return err_set(msg, ERR_INVALID, "an entry is not whole");
    struct hub_file f = {.size = (uint64_t)size,
                         .kind = sha256 ? HUB_HASH_SHA256 : HUB_HASH_GIT_SHA1};
    memcpy(f.hash, hash, strlen(hash) + 1);
    size_t n = out->files.count;
    char(*mtimes)[40] = mem_realloc(out->mtimes, n + 1, sizeof *mtimes);
    if (!mtimes)
        return err_set(msg, ERR_NOMEM, "no memory for a record");
    out->mtimes = mtimes;
    memcpy(mtimes[n], mtime, strlen(mtime) + 1);
    f.name = mem_strndup(name, strlen(name));
    if (!f.name)
        return err_set(msg, ERR_NOMEM, "no memory for a record");
    e = hub_files_add(&out->files, &f, msg);
    mem_free(f.name);
    return e;
}

static enum err read_root(const cJSON *root, struct hub_record *out, struct errmsg *msg) {
    const char *revision, *commit;
    enum err e = json_get_string(root, "revision", NULL, &revision, msg);
    if (!e)
        e = json_get_string(root, "commit", NULL, &commit, msg);
    if (e)
        return e;
    if (commit && strlen(commit) == 40)
        memcpy(out->commit, commit, 41);
    if (revision && !(out->revision = mem_strndup(revision, strlen(revision))))
        return err_set(msg, ERR_NOMEM, "no memory for a record");
    const cJSON *entry;
    cJSON_ArrayForEach(entry, json_get(root, "files")) {
        if ((e = read_file_entry(entry, out, msg)))
            return e;
    }
    return ERR_OK;
}

enum err hub_record_read(const char *folder, struct hub_record *out, struct errmsg *msg) {
    *out = (struct hub_record){0};
    char *path = file_join(folder, HUB_RECORD_FILE);
    if (!path)
        return err_set(msg, ERR_NOMEM, "no memory for a path");
    cJSON *root;
    enum err e = json_parse_file(path, RECORD_MAX, &root, msg);
    mem_free(path);
    if (!e)
        e = read_root(root, out, msg);
    cJSON_Delete(root);
    if (e)
        hub_record_free(out);
    return e == ERR_NOMEM ? e : ERR_OK;
}

enum err hub_record_write(const char *folder, const char *repo, const char *revision,
                          const char *commit, const struct hub_files *files, struct errmsg *msg) {
    struct buf b = {0};
    enum err e = ERR_OK;
    buf_puts(&b, "{\n \"repo\": ");
    json_quote(&b, repo, strlen(repo));
    buf_puts(&b, ",\n \"revision\": ");
    json_quote(&b, revision, strlen(revision));
    buf_printf(&b, ",\n \"commit\": \"%s\",\n \"files\": [", commit);
    for (size_t i = 0; i < files->count && !e; i++) {
        const struct hub_file *f = &files->list[i];
        char mtime[40];
        uint64_t size;
        if (!mtime_of(folder, f->name, mtime, &size))
            e = err_set(msg, ERR_IO, "%s/%s: is gone", folder, f->name);
        buf_puts(&b, i ? ",\n  {\"name\": " : "\n  {\"name\": ");
        json_quote(&b, f->name, strlen(f->name));
        buf_printf(&b, ", \"size\": %" PRIu64 ", \"%s\": \"%s\", \"mtime\": \"%s\"}", f->size,
                   f->kind == HUB_HASH_SHA256 ? "sha256" : "git_sha1", f->hash, mtime);
    }
    buf_puts(&b, "\n ]\n}\n");
    char *path = file_join(folder, HUB_RECORD_FILE);
    if (!e && (b.failed || !path))
        e = err_set(msg, ERR_NOMEM, "no memory for a record");
    if (!e)
        e = file_write_atomic(path, b.data, b.len, msg);
    mem_free(path);
    buf_free(&b);
    return e;
}

enum err hub_record_check(const struct hub_record *r, const char *folder,
                          const struct hub_file *file, bool *same, struct errmsg *msg) {
    char mtime[40];
    uint64_t size;
    *same = false;
    if (!mtime_of(folder, file->name, mtime, &size) || size != file->size)
        return ERR_OK;
    const struct hub_file *known = hub_files_find(&r->files, file->name);
    if (known && known->kind == file->kind && strcmp(known->hash, file->hash) == 0 &&
        strcmp(r->mtimes[known - r->files.list], mtime) == 0) {
        *same = true;
        return ERR_OK;
    }
    char *path = file_join(folder, file->name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "no memory for a path");
    enum err e = hub_check_file(path, file->kind, file->size, file->hash, same, msg);
    mem_free(path);
    return e;
}
