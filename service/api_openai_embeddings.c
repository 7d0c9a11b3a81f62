// POST /v1/embeddings: OpenAI's dialect with Jina's extensions (embedding_type, task, truncate).
#include "base/json.h"
#include "service/api_embed.h"

#include <string.h>

static const char *const known[] = {
    "input",     "model",           "encoding_format", "dimensions", "user",
    "normalize", "embedding_types", "embedding_type",  "truncate",   "truncation_direction",
    "task",      "prompt_name",     "input_type",      "priority",
};

static void put_embedding(struct api_request *q, size_t i, const struct api_embed *e) {
    struct buf *out = &q->response.body;
    buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
    if (e->form_count == 1) {
        api_embed_put(q, i, e->forms[0]);
    } else {
        for (size_t f = 0; f < e->form_count; f++) {
            buf_printf(out, "%c\"%s\":", f ? ',' : '{', vector_form_name(e->forms[f]));
            api_embed_put(q, i, e->forms[f]);
        }
        buf_putc(out, '}');
    }
    buf_putc(out, '}');
}

static enum err render(struct api_request *q, struct api_error *err) {
    (void)err;
    const struct api_embed *e = q->state;
    struct buf *out = &q->response.body;
    buf_puts(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < q->job.seqs; i++)
        put_embedding(q, i, e);
    buf_puts(out, "],\"model\":");
    json_quote(out, q->model->name, strlen(q->model->name));
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", q->tokens,
               q->tokens);
    return ERR_OK;
}

static enum err read_format(const struct api_request *q, struct api_embed *e,
                            struct api_error *err) {
    const char *format;
    enum err failed = api_get_string(q, "encoding_format", "float", &format, err);
    if (failed)
        return failed;
    bool base64 = strcmp(format, "base64") == 0;
    if (!base64 && strcmp(format, "float") != 0)
        return api_fail(err, ERR_INVALID, "invalid_value", "encoding_format",
                        "'encoding_format' must be \"float\" or \"base64\"");
    if (e->form_count == 0)
        e->forms[e->form_count++] = base64 ? VECTOR_BASE64 : VECTOR_FLOAT;
    return ERR_OK;
}

enum err api_openai_embeddings(struct api_request *q, struct api_error *err) {
    static const enum task order[] = {TASK_EMBED};
    api_count_unknown(q, known, sizeof known / sizeof *known);
    const struct service_options *options = &q->service->options;
    struct text_inputs inputs;
    struct api_embed *e;
    enum err failed = api_choose_model(q, order, 1, err);
    if (!failed)
        failed = text_inputs_read(json_get(q->body, "input"), "input", options->max_client_batch,
                                  &inputs, err);
    if (failed)
        return failed;
    if (inputs.has_ids && !options->accept_token_ids)
        return api_fail(err, ERR_INVALID, "token_ids_not_accepted", "input",
                        "'input' holds token ids, which may be another tokenizer's; send texts "
                        "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)), or start "
                        "the service with --accept-token-ids for ids of its own model");
    failed = api_embed_read(q, "dimensions", &e, err);
    if (!failed)
        failed = read_format(q, e, err);
    return failed ? failed : api_embed_submit(q, &inputs, options->auto_truncate, render, err);
}
