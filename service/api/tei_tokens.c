// TEI's /tokenize and /decode: what the tokenizer does, without a job.
#include "base/json_text.h"
#include "base/utf8.h"
#include "engine/prompt.h"
#include "service/api/tei.h"

#include <math.h>
#include <string.h>

// Every model has a tokenizer. Where none is named it is the first one's, which is also the one
// that /info tells of.
static enum err choose_any(struct api_request *q, struct api_error *err) {
    enum model_task order[TASK_COUNT];
    struct model *first = registry_next(q->service->models, NULL);
    for (size_t t = 0; t < TASK_COUNT; t++)
        order[t] = (enum model_task)(((first ? first->task : 0) + t) % TASK_COUNT);
    model_release(first);
    return api_choose_model(q, order, TASK_COUNT, err);
}

// A token takes some 60 bytes in an answer, more than its text in the request: 32 MiB of answer.
enum { MAX_TOKENS = 1 << 19 };

// start and stop are bytes of the text with its prompt, as in TEI; null for special tokens.
static void put_tokens(struct buf *out, const struct model *m, struct text text,
                       const struct encoding *e) {
    buf_putc(out, '[');
    for (size_t i = 0; i < e->len; i++) {
        struct token_span span = e->spans[i];
        buf_printf(out, "%s{\"id\":%d,\"text\":", i ? "," : "", (int)e->ids[i]);
        // a byte-level token may hold part of a character, which JSON cannot: then its own spelling
        bool as_piece =
            e->special[i] || !utf8_valid(text.bytes + span.begin, span.end - span.begin, NULL);
        const char *piece = as_piece ? tokenizer_piece(m->tokenizer, e->ids[i]) : NULL;
        if (as_piece)
            json_quote(out, piece ? piece : "", piece ? strlen(piece) : 0);
        else
            json_quote(out, text.bytes + span.begin, span.end - span.begin);
        if (e->special[i])
            buf_puts(out, ",\"special\":true,\"start\":null,\"stop\":null}");
        else
            buf_printf(out, ",\"special\":false,\"start\":%u,\"stop\":%u}", span.begin, span.end);
    }
    buf_putc(out, ']');
}

static enum err tokenize_one(struct api_request *q, struct tokenizer_scratch *scratch,
                             const char *prompt, const char *s, bool special,
                             struct api_error *err) {
    struct text text = {s, strlen(s)};
    struct buf *joined = front_worker_text(q->worker);
    struct tokenizer_options options = {.add_special_tokens = special, .truncate = TRUNCATE_NONE};
    struct encoding *e = front_worker_encoding(q->worker, 0);
    enum err failed =
        prompt_encode(q->model, scratch, prompt, text, NULL, &options, joined, e, &err->msg);
    if (failed)
        return failed;
    q->tokens += e->len;
    if (q->tokens > MAX_TOKENS)
        return api_fail(err, ERR_TOO_LARGE, "too_many_tokens", "inputs",
                        "the inputs have more than %d tokens; send them in several requests",
                        MAX_TOKENS);
    if (prompt && *prompt)
        text = (struct text){joined->data, joined->len};
    put_tokens(&q->response.body, q->model, text, e);
    return ERR_OK;
}

enum err api_tei_tokenize(struct api_request *q, struct api_error *err) {
    static const struct api_member own[] = {
        API_READ("inputs"),
        API_READ("add_special_tokens"),
        API_READ("prompt_name"),
    };
    static const struct api_members table = API_TABLE(own, &api_members_everywhere);
    struct api_inputs inputs;
    bool special;
    const char *prompt = NULL;
    struct tokenizer_scratch *scratch;
    enum err e = api_know(q, &table, err);
    if (!e)
        e = choose_any(q, err);
    if (!e)
        e = api_read_texts(q, "inputs", &inputs, err);
    if (!e && inputs.has_ids)
        e = api_fail(err, ERR_INVALID, "wrong_type", "inputs",
                     "'inputs' must be a string or a list of strings");
    if (!e)
        e = api_get_bool(q, "add_special_tokens", true, &special, err);
    if (!e && api_sent(q, "prompt_name", NULL))
        e = api_choose_prompt(q, &prompt, err);
    if (!e && front_worker_scratch(q->worker, q->model, &scratch) != ERR_OK)
        e = api_fail(err, ERR_NOMEM, NULL, NULL, "no memory to tokenize");
    if (e)
        return e;
    buf_putc(&q->response.body, '[');
    const struct json_node *item = inputs.single ? inputs.value : inputs.value->child;
    for (size_t i = 0; i < inputs.count; i++, item = item->next) {
        if (i)
            buf_putc(&q->response.body, ',');
        e = tokenize_one(q, scratch, prompt, item->text, special, err);
        if (e && !err->slug) // the tokenizer's own words
            return api_text_not_encoded(err, e, api_place("inputs", inputs.single, i).text);
        if (e)
            return e;
    }
    buf_putc(&q->response.body, ']');
    return ERR_OK;
}

// ---- decode

static enum err wrong_ids(struct api_place at, struct api_error *err) {
    return api_fail(err, ERR_INVALID, "wrong_type", "ids", "'%s' must be a list of token ids%s",
                    at.text, strchr(at.text, '[') ? "" : " or a list of such lists");
}

// The list's ids as an array in the worker's buffer.
static enum err read_ids(struct api_request *q, const struct json_node *list, struct api_place at,
                         int32_t **out, size_t *n, struct api_error *err) {
    struct buf *bytes = front_worker_text(q->worker);
    size_t vocab = model_vocab(q->model); // of its rows some may have no token, and so no text
    *n = list->count;
    if (*n == 0)
        return api_fail(err, ERR_INVALID, "empty_input", "ids", "'%s' is an empty list", at.text);
    buf_reset(bytes);
    for (const struct json_node *id = list->child; id; id = id->next) {
        double v = id->number;
        if (!json_is(id, JSON_NUMBER))
            return wrong_ids(at, err);
        if (v < 0 || v != floor(v) || v >= (double)vocab)
            return api_fail(err, ERR_INVALID, "invalid_token_id", "ids",
                            "'%s' holds %.17g; this model's token ids lie below %zu", at.text, v,
                            vocab);
        int32_t value = (int32_t)v;
        buf_append(bytes, &value, sizeof value);
    }
    if (bytes->failed)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory to decode");
    *out = (int32_t *)(void *)bytes->data;
    return ERR_OK;
}

static enum err decode_one(struct api_request *q, const struct json_node *list, struct api_place at,
                           bool skip_special, struct api_error *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    enum err e =
        json_is(list, JSON_ARRAY) ? read_ids(q, list, at, &ids, &n, err) : wrong_ids(at, err);
    if (e)
        return e;
    buf_reset(&q->made);
    e = tokenizer_decode(q->model->tokenizer, ids, n, skip_special, &q->made, &err->msg);
    if (!e && q->made.failed)
        e = ERR_NOMEM;
    if (e)
        return api_fail(err, e, NULL, "ids", "cannot decode '%s'", at.text);
    json_quote(&q->response.body, q->made.len ? q->made.data : "", q->made.len);
    return ERR_OK;
}

enum err api_tei_decode(struct api_request *q, struct api_error *err) {
    static const struct api_member own[] = {API_READ("ids"), API_READ("skip_special_tokens")};
    static const struct api_members table = API_TABLE(own, &api_members_everywhere);
    bool skip;
    enum err e = api_know(q, &table, err);
    if (!e)
        e = choose_any(q, err);
    if (!e)
        e = api_get_bool(q, "skip_special_tokens", true, &skip, err);
    if (e)
        return e;
    const struct json_node *ids = api_value(q, "ids");
    if (!ids)
        return api_fail(err, ERR_INVALID, "missing_field", "ids", "'ids' is missing");
    if (!json_is(ids, JSON_ARRAY))
        return wrong_ids(api_place("ids", true, 0), err);
    if (!ids->child)
        return api_fail(err, ERR_INVALID, "empty_input", "ids", "'ids' is an empty list");
    size_t most = q->service->options.max_client_batch, count = 0;
    bool single = !json_is(ids->child, JSON_ARRAY);
    if (!single && ids->count > most)
        return api_fail(err, ERR_INVALID, "too_many_inputs", "ids",
                        "'ids' holds more than %zu lists", most);
    buf_putc(&q->response.body, '[');
    for (const struct json_node *list = single ? ids : ids->child; list && !e; list = list->next) {
        if (count)
            buf_putc(&q->response.body, ',');
        e = decode_one(q, list, api_place("ids", single, count++), skip, err);
        if (single)
            break;
    }
    buf_putc(&q->response.body, ']');
    return e;
}
