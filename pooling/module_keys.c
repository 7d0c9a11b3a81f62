// See module_keys.h.
#include "pooling/module_keys.h"

static const struct key_rule module_list[] = {
    {.name = "type", .fate = KEY_HONOURED},
    {.name = "path", .fate = KEY_HONOURED},
    {.name = "idx", .fate = KEY_NO_EFFECT}, // the list's order counts
    {.name = "name", .fate = KEY_NO_EFFECT},
    {.name = "kwargs", .fate = KEY_NO_EFFECT}, // names of arguments that a caller may give
};
const struct key_rules module_list_keys = {KEY_RULES(module_list)};

static const struct key_rule pooling_list[] = {
    {.name = "embedding_dimension", .fate = KEY_HONOURED},
    {.name = "word_embedding_dimension", .fate = KEY_HONOURED},
    {.name = "include_prompt", .fate = KEY_HONOURED},
    {.name = "pooling_mode", .fate = KEY_HONOURED},
    {.name = "pooling_mode_cls_token", .fate = KEY_HONOURED},
    {.name = "pooling_mode_max_tokens", .fate = KEY_HONOURED},
    {.name = "pooling_mode_mean_tokens", .fate = KEY_HONOURED},
    {.name = "pooling_mode_mean_sqrt_len_tokens", .fate = KEY_HONOURED},
    {.name = "pooling_mode_lasttoken", .fate = KEY_HONOURED},
    {.name = "pooling_mode_weightedmean_tokens", .fate = KEY_REFUSED, .neutral = "false"},
};
const struct key_rules pooling_keys = {KEY_RULES(pooling_list)};

// A module that reads or writes something else than the sentence's vector is another kind of model.
static const struct key_rule names_list[] = {
    {.name = "module_input_name", .fate = KEY_REFUSED, .neutral = "\"sentence_embedding\""},
    {.name = "module_output_name", .fate = KEY_REFUSED, .neutral = "\"sentence_embedding\""},
};
const struct key_rules module_normalize_keys = {KEY_RULES(names_list)};

static const struct key_rule dense_list[] = {
    {.name = "in_features", .fate = KEY_HONOURED},
    {.name = "out_features", .fate = KEY_HONOURED},
    {.name = "bias", .fate = KEY_HONOURED},
    {.name = "activation_function", .fate = KEY_HONOURED},
    {.name = "use_residual", .fate = KEY_REFUSED, .neutral = "false"},
};
const struct key_rules module_dense_keys = {KEY_RULES(dense_list), &module_normalize_keys};

static const struct key_rule dropout_list[] = {{.name = "dropout", .fate = KEY_NO_EFFECT}};
const struct key_rules module_dropout_keys = {KEY_RULES(dropout_list)};

static const struct key_rule logit_score_list[] = {
    {.name = "true_token_id", .fate = KEY_HONOURED},
    {.name = "false_token_id", .fate = KEY_HONOURED},
    {.name = "module_input_name", .fate = KEY_REFUSED, .neutral = "\"causal_logits\""},
};
const struct key_rules module_logit_score_keys = {KEY_RULES(logit_score_list)};
