// What decoder_config.c (config.json) and decoder_config_gguf.c share. Not for other rooms.
#ifndef TRINE_WEIGHTS_DECODER_CONFIG_INTERNAL_H
#define TRINE_WEIGHTS_DECODER_CONFIG_INTERNAL_H

#include "weights/decoder_config.h"
#include "weights/gguf.h"

enum {
    // far above any model, low enough that no product of two overflows
    DECODER_MAX_HIDDEN = 1 << 16,
    DECODER_MAX_LAYERS = 1 << 10,
    DECODER_MAX_FFN = 1 << 20,
    DECODER_MAX_VOCAB = 1 << 24,
    DECODER_MAX_HEAD_DIM = 1 << 12,
    DECODER_MAX_POSITIONS = 1 << 24,
};
#define DECODER_MIN_THETA 1.5 // its logarithm is divided by
#define DECODER_MAX_THETA 1e15
#define DECODER_MAX_FACTOR 1e6

// Fills out from a file that is open; out is zeroed before.
enum err decoder_config_read_gguf(const struct gguf *g, struct decoder_config *out,
                                  struct errmsg *msg) MUST_CHECK;

// What both sources must hold to; and max_positions grows to what yarn stretches it to.
enum err decoder_config_finish(struct decoder_config *c, struct errmsg *msg) MUST_CHECK;

#endif
