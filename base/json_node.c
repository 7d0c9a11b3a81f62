// See json_node.h.
#include "base/json_node.h"

#include "base/buf.h"
#include "base/json_text.h"

#include <math.h>
#include <string.h>

enum { MAX_DEPTH = 64 }; // the scanner's own bound

bool json_is_word(const struct json_node *n, const char *word) {
    return json_is(n, JSON_STRING) && strcmp(n->text, word) == 0;
}

bool json_is_empty(const struct json_node *n) {
    if (json_is(n, JSON_STRING))
        return n->len == 0;
    return (json_is(n, JSON_ARRAY) || json_is(n, JSON_OBJECT)) && !n->child;
}

// Recursion is bounded: a tree is at most 64 deep.
bool json_is_same(const struct json_node *a, const struct json_node *b) {
    if (a->kind != b->kind)
        return false;
    if (a->kind == JSON_NUMBER)
        return a->number <= b->number && a->number >= b->number;
    if (a->kind == JSON_STRING)
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
    const struct json_node *x = a->child, *y = b->child;
    for (; x && y; x = x->next, y = y->next)
        if (x->key_len != y->key_len || (x->key && memcmp(x->key, y->key, x->key_len) != 0) ||
            !json_is_same(x, y))
            return false;
    return !x && !y;
}

const struct json_node *json_node_get(const struct json_node *object, const char *key) {
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    size_t len = strlen(key);
    for (const struct json_node *m = object->child; m; m = m->next)
        if (m->key_len == len && memcmp(m->key, key, len) == 0)
            return m;
    return NULL;
}

const struct json_node *json_node_value(const struct json_node *object, const char *key) {
    const struct json_node *n = json_node_get(object, key);
    return json_is(n, JSON_NULL) ? NULL : n;
}

static bool is_absent(const struct json_node *n) { return !n || n->kind == JSON_NULL; }

enum err json_node_int(const struct json_node *n, const char *key, int64_t min, int64_t max,
                       int64_t fallback, int64_t *out, struct errmsg *msg) {
    *out = fallback;
    if (is_absent(n))
        return ERR_OK;
    if (n->kind != JSON_NUMBER || n->number != floor(n->number))
        return err_set(msg, ERR_INVALID, "'%s' must be an integer", key);
    // a double holds integers exactly up to 2^53; every range asked for lies within
    if (n->number < (double)min || n->number > (double)max)
        return err_set(msg, ERR_INVALID, "'%s' is %.0f, outside %lld to %lld", key, n->number,
                       (long long)min, (long long)max);
    *out = (int64_t)n->number;
    return ERR_OK;
}

enum err json_node_double(const struct json_node *n, const char *key, double min, double max,
                          double fallback, double *out, struct errmsg *msg) {
    *out = fallback;
    if (is_absent(n))
        return ERR_OK;
    if (n->kind != JSON_NUMBER)
        return err_set(msg, ERR_INVALID, "'%s' must be a number", key);
    if (!(n->number >= min && n->number <= max))
        return err_set(msg, ERR_INVALID, "'%s' is %g, outside %g to %g", key, n->number, min, max);
    *out = n->number;
    return ERR_OK;
}

enum err json_node_bool(const struct json_node *n, const char *key, bool fallback, bool *out,
                        struct errmsg *msg) {
    *out = fallback;
    if (is_absent(n))
        return ERR_OK;
    if (!json_is_bool(n))
        return err_set(msg, ERR_INVALID, "'%s' must be true or false", key);
    *out = n->kind == JSON_TRUE;
    return ERR_OK;
}

enum err json_node_string(const struct json_node *n, const char *key, const char *fallback,
                          const char **out, struct errmsg *msg) {
    *out = fallback;
    if (is_absent(n))
        return ERR_OK;
    if (n->kind != JSON_STRING)
        return err_set(msg, ERR_INVALID, "'%s' must be a string", key);
    *out = n->text;
    return ERR_OK;
}

// ---- printing

static void print_head(struct buf *out, const struct json_node *n) {
    if (n->key) {
        json_quote(out, n->key, n->key_len);
        buf_putc(out, ':');
    }
    switch (n->kind) {
    case JSON_NULL:
        buf_puts(out, "null");
        break;
    case JSON_FALSE:
        buf_puts(out, "false");
        break;
    case JSON_TRUE:
        buf_puts(out, "true");
        break;
    case JSON_NUMBER:
        buf_append(out, n->text, n->len);
        break;
    case JSON_STRING:
        json_quote(out, n->text, n->len);
        break;
    case JSON_ARRAY:
        buf_putc(out, '[');
        break;
    case JSON_OBJECT:
        buf_putc(out, '{');
        break;
    }
}

void json_node_print(struct buf *out, const struct json_node *node) {
    const struct json_node *open[MAX_DEPTH];
    size_t depth = 0;
    struct json_node top = *node; // printed as a value, whatever it is a member of
    top.key = NULL;
    for (const struct json_node *n = &top; n;) {
        print_head(out, n);
        if (n->child) {
            open[depth++] = n;
            n = n->child;
            continue;
        }
        if (n->kind == JSON_ARRAY || n->kind == JSON_OBJECT)
            buf_putc(out, n->kind == JSON_ARRAY ? ']' : '}');
        // `next` of the top is its sibling in the tree it stands in, not ours
        while (depth && !n->next) {
            n = open[--depth];
            buf_putc(out, n->kind == JSON_ARRAY ? ']' : '}');
        }
        if (!depth)
            return;
        buf_putc(out, ',');
        n = n->next;
    }
}
