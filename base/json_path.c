// See json_path.h.
#include "base/json_path.h"

#include <stdio.h>
#include <string.h>

enum { MOST_KEY = 40 };

static bool is_plain(const struct json_span *key) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (key->len == 0 || key->len > MOST_KEY)
        return false;
    for (size_t i = 0; i < key->len; i++)
        if (!memchr(plain, key->at[i], sizeof plain - 1))
            return false;
    return true;
}

void json_path_print(const struct json_level *levels, size_t depth, char *out, size_t size) {
    size_t len = 0;
    *out = '\0';
    for (size_t i = 0; i < depth && len < size; i++) {
        const struct json_level *l = &levels[i];
        int n = 0;
        if (!l->is_object) {
            n = snprintf(out + len, size - len, "[%zu]", l->index);
        } else if (l->in_value) {
            bool plain = is_plain(&l->key);
            n = snprintf(out + len, size - len, "%s%.*s", len ? "." : "",
                         plain ? (int)l->key.len : 1, plain ? l->key.at : "?");
        }
        if (n > 0)
            len += (size_t)n;
    }
}
