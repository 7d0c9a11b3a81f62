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
    struct tensor *tensors; // [count], in the header's order; their data points into the file
    size_t count;
    char *names; // what the tensors' names point into
};

// `label` (a path) begins every message. The bytes must outlive the views. Floats and integers of
// other widths than enum dtype has are refused by name; BOOL is read as U8.
// ERR_INVALID (FAULTS 46 to 49, 51), ERR_UNSUPPORTED (dtype, rank), ERR_NOMEM.
enum err safetensors_parse(const char *label, const void *bytes, size_t size,
                           struct safetensors *out, struct errmsg *msg) MUST_CHECK;
void safetensors_free(struct safetensors *s);

#endif
