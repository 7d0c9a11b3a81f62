// Texts behind a model's prompts, and the room a query leaves. Role: the rules that HTTP and the
// command line share, so that a text has the same tokens whichever way it came.
// Source followed: sentence_transformers SentenceTransformer.encode_query, .encode_document,
// ._get_prompt_length.
// Thread rule: pure functions of their arguments; scratch and buffers are the caller's own.
#ifndef TRINE_ENGINE_PROMPT_H
#define TRINE_ENGINE_PROMPT_H

#include "engine/model.h"

enum { PROMPT_MIN_DOCUMENT = 16 }; // tokens that a query must leave for the document

// The prompt that this model keeps for queries, or for documents, under any of the names in use;
// else its default prompt; NULL: none. Borrowed from the model.
const char *prompt_for_query(const struct model *m);
const char *prompt_for_document(const struct model *m);
bool prompt_name_means_query(const char *name);
bool prompt_name_means_document(const char *name);

// The prompt of that name, in *out. ERR_INVALID: the model has none, with the names that it has;
// `option` begins the message.
enum err prompt_by_name(const struct model *m, const char *option, const char *name,
                        const char **out, struct errmsg *msg) MUST_CHECK;

// Encodes prompt + text (prompt may be NULL or empty), or the pair of that and a second text
// (NULL: none), into out; `joined` is scratch space.
enum err prompt_encode(const struct model *m, struct tokenizer_scratch *s, const char *prompt,
                       struct text text, const struct text *pair,
                       const struct tokenizer_options *options, struct buf *joined,
                       struct encoding *out, struct errmsg *msg) MUST_CHECK;

// How many leading tokens of prompt + text stay out of the pool: none where the pooling module
// includes the prompt, else what the prompt alone encodes to but for a special token at its end.
// `work` is scratch space.
enum err prompt_tokens_left_out(const struct model *m, struct tokenizer_scratch *s,
                                const char *prompt, struct encoding *work, size_t *tokens,
                                struct errmsg *msg) MUST_CHECK;
// The same for one encoded text: a prompt that leaves nothing to pool is pooled whole.
size_t prompt_skip(size_t left_out, const struct encoding *e);

// ERR_INVALID when a query of this many tokens leaves too little room for a document: it is never
// cut.
enum err prompt_check_query(const struct model *m, size_t query_tokens,
                            struct errmsg *msg) MUST_CHECK;

#endif
