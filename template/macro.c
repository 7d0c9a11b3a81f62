// Calls a macro, or the body of a call block: binds its parameters and the special names, and
// returns the text that it writes. See eval.h. Source followed: jinja2 3.1.6, runtime.py
// (Macro.__call__).
#include "template/eval.h"
#include "template/make.h"
#include "template/value_ops.h"

#include <string.h>

static bool take_named(const struct arguments *args, bool *taken, const char *name,
                       struct value *out) {
    for (size_t i = args->positional; i < args->count; i++) {
        if (!taken[i] && strcmp(args->list[i].name, name) == 0) {
            taken[i] = true;
            *out = args->list[i].value;
            return true;
        }
    }
    return false;
}

static bool bind_parameters(struct render *r, const struct value_macro *m,
                            const struct arguments *args, bool *taken, size_t *used,
                            bool *has_caller) {
    size_t i = 0;
    for (const struct ast_node *p = m->node->a; p; p = p->next, i++) {
        struct value v = {.kind = VALUE_UNDEFINED, .as.missing = &p->name->missing};
        *has_caller |= p->name == r->t->caller_name;
        if (i < args->positional)
            v = args->list[i].value;
        else if (!take_named(args, taken, p->name->text, &v) && p->a && !eval(r, p->a, &v))
            return false;
        if (!eval_set_name(r, p->name, v))
            return false;
    }
    *used = i;
    return true;
}

static bool bind_rest(struct render *r, const struct value_macro *m, const struct arguments *args,
                      bool *taken, size_t used) {
    struct value_list *rest;
    struct value_dict *named;
    if (m->node->uses_kwargs) {
        if (!make_dict(r, 0, &named))
            return false;
        for (size_t i = args->positional; i < args->count; i++) {
            struct value key;
            const char *name = args->list[i].name;
            if (!taken[i] && (!make_text_view(r, name, strlen(name), &key) ||
                              !value_dict_put(r, named, key, args->list[i].value)))
                return false;
        }
        if (!eval_set_name(r, r->t->kwargs_name, value_dict(named)))
            return false;
    } else {
        for (size_t i = args->positional; i < args->count; i++)
            if (!taken[i])
                return render_fail(r, ERR_INVALID,
                                   "macro '%.60s' takes no keyword argument '%.60s'", m->name,
                                   args->list[i].name);
    }
    if (!m->node->uses_varargs)
        return args->positional <= used ||
               render_fail(r, ERR_INVALID, "macro '%.60s' takes not more than %zu argument(s)",
                           m->name, used);
    size_t count = args->positional > used ? args->positional - used : 0;
    if (!make_list(r, LIST_TUPLE, count, &rest))
        return false;
    for (size_t i = 0; i < count; i++)
        rest->items[rest->count++] = args->list[used + i].value;
    return eval_set_name(r, r->t->varargs_name, value_list(rest));
}

static bool call_in_scope(struct render *r, const struct value_macro *m,
                          const struct arguments *args, struct value *out) {
    static const struct value_missing no_caller = {"", "No caller defined"};
    size_t used = 0, start = r->out->len;
    bool has_caller = false;
    enum eval_flow flow = FLOW_ON;
    bool *taken = render_alloc(r, args->count, sizeof *taken);
    if (!taken || !bind_parameters(r, m, args, taken, &used, &has_caller))
        return false;
    if (m->node->uses_caller && !has_caller) {
        struct value caller = {.kind = VALUE_UNDEFINED, .as.missing = &no_caller};
        take_named(args, taken, "caller", &caller);
        if (!eval_set_name(r, r->t->caller_name, caller))
            return false;
    }
    return bind_rest(r, m, args, taken, used) && exec_list(r, m->node->d, &flow) &&
           make_captured(r, start, out);
}

bool macro_call(struct render *r, const struct value_macro *m, const struct arguments *args,
                struct value *out) {
    if (++r->calls > r->max_depth)
        return render_fail(r, ERR_TOO_LARGE, "macros call each other over %zu deep", r->max_depth);
    struct render_scope *caller = r->scope, *s = render_alloc(r, 1, sizeof *s);
    if (!s)
        return false;
    s->parent = m->scope;
    r->scope = s;
    bool ok = call_in_scope(r, m, args, out);
    r->scope = caller;
    r->calls--;
    return ok;
}
