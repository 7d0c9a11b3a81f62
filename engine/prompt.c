// See prompt.h.
#include "engine/prompt.h"

#include "base/buf.h"
#include "engine/pair.h"

#include <string.h>

static const char *const query_names[] = {"query", "search_query", "retrieval.query"};
static const char *const document_names[] = {"document", "passage", "corpus", "search_document",
                                             "retrieval.passage"};
enum {
    QUERY_NAMES = sizeof query_names / sizeof *query_names,
    DOCUMENT_NAMES = sizeof document_names / sizeof *document_names,
};

static bool is_one_of(const char *name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

bool prompt_name_means_query(const char *name) { return is_one_of(name, query_names, QUERY_NAMES); }

bool prompt_name_means_document(const char *name) {
    return is_one_of(name, document_names, DOCUMENT_NAMES);
}

static const char *first_prompt(const struct model *m, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *text = st_config_prompt(&m->st, names[i]);
        if (text)
            return text;
    }
    return m->st.default_prompt;
}

const char *prompt_for_query(const struct model *m) {
    return first_prompt(m, query_names, QUERY_NAMES);
}

const char *prompt_for_document(const struct model *m) {
    return first_prompt(m, document_names, DOCUMENT_NAMES);
}

enum err prompt_by_name(const struct model *m, const char *option, const char *name,
                        const char **out, struct errmsg *msg) {
    struct buf names = {0};
    *out = st_config_prompt(&m->st, name);
    if (*out)
        return ERR_OK;
    for (size_t i = 0; i < m->st.prompt_count; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", m->st.prompts[i].name);
    enum err e = err_set(msg, ERR_INVALID, "%s %s: the model has %s%s", option, name,
                         names.len ? "these prompts: " : "no prompts", names.len ? names.data : "");
    buf_free(&names);
    return e;
}

enum err prompt_encode(const struct model *m, struct tokenizer_scratch *s, const char *prompt,
                       struct text text, const struct text *pair,
                       const struct tokenizer_options *options, struct buf *joined,
                       struct encoding *out, struct errmsg *msg) {
    if (prompt && *prompt) {
        buf_reset(joined);
        buf_puts(joined, prompt);
        buf_append(joined, text.bytes, text.len);
        if (joined->failed)
            return err_set(msg, ERR_NOMEM, "no memory for a text of %zu bytes", text.len);
        text = (struct text){joined->data, joined->len};
    }
    return tokenizer_encode(m->tokenizer, s, text, pair, options, out, msg);
}

enum err prompt_tokens_left_out(const struct model *m, struct tokenizer_scratch *s,
                                const char *prompt, struct encoding *work, size_t *tokens,
                                struct errmsg *msg) {
    *tokens = 0;
    if (!prompt || !*prompt || m->task != TASK_EMBED || m->pooling.includes_prompt)
        return ERR_OK;
    struct tokenizer_options options = {
        .add_special_tokens = true,
        .truncate = TRUNCATE_LONGEST_FIRST,
        .max_length = m->max_length,
    };
    struct text alone = {prompt, strlen(prompt)};
    enum err e = tokenizer_encode(m->tokenizer, s, alone, NULL, &options, work, msg);
    if (!e)
        *tokens = work->len && work->special[work->len - 1] ? work->len - 1 : work->len;
    return e;
}

size_t prompt_skip(size_t left_out, const struct encoding *e) {
    return left_out < e->len ? left_out : 0;
}

enum err prompt_check_query(const struct model *m, size_t query_tokens, struct errmsg *msg) {
    size_t taken = query_tokens + pair_special_count(m);
    if (taken + PROMPT_MIN_DOCUMENT <= m->max_length)
        return ERR_OK;
    return err_set(msg, ERR_INVALID,
                   "This model's maximum context length is %zu tokens, however you requested %zu "
                   "tokens ('query' has %zu, and is never cut; %d beside it are a document's at "
                   "least, the rest special ones). Shorten it",
                   m->max_length, taken + PROMPT_MIN_DOCUMENT, query_tokens, PROMPT_MIN_DOCUMENT);
}
