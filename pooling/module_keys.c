// See module_keys.h.
#include "pooling/module_keys.h"

static const struct key_rule module_path_list[] = {
    {.name = "path", KEY_STRING(struct module_said, path)},
};
const struct key_rules module_path_keys = {KEY_RULES(module_path_list), .apart = true};
static const struct key_rule module_list[] = {
    {.name = "type", KEY_STRING(struct module_said, type)},
    {.name = "idx", .fate = KEY_NO_EFFECT}, // the list's order counts
    {.name = "name", .fate = KEY_NO_EFFECT},
    {.name = "kwargs", .fate = KEY_NO_EFFECT}, // names of arguments that a caller may give
};
const struct key_rules module_list_keys = {KEY_RULES(module_list), &module_path_keys};

// Up to version 5: a flag for each mode.
static const struct key_rule pooling_flag_list[] = {
    {.name = "pooling_mode_cls_token", KEY_BOOL(struct pooling_said, flags[POOL_CLS], false)},
    {.name = "pooling_mode_max_tokens", KEY_BOOL(struct pooling_said, flags[POOL_MAX], false)},
    {.name = "pooling_mode_mean_tokens", KEY_BOOL(struct pooling_said, flags[POOL_MEAN], false)},
    {.name = "pooling_mode_mean_sqrt_len_tokens",
     KEY_BOOL(struct pooling_said, flags[POOL_MEAN_SQRT], false)},
    {.name = "pooling_mode_lasttoken", KEY_BOOL(struct pooling_said, flags[POOL_LAST], false)},
    {.name = "pooling_mode_weightedmean_tokens", .fate = KEY_REFUSED, .neutral = "false"},
};
const struct key_rules pooling_flag_keys = {KEY_RULES(pooling_flag_list), .apart = true};
static const struct key_rule pooling_list[] = {
    {.name = "embedding_dimension",
     .other = "word_embedding_dimension",
     KEY_COUNT(struct pooling_said, dim, MODULES_MAX_FEATURES, 0)},
    {.name = "include_prompt", KEY_BOOL(struct pooling_said, include_prompt, true)},
    {.name = "pooling_mode", KEY_NODE(struct pooling_said, mode)},
};
const struct key_rules pooling_keys = {KEY_RULES(pooling_list), &pooling_flag_keys};

// A module that reads or writes something else than the sentence's vector is another kind of model.
static const struct key_rule names_list[] = {
    {.name = "module_input_name", .fate = KEY_REFUSED, .neutral = "\"sentence_embedding\""},
    {.name = "module_output_name", .fate = KEY_REFUSED, .neutral = "\"sentence_embedding\""},
};
const struct key_rules module_normalize_keys = {KEY_RULES(names_list)};

static const struct key_rule dense_list[] = {
    {.name = "in_features", KEY_COUNT(struct module_dense_said, in, MODULES_MAX_FEATURES, 0)},
    {.name = "out_features", KEY_COUNT(struct module_dense_said, out, MODULES_MAX_FEATURES, 0)},
    {.name = "bias", KEY_BOOL(struct module_dense_said, bias, true)},
    {.name = "activation_function", KEY_STRING(struct module_dense_said, activation)},
    {.name = "use_residual", .fate = KEY_REFUSED, .neutral = "false"},
};
const struct key_rules module_dense_keys = {KEY_RULES(dense_list), &module_normalize_keys};

static const struct key_rule dropout_list[] = {{.name = "dropout", .fate = KEY_NO_EFFECT}};
const struct key_rules module_dropout_keys = {KEY_RULES(dropout_list)};

static const struct key_rule logit_score_list[] = {
    {.name = "true_token_id", KEY_INT(struct module_logit_score_said, yes, 0, INT32_MAX, -1)},
    {.name = "false_token_id", KEY_INT(struct module_logit_score_said, no, 0, INT32_MAX, -1)},
    {.name = "module_input_name", .fate = KEY_REFUSED, .neutral = "\"causal_logits\""},
};
const struct key_rules module_logit_score_keys = {KEY_RULES(logit_score_list)};
