// See chat_templates.h.
#include "engine/chat_templates.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>

enum { MAX_TEMPLATE_BYTES = 1 << 20 };

// ChatML, for --chat-template chatml.
static const char chatml[] =
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

// A template of a mistake, or of more than the interpreter knows, is the model's business and not
// the service's: it is kept as the reason. The label has no path, for clients read these messages.
static enum err compile(const char *label, const char *text, size_t len, struct template **out,
                        struct errmsg *refusal, struct errmsg *msg) {
    enum err e = template_compile(label, text, len, out, msg);
    if (e == ERR_OK || e == ERR_NOMEM)
        return e;
    err_set(refusal, e, "%s", msg->text);
    return ERR_OK;
}

static bool is_blank(const char *text, size_t len) { return strspn(text, " \t\r\n\v\f") == len; }

static enum err load_chosen(const char *choice, struct chat_templates *out, struct errmsg *msg) {
    static const char label[] = "chat template";
    if (strcmp(choice, "chatml") == 0)
        return compile(label, chatml, sizeof chatml - 1, &out->chat, &out->refusal, msg);
    char *text;
    size_t len;
    enum err e = file_read(choice, MAX_TEMPLATE_BYTES, &text, &len, msg);
    if (e)
        return e;
    // an empty prompt for every conversation is a mistake: a file that was not written
    if (is_blank(text, len))
        e = err_set(msg, ERR_INVALID, "--chat-template %s: the file is empty", choice);
    else
        e = compile(label, text, len, &out->chat, &out->refusal, msg);
    mem_free(text);
    return e;
}

// A model's own. An empty prompt for every conversation is no chat: a blank one is as good as none.
static enum err compile_own(const char *label, const char *text, size_t len, struct template **out,
                            struct errmsg *refusal, struct errmsg *msg) {
    if (!is_blank(text, len))
        return compile(label, text, len, out, refusal, msg);
    err_set(refusal, ERR_INVALID, "the %s of the model is empty", label);
    return ERR_OK;
}

enum err chat_templates_load(const char *path, const struct generation_config *config,
                             const char *choice, struct chat_templates *out, struct errmsg *msg) {
    *out = (struct chat_templates){0};
    if (choice)
        return load_chosen(choice, out, msg);
    if (!config->chat_template)
        return err_set(msg, ERR_NOT_FOUND,
                       "%s: has no chat template; --chat-template FILE|chatml gives one", path);
    enum err e = compile_own("chat template", config->chat_template, config->chat_template_len,
                             &out->chat, &out->refusal, msg);
    if (!e && out->chat && config->tool_template)
        e = compile_own("chat template for tools", config->tool_template, config->tool_template_len,
                        &out->tools, &out->refusal, msg);
    if (e)
        chat_templates_free(out);
    return e;
}

enum err chat_templates_need(const char *path, const struct generation_config *config,
                             const char *choice, struct chat_templates *out, struct errmsg *msg) {
    enum err e = chat_templates_load(path, config, choice, out, msg);
    if (e || !out->refusal.code)
        return e;
    e = err_set(msg, out->refusal.code, "%s: %s; --chat-template FILE|chatml gives another",
                choice ? choice : path, out->refusal.text);
    chat_templates_free(out);
    return e;
}

void chat_templates_free(struct chat_templates *t) {
    template_free(t->chat);
    template_free(t->tools);
    *t = (struct chat_templates){0};
}
