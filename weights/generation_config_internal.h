// What generation_config.c (folders) and generation_config_gguf.c share. Not for other rooms.
#ifndef TRINE_WEIGHTS_GENERATION_CONFIG_INTERNAL_H
#define TRINE_WEIGHTS_GENERATION_CONFIG_INTERNAL_H

#include "weights/generation_config.h"
#include "weights/gguf.h"

// Once each. ERR_NOMEM.
enum err generation_config_add_eos(struct generation_config *c, int64_t id,
                                   struct errmsg *msg) MUST_CHECK;
// A copy of s[0..n) in *to, which is NULL before. len may be NULL. ERR_NOMEM.
enum err generation_config_copy(const char *s, size_t n, char **to, size_t *len,
                                struct errmsg *msg) MUST_CHECK;

enum err generation_config_read_gguf(const struct gguf *g, size_t vocab,
                                     struct generation_config *out, struct errmsg *msg) MUST_CHECK;

#endif
