// See api_embed.h.
#include "service/api_embed.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static enum err add_form(struct api_embed *e, const cJSON *word, const char *key,
                         struct api_error *err) {
    enum vector_form form;
    if (!cJSON_IsString(word))
        return api_fail(err, ERR_INVALID, "wrong_type", key,
                        "'%s' must be a string or a list of strings", key);
    if (!vector_form_parse(word->valuestring, &form))
        return api_fail(err, ERR_INVALID, "invalid_value", key,
                        "'%s' must be of float, base64, int8, uint8, binary and ubinary", key);
    for (size_t i = 0; i < e->form_count; i++)
        if (e->forms[i] == form)
            return ERR_OK;
    e->forms[e->form_count++] = form;
    return ERR_OK;
}

static enum err read_forms(const struct api_request *q, struct api_embed *e,
                           struct api_error *err) {
    static const char *const keys[] = {"embedding_types", "embedding_type"};
    const cJSON *value = NULL;
    const char *key = keys[0];
    for (size_t i = 0; i < 2 && !value; i++) {
        key = keys[i];
        value = json_get(q->body, key);
    }
    if (!value)
        return ERR_OK;
    if (!cJSON_IsArray(value))
        return add_form(e, value, key, err);
    e->by_type = true;
    enum err failed = ERR_OK;
    for (const cJSON *word = value->child; word && !failed; word = word->next)
        failed = add_form(e, word, key, err);
    if (!failed && e->form_count == 0)
        return api_fail(err, ERR_INVALID, "invalid_value", key, "'%s' is empty", key);
    return failed;
}

enum err api_embed_read(struct api_request *q, const char *dimensions_key, struct api_embed **out,
                        struct api_error *err) {
    struct api_embed *e = mem_calloc(1, sizeof *e);
    q->state = e;
    *out = e;
    if (!e)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    int64_t dimensions, most = (int64_t)q->model->dim;
    enum err failed = api_get_int(q, dimensions_key, 1, most, most, &dimensions, err);
    if (!failed)
        failed = api_get_bool(q, "normalize", true, &e->normalize, err);
    if (!failed)
        failed = read_forms(q, e, err);
    e->dimensions = (size_t)dimensions;
    return failed;
}

enum err api_embed_submit(struct api_request *q, const struct text_inputs *inputs, bool truncate,
                          api_render_fn *render, struct api_error *err) {
    struct text_rules rules = {.model = q->model};
    enum err e = api_get_truncate(q, truncate, &rules.truncate, &rules.side, err);
    if (!e)
        e = api_choose_prompt(q, &rules.prompt, err);
    struct sequences s = {0};
    if (!e)
        e = texts_encode(q->worker, inputs, &rules, &s, err);
    const struct api_embed *embed = q->state;
    // a slice is normalised after slicing, as sentence-transformers' truncate_dim does
    bool whole = embed->dimensions == q->model->dim;
    if (!e)
        e = api_request_set_job(q, &s, embed->normalize && whole, render, err);
    sequences_free(&s);
    return e;
}

static void normalize(float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    double norm = sqrt(sum);
    float scale = (float)(1.0 / (norm > 1e-12 ? norm : 1e-12));
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

void api_embed_put(struct api_request *q, size_t i, enum vector_form form) {
    const struct api_embed *e = q->state;
    const float *row = q->job.out + i * q->model->dim;
    if (e->dimensions == q->model->dim || !e->normalize) {
        render_vector(&q->response.body, row, e->dimensions, form);
        return;
    }
    // the row is only read, as another form of it may be asked for
    struct buf *scratch = front_worker_text(q->worker);
    buf_reset(scratch);
    if (!buf_reserve(scratch, e->dimensions * sizeof *row)) {
        q->response.body.failed = true;
        return;
    }
    float *slice = (float *)(void *)scratch->data;
    memcpy(slice, row, e->dimensions * sizeof *row);
    normalize(slice, e->dimensions);
    render_vector(&q->response.body, slice, e->dimensions, form);
}
