// Web pages of other origins (CORS, the Fetch standard's 3.2). Role: which pages may read an
// answer, and what they may send; --cors-origin says it. Thread rule: pure functions.
#ifndef TRINE_SERVICE_API_CORS_H
#define TRINE_SERVICE_API_CORS_H

#include "service/service.h"

// The header lines of any answer, errors among them, that let its page read it. None where no
// origin is allowed. For struct http_options: service is the struct service.
void api_put_cors(void *service, const struct http_request *r, struct buf *out);
// A preflight's answer, for a path that takes `methods` ("GET, HEAD").
void api_answer_preflight(struct service *s, const struct http_request *r, const char *methods,
                          struct http_response *out);

// What is wrong with an item of --cors-origin ("*", an origin, or several with commas between);
// NULL: nothing.
const char *api_cors_fault(const char *item);
// True when the items name '*', and an origin beside it that it makes pointless.
bool api_cors_contradicts(const char *const *items, size_t n);

#endif
