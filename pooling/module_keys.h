// The keys of modules.json and of the modules' own config.json, as rules (weights/key_rules.h).
// Role: tables only; read by modules.c. Source followed: sentence_transformers base/model.py,
// sentence_transformer/modules/pooling.py, base/modules/{dense,normalize}.py, modules/dropout.py.
// Thread rule: constants.
#ifndef TRINE_POOLING_MODULE_KEYS_H
#define TRINE_POOLING_MODULE_KEYS_H

#include "weights/key_rules.h"

extern const struct key_rules module_list_keys; // modules.json
extern const struct key_rules pooling_keys;
extern const struct key_rules module_dense_keys;
extern const struct key_rules module_normalize_keys;
extern const struct key_rules module_dropout_keys;
extern const struct key_rules module_logit_score_keys; // read by engine/model_decoder.c

#endif
