// See json_tree.h. Nodes lie in chunks, each twice as large as the one before, so that no node ever
// moves. The strings of a parsed text lie in one block.
#include "base/json_tree.h"

#include "base/json_scan.h"
#include "base/json_text.h"
#include "base/mem.h"

#include <string.h>

enum { CHUNK_FIRST = 32, CHUNK_MOST = 4096 }; // nodes
enum { TEXTS = 256 << 10 };                   // bytes of a block of strings

struct json_chunk {
    struct json_chunk *next;
    size_t used, cap;
    struct json_node nodes[];
};

struct json_block {
    struct json_block *next;
    char bytes[];
};

struct json_tree {
    const struct json_node *root;
    struct json_chunk *chunks; // the one that is being filled first
    struct json_block *blocks;
};

struct json_tree *json_tree_new(void) {
    return mem_calloc(1, sizeof(struct json_tree));
}

void json_tree_free(struct json_tree *t) {
    if (!t)
        return;
    for (struct json_chunk *c = t->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    for (struct json_block *b = t->blocks, *next; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    mem_free(t);
}

const struct json_node *json_tree_root(const struct json_tree *t) { return t->root; }

static struct json_node *new_node(struct json_tree *t) {
    struct json_chunk *c = t->chunks;
    if (!c || c->used == c->cap) {
        size_t cap = !c ? CHUNK_FIRST : c->cap < CHUNK_MOST ? c->cap * 2 : CHUNK_MOST;
        struct json_chunk *more = mem_alloc(1, sizeof *more + cap * sizeof *more->nodes);
        if (!more)
            return NULL;
        *more = (struct json_chunk){.next = c, .cap = cap};
        t->chunks = c = more;
    }
    return &c->nodes[c->used++];
}

struct json_node *json_tree_add(struct json_tree *t, struct json_place *at, enum json_kind kind) {
    struct json_node *n = new_node(t);
    if (!n)
        return NULL;
    *n = (struct json_node){.kind = kind};
    if (at->last)
        at->last->next = n;
    else if (at->parent)
        at->parent->child = n;
    else
        t->root = n;
    if (at->parent)
        at->parent->count++;
    at->last = n;
    return n;
}

// Bytes that live as long as the tree.
static char *tree_bytes(struct json_tree *t, size_t n) {
    if (n > SIZE_MAX - sizeof(struct json_block))
        return NULL;
    struct json_block *b = mem_alloc(1, sizeof *b + n);
    if (!b)
        return NULL;
    b->next = t->blocks;
    t->blocks = b;
    return b->bytes;
}

bool json_tree_set_string(struct json_tree *t, const struct json_node *node, const char *s,
                          size_t len) {
    char *copy = tree_bytes(t, len + 1);
    if (!copy)
        return false;
    if (len)
        memcpy(copy, s, len);
    copy[len] = '\0';
    struct json_node *n = (struct json_node *)node; // the tree's own, and its owner asks
    n->kind = JSON_STRING;
    n->text = copy;
    n->len = len;
    n->child = NULL;
    n->count = 0;
    return true;
}

// The strings of a text that is being parsed.
struct json_texts {
    char *at;
    size_t room;   // behind `at`
    size_t bounds; // bytes that all strings still to come need at most
};

// Copies a string with a NUL behind it. A string is at most as long as it was spelled, and its two
// quotes are not kept; behind a number stands something, or the document ends: so all of them need
// no more than the text and a byte.
static bool keep(struct json_tree *t, struct json_texts *texts, const struct json_span *span,
                 const char **text, size_t *len) {
    if (!texts->at || span->len + 1 > texts->room) {
        size_t more = texts->bounds < TEXTS ? texts->bounds : TEXTS;
        texts->room = span->len + 1 > more ? span->len + 1 : more;
        texts->at = tree_bytes(t, texts->room);
        if (!texts->at)
            return false;
    }
    *text = texts->at;
    *len = span->len;
    if (span->escapes)
        *len = json_decode(span->at, span->len, texts->at);
    else
        memcpy(texts->at, span->at, span->len);
    texts->at[*len] = '\0';
    texts->at += *len + 1;
    texts->room -= *len + 1;
    texts->bounds -= *len + 1;
    return true;
}

static bool fill(struct json_tree *t, struct json_scan *s, const struct json_node **root) {
    static const enum json_kind kinds[] = {
        [JSON_TOKEN_NULL] = JSON_NULL,          [JSON_TOKEN_FALSE] = JSON_FALSE,
        [JSON_TOKEN_TRUE] = JSON_TRUE,          [JSON_TOKEN_NUMBER] = JSON_NUMBER,
        [JSON_TOKEN_STRING] = JSON_STRING,      [JSON_TOKEN_OPEN_ARRAY] = JSON_ARRAY,
        [JSON_TOKEN_OPEN_OBJECT] = JSON_OBJECT,
    };
    struct json_place open[JSON_MAX_DEPTH + 1] = {0};
    struct json_texts texts = {.bounds = s->len + 1};
    struct json_token token;
    size_t depth = 0;
    *root = NULL;
    while (json_scan_next(s, &token)) {
        if (token.kind == JSON_TOKEN_CLOSE) {
            depth--;
            continue;
        }
        bool has_text = token.kind == JSON_TOKEN_STRING || token.kind == JSON_TOKEN_NUMBER;
        struct json_node *n = json_tree_add(t, &open[depth], kinds[token.kind]);
        if (!n || (token.key.at && !keep(t, &texts, &token.key, &n->key, &n->key_len)) ||
            (has_text && !keep(t, &texts, &token.text, &n->text, &n->len)))
            return false;
        if (!*root)
            *root = n;
        if (token.kind == JSON_TOKEN_NUMBER)
            n->number = token.number;
        if (token.kind >= JSON_TOKEN_OPEN_ARRAY)
            open[++depth] = (struct json_place){.parent = n};
    }
    return true;
}

static enum err parse(struct json_tree *t, const char *text, size_t len,
                      const struct json_limits *limits, const struct json_node **root,
                      struct json_issue *issue, struct errmsg *msg) {
    struct json_scan s;
    enum err e = json_scan_begin(&s, text, len, limits, msg);
    if (e)
        return e;
    bool filled = fill(t, &s, root);
    e = json_scan_end(&s, issue, msg);
    return filled ? e : err_set(msg, ERR_NOMEM, "no memory for a tree of %zu bytes of JSON", len);
}

enum err json_tree_parse_into(struct json_tree *t, const char *text, size_t len,
                              const struct json_limits *limits, const struct json_node **root,
                              struct errmsg *msg) {
    const struct json_node *own = t->root;
    enum err e = parse(t, text, len, limits, root, NULL, msg);
    t->root = own;
    return e;
}

enum err json_tree_parse(const char *text, size_t len, const struct json_limits *limits,
                         struct json_tree **out, struct json_issue *issue, struct errmsg *msg) {
    const struct json_node *root;
    struct json_tree *t = *out = json_tree_new();
    if (!t)
        return err_set(msg, ERR_NOMEM, "no memory for a tree of JSON");
    enum err e = parse(t, text, len, limits, &root, issue, msg);
    if (e) {
        json_tree_free(t);
        *out = NULL;
    }
    return e;
}
