// What a model folder says about pooling, as plain data: modules.json and each module's
// config.json, in the form of sentence-transformers 2 to 5 and in that of 6. Role: reading and
// refusing; no weights, no device. Internal to pooling/. Source followed: sentence_transformers
// base/model.py, sentence_transformer/modules/pooling.py, base/modules/{dense,normalize}.py. Thread
// rule: pure functions.
#ifndef TRINE_POOLING_MODULES_H
#define TRINE_POOLING_MODULES_H

#include "base/err.h"
#include "base/json.h"
#include "compute/device.h"
#include "weights/key_rules.h"

#include <stdbool.h>

enum { MODULES_MAX_STEPS = 8, MODULES_MAX_MODES = 5 };

struct pooling_config {
    size_t dim;                              // 0: not said
    enum pool_mode modes[MODULES_MAX_MODES]; // side by side in this order
    size_t mode_count;
    bool include_prompt;
};

struct module_dense {
    size_t in, out;
    bool bias;
    enum activation activation;
};

enum module_kind { MODULE_DENSE, MODULE_NORMALIZE };

struct module_step {
    enum module_kind kind;
    char path[128]; // of the module's folder, within the model's
    struct module_dense dense;
};

struct modules {
    char transformer[128]; // its folder within the model's; "": that one itself
    struct pooling_config pooling;
    struct module_step steps[MODULES_MAX_STEPS]; // after pooling, in order
    size_t step_count;
};

// Without modules.json: mean, no steps. `path` may be a .gguf file: its pooling_type (mean where it
// has none), normalised. ERR_INVALID, ERR_UNSUPPORTED (module type, pooling mode,
// activation: named, with what is supported), ERR_NOT_FOUND (a module's config.json), ERR_NOMEM.
enum err modules_load(const char *path, struct modules *out, struct errmsg *msg) MUST_CHECK;

// As pooling_is_declared and pooling_find_module.
enum err modules_declare_pooling(const char *path, bool *declared, struct errmsg *msg) MUST_CHECK;
enum err modules_find(const char *path, const char *kind, bool *found, char out[128],
                      struct errmsg *msg) MUST_CHECK;

// The same of a GGUF file (modules_gguf.c).
enum err modules_load_gguf(const char *path, struct modules *out, struct errmsg *msg) MUST_CHECK;
enum err modules_declare_gguf(const char *path, bool *declared, struct errmsg *msg) MUST_CHECK;

// As pooling_each_file.
void modules_each_file(const char *path,
                       void (*see)(void *ctx, const char *name, const struct key_rules *rules,
                                   const cJSON *root),
                       void *ctx);

// The parts of it, from parsed JSON (fuzzing).
enum err modules_read_list(const cJSON *root, struct modules *out, char pooling_path[128],
                           struct errmsg *msg) MUST_CHECK;
enum err modules_read_pooling(const cJSON *root, struct pooling_config *out,
                              struct errmsg *msg) MUST_CHECK;
enum err modules_read_dense(const cJSON *root, struct module_dense *out,
                            struct errmsg *msg) MUST_CHECK;

const char *pooling_mode_name(enum pool_mode mode); // "mean", as sentence-transformers names it

#endif
