// Chat templates: a small interpreter of the Jinja that models' chat templates use, byte for byte
// as jinja2 (as transformers sets it up: trim_blocks, lstrip_blocks, loop controls, tojson,
// raise_exception, strftime_now, the `generation` tag) prints it.
// Role: text and JSON values in, text out. Knows no model, no tokens, no HTTP. What it does not
// know it refuses by name when compiled, never when rendering.
// Thread rule: a template is immutable after compile and may be rendered from any thread.
#ifndef TRINE_TEMPLATE_TEMPLATE_H
#define TRINE_TEMPLATE_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json_tree.h"

#include <stdint.h>

struct template;

// `name` begins the messages (a path). ERR_INVALID (syntax, with the line), ERR_UNSUPPORTED (a tag,
// filter, test, function or method that is not known, by name and line), ERR_TOO_LARGE, ERR_NOMEM.
enum err template_compile(const char *name, const char *text, size_t len, struct template **out,
                          struct errmsg *msg) MUST_CHECK;
void template_free(struct template *t); // NULL is fine

// A variable of the context: a JSON value, or a plain string, or a truth value.
struct template_variable {
    const char *name;
    const struct json_node *json; // used when not NULL
    const char *string;           // else this, when not NULL
    size_t string_len;
    bool truth; // else this
};

struct template_limits {
    uint64_t max_steps; // nodes evaluated; 0: 10,000,000
    size_t max_bytes;   // of the output and of any string made; 0: 64 MiB
    size_t max_depth;   // of macro calls and nested values; 0: 200
    int64_t now_us;     // for strftime_now, wall clock; 0: asks the clock
};

// Appends to out. ERR_INVALID: raise_exception's own message, an undefined variable used as jinja2
// would refuse it, a type error (with the line); ERR_TOO_LARGE: over a limit; ERR_NOMEM.
enum err template_render(const struct template *t, const struct template_variable *variables,
                         size_t n, const struct template_limits *limits, struct buf *out,
                         struct errmsg *msg) MUST_CHECK;

// Whether the source names this variable (such as "tools"), for choosing how to serve a request.
bool template_uses(const struct template *t, const char *variable);

#endif
