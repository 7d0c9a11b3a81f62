// Values of one kind: what const and enum list, strings by length, integers by range.
#include "base/json_text.h"
#include "grammar/integer.h"
#include "grammar/schema.h"

uint32_t schema_string(struct schema *s, const struct schema_at *at, uint32_t next) {
    uint32_t min = 0, max = GRAMMAR_INF;
    if (!schema_count(s, at, SCHEMA_KEY_MIN_LENGTH, &min) ||
        !schema_count(s, at, SCHEMA_KEY_MAX_LENGTH, &max))
        return 0;
    if (min > max)
        return schema_wrong(s, ERR_INVALID, at->path, "\"minLength\" is over \"maxLength\"");
    return json_rules_string(&s->j, min, max, next);
}

// Rounds a bound into the range; false after an error. *open: it bounds nothing.
static bool read_bound(struct schema *s, const struct schema_at *at, bool lower,
                       struct integer *out, bool *open) {
    enum schema_keyword k = lower ? SCHEMA_KEY_MINIMUM : SCHEMA_KEY_MAXIMUM;
    const struct json_node *n = at->key[k];
    *open = true;
    if (!n)
        return true;
    if (n->kind != JSON_NUMBER) {
        schema_wrong(s, ERR_INVALID, at->path, "\"%s\" is not a number", schema_keyword_name(k));
        return false;
    }
    bool exact;
    if (integer_from_lexeme(n->text, n->len, lower, out, &exact) == INTEGER_READ) {
        *open = false;
    } else if (out->negative != lower) {
        schema_wrong(s, ERR_UNSUPPORTED, at->path, "\"%s\" has over %d digits",
                     schema_keyword_name(k), INTEGER_DIGITS_MAX);
        return false;
    }
    return true;
}

uint32_t schema_integer(struct schema *s, const struct schema_at *at, uint32_t next) {
    struct integer lo, hi;
    bool no_lo, no_hi;
    if (!read_bound(s, at, true, &lo, &no_lo) || !read_bound(s, at, false, &hi, &no_hi))
        return 0;
    if (!no_lo && !no_hi && integer_compare(&lo, &hi) > 0)
        return schema_wrong(s, ERR_INVALID, at->path,
                            "no integer lies between \"minimum\" and \"maximum\"");
    const struct expr *range = integer_range(&s->j.arena, no_lo ? NULL : &lo, no_hi ? NULL : &hi);
    return json_rules_expr(&s->j, range, next);
}

static unsigned types_of(const struct json_node *v) {
    struct integer i;
    bool whole = false;
    switch (v->kind) {
    case JSON_NULL:
        return SCHEMA_NULL;
    case JSON_FALSE:
    case JSON_TRUE:
        return SCHEMA_BOOLEAN;
    case JSON_NUMBER:
        (void)integer_from_lexeme(v->text, v->len, true, &i, &whole);
        return SCHEMA_NUMBER | (whole ? SCHEMA_INTEGER : 0u);
    case JSON_STRING:
        return SCHEMA_STRING;
    case JSON_ARRAY:
        return SCHEMA_ARRAY;
    case JSON_OBJECT:
        return SCHEMA_OBJECT;
    }
    return 0;
}

static const struct expr *quoted(struct schema *s, const char *text, size_t len) {
    struct buf b = {0};
    json_quote(&b, text, len);
    const struct expr *e = b.failed ? NULL : expr_bytes(&s->j.arena, b.data, b.len);
    buf_free(&b);
    return e;
}

// The spelling of a value: numbers by their own lexeme, containers with the optional spaces.
static const struct expr *literal(struct schema *s, const struct json_node *v) {
    struct expr_arena *a = &s->j.arena;
    switch (v->kind) {
    case JSON_NULL:
        return expr_text(a, "null");
    case JSON_FALSE:
        return expr_text(a, "false");
    case JSON_TRUE:
        return expr_text(a, "true");
    case JSON_NUMBER:
        return expr_bytes(a, v->text, v->len);
    case JSON_STRING:
        return quoted(s, v->text, v->len);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    bool object = v->kind == JSON_OBJECT;
    const struct expr **items = expr_alloc(a, 2, (2 * v->count + 1) * sizeof(struct expr *));
    size_t n = 0;
    if (!items)
        return NULL;
    items[n++] = expr_text(a, object ? "{" : "[");
    for (const struct json_node *m = v->child; m; m = m->next) {
        if (m != v->child)
            items[n++] = json_rules_spaced(&s->j, ",");
        if (object) {
            items[n++] = quoted(s, m->key, m->key_len);
            items[n++] = json_rules_spaced(&s->j, ":");
        }
        items[n++] = literal(s, m);
    }
    items[n++] = expr_text(a, object ? "}" : "]");
    return expr_list(a, EXPR_SEQ, items, n);
}

uint32_t schema_choice(struct schema *s, const struct schema_at *at, unsigned types,
                       uint32_t next) {
    struct expr_arena *a = &s->j.arena;
    const struct json_node *one = at->key[SCHEMA_KEY_CONST], *list = at->key[SCHEMA_KEY_ENUM];
    if (one)
        return types & types_of(one) ? json_rules_expr(&s->j, literal(s, one), next) : 0;
    if (list->kind != JSON_ARRAY || list->count == 0)
        return schema_wrong(s, ERR_INVALID, at->path, "\"enum\" is not a list of values");
    const struct expr **alts = expr_alloc(a, list->count, sizeof *alts);
    if (!alts)
        return grammar_fail(s->j.g, ERR_NOMEM, "out of memory");
    size_t n = 0;
    for (const struct json_node *m = list->child; m; m = m->next)
        if (types & types_of(m))
            alts[n++] = literal(s, m);
    return n ? json_rules_expr(&s->j, expr_list(a, EXPR_ALT, alts, n), next) : 0;
}
