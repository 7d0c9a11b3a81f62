// See classify.h. A row of logits becomes scores as the model's problem_type has it: softmax
// over several labels, the sigmoid of each label's own logit, or the logits; raw_scores leaves
// them.
#include "service/api/classify.h"

#include "base/json_text.h"
#include "base/mem.h"
#include "service/api/scores.h"
#include "service/api/vectors.h"

#include <stdlib.h>
#include <string.h>

struct classify {
    enum model_scores scores;
    size_t top_k; // labels that TEI's answer shows, best first
    bool single, nested;
};

static const struct api_member shared[] = {
    API_READ("raw_scores"),
    API_READ("use_activation"),
    API_SAME("activation", "use_activation"),
    API_REFUSE("return_all_scores", "true", NULL),
    API_REFUSE("top_n", "", "'top_k' of POST /predict bounds the labels"),
    API_REFUSE("labels", "[]", "the labels are the model's own"),
    API_REFUSE("examples", "[]", "the labels are the model's own"),
    API_REFUSE("classifier_id", "", "'model' names the classifier"),
};
static const struct api_members shared_table = API_TABLE(shared, &api_members_jobs);

struct label_score {
    float score;
    size_t label;
};

static void to_scores(const struct classify *c, float *row, size_t n) {
    switch (c->scores) {
    case MODEL_SCORES_SIGMOID:
        for (size_t i = 0; i < n; i++)
            row[i] = api_sigmoid(row[i]);
        return;
    case MODEL_SCORES_SOFTMAX:
        api_softmax(row, n);
        return;
    case MODEL_SCORES_LOGITS:
        return;
    }
}

static const char *label_name(const struct model *m, size_t i) {
    return m->config.label_names && i < m->config.labels ? m->config.label_names[i] : "";
}

static void put_label(struct buf *out, const struct model *m, size_t i) {
    const char *name = label_name(m, i);
    json_quote(out, name, strlen(name));
}

static enum err render_ours(struct api_request *q, struct api_error *err) {
    (void)err;
    const struct classify *c = q->state;
    struct buf *out = &q->response.body;
    size_t n = q->model->dim;
    buf_puts(out, "{\"id\":");
    json_quote(out, q->http->id, strlen(q->http->id));
    buf_puts(out, ",\"object\":\"list\",\"model\":");
    json_quote(out, q->model->name, strlen(q->model->name));
    buf_puts(out, ",\"data\":[");
    for (size_t i = 0; i < q->job.seqs; i++) {
        float *row = q->job.out + i * n;
        to_scores(c, row, n);
        size_t best = 0;
        for (size_t k = 1; k < n; k++)
            best = row[k] > row[best] ? k : best;
        buf_printf(out, "%s{\"index\":%zu,\"label\":", i ? "," : "", i);
        put_label(out, q->model, best);
        buf_puts(out, ",\"probs\":");
        api_vector_print(out, row, n, API_VECTOR_FLOAT);
        buf_printf(out, ",\"num_classes\":%zu}", n);
    }
    buf_printf(out, "],\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", q->tokens,
               q->tokens);
    return ERR_OK;
}

static int by_score(const void *a, const void *b) {
    const struct label_score *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->label < y->label ? -1 : 1;
}

static enum err render_tei(struct api_request *q, struct api_error *err) {
    const struct classify *c = q->state;
    struct buf *out = &q->response.body;
    size_t n = q->model->dim;
    struct label_score *scores = mem_alloc(n, sizeof *scores);
    if (!scores)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the answer");
    bool nested = !c->single || c->nested;
    if (nested)
        buf_putc(out, '[');
    for (size_t i = 0; i < q->job.seqs; i++) {
        float *row = q->job.out + i * n;
        to_scores(c, row, n);
        for (size_t k = 0; k < n; k++)
            scores[k] = (struct label_score){row[k], k};
        qsort(scores, n, sizeof *scores, by_score);
        buf_puts(out, i ? ",[" : "[");
        for (size_t k = 0; k < n && k < c->top_k; k++) {
            buf_puts(out, k ? ",{\"score\":" : "{\"score\":");
            api_score_print(out, scores[k].score);
            buf_puts(out, ",\"label\":");
            put_label(out, q->model, scores[k].label);
            buf_putc(out, '}');
        }
        buf_putc(out, ']');
    }
    if (nested)
        buf_putc(out, ']');
    mem_free(scores);
    return ERR_OK;
}

// What the request wants done with the logits, else the model's own way.
static enum err read_scores(const struct api_request *q, struct classify *c,
                            struct api_error *err) {
    bool raw;
    enum err e = api_get_raw(q, &raw, err);
    if (!e)
        c->scores = raw ? MODEL_SCORES_LOGITS : q->model->config.scores;
    return e;
}

static enum err choose(struct api_request *q, const struct api_members *table,
                       struct classify **out, struct api_error *err) {
    static const enum model_task order[] = {TASK_CLASSIFY, TASK_RERANK};
    *out = q->state = mem_calloc(1, sizeof **out);
    if (!*out)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    enum err e = api_know(q, table, err);
    if (!e)
        e = api_choose_model(q, order, 2, err);
    return e ? e : read_scores(q, *out, err);
}

enum err api_classify(struct api_request *q, struct api_error *err) {
    static const struct api_member own[] = {
        API_READ("input"),
        API_REFUSE("top_k", "", "the answer has every label's score"),
    };
    static const struct api_members table = API_TABLE(own, &shared_table);
    const struct service_options *options = &q->service->options;
    struct classify *c;
    struct api_inputs inputs;
    struct api_text_rules rules = {0};
    struct api_texts s = {0};
    bool named;
    enum err e = choose(q, &table, &c, err);
    if (!e)
        e = api_read_texts(q, "input", &inputs, err);
    if (!e && inputs.has_ids)
        e = api_fail(err, ERR_INVALID, "token_ids_not_accepted", "input",
                     "'input' must be a text or a list of texts");
    if (!e)
        e = api_get_truncate(q, options->auto_truncate, &rules.truncate, &rules.side, err);
    rules.model = q->model;
    if (!e)
        e = api_choose_named_prompt(q, &rules.prompt, &named, err);
    if (!e)
        e = api_texts_encode(q->worker, &inputs, &rules, &s, err);
    if (!e)
        e = api_request_set_job(q, &s, false, render_ours, err);
    api_texts_free(&s);
    return e;
}

// ---- TEI

static enum err wrong_inputs(struct api_place at, struct api_error *err) {
    return api_fail(err, ERR_INVALID, "wrong_type", "inputs",
                    "'%s' must be a string, a pair of strings [string, string], or a batch of "
                    "them [[string], [string, string], ...]",
                    at.text);
}

// A string, or a list of one or two strings: the second may be empty, as a document may.
static enum err encode_item(struct api_request *q, const struct json_node *item, size_t at,
                            const struct api_text_rules *rules, struct api_texts *s,
                            struct api_error *err) {
    const struct json_node *first = json_is(item, JSON_ARRAY) ? item->child : item;
    const struct json_node *second = json_is(item, JSON_ARRAY) && first ? first->next : NULL;
    if (!first || !json_is(first, JSON_STRING) ||
        (second && (!json_is(second, JSON_STRING) || second->next)))
        return wrong_inputs(api_place("inputs", rules->alone, at), err);
    if (!*first->text)
        return api_fail(err, ERR_INVALID, "empty_input", "inputs", "'%s' %s an empty string",
                        api_place("inputs", rules->alone, at).text, second ? "begins with" : "is");
    struct text text = {first->text, strlen(first->text)}, pair = {0};
    if (second)
        pair = (struct text){second->text, strlen(second->text)};
    enum err e = api_texts_encode_one(q->worker, text, second ? &pair : NULL, at, rules, s, err);
    if (e == ERR_INVALID && !err->param)
        err->param = "inputs";
    return e;
}

static enum err encode_inputs(struct api_request *q, struct classify *c,
                              struct api_text_rules *rules, struct api_texts *s,
                              struct api_error *err) {
    const struct json_node *inputs = api_value(q, "inputs");
    if (!inputs)
        return api_fail(err, ERR_INVALID, "missing_field", "inputs", "'inputs' is missing");
    if (json_is(inputs, JSON_ARRAY) && !inputs->child)
        return api_fail(err, ERR_INVALID, "empty_input", "inputs", "'inputs' is an empty list");
    c->single = !json_is(inputs, JSON_ARRAY) || !json_is(inputs->child, JSON_ARRAY);
    rules->alone = c->single;
    if (c->single)
        return encode_item(q, inputs, 0, rules, s, err);
    size_t n = inputs->count, most = q->service->options.max_client_batch;
    if (n > most)
        return api_fail(err, ERR_INVALID, "too_many_inputs", "inputs",
                        "'inputs' holds %zu inputs, at most %zu are allowed in a request", n, most);
    enum err e = api_texts_reserve(s, n, err);
    size_t at = 0;
    for (const struct json_node *item = inputs->child; item && !e; item = item->next, at++)
        e = json_is(item, JSON_ARRAY) ? encode_item(q, item, at, rules, s, err)
                                      : wrong_inputs(api_place("inputs", false, at), err);
    return e;
}

// What huggingface_hub's text_classification sends: how many labels, and what is applied.
static enum err read_pipeline(const struct api_request *q, struct classify *c,
                              struct api_error *err) {
    static const struct {
        const char *name;
        enum model_scores scores;
    } functions[] = {
        {"softmax", MODEL_SCORES_SOFTMAX},
        {"sigmoid", MODEL_SCORES_SIGMOID},
        {"none", MODEL_SCORES_LOGITS},
    };
    const char *function = NULL;
    int64_t top_k;
    enum err e = api_get_int(q, "top_k", 1, INT32_MAX, INT32_MAX, &top_k, err);
    if (!e)
        e = api_get_string(q, "function_to_apply", NULL, &function, err);
    c->top_k = (size_t)top_k;
    if (e || !function)
        return e;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, function) == 0) {
            c->scores = functions[i].scores;
            return ERR_OK;
        }
    }
    return api_fail(err, ERR_INVALID, "invalid_value", "function_to_apply",
                    "'function_to_apply' must be \"softmax\", \"sigmoid\" or \"none\"");
}

enum err api_tei_predict(struct api_request *q, struct api_error *err) {
    static const struct api_member own[] = {
        API_READ("inputs"),    API_READ("parameters"),
        API_READ("top_k"),     API_READ("function_to_apply"),
        API_REFUSE_GENERATING,
    };
    static const struct api_members table = API_TABLE(own, &shared_table);
    struct classify *c;
    struct api_text_rules rules = {.field = "inputs"};
    struct api_texts s = {0};
    bool named;
    enum err e = choose(q, &table, &c, err);
    rules.model = q->model;
    if (!e)
        e = read_pipeline(q, c, err);
    if (!e)
        e = api_choose_named_prompt(q, &rules.prompt, &named, err);
    if (!e)
        e = api_get_truncate(q, true, &rules.truncate, &rules.side, err);
    if (!e)
        e = encode_inputs(q, c, &rules, &s, err);
    if (!e)
        e = api_request_set_job(q, &s, false, render_tei, err);
    api_texts_free(&s);
    return e;
}

enum err api_tei_predict_nested(struct api_request *q, struct api_error *err) {
    enum err e = api_tei_predict(q, err);
    if (!e)
        ((struct classify *)q->state)->nested = true;
    return e;
}
