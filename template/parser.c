// See parser.h: what all of the parser uses, and making and freeing a compiled template.
#include "template/parser.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "template/chars.h"
#include "template/functions.h"
#include "template/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE = 1 << 20, MAX_TEMPLATE = 256 << 20 };

struct call_check {
    struct call_check *next;
    const struct ast_node *callee;
};

void *parser_fail(struct parser *p, enum err e, const char *fmt, ...) {
    if (p->err)
        return NULL; // the first error is the one to tell
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    p->err = err_set(p->msg, e, "%s, line %u: %s", p->t->label, p->now.line, what);
    p->now.kind = TOKEN_END;
    return NULL;
}

void *parser_fail_token(struct parser *p, const char *expected) {
    switch (p->now.kind) {
    case TOKEN_END:
        return parser_fail(p, ERR_INVALID, "the template ends where %s was expected", expected);
    case TOKEN_BLOCK_END:
    case TOKEN_OUTPUT_END:
        return parser_fail(p, ERR_INVALID, "the tag ends where %s was expected", expected);
    default:
        return parser_fail(p, ERR_INVALID, "'%.*s' where %s was expected",
                           p->now.len > 60 ? 60 : (int)p->now.len, p->now.text, expected);
    }
}

static bool take_token(struct parser *p, struct lexer_token *out) {
    enum err e = p->err ? p->err : lexer_next(&p->lexer, out);
    if (!e)
        return true;
    p->err = e;
    out->kind = TOKEN_END;
    return false;
}

bool parser_advance(struct parser *p) {
    if (p->has_ahead && !p->err) {
        p->now = p->ahead;
        p->has_ahead = false;
        return true;
    }
    if (take_token(p, &p->now))
        return true;
    p->now.kind = TOKEN_END;
    return false;
}

bool parser_peek(struct parser *p) {
    if (!p->has_ahead && !take_token(p, &p->ahead))
        return false;
    p->has_ahead = true;
    return true;
}

bool parser_is(const struct parser *p, const char *operator_text) {
    return lexer_token_is(&p->now, TOKEN_OPERATOR, operator_text);
}

bool parser_is_name(const struct parser *p, const char *name) {
    return lexer_token_is(&p->now, TOKEN_NAME, name);
}

bool parser_skip(struct parser *p, const char *operator_text) {
    return parser_is(p, operator_text) && parser_advance(p);
}

bool parser_skip_name(struct parser *p, const char *name) {
    return parser_is_name(p, name) && parser_advance(p);
}

bool parser_expect(struct parser *p, const char *operator_text) {
    if (parser_skip(p, operator_text))
        return true;
    char expected[16];
    snprintf(expected, sizeof expected, "'%s'", operator_text);
    return parser_fail_token(p, expected);
}

bool parser_expect_name(struct parser *p, const char *name) {
    if (parser_skip_name(p, name))
        return true;
    char expected[32];
    snprintf(expected, sizeof expected, "'%s'", name);
    return parser_fail_token(p, expected);
}

static void *parser_alloc(struct parser *p, size_t count, size_t size) {
    void *out = template_region_alloc(&p->t->pool, count, size);
    if (out)
        return out;
    if (p->t->pool.over_limit)
        return parser_fail(p, ERR_TOO_LARGE, "the template is too large");
    return parser_fail(p, ERR_NOMEM, "no memory for the template");
}

static struct ast_name **bucket(struct template *t, const char *text, size_t len) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return &t->names[h % NAME_BUCKETS];
}

struct ast_name *parser_name(struct parser *p, const char *text, size_t len) {
    struct ast_name **head = bucket(p->t, text, len);
    for (struct ast_name *n = *head; n; n = n->next)
        if (n->len == len && memcmp(n->text, text, len) == 0)
            return n;
    struct ast_name *n = parser_alloc(p, 1, sizeof *n);
    char *copy = n ? parser_alloc(p, len + 1, 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    n->text = n->missing.name = copy;
    n->len = len;
    n->next = *head;
    *head = n;
    return n;
}

void parser_assign(struct ast_name *n) { n->assigned = true; }

void parser_read(struct parser *p, struct ast_name *n) {
    n->read = true;
    n->settled |= p->scopes == 0;
}

void parser_store(struct parser *p, struct ast_name *n) {
    if (p->scopes || n->settled)
        return;
    n->settled = true;
    n->own = p->branches == 0;
    if (n->own) {
        n->next_own = p->t->own;
        p->t->own = n;
    }
}

struct ast_node *parser_node(struct parser *p, enum ast_node_kind kind) {
    struct ast_node *n = p->err ? NULL : parser_alloc(p, 1, sizeof *n);
    if (!n)
        return NULL;
    n->kind = kind;
    n->line = p->now.line;
    n->depth = 1;
    return n;
}

bool parser_close(struct parser *p, struct ast_node *n) {
    const struct ast_node *parts[] = {n->a, n->b, n->c, n->d, n->e};
    for (size_t i = 0; i < 5; i++)
        for (const struct ast_node *part = parts[i]; part; part = part->next)
            if (part->depth >= n->depth)
                n->depth = part->depth + 1;
    if (n->depth > MAX_TREE)
        return parser_fail(p, ERR_TOO_LARGE, "an expression or block of over %d levels", MAX_TREE);
    return true;
}

bool parser_enter(struct parser *p) {
    if (++p->nesting > MAX_NESTING)
        return parser_fail(p, ERR_TOO_LARGE, "nested over %d levels deep", MAX_NESTING);
    return true;
}

void parser_leave(struct parser *p) { p->nesting--; }

bool parser_text(struct parser *p, const char *s, size_t len, struct value *out) {
    struct value_text *t = parser_alloc(p, 1, sizeof *t);
    char *copy = t ? parser_alloc(p, len + 1, 1) : NULL;
    if (!copy)
        return false;
    if (len)
        memcpy(copy, s, len);
    *t = (struct value_text){.data = copy, .len = len, .chars = chars_count(copy, len)};
    *out = value_text(t);
    return true;
}

bool parser_integer(struct parser *p, const char *digits, size_t len, struct value *out) {
    int64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digits[i] - '0', &v)) {
            if (!parser_text(p, digits, len, out))
                return false;
            out->kind = VALUE_BIG;
            return true;
        }
    }
    *out = value_int(v);
    return true;
}

bool parser_check_call(struct parser *p, struct ast_node *callee) {
    struct call_check *check = parser_alloc(p, 1, sizeof *check);
    if (!check)
        return false;
    *check = (struct call_check){p->checks, callee};
    p->checks = check;
    return true;
}

// Names that jinja2 knows and this interpreter does not.
static bool is_foreign(const char *name) {
    static const char *const foreign[] = {"lipsum", "cycler", "joiner", "self"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (strcmp(name, foreign[i]) == 0)
            return true;
    return false;
}

static bool check_calls(struct parser *p) {
    for (const struct call_check *c = p->checks; c; c = c->next) {
        bool method = c->callee->kind == NODE_ATTR;
        const struct ast_name *n = method ? c->callee->attribute : c->callee->name;
        if (n->assigned ||
            (!method && (global_find(n->text, n->len) || strcmp(n->text, "caller") == 0)))
            continue;
        p->now.line = c->callee->line;
        return parser_fail(p, ERR_UNSUPPORTED, "%s '%.60s' is not supported",
                           method ? "method" : "function", n->text);
    }
    for (size_t i = 0; i < NAME_BUCKETS; i++)
        for (const struct ast_name *n = p->t->names[i]; n; n = n->next)
            if (n->read && !n->assigned && is_foreign(n->text))
                return parser_fail(p, ERR_UNSUPPORTED, "'%s' is not supported", n->text);
    return true;
}

// jinja2 reads every kind of newline as \n and drops one at the end.
static char *normalize(struct parser *p, const char *text, size_t len, size_t *out_len) {
    char *out = parser_alloc(p, len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; out && i < len; i++) {
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
            continue;
        out[n++] = text[i];
        if (text[i] == '\r')
            out[n - 1] = '\n';
    }
    if (n > 0 && out[n - 1] == '\n')
        n--;
    *out_len = n;
    return out;
}

static bool compile(struct parser *p, const char *text, size_t len) {
    size_t n, bad;
    if (len > MAX_SOURCE)
        return parser_fail(p, ERR_TOO_LARGE, "a template of over %d bytes", MAX_SOURCE);
    if (!utf8_valid(text, len, &bad))
        return parser_fail(p, ERR_INVALID, "byte %zu is not UTF-8", bad);
    char *label = parser_alloc(p, strlen(p->t->label) + 1, 1);
    if (!label)
        return false;
    strcpy(label, p->t->label); // NOLINT: allocated above to its length
    p->t->label = label;
    char *source = normalize(p, text, len, &n);
    if (!source)
        return false;
    lexer_start(&p->lexer, p->t->label, source, n, p->msg);
    p->t->loop_name = parser_name(p, "loop", 4);
    p->t->caller_name = parser_name(p, "caller", 6);
    p->t->varargs_name = parser_name(p, "varargs", 7);
    p->t->kwargs_name = parser_name(p, "kwargs", 6);
    if (!parser_advance(p))
        return false;
    p->t->body = parser_template(p);
    return !p->err && check_calls(p);
}

enum err template_compile(const char *name, const char *text, size_t len, struct template **out,
                          struct errmsg *msg) {
    *out = NULL;
    struct template *t = mem_calloc(1, sizeof *t);
    if (!t)
        return err_set(msg, ERR_NOMEM, "%s: no memory for the template", name);
    t->label = name;
    t->pool.limit = MAX_TEMPLATE;
    struct parser p = {.t = t, .msg = msg, .now.line = 1};
    bool ok = compile(&p, text, len);
    buf_free(&p.scratch);
    if (ok) {
        *out = t;
        return ERR_OK;
    }
    template_free(t);
    return p.err ? p.err : err_set(msg, ERR_INTERNAL, "%s: parsing failed without a reason", name);
}

void template_free(struct template *t) {
    if (!t)
        return;
    template_region_free(&t->pool);
    mem_free(t);
}

bool template_uses(const struct template *t, const char *variable) {
    size_t len = strlen(variable);
    for (const struct ast_name *n = *bucket((struct template *)t, variable, len); n; n = n->next)
        if (n->read && n->len == len && memcmp(n->text, variable, len) == 0)
            return true;
    return false;
}
