// See generate.h: from a body's messages to a prompt's text. The model's own template prints them,
// with what the request says to it.
#include "engine/chat_variables.h"
#include "service/api/generate/generate.h"
#include "service/api/generate/messages.h"

#include <string.h>

enum {
    MOST_BEHIND = 4096, // bytes that a template puts behind a last message
};

static enum err add_kwargs(const struct api_generate *g, struct template_variable *v, size_t *n,
                           struct api_error *err) {
    static const char key[] = "chat_template_kwargs";
    const struct json_node *kwargs = json_node_value(g->q->body.root, key);
    if (!kwargs)
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
    e = api_messages_make(&g->q->body, &tree, err);
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
