// Arithmetic, comparison, concatenation and slices, as Python has them. False when the rendering
// has failed. Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_OPERATORS_H
#define TRINE_TEMPLATE_OPERATORS_H

#include "template/render.h"

bool operator_binary(struct render *r, enum ast_operator op, struct value a, struct value b,
                     struct value *out);
bool operator_negate(struct render *r, struct value a, struct value *out);
bool operator_slice(struct render *r, struct value v, struct value start, struct value stop,
                    struct value step, struct value *out);

#endif
