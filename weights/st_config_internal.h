// What st_config.c and its tables of keys (config_keys_files.c) share. Not for other rooms.
#ifndef TRINE_WEIGHTS_ST_CONFIG_INTERNAL_H
#define TRINE_WEIGHTS_ST_CONFIG_INTERNAL_H

#include "base/json.h"

#include <stddef.h>

enum {
    ST_MAX_LENGTH = 1 << 24, // above it a tokenizer_config means "no limit": transformers has 1e30
};

// What the keys of sentence_bert_config.json and of config_sentence_transformers.json are read
// into. Strings and nodes are the tree's; NULL: not said.
struct st_said {
    size_t max_length; // 0: not said
    const cJSON *prompts;
    const char *default_prompt, *similarity, *type, *activation;
};

#endif
