// See place.h.
#define _GNU_SOURCE // renameat2, nftw
#include "hub/place.h"

#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static enum err no_memory(struct errmsg *msg) {
    err_set(msg, ERR_NOMEM, "no memory for a path");
    return ERR_NOMEM; // said here too, so that static checks see that it is never ERR_OK
}

static enum err fail(struct errmsg *msg, const char *path, const char *what) {
    return err_set(msg, ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

// parent/.name.suffix
static char *beside(const char *parent, const char *name, const char *suffix) {
    struct buf b = {0};
    buf_printf(&b, "%s/.%s.%s", parent, name, suffix);
    if (!b.failed)
        return b.data;
    buf_free(&b);
    return NULL;
}

enum err hub_place_name(struct hub_place *place, const char *store, const char *repo,
                        struct errmsg *msg) {
    *place = (struct hub_place){.lock = -1};
    char *models = file_join(store, "models");
    place->folder = models ? file_join(models, repo) : NULL;
    mem_free(models);
    if (place->folder) {
        char *slash = strrchr(place->folder, '/'); // the repository's own, or that after models
        place->parent = mem_strndup(place->folder, (size_t)(slash - place->folder));
        if (place->parent) {
            place->part = beside(place->parent, slash + 1, "part");
            place->fresh = beside(place->parent, slash + 1, "new");
            place->lock_path = beside(place->parent, slash + 1, "lock");
        }
    }
    if (place->part && place->fresh && place->lock_path)
        return ERR_OK;
    hub_place_close(place);
    return no_memory(msg);
}

enum err hub_place_open(struct hub_place *place, struct errmsg *msg) {
    enum err e = file_make_dirs(place->part, msg);
    if (e)
        return e;
    place->lock = open(place->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (place->lock < 0)
        return fail(msg, place->lock_path, "open");
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(place->lock, F_SETLK, &whole) == 0)
        return ERR_OK;
    bool held = errno == EACCES || errno == EAGAIN;
    e = held ? err_set(msg, ERR_UNAVAILABLE, "%s: another pull of it is running", place->folder)
             : fail(msg, place->lock_path, "lock");
    close(place->lock);
    place->lock = -1;
    return e;
}

void hub_place_close(struct hub_place *place) {
    // The lock file stays: removing it would let two pulls lock two different files.
    if (place->lock >= 0)
        close(place->lock);
    mem_free(place->folder);
    mem_free(place->parent);
    mem_free(place->part);
    mem_free(place->fresh);
    mem_free(place->lock_path);
    *place = (struct hub_place){.lock = -1};
}

char *hub_place_staged(const struct hub_place *place, const struct hub_file *file, bool partial) {
    struct buf b = {0};
    buf_printf(&b, "%s/%.16s-", place->part, file->hash);
    for (const char *c = file->name; *c; c++)
        buf_putc(&b, *c == '/' ? '%' : *c);
    buf_puts(&b, partial ? ".part" : "");
    if (!b.failed)
        return b.data;
    buf_free(&b);
    return NULL;
}

static enum err copy(const char *from, const char *to, struct errmsg *msg) {
    struct file_map map;
    enum err e = file_map_open(&map, from, msg);
    if (e)
        return e;
    e = file_write_atomic(to, map.data, map.size, msg);
    file_map_close(&map);
    return e;
}

enum err hub_place_link(const char *from, const char *to, struct errmsg *msg) {
    if (!fault_hit(FAULT_FILE) && (link(from, to) == 0 || errno == EEXIST))
        return ERR_OK;
    return copy(from, to, msg);
}

enum err hub_place_check_room(const struct hub_place *place, uint64_t bytes, struct errmsg *msg) {
    struct statvfs fs;
    if (statvfs(place->part, &fs) != 0)
        return fail(msg, place->part, "ask for free space");
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes <= room)
        return ERR_OK;
    return err_set(msg, ERR_TOO_LARGE,
                   "%s: %.1f MiB are needed, %.1f MiB are free: make room, or set TRINE_HOME to "
                   "another disk",
                   place->parent, (double)bytes / (1 << 20), (double)room / (1 << 20));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

// Removes a folder with all that is in it. False when something is still there.
static bool remove_tree(const char *path) {
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT;
}

static enum err sync_folder(const char *path, struct errmsg *msg) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(msg, path, "open");
    // some file systems cannot sync a folder and say EINVAL; there is nothing more to do there
    enum err e = fsync(fd) == 0 || errno == EINVAL ? ERR_OK : fail(msg, path, "sync");
    close(fd);
    return e;
}

// Links a staged file to its place in the new folder, making the folders on its way.
static enum err settle(const struct hub_place *place, const struct hub_file *file,
                       struct errmsg *msg) {
    char *from = hub_place_staged(place, file, false), *to = file_join(place->fresh, file->name);
    char *folder = to ? mem_strndup(to, (size_t)(strrchr(to, '/') - to)) : NULL;
    enum err e = from && folder ? file_make_dirs(folder, msg) : no_memory(msg);
    if (!e)
        e = hub_place_link(from, to, msg);
    if (!e)
        e = sync_folder(folder, msg);
    mem_free(from);
    mem_free(to);
    mem_free(folder);
    return e;
}

// Puts `fresh` in the place of `folder`, which may not exist yet. Afterwards `fresh` is the old
// folder, or gone.
static enum err swap(const struct hub_place *place, struct errmsg *msg) {
    if (fault_hit(FAULT_FILE)) {
        errno = EIO;
        return fail(msg, place->folder, "put in place");
    }
    if (renameat2(AT_FDCWD, place->fresh, AT_FDCWD, place->folder, RENAME_EXCHANGE) == 0)
        return ERR_OK;
    if (errno == ENOENT && rename(place->fresh, place->folder) == 0)
        return ERR_OK;
    if (errno != ENOSYS && errno != EINVAL)
        return fail(msg, place->folder, "put in place");
    // This file system cannot exchange: the old folder steps aside, into the new one's parent.
    struct buf aside = {0};
    buf_printf(&aside, "%s.old", place->fresh);
    enum err e = ERR_OK;
    if (aside.failed || !remove_tree(aside.data))
        e = err_set(msg, ERR_IO, "%s.old: cannot remove", place->fresh);
    else if (rename(place->folder, aside.data) != 0 && errno != ENOENT)
        e = fail(msg, place->folder, "move aside");
    else if (rename(place->fresh, place->folder) != 0)
        e = fail(msg, place->folder, "put in place");
    if (e && !aside.failed && !file_exists(place->folder) && rename(aside.data, place->folder) != 0)
        e = err_prefix(msg, e, "the old folder is now %s", aside.data);
    if (!e && !remove_tree(aside.data))
        e = fail(msg, aside.data, "remove");
    buf_free(&aside);
    return e;
}

enum err hub_place_commit(struct hub_place *place, const struct hub_files *files, const char *repo,
                          const char *revision, const char *commit, struct errmsg *msg) {
    enum err e = ERR_OK;
    if (!remove_tree(place->fresh))
        return fail(msg, place->fresh, "remove");
    for (size_t i = 0; i < files->count && !e; i++)
        e = settle(place, &files->list[i], msg);
    if (!e)
        e = hub_record_write(place->fresh, repo, revision, commit, files, msg);
    if (!e)
        e = sync_folder(place->fresh, msg);
    if (!e)
        e = swap(place, msg);
    if (!e)
        e = sync_folder(place->parent, msg);
    if (e)
        return e;
    // What cannot be removed now is only in the way of space; the next pull tries again.
    (void)remove_tree(place->fresh);
    (void)remove_tree(place->part);
    return ERR_OK;
}
