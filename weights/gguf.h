// A GGUF file (version 2 or 3): metadata and tensors, untrusted bytes to checked values.
// Role: every count, length and offset is checked against the bytes that remain before anything is
// allocated (FAULTS 56); what comes out may be read without another look. Knows no architectures.
// Source followed: the format description in ggml/docs/gguf.md of ggml-org/ggml.
// Thread rule: immutable after open.
#ifndef TRINE_WEIGHTS_GGUF_H
#define TRINE_WEIGHTS_GGUF_H

#include "base/err.h"
#include "compute/tensor.h"

struct gguf;

enum gguf_type { // as the file numbers them
    GGUF_U8 = 0,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
};

struct gguf_string {
    const char *bytes; // not NUL-terminated; borrowed from the gguf
    size_t len;
};

// An array's elements of one scalar or string type.
struct gguf_array {
    enum gguf_type type;
    size_t count;
    const struct gguf *owner;
    const void *data; // read with the functions below
};

// Reads the header and keeps the file open for the tensors. The first of several files that a model
// was cut into (split.count; X-00001-of-00003.gguf) stands for them all: the others are opened
// beside it, checked against it, and their tensors joined. ERR_NOT_FOUND, ERR_INVALID,
// ERR_UNSUPPORTED (version, big-endian, a tensor type: by name and number), ERR_NOMEM, ERR_IO.
enum err gguf_open(const char *path, struct gguf **out, struct errmsg *msg) MUST_CHECK;
// The same from memory (fuzzing): of a file of `size` bytes the first `len`, which hold the header.
enum err gguf_parse(const char *label, const char *bytes, size_t len, size_t size,
                    struct gguf **out, struct errmsg *msg) MUST_CHECK;
void gguf_close(struct gguf *g); // NULL is fine
const char *gguf_path(const struct gguf *g);
bool gguf_is_file(const char *path);       // a regular file that begins with the magic
bool gguf_is_later_part(const char *path); // by its name: of a split file, and not the first part
// The path of part i, from 1 on, where `first` is by its name the first part of a split file; false
// where it is not, or has no such part. *out is the caller's (mem_free), NULL when memory is out.
bool gguf_part_path(const char *first, size_t i, char **out);

// Typed metadata. Absent: `fallback` and ERR_OK. Another type or out of range: ERR_INVALID naming
// file and key. Integers of every width are read as one.
enum err gguf_get_int(const struct gguf *g, const char *key, int64_t min, int64_t max,
                      int64_t fallback, int64_t *out, struct errmsg *msg) MUST_CHECK;
enum err gguf_get_float(const struct gguf *g, const char *key, double fallback, double *out,
                        struct errmsg *msg) MUST_CHECK; // finite
enum err gguf_get_bool(const struct gguf *g, const char *key, bool fallback, bool *out,
                       struct errmsg *msg) MUST_CHECK;
// Absent: bytes NULL. Valid UTF-8 without NUL is checked.
enum err gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out,
                         struct errmsg *msg) MUST_CHECK;
// Absent: data NULL. type: GGUF_STRING or GGUF_I32 (any integer type).
enum err gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type,
                        struct gguf_array *out, struct errmsg *msg) MUST_CHECK;
bool gguf_has(const struct gguf *g, const char *key);
size_t gguf_key_count(const struct gguf *g);
struct gguf_string gguf_key_at(const struct gguf *g, size_t i); // in the order of their bytes

// i < count; constant time. A token's string may be any bytes.
struct gguf_string gguf_array_string(const struct gguf_array *a, size_t i);
int64_t gguf_array_int(const struct gguf_array *a, size_t i);

// The tensors, in file order; shape outermost first.
size_t gguf_tensor_count(const struct gguf *g);
struct tensor gguf_tensor_at(const struct gguf *g, size_t i);

#endif
