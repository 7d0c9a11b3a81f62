// Attributes and items of values. False when the rendering has failed. Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_ACCESS_H
#define TRINE_TEMPLATE_ACCESS_H

#include "template/render.h"

bool access_attribute(struct render *r, struct value v, const char *name, size_t len,
                      struct value *out);
bool access_item(struct render *r, struct value v, struct value key, struct value *out);
// What `map(attribute='a.b.0')` reads; `fallback` (may be absent) stands in for what is undefined.
bool access_path(struct render *r, struct value v, struct value path, struct value fallback,
                 struct value *out);

#endif
