// The keys of the JSON files that weights/ reads, as rules (key_rules.h), but for those of an
// architecture. Role: tables only; a key marked honoured is read by the file's reader
// (generation_config.c, st_config.c), and the tests hold that. Sources followed: transformers 4 and
// 5 configuration_*.py, generation/configuration_utils.py; sentence_transformers 2 to 6. Thread
// rule: constants.
#ifndef TRINE_WEIGHTS_CONFIG_KEYS_H
#define TRINE_WEIGHTS_CONFIG_KEYS_H

#include "weights/key_rules.h"

// What config.json has whatever the architecture, but for the keys of config_keys_generation. The
// tables of an architecture (model_config.h, decoder_config.h) end in this one.
extern const struct key_rules config_keys_common;
// generation_config.json; or, where a folder has none, what config.json says of generating.
extern const struct key_rules config_keys_generation;
extern const struct key_rules config_keys_generation_eos; // of those, what is read apart
// The same keys (but for eos_token_id, which config.json has for itself) in a config.json where
// nothing is generated, or beside a generation_config.json.
extern const struct key_rules config_keys_generation_idle;
extern const struct key_rules config_keys_chat_template;
extern const struct key_rules config_keys_sentence_bert;
extern const struct key_rules
    config_keys_sentence_transformers; // config_sentence_transformers.json

#endif
