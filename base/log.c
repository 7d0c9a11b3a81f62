// See log.h. A line is formatted on the stack and handed over in one write, so lines of several
// threads never mix; poll with no wait tells whether the sink would block.
#include "base/log.h"

#include "base/utf8.h"

#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MESSAGE_BYTES = 1024,
    STRING_BYTES = 512, // of one field's value, as it is written
    LINE_BYTES = 8192,
    TAIL_BYTES = 2 * MESSAGE_BYTES + 64, // kept behind the fields for the message
};

static atomic_int least_level = LOG_LEVEL_INFO;
static atomic_bool as_json;
static atomic_uint_fast64_t dropped;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void log_init(enum log_level least, bool json) {
    atomic_store(&least_level, (int)least);
    atomic_store(&as_json, json);
}

bool log_is_on(enum log_level level) { return (int)level >= atomic_load(&least_level); }
enum log_level log_least(void) { return (enum log_level)atomic_load(&least_level); }
bool log_is_json(void) { return atomic_load(&as_json); }
const char *log_level_name(enum log_level level) { return level_names[level]; }
bool log_level_read(const char *name, enum log_level *out) {
    for (int i = 0; i <= LOG_LEVEL_OFF; i++) {
        if (strcmp(name, level_names[i]) != 0)
            continue;
        *out = (enum log_level)i;
        return true;
    }
    return false;
}
uint64_t log_dropped(void) { return atomic_load(&dropped); }

struct line {
    char bytes[LINE_BYTES];
    size_t len;
};

static void put(struct line *l, const char *s, size_t n) {
    if (n <= sizeof l->bytes - l->len) {
        memcpy(l->bytes + l->len, s, n);
        l->len += n;
    }
}

static void put_words(struct line *l, const char *s) { put(l, s, strlen(s)); }

// Finds what stands for the next character of a JSON string: its escape, the character itself, or
// U+FFFD for a byte that is not UTF-8. Returns how many bytes of s the character takes; *n is the
// length of what stands for it.
static size_t json_character(const char *s, size_t left, char out[8], size_t *n) {
    static const char hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        *n = 2;
        return 1;
    }
    if (c < 0x20 || c == 0x7f) {
        memcpy(out, "\\u00", 4);
        out[4] = hex[c >> 4];
        out[5] = hex[c & 15];
        *n = 6;
        return 1;
    }
    uint32_t cp;
    size_t taken = utf8_decode(s, left, &cp);
    if (taken)
        memcpy(out, s, taken);
    else
        memcpy(out, "\xef\xbf\xbd", 3);
    *n = taken ? taken : 3;
    return taken ? taken : 1;
}

// A quoted string of at most `most` bytes between its quotes.
static void put_json_string(struct line *l, const char *s, size_t most) {
    size_t left = strlen(s), written = 0;
    put(l, "\"", 1);
    while (left) {
        char out[8];
        size_t n, taken = json_character(s, left, out, &n);
        if (written + n + (left > taken ? 3 : 0) > most) {
            put(l, "...", 3);
            break;
        }
        put(l, out, n);
        written += n;
        s += taken;
        left -= taken;
    }
    put(l, "\"", 1);
}

static void put_field(struct line *l, const struct log_field *f) {
    char number[40];
    bool left_out = (f->type == LOG_STRING && !f->string) ||
                    (f->type == LOG_REAL && !isfinite(f->real)) ||
                    l->len + strlen(f->name) + STRING_BYTES + TAIL_BYTES > sizeof l->bytes;
    if (left_out)
        return;
    put(l, ",\"", 2);
    put_words(l, f->name);
    put(l, "\":", 2);
    switch (f->type) {
    case LOG_STRING:
        put_json_string(l, f->string, STRING_BYTES);
        return;
    case LOG_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)f->integer);
        break;
    case LOG_REAL:
        snprintf(number, sizeof number, "%.10g", f->real);
        if (!strpbrk(number, ".e")) // a whole one is a real too: who reads it sees one type always
            strcat(number, ".0");
        break;
    case LOG_BOOL:
        snprintf(number, sizeof number, "%s", f->integer ? "true" : "false");
        break;
    }
    put_words(l, number);
}

static void put_stamp(struct line *l) {
    struct timespec now;
    struct tm tm;
    char stamp[32], millis[8];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(millis, sizeof millis, ".%03dZ", (int)(now.tv_nsec / 1000000));
    put_words(l, stamp);
    put_words(l, millis);
}

static void put_json(struct line *l, enum log_level level, const char *event,
                     const struct log_field *fields, const char *message) {
    put_words(l, "{\"time\":\"");
    put_stamp(l);
    put_words(l, "\",\"level\":\"");
    put_words(l, level_names[level]);
    put_words(l, "\",\"event\":\"");
    put_words(l, event);
    put(l, "\"", 1);
    for (const struct log_field *f = fields; f && f->name; f++)
        put_field(l, f);
    put_words(l, ",\"message\":");
    put_json_string(l, message, 2 * (size_t)MESSAGE_BYTES);
    put(l, "}\n", 2);
}

static void put_text(struct line *l, enum log_level level, const char *message) {
    put_stamp(l);
    put(l, " ", 1);
    put_words(l, level_names[level]);
    put(l, "      ", 6 - strlen(level_names[level]));
    put_words(l, message);
    put(l, "\n", 1);
}

void log_event(enum log_level level, const char *event, const struct log_field *fields,
               const char *fmt, ...) {
    if (!log_is_on(level))
        return;
    char message[MESSAGE_BYTES];
    struct line line;
    line.len = 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    utf8_tidy(message); // no control character lets a logged name forge a line
    if (atomic_load(&as_json))
        put_json(&line, level, event, fields, message);
    else
        put_text(&line, level, message);
    struct pollfd sink = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&sink, 1, 0) != 1 || !(sink.revents & POLLOUT) ||
        write(STDERR_FILENO, line.bytes, line.len) < 0)
        atomic_fetch_add(&dropped, 1);
}
