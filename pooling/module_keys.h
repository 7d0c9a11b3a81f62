// The keys of modules.json and of the modules' own config.json, as rules (weights/key_rules.h).
// Role: the tables, and what their fields are read into; the reader is modules.c. Source followed:
// sentence_transformers base/model.py, sentence_transformer/modules/pooling.py,
// base/modules/{dense,normalize}.py, modules/dropout.py. Thread rule: constants.
#ifndef TRINE_POOLING_MODULE_KEYS_H
#define TRINE_POOLING_MODULE_KEYS_H

#include "compute/device.h"
#include "weights/key_rules.h"

enum { MODULES_MAX_FEATURES = 1 << 20 };

// What the keys of a file are read into. Strings and nodes are the tree's; NULL: not said.
struct module_said { // of an object of modules.json
    const char *type, *path;
};
struct pooling_said {
    size_t dim; // 0: not said
    bool include_prompt;
    const cJSON *mode;
    bool flags[POOL_MEAN_SQRT + 1]; // of enum pool_mode
};
struct module_dense_said {
    size_t in, out; // 0: not said
    bool bias;
    const char *activation;
};
struct module_logit_score_said {
    int32_t yes, no; // -1: not said
};

// modules.json; and what is read apart of it, where a module's type is known.
extern const struct key_rules module_list_keys, module_path_keys;
// The flags are read where no pooling_mode is said.
extern const struct key_rules pooling_keys, pooling_flag_keys;
extern const struct key_rules module_dense_keys;
extern const struct key_rules module_normalize_keys;
extern const struct key_rules module_dropout_keys;
extern const struct key_rules module_logit_score_keys; // read by engine/model_decoder.c

#endif
