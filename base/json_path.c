// See json_path.h.
#include "base/json_path.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MOST_LEVELS = 64, MOST_KEY = 40 };

struct level {
    bool is_object, in_value; // in_value: of an object, behind a key's colon
    size_t index;
    const char *key;
    size_t key_len;
};

// Behind the closing quote of the string that begins at `at`, or end.
static size_t skip_string(const char *text, size_t at, size_t end) {
    for (at++; at < end && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < end ? at + 1 : end;
}

// The levels that are open at `end`; returns how many.
static size_t walk(const char *text, size_t end, struct level levels[MOST_LEVELS]) {
    size_t depth = 0;
    for (size_t at = 0; at < end;) {
        struct level *top = depth ? &levels[depth - 1] : NULL;
        char c = text[at];
        if (c == '"') {
            size_t next = skip_string(text, at, end);
            if (top && top->is_object && !top->in_value) {
                top->key = text + at + 1;
                top->key_len = next - at >= 2 ? next - at - 2 : 0;
            }
            at = next;
            continue;
        }
        if ((c == '{' || c == '[') && depth < MOST_LEVELS)
            levels[depth++] = (struct level){.is_object = c == '{'};
        else if ((c == '}' || c == ']') && depth)
            depth--;
        else if (c == ':' && top)
            top->in_value = true;
        else if (c == ',' && top) {
            top->in_value = false;
            top->index++;
        }
        at++;
    }
    return depth;
}

static bool is_plain(const char *key, size_t len) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (len == 0 || len > MOST_KEY)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!memchr(plain, key[i], sizeof plain - 1))
            return false;
    return true;
}

void json_path_at(const char *text, size_t at, char *out, size_t size) {
    struct level levels[MOST_LEVELS];
    size_t depth = walk(text, at, levels), len = 0;
    *out = '\0';
    for (size_t i = 0; i < depth && len < size; i++) {
        const struct level *l = &levels[i];
        int n = 0;
        if (!l->is_object) {
            n = snprintf(out + len, size - len, "[%zu]", l->index);
        } else if (l->in_value) {
            bool plain = is_plain(l->key, l->key_len);
            n = snprintf(out + len, size - len, "%s%.*s", len ? "." : "",
                         plain ? (int)l->key_len : 1, plain ? l->key : "?");
        }
        if (n > 0)
            len += (size_t)n;
    }
}
