// What gguf.c (the file and its metadata), gguf_tensors.c (the tensor list) and gguf_meta.c (typed
// values) share. Not for other rooms.
#ifndef TRINE_WEIGHTS_GGUF_INTERNAL_H
#define TRINE_WEIGHTS_GGUF_INTERNAL_H

#include "base/file.h"
#include "weights/gguf.h"

// One key and where its value lies in the header. Offsets, for the buffer moves while it grows.
struct gguf_value {
    size_t key_at, key_len;
    enum gguf_type type;
    enum gguf_type element; // of an array
    size_t count;           // of an array
    size_t at;              // the scalar, the string's length, or the array's first element
    uint32_t *strings;      // [count], owned: where an array's strings begin; NULL: another type
};

struct gguf {
    char *path;
    struct file file; // path NULL: from memory
    size_t size;      // of the file
    char *bytes;      // [len], owned: the file's beginning, at least the header
    size_t len;
    struct gguf_value *values; // [value_count], sorted by key
    size_t value_count;
    struct tensor *tensors; // [tensor_count]
    size_t tensor_count;
    char *names;         // what the tensors' names point into; a part's are the part's own
    struct gguf **parts; // [part_count] of a split file, but for the first, which is this one
    size_t part_count;
};

enum { GGUF_MAX_TENSORS = 1 << 17 };

// As gguf_open, of this file alone.
enum err gguf_open_one(const char *path, struct gguf **out, struct errmsg *msg) MUST_CHECK;
// Where the file is the first of several: opens the others and joins their tensors to its own.
// ERR_INVALID (another part was named, or what the parts say does not fit), ERR_NOT_FOUND.
enum err gguf_open_parts(struct gguf *g, struct errmsg *msg) MUST_CHECK;

// Reads on through the header; every step is checked against the bytes that the file has left.
struct gguf_cursor {
    struct gguf *g;
    size_t at;
    struct errmsg *msg;
};

// ERR_INVALID: the file ends before; ERR_IO, ERR_NOMEM.
enum err gguf_next_u32(struct gguf_cursor *c, uint32_t *out) MUST_CHECK;
enum err gguf_next_u64(struct gguf_cursor *c, uint64_t *out) MUST_CHECK;
// A length and that many bytes: *at is where they begin.
enum err gguf_next_string(struct gguf_cursor *c, size_t *at, size_t *len) MUST_CHECK;

// The tensor list, from the cursor to the header's end.
enum err gguf_read_tensors(struct gguf_cursor *c, size_t count) MUST_CHECK;

// Bytes of a scalar type; 0 for a string or an array.
size_t gguf_type_size(enum gguf_type type);
uint64_t gguf_load(const char *bytes, size_t n); // little endian

#endif
