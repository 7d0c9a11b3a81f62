// What a model says about generating: the tokens that end it, default sampling, its chat template.
// Role: read from generation_config.json, config.json, tokenizer_config.json and
// chat_template.jinja of a folder, or from a GGUF file's metadata.
// Thread rule: immutable after load.
#ifndef TRINE_WEIGHTS_GENERATION_CONFIG_H
#define TRINE_WEIGHTS_GENERATION_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct generation_config {
    // Every end-of-generation token: eos_token_id (one or a list) of generation_config.json and
    // config.json, the eos_token of tokenizer_config.json; of a GGUF eos, eot and eom ids and the
    // tokens that are such by name (<|im_end|>, <|endoftext|>, <|eot_id|>, ...).
    int32_t *eos_ids; // [eos_count]
    size_t eos_count;

    // Defaults for sampling where given; NAN or -1 where not. do_sample: false is temperature 0.
    float temperature, top_p, min_p, repetition_penalty;
    int32_t top_k;

    char *chat_template; // NULL: none
    size_t chat_template_len;
    char *tool_template; // the one named "tool_use" where a list of named ones is given; else NULL
    size_t tool_template_len;
    char *bos_token, *eos_token, *pad_token, *unk_token; // as a template prints them; NULL: none
};

// `path` is a folder or a .gguf file; what is absent is absent. Ids are checked against `vocab`.
// `out` is the caller's to free; after an error it holds nothing. ERR_INVALID, ERR_IO,
// ERR_TOO_LARGE (a file over its limit), ERR_NOMEM, and as gguf_open.
enum err generation_config_load(const char *path, size_t vocab, struct generation_config *out,
                                struct errmsg *msg) MUST_CHECK;
void generation_config_free(struct generation_config *c);

#endif
