// The post_processor section: which tokens go around one text, and around two.
// Role: TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and a Sequence of them (at
// most one of the first three, and not Roberta with ByteLevel), all turned into one flat template.
// Knows only ids; truncation is in truncate.h. Source followed: huggingface/tokenizers,
// src/processors.
// Thread rule: immutable after parse.
#ifndef TRINE_TOKENIZER_POSTPROCESS_H
#define TRINE_TOKENIZER_POSTPROCESS_H

#include "base/json.h"

#include <stddef.h>

enum postprocess_what { TEMPLATE_TOKEN, TEMPLATE_FIRST, TEMPLATE_SECOND };

struct postprocess_piece {
    enum postprocess_what what;
    int32_t id; // TEMPLATE_TOKEN
    int32_t type_id;
};

struct postprocess_template {
    struct postprocess_piece *pieces; // owned
    size_t count;
    size_t special; // pieces that are tokens
};

struct postprocess {
    struct postprocess_template single, pair;
    const char *name;  // the section's type, for messages; static
    bool trims;        // a part that can trim is there
    bool trim_offsets; // spaces at a token's ends are no part of its span
    bool add_prefix_space;
};

// json is NULL for `null`. ERR_UNSUPPORTED, ERR_INVALID, ERR_NOMEM; free it in either case.
enum err postprocess_parse(const cJSON *json, struct postprocess *out,
                           struct errmsg *msg) MUST_CHECK;
// Every token type is 0 from here on.
void postprocess_drop_types(struct postprocess *p);
void postprocess_free(struct postprocess *p);

#endif
