// See generate.h: what /v1/completions and /v1/chat/completions read in the same way. Null is
// absent; defaults are the model's generation_config.json, then OpenAI's. Other names of a member
// are api_sent's business.
#include "service/api/generate/generate.h"

#include "base/mem.h"
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_CHOICES = 128, MOST_TOKENS = 1 << 30, MOST_BIASES = 4096 };

static enum err get_float(const struct api_request *q, const char *key, double min, double max,
                          float model, double fallback, float *out, struct api_error *err) {
    double value;
    bool has = isfinite(model) && model >= min && model <= max;
    enum err e = api_get_double(q, key, min, max, has ? model : fallback, &value, err);
    *out = (float)value;
    return e;
}

// llama.cpp penalises the last tokens only, and how many is its own business; here it is all.
static enum err check_window(const struct api_generate *g, struct api_error *err) {
    int64_t window;
    enum err e = api_get_int(g->q, "repeat_last_n", -1, INT32_MAX, -1, &window, err);
    if (!e && window >= 0 && g->sampling.repetition_penalty != 1)
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", "repeat_last_n",
                        "'repeat_last_n' is not supported beside a repetition penalty, which is of "
                        "the whole text here: leave it out, or send -1");
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
    if (!e)
        e = check_window(g, err);
    if (s->top_p <= 0) // as OpenAI takes it: the most likely token alone
        s->top_p = FLT_MIN;
    s->top_k = top_k > 0 ? (int32_t)top_k : 0;
    return e;
}

// An integer as it is spelled: a double would round beyond 2^53. One that is written with a point
// or an exponent is read as a double, which it then is.
static bool read_integer(const struct json_node *n, uint64_t *out) {
    if (n->kind != JSON_NUMBER)
        return false;
    bool negative = *n->text == '-';
    errno = 0;
    if (strspn(n->text + negative, "0123456789") + negative < n->len) {
        double v = strtod(n->text, NULL);
        if (v != floor(v) || fabs(v) > 9007199254740992.0)
            return false;
        *out = (uint64_t)(int64_t)v;
        return true;
    }
    *out = negative ? (uint64_t)strtoll(n->text, NULL, 10) : strtoull(n->text, NULL, 10);
    return errno == 0;
}

static enum err read_seed(struct api_generate *g, struct api_error *err) {
    const char *name;
    const struct json_node *seed = api_sent(g->q, "seed", &name);
    if (getrandom(&g->nonce, sizeof g->nonce, 0) != sizeof g->nonce)
        return api_fail(err, ERR_INTERNAL, NULL, NULL, "the system gives no random numbers");
    g->sampling.seed = g->nonce;
    if (!seed || read_integer(seed, &g->sampling.seed))
        return ERR_OK;
    return api_fail(err, ERR_INVALID, "invalid_value", name, "'%s' must be an integer of 64 bits",
                    name);
}

static enum err bad_stop(const char *name, struct api_error *err) {
    return api_fail(err, ERR_INVALID, "invalid_value", name,
                    "'%s' must be a string or a list of at most %d strings", name,
                    STOP_STRINGS_MAX);
}

// An empty string stops nothing.
static enum err read_stop(struct api_generate *g, struct api_error *err) {
    struct text strings[STOP_STRINGS_MAX];
    size_t n = 0;
    const char *name;
    const struct json_node *stop = api_sent(g->q, "stop", &name);
    if (!stop)
        return ERR_OK;
    if (!json_is(stop, JSON_STRING) && !json_is(stop, JSON_ARRAY))
        return bad_stop(name, err);
    const struct json_node *item = json_is(stop, JSON_STRING) ? stop : stop->child;
    for (; item; item = json_is(stop, JSON_STRING) ? NULL : item->next) {
        if (json_is(item, JSON_NULL) || (json_is(item, JSON_STRING) && !*item->text))
            continue;
        if (!json_is(item, JSON_STRING) || n == STOP_STRINGS_MAX)
            return bad_stop(name, err);
        strings[n++] = (struct text){item->text, strlen(item->text)};
    }
    return n ? text_stop_strings_compile(strings, n, &g->stops, &err->msg) : ERR_OK;
}

// Tokens that end the text as the model's own end tokens do, but that they count as drawn.
static enum err read_stop_ids(struct api_generate *g, struct api_error *err) {
    static const char name[] = "stop_token_ids";
    const struct json_node *list = api_value(g->q, name);
    size_t vocab = model_vocab(g->q->model);
    if (!list)
        return ERR_OK;
    if (!json_is(list, JSON_ARRAY))
        return api_fail(err, ERR_INVALID, "wrong_type", name, "'%s' must be a list of token ids",
                        name);
    for (const struct json_node *item = list->child; item; item = item->next) {
        double id = json_is(item, JSON_NUMBER) ? item->number : -1;
        if (!(id >= 0) || id >= (double)vocab || id != floor(id))
            return api_fail(err, ERR_INVALID, "invalid_token_id", name,
                            "'%s' holds what is no token id below %zu", name, vocab);
        if (g->stop_id_count == STOP_IDS_MAX)
            return api_fail(err, ERR_INVALID, "invalid_value", name, "'%s' has more than %d ids",
                            name, STOP_IDS_MAX);
        g->stop_ids[g->stop_id_count++] = (int32_t)id;
    }
    return ERR_OK;
}

static enum err read_bias(struct api_generate *g, struct api_error *err) {
    const struct json_node *object = api_value(g->q, "logit_bias");
    if (!object || (json_is(object, JSON_ARRAY) && !object->child))
        return ERR_OK;
    if (!json_is(object, JSON_OBJECT))
        return api_fail(err, ERR_INVALID, "wrong_type", "logit_bias",
                        "'logit_bias' must be an object of token ids");
    size_t n = 0, vocab = model_vocab(g->q->model);
    for (const struct json_node *item = object->child; item; item = item->next)
        n++;
    if (n > MOST_BIASES)
        return api_fail(err, ERR_INVALID, "invalid_value", "logit_bias",
                        "'logit_bias' has %zu members, at most %d are allowed", n, MOST_BIASES);
    g->bias = mem_alloc(n, sizeof *g->bias);
    if (!g->bias)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    for (const struct json_node *item = object->child; item; item = item->next) {
        size_t len = strlen(item->key);
        unsigned long long id = strtoull(item->key, NULL, 10);
        bool padded = len > 1 && item->key[0] == '0'; // or one token could have two names
        if (len == 0 || len > 10 || padded || strspn(item->key, "0123456789") != len || id >= vocab)
            return api_fail(err, ERR_INVALID, "invalid_token_id", "logit_bias",
                            "'logit_bias' has a name that is no token id below %zu", vocab);
        if (!json_is(item, JSON_NUMBER) || !(fabs(item->number) <= 100))
            return api_fail(err, ERR_INVALID, "invalid_value", "logit_bias",
                            "'logit_bias' must give numbers from -100 to 100");
        g->bias[g->sampling.bias_count++] = (struct logit_bias){(int32_t)id, (float)item->number};
    }
    g->sampling.bias = g->bias;
    return ERR_OK;
}

static enum err read_stream(struct api_generate *g, struct api_error *err) {
    static const struct api_member rows[] = {
        API_READ("include_usage"),
        API_IDLE_TOLD("include_obfuscation"),    // padding against an eavesdropper
        API_IDLE_TOLD("continuous_usage_stats"), // figures in every chunk
    };
    static const struct api_members table = API_TABLE_CLOSED(rows, NULL);
    const struct json_node *options = api_value(g->q, "stream_options");
    enum err e = api_get_bool(g->q, "stream", false, &g->stream, err);
    if (e || !options)
        return e;
    if (!json_is(options, JSON_OBJECT))
        return api_fail(err, ERR_INVALID, "wrong_type", "stream_options",
                        "'stream_options' must be an object");
    if (!g->stream && options->child)
        return api_fail(err, ERR_INVALID, "invalid_value", "stream_options",
                        "'stream_options' goes with 'stream': true only");
    for (const struct json_node *item = options->child; item; item = item->next) {
        const struct api_member *row;
        enum api_fate fate = api_member_fate(&table, item, &row);
        if (fate == API_REFUSED)
            return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", "stream_options",
                            "'stream_options.%s' is not supported; 'include_usage' is",
                            api_shown_name(item->key));
        if (fate != API_QUIET && !json_is_bool(item))
            return api_fail(err, ERR_INVALID, "wrong_type", "stream_options",
                            "'stream_options.%s' must be true or false", api_shown_name(item->key));
        if (fate == API_NO_EFFECT && item->kind == JSON_TRUE)
            api_body_ignore(&g->q->body, "stream_options.", item->key);
        g->include_usage = g->include_usage || (fate == API_TAKEN && item->kind == JSON_TRUE);
    }
    return ERR_OK;
}

// A number of tokens into g->max_tokens, left alone where it is absent.
static enum err read_most(struct api_generate *g, struct api_error *err) {
    const struct api_request *q = g->q;
    const struct json_node *item = api_sent(q, "max_tokens", NULL);
    int64_t tokens, least = g->echo ? 0 : 1;
    // as llama.cpp has it: no bound but the context's
    if (item && json_is(item, JSON_NUMBER) && item->number == -1) {
        g->max_tokens_given = false;
        g->max_tokens = SIZE_MAX;
        return ERR_OK;
    }
    enum err e = api_get_int(q, "max_tokens", least, MOST_TOKENS, 0, &tokens, err);
    if (!e && item) {
        g->max_tokens_given = true;
        g->max_tokens = (size_t)tokens;
    }
    return e;
}

static enum err read_lengths(struct api_generate *g, struct api_error *err) {
    const char *name;
    int64_t least;
    enum err e = read_most(g, err);
    if (!e)
        e = api_get_int(g->q, "min_tokens", 0, MOST_TOKENS, 0, &least, err);
    if (e)
        return e;
    g->min_tokens = (size_t)least;
    (void)api_sent(g->q, "max_tokens", &name);
    if (g->max_tokens_given && g->min_tokens > g->max_tokens)
        return api_fail(err, ERR_INVALID, "invalid_value", "min_tokens",
                        "'min_tokens' is %zu, more than '%s' (%zu)", g->min_tokens, name,
                        g->max_tokens);
    return ERR_OK;
}

enum err api_generate_read(struct api_generate *g, struct api_error *err) {
    const struct api_request *q = g->q;
    int64_t choices, best_of;
    bool special = true;
    enum err e = read_sampling(g, err);
    if (!e)
        e = read_seed(g, err);
    if (!e)
        e = read_stop(g, err);
    if (!e)
        e = read_stop_ids(g, err);
    if (!e)
        e = read_bias(g, err);
    if (!e)
        e = read_stream(g, err);
    if (!e)
        e = api_get_bool(q, "ignore_eos", false, &g->ignore_eos, err);
    if (!e)
        e = api_get_bool(q, "skip_special_tokens", true, &special, err);
    if (!e)
        e = api_get_int(q, "n", 1, MOST_CHOICES, 1, &choices, err);
    if (!e)
        e = api_get_int(q, "best_of", 1, MOST_CHOICES, choices, &best_of, err);
    if (e)
        return e;
    if (best_of != choices)
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", "best_of",
                        "'best_of' is supported where it equals 'n' only");
    g->keep_special = !special;
    g->n = (size_t)choices;
    return read_lengths(g, err);
}
