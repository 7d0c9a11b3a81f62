// What a causal reranker's sequences begin and end with: the judging prompt around a query and a
// document (pair.h), tokenized once. Source followed: the model card of Qwen/Qwen3-Reranker-0.6B.
// Thread rule: immutable once made.
#ifndef TRINE_ENGINE_PAIR_FRAME_H
#define TRINE_ENGINE_PAIR_FRAME_H

#include "tokenizer/tokenizer.h"

struct pair_frame {
    int32_t *prefix, *suffix; // [prefix_len], [suffix_len], owned
    size_t prefix_len, suffix_len;
};

enum err pair_frame_new(const struct tokenizer *t, struct pair_frame *out,
                        struct errmsg *msg) MUST_CHECK;
void pair_frame_free(struct pair_frame *f);
static inline size_t pair_frame_len(const struct pair_frame *f) {
    return f->prefix_len + f->suffix_len;
}

#endif
