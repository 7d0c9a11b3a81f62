// POST /v1/chat/completions: OpenAI's chat. See generate.h.
#include "base/json_text.h"
#include "base/mem.h"
#include "service/api/generate/generate.h"

#include <string.h>

static const struct api_member own[] = {
    API_READ("messages"),
    API_SAME("max_completion_tokens", "max_tokens"),
    API_READ("top_logprobs"),
    API_READ("tools"),
    API_READ("tool_choice"),
    API_READ("parallel_tool_calls"),
    API_READ("enable_thinking"),
    API_SAME("think", "enable_thinking"),
    API_READ("thinking"),
    API_READ("reasoning_effort"),
    API_READ("continue_final_message"),
    API_READ("add_generation_prompt"),
    API_READ("chat_template_kwargs"),
};
static const struct api_members table = API_TABLE_CLOSED(own, &api_members_generate);

// An id that no other call of this service has.
static void put_call_id(const struct api_choice *c, struct buf *out) {
    uint64_t z = c->owner->nonce + 0x9e3779b97f4a7c15u * (c->index * 4096 + c->tools.calls + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    buf_printf(out, "call_%016llx", (unsigned long long)(z ^ (z >> 31)));
}

// --- whole ---

struct whole {
    struct api_choice *choice;
    struct buf *content;
};

static void whole_text(void *ctx, const char *bytes, size_t n) {
    struct whole *w = ctx;
    buf_append(w->content, bytes, n);
}

static void whole_begin(void *ctx, const char *name, size_t n) {
    struct api_choice *c = ((struct whole *)ctx)->choice;
    struct buf *out = &c->calls;
    buf_puts(out, c->call_open ? "\"}},{\"id\":\"" : "{\"id\":\"");
    put_call_id(c, out);
    buf_puts(out, "\",\"type\":\"function\",\"function\":{\"name\":");
    json_quote(out, name, n);
    buf_puts(out, ",\"arguments\":\"");
    c->call_open = true;
}

static void whole_arguments(void *ctx, const char *bytes, size_t n) {
    json_escape(&((struct whole *)ctx)->choice->calls, bytes, n);
}

static void whole_choice(struct api_choice *c, struct buf *out) {
    const struct api_generate *g = c->owner;
    struct buf content = {0};
    struct whole w = {c, &content};
    struct tool_sink sink = {whole_text, whole_begin, whole_arguments, &w};
    if (g->with_tools) {
        tool_parser_feed(&c->tools, c->fresh.data, c->fresh.len, &sink);
        tool_parser_end(&c->tools, &sink);
        if (c->call_open)
            buf_puts(&c->calls, "\"}}");
    }
    const struct buf *text = g->with_tools ? &content : &c->fresh;
    buf_printf(out, "{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":", c->index);
    if (c->tools.calls && text->len == 0)
        buf_puts(out, "null");
    else
        json_quote(out, text->data, text->len);
    buf_puts(out, ",\"refusal\":null");
    if (c->tools.calls) {
        buf_puts(out, ",\"tool_calls\":[");
        buf_append(out, c->calls.data, c->calls.len);
        buf_putc(out, ']');
    }
    buf_puts(out, "},\"logprobs\":");
    if (g->logprobs)
        api_put_chat_logprobs(c, api_tokens_ready(c), out);
    else
        buf_puts(out, "null");
    buf_putc(out, ',');
    api_put_finish(c, out);
    buf_putc(out, '}');
    out->failed = out->failed || content.failed || c->calls.failed || c->tools.failed;
    buf_free(&content);
}

// --- chunks ---

struct chunk {
    struct api_choice *choice;
    struct buf *out;
};

// A chunk up to the members of its `delta`; close_chunk writes what stands behind those.
static void open_chunk(struct api_choice *c, struct buf *out) {
    const struct api_generate *g = c->owner;
    buf_puts(out, "data: ");
    api_put_head(g, g->shape->chunk_object, out);
    buf_printf(out, "\"choices\":[{\"index\":%zu,\"delta\":{", c->index);
    if (!c->begun)
        buf_puts(out, "\"role\":\"assistant\"");
    c->begun = true;
}

enum chunk_end { CHUNK_ROLE, CHUNK_FRESH, CHUNK_END, CHUNK_LAST };

static void close_chunk(struct api_choice *c, enum chunk_end end, struct buf *out) {
    const struct api_generate *g = c->owner;
    // the role's chunk has no token; what is ready goes into the first one behind it
    size_t ready = g->logprobs && end != CHUNK_ROLE ? api_tokens_ready(c) : 0;
    buf_puts(out, "},\"logprobs\":");
    if (ready > c->told)
        api_put_chat_logprobs(c, ready, out);
    else
        buf_puts(out, "null");
    buf_putc(out, ',');
    if (end >= CHUNK_END)
        api_put_finish(c, out);
    else
        buf_puts(out, "\"finish_reason\":null");
    buf_puts(out, g->include_usage ? "}],\"usage\":null" : "}]");
    if (end == CHUNK_LAST && !g->include_usage) {
        buf_putc(out, ',');
        api_put_timings(g, out);
    }
    buf_puts(out, "}\n\n");
}

// The role comes in a chunk of its own, as OpenAI sends it.
static void begin_choice(struct api_choice *c, struct buf *out) {
    if (c->begun)
        return;
    open_chunk(c, out);
    buf_puts(out, ",\"content\":\"\"");
    close_chunk(c, CHUNK_ROLE, out);
}

static void chunk_text(void *ctx, const char *bytes, size_t n) {
    struct chunk *w = ctx;
    open_chunk(w->choice, w->out);
    buf_puts(w->out, "\"content\":");
    json_quote(w->out, bytes, n);
    close_chunk(w->choice, CHUNK_FRESH, w->out);
}

static void chunk_begin(void *ctx, const char *name, size_t n) {
    struct chunk *w = ctx;
    open_chunk(w->choice, w->out);
    buf_printf(w->out, "\"tool_calls\":[{\"index\":%zu,\"id\":\"", w->choice->tools.calls);
    put_call_id(w->choice, w->out);
    buf_puts(w->out, "\",\"type\":\"function\",\"function\":{\"name\":");
    json_quote(w->out, name, n);
    buf_puts(w->out, ",\"arguments\":\"\"}}]");
    close_chunk(w->choice, CHUNK_FRESH, w->out);
}

static void chunk_arguments(void *ctx, const char *bytes, size_t n) {
    struct chunk *w = ctx;
    open_chunk(w->choice, w->out);
    buf_printf(w->out, "\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":",
               w->choice->tools.calls - 1);
    json_quote(w->out, bytes, n);
    buf_puts(w->out, "}}]");
    close_chunk(w->choice, CHUNK_FRESH, w->out);
}

static void put_fresh(struct api_choice *c, struct buf *out) {
    struct chunk w = {c, out};
    struct tool_sink sink = {chunk_text, chunk_begin, chunk_arguments, &w};
    begin_choice(c, out);
    if (c->owner->with_tools) {
        if (c->fresh.len)
            tool_parser_feed(&c->tools, c->fresh.data, c->fresh.len, &sink);
        if (c->finished)
            tool_parser_end(&c->tools, &sink);
        out->failed = out->failed || c->tools.failed;
    } else if (c->fresh.len) {
        chunk_text(&w, c->fresh.data, c->fresh.len);
    }
    buf_reset(&c->fresh);
}

static void put_end(struct api_choice *c, bool last, struct buf *out) {
    open_chunk(c, out);
    close_chunk(c, last ? CHUNK_LAST : CHUNK_END, out);
}

static const struct api_generate_shape shape = {
    .id_prefix = "chatcmpl",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .prompt_field = "messages",
    .choice = whole_choice,
    .fresh = put_fresh,
    .finish = put_end,
};

// --- reading ---

static enum err read_own(struct api_generate *g, struct api_error *err) {
    const struct api_request *q = g->q;
    int64_t top;
    enum err e = api_get_bool(q, "logprobs", false, &g->logprobs, err);
    if (!e)
        e = api_get_int(q, "top_logprobs", 0, SAMPLING_MAX_TOP, 0, &top, err);
    if (e)
        return e;
    if (top > 0 && !g->logprobs)
        return api_fail(err, ERR_INVALID, "invalid_value", "top_logprobs",
                        "'top_logprobs' needs 'logprobs': true");
    g->top_logprobs = (size_t)top;
    if (!g->max_tokens_given)
        g->max_tokens = SIZE_MAX; // the rest of the context
    return ERR_OK;
}

// The rendered text's special tokens are taken as such, and none is added, unless a request says
// so: a template writes its own.
static enum err encode(struct api_generate *g, const struct buf *text, struct api_error *err) {
    struct tokenizer_options options = {.truncate = TRUNCATE_NONE};
    struct api_request *q = g->q;
    struct tokenizer_scratch *scratch;
    struct encoding *e = front_worker_encoding(q->worker, 0);
    if (front_worker_scratch(q->worker, q->model, &scratch) != ERR_OK)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory to tokenize");
    enum err failed =
        api_get_bool(q, "add_special_tokens", false, &options.add_special_tokens, err);
    if (!failed)
        failed = tokenizer_encode(q->model->tokenizer, scratch,
                                  (struct text){text->data ? text->data : "", text->len}, NULL,
                                  &options, e, &err->msg);
    if (failed)
        return failed;
    if (e->len == 0)
        return api_fail(err, ERR_INVALID, "empty_input", "messages",
                        "the chat template gives an empty prompt");
    struct api_texts *s = &g->prompts;
    if (e->len >= INT32_MAX)
        return api_fail(err, ERR_INVALID, "context_length_exceeded", "messages",
                        "the prompt has %zu tokens", e->len);
    failed = api_texts_reserve(s, 1, err);
    s->ids = failed ? NULL : mem_alloc(e->len, sizeof *s->ids);
    if (!s->ids)
        return failed ? failed : api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a prompt");
    memcpy(s->ids, e->ids, e->len * sizeof *s->ids);
    s->seqs = 1;
    s->tokens = e->len;
    s->cu_seqlens[1] = (int32_t)e->len;
    return ERR_OK;
}

enum err api_chat_completions(struct api_request *q, struct api_error *err) {
    static const enum model_task order[] = {TASK_GENERATE};
    struct api_generate *g;
    struct buf text = {0};
    enum err e = api_choose_model(q, order, 1, err);
    if (e)
        return e;
    e = api_generate_new(q, &shape, &g, err);
    if (e)
        return e;
    e = api_know(q, &table, err);
    if (!e)
        e = api_generate_read(g, err);
    if (!e)
        e = read_own(g, err);
    if (!e)
        e = api_structured_read(g, true, err);
    if (!e)
        e = api_chat_render(g, &text, err);
    if (!e)
        e = encode(g, &text, err);
    buf_free(&text);
    return e ? e : api_generate_prepare(g, err);
}
