// A request head's strict reading. Role: civetweb 1.15 has split the head, but leniently: it stops
// at the 64th field or at the first odd line and drops the rest without a word, takes a space
// before the colon, a bare LF, "Content-Length: 5abc" and duplicates. What it dropped or bent is
// found here from the bytes it left, and refused: when in doubt 400 and close, so that no proxy in
// front can have read the same bytes in another way. No sockets, no civetweb. Thread rule: pure
// functions.
#ifndef TRINE_SERVICE_HTTP_HEAD_H
#define TRINE_SERVICE_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

struct http_field {
    const char *name, *value;
};

// A head in its buffer, split in place by NULs as civetweb leaves it: every CR and LF of a line's
// end is a NUL, as are the two spaces of the request line, the ':' behind a name (and spaces before
// it), the '?' before a query, and the last LF of the head.
struct http_head {
    const char *buffer; // [buffer_size] the head begins at buffer[0], behind at most one CRLF
    size_t buffer_size;
    const char *method, *target, *query; // query may be NULL
    const char *version;                 // "1.0" or "1.1"
    const struct http_field *fields;
    size_t field_count, fields_max; // fields_max: where the splitter stops without a word
};

// Why a request is refused: an HTTP status, a stable code and words; all static.
struct http_fault {
    int status;
    const char *code, *message;
};

struct http_framing {
    size_t content_length; // 0 when chunked
    bool chunked, keep_alive, expects_continue;
};

// NULL when the head is laid out as RFC 9112 has it, and nothing in it was dropped by the splitter.
const struct http_fault *http_head_layout(const struct http_head *h);

// Reads what frames the message; NULL when it is beyond doubt and within max_body.
const struct http_fault *http_head_framing(const struct http_head *h, size_t max_body,
                                           struct http_framing *out);

// Decodes the percent-escapes of a path in place. Refuses bad escapes, NUL and control characters,
// bytes that are not UTF-8, '\\', '#', and '.' or '..' as a segment.
const struct http_fault *http_head_decode_path(char *path);

// Cuts the blanks behind a value, which are no part of it.
void http_head_trim(char *value);

// True when `list` (comma-separated, as in Connection) has the token, case-insensitively.
bool http_head_has_token(const char *list, const char *token);

#endif
