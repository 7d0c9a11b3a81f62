// POST /v1/completions: OpenAI's text completions. See generate.h.
#include "base/json_text.h"
#include "base/mem.h"
#include "service/api/generate/generate.h"

#include <string.h>

static const struct api_member own[] = {
    API_READ("prompt"),
    API_READ("echo"),
    API_REFUSE("suffix", "", NULL),
};
static const struct api_members table = API_TABLE_CLOSED(own, &api_members_generate);

enum { DEFAULT_TOKENS = 16 };

static void put_choice(struct api_choice *c, bool with_prompt, bool end, struct buf *out) {
    const struct api_generate *g = c->owner;
    struct text echoed = with_prompt ? g->prompt_texts[c->prompt] : (struct text){"", 0};
    buf_printf(out, "{\"index\":%zu,\"text\":\"", c->index);
    json_escape(out, echoed.bytes, echoed.len);
    json_escape(out, c->fresh.data, c->fresh.len);
    buf_puts(out, "\",\"logprobs\":");
    if (g->logprobs)
        api_put_completion_logprobs(c, api_tokens_ready(c), with_prompt, out);
    else
        buf_puts(out, "null");
    buf_putc(out, ',');
    if (end)
        api_put_finish(c, out);
    else
        buf_puts(out, "\"finish_reason\":null");
    buf_putc(out, '}');
}

static void whole(struct api_choice *c, struct buf *out) {
    put_choice(c, c->owner->echo, true, out);
}

static void put_chunk(struct api_choice *c, bool end, bool last, struct buf *out) {
    const struct api_generate *g = c->owner;
    buf_puts(out, "data: ");
    api_put_head(g, g->shape->chunk_object, out);
    buf_puts(out, "\"choices\":[");
    put_choice(c, g->echo && !c->begun, end, out);
    buf_puts(out, g->include_usage ? "],\"usage\":null" : "]");
    if (last && !g->include_usage) {
        buf_putc(out, ',');
        api_put_timings(g, out);
    }
    buf_puts(out, "}\n\n");
    c->begun = true;
    buf_reset(&c->fresh);
}

// Another choice's token may be what brings us here: with a token of its own this one's prompt is
// scored too.
static bool can_echo(const struct api_choice *c) {
    return c->owner->echo && !c->begun && (!c->owner->logprobs || c->taken);
}

static void put_fresh(struct api_choice *c, struct buf *out) {
    if (!c->finished && (c->fresh.len || can_echo(c)))
        put_chunk(c, false, false, out);
}

static void put_end(struct api_choice *c, bool last, struct buf *out) {
    put_chunk(c, true, last, out);
}

static const struct api_generate_shape shape = {
    .id_prefix = "cmpl",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .prompt_field = "prompt",
    .choice = whole,
    .fresh = put_fresh,
    .finish = put_end,
};

static enum err read_own(struct api_generate *g, struct api_error *err) {
    const struct api_request *q = g->q;
    int64_t logprobs;
    const struct json_node *wanted = api_value(q, "logprobs");
    logprobs = -1;
    enum err e = ERR_OK;
    if (!json_is(wanted, JSON_FALSE))
        e = api_get_int(q, "logprobs", 0, SAMPLING_MAX_TOP, -1, &logprobs, err);
    if (e)
        return e;
    if (!g->max_tokens_given && g->max_tokens != SIZE_MAX)
        g->max_tokens = g->min_tokens > DEFAULT_TOKENS ? g->min_tokens : DEFAULT_TOKENS;
    g->logprobs = logprobs >= 0;
    g->top_logprobs = logprobs > 0 ? (size_t)logprobs : 0;
    return ERR_OK;
}

// The prompts' texts, for `echo`: a string as it was given, ids decoded whole.
static enum err keep_texts(struct api_generate *g, const struct api_inputs *inputs,
                           struct api_error *err) {
    const struct json_node *item = inputs->single ? inputs->value : inputs->value->child;
    size_t n = g->prompts.seqs;
    g->prompt_texts = mem_calloc(n, sizeof *g->prompt_texts);
    for (size_t i = 0; i < n && g->prompt_texts; i++, item = item->next) {
        size_t begin = g->prompt_bytes.len;
        const int32_t *ids = g->prompts.ids + g->prompts.cu_seqlens[i];
        size_t len = (size_t)(g->prompts.cu_seqlens[i + 1] - g->prompts.cu_seqlens[i]);
        enum err e = ERR_OK;
        if (json_is(item, JSON_STRING))
            buf_puts(&g->prompt_bytes, item->text);
        else
            e = tokenizer_decode(g->q->model->tokenizer, ids, len, false, &g->prompt_bytes,
                                 &err->msg);
        if (e)
            return e;
        g->prompt_texts[i].len = g->prompt_bytes.len - begin;
    }
    if (!g->prompt_texts || g->prompt_bytes.failed)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    size_t at = 0;
    for (size_t i = 0; i < n; at += g->prompt_texts[i++].len)
        g->prompt_texts[i].bytes = g->prompt_bytes.data ? g->prompt_bytes.data + at : "";
    return ERR_OK;
}

enum err api_completions(struct api_request *q, struct api_error *err) {
    static const enum model_task order[] = {TASK_GENERATE};
    struct api_generate *g;
    struct api_inputs inputs;
    enum err e = api_choose_model(q, order, 1, err);
    if (e)
        return e;
    e = api_generate_new(q, &shape, &g, err);
    if (e)
        return e;
    e = api_know(q, &table, err);
    if (!e)
        e = api_get_bool(q, "echo", false, &g->echo, err);
    if (!e)
        e = api_generate_read(g, err);
    if (!e)
        e = read_own(g, err);
    if (!e)
        e = api_structured_read(g, false, err);
    if (!e)
        e = api_inputs_read(api_value(q, "prompt"), "prompt", q->service->options.max_client_batch,
                            &inputs, err);
    bool special = true;
    if (!e)
        e = api_get_bool(q, "add_special_tokens", true, &special, err);
    struct api_text_rules rules = {.model = q->model, .any_length = true, .plain = !special};
    if (!e)
        e = api_texts_encode(q->worker, &inputs, &rules, &g->prompts, err);
    if (!e && g->echo)
        e = keep_texts(g, &inputs, err);
    return e ? e : api_generate_prepare(g, err);
}
