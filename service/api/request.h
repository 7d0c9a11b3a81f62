// A request between its arrival and its answer. Role: what a dialect's file sees of the service;
// the route table and the request's life are route.c's and request.c's, a dialect only
// prepares a job from a body and renders rows.
// Thread rule: one thread at a time owns a request: the socket's until it is posted, a pool
// thread's, the engine's while the job runs, a pool thread's again. Only job.cancelled is set from
// outside.
#ifndef TRINE_SERVICE_API_REQUEST_H
#define TRINE_SERVICE_API_REQUEST_H

#include "service/api/body.h"
#include "service/api/inputs.h"
#include "service/api/texts.h"
#include "service/front.h"
#include "service/keys.h"
#include "service/service.h"

struct api_request;

// Makes of q->body q->job's sequences (api_request_set_job), or sets q->work, or answers at once
// by writing q->response.body. On an error, err says why.
typedef enum err api_prepare_fn(struct api_request *q, struct api_error *err);
// Writes q->response.body from the job's finished rows.
typedef enum err api_render_fn(struct api_request *q, struct api_error *err);

// What a request does that is no job: a generation (generate.h).
struct api_work {
    // After prepare, on its thread: hands the work over. q is not the caller's from then on; it
    // ends with api_request_answer, or with api_request_stream and api_request_end_stream.
    void (*start)(struct api_request *q);
    void (*free)(struct api_request *q); // what hangs on q->state
};
// The client is gone. A socket thread, any time until the answer.
typedef void api_cancel_fn(struct api_request *q);

enum api_route_flags {
    API_OPEN = 1,    // needs no key
    API_INLINE = 2,  // answered on the socket thread: no parsing, no waiting
    API_LOADING = 4, // answers while models load
    API_PROBE = 8,   // answered even where all connections are busy
};

struct api_route {
    const char *method, *path; // a path that ends in '/' and is not "/" takes one more segment
    enum api_dialect dialect;
    unsigned flags;
    api_prepare_fn *prepare;
};

struct api_request {
    struct front_task task;
    struct service *service;
    struct http_request *http;
    const struct api_route *route;
    enum api_dialect dialect;    // of errors; the route's until the body tells
    struct api_body body;        // of a POST
    bool keep_body;              // what render needs borrows from the body
    bool huge;                   // its body made a tree of many megabytes
    struct front_worker *worker; // while a pool thread has the request
    struct http_response response;

    const struct model *model; // held; NULL: it chose none
    struct job job;
    bool has_job;
    size_t reserved;    // tokens held until the job takes them over, or the answer without one
    size_t tokens, cut; // of the job; inputs that were truncated
    size_t tokens_cached, tokens_out; // of a generation, once it has ended; both are in tokens
    bool streamed;
    struct computed computed;     // the same, as far as it has come
    int64_t queue_us, compute_us; // of the job or the generation, once it has ended
    api_render_fn *render;
    const struct api_work *work; // NULL: a job, or nothing
    _Atomic(api_cancel_fn *) cancel;
    const struct keys_key *key; // it came with; NULL: none is asked
    uint64_t owner;             // the key's; 0: none
    void *state;                // the dialect's own: one block, freed by mem_free
    struct buf made;            // the dialect's own texts, freed with the request
    struct buf warnings;        // by api_warn
    int64_t deadline_us, tokenize_us;
    struct api_error error;
};

// --- for dialects ---

// Gives the body its table and checks it (api_body_check); counts what it takes without effect.
enum err api_know(struct api_request *q, const struct api_members *table,
                  struct api_error *err) MUST_CHECK;
// The body's member of this very name; NULL: absent or null.
static inline const struct json_node *api_value(const struct api_request *q, const char *key) {
    return json_node_value(q->body.root, key);
}
// The same by any of its names (api_body_sent).
static inline const struct json_node *api_sent(const struct api_request *q, const char *key,
                                               const char **name) {
    return api_body_sent(&q->body, key, name);
}

// Reads the typed member `key`, as api_sent finds it; on a wrong type or value err names it. On a
// route with a table a boolean may be the string "true" or "false" too: there are clients that send
// all their parameters so.
enum err api_get_bool(const struct api_request *q, const char *key, bool fallback, bool *out,
                      struct api_error *err) MUST_CHECK;
enum err api_get_int(const struct api_request *q, const char *key, int64_t min, int64_t max,
                     int64_t fallback, int64_t *out, struct api_error *err) MUST_CHECK;
enum err api_get_double(const struct api_request *q, const char *key, double min, double max,
                        double fallback, double *out, struct api_error *err) MUST_CHECK;
enum err api_get_string(const struct api_request *q, const char *key, const char *fallback,
                        const char **out, struct api_error *err) MUST_CHECK;
// `truncate`: true, false, or Cohere's "NONE", "START", "END". fallback where it is absent.
enum err api_get_truncate(const struct api_request *q, bool fallback, bool *truncate,
                          enum truncate_side *side, struct api_error *err) MUST_CHECK;

// Says in the answer's `x-warning` header what its reader should know: something in the request had
// no effect, or not the one that it may be sent for. Before the answer or the stream begins. A
// warning never fails a request: where memory is out it is left away. Several are joined by "; ".
void api_warn(struct api_request *q, const char *fmt, ...) PRINTF_LIKE(2, 3);

// q->model from the body's `model`; where it names none, the first loaded model of the first task
// in `order` that any has. ERR_NOT_FOUND model_not_found, ERR_INVALID wrong_task.
enum err api_choose_model(struct api_request *q, const enum model_task *order, size_t n,
                          struct api_error *err) MUST_CHECK;

// The prompt that `prompt_name`, or `input_type`/`task`, choose, else the model's default; NULL:
// none. ERR_INVALID unknown_prompt, with the names there are.
enum err api_choose_prompt(const struct api_request *q, const char **prompt,
                           struct api_error *err) MUST_CHECK;

// The same by `prompt_name` alone; *named: it was given. Of a cross-encoder it is the query's, or
// the first text's.
enum err api_choose_named_prompt(const struct api_request *q, const char **prompt, bool *named,
                                 struct api_error *err) MUST_CHECK;

// The inputs under `key`, with objects that hold a text made strings. Errors as api_inputs_read's.
enum err api_read_texts(struct api_request *q, const char *key, struct api_inputs *out,
                        struct api_error *err) MUST_CHECK;

// Moves `s` into q->job with room for the rows, and its urgency. ERR_NOMEM (s is freed either way).
enum err api_request_set_job(struct api_request *q, struct api_texts *s, bool normalize,
                             api_render_fn *render, struct api_error *err) MUST_CHECK;

// Answers with an error (q->error), or with what is in q->response. q is gone afterwards.
void api_request_answer(struct api_request *q);
// The head of a streamed answer, status 200, with the headers that every route has.
void api_request_stream(struct api_request *q, const char *content_type);
// Its end, counted as q->error says. q is gone afterwards.
void api_request_end_stream(struct api_request *q);

// --- for route.c ---

int api_route_index(const struct api_route *route); // NULL: the one for unknown paths
// What a path has behind that of its route, with or without its /v1.
const char *api_route_rest(const struct api_route *route, const char *path);

// Before a large body is read: ERR_OVERLOADED when the queue has no room for it now,
// ERR_UNAVAILABLE while loading or draining.
enum err api_request_admit(struct service *s, const struct api_route *route, size_t content_length,
                           struct api_error *err) MUST_CHECK;
// Takes an accepted request over; answers it, now or later, exactly once. r->ctx is the API key
// that it came with, or NULL.
void api_request_begin(struct service *s, struct http_request *r, const struct api_route *route);
// Counts and logs a refusal that no struct api_request was made for; route NULL: an unknown path.
// r->ctx as for api_request_begin.
void api_note_refusal(const struct service *s, const struct http_request *r,
                      const struct api_route *route, int status, const struct api_error *err);
// An error answered on the socket thread, with the headers that every route has.
void api_refuse(struct service *s, struct http_request *r, enum api_dialect d,
                const struct api_error *err, struct http_response *out);

#endif
