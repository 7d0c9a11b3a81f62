// See buf.h.
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool buf_reserve(struct buf *b, size_t more) {
    if (b->failed)
        return false;
    if (more < b->cap - b->len) // strictly: one byte for the NUL
        return true;
    size_t need = b->len + more + 1;
    if (need <= b->len) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap > SIZE_MAX / 2 ? need : b->cap * 2;
    if (cap < need)
        cap = need;
    if (cap < 256)
        cap = 256;
    char *data = mem_realloc(b->data, cap, 1);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_append(struct buf *b, const void *bytes, size_t n) {
    if (!buf_reserve(b, n))
        return;
    if (n)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s) { buf_append(b, s, strlen(s)); }

void buf_putc(struct buf *b, char c) { buf_append(b, &c, 1); }

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        b->failed = true;
    else if (buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_reset(struct buf *b) {
    b->len = 0;
    b->failed = false;
}

void buf_free(struct buf *b) {
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_trim(struct buf *b, size_t bytes) {
    if (b->cap > bytes)
        buf_free(b);
}
