// The parts that every JSON grammar shares.
// What is written: no space but an optional one behind `,` and `:`; strings without raw control
// characters, escapes as RFC 8259 has them, surrogates in pairs only, never \u0000; numbers with at
// most 19 digits before the point, 16 behind it and 2 of exponent, integers within 64 bits unless
// a schema's bound goes further. Keys that
// no schema names have 1 to 64 code points, no escapes, and differ within their object; an object
// has at most 100 of them.
#ifndef TRINE_GRAMMAR_JSON_RULES_H
#define TRINE_GRAMMAR_JSON_RULES_H

#include "grammar/expr.h"

struct json_rules {
    struct grammar *g;
    struct expr_arena arena;
    struct grammar_leaf string_char, key_char, quote, key_open, key_close, comma, open_object,
        close_object, open_array, close_array;
    uint32_t value, object, array; // rules of any value, object, array; GRAMMAR_NONE until used
};

// Begins a grammar; NULL in j->g when memory is out.
void json_rules_begin(struct json_rules *j, struct errmsg *msg);
void json_rules_end(struct json_rules *j); // frees what only building needed

uint32_t json_rules_string(struct json_rules *j, uint32_t min, uint32_t max, uint32_t next);
uint32_t json_rules_number(struct json_rules *j, uint32_t next);
uint32_t json_rules_expr(struct json_rules *j, const struct expr *e, uint32_t next);
uint32_t json_rules_text(struct json_rules *j, const char *text, uint32_t next);
// `,` or `:`, with an optional space behind it.
const struct expr *json_rules_spaced(struct json_rules *j, const char *text);

enum json_rules_any { JSON_ANY_VALUE, JSON_ANY_OBJECT, JSON_ANY_ARRAY };
// A call of any value, object or array; levels: containers open around it in the rule at hand.
uint32_t json_rules_any(struct json_rules *j, enum json_rules_any kind, uint32_t levels,
                        uint32_t next);
uint32_t json_rules_value(struct json_rules *j); // the rule of any value
// A call that leaves `levels` containers.
uint32_t json_rules_call(struct json_rules *j, uint32_t rule, uint32_t levels, uint32_t next);
// The nodes of an object's keys that no schema names, none of them in the set `names`; each value
// is by `rule`. *after becomes the node behind a value: another such key, or next (which closes the
// object first). The object must be a rule of its own, and calls out of `levels` containers.
uint32_t json_rules_free_keys(struct json_rules *j, uint32_t names, uint32_t rule, uint32_t levels,
                              uint32_t next, uint32_t *after);

#endif
