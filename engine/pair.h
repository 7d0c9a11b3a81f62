// A query and a document as one sequence of a reranker. Role: the one place that knows what stands
// around and between the two: a cross-encoder's tokenizer template, or the judging prompt of a
// causal model that answers yes or no. The query is encoded once and never cut.
// Source followed: the model card of Qwen/Qwen3-Reranker-0.6B (prefix, instruction, suffix).
// Thread rule: as tokenizer.h.
#ifndef TRINE_ENGINE_PAIR_H
#define TRINE_ENGINE_PAIR_H

#include "engine/model.h"

// True when a cross-encoder's query of this many tokens takes more than half of the room for both:
// then a library that cuts the longer of the two would have cut the query, and where a document is
// cut for it here the score is another. Source: tokenizers, TruncationStrategy::LongestFirst.
bool pair_query_crowds(const struct model *m, size_t query_tokens);
// What to say of it: the model's length, and how many documents were cut (both %zu).
#define PAIR_CROWDED                                                                               \
    "the query takes more than half of the model's %zu tokens and is never cut, so documents "     \
    "were cut that score otherwise where a library cuts the longer of the two: %zu"
// Tokens beside the query's and the document's.
size_t pair_special_count(const struct model *m);
// The two alone, as pair_assemble wants them. prompt: what a cross-encoder's files put before the
// query, or NULL; a causal model has its frame instead. `work` is scratch. Errors as
// tokenizer_encode.
enum err pair_encode_query(const struct model *m, struct tokenizer_scratch *s, const char *prompt,
                           struct text query, struct buf *work, struct encoding *out,
                           struct errmsg *msg) MUST_CHECK;
enum err pair_encode_document(const struct model *m, struct tokenizer_scratch *s,
                              struct text document, struct buf *work, struct encoding *out,
                              struct errmsg *msg) MUST_CHECK;
// options: TRUNCATE_NONE or TRUNCATE_ONLY_SECOND with max_length and side. ERR_INVALID: they do not
// fit, or the two have no token; ERR_NOMEM.
enum err pair_assemble(const struct model *m, const struct encoding *query,
                       const struct encoding *document, const struct tokenizer_options *options,
                       struct encoding *out, struct errmsg *msg) MUST_CHECK;

#endif
