// Puts a pulled model's folder in its place. Role: the file system's part of a pull: the lock, the
// free space, the staged files and the swap. Thread rule: one owner, main's thread.
#ifndef TRINE_HUB_PLACE_H
#define TRINE_HUB_PLACE_H

#include "base/err.h"
#include "hub/plan.h"
#include "hub/record.h"

struct hub_place {
    char *folder, *parent; // <parent>/name and the folder it lies in
    char *part, *fresh;    // <parent>/.name.part and .name.new
    char *lock_path;
    int lock; // -1: not held
};

// Works out where store/models/repo lies; creates nothing. ERR_NOMEM.
enum err hub_place_name(struct hub_place *place, const char *store, const char *repo,
                        struct errmsg *msg) MUST_CHECK;
// Makes parent and .part, and takes the lock. ERR_UNAVAILABLE: another pull of it runs.
enum err hub_place_open(struct hub_place *place, struct errmsg *msg) MUST_CHECK;
void hub_place_close(struct hub_place *place); // lets the lock go, frees the names

// Where a file is staged: its name is its content's hash, so that a file of another revision is
// never taken for it. `partial`: while it is not whole. The caller frees the path (mem_free); NULL
// when memory is out.
char *hub_place_staged(const struct hub_place *place, const struct hub_file *file, bool partial);

// Stages a file of the present folder: as a link, or as a copy where links do not work.
enum err hub_place_link(const char *from, const char *to, struct errmsg *msg) MUST_CHECK;

// ERR_TOO_LARGE when the disk of the staged files has fewer than `bytes` free.
enum err hub_place_check_room(const struct hub_place *place, uint64_t bytes,
                              struct errmsg *msg) MUST_CHECK;

// Makes a folder of the staged files and the record, and swaps it in. Removes the old folder and
// the staged files. ERR_IO: the old folder is still there.
enum err hub_place_commit(struct hub_place *place, const struct hub_files *files, const char *repo,
                          const char *revision, const char *commit, struct errmsg *msg) MUST_CHECK;

#endif
