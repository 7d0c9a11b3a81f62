// trine chat --render: the prompt that a chat template makes of a file's messages. Role: for
// looking at a template and comparing it with other programs; the messages are handed over as they
// stand. See chat.h.
#include "base/mem.h"
#include "cli/chat.h"
#include "cli/parts.h"
#include "cli/sink.h"
#include "engine/chat_templates.h"
#include "engine/chat_variables.h"
#include "hub/store.h"

#include <string.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 64 << 20 };

struct conversation {
    const struct json_node *messages, *tools, *kwargs; // tools and kwargs may be NULL
    bool prompt_turn;
};

static enum err wrong(const char *what, const char *must_be, struct errmsg *msg) {
    return err_set(msg, ERR_INVALID, "'%s' must be %s", what, must_be);
}

static enum err check_messages(const struct json_node *list, struct errmsg *msg) {
    if (!list)
        return err_set(msg, ERR_INVALID, "'messages' is missing");
    if (list->kind != JSON_ARRAY || !list->child)
        return wrong("messages", "a list of at least one message", msg);
    size_t at = 0;
    for (const struct json_node *m = list->child; m; m = m->next, at++)
        if (m->kind != JSON_OBJECT)
            return err_set(msg, ERR_INVALID, "message %zu is no object", at);
    return ERR_OK;
}

static enum err read_member(const struct json_node *m, struct conversation *c, struct errmsg *msg) {
    if (strcmp(m->key, "messages") == 0) {
        c->messages = m;
    } else if (strcmp(m->key, "tools") == 0) {
        if (m->kind != JSON_ARRAY && m->kind != JSON_NULL)
            return wrong(m->key, "a list", msg);
        c->tools = m->kind == JSON_ARRAY ? m : NULL;
    } else if (strcmp(m->key, "add_generation_prompt") == 0) {
        if (m->kind != JSON_TRUE && m->kind != JSON_FALSE)
            return wrong(m->key, "true or false", msg);
        c->prompt_turn = m->kind == JSON_TRUE;
    } else if (strcmp(m->key, "chat_template_kwargs") == 0) {
        if (m->kind != JSON_OBJECT || m->count > CHAT_KWARGS_MOST)
            return wrong(m->key, "an object of at most 24 members", msg);
        c->kwargs = m;
    } else {
        return err_set(msg, ERR_INVALID,
                       "'%.40s' is not known: there may be 'messages', 'tools', "
                       "'add_generation_prompt' and 'chat_template_kwargs'",
                       m->key);
    }
    return ERR_OK;
}

static enum err read_conversation(const struct json_node *root, struct conversation *c,
                                  struct errmsg *msg) {
    *c = (struct conversation){.prompt_turn = true};
    enum err e = ERR_OK;
    if (root->kind != JSON_OBJECT)
        c->messages = root;
    else
        for (const struct json_node *m = root->child; m && !e; m = m->next)
            e = read_member(m, c, msg);
    return e ? e : check_messages(c->messages, msg);
}

static enum err render(const struct cli_options *o, const struct json_node *root, const char *path,
                       struct buf *out, struct errmsg *msg) {
    struct conversation c;
    struct generation_config config = {0};
    struct chat_templates templates = {0};
    struct template_variable v[CHAT_VARIABLES + CHAT_KWARGS_MOST];
    enum err e = read_conversation(root, &c, msg);
    if (e)
        return err_prefix(msg, e, "%s", o->render);
    // no id is used here: a folder without a config.json will do
    e = generation_config_load(path, INT32_MAX, &config, msg);
    if (!e)
        e = chat_templates_need(path, &config, o->models[0].chat_template, &templates, msg);
    size_t n = chat_variables(&config, c.messages, c.tools, c.prompt_turn, v);
    const char *taken = !e && c.kwargs ? chat_variables_add(c.kwargs, v, &n) : NULL;
    if (taken)
        e = err_set(msg, ERR_INVALID, "%s: 'chat_template_kwargs' may not set '%s'", o->render,
                    taken);
    if (!e)
        e = template_render(c.tools && templates.tools ? templates.tools : templates.chat, v, n,
                            NULL, out, msg);
    chat_templates_free(&templates);
    generation_config_free(&config);
    return e;
}

enum err cli_chat_render(const struct cli_options *o, struct errmsg *msg) {
    char *path = NULL, *files = NULL;
    struct buf text = {0};
    struct json_tree *tree = NULL;
    struct sink out;
    sink_init(&out, STDOUT_FILENO, "stdout");
    enum err e = cli_read_text(o->render, MAX_FILE_BYTES, &text, msg);
    if (!e && (e = json_tree_parse(text.data ? text.data : "", text.len, &json_limits_file, &tree,
                                   NULL, msg)))
        (void)err_prefix(msg, e, "%s", o->render);
    if (!e)
        e = store_resolve(o->models[0].spec, &path, msg);
    if (!e)
        e = model_find_files(path, &files, msg);
    if (!e)
        e = render(o, json_tree_root(tree), files, &out.buf, msg);
    if (!e)
        e = sink_flush(&out, msg);
    sink_free(&out);
    json_tree_free(tree);
    buf_free(&text);
    mem_free(files);
    mem_free(path);
    return e;
}
