// What binding (bind.c) makes and the forward pass (decoder.c) reads. For decoder/ only.
#ifndef TRINE_DECODER_DECODER_INTERNAL_H
#define TRINE_DECODER_DECODER_INTERNAL_H

#include "decoder/decoder.h"
#include "weights/binder.h"

struct decoder_layer {
    struct weight *attend_norm;     // [D]
    struct weight *qkv;             // [(H + 2 Hk)*hd, D]
    struct weight *q_norm, *k_norm; // [hd]; NULL: none
    struct weight *out;             // [D, H*hd]
    struct weight *ffn_norm;        // [D]
    struct weight *gate_up;         // [2F, D]
    struct weight *down;            // [D, F]
};

struct decoder {
    struct device *device;
    struct decoder_config config;
    enum dtype activations;       // what a forward keeps its numbers in
    struct weight *embed;         // [V, D]
    struct decoder_layer *layers; // [L]
    struct weight *norm;          // [D]
    struct weight *head;          // [V, D]; the same as embed where tied; NULL: a base model
    float *inv_freq;              // [hd/2]
    float rope_scale;             // of cosines and sines
    struct weight_list owned;     // every weight above, once
};

#endif
