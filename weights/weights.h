// The tensors of a model folder, opened and bounds-checked: model.safetensors, or
// model.safetensors.index.json with its shards. Role: finds tensors by name, checks dtype and
// shape, and keeps account of what was consumed, so that nothing is missing and nothing is left
// over unseen. It converts nothing; compute's weight_prepare copies what it needs, after which
// weights_close lets the files go.
// Source followed: the safetensors format description (huggingface/safetensors README).
// Thread rule: one thread.
#ifndef TRINE_WEIGHTS_WEIGHTS_H
#define TRINE_WEIGHTS_WEIGHTS_H

#include "base/err.h"
#include "compute/tensor.h"

#include <stdbool.h>

struct weights;

// ERR_NOT_FOUND, ERR_INVALID (FAULTS 46-48, 51, 57: file, tensor and cause in the message), ...
enum err weights_open(const char *folder, struct weights **out, struct errmsg *msg) MUST_CHECK;
void weights_close(struct weights *w); // NULL is fine

// Names are looked up with `prefix` before them when the file has it ("bert.", "distilbert."): the
// longest of the known prefixes under which `probe` is found; "" otherwise. Set once after open.
enum err weights_detect_prefix(struct weights *w, const char *const *prefixes, size_t n,
                               const char *probe, struct errmsg *msg) MUST_CHECK;

// The tensor prefix+name of exactly this shape and a float dtype, marked consumed. ERR_NOT_FOUND
// ("tensor 'x' is missing"), ERR_INVALID (shape: names both), ERR_UNSUPPORTED (dtype).
enum err weights_take(struct weights *w, const char *name, int rank, const size_t *shape,
                      struct tensor *out, struct errmsg *msg) MUST_CHECK;
// The same by the name alone: heads lie beside the "bert." prefix.
enum err weights_take_bare(struct weights *w, const char *name, int rank, const size_t *shape,
                           struct tensor *out, struct errmsg *msg) MUST_CHECK;

// ERR_INVALID naming the first tensor that was neither taken nor on the ignorable list (suffixes
// or prefixes; see take.c).
enum err weights_check_all_taken(const struct weights *w, struct errmsg *msg) MUST_CHECK;

// For inspect: every tensor in file order.
size_t weights_count(const struct weights *w);
struct tensor weights_at(const struct weights *w, size_t i);

#endif
