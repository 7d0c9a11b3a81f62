// tojson as transformers 5 sets it up, and from_json, which templates apply to a call's arguments.
// from_json is Python's json.loads, but strict: no NaN, no key twice, no lone surrogate.
#include "template/filters.h"
#include "template/make.h"
#include "template/print.h"
#include "template/value_ops.h"

#include "base/json_tree.h"

FILTER(filter_tojson) {
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    static const struct value_text comma = {.data = ", ", .len = 2},
                                   colon = {.data = ": ", .len = 2},
                                   bare_comma = {.data = ",", .len = 1};
    struct value v[4];
    if (!arguments_bind(r, "tojson", args, names, 4, 0, v))
        return false;
    struct print_json_style style = {.ensure_ascii = value_truth(v[0]),
                                     .sort_keys = value_truth(v[3]),
                                     .pretty = v[1].kind != VALUE_ABSENT && v[1].kind != VALUE_NONE,
                                     .item_separator = &comma,
                                     .key_separator = &colon};
    int64_t width;
    if (style.pretty)
        style.item_separator = &bare_comma;
    if (style.pretty && v[1].kind == VALUE_STRING) {
        style.indent = v[1].as.text;
    } else if (style.pretty) {
        struct value indent;
        if (!argument_int(r, "tojson's indent", v[1], 0, &width))
            return false;
        if (width > 1000)
            return render_fail(r, ERR_TOO_LARGE, "tojson with an indent of %lld", (long long)width);
        buf_reset(&r->scratch);
        for (int64_t i = 0; i < width; i++)
            buf_putc(&r->scratch, ' ');
        if (!make_scratched(r, false, &indent))
            return false;
        style.indent = indent.as.text;
    }
    if (v[2].kind != VALUE_ABSENT && v[2].kind != VALUE_NONE) {
        struct value_list *l;
        if (!value_iterate(r, v[2], &l))
            return false;
        if (l->count != 2 || l->items[0].kind != VALUE_STRING || l->items[1].kind != VALUE_STRING)
            return render_fail(r, ERR_INVALID, "tojson's separators must be two strings");
        style.item_separator = l->items[0].as.text;
        style.key_separator = l->items[1].as.text;
    }
    buf_reset(&r->scratch);
    return print_json(r, &r->scratch, self, &style, 0) && make_scratched(r, false, out);
}

FILTER(filter_from_json) {
    struct value unused[1];
    if (!arguments_bind(r, "from_json", args, NULL, 0, 0, unused))
        return false;
    if (self.kind != VALUE_STRING)
        return render_fail(r, ERR_INVALID, "from_json takes a string, not %s",
                           value_type_name(self));
    const struct value_text *t = self.as.text;
    struct json_tree *tree;
    struct errmsg why = {0};
    if (!render_charge(r, t->len / 16))
        return false;
    enum err e = json_tree_parse(t->data, t->len, &json_limits_request, &tree, NULL, &why);
    if (e)
        return render_fail(r, e == ERR_NOMEM ? e : ERR_INVALID, "from_json: %.200s", why.text);
    bool ok = make_json(r, json_tree_root(tree), true, out);
    json_tree_free(tree);
    return ok;
}
