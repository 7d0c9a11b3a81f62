// One rendering in progress, for the files of the interpreter: memory, limits, output, errors, and
// the operations on values that can fail. Every function here that returns bool returns false when
// the rendering has failed, with the error recorded (run_fail): callers return false at once.
// Role: what eval, exec, filters, tests, methods and printing share. Thread rule: one owner.
#ifndef TRINE_TEMPLATE_RUN_H
#define TRINE_TEMPLATE_RUN_H

#include "base/buf.h"
#include "template/ast.h"
#include "template/functions.h"
#include "template/template.h"

struct binding {
    const struct name *name;
    struct value value;
    bool set; // false between a loop's turns
    struct binding *next;
};

struct scope {
    struct scope *parent;
    struct binding *bindings;
};

struct run {
    const struct template *t;
    struct template_pool pool;
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
    struct scope *scope;
    uint32_t line;
    enum err err;
    struct errmsg *msg;
};

enum { MAX_FRAMES = 2500 }; // nested eval and exec calls, macros included

// The message gets the template's label and the line before it.
void run_record(struct run *r, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
// Records and is false; a macro, so that whoever reads or checks the caller sees that it is.
#define run_fail(...) (run_record(__VA_ARGS__), false)
// False when the steps are used up.
bool run_charge(struct run *r, uint64_t steps);
// One more nested value (print, compare): false over max_depth.
bool run_nest(struct run *r, size_t depth);
void *run_alloc(struct run *r, size_t count, size_t size); // zeroed; NULL with the error recorded

struct argument {
    const char *name; // NULL: by position
    struct value value;
};
struct arguments {
    const struct argument *list; // those by position first
    size_t count, positional;
};
// Spreads args over the parameters names[n]; what is not given is VALUE_ABSENT, of the first
// `required` none may be.
bool arguments_bind(struct run *r, const char *what, const struct arguments *args,
                    const char *const *names, size_t n, size_t required, struct value *out);
// An integer argument (bool too); `fallback` when absent or None.
bool argument_int(struct run *r, const char *what, struct value v, int64_t fallback, int64_t *out);
bool argument_text(struct run *r, const char *what, struct value v, const struct text **out);

// value.c ------------------------------------------------------------------------------------
// Strings: a copy in the pool.
bool make_text(struct run *r, const char *s, size_t len, struct value *out);
// s must live as long as the rendering.
bool make_text_view(struct run *r, const char *s, size_t len, struct value *out);
bool make_concat(struct run *r, const struct text *a, const char *b, size_t b_len,
                 struct value *out);
// What was appended to r->out since `start`, taken out of it.
bool make_captured(struct run *r, size_t start, struct value *out);
// The content of r->scratch.
bool make_scratched(struct run *r, bool safe, struct value *out);
bool make_list(struct run *r, enum list_flavour flavour, size_t cap, struct list **out);
bool make_dict(struct run *r, size_t cap, struct dict **out);
bool make_undefined(struct run *r, const char *owner, const char *name, size_t name_len,
                    struct value *out);
// `copy`: the node may go before the rendering ends.
bool make_json(struct run *r, const struct json_node *node, bool copy, struct value *out);
// Digits (with a sign) to INT or BIG.
bool make_integer(struct run *r, const char *digits, size_t len, struct value *out);

bool dict_find(struct run *r, const struct dict *d, struct value key, struct value **found);
bool dict_find_word(struct run *r, const struct dict *d, const char *key, size_t len,
                    struct value **found);
bool dict_put(struct run *r, struct dict *d, struct value key, struct value v);

bool values_equal(struct run *r, struct value a, struct value b, size_t depth, bool *equal);
// <0, 0, >0; a type error when Python has no order for them. `op` for its message.
bool values_compare(struct run *r, struct value a, struct value b, const char *op, size_t depth,
                    int *order);
// needle in haystack.
bool value_contains(struct run *r, struct value haystack, struct value needle, bool *found);
// What a for loop sees: the elements (an iterator's rest, which is consumed). The list must not be
// changed.
bool value_iterate(struct run *r, struct value v, struct list **out);
bool value_length(struct run *r, struct value v, size_t *out);
// The error of using an undefined value.
void record_undefined(struct run *r, const struct missing *m);
static inline bool fail_undefined(struct run *r, const struct missing *m) {
    record_undefined(r, m);
    return false;
}

// print.c ------------------------------------------------------------------------------------
bool print_value(struct run *r, struct buf *out, struct value v);              // str()
bool print_repr(struct run *r, struct buf *out, struct value v, size_t depth); // repr()
bool value_to_text(struct run *r, struct value v, const struct text **out);    // str()
void print_float(struct buf *out, double f);
struct json_style {
    bool ensure_ascii, sort_keys, pretty;
    const struct text *indent; // of one level, when pretty
    const struct text *item_separator, *key_separator;
};
bool print_json(struct run *r, struct buf *out, struct value v, const struct json_style *style,
                size_t depth);

// operators.c --------------------------------------------------------------------------------
bool apply_binary(struct run *r, enum operator op, struct value a, struct value b,
                  struct value *out);
bool apply_negate(struct run *r, struct value a, struct value *out);
bool apply_slice(struct run *r, struct value v, struct value start, struct value stop,
                 struct value step, struct value *out);
bool escape_html(struct run *r, const struct text *t, const struct text **out);
// access.c -----------------------------------------------------------------------------------
bool get_attribute(struct run *r, struct value v, const char *name, size_t len, struct value *out);
bool get_item(struct run *r, struct value v, struct value key, struct value *out);
// What `map(attribute='a.b.0')` reads; `fallback` (may be absent) stands in for what is undefined.
bool get_path(struct run *r, struct value v, struct value path, struct value fallback,
              struct value *out);

// eval.c -------------------------------------------------------------------------------------
bool eval(struct run *r, const struct node *n, struct value *out);
bool call_value(struct run *r, struct value f, const struct arguments *args, struct value *out);
bool call_macro(struct run *r, const struct macro *m, const struct arguments *args,
                struct value *out);
bool apply_filters(struct run *r, const struct node *chain, struct value v, struct value *out);
bool scope_set(struct run *r, const struct name *name, struct value v);
bool scope_get(struct run *r, const struct name *name, struct value *out);
// exec.c
enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
bool exec_list(struct run *r, const struct node *n, enum flow *flow);
bool emit(struct run *r, const char *s, size_t len);

// format.c
bool format_percent(struct run *r, const struct text *format, struct value args, struct value *out);
bool format_braces(struct run *r, const struct text *format, const struct arguments *args,
                   struct value *out);

#endif
