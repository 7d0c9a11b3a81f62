// Where in a JSON text a byte stands, in words: "input[17]", "messages[2].content". Role: says in a
// refusal which of many values is meant; nothing is kept while a text is checked, the way to the
// fault is walked again. Thread rule: pure function.
#ifndef TRINE_BASE_JSON_PATH_H
#define TRINE_BASE_JSON_PATH_H

#include <stddef.h>

// text[0..at) is what json_check has found in order. Writes the path of the value that is open at
// `at`, or "" when that is the document itself. A key that is not short and plain (letters, digits,
// _ and -) is shown as "?": a message holds no text of a request.
void json_path_at(const char *text, size_t at, char *out, size_t size);

#endif
