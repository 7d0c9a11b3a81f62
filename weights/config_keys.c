// See config_keys.h: config.json.
#include "weights/config_keys.h"

// ---- of every architecture ----

// Who saved a file, with what, and how it was trained.
static const struct key_rule common_list[] = {
    {.name = "architectures", .fate = KEY_HONOURED},
    {.name = "model_type", .fate = KEY_HONOURED},
    {.name = "vocab_size", .fate = KEY_HONOURED},
    {.name = "max_position_embeddings", .fate = KEY_HONOURED},
    {.name = "_name_or_path", .fate = KEY_NO_EFFECT},
    {.name = "name_or_path", .fate = KEY_NO_EFFECT},
    {.name = "_commit_hash", .fate = KEY_NO_EFFECT},
    {.name = "transformers_version", .fate = KEY_NO_EFFECT},
    {.name = "transformers.js_config", .fate = KEY_NO_EFFECT},
    {.name = "auto_map", .fate = KEY_NO_EFFECT}, // code in the folder is never run
    {.name = "tokenizer_class", .fate = KEY_NO_EFFECT},
    {.name = "finetuning_task", .fate = KEY_NO_EFFECT},
    {.name = "task_specific_params", .fate = KEY_NO_EFFECT},
    {.name = "torch_dtype", .fate = KEY_NO_EFFECT}, // the tensors have their own
    {.name = "dtype", .fate = KEY_NO_EFFECT},
    {.name = "use_bfloat16", .fate = KEY_NO_EFFECT},
    {.name = "torchscript", .fate = KEY_NO_EFFECT},
    {.name = "tf_legacy_loss", .fate = KEY_NO_EFFECT},
    {.name = "initializer_range", .fate = KEY_NO_EFFECT},
    {.name = "gradient_checkpointing", .fate = KEY_NO_EFFECT},
    {.name = "chunk_size_feed_forward", .fate = KEY_NO_EFFECT}, // the same sums in pieces
    {.name = "output_*", .fate = KEY_NO_EFFECT},
    {.name = "return_*", .fate = KEY_NO_EFFECT},
    {.name = "function_to_apply",
     .fate = KEY_NO_EFFECT}, // transformers gets to it without labels only
    {.name = "use_cache", .fate = KEY_NO_EFFECT},
    {.name = "use_return_dict", .fate = KEY_NO_EFFECT},
    {.name = "use_flash_attn", .fate = KEY_NO_EFFECT},
    {.name = "_attn_implementation*", .fate = KEY_NO_EFFECT},
    {.name = "attn_implementation", .fate = KEY_NO_EFFECT},
    {.name = "_flash_attn_2_enabled", .fate = KEY_NO_EFFECT},
    {.name = "_experts_implementation*", .fate = KEY_NO_EFFECT},
    {.name = "bos_token_id", .fate = KEY_NO_EFFECT}, // the tokenizer says what stands where
    {.name = "pad_token_id", .fate = KEY_NO_EFFECT}, // nothing is padded
    {.name = "sep_token_id", .fate = KEY_NO_EFFECT},
    {.name = "cls_token_id", .fate = KEY_NO_EFFECT},
    {.name = "mask_token_id", .fate = KEY_NO_EFFECT},
    {.name = "unk_token_id", .fate = KEY_NO_EFFECT},
    {.name = "decoder_start_token_id", .fate = KEY_NO_EFFECT},
    {.name = "tie_encoder_decoder", .fate = KEY_NO_EFFECT},
    {.name = "tie_weights_", .fate = KEY_NO_EFFECT},
    {.name = "output_past", .fate = KEY_NO_EFFECT},
    {.name = "unsloth*", .fate = KEY_NO_EFFECT},
    {.name = "quantization_config", .fate = KEY_REFUSED},
    {.name = "quantization", .fate = KEY_REFUSED},
    {.name = "compression_config", .fate = KEY_REFUSED},
    {.name = "per_layer_config", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "pruned_heads", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "is_encoder_decoder", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "add_cross_attention", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "cross_attention_hidden_size", .fate = KEY_REFUSED},
};
static const struct key_rules common = {KEY_RULES(common_list)};

// ---- encoders ----

// What sentence-transformers keeps in the config of a CrossEncoder.
static const struct key_rule cross_encoder_list[] = {
    {.name = "activation_fn", .fate = KEY_HONOURED}, // trine rerank --native
    {.name = "version", .fate = KEY_NO_EFFECT},
};
static const struct key_rules cross_encoder = {KEY_RULES(cross_encoder_list)};

static const struct key_rule encoder_list[] = {
    {.name = "id2label", .fate = KEY_HONOURED},
    {.name = "num_labels", .fate = KEY_HONOURED},
    {.name = "problem_type", .fate = KEY_HONOURED},
    {.name = "sentence_transformers", .fate = KEY_HONOURED, .inner = &cross_encoder},
    {.name = "sbert_ce_default_activation_function", .fate = KEY_HONOURED},
    {.name = "label2id", .fate = KEY_NO_EFFECT}, // id2label the other way round
    {.name = "_num_labels", .fate = KEY_NO_EFFECT},
    {.name = "tie_word_embeddings", .fate = KEY_NO_EFFECT}, // of the heads of pretraining
    {.name = "prefix", .fate = KEY_NO_EFFECT},
    {.name = "eos_token_id", .fate = KEY_NO_EFFECT},
    {.name = "is_decoder", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "is_causal", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "alibi_starting_size", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "rope_*", .fate = KEY_REFUSED},
    {.name = "rotary_*", .fate = KEY_REFUSED, .neutral = "0|false"},
    {.name = "embedding_size", .fate = KEY_REFUSED}, // ELECTRA's and ALBERT's factors
    {.name = "num_hidden_groups", .fate = KEY_REFUSED},
    {.name = "adapters", .fate = KEY_REFUSED, .neutral = "{}"},
};
static const struct key_rules encoder = {KEY_RULES(encoder_list), &common};

static const struct key_rule bert_list[] = {
    {.name = "hidden_size", .fate = KEY_HONOURED},
    {.name = "num_hidden_layers", .fate = KEY_HONOURED},
    {.name = "num_attention_heads", .fate = KEY_HONOURED},
    {.name = "intermediate_size", .fate = KEY_HONOURED},
    {.name = "hidden_act", .fate = KEY_HONOURED},
    {.name = "layer_norm_eps", .fate = KEY_HONOURED},
    {.name = "type_vocab_size", .fate = KEY_HONOURED},
    {.name = "hidden_dropout_prob", .fate = KEY_NO_EFFECT},
    {.name = "attention_probs_dropout_prob", .fate = KEY_NO_EFFECT},
    {.name = "classifier_dropout", .fate = KEY_NO_EFFECT},
    {.name = "directionality", .fate = KEY_NO_EFFECT}, // Google's multilingual BERT has these
    {.name = "pooler_*", .fate = KEY_NO_EFFECT},
    {.name = "position_embedding_type", .fate = KEY_REFUSED, .neutral = "\"absolute\""},
};
static const struct key_rules bert = {KEY_RULES(bert_list), &encoder};

// The shapes have both spellings.
static const struct key_rule distilbert_list[] = {
    {.name = "dim", .fate = KEY_HONOURED},
    {.name = "hidden_size", .fate = KEY_HONOURED},
    {.name = "n_layers", .fate = KEY_HONOURED},
    {.name = "num_hidden_layers", .fate = KEY_HONOURED},
    {.name = "n_heads", .fate = KEY_HONOURED},
    {.name = "num_attention_heads", .fate = KEY_HONOURED},
    {.name = "hidden_dim", .fate = KEY_HONOURED},
    {.name = "activation", .fate = KEY_HONOURED},
    {.name = "dropout", .fate = KEY_NO_EFFECT},
    {.name = "attention_dropout", .fate = KEY_NO_EFFECT},
    {.name = "qa_dropout", .fate = KEY_NO_EFFECT},
    {.name = "seq_classif_dropout", .fate = KEY_NO_EFFECT},
    {.name = "sinusoidal_pos_embds",
     .fate = KEY_NO_EFFECT}, // how the table was made; it is a tensor
};
static const struct key_rules distilbert = {KEY_RULES(distilbert_list), &encoder};

const struct key_rules *config_keys_encoder(enum model_arch arch) {
    return arch == MODEL_ARCH_BERT ? &bert : &distilbert;
}

// ---- decoders ----

// rope_scaling and rope_parameters.
static const struct key_rule rope_list[] = {
    {.name = "rope_type", .fate = KEY_HONOURED},
    {.name = "type", .fate = KEY_HONOURED},
    {.name = "rope_theta", .fate = KEY_HONOURED},
    {.name = "factor", .fate = KEY_HONOURED},
    {.name = "low_freq_factor", .fate = KEY_HONOURED},
    {.name = "high_freq_factor", .fate = KEY_HONOURED},
    {.name = "beta_fast", .fate = KEY_HONOURED},
    {.name = "beta_slow", .fate = KEY_HONOURED},
    {.name = "attention_factor", .fate = KEY_HONOURED},
    {.name = "mscale", .fate = KEY_HONOURED},
    {.name = "mscale_all_dim", .fate = KEY_HONOURED},
    {.name = "truncate", .fate = KEY_HONOURED},
    {.name = "original_max_position_embeddings", .fate = KEY_HONOURED},
    {.name = "partial_rotary_factor", .fate = KEY_HONOURED},
    {.name = "mrope_section", .fate = KEY_REFUSED},
    {.name = "mrope_interleaved", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "long_factor", .fate = KEY_REFUSED},
    {.name = "short_factor", .fate = KEY_REFUSED},
    {.name = "llama_4_scaling_beta", .fate = KEY_REFUSED, .neutral = "0"},
};
static const struct key_rules rope = {KEY_RULES(rope_list)};

// Multipliers, caps, norms and experts are keys of other architectures. Under these names they are
// meant to change the numbers, and so are refused rather than passed over.
static const struct key_rule decoder_list[] = {
    {.name = "hidden_size", .fate = KEY_HONOURED},
    {.name = "intermediate_size", .fate = KEY_HONOURED},
    {.name = "num_hidden_layers", .fate = KEY_HONOURED},
    {.name = "num_attention_heads", .fate = KEY_HONOURED},
    {.name = "num_key_value_heads", .fate = KEY_HONOURED},
    {.name = "head_dim", .fate = KEY_HONOURED},
    {.name = "hidden_act", .fate = KEY_HONOURED},
    {.name = "rms_norm_eps", .fate = KEY_HONOURED},
    {.name = "tie_word_embeddings", .fate = KEY_HONOURED},
    {.name = "rope_theta", .fate = KEY_HONOURED},
    {.name = "rope_scaling", .fate = KEY_HONOURED, .inner = &rope},
    {.name = "rope_parameters", .fate = KEY_HONOURED, .inner = &rope},
    {.name = "original_max_position_embeddings", .fate = KEY_HONOURED},
    {.name = "partial_rotary_factor", .fate = KEY_HONOURED},
    {.name = "is_causal", .fate = KEY_HONOURED},
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
static const struct key_rules decoder = {KEY_RULES(decoder_list), &common};

static const struct key_rule qwen2_list[] = {
    {.name = "use_sliding_window", .fate = KEY_HONOURED},
    {.name = "sliding_window", .fate = KEY_HONOURED},
    {.name = "max_window_layers", .fate = KEY_HONOURED},
    {.name = "layer_types", .fate = KEY_HONOURED},
    {.name = "attention_bias", .fate = KEY_REFUSED, .neutral = "true"}, // Qwen2's is fixed
    {.name = "qkv_bias", .fate = KEY_REFUSED, .neutral = "true"},
    {.name = "no_bias", .fate = KEY_REFUSED, .neutral = "true"}, // of all but q, k and v
    {.name = "mlp_bias", .fate = KEY_REFUSED, .neutral = "false"},
};
static const struct key_rules qwen2 = {KEY_RULES(qwen2_list), &decoder};

static const struct key_rule qwen3_list[] = {
    {.name = "use_sliding_window", .fate = KEY_HONOURED},
    {.name = "sliding_window", .fate = KEY_HONOURED},
    {.name = "max_window_layers", .fate = KEY_HONOURED},
    {.name = "layer_types", .fate = KEY_HONOURED},
    {.name = "attention_bias", .fate = KEY_HONOURED},
    {.name = "use_qk_norm", .fate = KEY_REFUSED, .neutral = "true"},
    {.name = "qk_layernorm", .fate = KEY_REFUSED, .neutral = "true"},
    {.name = "mlp_bias", .fate = KEY_REFUSED, .neutral = "false"},
};
static const struct key_rules qwen3 = {KEY_RULES(qwen3_list), &decoder};

static const struct key_rule llama_list[] = {
    {.name = "attention_bias", .fate = KEY_HONOURED},
    {.name = "mlp_bias", .fate = KEY_HONOURED},
    {.name = "sliding_window", .fate = KEY_NO_EFFECT}, // transformers' Llama reads none
    {.name = "use_sliding_window", .fate = KEY_NO_EFFECT},
    {.name = "max_window_layers", .fate = KEY_NO_EFFECT},
    {.name = "layer_types", .fate = KEY_NO_EFFECT},
};
static const struct key_rules llama = {KEY_RULES(llama_list), &decoder};

static const struct key_rule mistral_list[] = {
    {.name = "sliding_window", .fate = KEY_HONOURED},
    {.name = "layer_types", .fate = KEY_HONOURED},
    {.name = "use_sliding_window", .fate = KEY_NO_EFFECT},
    {.name = "max_window_layers", .fate = KEY_NO_EFFECT},
    {.name = "attention_bias", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "mlp_bias", .fate = KEY_REFUSED, .neutral = "false"},
};
static const struct key_rules mistral = {KEY_RULES(mistral_list), &decoder};

const struct key_rules *config_keys_of(const cJSON *root) {
    enum model_arch encoder_arch;
    enum decoder_arch decoder_arch;
    if (model_config_arch(root, &encoder_arch))
        return config_keys_encoder(encoder_arch);
    return decoder_config_arch(root, &decoder_arch) ? config_keys_decoder(decoder_arch) : NULL;
}

const struct key_rules *config_keys_decoder(enum decoder_arch arch) {
    switch (arch) {
    case DECODER_ARCH_QWEN2:
        return &qwen2;
    case DECODER_ARCH_QWEN3:
        return &qwen3;
    case DECODER_ARCH_LLAMA:
        return &llama;
    case DECODER_ARCH_MISTRAL:
        break;
    }
    return &mistral;
}
