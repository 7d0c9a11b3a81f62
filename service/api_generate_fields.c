// See api_generate.h: what /v1/completions and /v1/chat/completions read in the same way. A member
// that is not known is refused by name; null is absent; defaults are the model's
// generation_config.json, then OpenAI's.
#include "service/api_generate.h"

#include "base/mem.h"
#include "service/metrics.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_CHOICES = 128, MOST_TOKENS = 1 << 30, MOST_BIASES = 4096 };

// Accepted because clients send them; nothing here depends on them.
static const char *const without_effect[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls", // without effect where there are no tools: chat knows it itself
};

static const char *const common[] = {
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "ignore_eos",
    "response_format",
    "grammar",
};

static bool among(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

static enum err refuse(const char *name, struct api_error *err) {
    if (api_shown_name(name) == name)
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", name,
                        "'%s' is not a parameter that is supported here", name);
    return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", NULL,
                    "the body has a parameter that is not supported here");
}

static enum err check_names(const struct api_generate *g, const char *const *known, size_t n,
                            struct api_error *err) {
    const struct api_request *q = g->q;
    size_t ignored = 0;
    for (const cJSON *item = q->body->child; item; item = item->next) {
        if (cJSON_IsNull(item) || among(item->string, known, n) ||
            among(item->string, common, sizeof common / sizeof *common))
            continue;
        if (!among(item->string, without_effect, sizeof without_effect / sizeof *without_effect))
            return refuse(item->string, err);
        ignored++;
    }
    if (ignored)
        metrics_count_unknown_fields(q->service->metrics, api_route_index(q->route), ignored);
    return ERR_OK;
}

enum err api_get_double(const struct api_request *q, const char *key, double min, double max,
                        double fallback, double *out, struct api_error *err) {
    enum err e = json_get_double(q->body, key, min, max, fallback, out, &err->msg);
    if (e) {
        err->slug = "invalid_value";
        err->param = key;
    }
    return e;
}

static enum err get_float(const struct api_request *q, const char *key, double min, double max,
                          float model, double fallback, float *out, struct api_error *err) {
    double value;
    bool has = isfinite(model) && model >= min && model <= max;
    enum err e = api_get_double(q, key, min, max, has ? model : fallback, &value, err);
    *out = (float)value;
    return e;
}

static enum err read_sampling(struct api_generate *g, struct api_error *err) {
    const struct api_request *q = g->q;
    const struct generation_config *c = &q->model->generation;
    struct sampling *s = &g->sampling;
    int64_t top_k = c->top_k > 0 ? c->top_k : 0;
    enum err e = get_float(q, "temperature", 0, 2, c->temperature, 1, &s->temperature, err);
    if (!e)
        e = get_float(q, "top_p", 0, 1, c->top_p, 1, &s->top_p, err);
    if (!e)
        e = get_float(q, "min_p", 0, 1, c->min_p, 0, &s->min_p, err);
    if (!e)
        e = api_get_int(q, "top_k", -1, INT32_MAX, top_k, &top_k, err);
    if (!e)
        e = get_float(q, "presence_penalty", -2, 2, NAN, 0, &s->presence_penalty, err);
    if (!e)
        e = get_float(q, "frequency_penalty", -2, 2, NAN, 0, &s->frequency_penalty, err);
    if (!e)
        e = get_float(q, "repetition_penalty", 1e-3, 100, c->repetition_penalty, 1,
                      &s->repetition_penalty, err);
    if (s->top_p <= 0) // as OpenAI takes it: the most likely token alone
        s->top_p = FLT_MIN;
    s->top_k = top_k > 0 ? (int32_t)top_k : 0;
    return e;
}

// Read from the number as it is spelled: a double would round beyond 2^53.
static enum err read_seed(struct api_generate *g, struct api_error *err) {
    const struct json_node *seed = json_node_get(json_tree_root(g->q->tree), "seed");
    if (getrandom(&g->nonce, sizeof g->nonce, 0) != sizeof g->nonce)
        return api_fail(err, ERR_INTERNAL, NULL, NULL, "the system gives no random numbers");
    g->sampling.seed = g->nonce;
    if (!seed || seed->kind == JSON_NULL)
        return ERR_OK;
    bool number = seed->kind == JSON_NUMBER, negative = number && *seed->text == '-';
    size_t digits = number ? strspn(seed->text + negative, "0123456789") + negative : 0;
    errno = 0;
    uint64_t value = 0;
    if (negative)
        value = (uint64_t)strtoll(seed->text, NULL, 10);
    else if (number)
        value = strtoull(seed->text, NULL, 10);
    if (!number || digits != seed->len || errno)
        return api_fail(err, ERR_INVALID, "invalid_value", "seed",
                        "'seed' must be an integer of 64 bits");
    g->sampling.seed = value;
    return ERR_OK;
}

static enum err bad_stop(struct api_error *err) {
    return api_fail(err, ERR_INVALID, "invalid_value", "stop",
                    "'stop' must be a string or a list of at most %d strings, none of them empty",
                    STOP_STRINGS_MAX);
}

static enum err read_stop(struct api_generate *g, struct api_error *err) {
    struct text strings[STOP_STRINGS_MAX];
    size_t n = 0;
    const cJSON *stop = json_get(g->q->body, "stop");
    if (!stop)
        return ERR_OK;
    if (!cJSON_IsString(stop) && !cJSON_IsArray(stop))
        return bad_stop(err);
    const cJSON *item = cJSON_IsString(stop) ? stop : stop->child;
    for (; item; item = cJSON_IsString(stop) ? NULL : item->next) {
        if (!cJSON_IsString(item) || !*item->valuestring || n == STOP_STRINGS_MAX)
            return bad_stop(err);
        strings[n++] = (struct text){item->valuestring, strlen(item->valuestring)};
    }
    return stop_strings_compile(strings, n, &g->stops, &err->msg);
}

static enum err read_bias(struct api_generate *g, struct api_error *err) {
    const cJSON *object = json_get(g->q->body, "logit_bias");
    if (!object)
        return ERR_OK;
    if (!cJSON_IsObject(object))
        return api_fail(err, ERR_INVALID, "wrong_type", "logit_bias",
                        "'logit_bias' must be an object of token ids");
    size_t n = 0, vocab = model_vocab(g->q->model);
    for (const cJSON *item = object->child; item; item = item->next)
        n++;
    if (n > MOST_BIASES)
        return api_fail(err, ERR_INVALID, "invalid_value", "logit_bias",
                        "'logit_bias' has %zu members, at most %d are allowed", n, MOST_BIASES);
    g->bias = mem_alloc(n, sizeof *g->bias);
    if (!g->bias)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    for (const cJSON *item = object->child; item; item = item->next) {
        size_t len = strlen(item->string);
        unsigned long long id = strtoull(item->string, NULL, 10);
        bool padded = len > 1 && item->string[0] == '0'; // or one token could have two names
        if (len == 0 || len > 10 || padded || strspn(item->string, "0123456789") != len ||
            id >= vocab)
            return api_fail(err, ERR_INVALID, "invalid_token_id", "logit_bias",
                            "'logit_bias' has a name that is no token id below %zu", vocab);
        if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 100))
            return api_fail(err, ERR_INVALID, "invalid_value", "logit_bias",
                            "'logit_bias' must give numbers from -100 to 100");
        g->bias[g->sampling.bias_count++] =
            (struct logit_bias){(int32_t)id, (float)item->valuedouble};
    }
    g->sampling.bias = g->bias;
    return ERR_OK;
}

static enum err read_stream(struct api_generate *g, struct api_error *err) {
    const cJSON *options = json_get(g->q->body, "stream_options");
    enum err e = api_get_bool(g->q, "stream", false, &g->stream, err);
    if (e || !options)
        return e;
    if (!cJSON_IsObject(options))
        return api_fail(err, ERR_INVALID, "wrong_type", "stream_options",
                        "'stream_options' must be an object");
    if (!g->stream)
        return api_fail(err, ERR_INVALID, "invalid_value", "stream_options",
                        "'stream_options' goes with 'stream': true only");
    for (const cJSON *item = options->child; item; item = item->next) {
        bool known = strcmp(item->string, "include_usage") == 0;
        if (!known && !cJSON_IsNull(item))
            return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", "stream_options",
                            "'stream_options.%s' is not supported; 'include_usage' is",
                            api_shown_name(item->string));
        if (known && !cJSON_IsNull(item) && !cJSON_IsBool(item))
            return api_fail(err, ERR_INVALID, "wrong_type", "stream_options",
                            "'include_usage' must be true or false");
        g->include_usage = g->include_usage || cJSON_IsTrue(item);
    }
    return ERR_OK;
}

enum err api_generate_read(struct api_generate *g, const char *const *known, size_t n,
                           struct api_error *err) {
    const struct api_request *q = g->q;
    int64_t choices;
    enum err e = check_names(g, known, n, err);
    if (!e)
        e = read_sampling(g, err);
    if (!e)
        e = read_seed(g, err);
    if (!e)
        e = read_stop(g, err);
    if (!e)
        e = read_bias(g, err);
    if (!e)
        e = read_stream(g, err);
    if (!e)
        e = api_get_bool(q, "ignore_eos", false, &g->ignore_eos, err);
    if (!e)
        e = api_get_int(q, "n", 1, MOST_CHOICES, 1, &choices, err);
    if (e)
        return e;
    g->n = (size_t)choices;
    g->max_tokens_given = json_get(q->body, "max_tokens") != NULL;
    int64_t least = g->echo ? 0 : 1, most_tokens;
    e = api_get_int(q, "max_tokens", least, MOST_TOKENS, 0, &most_tokens, err);
    g->max_tokens = (size_t)most_tokens;
    return e;
}
