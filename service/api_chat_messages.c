// See api_generate.h: from a body's messages to a prompt's text. Messages are checked and put into
// the one form that templates know (content a string, `developer` as system, arguments of calls as
// objects), then the model's own template prints them.
#include "base/mem.h"
#include "service/api_generate.h"
#include "service/chat_variables.h"

#include <stdio.h>
#include <string.h>

enum {
    MOST_BEHIND = 4096, // bytes that a template puts behind a last message
};

static enum err wrong(struct api_error *err, size_t at, const char *what) {
    return api_fail(err, ERR_INVALID, "invalid_message", "messages", "message %zu: %s", at, what);
}

static bool is_null(const struct json_node *n) { return !n || n->kind == JSON_NULL; }

static bool is_string(const struct json_node *n) { return n && n->kind == JSON_STRING; }

static void put_member(struct buf *out, const char *name, const struct json_node *value) {
    buf_printf(out, ",\"%s\":", name);
    json_node_print(out, value);
}

// A string, or text parts, which are joined by line ends.
static enum err put_content(const struct json_node *content, size_t at, struct buf *out,
                            struct api_error *err) {
    buf_puts(out, ",\"content\":");
    if (is_null(content)) {
        buf_puts(out, "\"\"");
        return ERR_OK;
    }
    if (content->kind == JSON_STRING) {
        json_quote(out, content->text, content->len);
        return ERR_OK;
    }
    if (content->kind != JSON_ARRAY)
        return wrong(err, at, "'content' must be a string or a list of text parts");
    struct buf joined = {0};
    enum err e = ERR_OK;
    for (const struct json_node *part = content->child; part && !e; part = part->next) {
        const struct json_node *type = json_node_get(part, "type"),
                               *text = json_node_get(part, "text");
        if (!is_string(type))
            e = wrong(err, at, "each part of 'content' must be an object with a 'type'");
        else if (strcmp(type->text, "text") != 0 || !is_string(text))
            e = api_fail(err, ERR_UNSUPPORTED, "unsupported_content", "messages",
                         "message %zu: parts of 'content' may be {\"type\":\"text\",\"text\":...} "
                         "only",
                         at);
        else if (part != content->child)
            buf_putc(&joined, '\n');
        if (!e)
            buf_append(&joined, text->text, text->len);
    }
    json_quote(out, joined.data ? joined.data : "", joined.len);
    out->failed = out->failed || joined.failed;
    buf_free(&joined);
    return e;
}

// Arguments come as a string of JSON; templates print them as an object.
static enum err put_arguments(const struct json_node *arguments, size_t at, struct buf *out,
                              struct api_error *err) {
    struct errmsg unused;
    buf_puts(out, ",\"arguments\":");
    if (arguments && arguments->kind == JSON_OBJECT) {
        json_node_print(out, arguments);
        return ERR_OK;
    }
    if (is_string(arguments) && arguments->len == 0) {
        buf_puts(out, "{}");
        return ERR_OK;
    }
    size_t blanks = is_string(arguments) ? strspn(arguments->text, " \t\r\n") : 0;
    if (!is_string(arguments) || arguments->text[blanks] != '{' ||
        json_check(arguments->text, arguments->len, &json_limits_request, NULL, &unused))
        return wrong(err, at,
                     "a tool call's 'arguments' must be a string that holds a JSON object");
    buf_append(out, arguments->text, arguments->len);
    return ERR_OK;
}

static enum err put_calls(const struct json_node *calls, size_t at, struct buf *out,
                          struct api_error *err) {
    if (calls->kind != JSON_ARRAY)
        return wrong(err, at, "'tool_calls' must be a list");
    buf_puts(out, ",\"tool_calls\":[");
    for (const struct json_node *call = calls->child; call; call = call->next) {
        const struct json_node *function = json_node_get(call, "function"),
                               *id = json_node_get(call, "id"),
                               *name = json_node_get(function, "name"),
                               *type = json_node_get(call, "type");
        if (!is_string(name) || (!is_null(id) && !is_string(id)) ||
            (!is_null(type) && (!is_string(type) || strcmp(type->text, "function") != 0)))
            return wrong(err, at,
                         "each of 'tool_calls' must be {\"id\":...,\"type\":\"function\","
                         "\"function\":{\"name\":...,\"arguments\":...}}");
        buf_puts(out, call == calls->child ? "{\"type\":\"function\"" : ",{\"type\":\"function\"");
        if (is_string(id))
            put_member(out, "id", id);
        buf_puts(out, ",\"function\":{\"name\":");
        json_node_print(out, name);
        enum err e = put_arguments(json_node_get(function, "arguments"), at, out, err);
        if (e)
            return e;
        buf_puts(out, "}}");
    }
    buf_putc(out, ']');
    return ERR_OK;
}

static enum err check_members(const struct json_node *message, const char *role, size_t at,
                              struct api_error *err) {
    bool assistant = strcmp(role, "assistant") == 0, tool = strcmp(role, "tool") == 0;
    for (const struct json_node *m = message->child; m; m = m->next) {
        const char *k = m->key;
        bool known = strcmp(k, "role") == 0 || strcmp(k, "content") == 0 ||
                     strcmp(k, "name") == 0 || (assistant && strcmp(k, "tool_calls") == 0) ||
                     (tool && strcmp(k, "tool_call_id") == 0);
        // an answer of OpenAI's that is sent back as it came
        bool empty =
            assistant && strcmp(k, "annotations") == 0 && m->kind == JSON_ARRAY && !m->child;
        if (!known && !empty && m->kind != JSON_NULL)
            return api_fail(err, ERR_INVALID, "invalid_message", "messages",
                            "message %zu: '%s' is not supported; a message may hold 'role', "
                            "'content' and 'name', an assistant's also 'tool_calls', a tool's "
                            "'tool_call_id'",
                            at, api_shown_name(k));
    }
    return ERR_OK;
}

static enum err put_message(const struct json_node *message, size_t at, struct buf *out,
                            struct api_error *err) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const struct json_node *role = json_node_get(message, "role");
    const char *name = is_string(role) ? role->text : "";
    bool known = false;
    if (strcmp(name, "developer") == 0)
        name = "system";
    for (size_t i = 0; i < 4; i++)
        known = known || strcmp(name, roles[i]) == 0;
    if (!known)
        return wrong(err, at, "'role' must be system, developer, user, assistant or tool");
    enum err e = check_members(message, name, at, err);
    if (e)
        return e;
    const struct json_node *calls = json_node_get(message, "tool_calls"),
                           *content = json_node_get(message, "content");
    bool may_lack = strcmp(name, "assistant") == 0 && !is_null(calls);
    if (is_null(content) && !may_lack)
        return wrong(err, at, "'content' is missing");
    buf_printf(out, "%s{\"role\":\"%s\"", at ? "," : "", name);
    e = put_content(content, at, out, err);
    static const char *const strings[] = {"name", "tool_call_id"};
    for (size_t i = 0; i < 2 && !e; i++) {
        const struct json_node *value = json_node_get(message, strings[i]);
        if (!is_null(value) && !is_string(value))
            e = wrong(err, at, "'name' and 'tool_call_id' must be strings");
        else if (is_string(value))
            put_member(out, strings[i], value);
    }
    if (!e && !is_null(calls))
        e = put_calls(calls, at, out, err);
    buf_putc(out, '}');
    return e;
}

// The messages in the form for templates, as a tree of their own.
static enum err make_messages(const struct json_node *list, struct json_tree **out,
                              struct api_error *err) {
    if (is_null(list))
        return api_fail(err, ERR_INVALID, "missing_field", "messages", "'messages' is missing");
    if (list->kind != JSON_ARRAY || !list->child)
        return api_fail(err, ERR_INVALID, "invalid_value", "messages",
                        "'messages' must be a list of at least one message");
    struct buf text = {0};
    size_t at = 0;
    enum err e = ERR_OK;
    buf_putc(&text, '[');
    for (const struct json_node *m = list->child; m && !e; m = m->next)
        e = put_message(m, at++, &text, err);
    buf_putc(&text, ']');
    if (!e && text.failed)
        e = api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the messages");
    if (!e)
        e = json_tree_parse(text.data, text.len, &json_limits_file, out, NULL, &err->msg);
    buf_free(&text);
    return e;
}

// --- rendering ---

static enum err add_kwargs(const struct api_generate *g, struct template_variable *v, size_t *n,
                           struct api_error *err) {
    static const char key[] = "chat_template_kwargs";
    const struct json_node *kwargs = json_node_get(json_tree_root(g->q->tree), key);
    if (is_null(kwargs))
        return ERR_OK;
    if (kwargs->kind != JSON_OBJECT || kwargs->count > CHAT_KWARGS_MOST)
        return api_fail(err, ERR_INVALID, "invalid_value", key,
                        "'%s' must be an object of at most %d members", key, CHAT_KWARGS_MOST);
    const char *taken = chat_variables_add(kwargs, v, n);
    if (taken)
        return api_fail(err, ERR_INVALID, "invalid_value", key, "'%s' may not set '%s'", key,
                        taken);
    return ERR_OK;
}

// What the last message says is where the prompt ends, whatever the template puts behind it.
// Source followed: transformers' apply_chat_template (continue_final_message).
static enum err cut_behind(const struct json_node *messages, size_t begin, struct buf *out,
                           struct api_error *err) {
    static const char blanks[] = " \t\n\r\v\f";
    const struct json_node *last = messages->child;
    while (last->next)
        last = last->next;
    const struct json_node *content = json_node_get(last, "content");
    const char *text = content->text;
    size_t lead = strspn(text, blanks), end = content->len;
    while (end > lead && strchr(blanks, text[end - 1]))
        end--;
    size_t trimmed = end - lead, rest = content->len - lead, at = out->len;
    size_t least =
        out->len - begin > trimmed + MOST_BEHIND ? out->len - MOST_BEHIND : begin + trimmed;
    while (at >= least && trimmed > 0 &&
           memcmp(out->data + at - trimmed, text + lead, trimmed) != 0)
        at--;
    if (trimmed == 0 || at < least)
        return api_fail(err, ERR_INVALID, "invalid_value", "continue_final_message",
                        "the chat template does not show the last message's content, which "
                        "'continue_final_message' is to go on with");
    at -= trimmed;
    // where the template keeps the blanks behind it, so does the prompt
    bool kept = lead == 0 && out->len - at >= rest && memcmp(out->data + at, text, rest) == 0;
    out->len = at + (kept ? rest : trimmed);
    return ERR_OK;
}

static enum err render(struct api_generate *g, const struct json_node *messages, bool prompt_turn,
                       struct buf *out, struct api_error *err) {
    const struct model *m = g->q->model;
    struct template_variable v[CHAT_VARIABLES + CHAT_KWARGS_MOST + 1];
    const struct json_node *tools = NULL;
    if (g->with_tools)
        tools = json_node_get(json_tree_root(g->q->tree), "tools");
    size_t n = chat_variables(&m->generation, messages, tools, prompt_turn, v);
    enum err e = ERR_OK;
    if (json_get(g->q->body, "enable_thinking")) {
        bool thinking;
        e = api_get_bool(g->q, "enable_thinking", false, &thinking, err);
        v[n++] = (struct template_variable){.name = "enable_thinking", .truth = thinking};
    }
    if (!e)
        e = add_kwargs(g, v, &n, err);
    if (e)
        return e;
    const struct template *t =
        g->with_tools && m->tool_template ? m->tool_template : m->chat_template;
    e = template_render(t, v, n, NULL, out, &err->msg);
    if (e == ERR_INVALID || e == ERR_TOO_LARGE) {
        err->slug = "chat_template_error";
        err->param = "messages";
        err->status = 400;
    }
    return e;
}

enum err api_chat_render(struct api_generate *g, struct buf *out, struct api_error *err) {
    const struct model *m = g->q->model;
    bool goes_on, prompt_turn;
    enum err e = api_get_bool(g->q, "continue_final_message", false, &goes_on, err);
    if (!e)
        e = api_get_bool(g->q, "add_generation_prompt", !goes_on, &prompt_turn, err);
    if (e)
        return e;
    if (!m->chat_template)
        return api_fail(err, ERR_UNSUPPORTED, "no_chat_template", "model",
                        "the model '%s' cannot chat: %s; start the service with --chat-template "
                        "FILE, or with --chat-template chatml",
                        m->name, m->template_msg.text);
    if (goes_on && prompt_turn)
        return api_fail(err, ERR_INVALID, "invalid_value", "add_generation_prompt",
                        "'continue_final_message' and 'add_generation_prompt' exclude each other");
    struct json_tree *tree = NULL;
    e = make_messages(json_node_get(json_tree_root(g->q->tree), "messages"), &tree, err);
    size_t begin = out->len;
    if (!e)
        e = render(g, json_tree_root(tree), prompt_turn, out, err);
    if (!e && goes_on)
        e = cut_behind(json_tree_root(tree), begin, out, err);
    json_tree_free(tree);
    if (!e && out->failed)
        e = api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the prompt");
    return e;
}
