// The header of one safetensors file: untrusted bytes to checked tensor views.
// Role: every field is checked here, once; what comes out may be read without another look. Knows
// no folders, no shards, no models.
// Source followed: the format description in huggingface/safetensors README, and its rule that the
// tensors' ranges tile the data without overlap or hole.
// Thread rule: pure functions.
#ifndef TRINE_WEIGHTS_SAFETENSORS_H
#define TRINE_WEIGHTS_SAFETENSORS_H

#include "base/err.h"
#include "compute/tensor.h"

struct safetensors {
    struct tensor *tensors; // [count], in the header's order; offset set, data and file NULL
    size_t count;
    char *names; // what the tensors' names point into
};

enum {
    SAFETENSORS_LENGTH_BYTES = 8,
    SAFETENSORS_FIRST_BYTES = 24, // or the whole file: what safetensors_header looks at
};

// From a file's first bytes and its size: *length is that of the JSON, which follows the 8 bytes of
// its length and lies whole within the file. ERR_INVALID.
enum err safetensors_header(const char *label, const char *bytes, size_t size, size_t *length,
                            struct errmsg *msg) MUST_CHECK;

// bytes: of the file's `size`, those up to the header's end. `label` (a path) begins every message.
// Floats and integers of other widths than enum dtype has are refused by name; BOOL is read as U8.
// ERR_INVALID (FAULTS 46 to 49, 51), ERR_UNSUPPORTED (dtype, rank), ERR_NOMEM.
enum err safetensors_parse(const char *label, const char *bytes, size_t size,
                           struct safetensors *out, struct errmsg *msg) MUST_CHECK;
void safetensors_free(struct safetensors *s);

#endif
