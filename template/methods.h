// Methods of strings (methods_text.c), for the tables in methods.c. Role: shared by these two files
// only.
#ifndef TRINE_TEMPLATE_METHODS_H
#define TRINE_TEMPLATE_METHODS_H

#include "template/arguments.h"
#include "template/functions.h"
#include "template/render.h"

const struct function *method_find_text(const char *name, size_t len);
// The sequence of [count] names that str has and this interpreter has not.
bool method_is_foreign_text(const char *name, size_t len);
bool method_name_in(const char *const *names, size_t n, const char *name, size_t len);

#endif
