// A model's chat templates, compiled. Role: which text is taken, what it is called in a message,
// and what a refusal advises; shared by models and by commands that read no weights. Thread rule:
// pure functions; a compiled template is immutable.
#ifndef TRINE_ENGINE_CHAT_TEMPLATES_H
#define TRINE_ENGINE_CHAT_TEMPLATES_H

#include "template/template.h"
#include "weights/generation_config.h"

struct chat_templates {
    struct template *chat, *tools; // owned; tools NULL: the same for requests with tools
    // Why one that is there does not compile or is blank, in words for clients too (no path). chat
    // NULL: the model cannot chat; else the one for tools is meant. ERR_OK: both compile.
    struct errmsg refusal;
};

// The model's own, or (choice not NULL) what --chat-template names: a file, or "chatml". path names
// the model in messages. What does not compile is no error but out->refusal. ERR_NOT_FOUND: it has
// none, or there is no such file; ERR_IO, ERR_TOO_LARGE (the file), ERR_NOMEM.
enum err chat_templates_load(const char *path, const struct generation_config *config,
                             const char *choice, struct chat_templates *out,
                             struct errmsg *msg) MUST_CHECK;
// The same where nothing goes without a chat template: a refusal is an error too.
enum err chat_templates_need(const char *path, const struct generation_config *config,
                             const char *choice, struct chat_templates *out,
                             struct errmsg *msg) MUST_CHECK;
void chat_templates_free(struct chat_templates *t);

#endif
