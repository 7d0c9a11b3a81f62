// Tests (`x is defined`). Source followed: jinja2 3.1.6, tests.py.
#include "template/filters.h"
#include "template/operators.h"
#include "template/value_ops.h"

#include <math.h>
#include <string.h>

#define TEST(name) static FILTER(name)

static bool no_arguments(struct render *r, const struct arguments *args) {
    struct value unused[1];
    return arguments_bind(r, "the test", args, NULL, 0, 0, unused);
}

static bool answer(struct render *r, const struct arguments *args, bool yes, struct value *out) {
    *out = value_bool(yes);
    return no_arguments(r, args);
}

static bool one_argument(struct render *r, const struct arguments *args, struct value *out) {
    static const char *const names[] = {"other"};
    return arguments_bind(r, "the test", args, names, 1, 1, out);
}

TEST(test_defined) { return answer(r, args, self.kind != VALUE_UNDEFINED, out); }
TEST(test_undefined) { return answer(r, args, self.kind == VALUE_UNDEFINED, out); }
TEST(test_none) { return answer(r, args, self.kind == VALUE_NONE, out); }
TEST(test_boolean) { return answer(r, args, self.kind == VALUE_BOOL, out); }
TEST(test_true) { return answer(r, args, self.kind == VALUE_BOOL && self.as.truth, out); }
TEST(test_false) { return answer(r, args, self.kind == VALUE_BOOL && !self.as.truth, out); }
TEST(test_integer) {
    return answer(r, args, self.kind == VALUE_INT || self.kind == VALUE_BIG, out);
}
TEST(test_float) { return answer(r, args, self.kind == VALUE_FLOAT, out); }
TEST(test_number) {
    double f;
    return answer(r, args, value_is_number(self, &f) || self.kind == VALUE_BIG, out);
}
TEST(test_string) { return answer(r, args, self.kind == VALUE_STRING, out); }
TEST(test_mapping) { return answer(r, args, self.kind == VALUE_DICT, out); }
TEST(test_iterable) {
    bool yes = self.kind == VALUE_STRING || self.kind == VALUE_LIST || self.kind == VALUE_DICT ||
               self.kind == VALUE_UNDEFINED || self.kind == VALUE_LOOP;
    return answer(r, args, yes, out);
}
// Has a length and items: an undefined value has, in jinja2.
TEST(test_sequence) {
    bool yes = self.kind == VALUE_STRING || self.kind == VALUE_DICT ||
               self.kind == VALUE_UNDEFINED || value_is_flavour(self, LIST_LIST) ||
               value_is_flavour(self, LIST_TUPLE) || value_is_flavour(self, LIST_RANGE);
    return answer(r, args, yes, out);
}
TEST(test_callable) {
    bool yes = self.kind == VALUE_MACRO || self.kind == VALUE_FUNCTION ||
               self.kind == VALUE_METHOD || self.kind == VALUE_UNDEFINED || self.kind == VALUE_LOOP;
    return answer(r, args, yes, out);
}

static bool remainder_is(struct render *r, struct value self, struct value by, int64_t want,
                         struct value *out) {
    struct value rest;
    bool equal;
    if (!operator_binary(r, OPERATOR_MOD, self, by, &rest) ||
        !value_equal(r, rest, value_int(want), 0, &equal))
        return false;
    *out = value_bool(equal);
    return true;
}

TEST(test_odd) { return no_arguments(r, args) && remainder_is(r, self, value_int(2), 1, out); }
TEST(test_even) { return no_arguments(r, args) && remainder_is(r, self, value_int(2), 0, out); }
TEST(test_divisibleby) {
    struct value by;
    return one_argument(r, args, &by) && remainder_is(r, self, by, 0, out);
}

static bool compare(struct render *r, struct value self, const struct arguments *args,
                    const char *op, bool less, bool equal, bool more, struct value *out) {
    struct value other;
    int order = 0;
    if (!one_argument(r, args, &other) || !value_compare(r, self, other, op, 0, &order))
        return false;
    *out = value_bool(order < 0 ? less : order > 0 ? more : equal);
    return true;
}

TEST(test_lt) { return compare(r, self, args, "<", true, false, false, out); }
TEST(test_le) { return compare(r, self, args, "<=", true, true, false, out); }
TEST(test_gt) { return compare(r, self, args, ">", false, false, true, out); }
TEST(test_ge) { return compare(r, self, args, ">=", false, true, true, out); }

TEST(test_eq) {
    struct value other;
    bool equal;
    if (!one_argument(r, args, &other) || !value_equal(r, self, other, 0, &equal))
        return false;
    *out = value_bool(equal);
    return true;
}
TEST(test_ne) {
    if (!test_eq(r, self, args, out))
        return false;
    *out = value_bool(!out->as.truth);
    return true;
}
TEST(test_in) {
    struct value other;
    bool found;
    if (!one_argument(r, args, &other) || !value_contains(r, other, self, &found))
        return false;
    *out = value_bool(found);
    return true;
}

// Identity, for what Python has one of.
TEST(test_sameas) {
    struct value other;
    if (!one_argument(r, args, &other))
        return false;
    bool single = self.kind == VALUE_NONE || self.kind == VALUE_BOOL || other.kind == VALUE_NONE ||
                  other.kind == VALUE_BOOL;
    if (!single)
        return render_fail(r, ERR_INVALID, "sameas compares with none, true and false only");
    *out = value_bool(self.kind == other.kind &&
                      (self.kind == VALUE_NONE || self.as.truth == other.as.truth));
    return true;
}

static bool is_name_of(struct render *r, struct value self, const struct arguments *args,
                       const struct function *(*find)(const char *, size_t), struct value *out) {
    bool yes = self.kind == VALUE_STRING && find(self.as.text->data, self.as.text->len);
    return answer(r, args, yes, out);
}
TEST(test_filter) { return is_name_of(r, self, args, filter_find, out); }
TEST(test_test) { return is_name_of(r, self, args, test_find, out); }

const struct function *test_find(const char *name, size_t len) {
    static const struct function table[] = {{"defined", test_defined},
                                            {"undefined", test_undefined},
                                            {"none", test_none},
                                            {"boolean", test_boolean},
                                            {"true", test_true},
                                            {"false", test_false},
                                            {"integer", test_integer},
                                            {"float", test_float},
                                            {"number", test_number},
                                            {"string", test_string},
                                            {"mapping", test_mapping},
                                            {"iterable", test_iterable},
                                            {"sequence", test_sequence},
                                            {"callable", test_callable},
                                            {"odd", test_odd},
                                            {"even", test_even},
                                            {"divisibleby", test_divisibleby},
                                            {"lt", test_lt},
                                            {"lessthan", test_lt},
                                            {"<", test_lt},
                                            {"le", test_le},
                                            {"<=", test_le},
                                            {"gt", test_gt},
                                            {"greaterthan", test_gt},
                                            {">", test_gt},
                                            {"ge", test_ge},
                                            {">=", test_ge},
                                            {"eq", test_eq},
                                            {"equalto", test_eq},
                                            {"==", test_eq},
                                            {"ne", test_ne},
                                            {"!=", test_ne},
                                            {"in", test_in},
                                            {"sameas", test_sameas},
                                            {"filter", test_filter},
                                            {"test", test_test}};
    return function_find_in(table, sizeof table / sizeof table[0], name, len);
}
