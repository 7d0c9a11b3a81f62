// What a template can call by name: filters, tests, functions and methods. Each is a row of a
// table.
// Role: the parser asks whether a name is known, and the interpreter calls it. Thread rule:
// constant.
#ifndef TRINE_TEMPLATE_FUNCTIONS_H
#define TRINE_TEMPLATE_FUNCTIONS_H

#include "template/value.h"

struct render;
struct arguments;

// self: what a filter, test or method is applied to. False when the rendering has failed.
struct function {
    const char *name;
    bool (*call)(struct render *r, struct value self, const struct arguments *args,
                 struct value *out);
};

// By its name in one table; NULL: it is not there.
const struct function *function_find_in(const struct function *table, size_t n, const char *name,
                                        size_t len);

// NULL: not known.
const struct function *filter_find(const char *name, size_t len);
const struct function *test_find(const char *name, size_t len);
const struct function *global_find(const char *name, size_t len);
// Whether a method of this name can be called on some type here. Those that the sandbox refuses
// (append, pop, ...) count: calling them is an error of the rendering, as in jinja2.
bool method_is_known(const char *name, size_t len);
// Whether v's type has an attribute of this name in Python. *out is NULL when it cannot be called
// here; *unsafe when the sandbox hides it.
bool method_find(struct value v, const char *name, size_t len, const struct function **out,
                 bool *unsafe);

#endif
