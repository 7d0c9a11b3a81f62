// Writes answers: status line, our own header fields, the handler's, body, in one sendmsg. See
// exchange.h.
#include "base/clock.h"
#include "service/http/exchange.h"

#include <stdio.h>
#include <string.h>

// A slow but steady reader of a large answer is not an attacker: its deadline grows with the size.
enum { LEAST_BYTES_PER_MS = 256 };

static const char *reason_phrase(int status) {
    static const struct {
        int status;
        const char *phrase;
    } known[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].phrase;
    return "Unknown";
}

// Status line and our own fields, without the blank line; -1 when they do not fit, which they do.
static int print_head(char *head, size_t size, const struct http_request *r,
                      const struct http_response *p, bool keep_alive, enum http_body body) {
    int n =
        snprintf(head, size, "HTTP/1.1 %d %s\r\nConnection: %s\r\nx-request-id: %s\r\n", p->status,
                 reason_phrase(p->status), keep_alive ? "keep-alive" : "close", r->id);
    if (p->status == 204 || p->status == 304 || n < 0 || (size_t)n >= size)
        return n < 0 || (size_t)n >= size ? -1 : n;
    size_t left = size - (size_t)n;
    int more = snprintf(head + n, left, "Content-Type: %s\r\n",
                        p->content_type ? p->content_type : "application/json");
    if (more < 0 || (size_t)more >= left)
        return -1;
    n += more;
    left -= (size_t)more;
    more = 0;
    if (body == HTTP_BODY_WHOLE)
        more = snprintf(head + n, left, "Content-Length: %zu\r\n", p->body.len);
    else if (body == HTTP_BODY_CHUNKED)
        more = snprintf(head + n, left, "Transfer-Encoding: chunked\r\n");
    return more < 0 || (size_t)more >= left ? -1 : n + more;
}

bool http_reply_head(const struct http_request *r, const struct http_response *p, bool keep_alive,
                     enum http_body body, struct buf *out) {
    char head[512];
    int n = print_head(head, sizeof head, r, p, keep_alive, body);
    if (n < 0 || p->headers.failed)
        return false;
    buf_append(out, head, (size_t)n);
    buf_append(out, p->headers.data, p->headers.len);
    buf_puts(out, "\r\n");
    return !out->failed;
}

bool http_reply_write(struct http_socket *k, const struct http_request *r,
                      const struct http_response *p, bool keep_alive, int timeout_ms, bool *still) {
    char head[512];
    bool bodiless = p->status == 204 || p->status == 304;
    int n = print_head(head, sizeof head, r, p, keep_alive, HTTP_BODY_WHOLE);
    if (n < 0)
        return false;
    bool head_only = bodiless || strcmp(r->method, "HEAD") == 0;
    struct iovec parts[4] = {
        {head, (size_t)n},
        {p->headers.data, p->headers.len},
        {(char *)"\r\n", 2},
        {p->body.data, head_only ? 0 : p->body.len},
    };
    int64_t allowed_us = ((int64_t)timeout_ms + (int64_t)(p->body.len / LEAST_BYTES_PER_MS)) * 1000;
    return http_socket_write(k, parts, 4, clock_now_us() + allowed_us, timeout_ms, still);
}

bool http_reply_fault(struct http_socket *k, const struct http_request *r,
                      const struct http_fault *f, struct buf *headers, bool keep_alive,
                      int timeout_ms) {
    char text[480];
    const char *type = f->status == 503   ? "unavailable"
                       : f->status == 500 ? "internal"
                                          : "invalid_request_error";
    int n =
        snprintf(text, sizeof text,
                 "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"},"
                 "\"detail\":\"%s\"}",
                 f->message, type, f->code, f->message);
    if (f->status == 503)
        buf_puts(headers, "Retry-After: 1\r\n");
    if (n < 0 || (size_t)n >= sizeof text)
        return false;
    struct http_response p = {.status = f->status, .body = {.data = text, .len = (size_t)n}};
    if (!headers->failed) // without memory for them it goes without
        p.headers = *headers;
    bool still;
    return http_reply_write(k, r, &p, keep_alive, timeout_ms, &still);
}
