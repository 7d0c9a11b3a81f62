// From hidden states to one vector per sequence, as sentence-transformers makes them.
// Role: reads modules.json / 1_Pooling / 2_Dense / 2_Normalize (both forms) and applies them
// through the device table. Classification heads are score_head.h's. Source followed:
// sentence_transformers models/{Pooling,Dense,Normalize}.py. Thread rule: immutable after load; the
// device's driving thread applies it.
#ifndef TRINE_POOLING_POOLER_H
#define TRINE_POOLING_POOLER_H

#include "compute/batch.h"
#include "compute/device.h"
#include "weights/key_rules.h"

struct pooling;

// Whether the files say how the model's hidden states are pooled: a Pooling module in modules.json,
// a GGUF file's pooling_type (mean, cls, last). Such a model was made to embed.
enum err pooling_is_declared(const char *path, bool *declared, struct errmsg *msg) MUST_CHECK;
// Where in the folder `path` the transformer's own files lie (its config.json, tokenizer and
// weights), as modules.json has it: "" for the folder itself, which is usual, or "0_Transformer".
enum err pooling_find_transformer(const char *path, char out[128], struct errmsg *msg) MUST_CHECK;
// The same for the first module of another class ("LogitScore"), if there is one.
enum err pooling_find_module(const char *path, const char *kind, bool *found, char out[128],
                             struct errmsg *msg) MUST_CHECK;
// Calls `see` for modules.json and each module's config.json that can be read, with the rules of
// its keys; for those who list them. `name` is the file's, within the folder; all is valid in the
// call.
typedef void pooler_file_seen(void *ctx, const char *name, const struct key_rules *rules,
                              const cJSON *root);
void pooling_each_file(const char *path, pooler_file_seen *see, void *ctx);
// Opens and closes every file that pooling_load would read, as it would.
enum err pooling_open_files(const char *path, struct errmsg *msg) MUST_CHECK;
// What modules.json, 1_Pooling/config.json and friends say, before any weights are read.
// A folder without modules.json is mean pooling without normalisation, as sentence-transformers
// takes a plain transformers folder. A GGUF file normalises: it has no way to say so, and what
// reads such files does. mode_override -1: the folder's; else an enum pool_mode.
enum err pooling_load(const char *folder, size_t hidden, int mode_override, struct device *d,
                      struct pooling **out, struct errmsg *msg) MUST_CHECK;
// Without a folder: one mode over vectors of `hidden`. ERR_NOMEM.
enum err pooling_plain(size_t hidden, enum pool_mode mode, bool normalizes, struct device *d,
                       struct pooling **out, struct errmsg *msg) MUST_CHECK;
void pooling_free(struct pooling *p); // NULL is fine

// What is known of it without a device and weights.
struct pooling_facts {
    size_t dim;           // of the vectors it gives
    bool normalizes;      // a Normalize module is there
    bool includes_prompt; // false: prompt tokens stay out of the pool
    char mode_name[96];   // "mean"
};
enum err pooling_describe(const char *folder, size_t hidden, int mode_override,
                          struct pooling_facts *out, struct errmsg *msg) MUST_CHECK;
void pooling_describe_plain(size_t hidden, enum pool_mode mode, bool normalizes,
                            struct pooling_facts *out);
const struct pooling_facts *pooling_facts_of(const struct pooling *p);
size_t pooling_workspace_bytes(const struct pooling *p, size_t seqs);

// [S, pooler_dim] in ws. skip as in struct pool_args (may be NULL). normalize is the caller's wish.
struct mat pooling_apply(const struct pooling *p, struct mat hidden, const struct batch *b,
                         const int32_t *skip, bool normalize, struct arena *ws);

#endif
