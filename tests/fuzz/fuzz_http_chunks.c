// Chunked bodies: what is read must not depend on the pieces in which the bytes come, is never more
// than came, and is what a plain reading of the whole gives.
#include "service/http/chunks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

// Reads in pieces of `step` bytes; the body's length, and how it ended.
static size_t read_in(const uint8_t *data, size_t size, size_t step, char *out,
                      struct http_chunks *c) {
    size_t len = 0;
    *c = (struct http_chunks){0};
    for (size_t at = 0; at < size && !c->done && !c->bad; at += step) {
        size_t n = step < size - at ? step : size - at;
        char *piece = malloc(n); // of its very size, so that a byte beyond it is seen
        if (!piece)
            return 0;
        memcpy(piece, data + at, n);
        size_t got = http_chunks_take(c, piece, n);
        must(got <= n);
        memcpy(out + len, piece, got);
        len += got;
        free(piece);
    }
    return len;
}

// The body again from what has been found whole: each size is hex, each line ends in CRLF.
static void read_plainly(const char *p, const char *body, size_t len) {
    for (;;) {
        char *behind;
        size_t n = strtoul(p, &behind, 16);
        p = strstr(behind, "\r\n") + 2;
        if (n == 0)
            break;
        must(n <= len && memcmp(p, body, n) == 0);
        body += n;
        len -= n;
        p += n;
        must(memcmp(p, "\r\n", 2) == 0);
        p += 2;
    }
    must(len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *whole = malloc(size + 1), *pieces = malloc(size + 1), *text = malloc(size + 1);
    if (whole && pieces && text) {
        struct http_chunks a, b;
        size_t n = read_in(data, size, size ? size : 1, whole, &a);
        for (size_t step = 1; step < size && step < 20; step += 3) {
            size_t m = read_in(data, size, step, pieces, &b);
            must(m == n && memcmp(whole, pieces, n) == 0);
            must(a.done == b.done && a.bad == b.bad && !(a.done && a.bad));
        }
        memcpy(text, data, size);
        text[size] = '\0';
        if (a.done)
            read_plainly(text, whole, n);
    }
    free(whole);
    free(pieces);
    free(text);
    return 0;
}
