// Binding: tensors of a file become weights of a device. Role: one way for encoder, decoder, heads
// and pooling modules. It takes tensors by name and shape (weights.h), joins those that are
// multiplied at once, has the device prepare them, and keeps account of what was made, so that one
// call frees it. Binding is a list of calls that stops at the first failure: after it every call
// does nothing and gives NULL, and `failed` says why. What is bound when it fails stays in the
// list, which its owner frees in any case.
// Thread rule: the device's driving thread.
#ifndef TRINE_WEIGHTS_BINDER_H
#define TRINE_WEIGHTS_BINDER_H

#include "compute/device.h"
#include "weights/weights.h"

// Weights of one device that one model owns; zeros at first.
struct weight_list {
    struct weight **items; // [count]
    size_t count, room;
};

void weight_list_free(struct weight_list *l, struct device *d); // empties it
size_t weight_list_bytes(const struct weight_list *l, const struct device *d);

enum { BINDER_MAX_PARTS = 3 };

struct binder {
    struct weights *from;
    struct device *device;
    struct weight_list *owned;  // remembers what is bound; NULL: it is the caller's
    struct precision precision; // of tables and linears; vectors are f32: they are small
    struct errmsg *msg;
    bool bare;         // names have no prefix: heads lie beside it
    const char *layer; // names are "<layer><layer_index>.<name>"; NULL: outside the layers
    size_t layer_index;
    enum err failed; // the first failure
};

// Names lack ".weight" and ".bias", which are appended.

// Names have this prefix where `probe` is there with it, else none (weights_detect_prefix).
void binder_find_prefix(struct binder *b, const char *prefix, const char *probe);
// The tensor name + suffix of exactly this shape, as weights_take; absent after a failure.
struct tensor binder_take(struct binder *b, const char *name, const char *suffix, int rank,
                          const size_t *shape);
// Has the device make one weight of parts that were taken.
struct weight *binder_prepare(struct binder *b, enum weight_kind kind,
                              const struct weight_part *parts, size_t n);

struct weight *binder_table(struct binder *b, const char *name, size_t rows, size_t cols);
struct weight *binder_vector(struct binder *b, const char *name, size_t n);
struct norm binder_norm(struct binder *b, const char *name, size_t n, float eps); // with its shift

struct binder_rows {
    const char *name;
    size_t out;
    size_t head_dim; // rows of heads of so many, in GGUF's order where the file has it; 0: none
};
// The linears named, BINDER_MAX_PARTS at most, stacked into one: each [out, in], with a bias [out]
// where `bias`.
struct weight *binder_linear(struct binder *b, const struct binder_rows *parts, size_t n, size_t in,
                             bool bias);

#endif
