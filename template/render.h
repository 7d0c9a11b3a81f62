// One rendering in progress: its memory, limits, output and first error. Role: every file of the
// interpreter works on it. A function that takes a rendering and returns bool returns false when
// the rendering has failed, and has then recorded the error (render_fail): its caller returns false
// at once.
// Thread rule: one owner.
#ifndef TRINE_TEMPLATE_RUN_H
#define TRINE_TEMPLATE_RUN_H

#include "base/buf.h"
#include "base/err.h"
#include "template/ast.h"

struct template_variable;

struct render_binding {
    const struct ast_name *name;
    struct value value;
    bool set; // false between a loop's turns
    struct render_binding *next;
};

struct render_scope {
    struct render_scope *parent;
    struct render_binding *bindings;
};

struct render {
    const struct template *t;
    struct template_region pool;
    struct buf *out; // a capture is what was appended since; it is taken out again
    struct buf scratch;
    size_t out_start;
    uint64_t steps_left;
    size_t max_bytes, max_depth;
    size_t depth, calls; // of C frames of the interpreter; of macro calls
    int64_t now_us;
    const struct template_variable *variables;
    struct value *variable_values; // converted when first read
    size_t variable_count;
    struct render_scope *scope;
    uint32_t line;
    enum err err;
    struct errmsg *msg;
};

enum { MAX_FRAMES = 2500 }; // nested eval and exec calls, macros included

// The message gets the template's label and the line before it.
void render_record(struct render *r, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
// Records and is false; a macro, so that whoever reads or checks the caller sees that it is.
#define render_fail(...) (render_record(__VA_ARGS__), false)
// False when the steps are used up.
bool render_charge(struct render *r, uint64_t steps);
// One more nested value (print, compare): false over max_depth.
bool render_nest(struct render *r, size_t depth);
void *render_alloc(struct render *r, size_t count,
                   size_t size); // zeroed; NULL with the error recorded

// The error of using an undefined value.
void render_record_undefined(struct render *r, const struct value_missing *m);
static inline bool render_fail_undefined(struct render *r, const struct value_missing *m) {
    render_record_undefined(r, m);
    return false;
}

#endif
