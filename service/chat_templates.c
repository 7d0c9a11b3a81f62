// See chat_templates.h.
#include "service/chat_templates.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TEMPLATE_BYTES = 1 << 20 };

// ChatML, for --chat-template chatml.
static const char chatml[] =
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

static enum err load_chosen(const char *choice, struct template **out, struct errmsg *msg) {
    if (strcmp(choice, "chatml") == 0)
        return template_compile(choice, chatml, sizeof chatml - 1, out, msg);
    char *text;
    size_t len;
    enum err e = file_read(choice, MAX_TEMPLATE_BYTES, &text, &len, msg);
    if (e)
        return e;
    e = template_compile(choice, text, len, out, msg);
    mem_free(text);
    return e;
}

static enum err compile(const char *path, const char *text, size_t len, struct template **out,
                        struct errmsg *msg) {
    char name[sizeof msg->text];
    snprintf(name, sizeof name, "%s: chat template", path);
    enum err e = template_compile(name, text, len, out, msg);
    if (e == ERR_INVALID || e == ERR_UNSUPPORTED) {
        struct errmsg why = *msg;
        err_set(msg, e, "%s; --chat-template FILE|chatml gives another", why.text);
    }
    return e;
}

enum err chat_templates_load(const char *path, const struct generation_config *config,
                             const char *choice, struct chat_templates *out, struct errmsg *msg) {
    *out = (struct chat_templates){0};
    if (choice)
        return load_chosen(choice, &out->chat, msg);
    if (!config->chat_template)
        return err_set(msg, ERR_NOT_FOUND,
                       "%s: has no chat template; --chat-template FILE|chatml gives one", path);
    enum err e = compile(path, config->chat_template, config->chat_template_len, &out->chat, msg);
    if (!e && config->tool_template)
        e = compile(path, config->tool_template, config->tool_template_len, &out->tools, msg);
    if (e)
        chat_templates_free(out);
    return e;
}

void chat_templates_free(struct chat_templates *t) {
    template_free(t->chat);
    template_free(t->tools);
    *t = (struct chat_templates){0};
}
