// What several commands read beside weights: a model's chat templates, and small input files.
// Role: shared by inspect, chat --render, generate and cli_answer.h. Thread rule: main thread.
#ifndef TRINE_SERVICE_CLI_PARTS_H
#define TRINE_SERVICE_CLI_PARTS_H

#include "base/buf.h"
#include "template/template.h"
#include "weights/generation_config.h"

struct cli_templates {
    struct template *chat, *tools; // tools NULL: the same
};

// The model's own, or the choice of --chat-template (NULL: none was made). ERR_NOT_FOUND: it has
// none; ERR_INVALID, ERR_UNSUPPORTED: what does not compile, and why.
enum err cli_load_templates(const char *path, const struct generation_config *config,
                            const char *choice, struct cli_templates *out,
                            struct errmsg *msg) MUST_CHECK;
void cli_free_templates(struct cli_templates *t);

// A text of at most max bytes, "-" being stdin, appended to out; it must be UTF-8 without NUL.
// ERR_CANCELLED when stdin is waited for and cli_interrupted.
enum err cli_read_text(const char *path, size_t max, struct buf *out,
                       struct errmsg *msg) MUST_CHECK;

#endif
