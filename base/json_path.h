// Says in words where a scanner is in a JSON text: "input[17]", "messages[2].content". Role: a
// refusal names with it which of many values is meant. Thread rule: pure function.
#ifndef TRINE_BASE_JSON_PATH_H
#define TRINE_BASE_JSON_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A part of the text; of a string, what is between the quotes.
struct json_span {
    const char *at;
    size_t len;
    bool escapes; // of a string: it has some
};

// An open array or object, and where in it the scanner is.
struct json_level {
    bool is_object, in_value; // in_value: of an object, behind a key
    uint32_t serial;          // of an object, from 1
    size_t index;             // of the element or member, from 0
    struct json_span key;     // of the member
};

// Writes the path of the value that the levels lead to; "" for the document itself. A key that is
// not short and plain (letters, digits, _ and -) is shown as "?", because a message must hold no
// text of a request.
void json_path_print(const struct json_level *levels, size_t depth, char *out, size_t size);

#endif
