// Files as descriptors by the names that they are asked for: what a process reads that may open
// nothing, or that is to read what another one opened once. Role: a list of paths with a descriptor
// each, and the thread's choice of one: while a thread has a set in use, file.h's functions know
// the set's paths on it and nothing of the file system. A path is compared as it is written; a
// folder is there when something in the set lies below it. Thread rule: a set is its maker's until
// it is in use, then constant; any number of threads may have it in use.
#ifndef TRINE_BASE_FILE_SET_H
#define TRINE_BASE_FILE_SET_H

#include "base/err.h"

#include <stdbool.h>

struct file_set;

struct file_set *file_set_new(void) MUST_CHECK; // empty; NULL: no memory
void file_set_free(struct file_set *s);         // closes all that is in it; NULL is fine

// Of a set at most, and bytes of a path with its NUL.
enum { FILE_SET_FILES = 1 << 12, FILE_SET_PATH_BYTES = 1 << 12 };

// Takes the descriptor over in any case. ERR_INVALID: the path is there already; ERR_TOO_LARGE: it
// is too long, or one too many; ERR_NOMEM.
enum err file_set_add(struct file_set *s, const char *path, int fd, struct errmsg *msg) MUST_CHECK;

size_t file_set_count(const struct file_set *s);
// The ith, in the order in which they were added. Both stay the set's.
const char *file_set_path(const struct file_set *s, size_t i);
int file_set_descriptor(const struct file_set *s, size_t i);
// The path's; -1: it is not there.
int file_set_find(const struct file_set *s, const char *path);
// Whether something lies below it.
bool file_set_has_folder(const struct file_set *s, const char *path);

// On this thread from here on; NULL: the file system. Returns what was in use before.
const struct file_set *file_set_use(const struct file_set *s);
const struct file_set *file_set_in_use(void);

// Files that file.h's functions open on this thread from here on come into the set as well, each
// once: it is read from there when it is opened again. NULL: no longer. Returns what was recorded
// into before. Where a set is in use nothing is recorded.
struct file_set *file_set_record(struct file_set *s);
struct file_set *file_set_recorded(void);

#endif
