// What decoder_config.c (config.json), decoder_config_gguf.c and their tables of keys
// (decoder_config_keys.c) share. Not for other rooms.
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

enum decoder_gguf_rope {
    DECODER_GGUF_ROPE_UNSAID,
    DECODER_GGUF_ROPE_NONE,
    DECODER_GGUF_ROPE_LINEAR,
    DECODER_GGUF_ROPE_YARN
};

// What a file's keys are read into: the configuration, and what only leads to it.
struct decoder_said {
    struct decoder_config config; // first: tables name its fields by their place in it
    // config.json
    const cJSON *rope_scaling, *rope_parameters, *layer_types;
    bool uses_window, attention_bias;
    int activation; // 0: SiLU, the only one
    double rotary_share;
    // GGUF
    size_t value_dim, rotated_dim, pooling;
    enum decoder_gguf_rope gguf_rope;
    double yarn_ext, yarn_attn, yarn_log;
};

// The tables that are read apart: where their keys stand, and when they count, is the reader's.
extern const struct key_rules decoder_rope_keys; // of a dictionary of rope
extern const struct key_rules decoder_rope_turn_keys, decoder_rope_original_keys;
extern const struct key_rules decoder_rope_factor_keys, decoder_rope_llama3_keys;
extern const struct key_rules decoder_rope_yarn_keys;
extern const struct key_rules decoder_config_gguf_yarn_keys;

// Fills out from a file that is open; out is zeroed before.
enum err decoder_config_read_gguf(const struct gguf *g, struct decoder_config *out,
                                  struct errmsg *msg) MUST_CHECK;
// Whether general.architecture names one of those.
bool decoder_config_is_gguf(const struct gguf *g);

// What both sources must hold to: what was not said is derived; and max_positions grows to what
// yarn stretches it to.
enum err decoder_config_finish(struct decoder_config *c, struct errmsg *msg) MUST_CHECK;

#endif
