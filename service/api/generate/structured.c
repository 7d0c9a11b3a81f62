// See structured.h: the form of an answer and the tools, put together.
#include "service/api/generate/structured.h"

#include "base/mem.h"

#include <stdio.h>

enum err api_structured_read(struct api_generate *g, bool chat, struct api_error *err) {
    struct api_form form = {0};
    enum err e = api_form_read(g, &form, err);
    if (!e && chat)
        e = api_tools_read(g, &form, err);
    g->grammar_param = g->grammar ? "tools" : form.param;
    if (!e && !g->grammar)
        e = api_form_compile(&form, &g->warnings, &g->grammar, err);
    if (g->grammar)
        snprintf(g->grammar_of, sizeof g->grammar_of, "'%s'", g->grammar_param);
    api_form_free(&form);
    // where a grammar ends nothing but an end token may follow
    if (!e && g->grammar && g->ignore_eos)
        return api_fail(
            err, ERR_INVALID, "invalid_value", "ignore_eos",
            "'ignore_eos' cannot be combined with a grammar, a response_format or tools");
    return e;
}
