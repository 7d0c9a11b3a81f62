// See head.h.
#include "service/http/head.h"

#include "base/hex.h"
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { FIELDS_MAX = 64 }; // what civetweb holds

static const struct http_fault malformed = {
    400, "malformed_request",
    "the request head is malformed (CRLF line ends, 'name: value' header fields)"};
static const struct http_fault too_many_fields = {431, "too_many_headers",
                                                  "the request has more than 64 header fields"};
static const struct http_fault bad_host = {400, "bad_host",
                                           "a request needs exactly one valid Host header"};
static const struct http_fault bad_length = {
    400, "bad_content_length", "Content-Length must be given once, as decimal digits"};
static const struct http_fault no_length = {411, "length_required",
                                            "the request needs a Content-Length"};
static const struct http_fault too_large = {413, "body_too_large",
                                            "the request body is over the server's limit"};
static const struct http_fault bad_encoding = {
    400, "bad_transfer_encoding",
    "Transfer-Encoding must be 'chunked' alone, in HTTP/1.1, without Content-Length"};
static const struct http_fault bad_expect = {417, "bad_expectation",
                                             "only 'Expect: 100-continue' is supported"};
static const struct http_fault bad_target = {
    400, "malformed_request", "the request target must be a path, a whole http address, or '*'"};
static const struct http_fault bad_path = {400, "bad_path", "the request path is malformed"};

static size_t token_len(const char *s, size_t n) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    size_t i = 0;
    for (; i < n; i++) {
        char c = s[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (!c || !strchr(marks, c)))
            break;
    }
    return i;
}

// METHOD SP target SP HTTP/d.d
static bool is_request_line(const char *line, size_t n) {
    const char *end = line + n, *p = line + token_len(line, n);
    if (p == line || p == end || *p++ != ' ')
        return false;
    const char *target = p;
    while (p<end && * p> ' ' && *p < 0x7f)
        p++;
    return p > target && end - p == 9 && memcmp(p, " HTTP/", 6) == 0 && p[6] >= '0' &&
           p[6] <= '9' && p[7] == '.' && p[8] >= '0' && p[8] <= '9';
}

static bool is_field(const char *line, size_t n) {
    size_t name = token_len(line, n);
    if (name == 0 || name == n || line[name] != ':')
        return false;
    for (size_t i = name + 1; i < n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            return false;
    return true;
}

static const struct http_fault *scan_line(struct http_scan *s, const char *line, size_t n) {
    if (!s->request_line) {
        if (n == 0 && s->at == 0) // a CRLF too many behind the request before (RFC 9112, 2.2)
            return NULL;
        s->request_line = true;
        return is_request_line(line, n) ? NULL : &malformed;
    }
    if (n == 0) {
        s->whole = true;
        return NULL;
    }
    if (s->fields == FIELDS_MAX)
        return &too_many_fields;
    s->fields++;
    return is_field(line, n) ? NULL : &malformed;
}

void http_head_scan(struct http_scan *s, const char *bytes, size_t n) {
    while (!s->whole && !s->fault && s->at < n) {
        const char *line = bytes + s->at, *lf = memchr(line, '\n', n - s->at);
        if (!lf)
            return;
        size_t len = (size_t)(lf - line);
        if (len == 0 || line[len - 1] != '\r')
            s->fault = &malformed;
        else
            s->fault = scan_line(s, line, len - 1);
        s->at += len + 1;
    }
}

static bool is_host_char(char c) {
    bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return alnum || (c && strchr(".-_:[]%~", c));
}

// Over some of these civetweb ends a connection without a word. It is given a head that it accepts,
// and the fault counts.
static const struct http_fault *refuse_target(char *target, size_t len) {
    memset(target, ' ', len);
    *target = '/';
    return &bad_target;
}

const struct http_fault *http_head_origin_form(char *bytes, size_t n, bool *asterisk) {
    char *line = n > 1 && bytes[0] == '\r' ? bytes + 2 : bytes;
    char *target = (char *)memchr(line, ' ', n - (size_t)(line - bytes)) + 1;
    size_t len = strcspn(target, " "); // " HTTP/1.1" is behind it
    *asterisk = false;
    if (*target == '/')
        return NULL;
    if (len == 1 && *target == '*') {
        *asterisk = true;
        *target = '/';
        return NULL;
    }
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    size_t host = scheme;
    while (host < len && is_host_char(target[host]))
        host++;
    if (!scheme || host == scheme || (host < len && !strchr("/?", target[host])))
        return refuse_target(target, len);
    size_t path = 0;
    if (host == len || target[host] == '?')
        target[path++] = '/';
    memmove(target + path, target + host, len - host);
    memset(target + path + len - host, ' ', host - path);
    return NULL;
}

void http_head_hide_method(char *bytes, size_t n, char method[HTTP_METHOD_MOST]) {
    static const char trace[] = "TRACE ";
    char *line = n > 1 && bytes[0] == '\r' ? bytes + 2 : bytes;
    size_t len = sizeof trace - 2;
    method[0] = '\0';
    if (n - (size_t)(line - bytes) <= len || memcmp(line, trace, len + 1) != 0)
        return;
    memcpy(method, line, len);
    method[len] = '\0';
    memset(line, ' ', len);
    memcpy(line, "GET", 3);
}

// Trailing blanks are no part of a value.
static size_t value_len(const char *value) {
    size_t n = strlen(value);
    while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        n--;
    return n;
}

void http_head_trim(char *value) { value[value_len(value)] = '\0'; }

static bool value_is(const char *value, const char *want) {
    size_t n = value_len(value);
    return n == strlen(want) && strncasecmp(value, want, n) == 0;
}

// True when `list` (comma-separated, as in Connection) has the token, case-insensitively.
static bool has_token(const char *list, const char *token) {
    size_t n = strlen(token);
    while (*list) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, " \t,");
        if (len == n && strncasecmp(list, token, n) == 0)
            return true;
        list += len;
    }
    return false;
}

static bool parse_length(const char *value, uint64_t *out) {
    size_t n = value_len(value);
    if (n == 0)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        if (v > (INT64_MAX - (uint64_t)(value[i] - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(value[i] - '0');
    }
    *out = v;
    return true;
}

static bool host_is_valid(const char *value) {
    for (size_t i = 0, n = value_len(value); i < n; i++)
        if (!is_host_char(value[i]))
            return false;
    return true;
}

const struct http_fault *http_head_framing(const struct http_head *h, size_t max_body,
                                           struct http_framing *out) {
    bool http11 = strcmp(h->version, "1.1") == 0;
    size_t hosts = 0, lengths = 0, encodings = 0, connections = 0;
    uint64_t length = 0;
    bool keep_asked = false, close_asked = false;
    *out = (struct http_framing){0};
    for (size_t i = 0; i < h->field_count; i++) {
        const char *name = h->fields[i].name, *value = h->fields[i].value;
        if (strcasecmp(name, "Host") == 0) {
            if (++hosts > 1 || !host_is_valid(value))
                return &bad_host;
        } else if (strcasecmp(name, "Content-Length") == 0) {
            if (++lengths > 1 || !parse_length(value, &length))
                return &bad_length;
        } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
            if (++encodings > 1 || !http11 || !value_is(value, "chunked"))
                return &bad_encoding;
        } else if (strcasecmp(name, "Expect") == 0) {
            if (!value_is(value, "100-continue"))
                return &bad_expect;
            out->expects_continue = http11;
        } else if (strcasecmp(name, "Connection") == 0) {
            connections++;
            keep_asked = keep_asked || (connections == 1 && has_token(value, "keep-alive"));
            // from then on civetweb treats the connection as another protocol's
            close_asked = close_asked || has_token(value, "close") || has_token(value, "upgrade");
        }
    }
    if (http11 && hosts == 0)
        return &bad_host;
    if (encodings && lengths)
        return &bad_encoding;
    bool posts = strcmp(h->method, "POST") == 0 || strcmp(h->method, "PUT") == 0 ||
                 strcmp(h->method, "PATCH") == 0;
    if (posts && !encodings && !lengths)
        return &no_length;
    if (length > max_body)
        return &too_large;
    out->content_length = (size_t)length;
    out->chunked = encodings > 0;
    // As civetweb decides it: a Connection header must ask for it, HTTP/1.1 without one means it.
    // A chunked request ends its connection: its body is read past civetweb, whose chunk reader is
    // lenient ("5\rA" is 5 to it) and knows no extensions.
    out->keep_alive = !close_asked && !out->chunked && (connections ? keep_asked : http11);
    return NULL;
}

// "//v1//embeddings/" is "/v1/embeddings": people type base addresses with and without a last
// slash.
static void drop_slashes(char *path) {
    char *out = path;
    for (const char *in = path; *in; in++)
        if (*in != '/' || out == path || out[-1] != '/')
            *out++ = *in;
    if (out > path + 1 && out[-1] == '/')
        out--;
    *out = '\0';
}

const struct http_fault *http_head_decode_path(char *path) {
    if (path[0] != '/')
        return &bad_path;
    char *out = path;
    for (const char *in = path; *in; in++) {
        unsigned char c = (unsigned char)*in;
        if (c == '%') {
            int high = hex_value(in[1]), low = high < 0 ? -1 : hex_value(in[2]);
            if (low < 0)
                return &bad_path;
            c = (unsigned char)(high * 16 + low);
            in += 2;
        } else if (c == '#') {
            return &bad_path;
        }
        if (c < 0x20 || c == 0x7f || c == '\\')
            return &bad_path;
        *out++ = (char)c;
    }
    *out = '\0';
    if (!utf8_valid(path, (size_t)(out - path), NULL))
        return &bad_path;
    for (const char *segment = path; segment; segment = strchr(segment, '/')) {
        segment++;
        size_t n = strcspn(segment, "/");
        if ((n == 1 && segment[0] == '.') || (n == 2 && segment[0] == '.' && segment[1] == '.'))
            return &bad_path;
    }
    drop_slashes(path);
    return NULL;
}
