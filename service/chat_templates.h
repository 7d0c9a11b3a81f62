// A model's chat templates, compiled. Role: which text is taken, what it is called in a message,
// and what a refusal advises; shared by models and by commands that read no weights. Thread rule:
// pure functions; a compiled template is immutable.
#ifndef TRINE_SERVICE_CHAT_TEMPLATES_H
#define TRINE_SERVICE_CHAT_TEMPLATES_H

#include "template/template.h"
#include "weights/generation_config.h"

struct chat_templates {
    struct template *chat, *tools; // owned; tools NULL: the same for requests with tools
};

// The model's own, or (choice not NULL) what --chat-template names: a file, or "chatml". path names
// the model in messages. ERR_NOT_FOUND: it has none, or there is no such file; ERR_INVALID,
// ERR_UNSUPPORTED: what does not compile, and why; ERR_IO, ERR_TOO_LARGE, ERR_NOMEM.
enum err chat_templates_load(const char *path, const struct generation_config *config,
                             const char *choice, struct chat_templates *out,
                             struct errmsg *msg) MUST_CHECK;
void chat_templates_free(struct chat_templates *t);

#endif
