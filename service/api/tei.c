// See tei.h: embed, similarity, and the aliases that look at a body to know what it asks.
#include "service/api/tei.h"

#include "base/json_text.h"
#include "service/api/classify.h"
#include "service/api/embed.h"
#include "service/api/rerank.h"
#include "service/api/scores.h"

#include <string.h>

static const struct api_member embed_own[] = {
    API_READ("inputs"),
    API_READ("parameters"),
    API_SAME("encoding_format", "embedding_type"),
    API_REFUSE_GENERATING,
};
static const struct api_members embed_table = API_TABLE(embed_own, &api_members_embed);

static const struct api_member similarity_own[] = {
    API_READ("inputs"),
    API_READ("parameters"),
    API_READ("input_type"),
    API_READ("task"),
};
static const struct api_members similarity_table = API_TABLE(similarity_own, &api_members_jobs);

static enum err render_embed(struct api_request *q, struct api_error *err) {
    (void)err;
    const struct api_embed *e = q->state;
    struct buf *out = &q->response.body;
    buf_putc(out, '[');
    for (size_t i = 0; i < q->job.seqs; i++) {
        if (i)
            buf_putc(out, ',');
        api_embed_put(q, i, e->forms[0]);
    }
    buf_putc(out, ']');
    return ERR_OK;
}

enum err api_tei_embed(struct api_request *q, struct api_error *err) {
    static const enum model_task order[] = {TASK_EMBED};
    struct api_inputs inputs;
    struct api_embed *embed;
    enum err e = api_know(q, &embed_table, err);
    if (!e)
        e = api_choose_model(q, order, 1, err);
    if (!e)
        e = api_read_texts(q, "inputs", &inputs, err);
    if (!e)
        e = api_embed_read(q, &embed, err);
    if (e)
        return e;
    if (embed->form_count > 1)
        return api_fail(err, ERR_INVALID, "invalid_value", "embedding_types",
                        "this route writes vectors in one type only");
    if (embed->form_count == 0)
        embed->forms[embed->form_count++] = API_VECTOR_FLOAT;
    return api_embed_submit(q, &inputs, true, 0, render_embed, err);
}

enum err api_tei_embed_sparse(struct api_request *q, struct api_error *err) {
    (void)q;
    err->status = 424;
    return api_fail(err, ERR_UNSUPPORTED, "unsupported", NULL,
                    "no loaded model has a SPLADE head, which sparse vectors come from");
}

// ---- similarity

static enum err render_similarity(struct api_request *q, struct api_error *err) {
    (void)err;
    size_t dim = q->model->dim;
    struct buf *out = &q->response.body;
    const float *a = q->job.out; // row 0 is the source's; all rows are normalised
    for (size_t i = 1; i < q->job.seqs; i++) {
        buf_putc(out, i == 1 ? '[' : ',');
        api_score_print(out, api_dot(a, a + i * dim, dim));
    }
    buf_putc(out, ']');
    return ERR_OK;
}

static enum err read_source(const struct json_node *inputs, struct text *out,
                            struct api_error *err) {
    const struct json_node *source =
        json_is(inputs, JSON_OBJECT) ? json_node_value(inputs, "source_sentence") : NULL;
    if (!source || !json_is(source, JSON_STRING))
        return api_fail(err, ERR_INVALID, "wrong_type", "inputs",
                        "'inputs' must be an object with a string 'source_sentence' and a list "
                        "'sentences'");
    if (!*source->text)
        return api_fail(err, ERR_INVALID, "empty_input", "inputs", "'source_sentence' is empty");
    *out = (struct text){source->text, strlen(source->text)};
    return ERR_OK;
}

enum err api_tei_similarity(struct api_request *q, struct api_error *err) {
    static const enum model_task order[] = {TASK_EMBED};
    const struct json_node *inputs = api_value(q, "inputs");
    struct text source = {0};
    struct api_inputs sentences = {0};
    enum err e = api_know(q, &similarity_table, err);
    if (!e)
        e = api_choose_model(q, order, 1, err);
    if (!e)
        e = read_source(inputs, &source, err);
    if (!e)
        e = api_inputs_read_list(json_node_value(inputs, "sentences"), "sentences",
                                 q->service->options.max_client_batch, &sentences, err);
    struct api_text_rules rules = {
        .model = q->model,
        .field = "source_sentence",
        .alone = true,
    };
    if (!e)
        e = api_get_truncate(q, true, &rules.truncate, &rules.side, err);
    if (!e)
        e = api_choose_prompt(q, &rules.prompt, err);
    struct api_texts s = {0};
    if (!e)
        e = api_texts_reserve(&s, sentences.count + 1, err);
    if (!e)
        e = api_texts_encode_one(q->worker, source, NULL, 0, &rules, &s, err);
    if (!e)
        e = api_texts_encode(q->worker, &sentences, &rules, &s, err);
    if (e == ERR_INVALID && !err->param)
        err->param = "inputs";
    if (!e)
        e = api_request_set_job(q, &s, true, render_similarity, err);
    api_texts_free(&s);
    return e;
}

// ---- aliases

static bool has_task(const struct service *s, enum model_task task) {
    struct model *m = service_find_model(s, NULL, task);
    bool has = m != NULL;
    model_release(m);
    return has;
}

// The model that such a body can only be for, held; NULL: another's.
static struct model *model_that_writes(const struct service *s, const struct model *named) {
    if (named)
        return named->task == TASK_GENERATE ? model_hold(named) : NULL;
    for (enum model_task t = 0; t < TASK_COUNT; t++)
        if (t != TASK_GENERATE && has_task(s, t))
            return NULL;
    return service_find_model(s, NULL, TASK_GENERATE);
}

// Which of TEI's routes a body is for: its shape decides, then the model that it names, then what
// is loaded (vectors first, as most are here for them).
enum err api_tei_any(struct api_request *q, struct api_error *err) {
    const struct json_node *inputs = api_value(q, "inputs"), *name = api_value(q, "model");
    if (api_value(q, "texts"))
        return api_rerank_tei(q, err);
    if (json_is(inputs, JSON_OBJECT))
        return api_tei_similarity(q, err);
    const char *asked =
        service_model_name(q->service, json_is(name, JSON_STRING) ? name->text : NULL);
    struct model *named = asked ? service_find_model(q->service, asked, TASK_EMBED) : NULL;
    struct model *writes = model_that_writes(q->service, named);
    enum err e = ERR_OK;
    if (writes)
        e = api_fail(err, ERR_UNSUPPORTED, "wrong_task", "model",
                     "the model '%s' generates, and TGI's generate is not served on this path: "
                     "POST /v1/completions or /v1/chat/completions",
                     writes->name);
    bool embeds = named ? named->task == TASK_EMBED : has_task(q->service, TASK_EMBED);
    model_release(writes);
    model_release(named);
    if (e)
        return e;
    if (embeds)
        return api_tei_embed(q, err);
    return api_value(q, "parameters") ? api_tei_predict_nested(q, err) : api_tei_predict(q, err);
}
