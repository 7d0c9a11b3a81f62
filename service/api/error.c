// See error.h.
#include "service/api/error.h"

#include "base/json_text.h"

#include <stdarg.h>
#include <string.h>

enum err api_fail(struct api_error *e, enum err code, const char *slug, const char *param,
                  const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)err_vset(&e->msg, code, fmt, ap);
    va_end(ap);
    e->slug = slug;
    e->param = param;
    return code;
}

static int status_of(enum err code) {
    switch (code) {
    case ERR_OK:
        return 200;
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
        return 400;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_TOO_LARGE:
        return 413;
    case ERR_OVERLOADED:
        return 429;
    case ERR_CANCELLED: // nobody is there to read it
        return 499;
    case ERR_NOMEM:
    case ERR_UNAVAILABLE:
    case ERR_LOST: // is given again by the scheduler: a client should not meet it
        return 503;
    case ERR_DEADLINE:
        return 504;
    case ERR_IO:
    case ERR_NONFINITE:
    case ERR_INTERNAL:
    case ERR_COUNT:
        break;
    }
    return 500;
}

static const char *slug_of(const struct api_error *e) {
    if (e->slug)
        return e->slug;
    switch (e->msg.code) {
    case ERR_INVALID:
        return "invalid_value";
    case ERR_OVERLOADED:
        return "queue_full";
    default:
        return err_name(e->msg.code);
    }
}

static bool slug_is(const struct api_error *e, const char *slug) {
    return e->slug && strcmp(e->slug, slug) == 0;
}

// text-embeddings-inference answers 422 to what is well-formed JSON but no valid request; empty
// inputs are 400 there, and so, everywhere, is a token id that no vocabulary has.
static bool is_tei_validation(const struct api_error *e) {
    bool ours = e->msg.code == ERR_INVALID || e->msg.code == ERR_UNSUPPORTED;
    return ours && !slug_is(e, "empty_input") && !slug_is(e, "invalid_token_id");
}

static int status_in(const struct api_error *e, enum api_dialect d) {
    if (e->status)
        return e->status;
    if (d == API_DIALECT_TEI && is_tei_validation(e))
        return 422;
    if (d == API_DIALECT_TEI && e->msg.code == ERR_INTERNAL)
        return 424;
    return status_of(e->msg.code);
}

static const char *openai_type(int status) {
    if (status == 429)
        return "overloaded";
    if (status == 503 || status == 504)
        return "unavailable";
    return status >= 500 ? "internal" : "invalid_request_error";
}

static const char *tei_type(const struct api_error *e) {
    if (slug_is(e, "empty_input"))
        return "Empty";
    if (slug_is(e, "tokenizer"))
        return "Tokenizer";
    if (e->status == 424)
        return "Backend";
    switch (e->msg.code) {
    case ERR_OVERLOADED:
        return "Overloaded";
    case ERR_UNAVAILABLE:
    case ERR_NOMEM:
    case ERR_LOST:
        return "Unhealthy";
    case ERR_IO:
    case ERR_DEADLINE:
    case ERR_CANCELLED:
    case ERR_NONFINITE:
    case ERR_INTERNAL:
    case ERR_COUNT:
        return "Backend";
    default:
        return "Validation";
    }
}

static void put_member(struct buf *out, const char *key, const char *value) {
    buf_printf(out, "\"%s\":", key);
    if (value)
        json_quote(out, value, strlen(value));
    else
        buf_puts(out, "null");
}

static void put_openai(struct buf *out, const struct api_error *e, int status) {
    buf_puts(out, "\"error\":{");
    put_member(out, "message", e->msg.text);
    buf_putc(out, ',');
    put_member(out, "type", openai_type(status));
    buf_putc(out, ',');
    put_member(out, "param", e->param);
    buf_putc(out, ',');
    put_member(out, "code", slug_of(e));
    buf_puts(out, "},");
    put_member(out, "detail", e->msg.text);
}

void api_error_render(const struct api_error *e, enum api_dialect d, struct http_response *out) {
    out->status = status_in(e, d);
    out->content_type = "application/json";
    buf_reset(&out->body);
    buf_putc(&out->body, '{');
    switch (d) {
    case API_DIALECT_OPENAI:
        put_openai(&out->body, e, out->status);
        break;
    case API_DIALECT_TEI:
        put_member(&out->body, "error", e->msg.text);
        buf_putc(&out->body, ',');
        put_member(&out->body, "error_type", tei_type(e));
        break;
    case API_DIALECT_UNION:
        put_openai(&out->body, e, out->status);
        buf_putc(&out->body, ',');
        put_member(&out->body, "message", e->msg.text);
        break;
    case API_DIALECT_COHERE:
        put_member(&out->body, "message", e->msg.text);
        break;
    }
    buf_putc(&out->body, '}');
    if (out->status == 429 || out->status == 503)
        buf_printf(&out->headers, "Retry-After: %d\r\n", e->retry_after_s ? e->retry_after_s : 1);
    // asking again would wait as long, or compute the same NaN
    if (e->msg.code == ERR_DEADLINE || e->msg.code == ERR_NONFINITE)
        buf_puts(&out->headers, "x-should-retry: false\r\n");
}
