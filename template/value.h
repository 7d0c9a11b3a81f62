// The values that a template computes with: Python's, as far as templates can see them. A value is
// small and is copied. What it points to lies in the rendering's pool (that of a constant: in the
// template's) and never changes, except for namespaces, iterators and loops.
// Role: kinds and truth; nothing here can fail. make.h makes values, value_ops.h compares them and
// looks into them.
#ifndef TRINE_TEMPLATE_VALUE_H
#define TRINE_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind {
    VALUE_ABSENT, // an argument that was not given; no expression has it
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_BIG, // an integer beyond 64 bits, by its digits: printed and compared, not computed with
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LIST, // and its relatives, see enum value_list_flavour
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_MACRO,
    VALUE_LOOP,
    VALUE_FUNCTION,
    VALUE_METHOD,
};

struct value_growth; // the block behind a string that was made by appending

struct value_text {
    const char *data; // UTF-8
    size_t len, chars;
    bool safe; // went through |safe: adding to it escapes HTML, as markupsafe does
    struct value_growth *growth;
};

// Why a value is undefined: a variable `name`, or `owner` (a type's words) without `name`.
struct value_missing {
    const char *name, *owner;
};

enum value_list_flavour {
    LIST_LIST,
    LIST_TUPLE,
    LIST_RANGE,
    LIST_KEYS, // the views of a dict
    LIST_VALUES,
    LIST_ITEMS,
    LIST_ITERATOR, // a generator: read once, has no length
};

struct value;
struct value_list {
    enum value_list_flavour flavour;
    struct value *items;
    size_t count;
    size_t at;                 // an iterator's position
    int64_t start, stop, step; // a range's words
};

struct value_entry;
struct value_dict {
    struct value_entry *entries; // in order of insertion
    size_t count, cap;
};

struct ast_node;
struct render_scope;
struct value_macro {
    const struct ast_node *node; // NODE_MACRO, NODE_CALL_BLOCK
    struct render_scope *scope;  // where it was defined
    const char *name;
};

struct function;
struct value_method;
struct value_loop;

struct value {
    enum value_kind kind;
    union {
        const struct value_missing *missing;
        bool truth;
        int64_t integer;
        double real;
        const struct value_text *text; // BIG: its digits
        struct value_list *list;
        struct value_dict *dict; // NAMESPACE too
        const struct value_macro *macro;
        struct value_loop *loop;
        const struct function *native;
        const struct value_method *method;
    } as;
};

struct value_entry {
    struct value key, value;
};

struct value_method {
    struct value self;
    const struct function *native; // NULL: Python has it and this interpreter does not
    const char *name;
};

struct value_loop {
    const struct value_list *items;
    size_t index;         // from 0
    struct value changed; // what loop.changed last saw
};

static inline struct value value_absent(void) { return (struct value){.kind = VALUE_ABSENT}; }
static inline struct value value_none(void) { return (struct value){.kind = VALUE_NONE}; }
static inline struct value value_bool(bool b) {
    return (struct value){.kind = VALUE_BOOL, .as.truth = b};
}
static inline struct value value_int(int64_t i) {
    return (struct value){.kind = VALUE_INT, .as.integer = i};
}
static inline struct value value_float(double f) {
    return (struct value){.kind = VALUE_FLOAT, .as.real = f};
}
static inline struct value value_text(const struct value_text *t) {
    return (struct value){.kind = VALUE_STRING, .as.text = t};
}
static inline struct value value_list(struct value_list *l) {
    return (struct value){.kind = VALUE_LIST, .as.list = l};
}
static inline struct value value_dict(struct value_dict *d) {
    return (struct value){.kind = VALUE_DICT, .as.dict = d};
}

static inline bool value_is(struct value v, enum value_kind kind) { return v.kind == kind; }
// A list or tuple as Python means them, not a view or an iterator.
static inline bool value_is_flavour(struct value v, enum value_list_flavour flavour) {
    return v.kind == VALUE_LIST && v.as.list->flavour == flavour;
}
// bool, int or float; true and its number in *f, exactly for integers up to 2^53.
bool value_is_number(struct value v, double *f);
// bool or int (not BIG).
bool value_is_integer(struct value v, int64_t *i);

bool value_truth(struct value v);
// Python's name of its type ("str"), and jinja2's words for messages ("'str object'").
const char *value_type_name(struct value v);
// Whether it is the string s.
bool value_is_word(struct value v, const char *s);

#endif
