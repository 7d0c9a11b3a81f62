// What an answer's text must follow, read from a body. Role: the parts of structured.c, which
// puts them together into one grammar: the form of an answer (form.c) and the tools that may be
// called in its place (tools.c). Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_GENERATE_STRUCTURED_H
#define TRINE_SERVICE_API_GENERATE_STRUCTURED_H

#include "service/api/generate/generate.h"

// The form of an answer. At most one of schema, object and gbnf is set; none: free text.
struct api_form {
    const char *param;              // which parameter says so; NULL: none
    const struct json_node *schema; // borrowed from the body, or from `tree`
    bool object;                    // any JSON object
    const char *gbnf;               // borrowed from the body, or from `made`
    size_t gbnf_len;
    struct json_tree *tree; // owned
    struct buf made;        // owned
};

// *f begins as zeros and is freed in any case.
enum err api_form_read(const struct api_generate *g, struct api_form *f,
                       struct api_error *err) MUST_CHECK;
// *out stays NULL for free text.
enum err api_form_compile(const struct api_form *f, struct buf *warnings, struct grammar **out,
                          struct api_error *err) MUST_CHECK;
void api_form_free(struct api_form *f);

// Reads tools, tool_choice and parallel_tool_calls; where calls may come, sets g->with_tools and
// compiles g->grammar, in which an answer of the form *f may stand in a call's place.
enum err api_tools_read(struct api_generate *g, const struct api_form *f,
                        struct api_error *err) MUST_CHECK;

#endif
