// The shapes and constants of a causal decoder, from config.json or a GGUF file's metadata, read
// once and range-checked. Role: Qwen2, Qwen3, Llama and Mistral as data over one forward pass.
// Both spellings of config.json (transformers 4: rope_theta + rope_scaling; 5: rope_parameters) are
// read. Thread rule: immutable after load.
#ifndef TRINE_WEIGHTS_DECODER_CONFIG_H
#define TRINE_WEIGHTS_DECODER_CONFIG_H

#include "base/err.h"
#include "base/json.h"
#include "weights/key_rules.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum decoder_arch {
    DECODER_ARCH_QWEN2,
    DECODER_ARCH_QWEN3,
    DECODER_ARCH_LLAMA,
    DECODER_ARCH_MISTRAL,
};

enum decoder_rope_scaling {
    DECODER_ROPE_NONE,
    DECODER_ROPE_LINEAR,
    DECODER_ROPE_LLAMA3,
    DECODER_ROPE_YARN
};

// Source followed: transformers modeling_rope_utils.py.
struct decoder_rope {
    double theta;
    enum decoder_rope_scaling scaling;
    double factor;
    double low_freq_factor, high_freq_factor; // llama3
    double beta_fast, beta_slow;              // yarn
    double attention_factor;       // yarn: multiplies cos and sin; 0: derived from factor
    double mscale, mscale_all_dim; // yarn, 0: absent
    bool truncate;                 // yarn: the correction range is rounded
    size_t original_max_positions;
};

struct decoder_config {
    enum decoder_arch arch;
    char architecture[64]; // "Qwen2ForCausalLM", or GGUF's "qwen2"
    bool causal_lm;        // has a language model head; else a base model (Qwen2Model): embeds only
    size_t hidden;         // D
    size_t layers;         // L
    size_t heads, kv_heads; // H, Hk (Hk divides H)
    size_t head_dim;        // hd, even
    size_t ffn;             // F
    size_t vocab;           // V
    size_t max_positions;   // the context, in tokens, rope scaling included
    float norm_eps;
    struct decoder_rope rope;
    bool qkv_bias, o_bias, mlp_bias;
    bool qk_norm;       // a norm over each head of q and of k
    bool tied;          // lm_head is the embedding table
    size_t window;      // sliding window in tokens; 0: none
    size_t window_from; // layers from this one on have it
};

// `path` is a folder or a .gguf file. ERR_NOT_FOUND, ERR_INVALID, ERR_UNSUPPORTED (architecture,
// activation, rope type: named, with what is supported), ERR_TOO_LARGE, ERR_IO, ERR_NOMEM.
enum err decoder_config_load(const char *path, struct decoder_config *out,
                             struct errmsg *msg) MUST_CHECK;
// config.json from memory (fuzzing); `name` begins the messages.
enum err decoder_config_parse(const char *name, const char *text, size_t len,
                              struct decoder_config *out, struct errmsg *msg) MUST_CHECK;

// The keys of config.json, but for config_keys_generation; of a GGUF file, without the
// architecture's name.
const struct key_rules *decoder_config_keys(enum decoder_arch arch);
extern const struct key_rules decoder_config_gguf_keys;
// The architecture that a parsed config.json names; false: none of these.
bool decoder_config_arch(const cJSON *root, enum decoder_arch *out);
// Whether the model at `path` is a decoder by its architecture's name. Anything unreadable is not.
bool decoder_config_is_decoder(const char *path);

// Whether its numbers are such as come from a file; for one that comes from elsewhere.
bool decoder_config_in_range(const struct decoder_config *c);

#endif
