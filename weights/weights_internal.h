// What weights.c (opening) and take.c (looking up) share. Not for other rooms.
#ifndef TRINE_WEIGHTS_WEIGHTS_INTERNAL_H
#define TRINE_WEIGHTS_WEIGHTS_INTERNAL_H

#include "base/file.h"
#include "weights/safetensors.h"
#include "weights/weights.h"

enum { WEIGHTS_MAX_PREFIX = 32 };

struct shard {
    char *path;       // owned
    const char *name; // path's last part
    struct file file;
    struct safetensors content; // whose tensors lie in file
};

struct entry {
    struct tensor tensor;
    const struct shard *shard;
    bool taken;
};

struct named {
    const char *name; // the tensor's
    struct entry *entry;
};

struct weights {
    char *path; // of the file or the index, for messages; owned
    struct shard *shards;
    size_t shard_count;
    struct entry *entries; // [count], in file order
    struct named *sorted;  // [count], by name
    size_t count;
    char prefix[WEIGHTS_MAX_PREFIX]; // "" until detected
};

#endif
