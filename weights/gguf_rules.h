// The keys of a GGUF file's metadata, as rules (key_rules.h). Role: the tables of what every file
// and every architecture has, and the two things that are done with them. The keys of an
// architecture (model_config_keys.c, decoder_config_keys.c: `own` below) stand in tables without
// its name ("qwen2."). Those that begin with "tokenizer." are read by tokenizer/ and
// generation_config_gguf.c. Sources followed: gguf-py's constants.py; llama.cpp for what these
// architectures read. Thread rule: pure functions over constant tables.
#ifndef TRINE_WEIGHTS_GGUF_RULES_H
#define TRINE_WEIGHTS_GGUF_RULES_H

#include "weights/gguf.h"
#include "weights/key_rules.h"

// What no architecture here reads; its own tables end in this one.
extern const struct key_rules gguf_arch_keys;

// The shapes that every architecture has, for the head of its table.
#define GGUF_SHAPES(type, max_hidden, max_layers, max_ffn, max_positions_)                         \
    {.name = "embedding_length", KEY_COUNT(type, hidden, max_hidden, 0), .required = true},        \
        {.name = "block_count", KEY_COUNT(type, layers, max_layers, 0), .required = true},         \
        {.name = "attention.head_count", KEY_COUNT(type, heads, max_hidden, 0), .required = true}, \
        {.name = "feed_forward_length", KEY_COUNT(type, ffn, max_ffn, 0), .required = true}, {     \
        .name = "context_length", KEY_COUNT(type, max_positions, max_positions_, 0),               \
        .required = true                                                                           \
    }

// Refuses the first key whose value is not neutral, as key_rules_check.
enum err gguf_rules_check(const struct gguf *g, const struct key_rules *own,
                          struct errmsg *msg) MUST_CHECK;
// Calls `see` for every key, by its whole name.
void gguf_rules_walk(const struct gguf *g, const struct key_rules *own, key_seen *see, void *ctx);

#endif
