// See generate.h: what both dialects write in the same way, logprobs above all.
#include "base/json_text.h"
#include "base/utf8.h"
#include "base/version.h"
#include "service/api/generate/generate.h"

#include <math.h>
#include <string.h>

void api_put_head(const struct api_generate *g, const char *object, struct buf *out) {
    const char *id = g->q->http->id, *name = g->q->model->name;
    if (strncmp(id, "req-", 4) == 0)
        id += 4;
    buf_printf(out, "{\"id\":\"%s-%s\",\"object\":\"%s\",\"created\":%lld,\"model\":",
               g->shape->id_prefix, id, object, (long long)g->created_s);
    json_quote(out, name, strlen(name));
    buf_printf(out, ",\"system_fingerprint\":\"trine-%s-%s\",", version_number, version_commit);
}

// Prompts count once, however many choices continue them.
void api_put_usage(const struct api_generate *g, struct buf *out) {
    size_t prompt = g->prompts.tokens, completion = 0, cached = 0;
    for (size_t i = 0; i < g->choice_count; i++) {
        completion += g->choices[i].taken;
        if (i % g->n == 0)
            cached += g->choices[i].g.cached_tokens;
    }
    buf_printf(out,
               "\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%zu}}",
               prompt, completion, prompt + completion, cached);
}

void api_put_timings(const struct api_generate *g, struct buf *out) {
    size_t cached = 0, computed = 0, predicted = 0, drafted = 0, accepted = 0;
    int64_t prompt_us = 0, predicted_us = 0;
    for (size_t i = 0; i < g->choice_count; i++) {
        const struct generation *c = &g->choices[i].g;
        // a prompt that is only scored has no first token
        int64_t first_us = c->max_tokens ? c->first_us : c->total_us;
        int64_t reading = first_us - c->queue_us, writing = c->total_us - first_us;
        cached += c->cached_tokens;
        computed += c->prompt_len - c->cached_tokens;
        predicted += g->choices[i].taken;
        drafted += c->drafted;
        accepted += c->accepted;
        prompt_us = reading > prompt_us ? reading : prompt_us;
        predicted_us = writing > predicted_us ? writing : predicted_us;
    }
    double rate = predicted_us > 0 ? (double)predicted * 1e6 / (double)predicted_us : 0;
    buf_printf(out,
               "\"timings\":{\"cache_n\":%zu,\"prompt_n\":%zu,\"prompt_ms\":%.3f,"
               "\"predicted_n\":%zu,\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f,"
               "\"draft_n\":%zu,\"draft_n_accepted\":%zu}",
               cached, computed, (double)prompt_us / 1e3, predicted, (double)predicted_us / 1e3,
               rate, drafted, accepted);
}

void api_put_finish(const struct api_choice *c, struct buf *out) {
    const char *reason = "stop";
    if (c->g.end == GENERATION_LENGTH && !c->text.stopped)
        reason = "length";
    else if (c->tools.calls > 0)
        reason = "tool_calls";
    buf_printf(out, "\"finish_reason\":\"%s\"", reason);
}

size_t api_tokens_ready(const struct api_choice *c) {
    size_t n = c->told;
    bool whole = c->finished && !c->text.stopped;
    while (n < c->taken && (whole || c->starts[n].byte < c->released))
        n++;
    return n;
}

static void put_logprob(float x, struct buf *out) {
    // what cannot be at all has no finite logarithm, and JSON no infinity
    buf_printf(out, "%.9g", isfinite(x) ? (double)x : -9999.0);
}

// A token that is a part of a character has no text of its own: its bytes are spelled out, as
// OpenAI does.
static void put_token(const struct api_choice *c, int32_t id, const char *prefix, struct buf *out) {
    struct text t = tokenizer_token_bytes(c->g.model->tokenizer, id);
    if (utf8_valid(t.bytes, t.len, NULL)) {
        json_quote(out, t.bytes, t.len);
        return;
    }
    buf_printf(out, "\"%s", prefix);
    for (size_t i = 0; i < t.len; i++)
        buf_printf(out, "\\\\x%02x", (unsigned char)t.bytes[i]);
    buf_putc(out, '"');
}

static void put_chat_token(const struct api_choice *c, int32_t id, float logprob, struct buf *out) {
    struct text t = tokenizer_token_bytes(c->g.model->tokenizer, id);
    buf_puts(out, "{\"token\":");
    put_token(c, id, "", out);
    buf_puts(out, ",\"logprob\":");
    put_logprob(logprob, out);
    buf_puts(out, ",\"bytes\":[");
    for (size_t i = 0; i < t.len; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned char)t.bytes[i]);
    buf_putc(out, ']');
}

void api_put_chat_logprobs(struct api_choice *c, size_t upto, struct buf *out) {
    size_t k = c->g.top_logprobs;
    buf_puts(out, "{\"content\":[");
    for (size_t i = c->told; i < upto; i++) {
        buf_puts(out, i > c->told ? "," : "");
        put_chat_token(c, c->g.ids[i], c->g.logprobs[i], out);
        buf_puts(out, ",\"top_logprobs\":[");
        for (size_t j = 0; j < k; j++) {
            const struct token_logprob *t = &c->g.top[i * k + j];
            buf_puts(out, j ? "," : "");
            put_chat_token(c, t->id, t->logprob, out);
            buf_putc(out, '}');
        }
        buf_puts(out, "]}");
    }
    buf_puts(out, "],\"refusal\":null}");
    c->told = upto;
}

// Completions' four arrays run over a row of tokens: the echoed prompt's, then the answer's.
struct token_row {
    int32_t id;
    bool has; // false for a prompt's first token, which nothing predicted
    float logprob;
    const struct token_logprob *top; // [top_logprobs]
};

static struct token_row prompt_row(const struct api_choice *c, size_t i) {
    return (struct token_row){.id = c->g.prompt[i],
                              .has = i > 0,
                              .logprob = i > 0 ? c->g.prompt_scores[i] : 0,
                              .top =
                                  c->g.prompt_top ? c->g.prompt_top + i * c->g.top_logprobs : NULL};
}

static struct token_row answer_row(const struct api_choice *c, size_t i) {
    return (struct token_row){.id = c->g.ids[i],
                              .has = true,
                              .logprob = c->g.logprobs[i],
                              .top = c->g.top ? c->g.top + i * c->g.top_logprobs : NULL};
}

static bool same_text(const struct api_choice *c, int32_t a, int32_t b) {
    const struct tokenizer *t = c->g.model->tokenizer;
    struct text x = tokenizer_token_bytes(t, a), y = tokenizer_token_bytes(t, b);
    return a == b || (x.len == y.len && memcmp(x.bytes, y.bytes, x.len) == 0);
}

// An object by text, the token itself among its members; of tokens with one text the likeliest.
static void put_top(const struct api_choice *c, const struct token_row *row, struct buf *out) {
    if (!row->has) {
        buf_puts(out, "null");
        return;
    }
    size_t k = c->g.top_logprobs;
    bool listed = false;
    buf_putc(out, '{');
    for (size_t j = 0; j < k; j++) {
        bool again = false;
        for (size_t i = 0; i < j && !again; i++)
            again = same_text(c, row->top[i].id, row->top[j].id);
        if (again)
            continue;
        listed = listed || same_text(c, row->top[j].id, row->id);
        buf_puts(out, j ? "," : "");
        put_token(c, row->top[j].id, "bytes:", out);
        buf_putc(out, ':');
        put_logprob(row->top[j].logprob, out);
    }
    if (!listed) {
        buf_puts(out, k ? "," : "");
        put_token(c, row->id, "bytes:", out);
        buf_putc(out, ':');
        put_logprob(row->logprob, out);
    }
    buf_putc(out, '}');
}

enum column { COLUMN_TOKENS, COLUMN_LOGPROBS, COLUMN_TOP };

static void put_cell(const struct api_choice *c, struct token_row row, enum column column,
                     struct buf *out) {
    switch (column) {
    case COLUMN_TOKENS:
        put_token(c, row.id, "bytes:", out);
        break;
    case COLUMN_LOGPROBS:
        if (row.has)
            put_logprob(row.logprob, out);
        else
            buf_puts(out, "null");
        break;
    case COLUMN_TOP:
        put_top(c, &row, out);
        break;
    }
}

static size_t chars_of(struct text t) {
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += ((unsigned char)t.bytes[i] & 0xC0) != 0x80;
    return n;
}

void api_put_completion_logprobs(struct api_choice *c, size_t upto, bool with_prompt,
                                 struct buf *out) {
    static const char *const names[] = {"tokens", "token_logprobs", "top_logprobs"};
    const struct api_generate *g = c->owner;
    size_t prompt = with_prompt ? c->g.prompt_len : 0;
    for (enum column column = COLUMN_TOKENS; column <= COLUMN_TOP; column++) {
        buf_printf(out, "%s\"%s\":[", column ? "," : "{", names[column]);
        const char *comma = "";
        for (size_t i = 0; i < prompt; i++, comma = ",") {
            buf_puts(out, comma);
            put_cell(c, prompt_row(c, i), column, out);
        }
        for (size_t i = c->told; i < upto; i++, comma = ",") {
            buf_puts(out, comma);
            put_cell(c, answer_row(c, i), column, out);
        }
        buf_putc(out, ']');
    }
    buf_puts(out, ",\"text_offset\":[");
    const char *comma = "";
    size_t at = 0;
    for (size_t i = 0; i < prompt; i++, comma = ",") {
        buf_printf(out, "%s%zu", comma, at);
        at += chars_of(tokenizer_token_bytes(c->g.model->tokenizer, c->g.prompt[i]));
    }
    size_t before = g->echo ? chars_of(g->prompt_texts[c->prompt]) : 0;
    for (size_t i = c->told; i < upto; i++, comma = ",")
        buf_printf(out, "%s%zu", comma, before + c->starts[i].chars);
    buf_puts(out, "]}");
    c->told = upto;
}
