// What filters, tests, functions and methods do with their arguments. False when the rendering has
// failed. Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_ARGUMENTS_H
#define TRINE_TEMPLATE_ARGUMENTS_H

#include "template/value.h"

struct render;

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
bool arguments_bind(struct render *r, const char *what, const struct arguments *args,
                    const char *const *names, size_t n, size_t required, struct value *out);
// An integer argument (bool too); `fallback` when absent or None.
bool argument_int(struct render *r, const char *what, struct value v, int64_t fallback,
                  int64_t *out);
bool argument_text(struct render *r, const char *what, struct value v,
                   const struct value_text **out);

#endif
