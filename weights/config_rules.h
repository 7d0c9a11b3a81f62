// Whose keys a model's file has. Role: the tables of encoders and of decoders behind one question,
// for those who list keys. Thread rule: pure functions.
#ifndef TRINE_WEIGHTS_CONFIG_RULES_H
#define TRINE_WEIGHTS_CONFIG_RULES_H

#include "weights/gguf.h"
#include "weights/key_rules.h"

// Of a parsed config.json, by what it names; NULL: an architecture that is not supported.
const struct key_rules *config_rules_of(const cJSON *root);
// Of a GGUF file, for gguf_rules_walk.
const struct key_rules *config_rules_of_gguf(const struct gguf *g);

#endif
