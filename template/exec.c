// Statements, and a rendering from start to end. See eval.h and template.h.
// The output of a macro or a set block is captured: it is written at the end of the one output
// buffer and then taken out again.
#include "base/clock.h"
#include "template/eval.h"
#include "template/make.h"
#include "template/print.h"
#include "template/template.h"
#include "template/value_ops.h"

#include <string.h>
#include <time.h>

static bool emit(struct render *r, const char *s, size_t len) {
    buf_append(r->out, s, len);
    if (r->out->failed)
        return render_fail(r, ERR_NOMEM, "no memory for the output");
    if (r->out->len - r->out_start > r->max_bytes)
        return render_fail(r, ERR_TOO_LARGE, "an output of over %zu bytes", r->max_bytes);
    return render_charge(r, len / 64);
}

static bool enter_scope(struct render *r, struct render_scope *parent) {
    struct render_scope *s = render_alloc(r, 1, sizeof *s);
    if (!s)
        return false;
    s->parent = parent;
    r->scope = s;
    return true;
}

static bool assign(struct render *r, const struct ast_node *target, struct value v);

static bool assign_tuple(struct render *r, const struct ast_node *target, struct value v) {
    struct value_list *l;
    if (v.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, v.as.missing);
    if (!value_iterate(r, v, &l))
        return false;
    size_t i = 0;
    for (const struct ast_node *t = target->a; t; t = t->next, i++) {
        if (i == l->count)
            return render_fail(r, ERR_INVALID, "not enough values to unpack (got %zu)", i);
        if (!assign(r, t, l->items[i]))
            return false;
    }
    return i == l->count ||
           render_fail(r, ERR_INVALID, "too many values to unpack (expected %zu)", i);
}

static bool assign(struct render *r, const struct ast_node *target, struct value v) {
    struct value ns, key;
    if (target->kind == NODE_NAME)
        return eval_set_name(r, target->name, v);
    if (target->kind == NODE_TUPLE)
        return assign_tuple(r, target, v); // bounded by MAX_NESTING
    if (!eval_get_name(r, target->name, &ns))
        return false;
    if (ns.kind != VALUE_NAMESPACE)
        return render_fail(r, ERR_INVALID, "cannot assign attribute on non-namespace object");
    if (target->attribute->text[0] == '_')
        return render_fail(r, ERR_INVALID, "a namespace has no attributes that begin with '_'");
    return make_text_view(r, target->attribute->text, target->attribute->len, &key) &&
           value_dict_put(r, ns.as.dict, key, v);
}

static bool exec_set(struct render *r, const struct ast_node *n) {
    struct value v;
    return eval(r, n->b, &v) && assign(r, n->a, v);
}

// A body in a scope of its own.
static bool exec_scoped(struct render *r, const struct ast_node *body, enum eval_flow *flow) {
    struct render_scope *outer = r->scope;
    if (!enter_scope(r, outer))
        return false;
    bool ok = exec_list(r, body, flow);
    r->scope = outer;
    return ok;
}

static bool exec_with(struct render *r, const struct ast_node *n, enum eval_flow *flow) {
    struct render_scope *outer = r->scope;
    if (!enter_scope(r, outer))
        return false;
    struct render_scope *inner = r->scope;
    bool ok = true;
    for (const struct ast_node *s = n->a; s && ok; s = s->next) {
        struct value v;
        r->scope = outer; // all values are seen from outside
        ok = eval(r, s->b, &v);
        r->scope = inner;
        ok = ok && assign(r, s->a, v);
    }
    ok = ok && exec_list(r, n->d, flow);
    r->scope = outer;
    return ok;
}

// The body's output, through the filters of n->b.
static bool exec_captured(struct render *r, const struct ast_node *n, struct value *out) {
    size_t start = r->out->len;
    enum eval_flow flow = FLOW_ON;
    return exec_scoped(r, n->d, &flow) && make_captured(r, start, out) &&
           (!n->b || eval_filters(r, n->b, *out, out));
}

// The elements that pass `for ... if`.
static bool filter_elements(struct render *r, const struct ast_node *n, struct value_list **l) {
    struct value_list *kept;
    struct render_scope *outer = r->scope;
    if (!make_list(r, LIST_LIST, (*l)->count, &kept) || !enter_scope(r, outer))
        return false;
    bool ok = true;
    for (size_t i = 0; i < (*l)->count && ok; i++) {
        struct value passes = value_none();
        ok = assign(r, n->a, (*l)->items[i]) && eval(r, n->c, &passes);
        if (value_truth(passes))
            kept->items[kept->count++] = (*l)->items[i];
    }
    r->scope = outer;
    *l = kept;
    return ok;
}

static bool exec_for(struct render *r, const struct ast_node *n, enum eval_flow *flow) {
    struct value source;
    struct value_list *l;
    if (!eval(r, n->b, &source) || !value_iterate(r, source, &l) ||
        (n->c && !filter_elements(r, n, &l)))
        return false;
    if (!l->count)
        return exec_scoped(r, n->e, flow);
    struct render_scope *outer = r->scope;
    struct value_loop *loop = render_alloc(r, 1, sizeof *loop);
    if (!loop || !enter_scope(r, outer))
        return false;
    loop->items = l;
    struct value self = {.kind = VALUE_LOOP, .as.loop = loop};
    bool ok = true;
    enum eval_flow inner = FLOW_ON;
    for (size_t i = 0; i < l->count && ok && inner != FLOW_BREAK; i++) {
        uint64_t names = 0;
        for (struct render_binding *b = r->scope->bindings; b; b = b->next, names++)
            b->set = false;
        loop->index = i;
        inner = FLOW_ON;
        ok = render_charge(r, 1 + names / 8) && eval_set_name(r, r->t->loop_name, self) &&
             assign(r, n->a, l->items[i]) && exec_list(r, n->d, &inner);
    }
    r->scope = outer;
    return ok;
}

static bool exec_if(struct render *r, const struct ast_node *n, enum eval_flow *flow) {
    struct value condition;
    if (!eval(r, n->a, &condition))
        return false;
    return exec_list(r, value_truth(condition) ? n->b : n->c, flow);
}

static bool make_macro(struct render *r, const struct ast_node *n, const char *name,
                       struct value *out) {
    struct value_macro *m = render_alloc(r, 1, sizeof *m);
    if (!m)
        return false;
    *m = (struct value_macro){n, r->scope, name};
    *out = (struct value){.kind = VALUE_MACRO, .as.macro = m};
    return true;
}

// The call of a call block, with `caller` added to its arguments.
static bool exec_call_block(struct render *r, const struct ast_node *n) {
    struct value f, caller, made;
    size_t count = 0, i = 0;
    for (const struct ast_node *a = n->b->b; a; a = a->next)
        count++;
    struct argument *list = render_alloc(r, count + 1, sizeof *list);
    struct arguments args = {list, count + 1, 0};
    if (!list || !eval(r, n->b->a, &f) || !make_macro(r, n, "caller", &caller))
        return false;
    for (const struct ast_node *a = n->b->b; a; a = a->next, i++) {
        list[i].name = a->name ? a->name->text : NULL;
        args.positional += !a->name;
        if (!eval(r, a->a, &list[i].value))
            return false;
    }
    list[count] = (struct argument){"caller", caller};
    r->line = n->line;
    const struct value_text *t;
    return eval_call(r, f, &args, &made) && print_to_text(r, made, &t) && emit(r, t->data, t->len);
}

static bool exec_output(struct render *r, const struct ast_node *n) {
    struct value v;
    if (!eval(r, n->a, &v))
        return false;
    if (v.kind == VALUE_STRING)
        return emit(r, v.as.text->data, v.as.text->len);
    return print_value(r, r->out, v) && emit(r, "", 0);
}

static bool exec_node(struct render *r, const struct ast_node *n, enum eval_flow *flow) {
    struct value v;
    const struct value_text *t;
    switch (n->kind) {
    case NODE_DATA:
        return emit(r, n->constant.as.text->data, n->constant.as.text->len);
    case NODE_OUTPUT:
        return exec_output(r, n);
    case NODE_IF:
        return exec_if(r, n, flow);
    case NODE_FOR:
        return exec_for(r, n, flow);
    case NODE_SET:
        return exec_set(r, n);
    case NODE_SET_BLOCK:
        return exec_captured(r, n, &v) && assign(r, n->a, v);
    case NODE_FILTER_BLOCK:
        return exec_captured(r, n, &v) && print_to_text(r, v, &t) && emit(r, t->data, t->len);
    case NODE_MACRO:
        return make_macro(r, n, n->name->text, &v) && eval_set_name(r, n->name, v);
    case NODE_CALL_BLOCK:
        return exec_call_block(r, n);
    case NODE_WITH:
        return exec_with(r, n, flow);
    case NODE_SCOPE:
        return exec_scoped(r, n->d, flow);
    case NODE_BREAK:
        *flow = FLOW_BREAK;
        return true;
    case NODE_CONTINUE:
        *flow = FLOW_CONTINUE;
        return true;
    default:
        return render_fail(r, ERR_INTERNAL, "a node that is no statement");
    }
}

bool exec_list(struct render *r, const struct ast_node *n, enum eval_flow *flow) {
    if (++r->depth > MAX_FRAMES)
        return render_fail(r, ERR_TOO_LARGE, "nested too deeply");
    for (; n && *flow == FLOW_ON; n = n->next) {
        r->line = n->line;
        if (!render_charge(r, 1) || !exec_node(r, n, flow))
            return false;
    }
    r->depth--;
    return true;
}

static enum err render(struct render *r) {
    enum eval_flow flow = FLOW_ON;
    if (r->variable_count) {
        r->variable_values = render_alloc(r, r->variable_count, sizeof *r->variable_values);
        if (!r->variable_values)
            return r->err;
    }
    bool ok = enter_scope(r, NULL);
    for (const struct ast_name *n = r->t->own; n && ok; n = n->next_own)
        ok =
            eval_set_name(r, n, (struct value){.kind = VALUE_UNDEFINED, .as.missing = &n->missing});
    if (!ok || !exec_list(r, r->t->body, &flow))
        return r->err ? r->err : err_set(r->msg, ERR_INTERNAL, "a rendering without a reason");
    return r->out->failed ? err_set(r->msg, ERR_NOMEM, "no memory for the output") : ERR_OK;
}

enum err template_render(const struct template *t, const struct template_variable *variables,
                         size_t n, const struct template_limits *limits, struct buf *out,
                         struct errmsg *msg) {
    static const struct template_limits none = {0};
    if (!limits)
        limits = &none;
    struct render r = {.t = t,
                       .out = out,
                       .out_start = out->len,
                       .variables = variables,
                       .variable_count = n,
                       .steps_left = limits->max_steps ? limits->max_steps : 10000000,
                       .max_bytes = limits->max_bytes ? limits->max_bytes : (size_t)64 << 20,
                       .max_depth = limits->max_depth ? limits->max_depth : 200,
                       .now_us = limits->now_us,
                       .line = 1,
                       .msg = msg};
    r.pool.limit = r.max_bytes * 4 + ((size_t)1 << 20);
    if (!r.now_us)
        r.now_us = clock_wall_s() * 1000000;
    enum err e = render(&r);
    if (e && out->len > r.out_start) {
        out->len = r.out_start;
        out->data[out->len] = '\0';
    }
    buf_free(&r.scratch);
    template_region_free(&r.pool);
    return e;
}
