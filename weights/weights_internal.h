// What weights.c (opening), weights_gguf.c (a GGUF file's names) and take.c (looking up) share. Not
// for other rooms.
#ifndef TRINE_WEIGHTS_WEIGHTS_INTERNAL_H
#define TRINE_WEIGHTS_WEIGHTS_INTERNAL_H

#include "base/file.h"
#include "weights/gguf.h"
#include "weights/safetensors.h"
#include "weights/weights.h"

enum { WEIGHTS_MAX_PREFIX = 32 };

struct weights_shard {
    char *path;                 // owned
    const char *name;           // path's last part
    struct file file;           // not open: the tensors lie in a GGUF file
    struct safetensors content; // whose tensors lie in file
};

struct weights_entry {
    struct tensor tensor;
    const struct weights_shard *shard;
    bool taken;
};

struct weights_named {
    const char *name; // the tensor's
    struct weights_entry *entry;
};

struct weights {
    char *path; // of the file or the index, for messages; owned
    struct weights_shard *shards;
    size_t shard_count;
    struct weights_entry *entries; // [count], in file order
    struct weights_named *sorted;  // [count], by name
    size_t count;
    char prefix[WEIGHTS_MAX_PREFIX]; // "" until detected

    struct gguf *gguf; // NULL: safetensors. Its one shard has a path and nothing else
    char *names;       // of a GGUF file's tensors, owned
    bool rope_interleaved;
};

// Fills w->entries from w->gguf. ERR_UNSUPPORTED (architecture), ERR_NOMEM.
enum err weights_list_gguf(struct weights *w, struct errmsg *msg) MUST_CHECK;

#endif
