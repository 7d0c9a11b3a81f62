// See render.h.
#include "template/render.h"

#include <stdarg.h>
#include <stdio.h>

void render_record(struct render *r, enum err e, const char *fmt, ...) {
    if (r->err)
        return; // the first error is the one to tell
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    r->err = err_set(r->msg, e, "%s, line %u: %s", r->t->label, r->line, what);
}

bool render_charge(struct render *r, uint64_t steps) {
    if (steps <= r->steps_left) {
        r->steps_left -= steps;
        return true;
    }
    r->steps_left = 0;
    return render_fail(r, ERR_TOO_LARGE, "the template takes too many steps");
}

bool render_nest(struct render *r, size_t depth) {
    return depth <= r->max_depth || render_fail(r, ERR_TOO_LARGE, "a value nested too deeply");
}

void *render_alloc(struct render *r, size_t count, size_t size) {
    void *out = template_region_alloc(&r->pool, count, size);
    if (!out) {
        if (r->pool.over_limit)
            render_record(r, ERR_TOO_LARGE, "the template makes too much");
        else
            render_record(r, ERR_NOMEM, "no memory for rendering");
    }
    return out;
}

void render_record_undefined(struct render *r, const struct value_missing *m) {
    if (!m->owner)
        render_record(r, ERR_INVALID, "'%s' is undefined", m->name);
    else if (!*m->name)
        render_record(r, ERR_INVALID, "%s", m->owner);
    else
        render_record(r, ERR_INVALID, "'%s' has no attribute '%s'", m->owner, m->name);
}
