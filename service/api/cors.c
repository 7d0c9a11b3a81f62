// See cors.h. What is sent back of an origin is the option's own spelling, and of a preflight's
// header names only what is one: nothing else of a request is echoed.
#include "service/api/cors.h"

#include <string.h>
#include <strings.h>

enum { ASKED_MOST = 4096 }; // bytes of header names that a preflight may ask for

// The next origin of an item; its length, 0 at the end.
static size_t next_origin(const char **item) {
    *item += strspn(*item, " ,");
    return strcspn(*item, " ,");
}

const char *api_cors_fault(const char *item) {
    size_t n;
    bool any = false;
    for (const char *p = item; (n = next_origin(&p)) > 0; p += n) {
        any = true;
        if ((n == 1 && *p == '*') || (n == 4 && strncmp(p, "null", 4) == 0))
            continue;
        const char *host = memchr(p, ':', n);
        if (!host || host == p || (size_t)(p + n - host) < 4 || strncmp(host, "://", 3) != 0)
            return "is not an origin, as https://example.org or http://localhost:5173, nor '*'";
        for (const char *c = host + 3; c < p + n; c++)
            if (*c <= ' ' || *c >= 0x7f || strchr("/?#@\"\\", *c))
                return "must end with the host or port: an origin has no path and no last '/'";
    }
    return any ? NULL : "names no origin";
}

bool api_cors_contradicts(const char *const *items, size_t n) {
    bool all = false, one = false;
    size_t len;
    for (size_t i = 0; i < n; i++)
        for (const char *p = items[i]; (len = next_origin(&p)) > 0; p += len) {
            bool any = len == 1 && *p == '*';
            all = all || any;
            one = one || !any;
        }
    return all && one;
}

// The option's spelling of the origin that an answer allows; its length, 0: none. One that is the
// only one, or '*', is said to everybody, so that a cache may keep it.
static size_t find_origin(const struct service_options *o, const char *origin, const char **found) {
    size_t n, len = 0, count = 0, first = 0;
    for (size_t i = 0; i < o->cors_origin_count; i++) {
        for (const char *p = o->cors_origins[i]; (n = next_origin(&p)) > 0; p += n) {
            bool all = n == 1 && *p == '*';
            if (all || (origin && strlen(origin) == n && strncasecmp(p, origin, n) == 0)) {
                *found = p;
                len = n;
            }
            if (all)
                return len;
            if (count++ == 0)
                first = n;
        }
    }
    if (count != 1)
        return len;
    *found = o->cors_origins[0] + strspn(o->cors_origins[0], " ,");
    return first;
}

static bool allow(const struct service *s, const struct http_request *r, struct buf *out) {
    const char *found = NULL;
    size_t n = find_origin(&s->options, http_request_header(r, "Origin"), &found);
    if (n)
        buf_printf(out, "Access-Control-Allow-Origin: %.*s\r\n", (int)n, found);
    return n > 0;
}

void api_put_cors(void *service, const struct http_request *r, struct buf *out) {
    const struct service *s = service;
    if (!s->options.cors_origin_count)
        return;
    if (allow(s, r, out)) // a wildcard covers all but what older browsers want by name
        buf_puts(out, "Access-Control-Expose-Headers: *, x-request-id, x-warning, x-truncated, "
                      "x-compute-type, x-compute-tokens, x-total-time, x-tokenization-time, "
                      "x-queue-time, x-inference-time, x-should-retry, Retry-After\r\n");
    buf_puts(out, "Vary: Origin\r\n");
}

// "authorization, x-stainless-os": names and commas.
static bool are_names(const char *list) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "!#$%&'*+-.^_`|~ ,\t";
    size_t n = strlen(list);
    return n > 0 && n <= ASKED_MOST && strspn(list, allowed) == n;
}

void api_answer_preflight(struct service *s, const struct http_request *r, const char *methods,
                          struct http_response *out) {
    struct buf *h = &out->headers;
    out->status = 204;
    if (allow(s, r, h)) {
        const char *asked = http_request_header(r, "Access-Control-Request-Headers");
        const char *private = http_request_header(r, "Access-Control-Request-Private-Network");
        buf_printf(h,
                   "Access-Control-Allow-Methods: %s, OPTIONS\r\n"
                   "Access-Control-Allow-Headers: %s\r\nAccess-Control-Max-Age: 7200\r\n",
                   methods,
                   asked && are_names(asked) ? asked
                                             : "Authorization, Content-Type, X-Api-Key, Api-Key, "
                                               "X-Request-Id, X-Request-Timeout-Ms");
        if (private && strcmp(private, "true") == 0)
            buf_puts(h, "Access-Control-Allow-Private-Network: true\r\n");
    }
    buf_puts(h, "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n");
}
