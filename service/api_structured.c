// See api_generate.h: what an answer's text must follow. response_format and grammar on both
// routes, tools on chat's. At most one of them constrains an answer.
#include "base/mem.h"
#include "service/api_generate.h"

#include <string.h>

enum { MOST_TOOLS = 128, MOST_NAME = 64 };

static const struct json_node *member(const struct api_generate *g, const char *key) {
    const struct json_node *n = json_node_get(json_tree_root(g->q->tree), key);
    return n && n->kind != JSON_NULL ? n : NULL;
}

static bool is_word(const struct json_node *n, const char *word) {
    return n && n->kind == JSON_STRING && strcmp(n->text, word) == 0;
}

static enum err invalid(const char *param, const char *what, struct api_error *err) {
    return api_fail(err, ERR_INVALID, "invalid_value", param, "%s", what);
}

// A grammar's own words, with the parameter that they are about.
static enum err blame(enum err e, const char *param, struct api_error *err) {
    if (e == ERR_INVALID || e == ERR_UNSUPPORTED || e == ERR_TOO_LARGE) {
        err->slug = e == ERR_UNSUPPORTED ? "unsupported_schema" : "invalid_grammar";
        err->param = param;
        err->status = 400;
    }
    return e;
}

// Each member that has a value is among `known`.
static enum err check_members(const struct json_node *object, const char *path,
                              const char *const *known, size_t n, struct api_error *err) {
    for (const struct json_node *m = object->child; m; m = m->next) {
        bool found = m->kind == JSON_NULL;
        for (size_t i = 0; i < n; i++)
            found = found || strcmp(m->key, known[i]) == 0;
        if (!found)
            return api_fail(err, ERR_INVALID, "unsupported_parameter", "response_format",
                            "'%s.%s' is not supported", path, api_shown_name(m->key));
    }
    return ERR_OK;
}

static enum err read_format(struct api_generate *g, const struct json_node *format,
                            struct api_error *err) {
    static const char name[] = "response_format";
    if (format->kind != JSON_OBJECT)
        return invalid(name, "'response_format' must be an object", err);
    static const char *const members[] = {"type", "json_schema"};
    enum err e = check_members(format, name, members, sizeof members / sizeof *members, err);
    if (e)
        return e;
    const struct json_node *type = json_node_get(format, "type");
    if (is_word(type, "text"))
        return ERR_OK;
    if (is_word(type, "json_object"))
        return blame(grammar_json_object(&g->grammar, &err->msg), name, err);
    if (!is_word(type, "json_schema"))
        return invalid(name, "'response_format.type' must be text, json_object or json_schema",
                       err);
    const struct json_node *wrapper = json_node_get(format, "json_schema");
    if (!wrapper || wrapper->kind != JSON_OBJECT)
        return invalid(name, "'response_format.json_schema' must be an object", err);
    static const char *const known[] = {"name", "schema", "strict", "description"};
    e = check_members(wrapper, "response_format.json_schema", known, sizeof known / sizeof *known,
                      err);
    if (e)
        return e;
    const struct json_node *schema = json_node_get(wrapper, "schema");
    if (!schema || schema->kind == JSON_NULL)
        return invalid(name, "'response_format.json_schema.schema' is missing", err);
    return blame(grammar_from_schema(schema, &g->warnings, &g->grammar, &err->msg), name, err);
}

// --- tools ---

static bool is_function_name(const struct json_node *n) {
    return n && n->kind == JSON_STRING && n->len > 0 && n->len <= MOST_NAME &&
           strspn(n->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
               n->len;
}

static enum err read_tool(const struct json_node *tool, struct grammar_tool *out,
                          struct api_error *err) {
    const struct json_node *function = json_node_get(tool, "function");
    if (!is_word(json_node_get(tool, "type"), "function") || !function ||
        function->kind != JSON_OBJECT)
        return invalid("tools",
                       "each of 'tools' must be {\"type\":\"function\",\"function\":{...}}", err);
    const struct json_node *name = json_node_get(function, "name");
    if (!is_function_name(name))
        return invalid("tools",
                       "a function's 'name' must be 1 to 64 letters, digits, '_', '-' or '.'", err);
    const struct json_node *parameters = json_node_get(function, "parameters");
    if (parameters && parameters->kind == JSON_NULL)
        parameters = NULL;
    if (parameters && parameters->kind != JSON_OBJECT)
        return invalid("tools", "a function's 'parameters' must be a JSON schema", err);
    *out =
        (struct grammar_tool){.name = name->text, .name_len = name->len, .parameters = parameters};
    return ERR_OK;
}

static enum err read_tools(const struct json_node *list, struct grammar_tool *out, size_t *n,
                           struct api_error *err) {
    *n = 0;
    if (list->kind != JSON_ARRAY || !list->child || list->count > MOST_TOOLS)
        return invalid("tools", "'tools' must be a list of 1 to 128 functions", err);
    for (const struct json_node *tool = list->child; tool; tool = tool->next) {
        enum err e = read_tool(tool, &out[*n], err);
        if (e)
            return e;
        for (size_t i = 0; i < *n; i++)
            if (strcmp(out[i].name, out[*n].name) == 0)
                return api_fail(err, ERR_INVALID, "invalid_value", "tools",
                                "'tools' has two functions named '%s'", out[i].name);
        ++*n;
    }
    return ERR_OK;
}

// What tool_choice makes of the list: *n 0 for none.
static enum err choose(const struct json_node *choice, struct grammar_tool *tools, size_t *n,
                       enum grammar_tool_choice *how, struct api_error *err) {
    *how = GRAMMAR_TOOLS_AUTO;
    if (!choice || is_word(choice, "auto"))
        return ERR_OK;
    if (is_word(choice, "none")) {
        *n = 0;
        return ERR_OK;
    }
    *how = GRAMMAR_TOOLS_REQUIRED;
    if (is_word(choice, "required"))
        return ERR_OK;
    const struct json_node *name = json_node_get(json_node_get(choice, "function"), "name");
    if (!is_word(json_node_get(choice, "type"), "function") || !name || name->kind != JSON_STRING)
        return invalid("tool_choice",
                       "'tool_choice' must be \"none\", \"auto\", \"required\" or "
                       "{\"type\":\"function\",\"function\":{\"name\":...}}",
                       err);
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(tools[i].name, name->text) == 0) {
            tools[0] = tools[i];
            *n = 1;
            return ERR_OK;
        }
    }
    return invalid("tool_choice", "'tool_choice' names a function that is not among 'tools'", err);
}

// Calls are written and read in one form: a template that asks for another one, or does not show
// the tools at all, cannot be served with tools.
static enum err check_form(const struct model *m, struct api_error *err) {
    static const char supported[] = "<tool_call>{\"name\":...,\"arguments\":{...}}</tool_call>";
    if (m->tool_form.kind == TOOL_FORM_JSON)
        return ERR_OK;
    if (m->chat_template && m->template_msg.code)
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", "tools",
                        "the model '%s' takes no tools: %s", m->name, m->template_msg.text);
    if (m->tool_form.kind == TOOL_FORM_NONE)
        return api_fail(
            err, ERR_UNSUPPORTED, "unsupported_parameter", "tools",
            "the chat template of the model '%s' does not show tools to the model, so it "
            "cannot ask for calls in the form %s",
            m->name, supported);
    return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", "tools",
                    "the chat template of the model '%s' asks for calls in another form%s%s%s than "
                    "%s, the one that is supported",
                    m->name, m->tool_form.example[0] ? " (" : "", m->tool_form.example,
                    m->tool_form.example[0] ? "...)" : "", supported);
}

static enum err use_tools(struct api_generate *g, const struct json_node *list,
                          struct grammar_tool *tools, struct api_error *err) {
    size_t n;
    bool parallel = true;
    enum grammar_tool_choice how;
    enum err e = read_tools(list, tools, &n, err);
    if (!e)
        e = choose(member(g, "tool_choice"), tools, &n, &how, err);
    if (!e)
        e = api_get_bool(g->q, "parallel_tool_calls", true, &parallel, err);
    if (e || n == 0)
        return e;
    if (g->grammar)
        return invalid("tools",
                       "'tools' cannot be combined with 'response_format' or 'grammar'; "
                       "\"tool_choice\":\"none\" turns them off",
                       err);
    if (g->q->model->chat_template && (e = check_form(g->q->model, err)) != ERR_OK)
        return e; // without a template api_chat_render says why
    g->with_tools = true;
    return blame(grammar_from_tools(tools, n, how, parallel, &g->grammar, &err->msg), "tools", err);
}

enum err api_structured_read(struct api_generate *g, bool chat, struct api_error *err) {
    const struct json_node *format = member(g, "response_format"), *text = member(g, "grammar");
    const struct json_node *list = chat ? member(g, "tools") : NULL;
    enum err e = ERR_OK;
    if (format)
        e = read_format(g, format, err);
    if (e)
        return e;
    if (text && g->grammar)
        return invalid("grammar", "'grammar' and 'response_format' cannot be combined", err);
    if (text && text->kind != JSON_STRING)
        return invalid("grammar", "'grammar' must be a string (GBNF)", err);
    if (text)
        e = blame(grammar_from_gbnf(text->text, text->len, &g->grammar, &err->msg), "grammar", err);
    if (e)
        return e;
    if (!list) {
        const struct json_node *choice = chat ? member(g, "tool_choice") : NULL;
        if (choice && !is_word(choice, "none") && !is_word(choice, "auto"))
            return invalid("tool_choice", "'tool_choice' needs 'tools'", err);
    } else {
        struct grammar_tool *tools = mem_calloc(MOST_TOOLS, sizeof *tools);
        if (!tools)
            return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
        e = use_tools(g, list, tools, err);
        mem_free(tools);
        if (e)
            return e;
    }
    // where a grammar ends nothing but an end token may follow
    if (g->grammar && g->ignore_eos)
        return invalid("ignore_eos",
                       "'ignore_eos' cannot be combined with a grammar, a response_format or tools",
                       err);
    return ERR_OK;
}
