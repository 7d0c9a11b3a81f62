// What model_config.c and its tables of keys (model_config_keys.c) share. Not for other rooms.
#ifndef TRINE_WEIGHTS_MODEL_CONFIG_INTERNAL_H
#define TRINE_WEIGHTS_MODEL_CONFIG_INTERNAL_H

#include "weights/model_config.h"

enum {
    // far above any model, low enough that no product of two overflows
    MODEL_MAX_HIDDEN = 1 << 16,
    MODEL_MAX_LAYERS = 1 << 10,
    MODEL_MAX_FFN = 1 << 20,
    MODEL_MAX_VOCAB = 1 << 24,
    MODEL_MAX_POSITIONS = 1 << 20,
    MODEL_MAX_TYPES = 1 << 10,
    MODEL_MAX_LABELS = 1 << 16,
};

// What config.json's keys are read into: the configuration, and what only leads to it.
struct model_said {
    struct model_config config; // first: tables name its fields by their place in it
    const cJSON *id2label;
};

#endif
