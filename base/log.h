// One line to stderr per event, as text or JSON, never blocking on a full pipe: a line that cannot
// be written at once is dropped and counted (FAULTS 62). Never give it a request's text or a key.
// Thread rule: any thread, after log_init from main.
#ifndef TRINE_BASE_LOG_H
#define TRINE_BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };

void log_init(enum log_level least, bool json);
bool log_level_parse(const char *name, enum log_level *level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
uint64_t log_dropped(void); // lines dropped since the start

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
