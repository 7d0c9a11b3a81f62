// The texts of a body. Role: reads the inputs (strings or token ids, one or many), checks their
// types and number, and says of each how messages name it; it encodes nothing (texts.h). Thread
// rule: one owner.
#ifndef TRINE_SERVICE_API_INPUTS_H
#define TRINE_SERVICE_API_INPUTS_H

#include "base/buf.h"
#include "base/json_tree.h"
#include "service/api/error.h"

// How messages name a text: "input", or one of several, "input[3]".
struct api_place {
    char text[96];
};
struct api_place api_place(const char *field, bool alone, size_t at);

// A string, a list of strings, a list of ids or a list of such lists; borrowed from the body.
struct api_inputs {
    const struct json_node *value;
    const char *name; // the field
    size_t count;     // inputs
    bool single;      // value itself is the one input
    bool has_ids;     // at least one input is a list of ids
};

// Types, emptiness and number, nothing else; what is wrong is named as "input[3]". ERR_INVALID:
// wrong_type, empty_input, too_many_inputs, invalid_token_id (negative, fractional, 2^31 and more).
enum err api_inputs_read(const struct json_node *value, const char *name, size_t max_inputs,
                         struct api_inputs *out, struct api_error *err) MUST_CHECK;
// The same for what must be one list of strings.
enum err api_inputs_read_list(const struct json_node *value, const char *name, size_t max_inputs,
                              struct api_inputs *out, struct api_error *err) MUST_CHECK;

// Appends the text that an object holds as `text`, or as `content`: a string, or a list of strings
// and {"type": "text", "text": ...} parts, joined by line ends. False: it holds none.
bool api_text_of_object(const struct json_node *object, struct buf *out);
// Makes such objects of the tree strings: value itself (NULL is fine), or those in its list. work
// is scratch. ERR_INVALID wrong_type where one holds no text; ERR_NOMEM.
enum err api_inputs_flatten(struct json_tree *tree, const struct json_node *value, const char *name,
                            struct buf *work, struct api_error *err) MUST_CHECK;

// An input that is empty: ERR_INVALID empty_input; what: behind its name.
enum err api_empty_input(struct api_error *err, const char *name, struct api_place at,
                         const char *what);

#endif
