// The API: routes, dialects and the life of a request. Role: what http.h's options are given.
// A request goes: look (socket thread: finds its route) -> check_head (path, method, key, content
// type, and whether the queue has room for a large body) -> handle (socket thread: reserves room in
// the queue, posts to the front pool) -> a pool thread parses, validates and tokenizes into a job
// and submits it -> the engine's `done` posts it back -> a pool thread renders and answers. No
// thread ever sleeps for another. Thread rule: every function from any thread.
#ifndef TRINE_SERVICE_API_API_H
#define TRINE_SERVICE_API_API_H

#include "service/service.h"

// For struct http_options, whose ctx is the struct service.
void api_check_head(void *service, struct http_request *r, size_t content_length,
                    struct http_response *refusal);
// Finds the request's route, once and for all that follows. True for /livez and its like, which are
// answered whatever else goes on.
bool api_look(void *service, struct http_request *r);
// An answer that was given, and logged, did not reach its reader whole: the log says why.
void api_note_cut(void *service, const struct http_request *r, const char *why);
void api_handle(void *service, struct http_request *r);

// Routes as metrics count them: api_route_count() names, the last one for all other paths.
int api_route_count(void);
const char *api_route_name(int route);

#endif
