// Pulls a model from the Hugging Face hub into the model store. Role: all that `trine pull` does,
// except for its command line. Only the files that a model needs are loaded (plan.h). Each is
// verified against the hash that the hub lists: SHA-256 for LFS files, git's blob SHA-1 for others.
// The model's folder appears, or is replaced, in one step when all files are there.
//
// While a pull runs, and after it was interrupted, these lie beside the folder `name`:
//   .name.lock  locked (fcntl) by the pull that runs
//   .name.part/ the files so far, named after their content: the next pull goes on with them
//   .name.new/  the new folder, just before it takes its place
//
// Environment: HF_ENDPOINT (https://huggingface.co), HF_TOKEN, HF_HUB_OFFLINE (1, ON, YES, TRUE: no
// connection is made, and what is there is checked), and libcurl's proxy variables.
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

// *folder (may be NULL) becomes the model's folder; the caller frees it (mem_free). A file that is
// there with the right content is not loaded again. .gguf files of earlier pulls stay.
// ERR_NOT_FOUND, ERR_UNSUPPORTED: the hub does not have it, or has nothing that can be used.
// ERR_INVALID: a bad name, or the hub says or sends something wrong. ERR_IO: network or disk.
// ERR_TOO_LARGE: the disk is too full. ERR_CANCELLED: stopped; the next pull goes on from there.
enum err hub_pull(const struct hub_options *options, char **folder, struct errmsg *msg) MUST_CHECK;

#endif
