// Expressions. See eval.h. Every node that is evaluated costs a step. Nested nodes are counted
// against the C stack (MAX_FRAMES), whether they are expressions or calls of macros.
#include "template/eval.h"
#include "template/access.h"
#include "template/functions.h"
#include "template/make.h"
#include "template/operators.h"
#include "template/print.h"
#include "template/template.h"
#include "template/value_ops.h"

#include <string.h>

bool eval_set_name(struct render *r, const struct ast_name *name, struct value v) {
    uint64_t steps = 0;
    for (struct render_binding *b = r->scope->bindings; b; b = b->next, steps++) {
        if (b->name == name) {
            b->value = v;
            b->set = true;
            return render_charge(r, steps / 8);
        }
    }
    struct render_binding *b = render_charge(r, steps / 8) ? render_alloc(r, 1, sizeof *b) : NULL;
    if (!b)
        return false;
    *b = (struct render_binding){name, v, true, r->scope->bindings};
    r->scope->bindings = b;
    return true;
}

static bool read_variable(struct render *r, const struct ast_name *name, struct value *out) {
    for (size_t i = 0; i < r->variable_count; i++) {
        const struct template_variable *v = &r->variables[i];
        if (strlen(v->name) != name->len || memcmp(v->name, name->text, name->len) != 0)
            continue;
        struct value *made = &r->variable_values[i];
        if (made->kind == VALUE_ABSENT) {
            bool ok = true;
            if (v->json)
                ok = make_json(r, v->json, false, made);
            else if (v->string)
                ok = make_text(r, v->string, v->string_len, made);
            else
                *made = value_bool(v->truth);
            if (!ok)
                return false;
        }
        *out = *made;
        return true;
    }
    const struct function *f = global_find(name->text, name->len);
    if (f)
        *out = (struct value){.kind = VALUE_FUNCTION, .as.native = f};
    else
        *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = &name->missing};
    return true;
}

bool eval_get_name(struct render *r, const struct ast_name *name, struct value *out) {
    uint64_t steps = 0;
    for (const struct render_scope *s = r->scope; s; s = s->parent) {
        for (const struct render_binding *b = s->bindings; b; b = b->next, steps++) {
            if (b->set && b->name == name) {
                *out = b->value;
                return render_charge(r, steps / 8);
            }
        }
    }
    return render_charge(r, steps / 8) && read_variable(r, name, out);
}

static bool eval_items(struct render *r, const struct ast_node *n, enum value_list_flavour flavour,
                       struct value *out) {
    size_t count = 0;
    for (const struct ast_node *item = n->a; item; item = item->next)
        count++;
    struct value_list *l;
    if (!make_list(r, flavour, count, &l))
        return false;
    for (const struct ast_node *item = n->a; item; item = item->next)
        if (!eval(r, item, &l->items[l->count++]))
            return false;
    *out = value_list(l);
    return true;
}

static bool eval_dict(struct render *r, const struct ast_node *n, struct value *out) {
    struct value_dict *d;
    if (!make_dict(r, 0, &d))
        return false;
    for (const struct ast_node *key = n->a; key; key = key->next->next) {
        struct value k, v;
        if (!eval(r, key, &k) || !eval(r, key->next, &v) || !value_dict_put(r, d, k, v))
            return false;
    }
    *out = value_dict(d);
    return true;
}

static bool eval_concat(struct render *r, const struct ast_node *n, struct value *out) {
    static const struct value_text empty = {.data = ""};
    struct value sum = value_text(&empty);
    for (const struct ast_node *part = n->a; part; part = part->next) {
        struct value v;
        const struct value_text *t;
        if (!eval(r, part, &v) || !print_to_text(r, v, &t))
            return false;
        // the first part as it is, so that what grows by appending does so in place
        if (part == n->a && !t->safe)
            sum = value_text(t);
        else if (!make_concat(r, sum.as.text, t->data, t->len, &sum))
            return false;
    }
    *out = sum;
    return true;
}

static bool compare_pair(struct render *r, enum ast_operator op, struct value a, struct value b,
                         bool *out) {
    static const char *const words[] = {
        [OPERATOR_LT] = "<", [OPERATOR_LE] = "<=", [OPERATOR_GT] = ">", [OPERATOR_GE] = ">="};
    int order = 0;
    switch (op) {
    case OPERATOR_EQ:
        return value_equal(r, a, b, 0, out);
    case OPERATOR_NE:
        if (!value_equal(r, a, b, 0, out))
            return false;
        *out = !*out;
        return true;
    case OPERATOR_IN:
        return value_contains(r, b, a, out);
    case OPERATOR_NOT_IN:
        if (!value_contains(r, b, a, out))
            return false;
        *out = !*out;
        return true;
    default:
        if (!value_compare(r, a, b, words[op], 0, &order))
            return false;
        *out = op == OPERATOR_LT   ? order < 0
               : op == OPERATOR_LE ? order <= 0
               : op == OPERATOR_GT ? order > 0
                                   : order >= 0;
        return true;
    }
}

static bool eval_compare(struct render *r, const struct ast_node *n, struct value *out) {
    struct value left, right;
    if (!eval(r, n->a, &left))
        return false;
    bool holds = true;
    for (const struct ast_node *o = n->b; o && holds; o = o->next) {
        if (!eval(r, o->a, &right) || !compare_pair(r, o->op, left, right, &holds))
            return false;
        left = right;
    }
    *out = value_bool(holds);
    return true;
}

static bool eval_arguments(struct render *r, const struct ast_node *first, struct arguments *out) {
    *out = (struct arguments){0};
    for (const struct ast_node *n = first; n; n = n->next)
        out->count++;
    if (!out->count)
        return true;
    struct argument *list = render_alloc(r, out->count, sizeof *list);
    if (!list)
        return false;
    struct argument *a = list;
    for (const struct ast_node *n = first; n; n = n->next, a++) {
        a->name = n->name ? n->name->text : NULL;
        out->positional += !n->name;
        for (const struct argument *b = list; b < a && a->name; b++)
            if (b->name && strcmp(a->name, b->name) == 0)
                return render_fail(r, ERR_INVALID, "argument '%.60s' is given twice", a->name);
        if (!eval(r, n->a, &a->value))
            return false;
    }
    out->list = list;
    return true;
}

bool eval_call(struct render *r, struct value f, const struct arguments *args, struct value *out) {
    switch (f.kind) {
    case VALUE_MACRO:
        return macro_call(r, f.as.macro, args, out);
    case VALUE_FUNCTION:
        return f.as.native->call(r, value_none(), args, out);
    case VALUE_METHOD:
        if (!f.as.method->native)
            return render_fail(r, ERR_INVALID, "method '%s' is not supported", f.as.method->name);
        return f.as.method->native->call(r, f.as.method->self, args, out);
    case VALUE_UNDEFINED:
        return render_fail_undefined(r, f.as.missing);
    default:
        return render_fail(r, ERR_INVALID, "'%s' object is not callable", value_type_name(f));
    }
}

static bool eval_call_node(struct render *r, const struct ast_node *n, struct value *out) {
    struct value f;
    struct arguments args;
    if (!eval(r, n->a, &f) || !eval_arguments(r, n->b, &args))
        return false;
    r->line = n->line;
    return eval_call(r, f, &args, out);
}

static bool eval_native(struct render *r, const struct ast_node *n, struct value self,
                        struct value *out) {
    struct arguments args;
    if (!eval_arguments(r, n->b, &args))
        return false;
    r->line = n->line;
    return n->native->call(r, self, &args, out);
}

bool eval_filters(struct render *r, const struct ast_node *chain, struct value v,
                  struct value *out) {
    if (chain->a && !eval_filters(r, chain->a, v, &v)) // bounded by MAX_TREE
        return false;
    return eval_native(r, chain, v, out);
}

static bool eval_choice(struct render *r, const struct ast_node *n, struct value *out) {
    static const struct value_missing nothing = {
        "", "the inline if-expression was false and has no else section"};
    struct value condition;
    if (!eval(r, n->b, &condition))
        return false;
    if (value_truth(condition))
        return eval(r, n->a, out);
    if (n->c)
        return eval(r, n->c, out);
    *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = &nothing};
    return true;
}

static bool eval_slice(struct render *r, const struct ast_node *n, struct value *out) {
    struct value v, parts[3] = {{0}, {0}, {0}};
    const struct ast_node *nodes[] = {n->b, n->c, n->d};
    if (!eval(r, n->a, &v))
        return false;
    for (size_t i = 0; i < 3; i++)
        if (nodes[i] && !eval(r, nodes[i], &parts[i]))
            return false;
    return operator_slice(r, v, parts[0], parts[1], parts[2], out);
}

// Nodes of one operand and more: it first, then what the kind says.
static bool eval_operation(struct render *r, const struct ast_node *n, struct value *out) {
    struct value a, b;
    if (!eval(r, n->a, &a))
        return false;
    switch (n->kind) {
    case NODE_ATTR:
        return access_attribute(r, a, n->attribute->text, n->attribute->len, out);
    case NODE_ITEM:
        return eval(r, n->b, &b) && access_item(r, a, b, out);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_native(r, n, a, out);
    case NODE_NOT:
        *out = value_bool(!value_truth(a));
        return true;
    case NODE_NEGATE:
        return operator_negate(r, a, out);
    case NODE_PLUS:
        return operator_binary(r, OPERATOR_ADD, value_int(0), a, out);
    case NODE_AND:
    case NODE_OR:
        *out = a;
        return value_truth(a) == (n->kind == NODE_OR) || eval(r, n->b, out);
    default:
        if (!eval(r, n->b, &b))
            return false;
        r->line = n->line;
        return operator_binary(r, n->op, a, b, out);
    }
}

static bool eval_node(struct render *r, const struct ast_node *n, struct value *out) {
    switch (n->kind) {
    case NODE_CONST:
        *out = n->constant;
        return true;
    case NODE_NAME:
        return eval_get_name(r, n->name, out);
    case NODE_LIST:
        return eval_items(r, n, LIST_LIST, out);
    case NODE_TUPLE:
        return eval_items(r, n, LIST_TUPLE, out);
    case NODE_DICT:
        return eval_dict(r, n, out);
    case NODE_SLICE:
        return eval_slice(r, n, out);
    case NODE_CALL:
        return eval_call_node(r, n, out);
    case NODE_CONCAT:
        return eval_concat(r, n, out);
    case NODE_COMPARE:
        return eval_compare(r, n, out);
    case NODE_CHOICE:
        return eval_choice(r, n, out);
    default:
        return eval_operation(r, n, out);
    }
}

bool eval(struct render *r, const struct ast_node *n, struct value *out) {
    if (!render_charge(r, 1))
        return false;
    r->line = n->line;
    if (++r->depth > MAX_FRAMES)
        return render_fail(r, ERR_TOO_LARGE, "nested too deeply");
    bool ok = eval_node(r, n, out);
    r->depth--;
    return ok;
}
