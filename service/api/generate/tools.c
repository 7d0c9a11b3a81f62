// See structured.h: tools, and how they may be called.
#include "base/mem.h"
#include "service/api/generate/structured.h"

#include <string.h>

enum { MOST_TOOLS = 128, MOST_NAME = 64 };

struct tools {
    struct grammar_tool list[MOST_TOOLS]; // those that may be called
    bool strict[MOST_TOOLS];
    size_t index[MOST_TOOLS]; // in the body
    size_t n;
    enum grammar_tool_choice how;
    bool parallel;
};

static enum err invalid(const char *param, const char *what, struct api_error *err) {
    return api_fail(err, ERR_INVALID, "invalid_value", param, "%s", what);
}

static bool is_function_name(const struct json_node *n) {
    return json_is(n, JSON_STRING) && n->len > 0 && n->len <= MOST_NAME &&
           strspn(n->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
               n->len;
}

static enum err read_tool(const struct json_node *tool, struct grammar_tool *out, bool *strict,
                          struct api_error *err) {
    const struct json_node *function = json_node_get(tool, "function");
    const struct json_node *says = json_node_value(function, "strict");
    const struct json_node *type =
        json_node_value(tool, "type"); // what there is but functions: none
    if ((type && !json_is_word(type, "function")) || !json_is(function, JSON_OBJECT))
        return invalid("tools",
                       "each of 'tools' must be {\"type\":\"function\",\"function\":{...}}", err);
    const struct json_node *name = json_node_get(function, "name");
    if (!is_function_name(name))
        return invalid("tools",
                       "a function's 'name' must be 1 to 64 letters, digits, '_', '-' or '.'", err);
    const struct json_node *parameters = json_node_value(function, "parameters");
    if (parameters && parameters->kind != JSON_OBJECT)
        return invalid("tools", "a function's 'parameters' must be a JSON schema", err);
    if (says && !json_is_bool(says))
        return invalid("tools", "a function's 'strict' must be true or false", err);
    *strict = json_is(says, JSON_TRUE);
    // without a word of its type anything could be, and arguments are an object
    if (parameters && grammar_schema_says_nothing(parameters))
        parameters = NULL;
    *out =
        (struct grammar_tool){.name = name->text, .name_len = name->len, .parameters = parameters};
    return ERR_OK;
}

static enum err read_tools(const struct json_node *list, struct tools *t, struct api_error *err) {
    if (list->kind != JSON_ARRAY || list->count > MOST_TOOLS)
        return invalid("tools", "'tools' must be a list of at most 128 functions", err);
    for (const struct json_node *tool = list->child; tool; tool = tool->next) {
        enum err e = read_tool(tool, &t->list[t->n], &t->strict[t->n], err);
        if (e)
            return e;
        for (size_t i = 0; i < t->n; i++)
            if (strcmp(t->list[i].name, t->list[t->n].name) == 0)
                return api_fail(err, ERR_INVALID, "invalid_value", "tools",
                                "'tools' has two functions named '%s'", t->list[i].name);
        t->index[t->n] = t->n;
        t->n++;
    }
    return ERR_OK;
}

// The word of a choice: a string, or the `type` of an object ({"type": "auto"}).
static const struct json_node *word_of(const struct json_node *choice) {
    return choice->kind == JSON_OBJECT ? json_node_get(choice, "type") : choice;
}

// What tool_choice makes of the list: t->n 0 for none.
static enum err choose(const struct json_node *choice, struct tools *t, struct api_error *err) {
    t->how = GRAMMAR_TOOLS_AUTO;
    const struct json_node *word = choice ? word_of(choice) : NULL;
    if (!choice || json_is_word(word, "auto"))
        return ERR_OK;
    if (json_is_word(word, "none")) {
        t->n = 0;
        return ERR_OK;
    }
    t->how = GRAMMAR_TOOLS_REQUIRED;
    if (json_is_word(word, "required") || json_is_word(word, "any")) // Mistral's word for it
        return ERR_OK;
    const struct json_node *name = json_node_get(json_node_get(choice, "function"), "name");
    if (!name)
        name = json_node_get(choice, "name");
    if (choice->kind != JSON_OBJECT || !json_is_word(word, "function") || !name ||
        name->kind != JSON_STRING)
        return invalid("tool_choice",
                       "'tool_choice' must be \"none\", \"auto\", \"required\" or "
                       "{\"type\":\"function\",\"function\":{\"name\":...}}",
                       err);
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->list[i].name, name->text) == 0) {
            t->list[0] = t->list[i];
            t->strict[0] = t->strict[i];
            t->index[0] = i;
            t->n = 1;
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

// A tool that is not strict is held to its schema as far as a grammar can hold it; where it cannot,
// the schema is what the model reads, and the arguments are any object.
static enum err loosen(struct api_generate *g, struct tools *t, bool *loosened,
                       struct api_error *err) {
    *loosened = false;
    for (size_t i = 0; i < t->n; i++) {
        struct errmsg why = {0};
        if (t->strict[i] || !t->list[i].parameters)
            continue;
        enum err e = grammar_check_parameters(t->list[i].parameters, &why);
        if (e == ERR_NOMEM)
            return api_fail(err, e, NULL, NULL, "no memory for a request");
        if (!e)
            continue;
        t->list[i].parameters = NULL;
        *loosened = true;
        buf_printf(&g->warnings, "tools[%zu] (\"%s\"): its schema is a hint only: %s\n",
                   t->index[i], t->list[i].name, why.text);
    }
    return ERR_OK;
}

static enum err compile(struct api_generate *g, struct tools *t, const struct api_form *f,
                        struct api_error *err) {
    struct grammar_answer answer = {.schema = f->schema};
    const struct grammar_answer *form = f->param ? &answer : NULL;
    enum err e =
        grammar_from_tools(t->list, t->n, t->how, t->parallel, form, &g->grammar, &err->msg);
    if (e != ERR_INVALID && e != ERR_UNSUPPORTED && e != ERR_TOO_LARGE)
        return e;
    bool loosened;
    enum err memory = loosen(g, t, &loosened, err);
    if (memory)
        return memory;
    if (loosened)
        e = grammar_from_tools(t->list, t->n, t->how, t->parallel, form, &g->grammar, &err->msg);
    return api_blame_grammar(e, "tools", err);
}

// Beside a form the answer's own trouble is told first, and under its own name.
static enum err check_answer(struct api_generate *g, const struct api_form *f,
                             struct api_error *err) {
    struct grammar *alone = NULL;
    if (f->gbnf)
        return api_fail(err, ERR_INVALID, "invalid_value", "tools",
                        "'tools' cannot be combined with '%s', only with a JSON schema; "
                        "\"tool_choice\":\"none\" turns them off",
                        f->param);
    enum err e = api_form_compile(f, &g->warnings, &alone, err);
    grammar_free(alone);
    return e;
}

static enum err use_tools(struct api_generate *g, const struct json_node *list, struct tools *t,
                          const struct api_form *f, struct api_error *err) {
    enum err e = read_tools(list, t, err);
    if (!e)
        e = choose(json_node_value(g->q->body.root, "tool_choice"), t, err);
    if (e || t->n == 0)
        return e;
    if (g->q->model->chat_template && (e = check_form(g->q->model, err)) != ERR_OK)
        return e; // without a template api_chat_render says why
    if (f->param && (e = check_answer(g, f, err)) != ERR_OK)
        return e;
    g->with_tools = true;
    g->calls_or_form = f->param && t->how == GRAMMAR_TOOLS_AUTO;
    g->calls_only = t->how == GRAMMAR_TOOLS_REQUIRED;
    return compile(g, t, f, err);
}

enum err api_tools_read(struct api_generate *g, const struct api_form *f, struct api_error *err) {
    const struct json_node *list = json_node_value(g->q->body.root, "tools"),
                           *choice = json_node_value(g->q->body.root, "tool_choice");
    bool parallel;
    enum err e = api_get_bool(g->q, "parallel_tool_calls", true, &parallel, err);
    if (e)
        return e;
    if (!list || (list->kind == JSON_ARRAY && !list->child)) {
        const struct json_node *word = choice ? word_of(choice) : NULL;
        if (choice && !json_is_word(word, "none") && !json_is_word(word, "auto"))
            api_body_ignore(&g->q->body, "", "tool_choice"); // there is nothing to be called
        return ERR_OK;
    }
    struct tools *t = mem_calloc(1, sizeof *t);
    if (!t)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    t->parallel = parallel;
    e = use_tools(g, list, t, f, err);
    mem_free(t);
    return e;
}
