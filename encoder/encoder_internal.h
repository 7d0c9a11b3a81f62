// What binding (bind.c) makes and the forward pass (encoder.c) reads. For encoder/ only.
#ifndef TRINE_ENCODER_ENCODER_INTERNAL_H
#define TRINE_ENCODER_ENCODER_INTERNAL_H

#include "encoder/encoder.h"
#include "weights/binder.h"

struct encoder_layer {
    struct weight *qkv;      // [3D, D] and bias
    struct weight *out;      // [D, D] and bias
    struct norm attend_norm; // [D]
    struct weight *up;       // [F, D] and bias
    struct weight *down;     // [D, F] and bias
    struct norm ffn_norm;    // [D]
};

struct encoder {
    struct device *device;
    size_t D, H, F, L; // the legend of compute/tensor.h
    enum activation activation;
    enum dtype activations;       // what a forward keeps its numbers in
    struct weight *words;         // [V, D]
    struct weight *positions;     // [max_positions, D]
    struct weight *types;         // [type_vocab, D]; NULL: none
    struct norm embed_norm;       // [D]
    struct encoder_layer *layers; // [L]
    struct weight *pooler;        // [D, D] and bias; NULL: none
    struct weight_list owned;     // every weight above, once
};

#endif
