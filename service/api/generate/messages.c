// See messages.h.
#include "service/api/generate/messages.h"

#include <string.h>

enum {
    ARGUMENTS_DEPTH = 59, // of a call's arguments, which in the tree stand below five other levels
};

struct message_maker {
    struct api_body *body;
    struct json_tree *tree;
    size_t at;              // the message's number
    bool failed;            // memory was out
    struct json_node spare; // what is added then
};

static enum err wrong(struct api_error *err, size_t at, const char *what) {
    return api_fail(err, ERR_INVALID, "invalid_message", "messages", "message %zu: %s", at, what);
}

// ---- adding

static struct json_node *add(struct message_maker *m, struct json_place *at, const char *key,
                             enum json_kind kind) {
    struct json_node *n = json_tree_add(m->tree, at, kind);
    if (!n) {
        m->failed = true;
        m->spare = (struct json_node){.kind = kind};
        n = &m->spare;
    }
    n->key = key;
    n->key_len = key ? strlen(key) : 0;
    return n;
}

static void add_text(struct message_maker *m, struct json_place *at, const char *key,
                     const char *text) {
    struct json_node *n = add(m, at, key, JSON_STRING);
    n->text = text;
    n->len = strlen(text);
}

// The value with all that is in it, which stays the body's.
static void add_value(struct message_maker *m, struct json_place *at, const char *key,
                      const struct json_node *value) {
    struct json_node *n = add(m, at, key, value->kind), copy = *value;
    copy.key = n->key;
    copy.key_len = n->key_len;
    copy.next = NULL;
    *n = copy;
}

// ---- content

// The text of a part: its own, or what an earlier answer's refusal says. NULL with no error: a part
// that is no text and says nothing to a template (the thoughts of an earlier answer).
static enum err part_text(struct message_maker *m, const struct json_node *part, size_t at,
                          const struct json_node **text, struct api_error *err) {
    static const char *const types[] = {"text", "input_text", "output_text"};
    const struct json_node *type = json_node_get(part, "type");
    *text = NULL;
    if (json_is(part, JSON_STRING)) {
        *text = part;
        return ERR_OK;
    }
    if (!json_is(type, JSON_STRING))
        return wrong(err, at, "each part of 'content' must be an object with a 'type'");
    for (size_t i = 0; i < sizeof types / sizeof *types && !*text; i++)
        if (strcmp(type->text, types[i]) == 0)
            *text = json_node_get(part, "text");
    if (strcmp(type->text, "refusal") == 0)
        *text = json_node_get(part, "refusal");
    if (json_is(*text, JSON_STRING))
        return ERR_OK;
    *text = NULL;
    if (strcmp(type->text, "thinking") != 0 && strcmp(type->text, "reasoning") != 0 &&
        strcmp(type->text, "redacted_thinking") != 0)
        return api_fail(
            err, ERR_UNSUPPORTED, "unsupported_content", "messages",
            "message %zu: parts of 'content' may be {\"type\":\"text\",\"text\":...} only", at);
    api_body_ignore(m->body, "messages[].content[].", type->text);
    return ERR_OK;
}

// A string, or text parts, which are joined by line ends.
static enum err add_content(struct message_maker *m, struct json_place *at,
                            const struct json_node *content, struct api_error *err) {
    if (!content || content->kind == JSON_NULL) {
        add_text(m, at, "content", "");
        return ERR_OK;
    }
    if (content->kind == JSON_STRING) {
        add_value(m, at, "content", content);
        return ERR_OK;
    }
    if (content->kind != JSON_ARRAY)
        return wrong(err, m->at, "'content' must be a string or a list of text parts");
    struct buf joined = {0};
    bool first = true;
    enum err e = ERR_OK;
    for (const struct json_node *part = content->child; part && !e; part = part->next) {
        const struct json_node *text;
        e = part_text(m, part, m->at, &text, err);
        if (e || !text)
            continue;
        buf_puts(&joined, first ? "" : "\n");
        buf_append(&joined, text->text, text->len);
        first = false;
    }
    const struct json_node *n = add(m, at, "content", JSON_STRING);
    m->failed =
        m->failed || joined.failed || !json_tree_set_string(m->tree, n, joined.data, joined.len);
    buf_free(&joined);
    return e;
}

// ---- calls

// Arguments come as a string of JSON; templates print them as an object.
static enum err add_arguments(struct message_maker *m, struct json_place *at,
                              const struct json_node *arguments, struct api_error *err) {
    static const struct json_limits limits = {.max_depth = ARGUMENTS_DEPTH, .max_values = 200000};
    const struct json_node *root;
    struct errmsg unused;
    if (json_is(arguments, JSON_OBJECT)) {
        add_value(m, at, "arguments", arguments);
        return ERR_OK;
    }
    if (!arguments || arguments->kind == JSON_NULL ||
        (arguments->kind == JSON_STRING && arguments->len == 0)) {
        (void)add(m, at, "arguments", JSON_OBJECT);
        return ERR_OK;
    }
    enum err e = ERR_INVALID;
    if (arguments->kind == JSON_STRING)
        e = json_tree_parse_into(m->tree, arguments->text, arguments->len, &limits, &root, &unused);
    if (e == ERR_NOMEM)
        return api_fail(err, e, NULL, NULL, "no memory for the messages");
    if (e || root->kind != JSON_OBJECT)
        return wrong(err, m->at,
                     "a tool call's 'arguments' must be a string that holds a JSON object");
    add_value(m, at, "arguments", root);
    return ERR_OK;
}

static enum err add_calls(struct message_maker *m, struct json_place *at,
                          const struct json_node *calls, struct api_error *err) {
    if (calls->kind != JSON_ARRAY)
        return wrong(err, m->at, "'tool_calls' must be a list");
    struct json_place list = {.parent = add(m, at, "tool_calls", JSON_ARRAY)};
    for (const struct json_node *call = calls->child; call; call = call->next) {
        const struct json_node *function = json_node_get(call, "function"),
                               *id = json_node_value(call, "id"),
                               *name = json_node_get(function, "name"),
                               *type = json_node_value(call, "type");
        if (!json_is(name, JSON_STRING) || (id && id->kind != JSON_STRING) ||
            (type && !json_is_word(type, "function")))
            return wrong(err, m->at,
                         "each of 'tool_calls' must be {\"id\":...,\"type\":\"function\","
                         "\"function\":{\"name\":...,\"arguments\":...}}");
        struct json_place in = {.parent = add(m, &list, NULL, JSON_OBJECT)};
        add_text(m, &in, "type", "function");
        if (id)
            add_value(m, &in, "id", id);
        struct json_place inner = {.parent = add(m, &in, "function", JSON_OBJECT)};
        add_value(m, &inner, "name", name);
        enum err e = add_arguments(m, &inner, json_node_get(function, "arguments"), err);
        if (e)
            return e;
    }
    return ERR_OK;
}

// ---- members

// What an earlier answer thought, under any of the names in use.
// Source followed: transformers' _alias_reasoning_fields.
static const char *const thoughts[] = {"reasoning_content", "thinking", "reasoning"};
enum { THOUGHTS = sizeof thoughts / sizeof *thoughts };

static bool is_thought(const char *name) {
    for (size_t i = 0; i < THOUGHTS; i++)
        if (strcmp(thoughts[i], name) == 0)
            return true;
    return false;
}

// Clients send back what came with earlier answers. What no template sees has no effect; what would
// change the text, were it there, is refused. Nothing is asked by null, false, "", [] and {}.
#define ASKS_NOTHING "|false|[]|{}"
static const struct api_member message_rows[] = {
    API_READ("role"),
    API_READ("content"),
    API_READ("name"),
    API_REFUSE("images", NULL, NULL),
    API_REFUSE("audio", NULL, NULL),
    API_REFUSE("videos", NULL, NULL),
    API_REFUSE("files", NULL, NULL),
    API_REFUSE("input_audio", NULL, NULL),
    API_REFUSE("prefix", NULL, "the body's 'continue_final_message' goes on with the last message"),
    API_REFUSE("function_call", NULL, NULL),
};
static const struct api_member assistant_rows[] = {
    API_READ("tool_calls"),
    API_READ("reasoning_content"),
    API_READ("thinking"),
    API_READ("reasoning"),
};
static const struct api_member tool_rows[] = {API_READ("tool_call_id")};
static const struct api_members message_table = API_TABLE_OPEN(message_rows, NULL, ASKS_NOTHING);
static const struct api_members assistant_table =
    API_TABLE_OPEN(assistant_rows, &message_table, ASKS_NOTHING);
static const struct api_members tool_table =
    API_TABLE_OPEN(tool_rows, &message_table, ASKS_NOTHING);

static enum err check_members(struct message_maker *m, const struct json_node *message,
                              const struct api_members *table, struct api_error *err) {
    for (const struct json_node *n = message->child; n; n = n->next) {
        const struct api_member *row;
        enum api_fate fate = api_member_fate(table, n, &row);
        if (fate == API_REFUSED)
            return api_fail(err, ERR_UNSUPPORTED, "invalid_message", "messages",
                            "message %zu: '%s' is not supported%s%s", m->at, n->key,
                            row->instead ? "; " : "", row->instead ? row->instead : "");
        // a thought that is no text
        bool odd = fate == API_TAKEN && is_thought(n->key) && n->kind != JSON_STRING &&
                   !api_member_harmless(n, ASKS_NOTHING);
        if (fate == API_NO_EFFECT || odd)
            api_body_ignore(m->body, "messages[].", n->key);
    }
    return ERR_OK;
}

// Of its names the first that says something counts; another that says something else is named in
// x-warning.
static void add_thoughts(struct message_maker *m, struct json_place *at,
                         const struct json_node *message) {
    const struct json_node *said = NULL;
    for (size_t i = 0; i < THOUGHTS; i++) {
        const struct json_node *n = json_node_get(message, thoughts[i]);
        if (!json_is(n, JSON_STRING))
            continue;
        if (!said || said->len == 0)
            said = n;
        else if (n->len && strcmp(n->key, "thinking") != 0 && strcmp(n->text, said->text) != 0)
            api_body_ignore(m->body, "messages[].", n->key);
    }
    if (!said)
        return;
    const struct json_node *thinking = json_node_get(message, "thinking");
    add_value(m, at, "thinking", json_is(thinking, JSON_STRING) ? thinking : said);
    add_value(m, at, "reasoning_content", said);
}

// ---- messages

static const char *role_of(const struct json_node *message) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const struct json_node *role = json_node_get(message, "role");
    if (json_is_word(role, "developer"))
        return roles[0];
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (json_is_word(role, roles[i]))
            return roles[i];
    return NULL;
}

static enum err add_message(struct message_maker *m, struct json_place *list,
                            const struct json_node *message, struct api_error *err) {
    const char *role = role_of(message);
    if (!role)
        return wrong(err, m->at, "'role' must be system, developer, user, assistant or tool");
    bool assistant = strcmp(role, "assistant") == 0, tool = strcmp(role, "tool") == 0;
    enum err e = check_members(m, message,
                               assistant ? &assistant_table
                               : tool    ? &tool_table
                                         : &message_table,
                               err);
    const struct json_node *calls = json_node_value(message, "tool_calls"),
                           *content = json_node_value(message, "content");
    // an answer may have been a call, a refusal or thoughts alone, a function may return nothing
    if (!e && !content && !assistant && !tool)
        return wrong(err, m->at, "'content' is missing");
    struct json_place in = {.parent = e ? NULL : add(m, list, NULL, JSON_OBJECT)};
    if (e)
        return e;
    add_text(m, &in, "role", role);
    e = add_content(m, &in, content, err);
    static const char *const strings[] = {"name", "tool_call_id"};
    for (size_t i = 0; i < 2 && !e; i++) {
        const struct json_node *value = json_node_value(message, strings[i]);
        if (value && value->kind != JSON_STRING)
            e = wrong(err, m->at, "'name' and 'tool_call_id' must be strings");
        else if (value)
            add_value(m, &in, strings[i], value);
    }
    if (!e && assistant)
        add_thoughts(m, &in, message);
    if (!e && calls && !(calls->kind == JSON_ARRAY && !calls->child))
        e = add_calls(m, &in, calls, err);
    return e;
}

enum err api_messages_make(struct api_body *body, struct json_tree **out, struct api_error *err) {
    const struct json_node *list = json_node_value(body->root, "messages");
    *out = NULL;
    if (!list)
        return api_fail(err, ERR_INVALID, "missing_field", "messages", "'messages' is missing");
    if (list->kind != JSON_ARRAY || !list->child)
        return api_fail(err, ERR_INVALID, "invalid_value", "messages",
                        "'messages' must be a list of at least one message");
    struct message_maker m = {.body = body, .tree = json_tree_new()};
    struct json_place top = {0};
    enum err e = m.tree ? ERR_OK : ERR_NOMEM;
    struct json_place in = {.parent = e ? NULL : add(&m, &top, NULL, JSON_ARRAY)};
    for (const struct json_node *n = list->child; n && !e && !m.failed; n = n->next, m.at++)
        e = add_message(&m, &in, n, err);
    if (m.failed || !m.tree)
        e = api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the messages");
    if (e)
        json_tree_free(m.tree);
    else
        *out = m.tree;
    return e;
}
