// Reads a request's head strictly. Role: civetweb 1.15 splits a head leniently: it stops at the
// 64th field or at the first odd line and silently drops the rest; it accepts a bare LF, a space
// before the colon, blank lines as a whole head, "Content-Length: 5abc" and duplicates. So the raw
// bytes are scanned before civetweb gets them, and whatever it would bend or drop is refused. In
// doubt the answer is 400 and the connection ends, so that no proxy in front can have read the same
// bytes differently. No sockets, no civetweb. Thread rule: pure functions.
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

// Continues the scan in bytes[0..n), which is all that has come of the head from its beginning,
// until the head is whole or at fault. Allowed: at most one CRLF before the request line, CRLF at
// the end of each line and nowhere else, no folded lines, names that are tokens with the colon
// directly behind, at most 64 fields.
void http_head_scan(struct http_scan *s, const char *bytes, size_t n);

// Rewrites the target of a request line, in place, to the one form that civetweb answers. Of
// "http://host:port/path" (RFC 9112, 3.2.2) the path stays, because the host does not matter here,
// with blanks behind it; "*" becomes "/" and sets *asterisk. bytes[0..n) begins with a request line
// that http_head_scan has passed. A target in an unknown form is refused.
const struct http_fault *http_head_origin_form(char *bytes, size_t n, bool *asterisk);

enum { HTTP_METHOD_MOST = 16 };

// civetweb does not know TRACE, a standard method, and calls it malformed. So it is shown a GET, in
// place, and `method` gets the real one; for every other method that is empty. bytes as above.
void http_head_hide_method(char *bytes, size_t n, char method[HTTP_METHOD_MOST]);

// A head as split by civetweb.
struct http_head {
    const char *method, *version; // version: "1.0" or "1.1"
    const struct http_field *fields;
    size_t field_count;
};

// Reads the fields that frame the message; NULL when they leave no doubt and the body is within
// max_body.
const struct http_fault *http_head_framing(const struct http_head *h, size_t max_body,
                                           struct http_framing *out);

// Decodes the percent-escapes of a path in place. Refuses bad escapes, NUL and control characters,
// bytes that are not UTF-8, '\\', '#', and '.' or '..' as a segment. Slashes in a row become one,
// and the last one goes, but for "/" itself.
const struct http_fault *http_head_decode_path(char *path);

// Cuts the blanks behind a value, which are no part of it.
void http_head_trim(char *value);

#endif
