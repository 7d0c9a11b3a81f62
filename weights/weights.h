// The tensors of a model, opened and bounds-checked: a folder's model.safetensors, or
// model.safetensors.index.json with its shards, or a .gguf file. Role: finds tensors by name,
// checks dtype and shape, and keeps account of what was consumed, so that nothing is missing and
// nothing is left over unseen. A GGUF file's tensors go by their Hugging Face names
// ("model.layers.0.mlp.up_proj.weight", "embeddings.LayerNorm.bias"), those that have none by
// their own. It converts nothing; compute's weight_prepare copies what it needs, after which
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
enum err weights_open(const char *path, struct weights **out, struct errmsg *msg) MUST_CHECK;
void weights_close(struct weights *w); // NULL is fine

// Names are looked up with `prefix` before them when the file has it ("bert.", "model."): the
// longest of the known prefixes under which `probe` is found; "" otherwise. Set once after open.
enum err weights_detect_prefix(struct weights *w, const char *const *prefixes, size_t n,
                               const char *probe, struct errmsg *msg) MUST_CHECK;

// The tensor prefix+name of exactly this shape and a float dtype, marked consumed; where it has two
// dimensions, a block type too (the shape counts values, not blocks). ERR_NOT_FOUND
// ("tensor 'x' is missing"), ERR_INVALID (shape: names both), ERR_UNSUPPORTED (dtype).
enum err weights_take(struct weights *w, const char *name, int rank, const size_t *shape,
                      struct tensor *out, struct errmsg *msg) MUST_CHECK;
// The same by the name alone: heads lie beside the "bert." prefix.
enum err weights_take_bare(struct weights *w, const char *name, int rank, const size_t *shape,
                           struct tensor *out, struct errmsg *msg) MUST_CHECK;

// Whether prefix+name or name alone is there.
bool weights_has(const struct weights *w, const char *name);
// Whether the rows of q and k stand so that a head's pairs for rope lie side by side (0 and 1, 2
// and 3, ...), as llama GGUF files have them; else half a head apart, as Hugging Face does.
bool weights_rope_interleaved(const struct weights *w);

// ERR_INVALID naming the first tensor that was neither taken nor on the ignorable list (suffixes
// or prefixes; see take.c).
enum err weights_check_all_taken(const struct weights *w, struct errmsg *msg) MUST_CHECK;

// The same for a checkpoint, as transformers takes one: tensors beside the architecture's own
// (heads of other tasks, what training kept) are left out and named in one line of the log. One
// that lies among its own (an adapter in a layer, a layer too many) is ERR_INVALID, and so is any
// of a GGUF file.
enum err weights_check_model(const struct weights *w, struct errmsg *msg) MUST_CHECK;

// The type that the most matrices have.
enum dtype weights_usual_dtype(const struct weights *w);

// For inspect: every tensor in file order.
size_t weights_count(const struct weights *w);
struct tensor weights_at(const struct weights *w, size_t i);

#endif
