// See parser.h: expressions, from the operator that binds loosest to the one that binds tightest. A
// chain of operators is read by a loop; nesting is counted (parser_enter).
#include "template/functions.h"
#include "template/parser.h"

#include <stdlib.h>
#include <string.h>

static struct ast_node *parse_or(struct parser *p);
static struct ast_node *parse_unary(struct parser *p);

// A node of two operands.
static struct ast_node *pair(struct parser *p, enum ast_node_kind kind, struct ast_node *a,
                             struct ast_node *b) {
    if (!a || !b)
        return NULL;
    struct ast_node *n = parser_node(p, kind);
    if (!n)
        return NULL;
    n->a = a;
    n->b = b;
    return parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_choice(struct parser *p) {
    struct ast_node *n = parse_or(p);
    while (n && parser_skip_name(p, "if")) {
        struct ast_node *choice = pair(p, NODE_CHOICE, n, parse_or(p));
        if (choice && parser_skip_name(p, "else")) {
            choice->c = parser_expression(p);
            if (!choice->c || !parser_close(p, choice))
                return NULL;
        }
        n = choice;
    }
    return n;
}

struct ast_node *parser_expression(struct parser *p) {
    if (!parser_enter(p))
        return NULL;
    struct ast_node *n = parse_choice(p);
    parser_leave(p);
    return n;
}

// Without `a if b`.
static struct ast_node *parse_plain(struct parser *p) {
    if (!parser_enter(p))
        return NULL;
    struct ast_node *n = parse_or(p);
    parser_leave(p);
    return n;
}

static struct ast_node *parse_compare(struct parser *p);

static struct ast_node *parse_not(struct parser *p) {
    if (!parser_is_name(p, "not"))
        return parse_compare(p);
    if (!parser_enter(p) || !parser_advance(p))
        return NULL;
    struct ast_node *n = parser_node(p, NODE_NOT);
    if (n)
        n->a = parse_not(p);
    parser_leave(p);
    return n && n->a && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_and(struct parser *p) {
    struct ast_node *n = parse_not(p);
    while (n && parser_skip_name(p, "and"))
        n = pair(p, NODE_AND, n, parse_not(p));
    return n;
}

static struct ast_node *parse_or(struct parser *p) {
    struct ast_node *n = parse_and(p);
    while (n && parser_skip_name(p, "or"))
        n = pair(p, NODE_OR, n, parse_and(p));
    return n;
}

struct binary {
    const char *text;
    enum ast_operator op;
};

// The operator that stands here, of a list that ends with NULL; skipped when found.
static bool take_binary(struct parser *p, const struct binary *list, enum ast_operator *op) {
    for (; list->text; list++) {
        if (parser_skip(p, list->text)) {
            *op = list->op;
            return true;
        }
    }
    return false;
}

static struct ast_node *binary(struct parser *p, enum ast_operator op, struct ast_node *a,
                               struct ast_node *b) {
    struct ast_node *n = pair(p, NODE_BINARY, a, b);
    if (n)
        n->op = op;
    return n;
}

static struct ast_node *parse_power(struct parser *p) {
    struct ast_node *n = parse_unary(p);
    while (n && parser_skip(p, "**"))
        n = binary(p, OPERATOR_POW, n, parse_unary(p));
    return n;
}

static struct ast_node *parse_product(struct parser *p) {
    static const struct binary list[] = {{"*", OPERATOR_MUL},
                                         {"//", OPERATOR_FLOORDIV},
                                         {"/", OPERATOR_DIV},
                                         {"%", OPERATOR_MOD},
                                         {NULL, OPERATOR_ADD}};
    struct ast_node *n = parse_power(p);
    enum ast_operator op;
    while (n && take_binary(p, list, &op))
        n = binary(p, op, n, parse_power(p));
    return n;
}

static struct ast_node *parse_concat(struct parser *p) {
    struct ast_node *n = parse_product(p);
    if (!n || !parser_is(p, "~"))
        return n;
    struct ast_node *concat = parser_node(p, NODE_CONCAT);
    if (!concat)
        return NULL;
    concat->a = n;
    while (parser_skip(p, "~")) {
        n->next = parse_product(p);
        n = n->next;
        if (!n)
            return NULL;
    }
    return parser_close(p, concat) ? concat : NULL;
}

static struct ast_node *parse_sum(struct parser *p) {
    static const struct binary list[] = {
        {"+", OPERATOR_ADD}, {"-", OPERATOR_SUB}, {NULL, OPERATOR_ADD}};
    struct ast_node *n = parse_concat(p);
    enum ast_operator op;
    while (n && take_binary(p, list, &op))
        n = binary(p, op, n, parse_concat(p));
    return n;
}

static struct ast_node *parse_compare(struct parser *p) {
    static const struct binary list[] = {
        {"==", OPERATOR_EQ}, {"!=", OPERATOR_NE}, {"<=", OPERATOR_LE}, {"<", OPERATOR_LT},
        {">=", OPERATOR_GE}, {">", OPERATOR_GT},  {NULL, OPERATOR_EQ}};
    struct ast_node *first = parse_sum(p), *all = NULL, **tail = NULL;
    while (first) {
        enum ast_operator op;
        if (parser_skip_name(p, "in")) {
            op = OPERATOR_IN;
        } else if (parser_is_name(p, "not") && parser_peek(p) &&
                   lexer_token_is(&p->ahead, TOKEN_NAME, "in")) {
            parser_skip_name(p, "not");
            if (!parser_expect_name(p, "in"))
                return NULL;
            op = OPERATOR_NOT_IN;
        } else if (!take_binary(p, list, &op)) {
            break;
        }
        if (!all) {
            all = parser_node(p, NODE_COMPARE);
            if (!all)
                return NULL;
            all->a = first;
            tail = &all->b;
        }
        struct ast_node *operand = parser_node(p, NODE_OPERAND);
        if (!operand)
            return NULL;
        operand->op = op;
        operand->a = parse_sum(p);
        if (!operand->a || !parser_close(p, operand))
            return NULL;
        *tail = operand;
        tail = &operand->next;
    }
    if (!all || !first)
        return first;
    return parser_close(p, all) ? all : NULL;
}

static struct ast_node *constant(struct parser *p, struct value v) {
    struct ast_node *n = parser_node(p, NODE_CONST);
    if (n)
        n->constant = v;
    return n;
}

static struct ast_node *parse_strings(struct parser *p) {
    buf_reset(&p->scratch);
    while (p->now.kind == TOKEN_STRING)
        if (!parser_string(p, &p->now, &p->scratch) || !parser_advance(p))
            return NULL;
    if (p->scratch.failed)
        return parser_fail(p, ERR_NOMEM, "no memory for a string");
    struct value v;
    if (!parser_text(p, p->scratch.len ? p->scratch.data : "", p->scratch.len, &v))
        return NULL;
    return constant(p, v);
}

static struct ast_node *parse_number(struct parser *p) {
    char digits[400];
    size_t n = 0;
    for (size_t i = 0; i < p->now.len; i++) {
        if (n == sizeof digits - 1)
            return parser_fail(p, ERR_TOO_LARGE, "a number of over %zu digits", n);
        if (p->now.text[i] != '_')
            digits[n++] = p->now.text[i];
    }
    digits[n] = '\0';
    struct value v;
    if (p->now.kind == TOKEN_FLOAT)
        v = value_float(strtod(digits, NULL));
    else if (!parser_integer(p, digits, n, &v))
        return NULL;
    struct ast_node *node = constant(p, v);
    return node && parser_advance(p) ? node : NULL;
}

static struct ast_node *parse_name(struct parser *p) {
    static const struct {
        const char *word;
        enum value_kind kind;
        bool truth;
    } words[] = {{"true", VALUE_BOOL, true},   {"True", VALUE_BOOL, true},
                 {"false", VALUE_BOOL, false}, {"False", VALUE_BOOL, false},
                 {"none", VALUE_NONE, false},  {"None", VALUE_NONE, false}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (parser_skip_name(p, words[i].word))
            return constant(p, words[i].kind == VALUE_NONE ? value_none()
                                                           : value_bool(words[i].truth));
    struct ast_node *n = parser_node(p, NODE_NAME);
    if (!n)
        return NULL;
    n->name = parser_name(p, p->now.text, p->now.len);
    if (!n->name)
        return NULL;
    parser_read(p, n->name);
    if (p->routine) {
        p->routine->uses_caller |= strcmp(n->name->text, "caller") == 0;
        p->routine->uses_varargs |= strcmp(n->name->text, "varargs") == 0;
        p->routine->uses_kwargs |= strcmp(n->name->text, "kwargs") == 0;
    }
    return parser_advance(p) ? n : NULL;
}

// Items up to `close`, behind the opening bracket. A dict's are keys and values in turn.
static struct ast_node *parse_items(struct parser *p, enum ast_node_kind kind, const char *close) {
    struct ast_node *n = parser_node(p, kind);
    if (!n || !parser_advance(p))
        return NULL;
    struct ast_node **tail = &n->a;
    while (!parser_is(p, close)) {
        if (n->a && !parser_expect(p, ","))
            return NULL;
        if (parser_is(p, close))
            break;
        struct ast_node *item = parser_expression(p);
        if (item && kind == NODE_DICT)
            item->next = parser_expect(p, ":") ? parser_expression(p) : NULL;
        if (!item || (kind == NODE_DICT && !item->next))
            return NULL;
        *tail = item;
        tail = item->next ? &item->next->next : &item->next;
    }
    return parser_advance(p) && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_group(struct parser *p) {
    if (!parser_advance(p))
        return NULL;
    if (parser_is(p, ")")) { // ()
        struct ast_node *n = parser_node(p, NODE_TUPLE);
        return n && parser_advance(p) ? n : NULL;
    }
    struct ast_node *n = parser_tuple(p, true, NULL);
    return n && parser_expect(p, ")") ? n : NULL;
}

static struct ast_node *parse_primary(struct parser *p) {
    switch (p->now.kind) {
    case TOKEN_NAME:
        return parse_name(p);
    case TOKEN_STRING:
        return parse_strings(p);
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (parser_is(p, "("))
        return parse_group(p);
    if (parser_is(p, "["))
        return parse_items(p, NODE_LIST, "]");
    if (parser_is(p, "{"))
        return parse_items(p, NODE_DICT, "}");
    return parser_fail_token(p, "an expression");
}

static bool ends_tuple(const struct parser *p, const char *end) {
    return p->now.kind == TOKEN_OUTPUT_END || p->now.kind == TOKEN_BLOCK_END || parser_is(p, ")") ||
           (end && parser_is_name(p, end));
}

struct ast_node *parser_tuple(struct parser *p, bool with_choice, const char *end) {
    struct ast_node *first = with_choice ? parser_expression(p) : parse_plain(p);
    if (!first || !parser_is(p, ","))
        return first;
    struct ast_node *n = parser_node(p, NODE_TUPLE);
    if (!n)
        return NULL;
    n->a = first;
    for (struct ast_node *last = first; parser_skip(p, ",") && !ends_tuple(p, end);
         last = last->next) {
        last->next = with_choice ? parser_expression(p) : parse_plain(p);
        if (!last->next)
            return NULL;
    }
    return parser_close(p, n) ? n : NULL;
}

// "( ... )" of a call, a filter or a test: the arguments chained in *out.
static bool parse_arguments(struct parser *p, struct ast_node **out) {
    struct ast_node **tail = out;
    bool named = false;
    *out = NULL;
    if (!parser_expect(p, "("))
        return false;
    while (!parser_is(p, ")")) {
        if (*out && !parser_expect(p, ","))
            return false;
        if (parser_is(p, ")"))
            break;
        if (parser_is(p, "*") || parser_is(p, "**"))
            return parser_fail(p, ERR_UNSUPPORTED, "a call with * or ** is not supported");
        struct ast_name *name = NULL;
        if (p->now.kind == TOKEN_NAME && parser_peek(p) &&
            lexer_token_is(&p->ahead, TOKEN_OPERATOR, "=")) {
            name = parser_name(p, p->now.text, p->now.len);
            if (!name || !parser_advance(p) || !parser_advance(p))
                return false;
            parser_assign(name); // namespace(f=...) and f.x() later: its attribute may be called
            named = true;
        } else if (named) {
            return parser_fail(p, ERR_INVALID, "an argument by position behind one by name");
        }
        struct ast_node *value = parser_expression(p), *argument = parser_node(p, NODE_OPERAND);
        if (!value || !argument)
            return false;
        argument->a = value;
        argument->name = name;
        if (!parser_close(p, argument))
            return false;
        *tail = argument;
        tail = &argument->next;
    }
    return parser_advance(p);
}

static struct ast_node *parse_call(struct parser *p, struct ast_node *callee) {
    struct ast_node *n = parser_node(p, NODE_CALL);
    if (!n)
        return NULL;
    n->a = callee;
    if (!parse_arguments(p, &n->b))
        return NULL;
    const struct ast_name *name = callee->kind == NODE_ATTR ? callee->attribute : callee->name;
    if (callee->kind == NODE_NAME && strcmp(name->text, "loop") == 0)
        return parser_fail(p, ERR_UNSUPPORTED, "recursive loops are not supported");
    if (callee->kind == NODE_ATTR && method_is_known(name->text, name->len))
        return parser_close(p, n) ? n : NULL;
    if ((callee->kind == NODE_ATTR || callee->kind == NODE_NAME) && !parser_check_call(p, callee))
        return NULL;
    return parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_attribute(struct parser *p, struct ast_node *of) {
    struct ast_node *n = parser_node(p, NODE_ATTR);
    if (!n || !parser_advance(p))
        return NULL;
    n->a = of;
    if (p->now.kind == TOKEN_INTEGER) {
        n->kind = NODE_ITEM;
        n->b = parse_number(p);
        return n->b && parser_close(p, n) ? n : NULL;
    }
    if (p->now.kind != TOKEN_NAME)
        return parser_fail_token(p, "a name or a number");
    if (p->now.len >= 2 && memcmp(p->now.text, "__", 2) == 0)
        return parser_fail(p, ERR_UNSUPPORTED, "attribute '%.*s' is not supported",
                           p->now.len > 60 ? 60 : (int)p->now.len, p->now.text);
    n->attribute = parser_name(p, p->now.text, p->now.len);
    return n->attribute && parser_advance(p) && parser_close(p, n) ? n : NULL;
}

static bool at_slice_part(const struct parser *p) {
    return !parser_is(p, ":") && !parser_is(p, "]") && !parser_is(p, ",");
}

static struct ast_node *parse_subscript(struct parser *p, struct ast_node *of) {
    struct ast_node *n = parser_node(p, NODE_ITEM);
    if (!n || !parser_advance(p))
        return NULL;
    n->a = of;
    if (!parser_is(p, ":") && !(n->b = parser_expression(p)))
        return NULL;
    if (parser_is(p, ":")) {
        n->kind = NODE_SLICE;
        struct ast_node **parts[] = {&n->c, &n->d};
        for (size_t i = 0; i < 2 && parser_skip(p, ":"); i++)
            if (at_slice_part(p) && !(*parts[i] = parser_expression(p)))
                return NULL;
    }
    if (parser_is(p, ","))
        return parser_fail(p, ERR_UNSUPPORTED, "a subscript with a comma is not supported");
    return parser_expect(p, "]") && parser_close(p, n) ? n : NULL;
}

static struct ast_node *parse_postfix(struct parser *p, struct ast_node *n) {
    while (n) {
        if (parser_is(p, "."))
            n = parse_attribute(p, n);
        else if (parser_is(p, "["))
            n = parse_subscript(p, n);
        else if (parser_is(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

// map('upper'), selectattr('x', 'equalto', 1): the name inside is known now or never.
static bool check_inner_name(struct parser *p, const struct ast_node *n) {
    const char *outer = n->native->name;
    size_t at = strstr(outer, "attr") ? 1 : 0;
    bool filters = strcmp(outer, "map") == 0;
    if (!filters && !strstr(outer, "select") && !strstr(outer, "reject"))
        return true;
    const struct ast_node *argument = n->b;
    while (argument && at--)
        argument = argument->next;
    if (!argument || argument->name)
        return true;
    if (argument->a->kind != NODE_CONST || argument->a->constant.kind != VALUE_STRING)
        return parser_fail(p, ERR_UNSUPPORTED, "'%s' with a name that is not written out", outer);
    const struct value_text *t = argument->a->constant.as.text;
    if (filters ? filter_find(t->data, t->len) : test_find(t->data, t->len))
        return true;
    return parser_fail(p, ERR_UNSUPPORTED, "%s '%s' is not supported", filters ? "filter" : "test",
                       t->data);
}

struct ast_node *parser_filters(struct parser *p, struct ast_node *operand, bool inline_first) {
    while (inline_first || parser_is(p, "|")) {
        struct ast_node *n = parser_node(p, NODE_FILTER);
        if (!n || (!inline_first && !parser_advance(p)))
            return NULL;
        inline_first = false;
        n->a = operand;
        if (p->now.kind != TOKEN_NAME)
            return parser_fail_token(p, "a filter's name");
        n->native = filter_find(p->now.text, p->now.len);
        if (!n->native)
            return parser_fail(p, ERR_UNSUPPORTED, "filter '%.*s' is not supported",
                               p->now.len > 60 ? 60 : (int)p->now.len, p->now.text);
        if (!parser_advance(p) || (parser_is(p, "(") && !parse_arguments(p, &n->b)) ||
            !check_inner_name(p, n) || !parser_close(p, n))
            return NULL;
        operand = n;
    }
    return operand;
}

// What `x is divisibleby 3` has without brackets.
static bool starts_test_operand(const struct parser *p) {
    if (p->now.kind == TOKEN_NAME)
        return !parser_is_name(p, "else") && !parser_is_name(p, "or") && !parser_is_name(p, "and");
    return p->now.kind == TOKEN_STRING || p->now.kind == TOKEN_INTEGER ||
           p->now.kind == TOKEN_FLOAT || parser_is(p, "[") || parser_is(p, "{");
}

static struct ast_node *parse_test(struct parser *p, struct ast_node *operand) {
    struct ast_node *n = parser_node(p, NODE_TEST);
    if (!n || !parser_advance(p))
        return NULL;
    n->a = operand;
    bool negated = parser_skip_name(p, "not");
    if (p->now.kind != TOKEN_NAME)
        return parser_fail_token(p, "a test's name");
    n->native = test_find(p->now.text, p->now.len);
    if (!n->native)
        return parser_fail(p, ERR_UNSUPPORTED, "test '%.*s' is not supported",
                           p->now.len > 60 ? 60 : (int)p->now.len, p->now.text);
    if (!parser_advance(p))
        return NULL;
    if (parser_is(p, "(")) {
        if (!parse_arguments(p, &n->b))
            return NULL;
    } else if (starts_test_operand(p)) {
        if (parser_is_name(p, "is"))
            return parser_fail(p, ERR_INVALID, "tests cannot be chained with 'is'");
        n->b = parser_node(p, NODE_OPERAND);
        if (!n->b || !parser_enter(p))
            return NULL;
        n->b->a = parse_postfix(p, parse_primary(p));
        parser_leave(p);
        if (!n->b->a || !parser_close(p, n->b))
            return NULL;
    }
    if (!parser_close(p, n) || !negated)
        return p->err ? NULL : n;
    struct ast_node *negation = parser_node(p, NODE_NOT);
    if (!negation)
        return NULL;
    negation->a = n;
    return parser_close(p, negation) ? negation : NULL;
}

static struct ast_node *parse_signed(struct parser *p) {
    if (!parser_is(p, "-") && !parser_is(p, "+"))
        return parse_postfix(p, parse_primary(p));
    struct ast_node *n = parser_node(p, parser_is(p, "-") ? NODE_NEGATE : NODE_PLUS);
    if (!n || !parser_enter(p) || !parser_advance(p))
        return NULL;
    n->a = parse_signed(p);
    parser_leave(p);
    if (!n->a || !parser_close(p, n))
        return NULL;
    return parse_postfix(p, n);
}

static struct ast_node *parse_unary(struct parser *p) {
    struct ast_node *n = parse_signed(p);
    while (n) {
        if (parser_is(p, "|"))
            n = parser_filters(p, n, false);
        else if (parser_is_name(p, "is"))
            n = parse_test(p, n);
        else if (parser_is(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}
