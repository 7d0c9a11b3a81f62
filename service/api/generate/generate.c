// See generate.h: the life of a generating request.
#include "service/api/generate/generate.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/mem.h"
#include "service/metrics.h"

#include <math.h>
#include <string.h>

// Of `events`: notices that the task has not answered yet, and ended choices.
#define NOTICE ((uint_fast64_t)1)
#define ENDED ((uint_fast64_t)1 << 32)
#define NOTICES(v) ((v) & (ENDED - 1))

enum { LOG_BYTES_MOST = 256 << 20 }; // of a request's token logs, most of which is never touched

static void free_choice(struct api_choice *c) {
    mem_free(c->g.ids);
    mem_free(c->g.logprobs);
    mem_free(c->g.top);
    mem_free(c->g.prompt_scores);
    mem_free(c->g.prompt_top);
    mem_free(c->starts);
    text_stream_free(&c->text);
    tool_parser_free(&c->tools);
    buf_free(&c->fresh);
    buf_free(&c->calls);
    grammar_state_free(c->grammar);
}

static void free_state(struct api_request *q) {
    struct api_generate *g = q->state;
    for (size_t i = 0; g->choices && i < g->choice_count; i++)
        free_choice(&g->choices[i]);
    mem_free(g->choices);
    grammar_free(g->grammar);
    api_texts_free(&g->prompts);
    mem_free(g->prompt_texts);
    buf_free(&g->prompt_bytes);
    buf_free(&g->warnings);
    mem_free(g->bias);
    mem_free(g->early_bias);
    text_stop_strings_free(&g->stops);
}

static void cancel(struct api_request *q) {
    struct api_generate *g = q->state;
    for (size_t i = 0; i < g->choice_count; i++)
        atomic_store(&g->choices[i].g.cancelled, true);
}

// --- the scheduler's thread: count, and see that somebody looks ---

static void notice(struct api_generate *g, uint_fast64_t what) {
    // Only the one that found nothing to be answered may still touch g: before it has posted, the
    // task cannot end the request.
    uint_fast64_t before = atomic_fetch_add(&g->events, what);
    if (NOTICES(before) == 0)
        front_post(g->q->service->front, &g->task, FRONT_QUICK);
}

static void on_progress(struct generation *generation) {
    struct api_choice *c = generation->ctx;
    notice(c->owner, NOTICE);
}

// For an answer that is written at the end, and whose text cannot end it.
static void on_quiet_progress(struct generation *generation) { (void)generation; }

static void on_done(struct generation *generation) {
    struct api_choice *c = generation->ctx;
    atomic_store(&c->over, true);
    notice(c->owner, ENDED + NOTICE);
}

// A socket thread, which holds the answer open meanwhile: nothing was written for a while.
static void on_quiet(struct http_request *r) {
    struct api_request *q = r->ctx;
    struct api_generate *g = q->state;
    atomic_store(&g->quiet, true);
    notice(g, NOTICE);
}

// --- tokens to text ---

enum err api_blame_grammar(enum err e, const char *param, struct api_error *err) {
    if (e == ERR_INVALID || e == ERR_UNSUPPORTED || e == ERR_TOO_LARGE) {
        err->slug = e == ERR_UNSUPPORTED ? "unsupported_schema" : "invalid_grammar";
        err->param = param;
        err->status = 400;
    }
    return e;
}

static void fail(struct api_generate *g, const struct errmsg *msg, enum err code) {
    struct api_error *err = &g->q->error;
    if (err->msg.code)
        return;
    err->msg = *msg;
    err->msg.code = code;
    if (code == ERR_DEADLINE)
        (void)api_fail(err, code, "deadline_exceeded", NULL, "%s", msg->text);
    if (code == ERR_NOT_FOUND) // it was removed since it was found
        (void)api_fail(err, code, "model_not_found", "model", "%s", msg->text);
    if (g->grammar && code == ERR_UNSUPPORTED) // its words and this model's tokens do not meet
        err->msg.code = api_blame_grammar(code, g->grammar_param, err);
    cancel(g->q);
}

static void count_tokens(struct api_choice *c, size_t before) {
    struct metrics *m = c->owner->q->service->metrics;
    if (c->taken == before)
        return;
    int64_t now = clock_now_us();
    if (before == 0)
        metrics_count_first_token(m, c->g.first_us);
    else
        metrics_count_gap(m, (now - c->last_us) / (int64_t)(c->taken - before), c->taken - before);
    c->last_us = now;
}

static bool is_stop(const struct api_generate *g, int32_t id) {
    for (size_t i = 0; i < g->stop_id_count; i++)
        if (g->stop_ids[i] == id)
            return true;
    return false;
}

// A token of `stop_token_ids` ends the text as a stop string does, and is none of it. Calls go to
// their end.
static enum err add_token(struct api_choice *c, int32_t id, struct errmsg *msg) {
    if (c->owner->calls_only || c->text.in_call || !is_stop(c->owner, id))
        return text_stream_add(&c->text, id, &c->fresh, msg);
    enum err e = text_stream_end(&c->text, &c->fresh, msg);
    c->text.stopped = true;
    return e;
}

static void take_tokens(struct api_choice *c) {
    struct api_generate *g = c->owner;
    struct errmsg msg = {0};
    // over first: when it is set the log is complete
    bool over = atomic_load(&c->over);
    size_t have = atomic_load_explicit(&c->g.produced, memory_order_acquire);
    size_t before = c->taken, held = c->fresh.len;
    enum err e = ERR_OK;
    for (; c->taken < have && !c->text.stopped && !e; c->taken++) {
        if (c->starts)
            c->starts[c->taken] =
                (struct api_token_start){(uint32_t)c->text.seen, (uint32_t)c->text.seen_chars};
        e = add_token(c, c->g.ids[c->taken], &msg);
    }
    if (!e && over && !c->finished) {
        c->finished = true;
        e = text_stream_end(&c->text, &c->fresh, &msg);
        if (c->g.err)
            fail(g, &c->g.msg, c->g.err);
    }
    c->released += c->fresh.len - held;
    if (e)
        fail(g, &msg, e);
    if (c->text.stopped)
        atomic_store(&c->g.stop_wanted, true);
    count_tokens(c, before);
}

// --- writing ---

static void flush(struct api_generate *g, struct buf *out) {
    if (out->failed) {
        struct errmsg msg = {0};
        fail(g, &msg, err_set(&msg, ERR_NOMEM, "no memory for the answer"));
    } else if (out->len) {
        (void)http_stream_write(g->q->http, out->data, out->len); // bounded there
    }
    buf_reset(out);
}

// Of a choice that has said something: of the others the engine may be writing it.
static int64_t known_queue_us(const struct api_generate *g) {
    for (size_t i = 0; i < g->choice_count; i++)
        if (g->choices[i].taken || g->choices[i].finished)
            return g->choices[i].g.queue_us;
    return 0;
}

// On what its choices were computed, as far as they have come.
static void note_devices(struct api_generate *g) {
    for (size_t i = 0; i < g->choice_count; i++)
        computed_join(&g->q->computed, &g->choices[i].g.computed);
}

// Some text's computing has begun, so that a failure is seldom from here on.
static bool is_computed(struct api_generate *g) {
    bool begun = false;
    for (size_t i = 0; i < g->choice_count && !begun; i++)
        begun = atomic_load(&g->choices[i].g.begun);
    return begun;
}

// A stream that has nothing to say says that it lives, so that nobody between here and its reader
// takes it for dead: a comment, which clients skip. One that has not begun does so with it, unless
// its texts still wait to be computed: what becomes of them then may need a status.
static void write_stream(struct api_generate *g, size_t ended, bool quiet, struct buf *out) {
    static const char comment[] = ": waiting\n\n";
    if (g->q->error.msg.code || atomic_load(&g->q->http->gone))
        return;
    bool said = false;
    for (size_t i = 0; i < g->choice_count; i++)
        said = said || g->choices[i].taken || g->choices[i].finished;
    if (!g->streaming && !said && !(quiet && is_computed(g)))
        return;
    if (!g->streaming) {
        g->streaming = true;
        g->q->queue_us = known_queue_us(g);
        note_devices(g);
        api_request_stream(g->q, "text/event-stream");
    }
    bool all = ended == g->choice_count;
    for (size_t i = 0; i < g->choice_count; i++) {
        struct api_choice *c = &g->choices[i];
        if (c->closed)
            continue;
        g->shape->fresh(c, out);
        // the very last chunk says what only the last end tells
        if (c->finished && (all || g->closed + 1 < g->choice_count)) {
            c->closed = true;
            g->closed++;
            g->shape->finish(c, all && g->closed == g->choice_count, out);
        }
    }
    if (quiet && out->len == 0)
        buf_puts(out, comment);
    flush(g, out);
}

// What became of a stream that could not go on. Its handler knows no more than that it was
// cancelled.
static void take_cut(struct api_request *q) {
    switch (http_stream_cut(q->http)) {
    case HTTP_CUT_SLOW:
        (void)api_fail(&q->error, ERR_CANCELLED, "slow_reader", NULL,
                       "the answer was cut: too much of it waits for its reader");
        break;
    case HTTP_CUT_MEMORY:
        (void)api_fail(&q->error, ERR_NOMEM, NULL, NULL,
                       "the answer was cut: no memory for the rest of it");
        break;
    case HTTP_CUT_STOP:
        (void)api_fail(&q->error, ERR_UNAVAILABLE, "draining", NULL,
                       "the answer was cut: the service is shutting down");
        break;
    case HTTP_CUT_NOT:
    case HTTP_CUT_STILL: // nobody reads it
        break;
    }
}

static void end_stream(struct api_generate *g, struct buf *out) {
    struct api_request *q = g->q;
    take_cut(q);
    if (q->error.msg.code) {
        struct http_response said = {0};
        api_error_render(&q->error, q->dialect, &said);
        if (!said.body.failed) {
            buf_puts(out, "data: ");
            buf_append(out, said.body.data, said.body.len);
            buf_puts(out, "\n\n");
        }
        buf_free(&said.body);
        buf_free(&said.headers);
    } else {
        if (g->include_usage) {
            buf_puts(out, "data: ");
            api_put_head(g, g->shape->chunk_object, out);
            buf_puts(out, "\"choices\":[],");
            api_put_usage(g, out);
            buf_putc(out, ',');
            api_put_timings(g, out);
            buf_puts(out, "}\n\n");
        }
        buf_puts(out, "data: [DONE]\n\n");
    }
    // without memory for this last piece the client must not take what it has for the whole
    http_stream_last(q->http, out->data, out->failed ? 0 : out->len);
    buf_reset(out);
    api_request_end_stream(q);
}

static void answer_whole(struct api_generate *g) {
    struct api_request *q = g->q;
    struct buf *out = &q->response.body;
    if (!q->error.msg.code) {
        api_put_head(g, g->shape->object, out);
        buf_puts(out, "\"choices\":[");
        for (size_t i = 0; i < g->choice_count; i++) {
            buf_puts(out, i ? "," : "");
            g->shape->choice(&g->choices[i], out);
        }
        buf_puts(out, "],");
        api_put_usage(g, out);
        buf_putc(out, ',');
        api_put_timings(g, out);
        buf_putc(out, '}');
    }
    api_request_answer(q);
}

static void finish(struct api_generate *g, struct buf *out) {
    struct api_request *q = g->q;
    for (size_t i = 0; i < g->choice_count; i++) {
        const struct generation *c = &g->choices[i].g;
        int64_t compute_us = c->total_us - c->queue_us;
        q->queue_us = c->queue_us > q->queue_us ? c->queue_us : q->queue_us;
        q->compute_us = compute_us > q->compute_us ? compute_us : q->compute_us;
        q->tokens += g->choices[i].taken;
        q->tokens_out += g->choices[i].taken;
        if (i % g->n == 0) // as the usage has it: once a prompt
            q->tokens_cached += c->cached_tokens;
    }
    note_devices(g);
    if (g->streaming)
        end_stream(g, out);
    else
        answer_whole(g); // or the error that came before a stream's first chunk
}

static void run(struct front_task *task, struct front_worker *w) {
    struct api_generate *g =
        (struct api_generate *)(void *)((char *)task - offsetof(struct api_generate, task));
    struct buf *out = front_worker_text(w);
    crash_work_on(g->q->http->id);
    uint_fast64_t seen = atomic_load(&g->events);
    size_t ended = (size_t)(seen / ENDED);
    g->q->worker = w;
    buf_reset(out);
    bool quiet = atomic_exchange(&g->quiet, false);
    for (size_t i = 0; i < g->choice_count; i++)
        take_tokens(&g->choices[i]);
    if (g->stream)
        write_stream(g, ended, quiet, out);
    if (ended == g->choice_count) {
        finish(g, out);
        return;
    }
    g->q->worker = NULL;
    // What came meanwhile: behind the others that wait for a thread.
    if (NOTICES(atomic_fetch_sub(&g->events, NOTICES(seen))) != NOTICES(seen))
        front_post(g->q->service->front, task, FRONT_QUICK);
}

// --- preparing ---

static void start(struct api_request *q) {
    struct api_generate *g = q->state;
    struct scheduler *s = q->service->scheduler;
    atomic_store(&q->cancel, cancel);
    if (atomic_load(&q->http->gone)) // on_gone may have come before `cancel` was there
        cancel(q);
    if (g->stream)
        http_watch_quiet(q->http, q->service->options.stream_comment_s * 1000, on_quiet);
    g->choices[0].g.reserved = q->reserved;
    q->reserved = 0;
    size_t n = g->choice_count;
    for (size_t i = 0; i < n; i++) // the last one's end may free g
        scheduler_generate(s, &g->choices[i].g);
}

static const struct api_work work = {.start = start, .free = free_state};

enum err api_generate_new(struct api_request *q, const struct api_generate_shape *shape,
                          struct api_generate **out, struct api_error *err) {
    struct api_generate *g = mem_calloc(1, sizeof *g);
    if (!g)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    g->q = q;
    g->shape = shape;
    g->task.run = run;
    g->created_s = clock_wall_s();
    g->request = atomic_fetch_add(&q->service->generations, 1) + 1;
    q->state = g;
    q->work = &work;
    *out = g;
    return ERR_OK;
}

// The words that OpenAI's clients know such an error by.
#define REQUESTED                                                                                  \
    "This model's maximum context length is %zu tokens, however you requested %zu tokens (%zu in " \
    "the %s, %zu in the completion)"

// What goes beyond the model's own context is refused. Where only the cache is shorter, the answer
// ends with it (`length`), unless the prompt alone leaves no room.
static enum err check_length(struct api_generate *g, size_t prompt, size_t *tokens,
                             struct api_error *err) {
    const struct api_request *q = g->q;
    size_t whole = q->model->max_length, least = g->max_tokens > 0;
    size_t context = scheduler_context(q->service->scheduler, q->model);
    bool alone = prompt + least > whole;
    const char *field = g->shape->prompt_field;
    if (alone && !g->max_tokens_given)
        return api_fail(err, ERR_INVALID, "context_length_exceeded", field,
                        REQUESTED "; the completion has no room", whole, prompt + least, prompt,
                        field, least);
    if (alone || (g->max_tokens_given && g->max_tokens > whole - prompt))
        return api_fail(err, ERR_INVALID, "context_length_exceeded", alone ? field : "max_tokens",
                        REQUESTED "; shorten the %s%s", whole, prompt + g->max_tokens, prompt,
                        field, g->max_tokens, field, alone ? "" : " or lower max_tokens");
    if (prompt + least > context)
        return api_fail(err, ERR_INVALID, "context_length_exceeded", field,
                        REQUESTED
                        "; the model itself takes %zu, this service's KV cache holds fewer: "
                        "--kv-cache-mib sets its size",
                        context, prompt + least, prompt, field, least, whole);
    *tokens = g->max_tokens < context - prompt ? g->max_tokens : context - prompt;
    return ERR_OK;
}

// A different number for each choice, the seed itself for the first.
static uint64_t derive_seed(uint64_t seed, size_t choice) {
    if (choice == 0)
        return seed;
    uint64_t z = seed + 0x9e3779b97f4a7c15u * choice;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static enum err alloc_log(struct api_choice *c, struct api_error *err) {
    struct generation *g = &c->g;
    size_t k = g->top_logprobs, n = g->max_tokens;
    bool ok = (g->ids = mem_alloc(n, sizeof *g->ids)) != NULL;
    if (ok && g->want_logprobs)
        ok = (g->logprobs = mem_alloc(n, sizeof *g->logprobs)) &&
             (c->starts = mem_alloc(n, sizeof *c->starts)) &&
             (k == 0 || (g->top = mem_alloc(n, k * sizeof *g->top)));
    if (ok && g->prompt_logprobs)
        ok = (g->prompt_scores = mem_calloc(g->prompt_len, sizeof *g->prompt_scores)) &&
             (k == 0 || (g->prompt_top = mem_calloc(g->prompt_len, k * sizeof *g->prompt_top)));
    return ok ? ERR_OK : api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request's answer");
}

static enum err make_choice(struct api_generate *g, size_t i, size_t max_tokens,
                            struct api_error *err) {
    struct api_choice *c = &g->choices[i];
    struct api_request *q = g->q;
    size_t prompt = i / g->n;
    const int32_t *ends = g->prompts.cu_seqlens;
    bool watched = g->stream || g->stops.count || g->stop_id_count;
    c->owner = g;
    c->index = i;
    c->prompt = prompt;
    c->g = (struct generation){
        .model = q->model,
        .prompt = g->prompts.ids + ends[prompt],
        .prompt_len = (size_t)(ends[prompt + 1] - ends[prompt]),
        .max_tokens = max_tokens,
        .sampling = g->sampling,
        .ignore_eos = g->ignore_eos,
        .want_logprobs = g->logprobs,
        .top_logprobs = g->top_logprobs,
        .prompt_logprobs = g->echo && (g->logprobs || max_tokens == 0),
        .owner = q->owner,
        .weight = q->key ? q->key->weight : 1,
        .request = g->request,
        .deadline_us = q->deadline_us,
        .progress = watched ? on_progress : on_quiet_progress,
        .done = on_done,
        .ctx = c,
        .request_id = q->http->id,
    };
    c->g.sampling.seed = derive_seed(g->sampling.seed, i % g->n);
    if (g->early_bias) {
        c->g.min_tokens = g->min_tokens;
        c->g.early = c->g.sampling;
        c->g.early.bias = g->early_bias;
        c->g.early.bias_count = g->early_count;
    }
    text_stream_init(&c->text, q->model->tokenizer, !g->keep_special,
                     g->calls_only ? NULL : &g->stops);
    if (g->with_tools && !g->calls_only)
        text_stream_spare_calls(&c->text, tool_open_marker, g->calls_or_form);
    tool_parser_init(&c->tools, g->calls_or_form);
    enum err e = alloc_log(c, err);
    const struct grammar_vocab *vocab;
    if (!e && g->grammar) {
        e = model_grammar_vocab(q->model, &vocab, &err->msg);
        if (!e)
            e = grammar_state_new(g->grammar, vocab, &c->grammar, &err->msg);
        if (!e)
            e = grammar_state_limit(c->grammar, max_tokens, i ? g->choices[0].grammar : NULL,
                                    &err->msg);
        c->g.grammar = c->grammar;
        c->g.grammar_of = g->grammar_of;
    }
    return e;
}

// Until min_tokens are there, what ends a text is as good as impossible. A grammar leads to an end
// of its own, which may be sooner.
static enum err forbid_early_ends(struct api_generate *g, struct api_error *err) {
    const struct generation_config *config = &g->q->model->generation;
    size_t bias = g->sampling.bias_count, ends = g->ignore_eos ? 0 : config->eos_count;
    if (g->min_tokens && g->grammar)
        api_body_ignore(&g->q->body, "", "min_tokens");
    if (g->min_tokens == 0 || g->grammar || ends + g->stop_id_count == 0)
        return ERR_OK;
    g->early_bias = mem_alloc(bias + ends + g->stop_id_count, sizeof *g->early_bias);
    if (!g->early_bias)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for a request");
    for (size_t i = 0; i < bias; i++)
        g->early_bias[g->early_count++] = g->bias[i];
    for (size_t i = 0; i < ends; i++)
        g->early_bias[g->early_count++] = (struct logit_bias){config->eos_ids[i], -INFINITY};
    for (size_t i = 0; i < g->stop_id_count; i++)
        g->early_bias[g->early_count++] = (struct logit_bias){g->stop_ids[i], -INFINITY};
    return ERR_OK;
}

// Each line of the grammar's warnings.
static void put_warnings(struct api_generate *g) {
    const struct buf *ignored = &g->q->body.ignored;
    if (ignored->len && !ignored->failed)
        api_warn(g->q, "without effect here: %s", ignored->data);
    const char *at = g->warnings.len && !g->warnings.failed ? g->warnings.data : "";
    for (size_t n; *at; at += n + (at[n] == '\n')) {
        n = strcspn(at, "\n");
        api_warn(g->q, "%.*s", (int)n, at);
    }
}

enum err api_generate_prepare(struct api_generate *g, struct api_error *err) {
    struct api_request *q = g->q;
    size_t per_token = sizeof(int32_t), bytes = 0;
    if (g->logprobs)
        per_token += sizeof(float) + sizeof(struct api_token_start) +
                     g->top_logprobs * sizeof(struct token_logprob);
    g->choice_count = 0;
    size_t count = g->prompts.seqs * g->n, tokens = 0;
    if (count > q->service->options.max_client_batch)
        return api_fail(err, ERR_INVALID, "too_many_inputs", "n",
                        "%zu prompts times 'n' are %zu choices, at most %zu are allowed",
                        g->prompts.seqs, count, q->service->options.max_client_batch);
    enum err failed = forbid_early_ends(g, err);
    if (failed)
        return failed;
    g->choices = mem_calloc(count, sizeof *g->choices);
    if (!g->choices)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for %zu choices", count);
    for (size_t i = 0; i < count; i++) {
        size_t prompt = i / g->n, begin = (size_t)g->prompts.cu_seqlens[prompt];
        size_t len = (size_t)g->prompts.cu_seqlens[prompt + 1] - begin;
        enum err e = check_length(g, len, &tokens, err);
        bytes += tokens * per_token + (g->echo ? len * per_token : 0);
        if (!e && bytes > LOG_BYTES_MOST)
            e = api_fail(err, ERR_INVALID, "invalid_value", "max_tokens",
                         "%zu choices of %zu tokens are more than one request may hold; lower "
                         "'max_tokens' or 'n'",
                         count, tokens);
        g->choice_count = i + 1; // what make_choice leaves is freed
        if (!e)
            e = make_choice(g, i, tokens, err);
        if (e)
            return e;
    }
    put_warnings(g);
    q->tokens = g->prompts.tokens;
    return ERR_OK;
}
