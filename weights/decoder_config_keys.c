// See decoder_config_internal.h: a decoder's keys. Source followed: transformers
// configuration_{qwen2,qwen3,llama,mistral}.py for what an absent key stands for.
#include "weights/config_keys.h"
#include "weights/decoder_config_internal.h"
#include "weights/gguf_rules.h"

// ---- rope ----

static const struct key_choice rope_types[] = {
    {"default", DECODER_ROPE_NONE},
    {"linear", DECODER_ROPE_LINEAR},
    {"llama3", DECODER_ROPE_LLAMA3},
    {"yarn", DECODER_ROPE_YARN},
    {NULL, 0},
};

// In config.json itself (transformers 4) and in rope_parameters (5).
static const struct key_rule turn_list[] = {
    {.name = "rope_theta",
     KEY_DOUBLE(struct decoder_config, rope.theta, DECODER_MIN_THETA, DECODER_MAX_THETA, 1e4)},
    {.name = "partial_rotary_factor", KEY_DOUBLE(struct decoder_said, rotary_share, 0, 1, 1)},
};
static const struct key_rule original_list[] = {
    {.name = "original_max_position_embeddings",
     KEY_COUNT(struct decoder_config, rope.original_max_positions, DECODER_MAX_POSITIONS, 0),
     .keep = true},
};
const struct key_rules decoder_rope_turn_keys = {KEY_RULES(turn_list), .apart = true};
const struct key_rules decoder_rope_original_keys = {KEY_RULES(original_list),
                                                     &decoder_rope_turn_keys, .apart = true};

// Of one type of scaling each.
static const struct key_rule yarn_list[] = {
    {.name = "beta_fast", KEY_DOUBLE(struct decoder_config, rope.beta_fast, 0, 1e6, 32)},
    {.name = "beta_slow", KEY_DOUBLE(struct decoder_config, rope.beta_slow, 0, 1e6, 1)},
    {.name = "attention_factor",
     KEY_DOUBLE(struct decoder_config, rope.attention_factor, 1e-6, 1e6, 0)},
    {.name = "mscale", KEY_DOUBLE(struct decoder_config, rope.mscale, 0, 1e6, 0)},
    {.name = "mscale_all_dim", KEY_DOUBLE(struct decoder_config, rope.mscale_all_dim, 0, 1e6, 0)},
    {.name = "truncate", KEY_BOOL(struct decoder_config, rope.truncate, true)},
};
static const struct key_rule llama3_list[] = {
    {.name = "low_freq_factor",
     KEY_DOUBLE(struct decoder_config, rope.low_freq_factor, 1e-6, 1e6, 0)},
    {.name = "high_freq_factor",
     KEY_DOUBLE(struct decoder_config, rope.high_freq_factor, 1e-6, 1e6, 0)},
};
static const struct key_rule factor_list[] = {
    {.name = "factor",
     KEY_DOUBLE(struct decoder_config, rope.factor, 1, DECODER_MAX_FACTOR, 0),
     .keep = true},
};
const struct key_rules decoder_rope_yarn_keys = {KEY_RULES(yarn_list), &decoder_rope_original_keys,
                                                 .apart = true};
const struct key_rules decoder_rope_llama3_keys = {KEY_RULES(llama3_list), &decoder_rope_yarn_keys,
                                                   .apart = true};
const struct key_rules decoder_rope_factor_keys = {KEY_RULES(factor_list),
                                                   &decoder_rope_llama3_keys, .apart = true};

// rope_scaling and rope_parameters.
static const struct key_rule rope_list[] = {
    {.name = "rope_type",
     .other = "type",
     KEY_CHOICE(struct decoder_config, rope.scaling, rope_types, DECODER_ROPE_NONE),
     .called = "rope type"},
    {.name = "mrope_section", .fate = KEY_REFUSED},
    {.name = "mrope_interleaved", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "long_factor", .fate = KEY_REFUSED},
    {.name = "short_factor", .fate = KEY_REFUSED},
    {.name = "llama_4_scaling_beta", .fate = KEY_REFUSED, .neutral = "0"},
};
const struct key_rules decoder_rope_keys = {KEY_RULES(rope_list), &decoder_rope_factor_keys};

// ---- config.json ----

static const struct key_choice activations[] = {{"silu", 0}, {"swish", 0}, {NULL, 0}};

// Multipliers, caps, norms and experts are keys of other architectures. Under these names they are
// meant to change the numbers, and so are refused rather than passed over.
static const struct key_rule decoder_list[] = {
    {.name = "hidden_size", KEY_COUNT(struct decoder_config, hidden, DECODER_MAX_HIDDEN, 4096)},
    {.name = "num_hidden_layers", KEY_COUNT(struct decoder_config, layers, DECODER_MAX_LAYERS, 32)},
    {.name = "num_attention_heads",
     KEY_COUNT(struct decoder_config, heads, DECODER_MAX_HIDDEN, 32)},
    {.name = "rms_norm_eps", KEY_FLOAT(struct decoder_config, norm_eps, 1e-30, 0.1, 1e-6)},
    {.name = "hidden_act", KEY_CHOICE(struct decoder_said, activation, activations, 0)},
    {.name = "tie_word_embeddings", KEY_BOOL(struct decoder_config, tied, false)},
    // some embedders: every token sees every other
    {.name = "is_causal", KEY_EXPECT(true, "a decoder that is not causal is not supported")},
    {.name = "rope_scaling",
     KEY_NODE(struct decoder_said, rope_scaling),
     .inner = &decoder_rope_keys},
    {.name = "rope_parameters",
     KEY_NODE(struct decoder_said, rope_parameters),
     .inner = &decoder_rope_keys},
    {.name = "eos_token_id", .fate = KEY_HONOURED},
    {.name = "is_decoder", .fate = KEY_NO_EFFECT},
    {.name = "attention_dropout", .fate = KEY_NO_EFFECT},
    {.name = "hidden_dropout*", .fate = KEY_NO_EFFECT},
    {.name = "resid_pdrop", .fate = KEY_NO_EFFECT},
    {.name = "embd_pdrop", .fate = KEY_NO_EFFECT},
    {.name = "attention_probs_dropout_prob", .fate = KEY_NO_EFFECT},
    {.name = "classifier_dropout", .fate = KEY_NO_EFFECT},
    {.name = "pretraining_tp", .fate = KEY_NO_EFFECT}, // the same sums in pieces
    {.name = "id2label", .fate = KEY_NO_EFFECT},       // of heads that are not served
    {.name = "label2id", .fate = KEY_NO_EFFECT},
    {.name = "num_labels", .fate = KEY_NO_EFFECT},
    {.name = "problem_type", .fate = KEY_NO_EFFECT},
    {.name = "sentence_transformers", .fate = KEY_NO_EFFECT},
    {.name = "is_llama_config", .fate = KEY_NO_EFFECT},
    {.name = "max_sequence_length", .fate = KEY_NO_EFFECT}, // LLaMA 1's, read by none
    {.name = "rope_interleaved", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "rope_interleave", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "rotary_pct", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "rotary_dim", .fate = KEY_REFUSED},
    {.name = "use_mrope", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "attn_logit_softcapping", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "final_logit_softcapping", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "logit_scale", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "logits_scaling", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "embedding_multiplier", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "residual_multiplier", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "attention_multiplier", .fate = KEY_REFUSED},
    {.name = "lm_head_multiplier", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "query_pre_attn_scalar", .fate = KEY_REFUSED},
    {.name = "scale_emb", .fate = KEY_REFUSED, .neutral = "1"},
    {.name = "scale_depth", .fate = KEY_REFUSED},
    {.name = "dim_model_base", .fate = KEY_REFUSED},
    {.name = "clip_qkv", .fate = KEY_REFUSED},
    {.name = "use_qk_norm", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "qk_layernorm", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "attention_out_bias", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "sliding_window_pattern", .fate = KEY_REFUSED},
    {.name = "no_rope_layers", .fate = KEY_REFUSED, .neutral = "[]"},
    {.name = "no_rope_layer_interval", .fate = KEY_REFUSED},
    {.name = "attention_chunk_size", .fate = KEY_REFUSED},
    {.name = "alibi", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "num_experts", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "num_local_experts", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "num_nextn_predict_layers", .fate = KEY_NO_EFFECT}, // drafts of the model's own
    {.name = "text_config", .fate = KEY_REFUSED},
    {.name = "vision_config", .fate = KEY_REFUSED},
    {.name = "adapters", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "prefix", .fate = KEY_REFUSED, .neutral = "\"\""}, // text before every prompt
};
// A chain of its own: in a dictionary of rope nothing follows these two.
static const struct key_rules turn = {KEY_RULES(turn_list), &config_keys_common, .apart = true};
static const struct key_rules original = {KEY_RULES(original_list), &turn, .apart = true};
static const struct key_rules decoder = {KEY_RULES(decoder_list), &original};

// What absent keys stand for differs. kv_heads 0: as many as heads; head_dim 0: hidden / heads.
#define SHAPES(vocab_, ffn_, kv_heads_, head_dim_, positions_)                                     \
    {.name = "vocab_size", KEY_COUNT(struct decoder_config, vocab, DECODER_MAX_VOCAB, vocab_)},    \
        {.name = "intermediate_size",                                                              \
         KEY_COUNT(struct decoder_config, ffn, DECODER_MAX_FFN, ffn_)},                            \
        {.name = "num_key_value_heads",                                                            \
         KEY_COUNT(struct decoder_config, kv_heads, DECODER_MAX_HIDDEN, kv_heads_),                \
         .null_is_zero = true},                                                                    \
        {.name = "head_dim",                                                                       \
         KEY_COUNT(struct decoder_config, head_dim, DECODER_MAX_HEAD_DIM, head_dim_)},             \
    {                                                                                              \
        .name = "max_position_embeddings",                                                         \
        KEY_COUNT(struct decoder_config, max_positions, DECODER_MAX_POSITIONS, positions_)         \
    }
#define SLIDING_WINDOW                                                                             \
    .name = "sliding_window", KEY_COUNT(struct decoder_config, window, INT32_MAX, 4096),           \
    .null_is_zero = true
#define LAYER_TYPES                                                                                \
    { .name = "layer_types", KEY_NODE(struct decoder_said, layer_types) }
#define IN_USE KEY_WHEN(struct decoder_said, uses_window)
#define QWEN_WINDOW                                                                                \
    {.name = "use_sliding_window", KEY_BOOL(struct decoder_said, uses_window, false)},             \
        {SLIDING_WINDOW, .when = IN_USE},                                                          \
        {.name = "max_window_layers",                                                              \
         KEY_COUNT_OR_ZERO(struct decoder_config, window_from, DECODER_MAX_LAYERS, 28),            \
         .when = IN_USE},                                                                          \
        LAYER_TYPES
#define ATTENTION_BIAS                                                                             \
    { .name = "attention_bias", KEY_BOOL(struct decoder_said, attention_bias, false) }

static const struct key_rule qwen2_list[] = {
    SHAPES(151936, 22016, 32, 0, 32768),
    QWEN_WINDOW,
    {.name = "attention_bias", .fate = KEY_REFUSED, .neutral = "true"}, // Qwen2's is fixed
    {.name = "qkv_bias", .fate = KEY_REFUSED, .neutral = "true"},
    {.name = "no_bias", .fate = KEY_REFUSED, .neutral = "true"}, // of all but q, k and v
    {.name = "mlp_bias", .fate = KEY_REFUSED, .neutral = "false"},
};
static const struct key_rules qwen2 = {KEY_RULES(qwen2_list), &decoder};

static const struct key_rule qwen3_list[] = {
    SHAPES(151936, 22016, 32, 128, 32768),
    QWEN_WINDOW,
    ATTENTION_BIAS,
    {.name = "use_qk_norm", .fate = KEY_REFUSED, .neutral = "true"},
    {.name = "qk_layernorm", .fate = KEY_REFUSED, .neutral = "true"},
    {.name = "mlp_bias", .fate = KEY_REFUSED, .neutral = "false"},
};
static const struct key_rules qwen3 = {KEY_RULES(qwen3_list), &decoder};

static const struct key_rule llama_list[] = {
    SHAPES(32000, 11008, 0, 0, 2048),
    ATTENTION_BIAS,
    {.name = "mlp_bias", KEY_BOOL(struct decoder_config, mlp_bias, false)},
    {.name = "sliding_window", .fate = KEY_NO_EFFECT}, // transformers' Llama reads none
    {.name = "use_sliding_window", .fate = KEY_NO_EFFECT},
    {.name = "max_window_layers", .fate = KEY_NO_EFFECT},
    {.name = "layer_types", .fate = KEY_NO_EFFECT},
};
static const struct key_rules llama = {KEY_RULES(llama_list), &decoder};

static const struct key_rule mistral_list[] = {
    SHAPES(32000, 14336, 8, 0, 131072),
    {SLIDING_WINDOW},
    // one that has them is a Ministral to transformers, which reads them
    LAYER_TYPES,
    {.name = "use_sliding_window", .fate = KEY_NO_EFFECT},
    {.name = "max_window_layers", .fate = KEY_NO_EFFECT},
    {.name = "attention_bias", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "mlp_bias", .fate = KEY_REFUSED, .neutral = "false"},
};
static const struct key_rules mistral = {KEY_RULES(mistral_list), &decoder};

const struct key_rules *decoder_config_keys(enum decoder_arch arch) {
    static const struct key_rules *const all[] = {[DECODER_ARCH_QWEN2] = &qwen2,
                                                  [DECODER_ARCH_QWEN3] = &qwen3,
                                                  [DECODER_ARCH_LLAMA] = &llama,
                                                  [DECODER_ARCH_MISTRAL] = &mistral};
    return all[arch];
}

// ---- GGUF ----

static const struct key_choice gguf_rope_types[] = {{"none", DECODER_GGUF_ROPE_NONE},
                                                    {"linear", DECODER_GGUF_ROPE_LINEAR},
                                                    {"yarn", DECODER_GGUF_ROPE_YARN},
                                                    {NULL, 0}};

static const struct key_rule gguf_yarn_list[] = {
    {.name = "rope.scaling.original_context_length",
     KEY_COUNT(struct decoder_config, rope.original_max_positions, DECODER_MAX_POSITIONS, 0),
     .keep = true},
    {.name = "rope.scaling.yarn_beta_fast",
     KEY_DOUBLE(struct decoder_config, rope.beta_fast, 1e-6, 1e6, 32)},
    {.name = "rope.scaling.yarn_beta_slow",
     KEY_DOUBLE(struct decoder_config, rope.beta_slow, 1e-6, 1e6, 1)},
    {.name = "rope.scaling.yarn_attn_factor",
     KEY_DOUBLE(struct decoder_config, rope.attention_factor, 1e-6, 1e6, 0)},
    {.name = "rope.scaling.yarn_ext_factor",
     KEY_DOUBLE(struct decoder_said, yarn_ext, -1e6, 1e6, 1)},
    {.name = "rope.scaling.attn_factor", KEY_DOUBLE(struct decoder_said, yarn_attn, -1e6, 1e6, 1)},
    {.name = "rope.scaling.yarn_log_multiplier",
     KEY_DOUBLE(struct decoder_said, yarn_log, -1e6, 1e6, 0)},
};
const struct key_rules decoder_config_gguf_yarn_keys = {KEY_RULES(gguf_yarn_list), &gguf_arch_keys,
                                                        .apart = true};

static const struct key_rule gguf_list[] = {
    GGUF_SHAPES(struct decoder_config, DECODER_MAX_HIDDEN, DECODER_MAX_LAYERS, DECODER_MAX_FFN,
                DECODER_MAX_POSITIONS),
    {.name = "attention.head_count_kv",
     KEY_COUNT(struct decoder_config, kv_heads, DECODER_MAX_HIDDEN, 0)},
    {.name = "attention.key_length",
     KEY_COUNT(struct decoder_config, head_dim, DECODER_MAX_HEAD_DIM, 0)},
    {.name = "attention.value_length",
     KEY_COUNT(struct decoder_said, value_dim, DECODER_MAX_HEAD_DIM, 0)},
    {.name = "rope.dimension_count",
     KEY_COUNT(struct decoder_said, rotated_dim, DECODER_MAX_HEAD_DIM, 0)},
    {.name = "attention.layer_norm_rms_epsilon",
     KEY_FLOAT(struct decoder_config, norm_eps, 1e-30, 0.1, 0),
     .required = true},
    {.name = "attention.layer_norm_epsilon", .fate = KEY_NO_EFFECT},
    {.name = "attention.causal", KEY_EXPECT(true, "a decoder that is not causal is not supported")},
    {.name = "attention.sliding_window*", .fate = KEY_NO_EFFECT}, // llama.cpp reads none of these
    {.name = "expert_count", KEY_EXPECT_ZERO("a mixture of experts is not supported")},
    {.name = "expert_*", .fate = KEY_NO_EFFECT}, // how a count above 0 is used
    {.name = "rope.freq_base",
     KEY_DOUBLE(struct decoder_config, rope.theta, DECODER_MIN_THETA, DECODER_MAX_THETA, 1e4)},
    // the older key, and the one that counts where both are there; 0 counts as absent
    {.name = "rope.scale_linear",
     KEY_DOUBLE(struct decoder_config, rope.factor, 0, DECODER_MAX_FACTOR, 0)},
    {.name = "rope.scaling.factor",
     KEY_DOUBLE(struct decoder_config, rope.factor, 0, DECODER_MAX_FACTOR, 0),
     .keep = true},
    {.name = "rope.scaling.type",
     KEY_CHOICE(struct decoder_said, gguf_rope, gguf_rope_types, DECODER_GGUF_ROPE_UNSAID)},
    {.name = "rope.scaling.finetuned", .fate = KEY_NO_EFFECT},
    {.name = "pooling_type", KEY_COUNT_OR_ZERO(struct decoder_said, pooling, INT32_MAX, 0)},
};
const struct key_rules decoder_config_gguf_keys = {KEY_RULES(gguf_list),
                                                   &decoder_config_gguf_yarn_keys};
