// How far a long run is, on a file such as stderr: a bar with the time left on a terminal, a plain
// line every few seconds elsewhere, nothing when quiet. Role: display only; what is counted is the
// caller's. Thread rule: one owner.
#ifndef TRINE_BASE_PROGRESS_H
#define TRINE_BASE_PROGRESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    int fd;
    bool quiet, terminal;
    bool bar;                   // a bar stands on the line
    int64_t begun_us, shown_us; // monotonic
    double begun_at;            // the fraction that was done at begun_us; below 0: not known yet
};

void progress_begin(struct progress *p, int fd, bool quiet);
// fraction: what is done of the whole, in [0, 1]; below 0 where the whole is not known. True when
// it is time to show it. Cheap: call it often.
bool progress_is_due(struct progress *p, double fraction);
// Shows "label [bar] 42% words, 1:23 left", without the parts that are not known. label: what is
// being worked on, or NULL. fmt gives the words.
void progress_show(struct progress *p, const char *label, double fraction, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
// Seconds since progress_begin.
double progress_seconds(const struct progress *p);
// Writes a line of its own; takes the bar away first.
void progress_note(struct progress *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void progress_clear(struct progress *p); // takes the bar away
void progress_leave(struct progress *p); // leaves the bar where it is and ends its line

#endif
