// Reading a GGUF file's hyperparameters, whose keys begin with the architecture's name
// ("qwen2.block_count"). Role: what the configurations of encoders and of decoders share.
// Thread rule: one thread.
#ifndef TRINE_WEIGHTS_GGUF_KEYS_H
#define TRINE_WEIGHTS_GGUF_KEYS_H

#include "weights/gguf.h"
#include "weights/key_rules.h"

struct gguf_keys {
    const struct gguf *g;
    const char *arch; // the keys' beginning; "" until gguf_keys_choose
    struct errmsg *msg;
    enum err failed; // the first failure; nothing is read after it, and fallbacks are returned
};

enum { GGUF_KEY_SIZE = 96 };

// "general.architecture" is names[i]: sets arch, returns i. Otherwise fails (ERR_INVALID,
// ERR_UNSUPPORTED: `supported` ends the message) and returns 0.
size_t gguf_keys_choose(struct gguf_keys *k, const char *const *names, size_t n,
                        const char *supported);
// As key_rules_read.
void gguf_keys_read(struct gguf_keys *k, const struct key_rules *t, void *into);

bool gguf_string_is(struct gguf_string s, const char *text);
// By name, in a walk through all.
bool gguf_find_tensor(const struct gguf *g, const char *name, struct tensor *out);
// The rows of the tensor `name`, which has two dimensions, in 1 to max. ERR_INVALID.
size_t gguf_keys_rows(struct gguf_keys *k, const char *name, size_t max);

#endif
