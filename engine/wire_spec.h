// The messages that bring a model: FILES, its files as descriptors beside their names, then LOAD,
// what else a replica must know of it. See wire.h, whose rules hold here. Thread rule: pure
// functions.
#ifndef TRINE_ENGINE_WIRE_SPEC_H
#define TRINE_ENGINE_WIRE_SPEC_H

#include "engine/replica_spec.h"
#include "engine/wire.h"

// NUL included.
enum { WIRE_NAME_BYTES = 1024, WIRE_PATH_BYTES = 4096, WIRE_FILES_MOST = 1 << 12 };

// One FILES message. Path i is descriptor i of the message. As many messages as a model's files
// take, before its LOAD, which says how many files there were in all.
struct wire_files {
    uint64_t model;
    size_t count;
    const char *paths[CHANNEL_FDS];
    char text[CHANNEL_PAYLOAD_BYTES]; // of a read one: where the paths stand
};

// Writes the first of `count` paths, as many as fit into a message, and returns how many; 0: the
// first one alone does not.
size_t wire_write_files(struct pack_writer *w, uint64_t model, const char *const *paths,
                        size_t count);
// Paths are those of absolute files or such as the parent had them: any bytes but NUL.
enum err wire_read_files(const struct channel_message *m, struct wire_files *out,
                         struct errmsg *msg) MUST_CHECK;

struct wire_load {
    struct replica_spec spec; // its strings stand below; sources NULL
    size_t files;
    char name[WIRE_NAME_BYTES], path[WIRE_PATH_BYTES], files_path[WIRE_PATH_BYTES];
};
// ERR_TOO_LARGE: a name or path is longer than a worker takes.
enum err wire_write_load(struct pack_writer *w, const struct replica_spec *spec, size_t files,
                         struct errmsg *msg) MUST_CHECK;
enum err wire_read_load(const struct channel_message *m, struct wire_load *out,
                        struct errmsg *msg) MUST_CHECK;

#endif
