// See request.h: the life of a request.
#include "service/api/request.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "service/api/access_log.h"
#include "service/api/api.h"
#include "service/api/cors.h"
#include "service/metrics.h"
#include "service/retry_after.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BIG_BODY = 64 << 10,   // bytes; over it a body is parsed behind all quick work
    HUGE_BODY = 256 << 10, // over it what its values took goes back to the system
    BIG_RESULT = 64 << 10, // floats; over it so is a result's rendering
};

static int retry_after(struct service *s) {
    struct scheduler_stats st = scheduler_read_stats(s->scheduler);
    return retry_after_s(&st);
}

// On what it was computed; of what was not computed where it would be.
static const char *compute_type(const struct service *s, const struct api_request *q,
                                char words[COMPUTED_BYTES]) {
    bool loading = atomic_load(&s->state) == SERVICE_LOADING; // no engine is there
    const char *device = loading ? "cpu" : engine_device_name(s->engine);
    return q ? computed_words(&q->computed, device, words) : device;
}

static void put_headers(struct service *s, const struct http_request *r,
                        const struct api_request *q, int64_t total_us, struct buf *out) {
    int64_t token_us = q ? q->tokenize_us : 0, queue_us = 0, compute_us = 0;
    if (q) {
        queue_us = q->queue_us;
        compute_us = q->compute_us;
    }
    char words[COMPUTED_BYTES];
    buf_printf(out,
               "x-compute-type: %s\r\nx-compute-tokens: %zu\r\nx-total-time: %.3f\r\n"
               "x-tokenization-time: %.3f\r\nx-queue-time: %.3f\r\nx-inference-time: %.3f\r\n",
               compute_type(s, q, words), q ? q->tokens : 0, (double)total_us / 1e3,
               (double)token_us / 1e3, (double)queue_us / 1e3, (double)compute_us / 1e3);
    if (q && q->cut)
        buf_printf(out, "x-truncated: %zu\r\n", q->cut);
    if (q && q->warnings.len && !q->warnings.failed)
        buf_printf(out, "x-warning: %s\r\n", q->warnings.data);
    api_put_cors(s, r, out);
}

enum { WARNINGS_MOST = 1000 }; // bytes of the header

// A header's value is printable ASCII: what else stands in a (tidy) text is spelled as in JSON.
static void put_plain(struct buf *out, const char *s) {
    while (*s && out->len < WARNINGS_MOST) {
        uint32_t cp = 0;
        s += utf8_decode(s, strlen(s), &cp);
        if (cp < 0x7f)
            buf_putc(out, (char)cp);
        else if (cp < 0x10000)
            buf_printf(out, "\\u%04x", cp);
        else
            buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                       0xdc00 + (cp & 0x3ff));
    }
}

void api_warn(struct api_request *q, const char *fmt, ...) {
    char text[512];
    struct buf *out = &q->warnings;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (utf8_tidy(text) == 0 || out->len >= WARNINGS_MOST)
        return;
    buf_puts(out, out->len ? "; " : "");
    put_plain(out, text);
    buf_puts(out, out->len < WARNINGS_MOST ? "" : "...");
}

static void note(const struct api_request *q, int status, int64_t total_us) {
    const struct api_access a = {
        .http = q->http,
        .route = api_route_index(q->route),
        .probe = q->route->flags & API_INLINE,
        .status = status,
        .total_us = total_us,
        .error = q->error.msg.code ? &q->error : NULL,
        .key = q->key,
        .model = q->model,
        .stream = q->streamed,
        .tokens_in = q->tokens - q->tokens_out,
        .tokens_cached = q->tokens_cached,
        .tokens_out = q->tokens_out,
        .truncated = q->cut,
        .tokenize_us = q->tokenize_us,
        .queue_us = q->queue_us,
        .compute_us = q->compute_us,
    };
    api_access_note(q->service, &a);
}

void api_note_refusal(const struct service *s, const struct http_request *r,
                      const struct api_route *route, int status, const struct api_error *err) {
    const struct api_access a = {.http = r,
                                 .route = api_route_index(route),
                                 .status = status,
                                 .total_us = clock_now_us() - r->arrived_us,
                                 .error = err,
                                 .key = r->ctx};
    api_access_note(s, &a);
}

void api_refuse(struct service *s, struct http_request *r, enum api_dialect d,
                const struct api_error *err, struct http_response *out) {
    int64_t total_us = clock_now_us() - r->arrived_us;
    api_error_render(err, d, out);
    put_headers(s, r, NULL, total_us, &out->headers);
    if (out->body.failed || out->headers.failed)
        out->status = 503; // http/ answers by itself then
}

static void request_free(struct api_request *q) {
    if (q->work)
        q->work->free(q);
    json_tree_free(q->body.tree);
    buf_free(&q->response.body);
    buf_free(&q->response.headers);
    mem_free(q->job.ids);
    mem_free(q->job.type_ids);
    mem_free(q->job.cu_seqlens);
    mem_free(q->job.skip);
    mem_free(q->job.out);
    mem_free(q->state);
    buf_free(&q->made);
    buf_free(&q->warnings);
    buf_free(&q->body.ignored);
    model_release(q->model);
    bool huge = q->huge;
    mem_free(q);
    if (huge)
        mem_give_back();
}

void api_request_answer(struct api_request *q) {
    struct service *s = q->service;
    if (q->reserved)
        scheduler_release(s->scheduler, q->reserved);
    if (q->error.msg.code) {
        if (q->error.msg.code == ERR_OVERLOADED)
            q->error.retry_after_s = retry_after(s);
        buf_free(&q->response.body);
        api_error_render(&q->error, q->dialect, &q->response);
    } else if (q->response.status == 0) {
        q->response.status = 200;
    }
    if (!q->response.content_type)
        q->response.content_type = "application/json";
    int64_t total_us = clock_now_us() - q->http->arrived_us;
    put_headers(s, q->http, q, total_us, &q->response.headers);
    if (q->response.body.failed || q->response.headers.failed) {
        q->error = (struct api_error){0};
        api_fail(&q->error, ERR_NOMEM, NULL, NULL, "no memory for the answer");
        buf_free(&q->response.body);
        buf_free(&q->response.headers);
        api_error_render(&q->error, q->dialect, &q->response);
        put_headers(s, q->http, q, total_us, &q->response.headers);
    }
    metrics_count_cut(s->metrics, q->cut);
    note(q, q->response.status, total_us);
    // on_gone reaches q until http_answer has returned
    http_answer(q->http, &q->response);
    request_free(q);
}

void api_request_stream(struct api_request *q, const char *content_type) {
    struct service *s = q->service;
    q->response.status = 200;
    q->response.content_type = content_type;
    buf_puts(&q->response.headers, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    put_headers(s, q->http, q, clock_now_us() - q->http->arrived_us, &q->response.headers);
    http_stream_begin(q->http, &q->response);
}

void api_request_end_stream(struct api_request *q) {
    struct api_error *err = q->error.msg.code ? &q->error : NULL;
    struct http_response said = {.status = 200};
    if (err)
        api_error_render(err, q->dialect, &said);
    q->streamed = true;
    note(q, said.status, clock_now_us() - q->http->arrived_us);
    buf_free(&said.body);
    buf_free(&said.headers);
    http_stream_end(q->http);
    request_free(q);
}

static void take_job_error(struct api_request *q) {
    q->error.msg = q->job.msg;
    q->error.msg.code = q->job.err;
    if (q->job.err == ERR_DEADLINE)
        api_fail(&q->error, ERR_DEADLINE, "deadline_exceeded", NULL,
                 "the request's deadline passed before its computing began");
    else if (q->job.err == ERR_NOT_FOUND) // it was removed since it was found
        api_fail(&q->error, ERR_NOT_FOUND, "model_not_found", "model", "%s", q->job.msg.text);
}

static void run_render(struct front_task *task, struct front_worker *w) {
    struct api_request *q = (struct api_request *)(void *)task;
    crash_work_on(q->http->id);
    q->worker = w;
    q->queue_us = q->job.queue_us;
    q->compute_us = q->job.compute_us;
    computed_join(&q->computed, &q->job.computed);
    if (q->job.err) {
        take_job_error(q);
    } else if (atomic_load(&q->http->gone)) {
        api_fail(&q->error, ERR_CANCELLED, NULL, NULL, "the client is gone");
    } else {
        enum err e = q->render(q, &q->error);
        q->error.msg.code = e;
    }
    api_request_answer(q);
}

// The scheduler's thread: hand it on, nothing else.
static void on_done(struct job *job) {
    struct api_request *q = job->ctx;
    bool big = !job->err && (job->seqs * q->model->dim > BIG_RESULT ||
                             (q->keep_body && q->http->body_len > BIG_BODY));
    q->task.run = run_render;
    front_post(q->service->front, &q->task, big ? FRONT_BIG_RENDER : FRONT_QUICK);
}

static void on_gone(struct http_request *r) {
    struct api_request *q = r->ctx;
    atomic_store(&q->job.cancelled, true);
    api_cancel_fn *cancel = atomic_load(&q->cancel);
    if (cancel)
        cancel(q);
}

static enum err parse_body(struct api_request *q, struct api_error *err) {
    // no number that means something is spelled longer: cJSON's bound, which files have, too
    static const struct json_limits limits = {
        .max_depth = 64, .max_values = 200000, .max_number = 63};
    struct json_issue issue = {0};
    enum err e = json_tree_parse(q->http->body, q->http->body_len, &limits, &q->body.tree, &issue,
                                 &err->msg);
    if (e) {
        if (e == ERR_INVALID) { // not a matter of the dialect: JSON that is none is 400 for all
            err->slug = issue.code;
            err->status = 400;
        }
        return e;
    }
    q->body.root = json_tree_root(q->body.tree);
    if (!json_is(q->body.root, JSON_OBJECT)) {
        err->status = 400;
        return api_fail(err, ERR_INVALID, "invalid_json", NULL, "the body must be a JSON object");
    }
    return ERR_OK;
}

static enum err prepare(struct api_request *q, struct api_error *err) {
    if (atomic_load(&q->http->gone))
        return api_fail(err, ERR_CANCELLED, NULL, NULL, "the client is gone");
    if (clock_now_us() > q->deadline_us)
        return api_fail(err, ERR_DEADLINE, "deadline_exceeded", NULL,
                        "the request's deadline passed before it was read");
    enum err e = parse_body(q, err);
    return e ? e : q->route->prepare(q, err);
}

static void run_prepare(struct front_task *task, struct front_worker *w) {
    struct api_request *q = (struct api_request *)(void *)task;
    crash_work_on(q->http->id);
    q->worker = w;
    int64_t start = clock_now_us();
    q->error.msg.code = prepare(q, &q->error);
    q->tokenize_us = clock_now_us() - start;
    if (q->error.msg.code || (!q->has_job && !q->work)) {
        q->has_job = false;
        api_request_answer(q);
        return;
    }
    if (!q->keep_body) {
        json_tree_free(q->body.tree);
        q->body.tree = NULL;
        q->body.root = NULL;
    }
    if (q->work) {
        q->work->start(q);
        return;
    }
    q->worker = NULL;
    q->job.reserved = q->reserved;
    q->reserved = 0;
    scheduler_submit(q->service->scheduler, &q->job); // q is not ours from here on
}

enum err api_request_set_job(struct api_request *q, struct api_texts *s, bool normalize,
                             api_render_fn *render, struct api_error *err) {
    q->tokens = s->tokens;
    q->cut = s->cut;
    if (q->cut)
        api_warn(q, "texts that were cut to the length that the model or the request allows: %zu",
                 q->cut);
    q->job.model = q->model;
    q->job.ids = s->ids;
    q->job.type_ids = s->type_ids;
    q->job.cu_seqlens = s->cu_seqlens;
    q->job.skip = s->skip;
    q->job.seqs = s->seqs;
    *s = (struct api_texts){0};
    size_t floats;
    if (mem_mul_overflows(q->job.seqs, q->model->dim, &floats))
        floats = SIZE_MAX;
    q->job.out = mem_alloc(floats, sizeof *q->job.out);
    if (!q->job.out)
        return api_fail(err, ERR_NOMEM, NULL, NULL, "no memory for the request's results");
    int64_t priority; // Cohere's: 0 first, 999 last; without it a request's size decides
    enum err e = api_get_int(q, "priority", 0, 999, -1, &priority, err);
    if (e)
        return e;
    q->job.normalize = normalize;
    // A request is interactive by its size, and no priority makes a long one so; it can be first in
    // bulk: of its key's, and with an admin's key of all.
    bool small = q->tokens <= INTERACTIVE_TOKENS;
    q->job.lane = small && priority <= 0 ? LANE_INTERACTIVE : LANE_BULK;
    if (priority == 0 && !small)
        q->job.urgent = q->key && q->key->admin ? JOB_BEFORE_ALL : JOB_BEFORE_OWN;
    q->job.owner = q->owner;
    q->job.weight = q->key ? q->key->weight : 1;
    q->job.deadline_us = q->deadline_us;
    q->job.done = on_done;
    q->job.ctx = q;
    q->job.request_id = q->http->id;
    q->render = render;
    q->has_job = true;
    return ERR_OK;
}

// The service's own bound, lowered by x-request-timeout-ms.
static enum err set_deadline(struct api_request *q, struct api_error *err) {
    int64_t ms = (int64_t)q->service->options.request_timeout_s * 1000;
    const char *header = http_request_header(q->http, "x-request-timeout-ms");
    if (header) {
        char *end;
        long long asked = strtoll(header, &end, 10);
        if (end == header || *end || asked < 0 || *header == '+' || *header == ' ')
            return api_fail(err, ERR_INVALID, "invalid_header", "x-request-timeout-ms",
                            "x-request-timeout-ms must be a number of milliseconds");
        ms = asked < ms ? (int64_t)asked : ms;
    }
    q->deadline_us = q->http->arrived_us + ms * 1000;
    return ERR_OK;
}

static size_t tokens_of(size_t body_len) { return body_len / 4 + 1; }

// Room in the queue, before anything is parsed: a full queue answers at once, and the bodies that
// wait for a pool thread are bounded too. Those still being read are not: each connection may have
// one, which api_request_admit refuses when the queue is full as its head arrives.
static enum err reserve(struct api_request *q, struct api_error *err) {
    if (http_is_unread(q->service->http))
        return api_fail(err, ERR_OVERLOADED, "answers_unread", NULL,
                        "too many answers wait for their readers; try again later");
    size_t tokens = tokens_of(q->http->body_len);
    enum err e = scheduler_reserve(q->service->scheduler, tokens, &err->msg);
    if (!e)
        q->reserved = tokens;
    return e;
}

static enum err check_state(const struct service *s, const struct api_route *route,
                            struct api_error *err) {
    int state = atomic_load(&s->state);
    // a drain answers what still comes; the scheduler says when it takes no more
    if (route->flags & API_LOADING || state != SERVICE_LOADING)
        return ERR_OK;
    return api_fail(err, ERR_UNAVAILABLE, "loading", NULL, "the models are still loading");
}

enum err api_request_admit(struct service *s, const struct api_route *route, size_t content_length,
                           struct api_error *err) {
    if (content_length <= BIG_BODY || route->flags & API_INLINE)
        return ERR_OK;
    enum err e = check_state(s, route, err); // the scheduler is there once the state is READY
    size_t tokens = tokens_of(content_length);
    if (e)
        return e;
    e = scheduler_reserve(s->scheduler, tokens, &err->msg);
    if (!e)
        scheduler_release(s->scheduler, tokens);
    if (e == ERR_OVERLOADED)
        err->retry_after_s = retry_after(s);
    return e;
}

void api_request_begin(struct service *s, struct http_request *r, const struct api_route *route) {
    struct api_request *q = mem_calloc(1, sizeof *q);
    if (!q) {
        struct api_error err = {0};
        struct http_response out = {0};
        api_fail(&err, ERR_NOMEM, NULL, NULL, "no memory for a request");
        api_refuse(s, r, route->dialect, &err, &out);
        api_note_refusal(s, r, route, out.status, &err);
        http_answer(r, &out);
        return;
    }
    q->service = s;
    q->http = r;
    const struct keys_key *key = r->ctx;
    q->key = key;
    q->owner = key ? key->owner : 0;
    q->route = route;
    q->dialect = route->dialect;
    enum err e = set_deadline(q, &q->error);
    if (!e)
        e = check_state(s, route, &q->error);
    if (!e)
        e = route->flags & API_INLINE ? route->prepare(q, &q->error) : reserve(q, &q->error);
    q->error.msg.code = e;
    if (e || route->flags & API_INLINE) {
        api_request_answer(q);
        return;
    }
    r->ctx = q;
    r->on_gone = on_gone;
    q->huge = r->body_len > HUGE_BODY;
    q->task.run = run_prepare;
    front_post(s->front, &q->task, r->body_len > BIG_BODY ? FRONT_BIG_PARSE : FRONT_QUICK);
}
