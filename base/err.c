// See err.h.
#include "base/err.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

enum err err_vset(struct errmsg *msg, enum err code, const char *fmt, va_list ap) {
    if (msg) {
        vsnprintf(msg->text, sizeof msg->text, fmt, ap);
        utf8_tidy(msg->text); // names from files stand in messages
        msg->code = code;
    }
    return code;
}

enum err err_set(struct errmsg *msg, enum err code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_vset(msg, code, fmt, ap);
    va_end(ap);
    return code;
}

enum err err_prefix(struct errmsg *msg, enum err code, const char *fmt, ...) {
    if (msg) {
        char before[sizeof msg->text];
        memcpy(before, msg->text, sizeof before);
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(msg->text, sizeof msg->text, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof msg->text)
            snprintf(msg->text + n, sizeof msg->text - (size_t)n, ": %s", before);
        utf8_tidy(msg->text);
        msg->code = code;
    }
    return code;
}

const char *err_name(enum err code) {
    switch (code) {
    case ERR_OK:
        return "ok";
    case ERR_NOMEM:
        return "out_of_memory";
    case ERR_IO:
        return "io";
    case ERR_INVALID:
        return "invalid";
    case ERR_UNSUPPORTED:
        return "unsupported";
    case ERR_NOT_FOUND:
        return "not_found";
    case ERR_TOO_LARGE:
        return "too_large";
    case ERR_OVERLOADED:
        return "overloaded";
    case ERR_UNAVAILABLE:
        return "unavailable";
    case ERR_CANCELLED:
        return "cancelled";
    case ERR_DEADLINE:
        return "deadline_exceeded";
    case ERR_NONFINITE:
        return "non_finite";
    case ERR_LOST:
        return "lost";
    case ERR_INTERNAL:
    case ERR_COUNT:
        break;
    }
    return "internal";
}
