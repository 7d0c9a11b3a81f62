// POST /v1/embed and /v2/embed: Cohere's dialects. Source followed: the cohere client's
// embed_by_type_response and embed_floats_response types.
#include "base/json_text.h"
#include "service/api/embed.h"

#include <string.h>

enum { FLOATS_ONLY = 1, VERSION_2 = 2 }; // api_embed.extra

static void put_all(struct api_request *q, enum api_vector form) {
    buf_putc(&q->response.body, '[');
    for (size_t i = 0; i < q->job.seqs; i++) {
        if (i)
            buf_putc(&q->response.body, ',');
        api_embed_put(q, i, form);
    }
    buf_putc(&q->response.body, ']');
}

// `texts`, or v2's other form of input, `inputs`, whose objects have become strings.
static const char *texts_key(const struct api_request *q) {
    return !api_value(q, "texts") && api_value(q, "inputs") ? "inputs" : "texts";
}

static void put_texts(struct api_request *q) {
    struct buf *out = &q->response.body;
    const struct json_node *texts = api_value(q, texts_key(q));
    buf_puts(out, ",\"texts\":[");
    for (const struct json_node *t = texts ? texts->child : NULL; t; t = t->next) {
        if (t != texts->child)
            buf_putc(out, ',');
        json_quote(out, t->text, strlen(t->text));
    }
    buf_putc(out, ']');
}

static enum err render(struct api_request *q, struct api_error *err) {
    (void)err;
    const struct api_embed *e = q->state;
    struct buf *out = &q->response.body;
    bool floats = e->extra & FLOATS_ONLY;
    buf_puts(out, "{\"id\":");
    json_quote(out, q->http->id, strlen(q->http->id));
    buf_puts(out, ",\"embeddings\":");
    if (floats) {
        put_all(q, API_VECTOR_FLOAT);
    } else {
        for (size_t f = 0; f < e->form_count; f++) {
            buf_printf(out, "%c\"%s\":", f ? ',' : '{', api_vector_name(e->forms[f]));
            put_all(q, e->forms[f]);
        }
        buf_putc(out, '}');
    }
    put_texts(q);
    buf_printf(out,
               ",\"meta\":{\"api_version\":{\"version\":\"%d\"},\"billed_units\":"
               "{\"input_tokens\":%zu},\"tokens\":{\"input_tokens\":%zu}",
               e->extra & VERSION_2 ? 2 : 1, q->tokens, q->tokens);
    if (q->cut)
        buf_printf(out,
                   ",\"warnings\":[\"texts that were longer than the model takes and were "
                   "truncated: %zu\"]",
                   q->cut);
    buf_printf(out, "},\"response_type\":\"%s\"}",
               floats ? "embeddings_floats" : "embeddings_by_type");
    return ERR_OK;
}

static enum err prepare(struct api_request *q, size_t version, struct api_error *err) {
    static const enum model_task order[] = {TASK_EMBED};
    static const struct api_member own[] = {
        API_READ("texts"),
        API_READ("inputs"),
        API_REFUSE("images", "[]", "only text is embedded"),
        API_READ("max_tokens"),
    };
    static const struct api_members table = API_TABLE(own, &api_members_embed);
    struct api_inputs inputs;
    struct api_embed *embed;
    const char *key;
    int64_t max_tokens;
    enum err e = api_know(q, &table, err);
    if (!e)
        e = api_choose_model(q, order, 1, err);
    key = texts_key(q);
    if (!e && api_value(q, "texts") && api_value(q, "inputs"))
        e = api_fail(err, ERR_INVALID, "invalid_value", "inputs",
                     "'texts' and 'inputs' are both given; send one");
    if (!e)
        e = api_inputs_flatten(q->body.tree, api_value(q, key), key, &q->made, err);
    if (!e)
        e = api_inputs_read_list(api_value(q, key), key, q->service->options.max_client_batch,
                                 &inputs, err);
    if (!e)
        e = api_embed_read(q, &embed, err);
    if (!e)
        e = api_get_int(q, "max_tokens", 1, INT32_MAX, 0, &max_tokens, err);
    if (e)
        return e;
    embed->extra = version == 2 ? VERSION_2 : embed->form_count == 0 ? FLOATS_ONLY : 0;
    if (embed->form_count == 0)
        embed->forms[embed->form_count++] = API_VECTOR_FLOAT;
    q->keep_body = true; // the answer repeats the texts
    return api_embed_submit(q, &inputs, true, (size_t)max_tokens, render, err);
}

enum err api_cohere_embed_v1(struct api_request *q, struct api_error *err) {
    return prepare(q, 1, err);
}

enum err api_cohere_embed_v2(struct api_request *q, struct api_error *err) {
    return prepare(q, 2, err);
}
