// Log lines on stderr, one an event, as text or JSON. Writing never blocks: a line that cannot be
// written at once is dropped and counted (FAULTS 62). Never log a request's text or a key.
// A text line has time, level and message; a JSON line has these, the event's name, and its fields
// with their types. Whatever the strings hold, a line stays one line of valid UTF-8 and, in JSON,
// one object. A string that is too long is cut behind a whole character and ends in "...".
// Thread rule: any thread, after log_init from main.
#ifndef TRINE_BASE_LOG_H
#define TRINE_BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };

void log_init(enum log_level least, bool json);
bool log_is_on(enum log_level level); // whether a line of it would be written
// What log_init was told, for another process that is to write as this one does.
enum log_level log_least(void);
bool log_is_json(void);
const char *log_level_name(enum log_level level);           // "warn"
bool log_level_read(const char *name, enum log_level *out); // false: there is no such level
uint64_t log_dropped(void);                                 // lines dropped since the start

// A fact of an event, borrowed for the call. Names are plain words ("duration_ms").
struct log_field {
    const char *name; // NULL: the list's end
    enum log_type { LOG_STRING, LOG_INTEGER, LOG_REAL, LOG_BOOL } type;
    const char *string; // NULL: the field is left out
    int64_t integer;    // also of LOG_BOOL
    double real;        // left out where it is not finite
};

static inline struct log_field log_string(const char *name, const char *value) {
    return (struct log_field){.name = name, .type = LOG_STRING, .string = value};
}
static inline struct log_field log_int(const char *name, int64_t value) {
    return (struct log_field){.name = name, .type = LOG_INTEGER, .integer = value};
}
static inline struct log_field log_size(const char *name, size_t value) {
    return log_int(name, (int64_t)value);
}
static inline struct log_field log_real(const char *name, double value) {
    return (struct log_field){.name = name, .type = LOG_REAL, .real = value};
}
static inline struct log_field log_bool(const char *name, bool value) {
    return (struct log_field){.name = name, .type = LOG_BOOL, .integer = value};
}
#define LOG_FIELDS(...)                                                                            \
    (const struct log_field[]) {                                                                   \
        __VA_ARGS__, { 0 }                                                                         \
    }

// event: its name for programs ("model_loaded"); fields: as LOG_FIELDS makes them, or NULL. The
// message says the same to people.
void log_event(enum log_level level, const char *event, const struct log_field *fields,
               const char *fmt, ...) PRINTF_LIKE(4, 5);

// The same for what is words and nothing else.
#define log_debug(...) log_event(LOG_LEVEL_DEBUG, "note", NULL, __VA_ARGS__)
#define log_info(...) log_event(LOG_LEVEL_INFO, "note", NULL, __VA_ARGS__)
#define log_warn(...) log_event(LOG_LEVEL_WARN, "note", NULL, __VA_ARGS__)
#define log_error(...) log_event(LOG_LEVEL_ERROR, "note", NULL, __VA_ARGS__)

#endif
