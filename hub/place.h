// Puts a pulled model's folder in its place. Role: the file system's half of a pull: lock, free
// space, staged files, and the swap. Thread rule: one owner, main's thread.
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

// Names the place of store/models/repo and creates nothing. ERR_NOMEM.
enum err hub_place_name(struct hub_place *place, const char *store, const char *repo,
                        struct errmsg *msg) MUST_CHECK;
// Makes parent and .part, and takes the lock. ERR_UNAVAILABLE: another pull of it runs.
enum err hub_place_open(struct hub_place *place, struct errmsg *msg) MUST_CHECK;
void hub_place_close(struct hub_place *place); // lets the lock go, frees the names

// Where a file is staged: named after its content, so that one of another revision is never taken
// for it. `partial`: while it is not whole. The caller's (mem_free); NULL when memory is out.
char *hub_place_staged(const struct hub_place *place, const struct hub_file *file, bool partial);

// Links (or copies, where links are not to be had) a file of the folder that stands.
enum err hub_place_link(const char *from, const char *to, struct errmsg *msg) MUST_CHECK;

// ERR_TOO_LARGE when fewer than `bytes` are free where the parts lie.
enum err hub_place_check_room(const struct hub_place *place, uint64_t bytes,
                              struct errmsg *msg) MUST_CHECK;

// Makes the folder of the staged files, with its record, and swaps it in; the old one is removed,
// and so is what was staged. ERR_IO: the old folder still stands.
enum err hub_place_commit(struct hub_place *place, const struct hub_files *files, const char *repo,
                          const char *revision, const char *commit, struct errmsg *msg) MUST_CHECK;

#endif
