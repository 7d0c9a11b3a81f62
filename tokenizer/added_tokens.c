// See added_tokens.h. Parsing is added_tokens_json.c.
#include "tokenizer/added_tokens.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

static int32_t find_child(const struct added_matcher *m, int32_t node, unsigned char byte) {
    int32_t c = m->nodes[node].child;
    while (c >= 0 && m->nodes[c].byte != byte)
        c = m->nodes[c].next;
    return c;
}

// The longest token that begins at `at`: its index and *end, or -1.
static int32_t match_at(const struct added_matcher *m, const char *text, size_t at, size_t len,
                        size_t *end) {
    int32_t node = 0, found = -1;
    for (size_t i = at; i < len; i++) {
        node = find_child(m, node, (unsigned char)text[i]);
        if (node < 0)
            break;
        if (m->nodes[node].token >= 0) {
            found = m->nodes[node].token;
            *end = i + 1;
        }
    }
    return found;
}

static unsigned flags_before(const char *text, size_t at, size_t *begin) {
    size_t i = at - 1;
    while (i > 0 && utf8_is_tail(text[i]))
        i--;
    uint32_t cp = 0;
    utf8_decode(text + i, at - i, &cp);
    *begin = i;
    return unicode_flags(cp);
}

static unsigned flags_at(const char *text, size_t at, size_t len, size_t *end) {
    uint32_t cp = 0;
    size_t size = utf8_decode(text + at, len - at, &cp);
    *end = at + (size ? size : 1);
    return unicode_flags(cp);
}

static bool stands_alone(const char *text, size_t begin, size_t end, size_t len) {
    size_t unused;
    return (begin == 0 || !(flags_before(text, begin, &unused) & UNICODE_WORD)) &&
           (end == len || !(flags_at(text, end, len, &unused) & UNICODE_WORD));
}

static enum err push(struct added_splits *s, size_t begin, size_t end,
                     const struct added_token *token) {
    if (s->count == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 16;
        struct added_split *items = mem_realloc(s->items, cap, sizeof *items);
        if (!items)
            return ERR_NOMEM;
        s->items = items;
        s->cap = cap;
    }
    s->items[s->count++] = (struct added_split){begin, end, token};
    return ERR_OK;
}

enum err added_tokens_split(const struct added_tokens *a, const struct added_matcher *m,
                            const char *text, size_t len, struct added_splits *out) {
    size_t done = 0;      // split up to here
    size_t spaces_to = 0; // the space run last scanned ends here, so no byte is scanned twice
    enum err e = ERR_OK;
    out->count = 0;
    for (size_t at = 0; m->nodes && at < len && !e;) {
        size_t end = at, begin = at;
        int32_t index = m->first[(unsigned char)text[at]] ? match_at(m, text, at, len, &end) : -1;
        if (index < 0) {
            at++;
            continue;
        }
        at = end; // the search goes on behind what was found, whatever becomes of it
        const struct added_token *token = &a->items[index];
        if (token->special && a->split_special)
            continue;
        if (token->single_word && !stands_alone(text, begin, end, len))
            continue;
        for (size_t p; token->lstrip && begin > done; begin = p)
            if (!(flags_before(text, begin, &p) & UNICODE_WHITESPACE))
                break;
        if (token->lstrip && begin < done)
            begin = done;
        if (begin >= end) // its own spaces went to the token before; Hugging Face panics here
            continue;
        if (token->rstrip) {
            end = end < spaces_to ? spaces_to : end;
            for (size_t p; end < len; end = p)
                if (!(flags_at(text, end, len, &p) & UNICODE_WHITESPACE))
                    break;
            spaces_to = end;
        }
        if (done < begin)
            e = push(out, done, begin, NULL);
        if (!e)
            e = push(out, begin, end, token);
        done = end;
    }
    return !e && done < len ? push(out, done, len, NULL) : e;
}

const struct added_token *added_tokens_by_id(const struct added_tokens *a, int32_t id) {
    size_t low = 0, high = a->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (a->items[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < a->count && a->items[low].id == id ? &a->items[low] : NULL;
}

void added_tokens_free(struct added_tokens *a) {
    for (size_t i = 0; i < a->count; i++) {
        mem_free(a->items[i].content);
        mem_free(a->items[i].pattern);
    }
    mem_free(a->items);
    mem_free(a->raw.nodes);
    mem_free(a->normalized.nodes);
    *a = (struct added_tokens){0};
}
