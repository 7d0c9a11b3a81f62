// The running service as routes and dialects are given it: its options, models, scheduler, HTTP
// server and the front pool between them. Role: what they look things up in; it starts and ends
// nothing (server.h) and knows no route. Thread rule: each part by its own rules.
#ifndef TRINE_SERVICE_SERVICE_H
#define TRINE_SERVICE_SERVICE_H

#include "engine/engine.h"
#include "service/http/http.h"

struct metrics;
struct front;

struct service_options {
    const char *host;         // "127.0.0.1"
    int port;                 // 8080; 0 picks a free one
    const char *api_key_file; // NULL: no keys asked
    size_t max_client_batch;  // inputs a request, 2,048
    size_t max_connections;   // 256; each has a thread, some 80 KiB
    size_t max_body;          // bytes, 32 MiB
    int request_timeout_s;    // 60
    int stream_comment_s;     // 10; 0: none is sent
    int drain_delay_s;        // 5
    int drain_timeout_s;      // 30
    bool auto_truncate;       // truncate on every route unless the request says otherwise
    bool accept_token_ids;    // on /v1/embeddings (FAULTS 66)
    bool no_port;             // none is opened: for a start that is only tried
    // Web pages that may call, as service/api/cors.h reads them; 0: none.
    const char *const *cors_origins;
    size_t cors_origin_count;
};

struct service {
    struct service_options options;
    struct engine *engine; // borrowed; NULL until service_load_models
    // The engine's, for short; scheduler: NULL while loading.
    struct registry *models;
    struct scheduler *scheduler;
    struct http_server *http;
    struct front *front;
    struct metrics *metrics;
    struct keys *keys; // NULL: none asked
    atomic_int state;  // enum service_state
    // Requests for generated text so far: their numbers, for turns among those without a key.
    atomic_uint_fast64_t generations;
};

enum service_state { SERVICE_LOADING, SERVICE_READY, SERVICE_DRAINING };

// The model that a request's `model` names (served name or alias, with or without ":latest"), or,
// for NULL, the first loaded one with that task; held for the caller (model_release). NULL: none.
struct model *service_find_model(const struct service *s, const char *name, enum model_task task);
// NULL where a request's `model` names nothing: what clients send that must send something ("",
// "dummy", "tgi", the service's own URL), unless a model is called so. Else name.
const char *service_model_name(const struct service *s, const char *name);

#endif
