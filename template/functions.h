// What templates can name: filters, tests, functions and methods, each a row of a table. Role: the
// parser asks whether a name is known, the interpreter calls. Thread rule: constant.
#ifndef TRINE_TEMPLATE_FUNCTIONS_H
#define TRINE_TEMPLATE_FUNCTIONS_H

#include "template/value.h"

struct run;
struct arguments;

// self: what a filter, test or method is applied to. False when the rendering has failed.
struct native {
    const char *name;
    bool (*call)(struct run *r, struct value self, const struct arguments *args, struct value *out);
};

// NULL: not known.
const struct native *filter_find(const char *name, size_t len);
const struct native *test_find(const char *name, size_t len);
const struct native *function_find(const char *name, size_t len);
// Whether a method of this name can be called on some type here. Those that the sandbox refuses
// (append, pop, ...) count: calling them is an error of the rendering, as in jinja2.
bool method_is_known(const char *name, size_t len);
// Whether v's type has an attribute of this name in Python. *out is NULL when it cannot be called
// here; *unsafe when the sandbox hides it.
bool method_find(struct value v, const char *name, size_t len, const struct native **out,
                 bool *unsafe);
const struct native *native_find(const struct native *table, size_t n, const char *name,
                                 size_t len);

#endif
