// Objects: the named properties in the schema's order, optional ones taken or skipped, then further
// keys where the schema allows them. Built from the end: M(i) is a text that goes on with one of
// the properties from i on, N(i) is what may follow the property before i.
#include "grammar/schema.h"

#include "base/json_text.h"

#include <string.h>

struct property {
    const char *name;
    size_t len;
    const struct json_node *schema; // NULL: any value
    const struct schema_path *path;
    struct schema_path steps[2]; // what path leads through
    bool required;
};

struct object {
    struct property *list;
    size_t n, required;
    bool further;                  // keys that no property names
    const struct json_node *extra; // their schema; NULL: any value
};

static struct property *find(struct object *o, const struct json_node *name) {
    for (size_t i = 0; i < o->n; i++)
        if (o->list[i].len == name->len && memcmp(o->list[i].name, name->text, name->len) == 0)
            return &o->list[i];
    return NULL;
}

// The schema's properties, and behind them the names that it requires but does not describe. False
// after an error; *never: no object satisfies it.
static bool read_object(struct schema *s, const struct schema_at *at, struct object *o,
                        bool *never) {
    const struct json_node *properties = at->key[SCHEMA_KEY_PROPERTIES];
    const struct json_node *required = at->key[SCHEMA_KEY_REQUIRED];
    const struct json_node *extra = at->key[SCHEMA_KEY_ADDITIONAL];
    if ((properties && properties->kind != JSON_OBJECT) ||
        (required && required->kind != JSON_ARRAY)) {
        schema_wrong(s, ERR_INVALID, at->path,
                     properties && properties->kind != JSON_OBJECT
                         ? "\"properties\" is not an object of schemas"
                         : "\"required\" is not a list of names");
        return false;
    }
    o->further = extra ? extra->kind != JSON_FALSE : !properties;
    o->extra = extra;
    o->list = expr_alloc(&s->j.arena,
                         (properties ? properties->count : 0) + (required ? required->count : 0),
                         sizeof *o->list);
    if (!o->list) {
        grammar_fail(s->j.g, ERR_NOMEM, "out of memory");
        return false;
    }
    for (const struct json_node *m = properties ? properties->child : NULL; m; m = m->next) {
        struct property *p = &o->list[o->n++];
        *p = (struct property){.name = m->key, .len = m->key_len, .schema = m};
        p->steps[0] = (struct schema_path){.up = at->path, .key = "properties", .len = 10};
        p->steps[1] = (struct schema_path){.up = &p->steps[0], .key = m->key, .len = m->key_len};
        p->path = &p->steps[1];
    }
    for (const struct json_node *m = required ? required->child : NULL; m; m = m->next) {
        if (m->kind != JSON_STRING) {
            schema_wrong(s, ERR_INVALID, at->path, "\"required\" is not a list of names");
            return false;
        }
        if (!schema_look(s, o->n))
            return false;
        struct property *p = find(o, m);
        if (!p) {
            *never |= extra && extra->kind == JSON_FALSE;
            p = &o->list[o->n++];
            *p = (struct property){.name = m->text, .len = m->len, .schema = extra};
            p->steps[0] =
                (struct schema_path){.up = at->path, .key = "additionalProperties", .len = 20};
            p->path = &p->steps[0];
        }
        o->required += !p->required;
        p->required = true;
    }
    return true;
}

static uint32_t property_node(struct schema *s, const struct property *p, uint32_t next) {
    struct buf name = {0};
    json_quote(&name, p->name, p->len);
    const struct expr *parts[2] = {name.failed ? NULL
                                               : expr_bytes(&s->j.arena, name.data, name.len),
                                   json_rules_spaced(&s->j, ":")};
    buf_free(&name);
    uint32_t value = p->schema && p->steps[1].up ? schema_compile(s, p->schema, p->path, next)
                                                 : schema_call(s, p->schema, p->path, next);
    return s->j.g->err ? 0
                       : json_rules_expr(&s->j, expr_list(&s->j.arena, EXPR_SEQ, parts, 2), value);
}

// The nodes of an object, `{` to `}`.
static uint32_t object_nodes(struct schema *s, const struct schema_at *at, struct object *o,
                             uint32_t next) {
    struct grammar *g = s->j.g;
    s->levels++;
    uint32_t close = grammar_leaf_node(g, s->j.close_object, 1, 1, next);
    uint32_t more = 0, behind = close; // M(n) and N(n)
    if (o->further) {
        uint32_t names = GRAMMAR_NONE;
        if (o->n) {
            names = grammar_name_set(g);
            for (size_t i = 0; i < o->n; i++)
                grammar_name_add(g, o->list[i].name, o->list[i].len);
        }
        struct schema_path extra = {.up = at->path, .key = "additionalProperties", .len = 20};
        uint32_t rule = o->extra && o->extra->kind != JSON_TRUE ? schema_rule(s, o->extra, &extra)
                                                                : json_rules_value(&s->j);
        if (!g->err)
            more = json_rules_free_keys(&s->j, names, rule, s->levels, close, &behind);
    }
    size_t required = 0; // from property i on
    for (size_t i = o->n; i-- > 0 && !g->err;) {
        const struct property *p = &o->list[i];
        uint32_t taken = property_node(s, p, behind);
        uint32_t alts[2] = {taken, more};
        required += p->required;
        more = p->required || !more ? taken : grammar_split(g, alts, 2);
        if (i == 0)
            break;
        uint32_t ends[2] = {grammar_leaf_node(g, s->j.comma, 1, 1, more), close};
        behind = required ? ends[0] : grammar_split(g, ends, 2);
    }
    uint32_t starts[2] = {more, close};
    uint32_t body = required ? more : more ? grammar_split(g, starts, 2) : close;
    s->levels--;
    return grammar_leaf_node(g, s->j.open_object, 1, 1, body);
}

uint32_t schema_object(struct schema *s, const struct schema_at *at, uint32_t next) {
    struct grammar *g = s->j.g;
    struct object o = {0};
    bool never = false;
    if (!read_object(s, at, &o, &never))
        return 0;
    if (never)
        return 0;
    if (!o.further)
        return object_nodes(s, at, &o, next);
    if (o.n == 0 && (!o.extra || o.extra->kind == JSON_TRUE))
        return json_rules_any(&s->j, JSON_ANY_OBJECT, s->levels, next);
    // Free keys are remembered on the stack above their object's frame: it needs one of its own.
    uint32_t rule = grammar_rule_new(g, NULL, 0), levels = s->levels;
    s->levels = 0;
    uint32_t start = object_nodes(s, at, &o, 1);
    s->levels = levels;
    if (g->err)
        return 0;
    g->rules[rule].start = start;
    return json_rules_call(&s->j, rule, levels, next);
}
