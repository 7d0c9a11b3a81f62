// See parser.h: statements. A body is a chain of statements up to one of its closing tags; when the
// body has been read, p->now is that tag's name.
#include "template/parser.h"

#include <stddef.h>
#include <string.h>

static struct ast_node *parse_statement(struct parser *p);

static bool at_any(const struct parser *p, const char *const *ends) {
    for (; *ends; ends++)
        if (parser_is_name(p, *ends))
            return true;
    return false;
}

static bool expect_kind(struct parser *p, enum lexer_token_kind kind, const char *what) {
    if (p->now.kind == kind)
        return parser_advance(p);
    return parser_fail_token(p, what);
}

static struct ast_node *parse_data(struct parser *p) {
    struct ast_node *n = parser_node(p, NODE_DATA);
    if (!n || !parser_text(p, p->now.text, p->now.len, &n->constant))
        return NULL;
    return parser_advance(p) ? n : NULL;
}

static struct ast_node *parse_output(struct parser *p) {
    struct ast_node *n = parser_node(p, NODE_OUTPUT);
    if (!n || !parser_advance(p))
        return NULL;
    n->a = parser_tuple(p, true, NULL);
    return n->a && expect_kind(p, TOKEN_OUTPUT_END, "'}}'") && parser_close(p, n) ? n : NULL;
}

// Statements up to a tag of `ends` (NULL: to the end of the template). False on failure; an empty
// body is NULL in *out.
static bool parse_chain(struct parser *p, const char *const *ends, struct ast_node **out) {
    struct ast_node **tail = out;
    *out = NULL;
    while (p->now.kind != TOKEN_END) {
        struct ast_node *n;
        if (p->now.kind == TOKEN_DATA && p->now.len == 0) {
            if (!parser_advance(p))
                return false;
            continue;
        }
        if (p->now.kind == TOKEN_DATA) {
            n = parse_data(p);
        } else if (p->now.kind == TOKEN_OUTPUT_BEGIN) {
            n = parse_output(p);
        } else {
            if (!expect_kind(p, TOKEN_BLOCK_BEGIN, "a tag"))
                return false;
            if (ends && at_any(p, ends))
                return true;
            n = parse_statement(p);
            if (n && !expect_kind(p, TOKEN_BLOCK_END, "'%}'"))
                return false;
        }
        if (!n)
            return false;
        *tail = n;
        tail = &n->next;
    }
    if (p->err || !ends)
        return !p->err;
    return parser_fail(p, ERR_INVALID, "the template ends where {%% %s %%} was expected", *ends);
}

// Behind a tag's words: its end, then the body up to a tag of `ends`.
static bool parse_body(struct parser *p, const char *const *ends, struct ast_node **out) {
    parser_skip(p, ":");
    return expect_kind(p, TOKEN_BLOCK_END, "'%}'") && parse_chain(p, ends, out);
}

// The same for a body with names of its own.
static bool parse_scope(struct parser *p, const char *const *ends, struct ast_node **out) {
    p->scopes++;
    bool ok = parse_body(p, ends, out);
    p->scopes--;
    return ok;
}

// Behind the value of a set, which is read first.
static void store_targets(struct parser *p, const struct ast_node *target) {
    if (target->kind == NODE_NAME)
        parser_store(p, target->name);
    for (const struct ast_node *t = target->kind == NODE_TUPLE ? target->a : NULL; t; t = t->next)
        store_targets(p, t);
}

// The body of what `break` cannot leave.
static bool parse_closed_body(struct parser *p, const char *const *ends, struct ast_node **out) {
    size_t loops = p->loops;
    p->loops = 0;
    bool ok = parse_scope(p, ends, out);
    p->loops = loops;
    return ok && parser_advance(p);
}

static struct ast_node *parse_target_name(struct parser *p, bool with_field) {
    if (p->now.kind != TOKEN_NAME)
        return parser_fail_token(p, "a name");
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None", NULL};
    if (at_any(p, constants))
        return parser_fail(p, ERR_INVALID, "'%.*s' cannot be assigned to", (int)p->now.len,
                           p->now.text);
    struct ast_node *n = parser_node(p, NODE_NAME);
    if (!n)
        return NULL;
    n->name = parser_name(p, p->now.text, p->now.len);
    if (!n->name || !parser_advance(p))
        return NULL;
    if (with_field && parser_skip(p, ".")) {
        n->kind = NODE_FIELD;
        parser_read(p, n->name);
        if (p->now.kind != TOKEN_NAME)
            return parser_fail_token(p, "a name");
        n->attribute = parser_name(p, p->now.text, p->now.len);
        if (!n->attribute || !parser_advance(p))
            return NULL;
        parser_assign(n->attribute);
    } else {
        parser_assign(n->name);
    }
    return n;
}

static struct ast_node *parse_targets(struct parser *p, bool with_field);

static struct ast_node *parse_target(struct parser *p, bool with_field) {
    if (!parser_is(p, "("))
        return parse_target_name(p, with_field);
    if (!parser_enter(p) || !parser_advance(p))
        return NULL;
    struct ast_node *n = parse_targets(p, with_field);
    parser_leave(p);
    return n && parser_expect(p, ")") ? n : NULL;
}

static bool ends_targets(const struct parser *p) {
    return parser_is_name(p, "in") || parser_is(p, "=") || parser_is(p, ")") ||
           p->now.kind == TOKEN_BLOCK_END;
}

static struct ast_node *parse_targets(struct parser *p, bool with_field) {
    struct ast_node *first = parse_target(p, with_field);
    if (!first || !parser_is(p, ","))
        return first;
    struct ast_node *n = parser_node(p, NODE_TUPLE);
    if (!n)
        return NULL;
    n->a = first;
    for (struct ast_node *last = first; parser_skip(p, ",") && !ends_targets(p);
         last = last->next) {
        last->next = parse_target(p, with_field);
        if (!last->next)
            return NULL;
    }
    return parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_for(struct parser *p) {
    static const char *const body_ends[] = {"endfor", "else", NULL};
    static const char *const else_ends[] = {"endfor", NULL};
    struct ast_node *n = parser_node(p, NODE_FOR);
    if (!n || !(n->a = parse_targets(p, false)) || !parser_expect_name(p, "in") ||
        !(n->b = parser_tuple(p, false, "recursive")))
        return NULL;
    if (parser_skip_name(p, "if") && !(n->c = parser_expression(p)))
        return NULL;
    if (parser_is_name(p, "recursive"))
        return parser_fail(p, ERR_UNSUPPORTED, "recursive loops are not supported");
    p->loops++;
    bool ok = parse_scope(p, body_ends, &n->d);
    p->loops--;
    if (!ok)
        return NULL;
    if (parser_skip_name(p, "else") && !parse_scope(p, else_ends, &n->e))
        return NULL;
    return parser_advance(p) && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_branches(struct parser *p) {
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    static const char *const else_ends[] = {"endif", NULL};
    struct ast_node *n = parser_node(p, NODE_IF);
    if (!n || !(n->a = parser_tuple(p, false, NULL)) || !parse_body(p, ends, &n->b))
        return NULL;
    if (parser_skip_name(p, "elif")) {
        // deep chains of elif are refused by their depth; this recursion is bounded by it too
        if (!parser_enter(p) || !(n->c = parse_branches(p)))
            return NULL;
        parser_leave(p);
        return parser_close(p, n) ? n : NULL; // the inner one has taken endif
    }
    if (parser_skip_name(p, "else") && !parse_body(p, else_ends, &n->c))
        return NULL;
    return parser_advance(p) && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_if(struct parser *p) {
    p->branches++;
    struct ast_node *n = parse_branches(p);
    p->branches--;
    return n;
}

static struct ast_node *parse_set(struct parser *p) {
    static const char *const ends[] = {"endset", NULL};
    struct ast_node *n = parser_node(p, NODE_SET);
    if (!n || !(n->a = parse_targets(p, true)))
        return NULL;
    if (parser_skip(p, "=")) {
        n->b = parser_tuple(p, true, NULL);
        store_targets(p, n->a);
        return n->b && parser_close(p, n) ? n : NULL;
    }
    n->kind = NODE_SET_BLOCK;
    store_targets(p, n->a);
    if (parser_is(p, "|") && !(n->b = parser_filters(p, NULL, false)))
        return NULL;
    return parse_closed_body(p, ends, &n->d) && parser_close(p, n) ? n : NULL;
}

// "(a, b=1)" of a macro or call block.
static bool parse_parameters(struct parser *p, struct ast_node **out) {
    struct ast_node **tail = out;
    p->scopes++; // defaults are read inside
    if (!parser_expect(p, "("))
        return false;
    while (!parser_is(p, ")")) {
        if (*out && !parser_expect(p, ","))
            return false;
        struct ast_node *n = parse_target_name(p, false);
        if (!n)
            return false;
        n->kind = NODE_PARAMETER;
        bool optional = parser_skip(p, "=");
        if (optional && !(n->a = parser_expression(p)))
            return false;
        if (!optional && tail != out &&
            ((struct ast_node *)((char *)tail - offsetof(struct ast_node, next)))->a)
            return parser_fail(p, ERR_INVALID, "a parameter without a default behind one with it");
        if (!parser_close(p, n))
            return false;
        *tail = n;
        tail = &n->next;
    }
    p->scopes--;
    return parser_advance(p);
}

// The body of a macro or call block: flags of special names are its own, and count for what it
// stands in too.
static bool parse_routine(struct parser *p, struct ast_node *n, const char *const *ends) {
    struct ast_node *outer = p->routine;
    p->routine = n;
    bool ok = parse_closed_body(p, ends, &n->d);
    p->routine = outer;
    if (outer) {
        outer->uses_caller |= n->uses_caller;
        outer->uses_varargs |= n->uses_varargs;
        outer->uses_kwargs |= n->uses_kwargs;
    }
    return ok && parser_close(p, n);
}

static struct ast_node *parse_macro(struct parser *p) {
    static const char *const ends[] = {"endmacro", NULL};
    struct ast_node *n = parser_node(p, NODE_MACRO), *name = parse_target_name(p, false);
    if (!n || !name)
        return NULL;
    n->name = name->name;
    parser_store(p, n->name);
    return parse_parameters(p, &n->a) && parse_routine(p, n, ends) ? n : NULL;
}

static struct ast_node *parse_call_block(struct parser *p) {
    static const char *const ends[] = {"endcall", NULL};
    struct ast_node *n = parser_node(p, NODE_CALL_BLOCK);
    if (!n || (parser_is(p, "(") && !parse_parameters(p, &n->a)) || !(n->b = parser_expression(p)))
        return NULL;
    if (n->b->kind != NODE_CALL)
        return parser_fail(p, ERR_INVALID, "a call block wants a call");
    return parse_routine(p, n, ends) ? n : NULL;
}

static struct ast_node *parse_with(struct parser *p) {
    static const char *const ends[] = {"endwith", NULL};
    struct ast_node *n = parser_node(p, NODE_WITH);
    if (!n)
        return NULL;
    struct ast_node **tail = &n->a;
    while (p->now.kind != TOKEN_BLOCK_END) {
        struct ast_node *set = parser_node(p, NODE_SET);
        if (!set || (n->a && !parser_expect(p, ",")) || !(set->a = parse_target(p, false)) ||
            !parser_expect(p, "=") || !(set->b = parser_expression(p)) || !parser_close(p, set))
            return NULL;
        *tail = set;
        tail = &set->next;
    }
    return parse_scope(p, ends, &n->d) && parser_advance(p) && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_filter_block(struct parser *p) {
    static const char *const ends[] = {"endfilter", NULL};
    struct ast_node *n = parser_node(p, NODE_FILTER_BLOCK);
    if (!n || !(n->b = parser_filters(p, NULL, true)))
        return NULL;
    return parse_closed_body(p, ends, &n->d) && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_generation(struct parser *p) {
    static const char *const ends[] = {"endgeneration", NULL};
    struct ast_node *n = parser_node(p, NODE_SCOPE);
    return n && parse_closed_body(p, ends, &n->d) && parser_close(p, n) ? n : NULL;
}

// {% print a, b %} prints one behind the other, not a tuple.
static struct ast_node *parse_print(struct parser *p) {
    struct ast_node *n = parser_node(p, NODE_OUTPUT), *parts = parser_node(p, NODE_CONCAT);
    if (!n || !parts)
        return NULL;
    n->a = parts;
    struct ast_node **tail = &parts->a;
    while (p->now.kind != TOKEN_BLOCK_END) {
        if (parts->a && !parser_expect(p, ","))
            return NULL;
        if (!(*tail = parser_expression(p)))
            return NULL;
        tail = &(*tail)->next;
    }
    return parser_close(p, parts) && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_leave(struct parser *p, enum ast_node_kind kind) {
    if (!p->loops)
        return parser_fail(p, ERR_INVALID, "break or continue outside a loop");
    return parser_node(p, kind);
}

static struct ast_node *parse_break(struct parser *p) { return parse_leave(p, NODE_BREAK); }
static struct ast_node *parse_continue(struct parser *p) { return parse_leave(p, NODE_CONTINUE); }

static struct ast_node *parse_statement(struct parser *p) {
    static const struct {
        const char *tag;
        struct ast_node *(*parse)(struct parser *p);
    } tags[] = {{"if", parse_if},
                {"set", parse_set},
                {"for", parse_for},
                {"macro", parse_macro},
                {"call", parse_call_block},
                {"with", parse_with},
                {"filter", parse_filter_block},
                {"generation", parse_generation},
                {"print", parse_print},
                {"break", parse_break},
                {"continue", parse_continue}};
    if (p->now.kind != TOKEN_NAME)
        return parser_fail_token(p, "a tag's name");
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        if (!parser_is_name(p, tags[i].tag))
            continue;
        if (!parser_enter(p) || !parser_advance(p))
            return NULL;
        struct ast_node *n = tags[i].parse(p);
        parser_leave(p);
        return n;
    }
    if (p->now.len > 3 && memcmp(p->now.text, "end", 3) == 0)
        return parser_fail(p, ERR_INVALID, "tag '%.*s' closes nothing",
                           p->now.len > 60 ? 60 : (int)p->now.len, p->now.text);
    return parser_fail(p, ERR_UNSUPPORTED, "tag '%.*s' is not supported",
                       p->now.len > 60 ? 60 : (int)p->now.len, p->now.text);
}

struct ast_node *parser_template(struct parser *p) {
    struct ast_node *out;
    return parse_chain(p, NULL, &out) ? out : NULL;
}
