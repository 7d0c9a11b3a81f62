// The keys of a GGUF file's metadata, as rules (key_rules.h). Role: the tables, and the two things
// that are done with them; the keys of the architecture stand in them without its name ("qwen2.").
// Those that begin with "tokenizer." are read by tokenizer/ and generation_config_gguf.c. Sources
// followed: gguf-py's constants.py; llama.cpp for what these architectures read.
// Thread rule: pure functions over constant tables.
#ifndef TRINE_WEIGHTS_GGUF_RULES_H
#define TRINE_WEIGHTS_GGUF_RULES_H

#include "weights/gguf.h"
#include "weights/key_rules.h"

// Refuses the first key whose value is not neutral, as key_rules_check.
enum err gguf_rules_check(const struct gguf *g, struct errmsg *msg) MUST_CHECK;
// Calls `see` for every key, by its whole name.
void gguf_rules_walk(const struct gguf *g, key_seen *see, void *ctx);

#endif
