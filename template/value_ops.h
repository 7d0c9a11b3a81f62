// Looks into dicts, compares values and iterates over them. Each function returns false when the
// rendering has failed. Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_VALUE_OPS_H
#define TRINE_TEMPLATE_VALUE_OPS_H

#include "template/render.h"

bool value_dict_find(struct render *r, const struct value_dict *d, struct value key,
                     struct value **found);
bool value_dict_find_word(struct render *r, const struct value_dict *d, const char *key, size_t len,
                          struct value **found);
bool value_dict_put(struct render *r, struct value_dict *d, struct value key, struct value v);

bool value_equal(struct render *r, struct value a, struct value b, size_t depth, bool *equal);
// <0, 0, >0; a type error when Python has no order for them. `op` for its message.
bool value_compare(struct render *r, struct value a, struct value b, const char *op, size_t depth,
                   int *order);
// needle in haystack.
bool value_contains(struct render *r, struct value haystack, struct value needle, bool *found);
// What a for loop sees: the elements (an iterator's rest, which is consumed). The list must not be
// changed.
bool value_iterate(struct render *r, struct value v, struct value_list **out);
bool value_length(struct render *r, struct value v, size_t *out);

#endif
