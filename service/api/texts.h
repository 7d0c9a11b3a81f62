// From a request's texts to a job's tokens. Role: reads the inputs of a body (strings or token ids,
// one or many), encodes them with the model's prompt and length rules, and collects the sequences.
// Thread rule: one owner; the worker given is the one that runs the calling task.
#ifndef TRINE_SERVICE_API_TEXTS_H
#define TRINE_SERVICE_API_TEXTS_H

#include "base/json.h"
#include "service/api/error.h"
#include "service/front.h"

// How messages name a text: "input", or one of several, "input[3]".
struct text_place {
    char text[96];
};
struct text_place text_place(const char *field, bool alone, size_t at);

// A string, a list of strings, a list of ids or a list of such lists; borrowed from the body.
struct text_inputs {
    const cJSON *value;
    const char *name; // the field
    size_t count;     // inputs
    bool single;      // value itself is the one input
    bool has_ids;     // at least one input is a list of ids
};

// Types, emptiness and number, nothing else; what is wrong is named as "input[3]". ERR_INVALID:
// wrong_type, empty_input, too_many_inputs, invalid_token_id (negative, fractional, 2^31 and more).
enum err text_inputs_read(const cJSON *value, const char *name, size_t max_inputs,
                          struct text_inputs *out, struct api_error *err) MUST_CHECK;
// The same for what must be one list of strings.
enum err text_list_read(const cJSON *value, const char *name, size_t max_inputs,
                        struct text_inputs *out, struct api_error *err) MUST_CHECK;

// Appends the text that an object holds as `text`, or as `content`: a string, or a list of strings
// and {"type": "text", "text": ...} parts, joined by line ends. False: it holds none.
bool text_of_object(const cJSON *object, struct buf *out);
// Makes such objects strings: value itself (NULL is fine), or those in its list. work is scratch.
// ERR_INVALID wrong_type where one holds no text; ERR_NOMEM.
enum err text_objects_flatten(cJSON *value, const char *name, struct buf *work,
                              struct api_error *err) MUST_CHECK;

// What to say of a text that the tokenizer refused, with err->msg as it left it; what: its place.
// Returns e.
enum err text_not_encoded(struct api_error *err, enum err e, const char *what);

// Sequences end to end, growing; owned (sequences_free), or moved into a job.
struct sequences {
    int32_t *ids, *type_ids; // [tokens]
    int32_t *cu_seqlens;     // [seqs + 1]
    int32_t *skip;           // [seqs], or NULL when no prompt is kept out of a pool
    size_t tokens, token_cap, seqs, seq_cap;
    size_t cut;     // how many were truncated
    size_t crowded; // pairs cut for a query that takes more than half of the room
};

void sequences_free(struct sequences *s);
// Room for this many sequences. ERR_NOMEM.
enum err sequences_reserve(struct sequences *s, size_t seqs, struct api_error *err) MUST_CHECK;

struct text_rules {
    const struct model *model;
    const char *prompt; // put before each text, of a pair before the first; NULL: none
    bool truncate;
    enum truncate_side side;
    size_t max_length; // tokens of a text, special ones included; 0: what the model takes
    bool any_length;   // whatever the length: the caller checks it
    const char *field; // what messages call the text; texts_encode takes the inputs' own name
    bool alone;        // it is the only one of its field: no number behind it
    bool plain;        // without the special tokens that the tokenizer puts around a text
};

// Encodes every input. ERR_INVALID: context_length_exceeded (both counts), invalid_token_id;
// ERR_NOMEM.
enum err texts_encode(struct front_worker *w, const struct text_inputs *inputs,
                      const struct text_rules *rules, struct sequences *out,
                      struct api_error *err) MUST_CHECK;
// One text, or a pair when `pair` is not NULL. at: its number in messages.
enum err texts_encode_one(struct front_worker *w, struct text text, const struct text *pair,
                          size_t at, const struct text_rules *rules, struct sequences *out,
                          struct api_error *err) MUST_CHECK;

// Texts without pairs. A text is named in messages by its number.
enum err texts_encode_all(struct front_worker *w, const struct text *texts, size_t n,
                          const struct text_rules *rules, struct sequences *out,
                          struct api_error *err) MUST_CHECK;

// A query against documents. The query is tokenized once and never cut.
struct pair_rules {
    const struct model *model;
    bool truncate;           // documents may be cut
    enum truncate_side side; // where
    size_t max_document;     // tokens of a document; 0: what fits
    const char *prompt;      // before the query; NULL: none
    const char *field;       // what messages call the documents
    bool alone;              // there is one, without a number
};

// ERR_INVALID: query_too_long, context_length_exceeded; ERR_NOMEM.
enum err texts_encode_pairs(struct front_worker *w, struct text query, const struct text *documents,
                            size_t n, const struct pair_rules *rules, struct sequences *out,
                            struct api_error *err) MUST_CHECK;

#endif
