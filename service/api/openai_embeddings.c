// POST /v1/embeddings: OpenAI's dialect with Jina's extensions (embedding_type, task, truncate).
#include "base/json_text.h"
#include "service/api/embed.h"

#include <string.h>

static const struct api_member own[] = {API_READ("input"), API_READ("encoding_format")};
static const struct api_members table = API_TABLE(own, &api_members_embed);

static void put_embedding(struct api_request *q, size_t i, const struct api_embed *e) {
    struct buf *out = &q->response.body;
    buf_puts(out, i ? ",{\"object\":\"embedding" : "{\"object\":\"embedding");
    buf_puts(out, e->dict && e->form_count > 1 ? "_dict\",\"index\":" : "\",\"index\":");
    buf_printf(out, "%zu,\"embedding\":", i);
    if (e->form_count == 1) {
        api_embed_put(q, i, e->forms[0]);
    } else {
        for (size_t f = 0; f < e->form_count; f++) {
            buf_printf(out, "%c\"%s\":", f ? ',' : '{', api_vector_name(e->forms[f]));
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

// `encoding_format`: OpenAI's float or base64, or by Mixedbread's usage any form or a list of them.
// Voyage's base64 is that of `output_dtype`. The official OpenAI client asks for base64 by itself,
// so beside any other name for a vector's type that word says nothing.
static enum err read_format(const struct api_request *q, struct api_embed *e,
                            struct api_error *err) {
    static const char name[] = "encoding_format";
    const struct json_node *value = api_value(q, name);
    struct api_embed asked = {0};
    enum err failed = value ? api_embed_add_forms(&asked, value, name, err) : ERR_OK;
    if (failed)
        return failed;
    if (asked.form_count == 0)
        asked.forms[asked.form_count++] = API_VECTOR_FLOAT;
    bool base64 = asked.form_count == 1 && asked.forms[0] == API_VECTOR_BASE64;
    bool plain = base64 || (asked.form_count == 1 && asked.forms[0] == API_VECTOR_FLOAT);
    if (e->form_count == 0) {
        memcpy(e->forms, asked.forms, sizeof e->forms);
        e->form_count = asked.form_count;
        e->dict = true;
        return ERR_OK;
    }
    if (!plain)
        return api_fail(err, ERR_INVALID, "invalid_value", name,
                        "'%s' and 'embedding_type' both name a vector's type; send one", name);
    e->packed = base64 && api_value(q, "output_dtype");
    return ERR_OK;
}

// Voyage cuts what is too long unless told not to.
static bool is_voyage(const struct api_request *q) {
    return api_value(q, "output_dtype") || api_value(q, "output_dimension");
}

enum err api_openai_embeddings(struct api_request *q, struct api_error *err) {
    static const enum model_task order[] = {TASK_EMBED};
    const struct service_options *options = &q->service->options;
    struct api_inputs inputs;
    struct api_embed *e;
    enum err failed = api_know(q, &table, err);
    if (!failed)
        failed = api_choose_model(q, order, 1, err);
    if (!failed)
        failed = api_read_texts(q, "input", &inputs, err);
    if (failed)
        return failed;
    if (inputs.has_ids && !options->accept_token_ids)
        return api_fail(err, ERR_INVALID, "token_ids_not_accepted", "input",
                        "'input' holds token ids, which may be another tokenizer's; send texts "
                        "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)), or start "
                        "the service with --accept-token-ids for ids of its own model");
    failed = api_embed_read(q, &e, err);
    if (!failed)
        failed = read_format(q, e, err);
    bool truncate = options->auto_truncate || is_voyage(q);
    return failed ? failed : api_embed_submit(q, &inputs, truncate, 0, render, err);
}
