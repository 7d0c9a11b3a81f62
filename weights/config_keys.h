// The keys of the JSON files that weights/ reads, as rules (key_rules.h). Role: tables only; a key
// marked honoured is read by the file's reader (model_config.c, decoder_config.c,
// generation_config.c, st_config.c), and the tests hold that. Sources followed: transformers 4 and
// 5 configuration_*.py, generation/configuration_utils.py; sentence_transformers 2 to 6. Thread
// rule: constants.
#ifndef TRINE_WEIGHTS_CONFIG_KEYS_H
#define TRINE_WEIGHTS_CONFIG_KEYS_H

#include "weights/decoder_config.h"
#include "weights/key_rules.h"
#include "weights/model_config.h"

// config.json, but for the keys of generation_config_keys.
const struct key_rules *config_keys_encoder(enum model_arch arch);
const struct key_rules *config_keys_decoder(enum decoder_arch arch);
// By what the file itself names; NULL: an architecture that is not supported.
const struct key_rules *config_keys_of(const cJSON *root);
// generation_config.json; or, where a folder has none, what config.json says of generating.
extern const struct key_rules generation_config_keys;
// The same keys (but for eos_token_id, which config.json has for itself) in a config.json where
// nothing is generated, or beside a generation_config.json.
extern const struct key_rules generation_config_keys_idle;
extern const struct key_rules chat_template_json_keys;
extern const struct key_rules sentence_bert_config_keys;
extern const struct key_rules
    sentence_transformers_config_keys; // config_sentence_transformers.json

#endif
