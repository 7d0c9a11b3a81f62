// A request head's strict reading. Role: civetweb 1.15 splits a head leniently: it stops at the
// 64th field or at the first odd line and drops the rest without a word, takes a bare LF, a space
// before the colon, blank lines for a whole head, "Content-Length: 5abc" and duplicates. So the raw
// bytes are scanned before it has them, and what it would bend or drop is refused: when in doubt
// 400 and close, so that no proxy in front can have read the same bytes in another way. No sockets,
// no civetweb. Thread rule: pure functions.
#ifndef TRINE_SERVICE_HTTP_HEAD_H
#define TRINE_SERVICE_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

struct http_field {
    const char *name, *value;
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

// How far a head has been scanned. Begins as {0} for each head.
struct http_scan {
    size_t at;     // bytes scanned: a line's beginning, and once `whole` the head's length
    size_t fields; // header fields so far
    bool request_line, whole;
    const struct http_fault *fault; // set: the head must be refused
};

// Scans on in bytes[0..n), the head's beginning with all that has come of it, until it is whole or
// at fault: one CRLF at most before the request line, CRLF behind each line and nowhere else, no
// folded lines, names that are tokens with the colon right behind, at most 64 fields.
void http_head_scan(struct http_scan *s, const char *bytes, size_t n);

// Writes a request line's target, in place, in the one form that civetweb answers: of
// "http://host:port/path" (RFC 9112, 3.2.2) the path alone is left, for the host is no matter here,
// and blanks behind it; "*" becomes "/" and sets *asterisk. bytes[0..n) begins with a request line
// that http_head_scan has passed. A target in no known form is refused.
const struct http_fault *http_head_origin_form(char *bytes, size_t n, bool *asterisk);

enum { HTTP_METHOD_MOST = 16 };

// civetweb does not know TRACE, the one method of HTTP's own that it calls malformed: it is shown a
// GET, in place, and the method goes to `method`, which is empty for every other. bytes as above.
void http_head_hide_method(char *bytes, size_t n, char method[HTTP_METHOD_MOST]);

// A head as split by civetweb.
struct http_head {
    const char *method, *version; // version: "1.0" or "1.1"
    const struct http_field *fields;
    size_t field_count;
};

// Reads what frames the message; NULL when it is beyond doubt and within max_body.
const struct http_fault *http_head_framing(const struct http_head *h, size_t max_body,
                                           struct http_framing *out);

// Decodes the percent-escapes of a path in place. Refuses bad escapes, NUL and control characters,
// bytes that are not UTF-8, '\\', '#', and '.' or '..' as a segment. Slashes in a row become one,
// and the last one goes, but for "/" itself.
const struct http_fault *http_head_decode_path(char *path);

// Cuts the blanks behind a value, which are no part of it.
void http_head_trim(char *value);

#endif
