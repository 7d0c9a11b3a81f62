// POST /v1/embed and /v2/embed: Cohere's dialects. Source followed: the cohere client's
// embed_by_type_response and embed_floats_response types.
#include "base/json.h"
#include "base/mem.h"
#include "service/api_embed.h"

#include <string.h>

enum { FLOATS_ONLY = 1, VERSION_2 = 2 }; // api_embed.extra

static void put_all(struct api_request *q, enum vector_form form) {
    buf_putc(&q->response.body, '[');
    for (size_t i = 0; i < q->job.seqs; i++) {
        if (i)
            buf_putc(&q->response.body, ',');
        api_embed_put(q, i, form);
    }
    buf_putc(&q->response.body, ']');
}

static void put_texts(struct api_request *q) {
    struct buf *out = &q->response.body;
    const cJSON *texts = json_get(q->body, "texts");
    buf_puts(out, ",\"texts\":[");
    for (const cJSON *t = texts ? texts->child : NULL; t; t = t->next) {
        if (t != texts->child)
            buf_putc(out, ',');
        json_quote(out, t->valuestring, strlen(t->valuestring));
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
        put_all(q, VECTOR_FLOAT);
    } else {
        for (size_t f = 0; f < e->form_count; f++) {
            buf_printf(out, "%c\"%s\":", f ? ',' : '{', vector_form_name(e->forms[f]));
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
                   ",\"warnings\":[\"%zu texts were longer than the model takes and were "
                   "truncated\"]",
                   q->cut);
    buf_printf(out, "},\"response_type\":\"%s\"}",
               floats ? "embeddings_floats" : "embeddings_by_type");
    return ERR_OK;
}

// v2's other form of input: inputs[].content[] of parts, of which only text is known here. The
// parts of an input are joined by a line's end into what becomes `texts`.
static enum err texts_of_inputs(struct api_request *q, cJSON **out, struct api_error *err) {
    const cJSON *inputs = json_get(q->body, "inputs");
    cJSON *texts = cJSON_AddArrayToObject(q->body_owned, "texts");
    if (!texts)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the texts");
    *out = texts;
    for (const cJSON *input = inputs && cJSON_IsArray(inputs) ? inputs->child : NULL; input;
         input = input->next) {
        const cJSON *content = cJSON_IsObject(input) ? json_get(input, "content") : NULL;
        buf_reset(&q->made);
        for (const cJSON *p = content && cJSON_IsArray(content) ? content->child : NULL; p;
             p = p->next) {
            const cJSON *text = cJSON_IsObject(p) ? json_get(p, "text") : NULL;
            if (!text || !cJSON_IsString(text))
                return api_fail(err, ERR_UNSUPPORTED, "unsupported", "inputs",
                                "'inputs' holds content that is not text; only text is embedded");
            if (q->made.len)
                buf_putc(&q->made, '\n');
            buf_puts(&q->made, text->valuestring);
        }
        cJSON *joined = q->made.failed ? NULL : cJSON_CreateString(q->made.len ? q->made.data : "");
        if (!joined)
            return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the texts");
        (void)cJSON_AddItemToArray(texts, joined); // fails on NULL only
    }
    return ERR_OK;
}

static enum err prepare(struct api_request *q, size_t version, struct api_error *err) {
    static const enum task order[] = {TASK_EMBED};
    static const char *const known[] = {
        "texts",       "model",    "input_type",      "inputs",
        "normalize",   "truncate", "embedding_types", "output_dimension",
        "prompt_name", "priority", "images",          "truncation_direction",
        "dimensions",
    };
    api_count_unknown(q, known, sizeof known / sizeof *known);
    enum err e = api_choose_model(q, order, 1, err);
    if (e)
        return e;
    const cJSON *images = json_get(q->body, "images");
    if (images && (!cJSON_IsArray(images) || images->child))
        return api_fail(err, ERR_UNSUPPORTED, "unsupported", "images",
                        "'images' are not supported; only text is embedded");
    if (!json_get(q->body, "texts") && json_get(q->body, "inputs")) {
        cJSON *texts;
        cJSON_DeleteItemFromObjectCaseSensitive(q->body_owned, "texts"); // it may be there as null
        e = texts_of_inputs(q, &texts, err);
        if (e)
            return e;
    }
    struct text_inputs inputs;
    e = text_list_read(json_get(q->body, "texts"), "texts", q->service->options.max_client_batch,
                       false, &inputs, err);
    // Cohere's word, or the one of every other embed route
    bool cohere = json_get(q->body, "output_dimension") != NULL;
    struct api_embed *embed;
    if (!e)
        e = api_embed_read(q, cohere ? "output_dimension" : "dimensions", &embed, err);
    if (e)
        return e;
    embed->extra = version == 2 ? VERSION_2 : embed->form_count == 0 ? FLOATS_ONLY : 0;
    if (embed->form_count == 0)
        embed->forms[embed->form_count++] = VECTOR_FLOAT;
    q->keep_body = true; // the answer repeats the texts
    return api_embed_submit(q, &inputs, true, render, err);
}

enum err api_cohere_embed_v1(struct api_request *q, struct api_error *err) {
    return prepare(q, 1, err);
}

enum err api_cohere_embed_v2(struct api_request *q, struct api_error *err) {
    return prepare(q, 2, err);
}
