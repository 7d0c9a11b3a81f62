// See json_rules.h.
#include "grammar/json_rules.h"

#include <string.h>

static const struct expr *class_of(struct expr_arena *a, const char *pairs) {
    struct expr_range ranges[8];
    size_t n = 0;
    for (; pairs[2 * n]; n++)
        ranges[n] =
            (struct expr_range){(unsigned char)pairs[2 * n], (unsigned char)pairs[2 * n + 1]};
    return expr_class(a, ranges, n, false);
}

// A code point as it stands in a string, without escapes.
static const struct expr *plain_char(struct expr_arena *a) {
    static const struct expr_range out[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    return expr_class(a, out, 3, true);
}

// \uXXXX for every code point but U+0000, beyond the first 65,536 as a pair.
static const struct expr *unicode_escape(struct expr_arena *a) {
    const struct expr *hex = class_of(a, "09afAF"), *not_zero = class_of(a, "19afAF");
    const struct expr *zero = expr_text(a, "0"), *d = class_of(a, "ddDD");
    const struct expr *hex2 = expr_repeat(a, hex, 2, 2), *hex3 = expr_repeat(a, hex, 3, 3);
    const struct expr *forms[][4] = {
        {class_of(a, "19acefACEF"), hex3}, {zero, not_zero, hex2},
        {zero, zero, not_zero, hex},       {zero, zero, zero, not_zero},
        {d, class_of(a, "07"), hex2},
    };
    const struct expr *pair[] = {d, class_of(a, "89abAB"), hex2, expr_text(a, "\\u"),
                                 d, class_of(a, "cfCF"),   hex2};
    const struct expr *alts[] = {
        expr_list(a, EXPR_SEQ, forms[0], 2), expr_list(a, EXPR_SEQ, forms[1], 3),
        expr_list(a, EXPR_SEQ, forms[2], 4), expr_list(a, EXPR_SEQ, forms[3], 4),
        expr_list(a, EXPR_SEQ, forms[4], 3), expr_list(a, EXPR_SEQ, pair, 7),
    };
    const struct expr *all[] = {expr_text(a, "u"), expr_list(a, EXPR_ALT, alts, 6)};
    return expr_list(a, EXPR_SEQ, all, 2);
}

static struct grammar_leaf make_leaf(struct json_rules *j, const struct expr *e) {
    struct grammar_leaf leaf;
    if (!grammar_leaf_make(j->g, e, &leaf))
        grammar_fail(j->g, ERR_INTERNAL, "a JSON rule does not fit an automaton");
    return leaf;
}

const struct expr *json_rules_spaced(struct json_rules *j, const char *text) {
    struct expr_arena *a = &j->arena;
    const struct expr *both[] = {expr_text(a, text), expr_repeat(a, expr_text(a, " "), 0, 1)};
    return expr_list(a, EXPR_SEQ, both, 2);
}

void json_rules_begin(struct json_rules *j, struct errmsg *msg) {
    *j = (struct json_rules){.g = grammar_begin(msg),
                             .value = GRAMMAR_NONE,
                             .object = GRAMMAR_NONE,
                             .array = GRAMMAR_NONE};
    if (!j->g)
        return;
    struct expr_arena *a = &j->arena;
    const struct expr *escapes[] = {class_of(a, "\"\"\\\\//bbffnnrrtt"), unicode_escape(a)};
    const struct expr *escape[] = {expr_text(a, "\\"), expr_list(a, EXPR_ALT, escapes, 2)};
    const struct expr *chars[] = {plain_char(a), expr_list(a, EXPR_SEQ, escape, 2)};
    // These two come first, in every grammar alike: a vocab keeps their tables.
    j->string_char = make_leaf(j, expr_list(a, EXPR_ALT, chars, 2));
    j->key_char = make_leaf(j, plain_char(a));
    if (j->g->n_states <= GRAMMAR_JSON_STATES)
        j->g->json_states = (uint32_t)j->g->n_states;
    j->quote = make_leaf(j, expr_text(a, "\""));
    j->key_open = j->quote;
    j->key_close = make_leaf(j, json_rules_spaced(j, "\":"));
    j->comma = make_leaf(j, json_rules_spaced(j, ","));
    j->open_object = make_leaf(j, expr_text(a, "{"));
    j->close_object = make_leaf(j, expr_text(a, "}"));
    j->open_array = make_leaf(j, expr_text(a, "["));
    j->close_array = make_leaf(j, expr_text(a, "]"));
}

void json_rules_end(struct json_rules *j) { expr_arena_free(&j->arena); }

uint32_t json_rules_string(struct json_rules *j, uint32_t min, uint32_t max, uint32_t next) {
    struct grammar *g = j->g;
    next = grammar_leaf_node(g, j->quote, 1, 1, next);
    next = grammar_leaf_node(g, j->string_char, min, max, next);
    return grammar_leaf_node(g, j->quote, 1, 1, next);
}

uint32_t json_rules_expr(struct json_rules *j, const struct expr *e, uint32_t next) {
    struct grammar_leaf leaf;
    if (e && grammar_leaf_make(j->g, e, &leaf))
        return grammar_leaf_node(j->g, leaf, 1, 1, next);
    return grammar_compile(j->g, &j->arena, e, next);
}

uint32_t json_rules_text(struct json_rules *j, const char *text, uint32_t next) {
    return json_rules_expr(j, expr_text(&j->arena, text), next);
}

uint32_t json_rules_number(struct json_rules *j, uint32_t next) {
    struct expr_arena *a = &j->arena;
    const struct expr *digit = class_of(a, "09");
    const struct expr *large[] = {class_of(a, "19"), expr_repeat(a, digit, 0, 18)};
    const struct expr *whole[] = {expr_text(a, "0"), expr_list(a, EXPR_SEQ, large, 2)};
    const struct expr *fraction[] = {expr_text(a, "."), expr_repeat(a, digit, 1, 16)};
    const struct expr *exponent[] = {class_of(a, "eeEE"), expr_repeat(a, class_of(a, "++--"), 0, 1),
                                     expr_repeat(a, digit, 1, 2)};
    const struct expr *all[] = {
        expr_repeat(a, expr_text(a, "-"), 0, 1),
        expr_list(a, EXPR_ALT, whole, 2),
        expr_repeat(a, expr_list(a, EXPR_SEQ, fraction, 2), 0, 1),
        expr_repeat(a, expr_list(a, EXPR_SEQ, exponent, 3), 0, 1),
    };
    return json_rules_expr(j, expr_list(a, EXPR_SEQ, all, 4), next);
}

uint32_t json_rules_call(struct json_rules *j, uint32_t rule, uint32_t levels, uint32_t next) {
    return grammar_call(j->g, rule, levels ? levels * GRAMMAR_LEVEL_COST : 1, next);
}

uint32_t json_rules_free_keys(struct json_rules *j, uint32_t names, uint32_t rule, uint32_t levels,
                              uint32_t next, uint32_t *after) {
    struct grammar *g = j->g;
    *after = grammar_split_open(g, 2);
    uint32_t at = json_rules_call(j, rule, levels, *after);
    at = grammar_leaf_node(g, j->key_close, 1, 1, at);
    at = grammar_key_node(g, j->key_char, names, at);
    uint32_t first = grammar_leaf_node(g, j->key_open, 1, 1, at);
    grammar_split_set(g, *after, 0, next);
    grammar_split_set(g, *after, 1, grammar_more(g, grammar_leaf_node(g, j->comma, 1, 1, first)));
    return first;
}

static uint32_t *rule_slot(struct json_rules *j, enum json_rules_any kind) {
    return kind == JSON_ANY_VALUE ? &j->value : kind == JSON_ANY_OBJECT ? &j->object : &j->array;
}

// The rule's index is known before its body is made: the three call each other.
static uint32_t any_rule(struct json_rules *j, enum json_rules_any kind) {
    struct grammar *g = j->g;
    uint32_t *slot = rule_slot(j, kind);
    if (*slot != GRAMMAR_NONE || g->err)
        return *slot;
    uint32_t rule = *slot = grammar_rule_new(g, NULL, 0), start = 0;
    uint32_t value = any_rule(j, JSON_ANY_VALUE);
    if (kind == JSON_ANY_VALUE) {
        static const char *const words[] = {"true", "false", "null"};
        uint32_t alts[6] = {json_rules_string(j, 0, GRAMMAR_INF, 1), json_rules_number(j, 1)};
        for (size_t i = 0; i < 3; i++)
            alts[2 + i] = json_rules_text(j, words[i], 1);
        uint32_t containers[] = {
            grammar_call(g, any_rule(j, JSON_ANY_OBJECT), 1, 1),
            grammar_call(g, any_rule(j, JSON_ANY_ARRAY), 1, 1),
        };
        alts[5] = grammar_split(g, containers, 2);
        start = grammar_split(g, alts, 6);
    } else if (kind == JSON_ANY_OBJECT) {
        uint32_t close = grammar_leaf_node(g, j->close_object, 1, 1, 1), after;
        uint32_t alts[] = {close, json_rules_free_keys(j, GRAMMAR_NONE, value, 1, close, &after)};
        start = grammar_leaf_node(g, j->open_object, 1, 1, grammar_split(g, alts, 2));
    } else {
        uint32_t close = grammar_leaf_node(g, j->close_array, 1, 1, 1);
        uint32_t after = grammar_split_open(g, 2);
        uint32_t item = json_rules_call(j, value, 1, after);
        grammar_split_set(g, after, 0, close);
        grammar_split_set(g, after, 1, grammar_leaf_node(g, j->comma, 1, 1, item));
        uint32_t alts[] = {close, item};
        start = grammar_leaf_node(g, j->open_array, 1, 1, grammar_split(g, alts, 2));
    }
    if (!g->err)
        g->rules[rule].start = start;
    return rule;
}

uint32_t json_rules_value(struct json_rules *j) { return any_rule(j, JSON_ANY_VALUE); }

uint32_t json_rules_any(struct json_rules *j, enum json_rules_any kind, uint32_t levels,
                        uint32_t next) {
    uint32_t rule = any_rule(j, kind);
    return j->g->err ? 0 : json_rules_call(j, rule, levels, next);
}

enum err grammar_json_object(struct grammar **out, struct errmsg *msg) {
    *out = NULL;
    struct json_rules j;
    json_rules_begin(&j, msg);
    if (!j.g)
        return ERR_NOMEM;
    uint32_t root = json_rules_any(&j, JSON_ANY_OBJECT, 0, 1);
    json_rules_end(&j);
    return grammar_finish(j.g, root, out, msg);
}
