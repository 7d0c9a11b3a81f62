// Request heads: what http_head_scan lets pass, civetweb must split into what the raw bytes say:
// the same request line, the same fields and no others, the same length. The splitter below is a
// model of civetweb 1.15's lenient one (what it accepts, what it puts NULs over, where it stops
// without a word). The scan's verdict must not depend on the pieces in which the bytes come.
#include "service/http/head.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct split {
    char *method, *target, *query, *version;
    struct http_field fields[FIELDS_MAX];
    size_t count;
};

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_graph(char c) { return c > ' ' && c < 0x7f; }

// The head's length with its blank line, 0 for none, -1 for a control character before it.
static long head_length(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool line_end = s[i] == '\r' || s[i] == '\n';
        if ((unsigned char)s[i] < 128 && !line_end && (s[i] < ' ' || s[i] == 0x7f))
            return -1;
        if (i + 1 < n && s[i] == '\n' && s[i + 1] == '\n')
            return (long)i + 2;
        if (i + 3 < n && memcmp(s + i, "\r\n\r\n", 4) == 0)
            return (long)i + 4;
    }
    return 0;
}

// Ends a word; the next begins behind all blanks.
static bool cut_word(char **p, bool last) {
    while (is_graph(**p))
        ++*p;
    if (last ? **p != '\r' && **p != '\n' : **p != ' ')
        return false;
    do
        *(*p)++ = '\0';
    while (is_blank(**p));
    return last || is_graph(**p);
}

static bool cut_fields(char *p, struct split *out) {
    for (out->count = 0; out->count < FIELDS_MAX; out->count++) {
        char *begin = p;
        while (is_graph(*p) && *p != ':')
            p++;
        if (p == begin)
            return true;
        while (*p == ' ')
            *p++ = '\0';
        if (*p != ':')
            return false;
        *p++ = '\0';
        p += strspn(p, " \t");
        out->fields[out->count] = (struct http_field){begin, p};
        p += strcspn(p, "\r\n");
        if (*p == '\r') {
            *p++ = '\0';
            if (*p != '\n')
                return false;
        }
        if (!*p) {
            out->count++;
            return true;
        }
        *p++ = '\0';
        if (*p == '\r' || *p == '\n') {
            out->count++;
            return true;
        }
    }
    return true;
}

static bool split_head(char *buffer, size_t size, struct split *out) {
    if (head_length(buffer, size) <= 0)
        return false;
    char *p = buffer, *end = buffer + size;
    while (p < end && is_blank(*p))
        p++;
    long n = head_length(p, (size_t)(end - p));
    if (n <= 0)
        return false;
    p[n - 1] = '\0';
    out->method = p;
    if (!cut_word(&p, false))
        return false;
    out->target = p;
    if (!cut_word(&p, false))
        return false;
    out->version = p;
    if (!cut_word(&p, true) || strncmp(out->version, "HTTP/", 5) != 0)
        return false;
    out->version += 5;
    if ((strcmp(out->version, "1.1") != 0 && strcmp(out->version, "1.0") != 0) ||
        out->target[0] != '/' || !cut_fields(p, out))
        return false;
    out->query = strchr(out->target, '?');
    if (out->query)
        *out->query++ = '\0';
    return true;
}

static void must(bool ok) {
    if (!ok)
        abort();
}

// The bytes of a line must be these, and CRLF behind them.
static const char *line_is(const char *p, const char *end, const char *text) {
    size_t n = strlen(text);
    must((size_t)(end - p) >= n && memcmp(p, text, n) == 0);
    return p + n;
}

// Reads the raw head again, strictly, along what the splitter has made of it; its end.
static const char *read_strictly(const char *p, const char *end, const struct split *s) {
    if (end - p > 2 && memcmp(p, "\r\n", 2) == 0)
        p += 2;
    p = line_is(line_is(p, end, s->method), end, " ");
    p = line_is(p, end, s->target);
    if (s->query)
        p = line_is(line_is(p, end, "?"), end, s->query);
    p = line_is(line_is(p, end, " HTTP/"), end, s->version);
    p = line_is(p, end, "\r\n");
    for (size_t i = 0; i < s->count; i++) {
        p = line_is(line_is(p, end, s->fields[i].name), end, ":");
        while (p < end && *p == ' ')
            p++;
        p = line_is(p, end, s->fields[i].value);
        p = line_is(p, end, "\r\n");
        must(!strpbrk(s->fields[i].value, "\r\n") && !strpbrk(s->fields[i].name, " \t:\r\n"));
    }
    return line_is(p, end, "\r\n");
}

static struct http_scan scan(const char *bytes, size_t size) {
    struct http_scan whole = {0}, pieces = {0};
    http_head_scan(&whole, bytes, size);
    for (size_t n = 0; n <= size; n += 1 + n / 8)
        http_head_scan(&pieces, bytes, n);
    http_head_scan(&pieces, bytes, size);
    must(whole.at == pieces.at && whole.whole == pieces.whole && whole.fault == pieces.fault);
    return whole;
}

// A target in another form than a path's is rewritten in place: what civetweb splits then has a
// path, the same fields, and nothing of what stood elsewhere has moved.
static void rewrite(const char *raw, size_t size, const struct http_scan *scanned) {
    char *bytes = malloc(size + 1), *split_bytes = malloc(size + 1);
    if (bytes && split_bytes) {
        memcpy(bytes, raw, size);
        bytes[size] = '\0';
        bool asterisk;
        (void)http_head_origin_form(bytes, size, &asterisk);
        const char *line_end = memchr(raw + 2, '\n', size - 2);
        must(line_end != NULL);
        size_t line = (size_t)(line_end - raw);
        must(memcmp(bytes + line, raw + line, size - line) == 0);
        must(memcmp(bytes + line - 9, raw + line - 9, 9) == 0);
        memcpy(split_bytes, bytes, size + 1);
        struct split s;
        if (split_head(split_bytes, size, &s))
            must(s.target[0] == '/' && s.count == scanned->fields);
        // and once it is rewritten it stays as it is
        memcpy(split_bytes, bytes, size + 1);
        must(!http_head_origin_form(split_bytes, size, &asterisk) && !asterisk);
        must(memcmp(split_bytes, bytes, size) == 0);
    }
    free(bytes);
    free(split_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *buffer = malloc(size + 1); // one more: the splitter runs to a NUL behind the head
    if (!buffer)
        return 0;
    memcpy(buffer, data, size);
    buffer[size] = '\0';
    const char *raw = (const char *)data;
    struct http_scan scanned = scan(raw, size);
    struct split s;
    if (scanned.whole && !scanned.fault)
        rewrite(raw, size, &scanned);
    if (scanned.whole && !scanned.fault && split_head(buffer, size, &s)) {
        must(read_strictly(raw, raw + size, &s) == raw + scanned.at);
        must(head_length(raw, size) == (long)scanned.at && s.count == scanned.fields);
        struct http_head head = {s.method, s.version, s.fields, s.count};
        struct http_framing framing;
        if (!http_head_framing(&head, 1000, &framing))
            must(framing.content_length <= 1000 &&
                 !(framing.chunked && (framing.content_length || framing.keep_alive)));
        for (size_t i = 0; i < s.count; i++)
            http_head_trim((char *)s.fields[i].value);
        if (!http_head_decode_path(s.target)) {
            size_t n = strlen(s.target);
            must(!strstr(s.target, "/../") && s.target[0] == '/');
            must(!strstr(s.target, "//") && (n == 1 || s.target[n - 1] != '/'));
        }
    }
    free(buffer);
    return 0;
}
