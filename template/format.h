// String formatting: `format % args` and str.format. False when the rendering has failed.
// Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_FORMAT_H
#define TRINE_TEMPLATE_FORMAT_H

#include "template/arguments.h"
#include "template/render.h"

bool format_percent(struct render *r, const struct value_text *format, struct value args,
                    struct value *out);
bool format_braces(struct render *r, const struct value_text *format, const struct arguments *args,
                   struct value *out);

#endif
