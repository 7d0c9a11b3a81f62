// See config_keys.h: the files beside config.json.
#include "weights/config_keys.h"
#include "weights/generation_config_internal.h"
#include "weights/st_config_internal.h"

// Source followed: transformers generation/configuration_utils.py. Beams, contrastive search,
// n-gram bans and token lists would change the text; what is measured, printed or cached does not.
// Lengths are the request's.
#define SAMPLING(field, min, max) KEY_FLOAT(struct generation_said, config.field, min, max, 0)
#define GENERATION_KEYS(HONOURED, IDLE, REFUSED)                                                   \
    HONOURED("temperature", SAMPLING(temperature, 0, 1000), .keep = true)                          \
    HONOURED("top_p", SAMPLING(top_p, 0, 1), .keep = true)                                         \
    HONOURED("min_p", SAMPLING(min_p, 0, 1), .keep = true)                                         \
    HONOURED("repetition_penalty", SAMPLING(repetition_penalty, 1e-3, 1e3), .keep = true)          \
    HONOURED("top_k", KEY_INT(struct generation_said, config.top_k, 0, INT32_MAX, -1))             \
    HONOURED("do_sample", KEY_BOOL(struct generation_said, sample, true))                          \
    IDLE("bos_token_id")                                                                           \
    IDLE("pad_token_id")                                                                           \
    IDLE("decoder_start_token_id")                                                                 \
    IDLE("max_length")                                                                             \
    IDLE("max_new_tokens")                                                                         \
    IDLE("max_time")                                                                               \
    IDLE("early_stopping")                                                                         \
    IDLE("length_penalty")                                                                         \
    IDLE("num_return_sequences")                                                                   \
    IDLE("use_cache")                                                                              \
    IDLE("use_mtp")                                                                                \
    IDLE("cache_implementation")                                                                   \
    IDLE("cache_config")                                                                           \
    IDLE("max_cache_len")                                                                          \
    IDLE("low_memory")                                                                             \
    IDLE("prefill_chunk_size")                                                                     \
    IDLE("compile_config")                                                                         \
    IDLE("disable_compile")                                                                        \
    IDLE("continuous_batching_config")                                                             \
    IDLE("output_attentions")                                                                      \
    IDLE("output_hidden_states")                                                                   \
    IDLE("output_scores")                                                                          \
    IDLE("output_logits")                                                                          \
    IDLE("return_dict_in_generate")                                                                \
    IDLE("return_legacy_cache")                                                                    \
    IDLE("encoder_repetition_penalty")                                                             \
    IDLE("encoder_no_repeat_ngram_size")                                                           \
    IDLE("is_assistant")                                                                           \
    IDLE("num_assistant_tokens")                                                                   \
    IDLE("num_assistant_tokens_schedule")                                                          \
    IDLE("assistant_*")                                                                            \
    IDLE("target_lookbehind")                                                                      \
    IDLE("speculation_type")                                                                       \
    IDLE("prompt_lookup_num_tokens")                                                               \
    IDLE("max_matching_ngram_size")                                                                \
    IDLE("renormalize_logits")                                                                     \
    IDLE("remove_invalid_values")                                                                  \
    IDLE("_from_model_config")                                                                     \
    IDLE("_commit_hash")                                                                           \
    IDLE("transformers_version")                                                                   \
    REFUSED("min_length", "0")                                                                     \
    REFUSED("min_new_tokens", "0")                                                                 \
    REFUSED("stop_strings", "[]|\"\"")                                                             \
    REFUSED("num_beams", "1")                                                                      \
    REFUSED("num_beam_groups", "1")                                                                \
    REFUSED("diversity_penalty", "0")                                                              \
    REFUSED("penalty_alpha", "0")                                                                  \
    REFUSED("dola_layers", "[]")                                                                   \
    REFUSED("top_h", "1")                                                                          \
    REFUSED("typical_p", "1")                                                                      \
    REFUSED("epsilon_cutoff", "0")                                                                 \
    REFUSED("eta_cutoff", "0")                                                                     \
    REFUSED("no_repeat_ngram_size", "0")                                                           \
    REFUSED("bad_words_ids", "[]")                                                                 \
    REFUSED("force_words_ids", "[]")                                                               \
    REFUSED("constraints", "[]")                                                                   \
    REFUSED("suppress_tokens", "[]")                                                               \
    REFUSED("begin_suppress_tokens", "[]")                                                         \
    REFUSED("forced_bos_token_id", NULL)                                                           \
    REFUSED("forced_eos_token_id", NULL)                                                           \
    REFUSED("forced_decoder_ids", "[]")                                                            \
    REFUSED("force_bos_token_to_be_generated", "false")                                            \
    REFUSED("exponential_decay_length_penalty", "[]")                                              \
    REFUSED("sequence_bias", "[]|{}")                                                              \
    REFUSED("token_healing", "false")                                                              \
    REFUSED("guidance_scale", "1")                                                                 \
    REFUSED("watermarking_config", "{}")                                                           \
    REFUSED("frequency_penalty", "0")                                                              \
    REFUSED("presence_penalty", "0")

#define ONE_HONOURED(key, ...) {.name = (key), __VA_ARGS__},
#define ONE_IDLE(key) {.name = (key), .fate = KEY_NO_EFFECT},
#define HONOURED_IDLE(key, ...) ONE_IDLE(key)
#define ONE_REFUSED(key, passes) {.name = (key), .fate = KEY_REFUSED, .neutral = (passes)},
#define REFUSED_IDLE(key, passes) ONE_IDLE(key)

// Read of config.json too, in any case.
static const struct key_rule generation_eos_list[] = {
    {.name = "eos_token_id", KEY_NODE(struct generation_said, eos)},
};
const struct key_rules config_keys_generation_eos = {KEY_RULES(generation_eos_list), .apart = true};
static const struct key_rule generation_list[] = {
    GENERATION_KEYS(ONE_HONOURED, ONE_IDLE, ONE_REFUSED)};
static const struct key_rule generation_idle_list[] = {
    GENERATION_KEYS(HONOURED_IDLE, ONE_IDLE, REFUSED_IDLE)};
const struct key_rules config_keys_generation = {KEY_RULES(generation_list),
                                                 &config_keys_generation_eos};
const struct key_rules config_keys_generation_idle = {KEY_RULES(generation_idle_list)};

// Versions 5.4 and 6 name what the module is made of; the text's way through it is the same.
static const struct key_rule method_list[] = {
    {.name = "method", .fate = KEY_REFUSED, .neutral = "\"forward\""},
    {.name = "method_output_name",
     .fate = KEY_REFUSED,
     .neutral = "\"last_hidden_state\"|\"logits\"|\"token_embeddings\""},
    {.name = "format", .fate = KEY_NO_EFFECT},
};
static const struct key_rules method = {KEY_RULES(method_list)};
static const struct key_rule modality_list[] = {
    {.name = "text", .fate = KEY_NO_EFFECT, .inner = &method},
    {.name = "message", .fate = KEY_NO_EFFECT},
};
static const struct key_rules modality = {KEY_RULES(modality_list)};

static const struct key_rule chat_template_list[] = {
    {.name = "chat_template", KEY_NODE(struct generation_said, chat_template)},
};
const struct key_rules config_keys_chat_template = {KEY_RULES(chat_template_list)};

static const struct key_rule sentence_bert_list[] = {
    {.name = "max_seq_length", KEY_COUNT(struct st_said, max_length, ST_MAX_LENGTH, 0)},
    {.name = "do_lower_case", .fate = KEY_HONOURED}, // by tokenizer/tokenizer_config.c
    {.name = "transformer_task",
     .fate = KEY_REFUSED,
     .neutral = "\"feature-extraction\"|\"sequence-classification\"|\"text-generation\""},
    {.name = "modality_config", .fate = KEY_NO_EFFECT, .inner = &modality},
    {.name = "module_output_name",
     .fate = KEY_REFUSED,
     .neutral = "\"token_embeddings\"|\"scores\"|\"causal_logits\""},
    {.name = "processing_kwargs", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "unpad_inputs", .fate = KEY_NO_EFFECT},
    {.name = "query_length", .fate = KEY_REFUSED},
    {.name = "document_length", .fate = KEY_REFUSED},
    {.name = "query_expansion", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "tokenizer_name_or_path", .fate = KEY_REFUSED},
    {.name = "model_args", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "tokenizer_args", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "config_args", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "model_kwargs", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "processor_kwargs", .fate = KEY_REFUSED, .neutral = "{}"},
    {.name = "config_kwargs", .fate = KEY_REFUSED, .neutral = "{}"},
};
const struct key_rules config_keys_sentence_bert = {KEY_RULES(sentence_bert_list)};

static const struct key_rule sentence_transformers_list[] = {
    {.name = "prompts", KEY_NODE(struct st_said, prompts)},
    {.name = "default_prompt_name", KEY_STRING(struct st_said, default_prompt)},
    {.name = "similarity_fn_name", KEY_STRING(struct st_said, similarity)},
    {.name = "activation_fn", KEY_STRING(struct st_said, activation)}, // trine rerank --native
    {.name = "model_type",
     .fate = KEY_REFUSED,
     .neutral = "\"SentenceTransformer\"|\"CrossEncoder\"",
     KEY_PASSED_STRING(struct st_said, type)},
    {.name = "requirements", .fate = KEY_NO_EFFECT}, // packages of Python
    {.name = "__version__", .fate = KEY_NO_EFFECT},
    {.name = "truncate_dim", .fate = KEY_REFUSED},
    {.name = "keep_in_fp32_modules", .fate = KEY_NO_EFFECT}, // everything is computed in f32
};
const struct key_rules config_keys_sentence_transformers = {KEY_RULES(sentence_transformers_list)};
