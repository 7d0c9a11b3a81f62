// See file_set.h.
#include "base/file_set.h"

#include "base/mem.h"

#include <string.h>
#include <unistd.h>

struct file_set {
    struct entry {
        char *path;
        int fd;
    } * entries;
    size_t count, room;
};

static _Thread_local const struct file_set *in_use;
static _Thread_local struct file_set *recorded;

struct file_set *file_set_new(void) {
    return mem_calloc(1, sizeof(struct file_set));
}

void file_set_free(struct file_set *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        close(s->entries[i].fd);
        mem_free(s->entries[i].path);
    }
    mem_free(s->entries);
    mem_free(s);
}

static bool make_room(struct file_set *s) {
    if (s->count < s->room)
        return true;
    size_t room = s->room ? 2 * s->room : 8;
    struct entry *more = mem_realloc(s->entries, room, sizeof *more);
    if (!more)
        return false;
    s->entries = more;
    s->room = room;
    return true;
}

enum err file_set_add(struct file_set *s, const char *path, int fd, struct errmsg *msg) {
    if (file_set_find(s, path) >= 0) {
        close(fd);
        return err_set(msg, ERR_INVALID, "%s: is there twice", path);
    }
    size_t len = strlen(path);
    if (len >= FILE_SET_PATH_BYTES || s->count == FILE_SET_FILES) {
        close(fd);
        return len >= FILE_SET_PATH_BYTES
                   ? err_set(msg, ERR_TOO_LARGE, "%.64s...: a path of %zu bytes, %d are the most",
                             path, len, FILE_SET_PATH_BYTES - 1)
                   : err_set(msg, ERR_TOO_LARGE, "%s: one file too many, %d are the most", path,
                             FILE_SET_FILES);
    }
    char *copy = mem_strndup(path, len);
    if (!copy || !make_room(s)) {
        mem_free(copy);
        close(fd);
        return err_set(msg, ERR_NOMEM, "%s: no memory to list it", path);
    }
    s->entries[s->count++] = (struct entry){.path = copy, .fd = fd};
    return ERR_OK;
}

size_t file_set_count(const struct file_set *s) { return s->count; }
const char *file_set_path(const struct file_set *s, size_t i) { return s->entries[i].path; }
int file_set_descriptor(const struct file_set *s, size_t i) { return s->entries[i].fd; }

int file_set_find(const struct file_set *s, const char *path) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].path, path) == 0)
            return s->entries[i].fd;
    return -1;
}

bool file_set_has_folder(const struct file_set *s, const char *path) {
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--;
    for (size_t i = 0; i < s->count; i++) {
        const char *p = s->entries[i].path;
        if (strncmp(p, path, n) == 0 && p[n] == '/')
            return true;
    }
    return false;
}

const struct file_set *file_set_use(const struct file_set *s) {
    const struct file_set *before = in_use;
    in_use = s;
    return before;
}

const struct file_set *file_set_in_use(void) { return in_use; }

struct file_set *file_set_record(struct file_set *s) {
    struct file_set *before = recorded;
    recorded = s;
    return before;
}

struct file_set *file_set_recorded(void) {
    return recorded;
}
