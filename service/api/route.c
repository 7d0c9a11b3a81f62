// See api.h: the route table, and what is checked before a body is read.
#include "service/api/api.h"

#include "base/clock.h"
#include "base/log.h"
#include "service/api/classify.h"
#include "service/api/cors.h"
#include "service/api/embed.h"
#include "service/api/exposition.h"
#include "service/api/generate/generate.h"
#include "service/api/info.h"
#include "service/api/request.h"
#include "service/api/rerank.h"
#include "service/api/tei.h"
#include "service/metrics.h"

#include <string.h>
#include <strings.h>

enum { PROBE = API_INLINE | API_OPEN | API_LOADING | API_PROBE };

static const struct api_route routes[] = {
    {"POST", "/v1/embeddings", API_DIALECT_OPENAI, 0, api_openai_embeddings},
    {"POST", "/v1/rerank", API_DIALECT_UNION, 0, api_rerank_v1},
    {"POST", "/rerank", API_DIALECT_UNION, 0, api_rerank_either},
    {"POST", "/v2/rerank", API_DIALECT_COHERE, 0, api_rerank_v2},
    {"POST", "/v1/embed", API_DIALECT_COHERE, 0, api_cohere_embed_v1},
    {"POST", "/v2/embed", API_DIALECT_COHERE, 0, api_cohere_embed_v2},
    {"POST", "/v1/completions", API_DIALECT_OPENAI, 0, api_completions},
    {"POST", "/v1/chat/completions", API_DIALECT_OPENAI, 0, api_chat_completions},
    {"POST", "/v1/classify", API_DIALECT_OPENAI, 0, api_classify},
    {"POST", "/embed", API_DIALECT_TEI, 0, api_tei_embed},
    {"POST", "/embed_sparse", API_DIALECT_TEI, 0, api_tei_embed_sparse},
    {"POST", "/predict", API_DIALECT_TEI, 0, api_tei_predict},
    {"POST", "/similarity", API_DIALECT_TEI, 0, api_tei_similarity},
    {"POST", "/tokenize", API_DIALECT_TEI, 0, api_tei_tokenize},
    {"POST", "/decode", API_DIALECT_TEI, 0, api_tei_decode},
    {"POST", "/", API_DIALECT_TEI, 0, api_tei_any},
    {"POST", "/invocations", API_DIALECT_TEI, 0, api_tei_any},
    {"GET", "/", API_DIALECT_OPENAI, PROBE, api_root},
    {"GET", "/v1/models", API_DIALECT_OPENAI, API_INLINE, api_models},
    {"GET", "/v1/models/", API_DIALECT_OPENAI, API_INLINE, api_model},
    {"GET", "/info", API_DIALECT_TEI, API_INLINE, api_tei_info},
    {"GET", "/livez", API_DIALECT_OPENAI, PROBE, api_livez},
    {"GET", "/readyz", API_DIALECT_OPENAI, PROBE, api_readyz},
    {"GET", "/health", API_DIALECT_OPENAI, PROBE, api_readyz},
    {"GET", "/ping", API_DIALECT_OPENAI, PROBE, api_readyz},
    {"GET", "/metrics", API_DIALECT_OPENAI, API_INLINE | API_LOADING, api_metrics},
};
enum { ROUTES = sizeof routes / sizeof *routes };
_Static_assert(ROUTES + 1 <= METRICS_MAX_ROUTES, "each route has its counters");

int api_route_count(void) { return ROUTES + 1; }

int api_route_index(const struct api_route *route) {
    return route ? (int)(route - routes) : ROUTES;
}

const char *api_route_name(int route) { return route < ROUTES ? routes[route].path : "other"; }

static bool path_matches(const struct api_route *route, const char *path) {
    size_t n = strlen(route->path);
    if (n > 1 && route->path[n - 1] == '/')
        return strncmp(path, route->path, n) == 0 && path[n];
    return strcmp(path, route->path) == 0;
}

// A route's own path, or, where no route has it, that with /v1 before it:
// text-embeddings-inference, Infinity, LocalAI and llama.cpp answer /embeddings and
// /chat/completions.
static bool answers(const struct api_route *route, const char *path, bool bare) {
    if (!bare)
        return path_matches(route, path);
    return strncmp(route->path, "/v1/", 4) == 0 && strncmp(path, "/v1/", 4) != 0 &&
           path_matches(&(struct api_route){.path = route->path + 3}, path);
}

const char *api_route_rest(const struct api_route *route, const char *path) {
    return path + strlen(route->path) - (path_matches(route, path) ? 0 : 3);
}

static bool is_method(const struct api_route *route, const struct http_request *r) {
    // http/ leaves the body of an answer to HEAD out
    return strcmp(route->method, strcmp(r->method, "HEAD") == 0 ? "GET" : r->method) == 0;
}

// The path's route for the method, or else one that it has for another; NULL: no such path.
static const struct api_route *find(const struct http_request *r) {
    const struct api_route *other = NULL;
    for (int bare = 0; bare < 2 && !other; bare++) {
        for (size_t i = 0; i < ROUTES; i++) {
            if (!answers(&routes[i], r->path, bare))
                continue;
            if (is_method(&routes[i], r))
                return &routes[i];
            other = &routes[i];
        }
    }
    return other;
}

// The route as api_look found it; NULL: no such path, or not with this method.
static const struct api_route *route_of(const struct http_request *r) {
    const struct api_route *route = r->route;
    return route && is_method(route, r) ? route : NULL;
}

bool api_look(void *service, struct http_request *r) {
    (void)service;
    r->route = find(r);
    const struct api_route *route = route_of(r);
    return route && route->flags & API_PROBE;
}

void api_note_cut(void *service, const struct http_request *r, const char *why) {
    (void)service;
    const char *name = api_route_name(api_route_index(route_of(r)));
    log_event(LOG_LEVEL_WARN, "answer_cut",
              LOG_FIELDS(log_string("id", r->id), log_string("method", r->method),
                         log_string("route", name), log_string("cut", why)),
              "%s %s: the answer was cut: %s [%s]", r->method, name, why, r->id);
}

// "GET, HEAD, POST": what the route's path takes.
static void put_methods(const struct api_route *route, struct buf *out) {
    bool get = false, post = false;
    for (size_t i = 0; i < ROUTES; i++) {
        bool same = strcmp(routes[i].path, route->path) == 0;
        get = get || (same && strcmp(routes[i].method, "GET") == 0);
        post = post || (same && strcmp(routes[i].method, "POST") == 0);
    }
    buf_printf(out, "%s%s%s", get ? "GET, HEAD" : "", get && post ? ", " : "", post ? "POST" : "");
}

// other: the path's route for another method; NULL: no such path.
static enum err refuse_path(const struct api_route *other, struct api_error *err,
                            struct http_response *out) {
    if (!other)
        return api_fail(err, ERR_NOT_FOUND, "unknown_path", NULL, "no such path");
    struct buf methods = {0};
    put_methods(other, &methods);
    buf_printf(&out->headers, "Allow: %s\r\n", methods.failed ? "" : methods.data);
    err->status = 405;
    enum err e = api_fail(err, ERR_INVALID, "method_not_allowed", NULL, "this path takes %s",
                          methods.failed ? other->method : methods.data);
    buf_free(&methods);
    return e;
}

// The key in an Authorization header: behind "Bearer", or bare.
static const char *bare_key(const char *header) {
    if (strncasecmp(header, "Bearer", 6) == 0 && strchr(" \t", header[6]))
        header += 6; // the byte behind is a blank, or the end
    return header + strspn(header, " \t");
}

static enum err check_key(const struct service *s, struct http_request *r, struct api_error *err,
                          struct http_response *out) {
    static const char *const places[] = {"Authorization", "x-api-key", "api-key"};
    bool given = false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *header = http_request_header(r, places[i]);
        const char *key = header ? bare_key(header) : "";
        const struct keys_key *found = *key ? keys_match(s->keys, key, strlen(key)) : NULL;
        given = given || *key;
        if (found) {
            r->ctx = (void *)found; // for api_request_begin
            return ERR_OK;
        }
    }
    buf_puts(&out->headers, "WWW-Authenticate: Bearer\r\n");
    err->status = 401;
    return api_fail(err, ERR_INVALID, "invalid_api_key", NULL,
                    given ? "the API key is not one of this service's"
                          : "an API key is needed: send \"Authorization: Bearer KEY\"");
}

// No type at all counts as JSON.
static enum err check_content_type(const struct http_request *r, struct api_error *err) {
    static const char json[] = "application/json";
    const char *type = http_request_header(r, "Content-Type");
    size_t n = sizeof json - 1;
    if (!type || !*type)
        return ERR_OK;
    if (strncasecmp(type, json, n) == 0 && strchr("; \t", type[n]))
        return ERR_OK; // the byte behind is one of these, or the end
    err->status = 415;
    return api_fail(err, ERR_INVALID, "unsupported_media_type", "Content-Type",
                    "send \"Content-Type: application/json\"");
}

// Bodies are taken as they are: what is packed would be read as broken JSON.
static enum err check_content_encoding(const struct http_request *r, struct api_error *err,
                                       struct http_response *out) {
    const char *coding = http_request_header(r, "Content-Encoding");
    while (coding && *coding) {
        coding += strspn(coding, " \t,");
        size_t n = strcspn(coding, " \t,");
        if (n && !(n == 8 && strncasecmp(coding, "identity", 8) == 0)) {
            buf_puts(&out->headers, "Accept-Encoding: identity\r\n");
            err->status = 415;
            return api_fail(err, ERR_INVALID, "unsupported_content_encoding", "Content-Encoding",
                            "send the body without Content-Encoding: only identity is read");
        }
        coding += n;
    }
    return ERR_OK;
}

// OPTIONS for a path that is there, or for the server itself ("*", RFC 9110, 9.3.7). True:
// answered.
static bool answer_options(struct service *s, const struct http_request *r,
                           struct http_response *out) {
    if (strcmp(r->method, "OPTIONS") != 0)
        return false;
    if (strcmp(r->path, "*") == 0) {
        out->status = 204;
        buf_puts(&out->headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
        api_put_cors(s, r, &out->headers);
        return true;
    }
    if (!r->route || !s->options.cors_origin_count)
        return false;
    struct buf methods = {0};
    put_methods(r->route, &methods);
    api_answer_preflight(s, r, methods.failed ? "GET, HEAD, POST" : methods.data, out);
    buf_free(&methods);
    return true;
}

void api_check_head(void *service, struct http_request *r, size_t content_length,
                    struct http_response *refusal) {
    struct service *s = service;
    struct api_error err = {0};
    const struct api_route *said = r->route, *route = route_of(r);
    enum err e = ERR_OK;
    if (!route && answer_options(s, r, refusal))
        return;
    if (!route)
        e = refuse_path(said, &err, refusal);
    else if (s->keys && !(route->flags & API_OPEN))
        e = check_key(s, r, &err, refusal);
    if (!e && strcmp(r->method, "POST") == 0) {
        e = check_content_type(r, &err);
        if (!e)
            e = check_content_encoding(r, &err, refusal);
    }
    if (!e)
        e = api_request_admit(s, route, content_length, &err);
    if (!e)
        return;
    api_refuse(s, r, said ? said->dialect : API_DIALECT_OPENAI, &err, refusal);
    api_note_refusal(s, r, said, refusal->status, &err);
}

void api_handle(void *service, struct http_request *r) {
    api_request_begin(service, r, r->route); // which api_check_head let through
}
