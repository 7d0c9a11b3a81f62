// See csv.h.
#include "cli/csv.h"

#include "base/mem.h"

#include <string.h>

enum { MAX_RECORD_BYTES = LINES_MAX_BYTES, MAX_FIELDS = 65536 };

static enum err end_field(struct lines *in, struct csv_record *r, struct errmsg *msg) {
    if (r->count == MAX_FIELDS)
        return err_set(msg, ERR_TOO_LARGE, "%s:%zu: more than %d fields", in->name, r->line,
                       MAX_FIELDS);
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        size_t *ends = mem_realloc(r->ends, cap, sizeof *ends);
        if (!ends)
            return err_set(msg, ERR_NOMEM, "%s:%zu: no memory for the record", in->name, r->line);
        r->ends = ends;
        r->cap = cap;
    }
    r->ends[r->count++] = r->bytes.len;
    return ERR_OK;
}

// Reads a quoted field from behind its opening quote; *line and *at move on over further lines.
static enum err quoted_field(struct lines *in, struct csv_record *r, struct text *line, size_t *at,
                             struct errmsg *msg) {
    size_t i = *at;
    for (;;) {
        const char *from = line->bytes + i;
        const char *quote = memchr(from, '"', line->len - i);
        size_t n = quote ? (size_t)(quote - from) : line->len - i;
        buf_append(&r->bytes, from, n);
        i += n;
        if (quote && i + 1 < line->len && line->bytes[i + 1] == '"') {
            buf_putc(&r->bytes, '"');
            i += 2;
            continue;
        }
        if (quote) {
            *at = i + 1;
            return ERR_OK;
        }
        bool more;
        if (r->bytes.len > MAX_RECORD_BYTES)
            return err_set(msg, ERR_TOO_LARGE,
                           "%s:%zu: a record of more than %d MiB; is a quote left open?", in->name,
                           r->line, MAX_RECORD_BYTES >> 20);
        enum err e = lines_next(in, true, line, &more, msg);
        if (e)
            return e;
        if (!more)
            return err_set(msg, ERR_INVALID, "%s:%zu: a quoted field that is never closed",
                           in->name, r->line);
        buf_putc(&r->bytes, '\n');
        i = 0;
    }
}

enum err csv_next(struct lines *in, struct csv_record *r, bool *more, struct errmsg *msg) {
    struct text line;
    buf_reset(&r->bytes);
    r->count = 0;
    enum err e = lines_next(in, true, &line, more, msg);
    if (e || !*more)
        return e;
    r->line = in->line;
    for (size_t i = 0;;) {
        if (i < line.len && line.bytes[i] == '"') {
            i++;
            if ((e = quoted_field(in, r, &line, &i, msg)))
                return e;
            bool ends = i == line.len || line.bytes[i] == ',' ||
                        (line.bytes[i] == '\r' && i + 1 == line.len);
            if (!ends)
                return err_set(msg, ERR_INVALID, "%s:%zu: text behind a closing quote", in->name,
                               in->line);
        } else {
            const char *comma = memchr(line.bytes + i, ',', line.len - i);
            size_t n = comma ? (size_t)(comma - line.bytes) - i : line.len - i;
            if (!comma && n && line.bytes[i + n - 1] == '\r')
                n--;
            if (n && memchr(line.bytes + i, '"', n))
                return err_set(msg, ERR_INVALID,
                               "%s:%zu: a quote inside a field that does not begin with one",
                               in->name, in->line);
            buf_append(&r->bytes, line.bytes + i, n);
            i += n;
        }
        if ((e = end_field(in, r, msg)))
            return e;
        if (i >= line.len || line.bytes[i] != ',')
            break;
        i++;
    }
    if (r->bytes.failed)
        return err_set(msg, ERR_NOMEM, "%s:%zu: no memory for the record", in->name, r->line);
    return ERR_OK;
}

struct text csv_field(const struct csv_record *r, size_t i) {
    size_t begin = i ? r->ends[i - 1] : 0;
    return (struct text){r->bytes.data ? r->bytes.data + begin : "", r->ends[i] - begin};
}

void csv_record_free(struct csv_record *r) {
    buf_free(&r->bytes);
    mem_free(r->ends);
    *r = (struct csv_record){0};
}
