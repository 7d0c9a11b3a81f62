// See api_generate.h: from a body's messages to a prompt's text. Messages are checked and put into
// the one form that templates know (content a string, `developer` as system, arguments of calls as
// objects), then the model's own template prints them.
#include "base/mem.h"
#include "engine/chat_variables.h"
#include "service/api/generate/generate.h"

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

// The text of a part: its own, or what an earlier answer's refusal says. NULL with no error: a part
// that is no text and says nothing to a template (the thoughts of an earlier answer).
static enum err part_text(struct api_generate *g, const struct json_node *part, size_t at,
                          const struct json_node **text, struct api_error *err) {
    static const char *const types[] = {"text", "input_text", "output_text"};
    const struct json_node *type = json_node_get(part, "type");
    *text = NULL;
    if (is_string(part)) {
        *text = part;
        return ERR_OK;
    }
    if (!is_string(type))
        return wrong(err, at, "each part of 'content' must be an object with a 'type'");
    for (size_t i = 0; i < sizeof types / sizeof *types && !*text; i++)
        if (strcmp(type->text, types[i]) == 0)
            *text = json_node_get(part, "text");
    if (strcmp(type->text, "refusal") == 0)
        *text = json_node_get(part, "refusal");
    if (is_string(*text))
        return ERR_OK;
    *text = NULL;
    if (strcmp(type->text, "thinking") != 0 && strcmp(type->text, "reasoning") != 0 &&
        strcmp(type->text, "redacted_thinking") != 0)
        return api_fail(
            err, ERR_UNSUPPORTED, "unsupported_content", "messages",
            "message %zu: parts of 'content' may be {\"type\":\"text\",\"text\":...} only", at);
    api_body_ignore(&g->q->body, "messages[].content[].", type->text);
    return ERR_OK;
}

// A string, or text parts, which are joined by line ends.
static enum err put_content(struct api_generate *g, const struct json_node *content, size_t at,
                            struct buf *out, struct api_error *err) {
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
    bool first = true;
    enum err e = ERR_OK;
    for (const struct json_node *part = content->child; part && !e; part = part->next) {
        const struct json_node *text;
        e = part_text(g, part, at, &text, err);
        if (e || !text)
            continue;
        buf_puts(&joined, first ? "" : "\n");
        buf_append(&joined, text->text, text->len);
        first = false;
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
    if (is_null(arguments) || (is_string(arguments) && arguments->len == 0)) {
        buf_puts(out, "{}");
        return ERR_OK;
    }
    size_t blanks = is_string(arguments) ? strspn(arguments->text, " \t\r\n") : 0;
    enum err e = ERR_INVALID;
    if (is_string(arguments) && arguments->text[blanks] == '{')
        e = json_check(arguments->text, arguments->len, &json_limits_request, NULL, &unused);
    if (e == ERR_NOMEM)
        return api_fail(err, e, NULL, NULL, "no memory for the messages");
    if (e)
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

// What an earlier answer thought, under any of the names in use.
// Source followed: transformers' _alias_reasoning_fields.
static const char *const thoughts[] = {"reasoning_content", "thinking", "reasoning"};
enum { THOUGHTS = sizeof thoughts / sizeof *thoughts };

static bool is_among(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

// Nothing is asked by null, false, "", [] and {}.
static bool asks_nothing(const struct json_node *m) {
    return m->kind == JSON_NULL || m->kind == JSON_FALSE || (is_string(m) && m->len == 0) ||
           ((m->kind == JSON_ARRAY || m->kind == JSON_OBJECT) && !m->child);
}

// Clients send back what came with earlier answers. What no template sees has no effect; what
// would change the text, were it there, is refused.
static enum err check_members(struct api_generate *g, const struct json_node *message,
                              const char *role, size_t at, struct api_error *err) {
    static const char *const shown[] = {"role", "content", "name"};
    static const char *const refused[] = {"images",      "audio",  "videos",       "files",
                                          "input_audio", "prefix", "function_call"};
    bool assistant = strcmp(role, "assistant") == 0, tool = strcmp(role, "tool") == 0;
    for (const struct json_node *m = message->child; m; m = m->next) {
        const char *k = m->key;
        bool known = is_among(k, shown, 3) || (assistant && strcmp(k, "tool_calls") == 0) ||
                     (tool && strcmp(k, "tool_call_id") == 0) ||
                     (assistant && is_string(m) && is_among(k, thoughts, THOUGHTS));
        if (known || asks_nothing(m))
            continue;
        if (is_among(k, refused, sizeof refused / sizeof *refused))
            return api_fail(err, ERR_UNSUPPORTED, "invalid_message", "messages",
                            "message %zu: '%s' is not supported%s", at, k,
                            strcmp(k, "prefix") == 0 ? "; the body's 'continue_final_message' goes "
                                                       "on with the last message"
                                                     : "");
        api_body_ignore(&g->q->body, "messages[].", k);
    }
    return ERR_OK;
}

// Of its names the first that says something counts; another that says something else is named in
// x-warning.
static void put_thoughts(struct api_generate *g, const struct json_node *message, struct buf *out) {
    const struct json_node *said = NULL;
    for (size_t i = 0; i < THOUGHTS; i++) {
        const struct json_node *m = json_node_get(message, thoughts[i]);
        if (is_string(m) && (!said || said->len == 0))
            said = m;
        else if (is_string(m) && m->len && strcmp(m->key, "thinking") != 0 &&
                 strcmp(m->text, said->text) != 0)
            api_body_ignore(&g->q->body, "messages[].", m->key);
    }
    if (!said)
        return;
    const struct json_node *thinking = json_node_get(message, "thinking");
    put_member(out, "thinking", is_string(thinking) ? thinking : said);
    put_member(out, "reasoning_content", said);
}

static enum err put_message(struct api_generate *g, const struct json_node *message, size_t at,
                            struct buf *out, struct api_error *err) {
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
    enum err e = check_members(g, message, name, at, err);
    if (e)
        return e;
    const struct json_node *calls = json_node_get(message, "tool_calls"),
                           *content = json_node_get(message, "content");
    bool assistant = strcmp(name, "assistant") == 0, tool = strcmp(name, "tool") == 0;
    // an answer may have been a call, a refusal or thoughts alone, a function may return nothing
    if (is_null(content) && !assistant && !tool)
        return wrong(err, at, "'content' is missing");
    buf_printf(out, "%s{\"role\":\"%s\"", at ? "," : "", name);
    e = put_content(g, content, at, out, err);
    static const char *const strings[] = {"name", "tool_call_id"};
    for (size_t i = 0; i < 2 && !e; i++) {
        const struct json_node *value = json_node_get(message, strings[i]);
        if (!is_null(value) && !is_string(value))
            e = wrong(err, at, "'name' and 'tool_call_id' must be strings");
        else if (is_string(value))
            put_member(out, strings[i], value);
    }
    if (assistant)
        put_thoughts(g, message, out);
    if (!e && !is_null(calls) && !(calls->kind == JSON_ARRAY && !calls->child))
        e = put_calls(calls, at, out, err);
    buf_putc(out, '}');
    return e;
}

// The messages in the form for templates, as a tree of their own.
static enum err make_messages(struct api_generate *g, const struct json_node *list,
                              struct json_tree **out, struct api_error *err) {
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
        e = put_message(g, m, at++, &text, err);
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
    const struct json_node *kwargs = json_node_get(g->q->body.root, key);
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

// `enable_thinking`, Ollama's `think`, and {"type": "enabled"} or "disabled" of Anthropic's and
// DeepSeek's `thinking`: -1 where none says it.
static enum err read_thinking(const struct api_generate *g, int *out, struct api_error *err) {
    const struct json_node *thinking = api_value(g->q, "thinking"),
                           *type = json_node_value(thinking, "type");
    const char *name;
    bool on = false, sent = api_sent(g->q, "enable_thinking", &name);
    enum err e = api_get_bool(g->q, "enable_thinking", false, &on, err);
    int said = json_is_bool(thinking)       ? json_is(thinking, JSON_TRUE)
               : json_is(type, JSON_STRING) ? strcmp(type->text, "disabled") != 0
                                            : -1;
    if (!e && sent && said >= 0 && said != on)
        return api_fail(err, ERR_INVALID, "invalid_value", "thinking",
                        "'%s' and 'thinking' say two things; send one", name);
    *out = sent ? on : said;
    return e;
}

// What a request says about thinking, for a template that asks.
static enum err add_thinking(struct api_generate *g, const struct template *t,
                             struct template_variable *v, size_t *n, struct api_error *err) {
    int thinking = -1;
    enum err e = read_thinking(g, &thinking, err);
    const struct json_node *body = g->q->body.root,
                           *effort = json_node_value(body, "reasoning_effort");
    if (e)
        return e;
    bool uses_enable = template_uses(t, "enable_thinking"), uses_it = template_uses(t, "thinking");
    if (thinking >= 0 && (uses_enable || json_node_value(body, "enable_thinking")))
        v[(*n)++] = (struct template_variable){.name = "enable_thinking", .truth = thinking};
    if (thinking >= 0 && uses_it)
        v[(*n)++] = (struct template_variable){.name = "thinking", .truth = thinking};
    if (json_is(effort, JSON_STRING) && template_uses(t, "reasoning_effort")) {
        const char *word = effort->text;
        v[(*n)++] = (struct template_variable){
            .name = "reasoning_effort", .string = word, .string_len = strlen(word)};
    } else if (effort) {
        api_body_ignore(&g->q->body, "", "reasoning_effort");
    }
    static const char *const names[] = {"enable_thinking", "think", "thinking"};
    for (size_t i = 0; i < 3; i++)
        if (json_node_value(body, names[i]) && (thinking < 0 || !(uses_enable || uses_it)))
            api_body_ignore(&g->q->body, "", names[i]);
    return ERR_OK;
}

static enum err render(struct api_generate *g, const struct json_node *messages, bool prompt_turn,
                       struct buf *out, struct api_error *err) {
    const struct model *m = g->q->model;
    struct template_variable v[CHAT_VARIABLES + CHAT_KWARGS_MOST + 3];
    const struct json_node *tools = NULL;
    if (g->with_tools)
        tools = json_node_get(g->q->body.root, "tools");
    const struct template *t =
        g->with_tools && m->tool_template ? m->tool_template : m->chat_template;
    size_t n = chat_variables(&m->generation, messages, tools, prompt_turn, v);
    enum err e = add_thinking(g, t, v, &n, err);
    if (!e)
        e = add_kwargs(g, v, &n, err);
    if (e)
        return e;
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
    e = make_messages(g, json_node_get(g->q->body.root, "messages"), &tree, err);
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
