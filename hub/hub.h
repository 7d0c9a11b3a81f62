// Pulls a model from the Hugging Face hub into the model store. Role: what `trine pull` does, apart
// from its command line. Only the files a model needs come (hub_plan.h); each is verified against
// the hash that the hub lists, LFS files by sha256 and others by git's blob SHA-1; the model's
// folder appears, or is replaced, in one step when all are there.
//
// Beside the folder `name` lie, while a pull runs or was interrupted:
//   .name.lock  held (fcntl) by the pull that runs
//   .name.part/ what has come so far, named after its content: the next pull goes on with it
//   .name.new/  the folder being put together, just before it takes its place
//
// Environment: HF_ENDPOINT (https://huggingface.co), HF_TOKEN, HF_HUB_OFFLINE (1, ON, YES, TRUE:
// no connection is made, what is there is checked), and libcurl's proxy variables.
// Thread rule: from main, before other threads start; one pull at a time in a process.
#ifndef TRINE_HUB_HUB_H
#define TRINE_HUB_HUB_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>

struct hub_options {
    const char *repo;        // "org/name"
    const char *revision;    // branch, tag or commit; NULL: main
    const char *file;        // that file alone (a .gguf, say); NULL: a whole model
    const char *store;       // the store's root; NULL: store_root's
    bool quiet;              // nothing on progress_fd
    int progress_fd;         // 2
    const atomic_bool *stop; // set by a signal handler: ends the pull; may be NULL
};

// *folder (may be NULL) is the model's folder, the caller's (mem_free). A file that is there with
// the right content is not loaded again. .gguf files of earlier pulls stay.
// ERR_NOT_FOUND, ERR_UNSUPPORTED: the hub has no such thing, or nothing that can be used.
// ERR_INVALID: a bad name, or a hub that says or sends what is wrong. ERR_IO: network or disk.
// ERR_TOO_LARGE: the disk has not the room. ERR_CANCELLED: stopped; the next pull goes on from
// there.
enum err hub_pull(const struct hub_options *options, char **folder, struct errmsg *msg) MUST_CHECK;

#endif
