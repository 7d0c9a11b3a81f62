// Files: read whole or in pieces, write atomically. What is read is the file system's, or that of a
// set of descriptors which the thread has in use (file_set.h). Fault-injectable (fault.h,
// FAULT_FILE). Errors name the path and the cause. Thread rule: any thread.
#ifndef TRINE_BASE_FILE_H
#define TRINE_BASE_FILE_H

#include "base/err.h"

#include <stdbool.h>

struct file_map {
    const char *data; // NULL when the file is empty
    size_t size;
};

struct file {
    int fd;
    size_t size; // when it was opened
    char *path;  // owned; NULL: not open
};

// Reads a regular file of at most max bytes; *data is owned by the caller (mem_free), NUL behind.
// ERR_NOT_FOUND, ERR_TOO_LARGE, ERR_IO, ERR_NOMEM.
enum err file_read(const char *path, size_t max, char **data, size_t *len,
                   struct errmsg *msg) MUST_CHECK;

// A regular file to read in pieces. Not mapped: a mapped file that another process truncates
// kills whoever touches it (SIGBUS). ERR_NOT_FOUND, ERR_INVALID, ERR_IO, ERR_NOMEM.
enum err file_open(struct file *f, const char *path, struct errmsg *msg) MUST_CHECK;
// Reads bytes [offset, offset + n). Any thread. ERR_IO when the file has become shorter,
// ERR_INTERNAL when the range is beyond the size that it had.
enum err file_read_at(const struct file *f, size_t offset, void *to, size_t n,
                      struct errmsg *msg) MUST_CHECK;
void file_close(struct file *f); // zeroed, or closed before, is fine

// Maps a regular file privately and read-only, to be read through once and closed. If another
// process truncates the file meanwhile, an access ends this process (SIGBUS): for files that others
// may write to, use file_open.
enum err file_map_open(struct file_map *map, const char *path, struct errmsg *msg) MUST_CHECK;
void file_map_close(struct file_map *map);

bool file_exists(const char *path);
bool file_is_dir(const char *path);

// Writes a new file beside path, syncs it and renames it over path: readers see the old file or the
// new one, never a part.
enum err file_write_atomic(const char *path, const void *data, size_t len,
                           struct errmsg *msg) MUST_CHECK;

// dir + "/" + name into a new string (mem_free); NULL when memory is out.
char *file_join(const char *dir, const char *name) MUST_CHECK;

// mkdir -p. ERR_IO.
enum err file_make_dirs(const char *path, struct errmsg *msg) MUST_CHECK;

#endif
