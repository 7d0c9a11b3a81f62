// Methods of strings (methods_text.c), for the tables of methods.c. Internal.
#ifndef TRINE_TEMPLATE_METHODS_H
#define TRINE_TEMPLATE_METHODS_H

#include "template/run.h"

const struct native *text_method_find(const char *name, size_t len);
// The sequence of [count] names that str has and this interpreter has not.
bool text_method_is_foreign(const char *name, size_t len);
bool name_in(const char *const *names, size_t n, const char *name, size_t len);

#endif
