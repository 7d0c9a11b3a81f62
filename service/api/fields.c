// See request.h: what every dialect reads from a body in the same way.
#include "service/api/request.h"

#include "engine/prompt.h"
#include "service/metrics.h"

#include <stdio.h>
#include <string.h>

enum err api_know(struct api_request *q, const struct api_members *table, struct api_error *err) {
    size_t unused;
    enum err e = api_body_check(&q->body, table, &unused, err);
    if (!e && unused)
        metrics_count_unknown_fields(q->service->metrics, api_route_index(q->route), unused);
    return e;
}

static enum err named(enum err e, const char *key, struct api_error *err) {
    if (e) {
        err->slug = "invalid_value";
        err->param = key;
    }
    return e;
}

static bool is_bool_word(const struct json_node *item) {
    return json_is_word(item, "true") || json_is_word(item, "false");
}

enum err api_get_bool(const struct api_request *q, const char *key, bool fallback, bool *out,
                      struct api_error *err) {
    const struct json_node *item = api_sent(q, key, &key);
    if (q->body.members && is_bool_word(item)) {
        *out = json_is_word(item, "true");
        return ERR_OK;
    }
    return named(json_node_bool(item, key, fallback, out, &err->msg), key, err);
}

enum err api_get_int(const struct api_request *q, const char *key, int64_t min, int64_t max,
                     int64_t fallback, int64_t *out, struct api_error *err) {
    const struct json_node *item = api_sent(q, key, &key);
    return named(json_node_int(item, key, min, max, fallback, out, &err->msg), key, err);
}

enum err api_get_double(const struct api_request *q, const char *key, double min, double max,
                        double fallback, double *out, struct api_error *err) {
    const struct json_node *item = api_sent(q, key, &key);
    return named(json_node_double(item, key, min, max, fallback, out, &err->msg), key, err);
}

enum err api_get_string(const struct api_request *q, const char *key, const char *fallback,
                        const char **out, struct api_error *err) {
    const struct json_node *item = api_sent(q, key, &key);
    return named(json_node_string(item, key, fallback, out, &err->msg), key, err);
}

static enum err get_side(const struct api_request *q, enum truncate_side *out,
                         struct api_error *err) {
    const char *side;
    enum err e = api_get_string(q, "truncation_direction", NULL, &side, err);
    *out = tokenizer_side(q->model->tokenizer);
    if (e || !side)
        return e;
    bool left = strcmp(side, "left") == 0 || strcmp(side, "Left") == 0;
    if (!left && strcmp(side, "right") != 0 && strcmp(side, "Right") != 0)
        return api_fail(err, ERR_INVALID, "invalid_value", "truncation_direction",
                        "'truncation_direction' must be \"left\" or \"right\"");
    *out = left ? TRUNCATE_LEFT : TRUNCATE_RIGHT;
    return ERR_OK;
}

enum err api_get_truncate(const struct api_request *q, bool fallback, bool *truncate,
                          enum truncate_side *side, struct api_error *err) {
    enum err e = get_side(q, side, err);
    const char *name;
    const struct json_node *value = api_sent(q, "truncate", &name);
    *truncate = fallback;
    if (e || !value)
        return e;
    if (json_is_bool(value) || is_bool_word(value))
        return api_get_bool(q, "truncate", fallback, truncate, err);
    const char *word = json_is(value, JSON_STRING) ? value->text : "";
    bool start = strcmp(word, "START") == 0, end = strcmp(word, "END") == 0;
    enum truncate_side told = *side;
    *truncate = strcmp(word, "NONE") != 0;
    if (start || end)
        *side = start ? TRUNCATE_LEFT : TRUNCATE_RIGHT;
    if ((start || end) && told != *side && api_sent(q, "truncation_direction", NULL))
        return api_fail(err, ERR_INVALID, "invalid_value", name,
                        "'%s' and 'truncation_direction' name two sides; send one", name);
    if (*truncate && !start && !end)
        return api_fail(err, ERR_INVALID, "invalid_value", name,
                        "'%s' must be true, false, \"NONE\", \"START\" or \"END\"", name);
    return ERR_OK;
}

enum err api_read_texts(struct api_request *q, const char *key, struct api_inputs *out,
                        struct api_error *err) {
    const struct json_node *value = api_value(q, key);
    enum err e = api_inputs_flatten(q->body.tree, value, key, &q->made, err);
    return e ? e : api_inputs_read(value, key, q->service->options.max_client_batch, out, err);
}

// m, held, is the request's now, which lets go of it when it is freed; and of the one before it.
static void set_model(struct api_request *q, struct model *m) {
    model_release(q->model);
    q->model = m;
}

enum err api_choose_model(struct api_request *q, const enum model_task *order, size_t n,
                          struct api_error *err) {
    const char *name;
    enum err e = api_get_string(q, "model", NULL, &name, err);
    if (e)
        return e;
    name = service_model_name(q->service, name);
    set_model(q, NULL);
    if (!name) {
        for (size_t i = 0; i < n && !q->model; i++)
            set_model(q, service_find_model(q->service, NULL, order[i]));
        return q->model ? ERR_OK
                        : api_fail(err, ERR_NOT_FOUND, "model_not_found", "model",
                                   "no model that can %s is loaded", model_task_name(order[0]));
    }
    set_model(q, service_find_model(q->service, name, TASK_EMBED));
    if (!q->model)
        return api_fail(err, ERR_NOT_FOUND, "model_not_found", "model",
                        "the model that 'model' names is not loaded; GET /v1/models lists those "
                        "that are");
    for (size_t i = 0; i < n; i++)
        if (q->model->task == order[i])
            return ERR_OK;
    return api_fail(err, ERR_INVALID, "wrong_task", "model",
                    "the model '%s' is for '%s'; this route needs one for '%s'", q->model->name,
                    model_task_name(q->model->task), model_task_name(order[0]));
}

static enum err unknown_prompt(const struct model *m, const char *key, struct api_error *err) {
    char names[256] = "none";
    size_t len = 0;
    for (size_t i = 0; i < m->st.prompt_count; i++) {
        int more = snprintf(names + len, sizeof names - len, "%s'%s'", i ? ", " : "",
                            m->st.prompts[i].name);
        if (more > 0 && (size_t)more < sizeof names - len)
            len += (size_t)more;
    }
    return api_fail(err, ERR_INVALID, "unknown_prompt", key,
                    "'%s' names no prompt of the model '%s'; it has: %s", key, m->name, names);
}

enum err api_choose_named_prompt(const struct api_request *q, const char **prompt, bool *named,
                                 struct api_error *err) {
    const struct model *m = q->model;
    const char *name;
    enum err e = api_get_string(q, "prompt_name", NULL, &name, err);
    *named = !e && name;
    *prompt = !e && name ? st_config_prompt(&m->st, name) : m->st.default_prompt;
    return *named && !*prompt ? unknown_prompt(m, "prompt_name", err) : e;
}

// The prompt for a purpose in Cohere's and Jina's words; some of those ask for none of their own.
static enum err prompt_for_purpose(const struct model *m, const char *key, const char *name,
                                   const char **prompt, struct api_error *err) {
    static const char *const other[] = {"classification", "clustering", "separation",
                                        "text-matching"};
    const char *own = st_config_prompt(&m->st, name);
    if (own) {
        *prompt = own;
        return ERR_OK;
    }
    if (prompt_name_means_query(name)) {
        *prompt = prompt_for_query(m);
        return ERR_OK;
    }
    if (prompt_name_means_document(name)) {
        *prompt = prompt_for_document(m);
        return ERR_OK;
    }
    *prompt = m->st.default_prompt;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (strcmp(name, other[i]) == 0)
            return ERR_OK;
    return unknown_prompt(m, key, err);
}

static bool same_prompt(const char *a, const char *b) {
    return strcmp(a ? a : "", b ? b : "") == 0;
}

enum err api_choose_prompt(const struct api_request *q, const char **prompt,
                           struct api_error *err) {
    static const char *const keys[] = {"input_type", "task"};
    const char *by = "prompt_name";
    bool named;
    enum err e = api_choose_named_prompt(q, prompt, &named, err);
    for (size_t i = 0; i < 2 && !e; i++) {
        const char *name, *asked;
        e = api_get_string(q, keys[i], NULL, &name, err);
        if (e || !name)
            continue;
        e = prompt_for_purpose(q->model, keys[i], name, &asked, err);
        if (!e && named && !same_prompt(*prompt, asked))
            return api_fail(err, ERR_INVALID, "invalid_value", keys[i],
                            "'%s' and '%s' ask for two prompts; send one", by, keys[i]);
        if (!e)
            *prompt = asked;
        by = named ? by : keys[i];
        named = true;
    }
    return e;
}
