// What generation_config.c (folders), generation_config_gguf.c and the tables of keys
// (config_keys_files.c) share. Not for other rooms.
#ifndef TRINE_WEIGHTS_GENERATION_CONFIG_INTERNAL_H
#define TRINE_WEIGHTS_GENERATION_CONFIG_INTERNAL_H

#include "base/json.h"
#include "weights/generation_config.h"
#include "weights/gguf.h"

#include <math.h>

static inline struct generation_config generation_config_empty(void) {
    return (struct generation_config){
        .temperature = NAN, .top_p = NAN, .min_p = NAN, .repetition_penalty = NAN, .top_k = -1};
}

// Once each. ERR_INVALID: they are too many (a crafted vocabulary's); ERR_NOMEM.
enum err generation_config_add_eos(struct generation_config *c, int64_t id,
                                   struct errmsg *msg) MUST_CHECK;
// A copy of s[0..n) in *to, which is NULL before. len may be NULL. ERR_NOMEM.
enum err generation_config_copy(const char *s, size_t n, char **to, size_t *len,
                                struct errmsg *msg) MUST_CHECK;

// What the keys of a file are read into; the nodes are the tree's, NULL: not said.
struct generation_said {
    struct generation_config config; // of it the sampling
    bool sample;
    const cJSON *eos, *chat_template;
};

// A folder's files, each parsed at most once; an object, or NULL where one is not there.
struct generation_sources {
    const char *folder; // where tokenizer.json and templates are looked for
    size_t vocab;
    cJSON *generation, *config, *tokenizer_config, *special_tokens;
    struct errmsg *msg;
};

// What they say joins c, which the caller frees after an error too.
enum err generation_config_read_sources(const struct generation_sources *s,
                                        struct generation_config *c) MUST_CHECK;
enum err generation_config_read_gguf(const struct gguf *g, size_t vocab,
                                     struct generation_config *out, struct errmsg *msg) MUST_CHECK;

#endif
