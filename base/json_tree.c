// See json_tree.h. Two walks over checked text: the first counts nodes and bytes, so that the
// second fills one block. Neither recurs: json_check has bounded the depth.
#include "base/json_tree.h"

#include "base/buf.h"
#include "base/json_escape.h"
#include "base/mem.h"

#include <stdint.h>
#include <string.h>

enum { MAX_DEPTH = 64 }; // json_check's own bound

struct json_tree {
    struct json_node nodes[1]; // as many as were counted, the root first; their texts lie behind
};

// A walk counts when `nodes` is NULL, else fills.
struct walk {
    const char *text;
    size_t at;
    struct json_node *nodes;
    char *chars;
    size_t node_count, char_count;
};

static void skip_to_value(struct walk *w) {
    while (strchr(" \t\n\r,:", w->text[w->at]) && w->text[w->at])
        w->at++;
}

static void keep_char(struct walk *w, char c) {
    if (w->chars)
        w->chars[w->char_count] = c;
    w->char_count++;
}

// From the opening quote to behind the closing one; *text and *len as kept.
static void take_string(struct walk *w, const char **text, size_t *len) {
    size_t start = w->char_count;
    w->at++;
    while (w->text[w->at] != '"') {
        char out[4];
        size_t n = json_decode_char(w->text, &w->at, out);
        for (size_t i = 0; i < n; i++)
            keep_char(w, out[i]);
    }
    w->at++;
    *len = w->char_count - start;
    *text = w->chars ? w->chars + start : NULL;
    keep_char(w, '\0');
}

// `end` bounds a number that is the whole document: it has nothing behind it to stop at.
static void take_number(struct walk *w, size_t end, const char **text, size_t *len) {
    size_t start = w->char_count;
    while (w->at < end && memchr("+-.eE0123456789", w->text[w->at], 15))
        keep_char(w, w->text[w->at++]);
    *len = w->char_count - start;
    *text = w->chars ? w->chars + start : NULL;
    keep_char(w, '\0');
}

static void take_value(struct walk *w, size_t end, struct json_node *node) {
    switch (w->text[w->at]) {
    case '{':
        node->kind = JSON_OBJECT;
        w->at++;
        break;
    case '[':
        node->kind = JSON_ARRAY;
        w->at++;
        break;
    case '"':
        node->kind = JSON_STRING;
        take_string(w, &node->text, &node->len);
        break;
    case 't':
        node->kind = JSON_TRUE;
        w->at += 4;
        break;
    case 'f':
        node->kind = JSON_FALSE;
        w->at += 5;
        break;
    case 'n':
        node->kind = JSON_NULL;
        w->at += 4;
        break;
    default:
        node->kind = JSON_NUMBER;
        take_number(w, end, &node->text, &node->len);
    }
}

static void walk_document(struct walk *w, size_t len) {
    struct {
        struct json_node *parent, *last;
        bool is_object;
    } open[MAX_DEPTH] = {0};
    size_t depth = 0;
    struct json_node counted = {0}; // what a counting walk fills and forgets
    do {
        skip_to_value(w);
        if (depth && (w->text[w->at] == ']' || w->text[w->at] == '}')) {
            w->at++;
            depth--;
            continue;
        }
        struct json_node *node = w->nodes ? &w->nodes[w->node_count] : &counted;
        w->node_count++;
        *node = (struct json_node){0};
        if (depth && open[depth - 1].is_object) {
            take_string(w, &node->key, &node->key_len);
            skip_to_value(w);
        }
        if (depth && w->nodes) {
            struct json_node *parent = open[depth - 1].parent;
            struct json_node *last = open[depth - 1].last;
            if (last)
                last->next = node;
            else
                parent->child = node;
            parent->count++;
            open[depth - 1].last = node;
        }
        take_value(w, len, node);
        if (node->kind == JSON_OBJECT || node->kind == JSON_ARRAY) {
            open[depth].parent = node;
            open[depth].last = NULL;
            open[depth++].is_object = node->kind == JSON_OBJECT;
        }
    } while (depth);
}

enum err json_tree_parse(const char *text, size_t len, const struct json_limits *limits,
                         struct json_tree **out, struct json_issue *issue, struct errmsg *msg) {
    *out = NULL;
    enum err e = json_check(text, len, limits, issue, msg);
    if (e)
        return e;
    struct walk count = {.text = text};
    walk_document(&count, len);
    // A text of at most 4 GiB has fewer values and bytes than overflow these sums.
    size_t bytes = count.node_count * sizeof(struct json_node) + count.char_count;
    char *block = mem_alloc(bytes, 1);
    if (!block)
        return err_set(msg, ERR_NOMEM, "no memory for a tree of %zu JSON values", count.node_count);
    struct walk fill = {.text = text,
                        .nodes = (void *)block,
                        .chars = block + count.node_count * sizeof(struct json_node)};
    walk_document(&fill, len);
    *out = (void *)block;
    return ERR_OK;
}

void json_tree_free(struct json_tree *t) { mem_free(t); }

const struct json_node *json_tree_root(const struct json_tree *t) { return t->nodes; }

const struct json_node *json_node_get(const struct json_node *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT)
        return NULL;
    size_t len = strlen(key);
    for (const struct json_node *m = object->child; m; m = m->next)
        if (m->key_len == len && memcmp(m->key, key, len) == 0)
            return m;
    return NULL;
}

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
