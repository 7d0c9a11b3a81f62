// From a request's texts to a job's tokens. Role: encodes them with the model's prompt and length
// rules, and collects the sequences.
// Thread rule: one owner; the worker given is the one that runs the calling task.
#ifndef TRINE_SERVICE_API_TEXTS_H
#define TRINE_SERVICE_API_TEXTS_H

#include "service/api/inputs.h"
#include "service/front.h"

// What to say of a text that the tokenizer refused, with err->msg as it left it; what: its place.
// Returns e.
enum err api_text_not_encoded(struct api_error *err, enum err e, const char *what);

// Sequences end to end, growing; owned (api_texts_free), or moved into a job.
struct api_texts {
    int32_t *ids, *type_ids; // [tokens]
    int32_t *cu_seqlens;     // [seqs + 1]
    int32_t *skip;           // [seqs], or NULL when no prompt is kept out of a pool
    size_t tokens, token_cap, seqs, seq_cap;
    size_t cut;     // how many were truncated
    size_t crowded; // pairs cut for a query that takes more than half of the room
};

void api_texts_free(struct api_texts *s);
// Room for this many sequences. ERR_NOMEM.
enum err api_texts_reserve(struct api_texts *s, size_t seqs, struct api_error *err) MUST_CHECK;

struct api_text_rules {
    const struct model *model;
    const char *prompt; // put before each text, of a pair before the first; NULL: none
    bool truncate;
    enum truncate_side side;
    size_t max_length; // tokens of a text, special ones included; 0: what the model takes
    bool any_length;   // whatever the length: the caller checks it
    const char
        *field; // what messages call the text; api_api_texts_encode takes the inputs' own name
    bool alone; // it is the only one of its field: no number behind it
    bool plain; // without the special tokens that the tokenizer puts around a text
};

// Encodes every input. ERR_INVALID: context_length_exceeded (both counts), invalid_token_id;
// ERR_NOMEM.
enum err api_texts_encode(struct front_worker *w, const struct api_inputs *inputs,
                          const struct api_text_rules *rules, struct api_texts *out,
                          struct api_error *err) MUST_CHECK;
// One text, or a pair when `pair` is not NULL. at: its number in messages.
enum err api_texts_encode_one(struct front_worker *w, struct text text, const struct text *pair,
                              size_t at, const struct api_text_rules *rules, struct api_texts *out,
                              struct api_error *err) MUST_CHECK;

// Texts without pairs. A text is named in messages by its number.
enum err api_texts_encode_all(struct front_worker *w, const struct text *texts, size_t n,
                              const struct api_text_rules *rules, struct api_texts *out,
                              struct api_error *err) MUST_CHECK;

// A query against documents. The query is tokenized once and never cut.
struct api_pair_rules {
    const struct model *model;
    bool truncate;           // documents may be cut
    enum truncate_side side; // where
    size_t max_document;     // tokens of a document; 0: what fits
    const char *prompt;      // before the query; NULL: none
    const char *field;       // what messages call the documents
    bool alone;              // there is one, without a number
};

// ERR_INVALID: query_too_long, context_length_exceeded; ERR_NOMEM.
enum err api_texts_encode_pairs(struct front_worker *w, struct text query,
                                const struct text *documents, size_t n,
                                const struct api_pair_rules *rules, struct api_texts *out,
                                struct api_error *err) MUST_CHECK;

#endif
