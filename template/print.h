// Values as text, as Python prints them. False when the rendering has failed. Thread rule: as
// render.h.
#ifndef TRINE_TEMPLATE_PRINT_H
#define TRINE_TEMPLATE_PRINT_H

#include "template/render.h"

bool print_value(struct render *r, struct buf *out, struct value v);                 // str()
bool print_repr(struct render *r, struct buf *out, struct value v, size_t depth);    // repr()
bool print_to_text(struct render *r, struct value v, const struct value_text **out); // str()
struct print_json_style {
    bool ensure_ascii, sort_keys, pretty;
    const struct value_text *indent; // of one level, when pretty
    const struct value_text *item_separator, *key_separator;
};
bool print_json(struct render *r, struct buf *out, struct value v,
                const struct print_json_style *style, size_t depth);

#endif
