// Files: read whole, map read-only, write atomically. Fault-injectable (fault.h, FAULT_FILE).
// Errors name the path and the cause. Thread rule: any thread.
#ifndef TRINE_BASE_FILE_H
#define TRINE_BASE_FILE_H

#include "base/err.h"

#include <stdbool.h>

struct file_map {
    const char *data; // NULL when the file is empty
    size_t size;
};

// Reads a regular file of at most max bytes; *data is owned by the caller (mem_free), NUL behind.
// ERR_NOT_FOUND, ERR_TOO_LARGE, ERR_IO, ERR_NOMEM.
enum err file_read(const char *path, size_t max, char **data, size_t *len,
                   struct errmsg *msg) MUST_CHECK;

// Maps a regular file privately and read-only. A file that another process truncates while mapped
// faults on access, so what is mapped is copied out at load and the mapping let go.
enum err file_map_open(struct file_map *map, const char *path, struct errmsg *msg) MUST_CHECK;
void file_map_close(struct file_map *map);

bool file_exists(const char *path);
bool file_is_dir(const char *path);

// Writes to path's neighbour, syncs, and renames over path: readers see the old file or the new.
enum err file_write_atomic(const char *path, const void *data, size_t len,
                           struct errmsg *msg) MUST_CHECK;

// dir + "/" + name into a new string (mem_free); NULL when memory is out.
char *file_join(const char *dir, const char *name) MUST_CHECK;

// mkdir -p. ERR_IO.
enum err file_make_dirs(const char *path, struct errmsg *msg) MUST_CHECK;

#endif
