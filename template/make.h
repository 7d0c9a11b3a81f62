// Makes values, in the rendering's pool. Each function returns false when the rendering has failed
// (memory, a limit). Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_MAKE_H
#define TRINE_TEMPLATE_MAKE_H

#include "base/json_tree.h"
#include "template/render.h"

// Strings: a copy in the pool.
bool make_text(struct render *r, const char *s, size_t len, struct value *out);
// s must live as long as the rendering.
bool make_text_view(struct render *r, const char *s, size_t len, struct value *out);
bool make_concat(struct render *r, const struct value_text *a, const char *b, size_t b_len,
                 struct value *out);
// What was appended to r->out since `start`, taken out of it.
bool make_captured(struct render *r, size_t start, struct value *out);
// The content of r->scratch.
bool make_scratched(struct render *r, bool safe, struct value *out);
bool make_list(struct render *r, enum value_list_flavour flavour, size_t cap,
               struct value_list **out);
bool make_dict(struct render *r, size_t cap, struct value_dict **out);
bool make_undefined(struct render *r, const char *owner, const char *name, size_t name_len,
                    struct value *out);
// `copy`: the node may go before the rendering ends.
bool make_json(struct render *r, const struct json_node *node, bool copy, struct value *out);
// Digits (with a sign) to INT or BIG.
bool make_integer(struct render *r, const char *digits, size_t len, struct value *out);

// t with <, >, & and quotes as HTML writes them.
bool make_escaped(struct render *r, const struct value_text *t, const struct value_text **out);

#endif
