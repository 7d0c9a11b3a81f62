// See arguments.h.
#include "template/arguments.h"
#include "template/render.h"

#include <string.h>

bool arguments_bind(struct render *r, const char *what, const struct arguments *args,
                    const char *const *names, size_t n, size_t required, struct value *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = (struct value){.kind = VALUE_ABSENT};
    if (args->positional > n)
        return render_fail(r, ERR_INVALID, "%s takes at most %zu arguments, not %zu", what, n,
                           args->positional);
    for (size_t i = 0; i < args->positional; i++)
        out[i] = args->list[i].value;
    for (size_t i = args->positional; i < args->count; i++) {
        size_t k = 0;
        while (k < n && strcmp(names[k], args->list[i].name) != 0)
            k++;
        if (k == n)
            return render_fail(r, ERR_INVALID, "%s has no argument '%.60s'", what,
                               args->list[i].name);
        if (out[k].kind != VALUE_ABSENT)
            return render_fail(r, ERR_INVALID, "%s: argument '%s' is given twice", what, names[k]);
        out[k] = args->list[i].value;
    }
    for (size_t i = 0; i < required; i++)
        if (out[i].kind == VALUE_ABSENT)
            return render_fail(r, ERR_INVALID, "%s wants an argument '%s'", what, names[i]);
    return true;
}

bool argument_int(struct render *r, const char *what, struct value v, int64_t fallback,
                  int64_t *out) {
    *out = fallback;
    if (v.kind == VALUE_ABSENT || v.kind == VALUE_NONE || value_is_integer(v, out))
        return true;
    return render_fail(r, ERR_INVALID, "%s must be an integer, not %s", what, value_type_name(v));
}

bool argument_text(struct render *r, const char *what, struct value v,
                   const struct value_text **out) {
    if (v.kind != VALUE_STRING)
        return render_fail(r, ERR_INVALID, "%s must be a string, not %s", what, value_type_name(v));
    *out = v.as.text;
    return true;
}
