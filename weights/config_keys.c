// See config_keys.h: what config.json has whatever the architecture.
#include "weights/config_keys.h"

#include "weights/architectures.h"

// Who saved a file, with what, and how it was trained.
static const struct key_rule common_list[] = {
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
const struct key_rules config_keys_common = {KEY_RULES(common_list), &architecture_keys};
