// Errors as the dialects say them. Role: the one switch from enum err to an HTTP status, and the
// shape of an error body in each dialect. A message never holds a request's own text.
// Thread rule: pure functions over what the caller owns.
#ifndef TRINE_SERVICE_API_ERROR_H
#define TRINE_SERVICE_API_ERROR_H

#include "base/err.h"
#include "service/http/http.h"

enum api_dialect {
    // {"error":{"message","type","param","code"},"detail"}: OpenAI, Jina and our own. Clients of
    // Jina, Voyage and Xinference read `detail`, the message alone
    API_DIALECT_OPENAI,
    API_DIALECT_TEI,    // {"error","error_type"}
    API_DIALECT_COHERE, // {"message"}
    API_DIALECT_UNION,  // /v1/rerank speaks Jina and Cohere v1: OpenAI's members and "message" in
                        // one
};

struct api_error {
    struct errmsg msg;
    const char *slug;  // the OpenAI shape's `code`; NULL: the one that fits msg.code
    const char *param; // the field at fault, or NULL
    int status;        // 0: what the code and the dialect give
    int retry_after_s; // on 429 and 503; 0: 1
};

// Fills `e` and returns code. slug and param are static strings or NULL.
enum err api_fail(struct api_error *e, enum err code, const char *slug, const char *param,
                  const char *fmt, ...) PRINTF_LIKE(5, 6);

// The whole answer but for the headers that every route has: status, body, Retry-After,
// x-should-retry. Where memory is out a buffer is `failed`, and http/ answers 503 in its place.
void api_error_render(const struct api_error *e, enum api_dialect d, struct http_response *out);

#endif
