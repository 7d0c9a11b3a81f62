// See embed.h.
#include "service/api/embed.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static const struct api_member embed[] = {
    API_READ("normalize"),
    API_READ("dimensions"),
    API_READ("embedding_type"),
    API_READ("prompt"),
    API_READ("input_type"),
    API_READ("task"),
    API_SAME("task_type", "input_type"),
    API_SAME("text_type", "input_type"),
    API_SAME("normalized", "normalize"),
    API_SAME("normalize_embeddings", "normalize"),
    API_SAME("l2_normalize", "normalize"),
    API_SAME("normalise", "normalize"),
    API_SAME("output_dimension", "dimensions"),
    API_SAME("output_dimensionality", "dimensions"),
    API_SAME("dimension", "dimensions"),
    API_SAME("truncate_dim", "dimensions"),
    API_SAME("embedding_types", "embedding_type"),
    API_SAME("output_dtype", "embedding_type"),
    API_SAME("encoding_type", "embedding_type"),
};
const struct api_members api_members_embed = API_TABLE(embed, &api_members_jobs);

static enum err add_form(struct api_embed *e, const struct json_node *word, const char *key,
                         struct api_error *err) {
    enum api_vector form;
    if (!json_is(word, JSON_STRING))
        return api_fail(err, ERR_INVALID, "wrong_type", key,
                        "'%s' must be a string or a list of strings", key);
    if (!api_vector_parse(word->text, &form))
        return api_fail(err, ERR_INVALID, "invalid_value", key,
                        "'%s' must be of float, base64, int8, uint8, binary and ubinary", key);
    for (size_t i = 0; i < e->form_count; i++)
        if (e->forms[i] == form)
            return ERR_OK;
    e->forms[e->form_count++] = form;
    return ERR_OK;
}

enum err api_embed_add_forms(struct api_embed *e, const struct json_node *value, const char *key,
                             struct api_error *err) {
    if (!json_is(value, JSON_ARRAY))
        return add_form(e, value, key, err);
    enum err failed = ERR_OK;
    for (const struct json_node *word = value->child; word && !failed; word = word->next)
        failed = add_form(e, word, key, err);
    if (!failed && e->form_count == 0)
        return api_fail(err, ERR_INVALID, "invalid_value", key, "'%s' is empty", key);
    return failed;
}

static enum err read_forms(const struct api_request *q, struct api_embed *e,
                           struct api_error *err) {
    const char *key;
    const struct json_node *value = api_sent(q, "embedding_type", &key);
    e->by_type = json_is(value, JSON_ARRAY);
    return value ? api_embed_add_forms(e, value, key, err) : ERR_OK;
}

enum err api_embed_read(struct api_request *q, struct api_embed **out, struct api_error *err) {
    struct api_embed *e = mem_calloc(1, sizeof *e);
    q->state = e;
    *out = e;
    if (!e)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    int64_t dimensions, most = (int64_t)q->model->dim;
    enum err failed = api_get_int(q, "dimensions", 1, most, most, &dimensions, err);
    if (!failed)
        failed = api_get_bool(q, "normalize", true, &e->normalize, err);
    if (!failed)
        failed = read_forms(q, e, err);
    e->dimensions = (size_t)dimensions;
    return failed;
}

// The model's own prompt that the request names, or the request's own words.
static enum err choose_prompt(const struct api_request *q, const char **prompt,
                              struct api_error *err) {
    const char *words = NULL;
    enum err e = api_choose_prompt(q, prompt, err);
    if (!e)
        e = api_get_string(q, "prompt", NULL, &words, err);
    if (e || !words)
        return e;
    if (api_sent(q, "prompt_name", NULL))
        return api_fail(err, ERR_INVALID, "invalid_value", "prompt",
                        "'prompt' and 'prompt_name' are both given; send one");
    *prompt = words;
    return ERR_OK;
}

enum err api_embed_submit(struct api_request *q, const struct api_inputs *inputs, bool truncate,
                          size_t max_tokens, api_render_fn *render, struct api_error *err) {
    struct api_text_rules rules = {.model = q->model};
    enum err e = api_get_truncate(q, truncate, &rules.truncate, &rules.side, err);
    if (max_tokens)
        rules.max_length = max_tokens + tokenizer_special_count(q->model->tokenizer, false);
    if (!e)
        e = choose_prompt(q, &rules.prompt, err);
    struct api_texts s = {0};
    if (!e)
        e = api_texts_encode(q->worker, inputs, &rules, &s, err);
    const struct api_embed *embed_state = q->state;
    // a slice is normalised after slicing, as sentence-transformers' truncate_dim does
    bool whole = embed_state->dimensions == q->model->dim;
    if (!e)
        e = api_request_set_job(q, &s, embed_state->normalize && whole, render, err);
    api_texts_free(&s);
    return e;
}

static void put_form(struct buf *out, const float *x, size_t n, const struct api_embed *e,
                     enum api_vector form) {
    if (e->packed)
        api_vector_print_packed(out, x, n, form);
    else
        api_vector_print(out, x, n, form);
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

void api_embed_put(struct api_request *q, size_t i, enum api_vector form) {
    const struct api_embed *e = q->state;
    const float *row = q->job.out + i * q->model->dim;
    if (e->dimensions == q->model->dim || !e->normalize) {
        put_form(&q->response.body, row, e->dimensions, e, form);
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
    put_form(&q->response.body, slice, e->dimensions, e, form);
}
