// JSON schemas as grammars. Keywords: type, properties, required, additionalProperties, items,
// prefixItems, enum, const, anyOf, $ref (local: "#" and "#/..."), $defs and definitions,
// min/maxItems, min/maxLength (code points), minimum and maximum of integers; format is accepted
// with a warning; annotations (title, $comment, deprecated, x-..., the list below) are ignored; any
// other is ERR_UNSUPPORTED, but with a value that asks for nothing (uniqueItems: false). Beside
// $ref, anyOf, const and enum nothing but what is ignored may stand (`type` may beside const and
// enum).
//
// What is generated always validates; of what would validate, this is left out:
// - properties come in the schema's order; a schema that names properties takes further ones only
//   when it says additionalProperties; behind prefixItems further items only when it says items
// - without `type`, the types are those that the other keywords are about; with no keyword at all,
//   any value
// - how values are spelled (json_rules.h), and 32 levels of what nests without end.
#include "grammar/schema.h"

#include "base/hex.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum schema_keyword keyword;
    unsigned about; // the types that it holds for
} keywords[] = {
    {"$ref", SCHEMA_KEY_REF, 0},
    {"const", SCHEMA_KEY_CONST, 0},
    {"enum", SCHEMA_KEY_ENUM, 0},
    {"anyOf", SCHEMA_KEY_ANY_OF, 0},
    {"type", SCHEMA_KEY_TYPE, 0},
    {"properties", SCHEMA_KEY_PROPERTIES, SCHEMA_OBJECT},
    {"required", SCHEMA_KEY_REQUIRED, SCHEMA_OBJECT},
    {"additionalProperties", SCHEMA_KEY_ADDITIONAL, SCHEMA_OBJECT},
    {"items", SCHEMA_KEY_ITEMS, SCHEMA_ARRAY},
    {"prefixItems", SCHEMA_KEY_PREFIX_ITEMS, SCHEMA_ARRAY},
    {"minItems", SCHEMA_KEY_MIN_ITEMS, SCHEMA_ARRAY},
    {"maxItems", SCHEMA_KEY_MAX_ITEMS, SCHEMA_ARRAY},
    {"minLength", SCHEMA_KEY_MIN_LENGTH, SCHEMA_STRING},
    {"maxLength", SCHEMA_KEY_MAX_LENGTH, SCHEMA_STRING},
    {"minimum", SCHEMA_KEY_MINIMUM, SCHEMA_INTEGER},
    {"maximum", SCHEMA_KEY_MAXIMUM, SCHEMA_INTEGER},
    {"format", SCHEMA_KEY_FORMAT, 0},
    {"$defs", SCHEMA_KEY_DEFS, 0},
    {"definitions", SCHEMA_KEY_DEFS, 0},
};
enum { N_KEYWORDS = sizeof keywords / sizeof *keywords, ALL_TYPES = 127 };

// What describes and does not constrain: JSON schema's annotations, OpenAPI's, and those of editors
// and of other services that schemas are written for. So is whatever begins with "x-".
static const char *const annotations[] = {
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
    "id",
    "$comment",
    "$vocabulary",
    "$anchor",
    "$dynamicAnchor",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "nullable",
    "discriminator",
    "externalDocs",
    "xml",
    "enumNames",
    "enumDescriptions",
    "markdownDescription",
    "markdownEnumDescriptions",
    "deprecationMessage",
    "errorMessage",
    "propertyOrdering",
};

// Keywords that are not supported, with the value that asks for nothing.
static const struct {
    const char *name;
    const char *values; // "false", "true", "0", "{}", and "\"\"" for the empty text
} neutral[] = {
    {"uniqueItems", "false"},
    {"minProperties", "0"},
    {"minContains", "0"},
    {"exclusiveMinimum", "false"}, // of drafts that had it as a word beside minimum
    {"exclusiveMaximum", "false"},
    {"pattern", "\"\""},
    {"not", "false"},
    {"dependencies", "{}"},
    {"dependentRequired", "{}"},
    {"dependentSchemas", "{}"},
    {"propertyNames", "true {}"},
    {"unevaluatedProperties", "true {}"},
    {"unevaluatedItems", "true {}"},
    {"additionalItems", "true {}"},
    {"$recursiveAnchor", "false"},
};

const char *schema_keyword_name(enum schema_keyword k) {
    for (size_t i = 0; i < N_KEYWORDS; i++)
        if (keywords[i].keyword == k)
            return keywords[i].name;
    return "?";
}

static void print_path(struct buf *out, const struct schema_path *path) {
    // from the root down: paths are as deep as the JSON, 64 at most with two steps each
    const struct schema_path *steps[160];
    size_t n = 0;
    for (; path && n < sizeof steps / sizeof *steps; path = path->up)
        steps[n++] = path;
    while (n-- > 0) {
        if (!steps[n]->key) {
            buf_printf(out, "/%zu", steps[n]->index);
            continue;
        }
        buf_putc(out, '/');
        for (size_t i = 0; i < steps[n]->len; i++) {
            char c = steps[n]->key[i];
            if (!steps[n]->pointer && (c == '~' || c == '/'))
                buf_puts(out, c == '~' ? "~0" : "~1");
            else
                buf_putc(out, c);
        }
    }
}

static char *where(const struct schema *s, const struct schema_path *path) {
    struct buf b = {0};
    buf_puts(&b, s->base ? s->base : "#");
    print_path(&b, path);
    if (b.failed)
        buf_free(&b);
    return b.data; // of mem.h, as all buffers
}

uint32_t schema_wrong(struct schema *s, enum err code, const struct schema_path *path,
                      const char *fmt, ...) {
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    char *place = where(s, path);
    grammar_fail(s->j.g, code, "JSON schema at %.200s: %s", place ? place : "#", what);
    mem_free(place);
    return 0;
}

bool schema_look(struct schema *s, size_t n) {
    s->looks += n < SCHEMA_LOOKS_MAX ? n : SCHEMA_LOOKS_MAX;
    if (s->looks < SCHEMA_LOOKS_MAX)
        return !s->j.g->err;
    s->looks = SCHEMA_LOOKS_MAX;
    grammar_fail(s->j.g, ERR_INVALID, "JSON schema: too many names and references");
    return false;
}

static bool is_annotation(const struct json_node *m) {
    if (m->key_len >= 2 && (m->key[0] == 'x' || m->key[0] == 'X') && m->key[1] == '-')
        return true;
    for (size_t i = 0; i < sizeof annotations / sizeof *annotations; i++)
        if (strlen(annotations[i]) == m->key_len && memcmp(annotations[i], m->key, m->key_len) == 0)
            return true;
    return false;
}

static bool is_neutral(const struct json_node *m) {
    const char *value = NULL;
    if (m->kind == JSON_FALSE || m->kind == JSON_TRUE)
        value = m->kind == JSON_TRUE ? "true" : "false";
    else if (m->kind == JSON_NUMBER && m->len == 1 && *m->text == '0')
        value = "0";
    else if (m->kind == JSON_STRING && m->len == 0)
        value = "\"\"";
    else if (m->kind == JSON_OBJECT && !m->child)
        value = "{}";
    for (size_t i = 0; value && i < sizeof neutral / sizeof *neutral; i++)
        if (strlen(neutral[i].name) == m->key_len &&
            memcmp(neutral[i].name, m->key, m->key_len) == 0)
            return strstr(neutral[i].values, value) != NULL;
    return false;
}

bool grammar_schema_says_nothing(const struct json_node *schema) {
    for (const struct json_node *m = schema->child; m; m = m->next) {
        bool says = !is_annotation(m) && !is_neutral(m);
        for (size_t i = 0; says && i < N_KEYWORDS; i++)
            if (strlen(keywords[i].name) == m->key_len &&
                memcmp(keywords[i].name, m->key, m->key_len) == 0)
                says = keywords[i].keyword != SCHEMA_KEY_FORMAT &&
                       keywords[i].keyword != SCHEMA_KEY_DEFS;
        if (says)
            return false;
    }
    return true;
}

static bool read_keywords(struct schema *s, struct schema_at *at) {
    for (const struct json_node *m = at->node->child; m; m = m->next) {
        size_t i = 0;
        while (i < N_KEYWORDS && (strlen(keywords[i].name) != m->key_len ||
                                  memcmp(keywords[i].name, m->key, m->key_len) != 0))
            i++;
        if (i == N_KEYWORDS && (is_annotation(m) || is_neutral(m)))
            continue;
        if (i == N_KEYWORDS) {
            schema_wrong(s, ERR_UNSUPPORTED, at->path, "the keyword \"%.*s\" is not supported",
                         m->key_len > 100 ? 100 : (int)m->key_len, m->key);
            return false;
        }
        if (keywords[i].keyword < SCHEMA_KEYWORDS)
            at->key[keywords[i].keyword] = m;
    }
    return true;
}

// Refuses keywords that must not stand beside `k` (the first of them is named).
static bool stands_alone(struct schema *s, const struct schema_at *at, enum schema_keyword k,
                         bool with_type) {
    for (enum schema_keyword i = 0; i < SCHEMA_KEYWORDS; i++)
        if (at->key[i] && i != k && i != SCHEMA_KEY_FORMAT &&
            !(with_type && i == SCHEMA_KEY_TYPE)) {
            schema_wrong(s, ERR_UNSUPPORTED, at->path, "\"%s\" beside \"%s\" is not supported",
                         schema_keyword_name(i), schema_keyword_name(k));
            return false;
        }
    return true;
}

static unsigned type_bit(const struct json_node *n) {
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    for (unsigned i = 0; n->kind == JSON_STRING && i < 7; i++)
        if (strlen(names[i]) == n->len && memcmp(names[i], n->text, n->len) == 0)
            return 1u << i;
    return 0;
}

// The types that the schema allows; 0 after an error.
static unsigned read_types(struct schema *s, const struct schema_at *at) {
    const struct json_node *type = at->key[SCHEMA_KEY_TYPE];
    unsigned types = 0, about = 0;
    if (!type) {
        for (size_t i = 0; i < N_KEYWORDS; i++)
            if (keywords[i].keyword < SCHEMA_KEYWORDS && at->key[keywords[i].keyword])
                about |= keywords[i].about;
        return about ? about : ALL_TYPES;
    }
    bool known = type->kind != JSON_ARRAY || type->count > 0;
    if (type->kind == JSON_ARRAY) {
        for (const struct json_node *t = type->child; t; t = t->next) {
            known &= type_bit(t) != 0;
            types |= type_bit(t);
        }
    } else {
        types = type_bit(type);
        known = types != 0;
    }
    if (!known) {
        schema_wrong(s, ERR_INVALID, at->path, "\"type\" is not a type or a list of types");
        return 0;
    }
    return types;
}

bool schema_count(struct schema *s, const struct schema_at *at, enum schema_keyword k,
                  uint32_t *out) {
    const struct json_node *n = at->key[k];
    if (!n)
        return true;
    uint64_t v = 0;
    bool whole = n->kind == JSON_NUMBER && n->len > 0;
    size_t i = 0;
    for (; whole && i < n->len && n->text[i] >= '0' && n->text[i] <= '9'; i++)
        v = v > GRAMMAR_COUNT_MAX ? v : v * 10 + (uint64_t)(n->text[i] - '0');
    if (i < n->len && n->text[i] == '.') // 2.0 is an integer to JSON schema
        for (i++; whole && i < n->len && n->text[i] == '0';)
            i++;
    if (!whole || i < n->len) {
        schema_wrong(s, ERR_INVALID, at->path, "\"%s\" is not a non-negative integer",
                     schema_keyword_name(k));
        return false;
    }
    if (v > GRAMMAR_COUNT_MAX && (k == SCHEMA_KEY_MIN_ITEMS || k == SCHEMA_KEY_MIN_LENGTH)) {
        schema_wrong(s, ERR_UNSUPPORTED, at->path, "\"%s\" is over 2^30", schema_keyword_name(k));
        return false;
    }
    *out = v > GRAMMAR_COUNT_MAX ? GRAMMAR_INF : (uint32_t)v;
    return true;
}

uint32_t schema_rule(struct schema *s, const struct json_node *node,
                     const struct schema_path *path) {
    struct grammar *g = s->j.g;
    if (!schema_look(s, s->n_rules))
        return 0;
    for (size_t i = 0; i < s->n_rules; i++)
        if (s->rules[i].node == node)
            return s->rules[i].rule;
    if (!grammar_grow(g, (void **)&s->rules, &s->cap_rules, s->n_rules, 1, GRAMMAR_NODES_MAX,
                      sizeof *s->rules))
        return 0;
    char *place = where(s, path);
    if (!place)
        grammar_fail(g, ERR_NOMEM, "out of memory");
    uint32_t rule = grammar_rule_new(g, NULL, 0);
    s->rules[s->n_rules++] = (struct schema_pending){node, rule, place};
    return rule;
}

uint32_t schema_call(struct schema *s, const struct json_node *node, const struct schema_path *path,
                     uint32_t next) {
    if (!node || node->kind == JSON_TRUE)
        return json_rules_any(&s->j, JSON_ANY_VALUE, s->levels, next);
    uint32_t rule = schema_rule(s, node, path);
    return s->j.g->err ? 0 : json_rules_call(&s->j, rule, s->levels, next);
}

// Reads a step of a JSON pointer in a URI fragment into out (as long as text); its length, or
// SIZE_MAX when an escape is wrong.
static size_t read_step(const char *text, size_t len, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return SIZE_MAX;
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[n++] = c;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        char c = out[i];
        if (c == '~') {
            if (i + 1 == n || (out[i + 1] != '0' && out[i + 1] != '1'))
                return SIZE_MAX;
            c = out[++i] == '0' ? '~' : '/';
        }
        out[kept++] = c;
    }
    return kept;
}

static const struct json_node *step_into(const struct json_node *node, const char *step,
                                         size_t len) {
    if (node->kind == JSON_OBJECT) {
        for (const struct json_node *m = node->child; m; m = m->next)
            if (m->key_len == len && memcmp(m->key, step, len) == 0)
                return m;
    } else if (node->kind == JSON_ARRAY && len > 0 && len < 10) {
        size_t index = 0;
        for (size_t i = 0; i < len; i++) {
            if (step[i] < '0' || step[i] > '9')
                return NULL;
            index = index * 10 + (size_t)(step[i] - '0');
        }
        for (const struct json_node *m = node->child; m; m = m->next)
            if (index-- == 0)
                return m;
    }
    return NULL;
}

static uint32_t compile_ref(struct schema *s, const struct schema_at *at, uint32_t next) {
    const struct json_node *ref = at->key[SCHEMA_KEY_REF], *target = s->root;
    if (!stands_alone(s, at, SCHEMA_KEY_REF, false))
        return 0;
    if (ref->kind != JSON_STRING)
        return schema_wrong(s, ERR_INVALID, at->path, "\"$ref\" is not a string");
    int shown = ref->len > 100 ? 100 : (int)ref->len;
    if (ref->len == 0 || ref->text[0] != '#' || (ref->len > 1 && ref->text[1] != '/'))
        return schema_wrong(s, ERR_UNSUPPORTED, at->path,
                            "\"$ref\": \"%.*s\" is not supported (only \"#\" and \"#/...\")", shown,
                            ref->text);
    char *step = mem_alloc(ref->len + 1, 1);
    if (!step)
        return grammar_fail(s->j.g, ERR_NOMEM, "out of memory");
    for (size_t i = 2, end; i <= ref->len && ref->len > 1 && target; i = end + 1) {
        for (end = i; end < ref->len && ref->text[end] != '/';)
            end++;
        size_t len = read_step(ref->text + i, end - i, step);
        target =
            len == SIZE_MAX || !schema_look(s, target->count) ? NULL : step_into(target, step, len);
    }
    mem_free(step);
    if (s->j.g->err)
        return 0;
    if (!target)
        return schema_wrong(s, ERR_INVALID, at->path, "\"$ref\": \"%.*s\" leads nowhere", shown,
                            ref->text);
    // the target's place is what the reference says, not the path that led to it
    struct schema_path place = {.key = ref->len > 2 ? ref->text + 2 : "", .pointer = true};
    place.len = ref->len > 2 ? ref->len - 2 : 0;
    const char *base = s->base;
    s->base = NULL;
    uint32_t node = schema_call(s, target, place.len ? &place : NULL, next);
    s->base = base;
    return node;
}

static uint32_t compile_any_of(struct schema *s, const struct schema_at *at, uint32_t next) {
    const struct json_node *list = at->key[SCHEMA_KEY_ANY_OF];
    if (!stands_alone(s, at, SCHEMA_KEY_ANY_OF, false))
        return 0;
    if (list->kind != JSON_ARRAY || list->count == 0)
        return schema_wrong(s, ERR_INVALID, at->path, "\"anyOf\" is not a list of schemas");
    uint32_t split = grammar_split_open(s->j.g, list->count);
    struct schema_path here = {.up = at->path, .key = "anyOf", .len = 5};
    struct schema_path index = {.up = &here};
    for (const struct json_node *m = list->child; m && !s->j.g->err; m = m->next, index.index++) {
        uint32_t alt = schema_compile(s, m, &index, next);
        grammar_split_set(s->j.g, split, index.index, alt);
    }
    return split;
}

static uint32_t compile_types(struct schema *s, const struct schema_at *at, unsigned types,
                              uint32_t next) {
    struct grammar *g = s->j.g;
    uint32_t alts[8];
    size_t n = 0;
    bool any = types == ALL_TYPES;
    for (enum schema_keyword k = SCHEMA_KEY_PROPERTIES; k < SCHEMA_KEY_FORMAT; k++)
        any &= !at->key[k];
    if (any)
        return json_rules_any(&s->j, JSON_ANY_VALUE, s->levels, next);
    bool bounds = at->key[SCHEMA_KEY_MINIMUM] || at->key[SCHEMA_KEY_MAXIMUM];
    if (bounds && ((types & SCHEMA_NUMBER) || !at->key[SCHEMA_KEY_TYPE]))
        return schema_wrong(s, ERR_UNSUPPORTED, at->path,
                            "\"%s\" is supported for \"type\": \"integer\" only",
                            at->key[SCHEMA_KEY_MINIMUM] ? "minimum" : "maximum");
    if (types & SCHEMA_OBJECT)
        alts[n++] = schema_object(s, at, next);
    if (types & SCHEMA_ARRAY)
        alts[n++] = schema_array(s, at, next);
    if (types & SCHEMA_STRING)
        alts[n++] = schema_string(s, at, next);
    if (types & SCHEMA_NUMBER)
        alts[n++] = json_rules_number(&s->j, next);
    else if (types & SCHEMA_INTEGER)
        alts[n++] = schema_integer(s, at, next);
    if (types & SCHEMA_BOOLEAN) {
        alts[n++] = json_rules_text(&s->j, "true", next);
        alts[n++] = json_rules_text(&s->j, "false", next);
    }
    if (types & SCHEMA_NULL)
        alts[n++] = json_rules_text(&s->j, "null", next);
    return g->err ? 0 : grammar_split(g, alts, n);
}

// The recursion follows the nesting of the JSON, which its parser bounds.
uint32_t schema_compile(struct schema *s, const struct json_node *node,
                        const struct schema_path *path, uint32_t next) {
    struct grammar *g = s->j.g;
    if (g->err)
        return 0;
    if (!node || node->kind == JSON_TRUE)
        return json_rules_any(&s->j, JSON_ANY_VALUE, s->levels, next);
    if (node->kind == JSON_FALSE)
        return 0; // the node that nothing matches
    struct schema_at at = {.node = node, .path = path};
    if (node->kind != JSON_OBJECT)
        return schema_wrong(s, ERR_INVALID, path, "a schema is an object, true or false");
    if (!read_keywords(s, &at))
        return 0;
    const struct json_node *format = at.key[SCHEMA_KEY_FORMAT];
    if (format && format->kind != JSON_STRING)
        return schema_wrong(s, ERR_INVALID, path, "\"format\" is not a string");
    if (format && s->warnings) {
        char *place = where(s, path);
        buf_printf(s->warnings, "JSON schema at %s: \"format\": \"%.*s\" is not enforced\n",
                   place ? place : "#", format->len > 60 ? 60 : (int)format->len, format->text);
        mem_free(place);
    }
    if (at.key[SCHEMA_KEY_REF])
        return compile_ref(s, &at, next);
    unsigned types = read_types(s, &at);
    if (!types)
        return 0;
    if (at.key[SCHEMA_KEY_CONST] || at.key[SCHEMA_KEY_ENUM]) {
        enum schema_keyword k = at.key[SCHEMA_KEY_CONST] ? SCHEMA_KEY_CONST : SCHEMA_KEY_ENUM;
        return stands_alone(s, &at, k, true) ? schema_choice(s, &at, types, next) : 0;
    }
    if (at.key[SCHEMA_KEY_ANY_OF])
        return compile_any_of(s, &at, next);
    return compile_types(s, &at, types, next);
}

uint32_t schema_build(struct schema *s, const struct json_node *root, uint32_t levels,
                      uint32_t next) {
    struct grammar *g = s->j.g;
    s->root = root;
    s->levels = levels;
    s->base = NULL;
    uint32_t node = schema_compile(s, root, NULL, next);
    for (; s->compiled < s->n_rules && !g->err; s->compiled++) {
        struct schema_pending r = s->rules[s->compiled];
        s->levels = 0;
        s->base = r.where;
        uint32_t start = schema_compile(s, r.node, NULL, 1);
        if (!g->err)
            g->rules[r.rule].start = start;
    }
    s->base = NULL;
    return g->err ? 0 : node;
}

void schema_end(struct schema *s) {
    for (size_t i = 0; i < s->n_rules; i++)
        mem_free(s->rules[i].where);
    mem_free(s->rules);
    s->rules = NULL;
    s->n_rules = s->cap_rules = s->compiled = 0;
}

enum err grammar_from_schema(const struct json_node *schema, struct buf *warnings,
                             struct grammar **out, struct errmsg *msg) {
    *out = NULL;
    struct schema s = {.warnings = warnings};
    json_rules_begin(&s.j, msg);
    if (!s.j.g)
        return ERR_NOMEM;
    uint32_t root = schema_build(&s, schema, 0, 1);
    schema_end(&s);
    json_rules_end(&s.j);
    enum err e = grammar_finish(s.j.g, root, out, msg);
    if (!e && warnings && warnings->failed)
        e = err_set(msg, ERR_NOMEM, "out of memory");
    else if (!e && (*out)->nodes[root].need > GRAMMAR_DEPTH)
        e = err_set(msg, ERR_INVALID, "JSON schema: no value satisfies it");
    if (e) {
        grammar_free(*out);
        *out = NULL;
    }
    return e;
}
