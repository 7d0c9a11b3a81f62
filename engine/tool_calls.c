// See tool_calls.h.
#include "engine/tool_calls.h"

#include "base/json_check.h"
#include "base/json_text.h"
#include "base/mem.h"

#include <stdint.h>
#include <string.h>

const char tool_open_marker[] = "<tool_call>";
static const char close_marker[] = "</tool_call>";
enum {
    OPEN = sizeof tool_open_marker - 1,
    CLOSE = sizeof close_marker - 1,
    HEAD_MOST = 4096, // bytes between the marker and the arguments; what is longer is no call
};

void tool_parser_init(struct tool_parser *p, bool calls_or_form) {
    *p = (struct tool_parser){.state = calls_or_form ? TOOL_START : TOOL_TEXT};
}

void tool_parser_free(struct tool_parser *p) { buf_free(&p->held); }

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static void drop(struct tool_parser *p, size_t n) {
    p->held.len -= n;
    if (p->held.len)
        memmove(p->held.data, p->held.data + n, p->held.len);
}

static void give_text(struct tool_parser *p, size_t n, const struct tool_sink *sink) {
    if (n)
        sink->text(sink->ctx, p->held.data, n);
    drop(p, n);
}

// A reader over held that tells "not yet" from "not so".
enum reading { READ_ON, READ_SHORT, READ_OTHER };

struct tool_reader {
    const char *bytes;
    size_t len, at;
};

static void skip_blanks(struct tool_reader *r) {
    while (r->at < r->len && is_blank(r->bytes[r->at]))
        r->at++;
}

static enum reading expect(struct tool_reader *r, const char *word) {
    skip_blanks(r);
    size_t n = strlen(word), have = r->len - r->at;
    if (memcmp(r->bytes + r->at, word, have < n ? have : n) != 0)
        return READ_OTHER;
    if (have < n)
        return READ_SHORT;
    r->at += n;
    return READ_ON;
}

// A quoted string, its quotes included.
static enum reading take_string(struct tool_reader *r, size_t *begin, size_t *end) {
    skip_blanks(r);
    *begin = r->at;
    if (r->at == r->len)
        return READ_SHORT;
    if (r->bytes[r->at] != '"')
        return READ_OTHER;
    for (size_t i = r->at + 1; i < r->len; i++) {
        if (r->bytes[i] == '\\') {
            i++;
        } else if (r->bytes[i] == '"') {
            *end = r->at = i + 1;
            return READ_ON;
        }
    }
    return READ_SHORT;
}

// {"name": "f", "arguments": and the first byte of the value, a brace.
static enum reading read_head(struct tool_reader *r, size_t *begin, size_t *end) {
    static const char *const before[] = {"{", "\"name\"", ":"}, *const behind[] = {
                                                                    ",", "\"arguments\"", ":", "{"};
    enum reading got = READ_ON;
    for (size_t i = 0; i < 3 && got == READ_ON; i++)
        got = expect(r, before[i]);
    if (got == READ_ON)
        got = take_string(r, begin, end);
    for (size_t i = 0; i < 4 && got == READ_ON; i++)
        got = expect(r, behind[i]);
    return got;
}

static bool begin_call(struct tool_parser *p, size_t begin, size_t end,
                       const struct tool_sink *sink) {
    struct errmsg unused;
    enum err e = json_check(p->held.data + begin, end - begin, &json_limits_request, NULL, &unused);
    char *name = e ? NULL : mem_alloc(end - begin, 1); // no longer than its spelling
    p->failed = e == ERR_NOMEM || (!e && !name);
    if (!name)
        return false;
    size_t n = json_decode(p->held.data + begin + 1, end - begin - 2, name);
    sink->begin(sink->ctx, name, n);
    mem_free(name);
    p->calls++;
    return true;
}

// True: there is more to do with what is held.
static bool step_head(struct tool_parser *p, const struct tool_sink *sink) {
    struct tool_reader r = {.bytes = p->held.data, .len = p->held.len, .at = p->lead};
    size_t begin = 0, end = 0;
    enum reading got = read_head(&r, &begin, &end);
    if (got == READ_SHORT && p->held.len - p->lead <= HEAD_MOST)
        return false;
    if (got != READ_ON || !begin_call(p, begin, end, sink)) {
        give_text(p, p->lead, sink);
        p->state = TOOL_TEXT;
        return true;
    }
    drop(p, r.at - 1); // the brace belongs to the value
    p->state = TOOL_ARGUMENTS;
    p->depth = 0;
    p->quoted = p->escape = false;
    return true;
}

static bool step_arguments(struct tool_parser *p, const struct tool_sink *sink) {
    size_t i = 0;
    bool over = false;
    for (; i < p->held.len && !over; i++) {
        char c = p->held.data[i];
        if (p->escape)
            p->escape = false;
        else if (p->quoted)
            p->quoted = c != '"', p->escape = c == '\\';
        else if (c == '"')
            p->quoted = true;
        else if (c == '{' || c == '[')
            p->depth++;
        else if (c == '}' || c == ']')
            over = --p->depth == 0;
    }
    if (i)
        sink->arguments(sink->ctx, p->held.data, i);
    drop(p, i);
    if (over)
        p->state = TOOL_TAIL;
    return over;
}

static bool step_tail(struct tool_parser *p) {
    struct tool_reader r = {.bytes = p->held.data, .len = p->held.len};
    enum reading got = expect(&r, "}");
    if (got == READ_ON)
        got = expect(&r, close_marker);
    if (got == READ_SHORT)
        return false;
    drop(p, got == READ_ON ? r.at : 0); // what is not the tail is text
    p->state = TOOL_TEXT;
    return true;
}

static bool step_text(struct tool_parser *p, const struct tool_sink *sink) {
    const char *bytes = p->held.data;
    size_t len = p->held.len, at = 0, keep;
    // the marker, or a beginning of it at the end
    for (; at < len; at++) {
        size_t n = len - at < OPEN ? len - at : OPEN;
        if (bytes[at] == '<' && memcmp(bytes + at, tool_open_marker, n) == 0)
            break;
    }
    for (keep = at; keep > 0 && is_blank(bytes[keep - 1]); keep--)
        ;
    bool whole = len - at >= OPEN;
    give_text(p, keep, sink);
    if (!whole)
        return false;
    p->lead = at - keep + OPEN;
    p->state = TOOL_HEAD;
    return true;
}

static bool step_start(struct tool_parser *p) {
    struct tool_reader r = {.bytes = p->held.data, .len = p->held.len};
    enum reading got = expect(&r, tool_open_marker);
    if (got == READ_SHORT)
        return false;
    p->state = got == READ_ON ? TOOL_TEXT : TOOL_ANSWER;
    return true;
}

void tool_parser_feed(struct tool_parser *p, const char *bytes, size_t n,
                      const struct tool_sink *sink) {
    buf_append(&p->held, bytes, n);
    p->failed = p->failed || p->held.failed;
    bool more = !p->failed;
    while (more && p->held.len) {
        switch (p->state) {
        case TOOL_TEXT:
            more = step_text(p, sink);
            break;
        case TOOL_HEAD:
            more = step_head(p, sink);
            break;
        case TOOL_ARGUMENTS:
            more = step_arguments(p, sink);
            break;
        case TOOL_TAIL:
            more = step_tail(p);
            break;
        case TOOL_START:
            more = step_start(p);
            break;
        case TOOL_ANSWER:
            give_text(p, p->held.len, sink);
            break;
        }
    }
}

void tool_parser_end(struct tool_parser *p, const struct tool_sink *sink) {
    bool blank = true;
    for (size_t i = 0; i < p->held.len; i++)
        blank = blank && is_blank(p->held.data[i]);
    if (p->state == TOOL_HEAD || p->state == TOOL_START ||
        (p->state == TOOL_TEXT && !(blank && p->calls)))
        give_text(p, p->held.len, sink);
    buf_reset(&p->held);
}
