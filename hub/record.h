// .trine-pull.json: what a model's folder was made from. Role: lets a second pull see that
// everything is there without a download, and mostly without reading the files. It is a note; it
// proves nothing against someone who can write to the folder.
// Thread rule: one owner.
#ifndef TRINE_HUB_RECORD_H
#define TRINE_HUB_RECORD_H

#include "base/err.h"
#include "hub/plan.h"

#define HUB_RECORD_FILE ".trine-pull.json"

struct hub_record {
    char *revision;         // as it was asked for; NULL: not from the hub
    char commit[41];        // "" : not from the hub
    struct hub_files files; // in a package's record all hashes are sha256
    char (*mtimes)[40];     // [files.count] "seconds.nanoseconds", "" when not recorded; owned
};

// A folder without a record, or with one that cannot be read, gives an empty record and ERR_OK: all
// files are then checked anew. ERR_NOMEM.
enum err hub_record_read(const char *folder, struct hub_record *out, struct errmsg *msg) MUST_CHECK;
// Writes the record with the files' times as they are now.
enum err hub_record_write(const char *folder, const char *repo, const char *revision,
                          const char *commit, const struct hub_files *files,
                          struct errmsg *msg) MUST_CHECK;
void hub_record_free(struct hub_record *r);

// Sets *same to whether folder/file->name has that content. Quick when the record lists that hash
// and the file's size and time have not changed since; otherwise the file is read.
enum err hub_record_check(const struct hub_record *r, const char *folder,
                          const struct hub_file *file, bool *same, struct errmsg *msg) MUST_CHECK;

#endif
