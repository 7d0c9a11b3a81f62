// See text_stream.h.
#include "engine/text_stream.h"

#include "base/mem.h"

#include <string.h>

enum err text_stop_strings_compile(const struct text *strings, size_t count,
                                   struct text_stop_strings *out, struct errmsg *msg) {
    *out = (struct text_stop_strings){0};
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += strings[i].len;
    if (count == 0)
        return ERR_OK;
    uint32_t *tables = mem_alloc(bytes, sizeof *tables + 1);
    if (!tables)
        return err_set(msg, ERR_NOMEM, "no memory for stop strings");
    out->block = tables;
    char *chars = (char *)(tables + bytes);
    for (size_t i = 0; i < count; i++) {
        size_t n = strings[i].len;
        memcpy(chars, strings[i].bytes, n);
        tables[0] = 0;
        for (size_t at = 1; at < n; at++) {
            uint32_t k = tables[at - 1];
            while (k > 0 && chars[at] != chars[k])
                k = tables[k - 1];
            tables[at] = k + (chars[at] == chars[k]);
        }
        out->strings[i] = (struct text){chars, n};
        out->fallback[i] = tables;
        tables += n;
        chars += n;
    }
    out->count = count;
    return ERR_OK;
}

void text_stop_strings_free(struct text_stop_strings *s) {
    mem_free(s->block);
    *s = (struct text_stop_strings){0};
}

void text_stream_init(struct text_stream *s, const struct tokenizer *t, bool skip_special_tokens,
                      const struct text_stop_strings *stops) {
    *s = (struct text_stream){.stops = stops && stops->count ? stops : NULL};
    token_stream_init(&s->tokens, t, skip_special_tokens);
}

void text_stream_spare_calls(struct text_stream *s, const char *marker, bool first) {
    s->marker = marker;
    s->marker_first = first;
}

void text_stream_free(struct text_stream *s) {
    buf_free(&s->held);
    buf_free(&s->fresh);
}

// Takes a byte into every state; the length of the longest string that it completes, 0 for none.
static size_t step(struct text_stream *s, char c) {
    const struct text_stop_strings *stops = s->stops;
    size_t longest = 0;
    for (size_t i = 0; i < stops->count; i++) {
        const struct text *want = &stops->strings[i];
        uint32_t k = s->matched[i];
        while (k > 0 && want->bytes[k] != c)
            k = stops->fallback[i][k - 1];
        k += want->bytes[k] == c;
        s->matched[i] = k;
        if (k == want->len) // the text ends here: the state is not used again
            longest = k > longest ? k : longest;
    }
    return longest;
}

// Takes a byte into the marker's state; true when it is complete.
static bool step_marker(struct text_stream *s, char c) {
    if (!s->marker)
        return false;
    if (c == s->marker[s->marker_at])
        s->marker_at++;
    else if (s->marker_first)
        s->marker = NULL, s->marker_at = 0;
    else
        s->marker_at = c == s->marker[0];
    s->in_call = s->marker && !s->marker[s->marker_at];
    if (!s->in_call)
        return false;
    s->marker = NULL;
    s->stops = NULL;
    return true;
}

static void count(struct text_stream *s) {
    s->seen += s->fresh.len;
    for (size_t i = 0; i < s->fresh.len; i++)
        s->seen_chars += ((unsigned char)s->fresh.data[i] & 0xC0) != 0x80;
}

// Ends the text before the stop string that was found.
static void stop(struct text_stream *s, struct buf *out) {
    s->stopped = true;
    buf_append(out, s->held.data, s->found_begin);
    buf_reset(&s->held);
}

// Lets out of held + fresh all that no stop string can begin in.
static void release(struct text_stream *s, struct buf *out) {
    struct buf *held = &s->held, *fresh = &s->fresh;
    if (!s->stops) {
        for (size_t i = 0; s->marker && i < fresh->len; i++)
            (void)step_marker(s, fresh->data[i]);
        buf_append(out, fresh->data, fresh->len);
        return;
    }
    size_t before = held->len;
    buf_append(held, fresh->data, fresh->len);
    if (held->failed)
        return;
    for (size_t i = before; i < held->len; i++) {
        size_t len = s->found ? 0 : step(s, held->data[i]);
        if (len) {
            s->found = true;
            s->found_begin = i + 1 - len;
            s->found_end = i + 1;
        }
        if (step_marker(s, held->data[i])) {
            buf_append(out, held->data, held->len);
            buf_reset(held);
            return;
        }
        // what may still be the marker begins behind it
        if (s->found && i + 1 - s->marker_at >= s->found_end) {
            stop(s, out);
            return;
        }
    }
    size_t keep = s->found ? held->len - s->found_begin : 0;
    for (size_t i = 0; !s->found && i < s->stops->count; i++)
        keep = s->matched[i] > keep ? s->matched[i] : keep;
    size_t free_now = held->len - keep;
    if (s->found)
        s->found_begin -= free_now, s->found_end -= free_now;
    buf_append(out, held->data, free_now);
    if (keep)
        memmove(held->data, held->data + free_now, keep);
    held->len = keep;
}

static enum err check(const struct text_stream *s, const struct buf *out, struct errmsg *msg) {
    if (s->held.failed || s->fresh.failed || out->failed)
        return err_set(msg, ERR_NOMEM, "no memory for a text");
    return ERR_OK;
}

enum err text_stream_add(struct text_stream *s, int32_t id, struct buf *out, struct errmsg *msg) {
    if (s->stopped)
        return ERR_OK;
    buf_reset(&s->fresh);
    enum err e = token_stream_add(&s->tokens, id, &s->fresh, msg);
    if (e)
        return e;
    count(s);
    release(s, out);
    return check(s, out, msg);
}

enum err text_stream_end(struct text_stream *s, struct buf *out, struct errmsg *msg) {
    if (s->stopped)
        return ERR_OK;
    buf_reset(&s->fresh);
    token_stream_end(&s->tokens, &s->fresh);
    count(s);
    release(s, out);
    if (s->found && !s->stopped && !s->in_call)
        stop(s, out);
    else if (!s->stopped)
        buf_append(out, s->held.data, s->held.len);
    buf_reset(&s->held);
    return check(s, out, msg);
}
