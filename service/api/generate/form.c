// See structured.h: the parameters that say in what form an answer comes, as OpenAI, vLLM,
// llama.cpp, TGI and Fireworks spell them. At most one of them may.
#include "base/mem.h"
#include "service/api/generate/structured.h"

#include <string.h>

static enum err invalid(const char *param, const char *what, struct api_error *err) {
    return api_fail(err, ERR_INVALID, "invalid_value", param, "%s", what);
}

// Each member that has a value is the table's.
static enum err check_members(const struct json_node *object, const char *param, const char *path,
                              const struct api_members *table, struct api_error *err) {
    for (const struct json_node *m = object->child; m; m = m->next) {
        const struct api_member *row;
        if (api_member_fate(table, m, &row) == API_REFUSED)
            return api_fail(err, ERR_INVALID, "unsupported_parameter", param,
                            "'%s.%s' is not supported", path, api_shown_name(m->key));
    }
    return ERR_OK;
}

static enum err claim(struct api_form *f, const char *param, struct api_error *err) {
    if (f->param)
        return api_fail(err, ERR_INVALID, "invalid_value", param,
                        "'%s' and '%s' cannot be combined", param, f->param);
    f->param = param;
    return ERR_OK;
}

// A schema, or a string that holds one.
static enum err take_schema(struct api_form *f, const struct json_node *schema,
                            struct api_error *err) {
    f->schema = schema;
    if (schema->kind != JSON_STRING)
        return ERR_OK;
    enum err e =
        json_tree_parse(schema->text, schema->len, &json_limits_request, &f->tree, NULL, &err->msg);
    if (e == ERR_INVALID)
        return api_fail(err, e, "invalid_value", f->param, "'%s' is a string, and no JSON",
                        f->param);
    f->schema = e ? NULL : json_tree_root(f->tree);
    return e;
}

static enum err take_gbnf(struct api_form *f, const struct json_node *text, struct api_error *err) {
    if (text->kind != JSON_STRING)
        return api_fail(err, ERR_INVALID, "invalid_value", f->param, "'%s' must be a string (GBNF)",
                        f->param);
    f->gbnf = text->text;
    f->gbnf_len = text->len;
    return ERR_OK;
}

static void put_literal(struct buf *out, const struct json_node *s) {
    buf_putc(out, '"');
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->text[i];
        if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t')
            buf_printf(out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_putc(out, s->text[i]);
    }
    buf_putc(out, '"');
}

// One of several texts.
static enum err take_choice(struct api_form *f, const struct json_node *list,
                            struct api_error *err) {
    bool good = list->kind == JSON_ARRAY && list->child;
    buf_puts(&f->made, "root ::= ");
    for (const struct json_node *s = list->child; s && good; s = s->next) {
        good = s->kind == JSON_STRING && s->len > 0;
        buf_puts(&f->made, s == list->child ? "" : " | ");
        if (good)
            put_literal(&f->made, s);
    }
    if (!good)
        return api_fail(err, ERR_INVALID, "invalid_value", f->param,
                        "'%s' must be a list of strings, none of them empty", f->param);
    if (f->made.failed)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    f->gbnf = f->made.data;
    f->gbnf_len = f->made.len;
    return ERR_OK;
}

// --- response_format ---

// {"name", "schema", "strict", "description"}: OpenAI's wrapper, which others put elsewhere.
static enum err take_wrapped(struct api_form *f, const struct json_node *wrapper, const char *path,
                             struct api_error *err) {
    static const struct api_member rows[] = {API_READ("name"), API_READ("schema"),
                                             API_READ("strict"), API_READ("description")};
    static const struct api_members table = API_TABLE_CLOSED(rows, NULL);
    if (wrapper->kind != JSON_OBJECT)
        return api_fail(err, ERR_INVALID, "invalid_value", f->param, "'%s' must be an object",
                        path);
    enum err e = check_members(wrapper, f->param, path, &table, err);
    const struct json_node *schema = json_node_value(wrapper, "schema");
    if (e)
        return e;
    if (!schema)
        return api_fail(err, ERR_INVALID, "invalid_value", f->param, "'%s.schema' is missing",
                        path);
    return take_schema(f, schema, err);
}

// `value` of TGI: a schema, or the wrapper.
static enum err take_value(struct api_form *f, const struct json_node *value,
                           struct api_error *err) {
    const struct json_node *inner = json_node_value(value, "schema");
    bool wrapped = inner && inner->kind == JSON_OBJECT && !json_node_value(value, "type") &&
                   !json_node_value(value, "properties");
    return wrapped ? take_wrapped(f, value, "response_format.value", err)
                   : take_schema(f, value, err);
}

static enum err read_response_format(struct api_form *f, const struct json_node *format,
                                     struct api_error *err) {
    static const char name[] = "response_format";
    static const struct api_member rows[] = {
        API_READ("json_schema"), API_READ("schema"),      API_READ("value"),   API_READ("name"),
        API_READ("strict"),      API_READ("description"), API_READ("grammar"),
    };
    static const struct api_member type_row[] = {API_READ("type")};
    static const struct api_members text_table = API_TABLE_CLOSED(type_row, NULL),
                                    table = API_TABLE_CLOSED(rows, &text_table);
    if (format->kind != JSON_OBJECT)
        return invalid(name, "'response_format' must be an object", err);
    const struct json_node *type = json_node_value(format, "type"),
                           *wrapper = json_node_value(format, "json_schema"),
                           *schema = json_node_value(format, "schema"),
                           *value = json_node_value(format, "value");
    bool text = json_is_word(type, "text"), plain = json_is_word(type, "json_schema");
    bool object = json_is_word(type, "json_object") || json_is_word(type, "json");
    enum err e = check_members(format, name, name, text ? &text_table : &table, err);
    if (e || text || !format->child)
        return e;
    if ((e = claim(f, name, err)) != ERR_OK)
        return e;
    if (json_is_word(type, "grammar") && json_node_value(format, "grammar"))
        return take_gbnf(f, json_node_value(format, "grammar"), err);
    bool typed = object || plain || (!type && (schema || wrapper));
    if (!typed)
        return invalid(name, "'response_format.type' must be text, json_object or json_schema",
                       err);
    if ((wrapper != NULL) + (schema != NULL) + (value != NULL) > 1)
        return invalid(name, "'response_format' has several schemas", err);
    if (wrapper)
        return take_wrapped(f, wrapper, "response_format.json_schema", err);
    if (schema && !(object && schema->kind == JSON_OBJECT && !schema->child)) // {} of an object
        return take_schema(f, schema, err);
    if (value)
        return take_value(f, value, err);
    if (plain)
        return invalid(name, "'response_format.json_schema' is missing", err);
    f->object = true;
    return ERR_OK;
}

// vLLM's: one of its members; `disable_...` and whitespace_pattern are of its backends.
static enum err read_outputs(struct api_form *f, const struct json_node *outputs,
                             struct api_error *err) {
    static const char name[] = "structured_outputs";
    static const struct api_member rows[] = {
        API_READ("json"),
        API_READ("choice"),
        API_READ("grammar"),
        API_READ("json_object"),
        API_IDLE("whitespace_pattern"),
    };
    static const struct api_members table = API_TABLE_CLOSED(rows, NULL);
    if (outputs->kind != JSON_OBJECT)
        return invalid(name, "'structured_outputs' must be an object", err);
    enum err e = ERR_OK;
    for (const struct json_node *m = outputs->child; m && !e; m = m->next) {
        const struct api_member *row;
        enum api_fate fate = api_member_fate(&table, m, &row);
        if (fate == API_QUIET || m->kind == JSON_FALSE || strncmp(m->key, "disable_", 8) == 0)
            continue;
        if (fate == API_REFUSED)
            return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", name,
                            "'structured_outputs.%s' is not supported: json, choice, grammar and "
                            "json_object are",
                            api_shown_name(m->key));
        e = claim(f, name, err);
        if (e)
            return e;
        if (strcmp(m->key, "json") == 0)
            e = take_schema(f, m, err);
        else if (strcmp(m->key, "choice") == 0)
            e = take_choice(f, m, err);
        else if (strcmp(m->key, "grammar") == 0)
            e = take_gbnf(f, m, err);
        else
            f->object = true;
    }
    return e;
}

enum err api_form_read(const struct api_generate *g, struct api_form *f, struct api_error *err) {
    static const struct {
        const char *name;
        enum err (*read)(struct api_form *, const struct json_node *, struct api_error *);
        bool whole; // it claims the form by itself, where it asks for one
    } parameters[] = {
        {"response_format", read_response_format, true},
        {"structured_outputs", read_outputs, true},
        {"json_schema", take_schema, false},
        {"guided_json", take_schema, false},
        {"guided_choice", take_choice, false},
        {"guided_grammar", take_gbnf, false},
        {"grammar", take_gbnf, false},
    };
    const struct json_node *root = g->q->body.root;
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters && !e; i++) {
        const struct json_node *n = json_node_value(root, parameters[i].name);
        if (!n || (n->kind != JSON_OBJECT && json_is_empty(n)))
            continue;
        if (!parameters[i].whole)
            e = claim(f, parameters[i].name, err);
        if (!e)
            e = parameters[i].read(f, n, err);
    }
    return e;
}

enum err api_form_compile(const struct api_form *f, struct buf *warnings, struct grammar **out,
                          struct api_error *err) {
    enum err e = ERR_OK;
    if (f->gbnf)
        e = grammar_from_gbnf(f->gbnf, f->gbnf_len, out, &err->msg);
    else if (f->schema)
        e = grammar_from_schema(f->schema, warnings, out, &err->msg);
    else if (f->object)
        e = grammar_json_object(out, &err->msg);
    return api_blame_grammar(e, f->param, err);
}

void api_form_free(struct api_form *f) {
    json_tree_free(f->tree);
    buf_free(&f->made);
}
