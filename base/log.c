// See log.h. A line is formatted on the stack and handed over in one write, so lines of several
// threads never mix; poll with no wait tells whether the sink would block.
#include "base/log.h"

#include "base/utf8.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int least_level = LOG_LEVEL_INFO;
static atomic_bool as_json;
static atomic_uint_fast64_t dropped;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void log_init(enum log_level least, bool json) {
    atomic_store(&least_level, (int)least);
    atomic_store(&as_json, json);
}

bool log_level_parse(const char *name, enum log_level *level) {
    for (int i = 0; i <= LOG_LEVEL_OFF; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

uint64_t log_dropped(void) { return atomic_load(&dropped); }

// The text is tidy (utf8_tidy): no control character lets a logged name forge a line. JSON also
// escapes quotes and backslashes.
static void escape(char *out, size_t cap, const char *in, bool json) {
    size_t n = 0;
    for (; *in && n + 2 < cap; in++) {
        if (json && (*in == '"' || *in == '\\'))
            out[n++] = '\\';
        out[n++] = *in;
    }
    out[n] = '\0';
}

void log_line(enum log_level level, const char *fmt, ...) {
    if ((int)level < atomic_load(&least_level))
        return;
    char text[1024], clean[2048], line[2304];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    utf8_tidy(text);
    bool json = atomic_load(&as_json);
    escape(clean, sizeof clean, text, json);

    struct timespec now;
    struct tm tm;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line, sizeof line,
                     json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"message\":\"%s\"}\n"
                          : "%s.%03ldZ %-5s %s\n",
                     stamp, now.tv_nsec / 1000000, level_names[level], clean);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    struct pollfd sink = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&sink, 1, 0) != 1 || !(sink.revents & POLLOUT) || write(STDERR_FILENO, line, len) < 0)
        atomic_fetch_add(&dropped, 1);
}
