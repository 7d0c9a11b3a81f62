// config.json of an encoder, or the metadata of a GGUF file of architecture bert, read once and
// range-checked: architecture, shapes, constants, labels. Role: turns untrusted JSON into plain
// numbers that binding then checks against tensor shapes. Both spellings of files (transformers 4
// and 5) are read. Thread rule: immutable after load.
#ifndef TRINE_WEIGHTS_MODEL_CONFIG_H
#define TRINE_WEIGHTS_MODEL_CONFIG_H

#include "base/err.h"
#include "base/json.h"
#include "compute/device.h"
#include "weights/key_rules.h"

#include <stdbool.h>

enum model_arch { MODEL_ARCH_BERT, MODEL_ARCH_DISTILBERT };

// What a classifier's logits become, as transformers' pipeline has it (problem_type): the sigmoid
// of each label's own, or a softmax over all, or nothing (regression). One label's is the sigmoid.
enum model_scores { MODEL_SCORES_SIGMOID, MODEL_SCORES_SOFTMAX, MODEL_SCORES_LOGITS };

struct model_config {
    enum model_arch arch;
    char architecture[64]; // "BertModel", as the file names it
    bool classification;   // the architecture ends in ForSequenceClassification
    bool head_is_other;    // it has a head that is not served: of use only as an embedder
    size_t hidden;         // D
    size_t layers;         // L
    size_t heads;          // H
    size_t ffn;            // F
    size_t vocab;          // V
    size_t max_positions;  // rows of the position table
    size_t type_vocab;     // rows of the token type table; 0: none (DistilBERT)
    float norm_eps;
    enum activation activation;
    size_t labels;      // of a classification head
    char **label_names; // [labels], owned
    enum model_scores scores;
};

// Reads path/config.json, or the .gguf file at path (its architecture is then "bert", and its
// activation gelu, which such files do not name). ERR_NOT_FOUND, ERR_INVALID, ERR_UNSUPPORTED
// (architecture, activation, position_embedding_type: named, with what is supported).
enum err model_config_load(const char *path, struct model_config *out,
                           struct errmsg *msg) MUST_CHECK;
// The same from memory (fuzzing); `name` begins the messages.
enum err model_config_parse(const char *name, const char *text, size_t len,
                            struct model_config *out, struct errmsg *msg) MUST_CHECK;
// The keys of config.json; of a GGUF file, without the architecture's name.
const struct key_rules *model_config_keys(enum model_arch arch);
extern const struct key_rules model_config_gguf_keys;
// The architecture that a parsed config.json names; false: none of these.
bool model_config_arch(const cJSON *root, enum model_arch *out);
// Whether its numbers are such as come from a file; for one that comes from elsewhere. Its labels'
// names are not looked at.
bool model_config_in_range(const struct model_config *c);
void model_config_free(struct model_config *c);

#endif
