// How a chat template has a model call functions. Role: asks the template itself, once, when a
// model is loaded: conversations of ours are rendered with and without a tool and a call in them,
// and what the template writes around these is looked at. So no word of a client's decides.
// Thread rule: pure functions of their arguments.
#ifndef TRINE_ENGINE_TOOL_FORM_H
#define TRINE_ENGINE_TOOL_FORM_H

#include "template/template.h"
#include "weights/generation_config.h"

enum tool_form_kind {
    TOOL_FORM_NONE,  // tools are not shown to the model
    TOOL_FORM_JSON,  // <tool_call>{"name": "f", "arguments": {...}}</tool_call>: tool_calls.h
    TOOL_FORM_OTHER, // another one, or none that can be made out
};

struct tool_form {
    enum tool_form_kind kind;
    char
        example[96]; // OTHER: how a call begins in it, in one line; "" when the template shows none
};

// t: the template for requests with tools. ERR_NOMEM; what a template refuses is no error here.
enum err tool_form_find(const struct template *t, const struct generation_config *c,
                        struct tool_form *out, struct errmsg *msg) MUST_CHECK;

// In words, for the start, `trine inspect` and refusals: "does not show tools", ...
void tool_form_describe(const struct tool_form *f, struct buf *out);

#endif
