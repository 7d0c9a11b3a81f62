// See value.h.
#include "template/value.h"

#include <string.h>

bool value_is_integer(struct value v, int64_t *i) {
    if (v.kind == VALUE_BOOL)
        *i = v.as.truth;
    else if (v.kind == VALUE_INT)
        *i = v.as.integer;
    else
        return false;
    return true;
}

bool value_is_number(struct value v, double *f) {
    int64_t i;
    if (v.kind == VALUE_FLOAT)
        *f = v.as.real;
    else if (value_is_integer(v, &i))
        *f = (double)i;
    else
        return false;
    return true;
}

bool value_truth(struct value v) {
    switch (v.kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v.as.truth;
    case VALUE_INT:
        return v.as.integer != 0;
    case VALUE_FLOAT:
        return v.as.real != 0;
    case VALUE_STRING:
        return v.as.text->len > 0;
    case VALUE_LIST:
        return v.as.list->flavour == LIST_ITERATOR || v.as.list->count > 0;
    case VALUE_DICT:
        return v.as.dict->count > 0;
    default:
        return true;
    }
}

const char *value_type_name(struct value v) {
    static const char *const lists[] = {"list",        "tuple",      "range",    "dict_keys",
                                        "dict_values", "dict_items", "generator"};
    switch (v.kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
        return "Undefined";
    case VALUE_NONE:
        return "NoneType";
    case VALUE_BOOL:
        return "bool";
    case VALUE_INT:
    case VALUE_BIG:
        return "int";
    case VALUE_FLOAT:
        return "float";
    case VALUE_STRING:
        return "str";
    case VALUE_LIST:
        return lists[v.as.list->flavour];
    case VALUE_DICT:
        return "dict";
    case VALUE_NAMESPACE:
        return "Namespace";
    case VALUE_MACRO:
        return "Macro";
    case VALUE_LOOP:
        return "LoopContext";
    case VALUE_FUNCTION:
        return "function";
    case VALUE_METHOD:
        return "method";
    }
    return "object";
}

bool value_is_word(struct value v, const char *s) {
    return v.kind == VALUE_STRING && v.as.text->len == strlen(s) &&
           memcmp(v.as.text->data, s, v.as.text->len) == 0;
}
