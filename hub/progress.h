// What a pull shows on stderr: a bar with rate and ETA on a terminal, a line every few seconds
// elsewhere, nothing when quiet. Role: display only. Thread rule: one owner.
#ifndef TRINE_HUB_PROGRESS_H
#define TRINE_HUB_PROGRESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct hub_progress {
    int fd;
    bool quiet, terminal;
    const char *name;           // the file in progress, borrowed
    uint64_t total, done;       // bytes; done counts what was here before
    uint64_t begun_with;        // done at begun_us: the rate leaves it out
    int64_t begun_us, shown_us; // monotonic
    bool bar;                   // a bar stands on the line
};

void hub_progress_init(struct hub_progress *p, int fd, bool quiet);
// total and done as known when the first byte is asked for.
void hub_progress_begin(struct hub_progress *p, uint64_t total, uint64_t done);
void hub_progress_file(struct hub_progress *p, const char *name);
void hub_progress_add(struct hub_progress *p, uint64_t bytes);
void hub_progress_take_back(struct hub_progress *p, uint64_t bytes); // they must come again
// Shows what is due; call it a few times a second also when nothing arrives.
void hub_progress_tick(struct hub_progress *p);
// A line of its own, with the bar out of its way.
void hub_progress_note(struct hub_progress *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
// Shows the last state and leaves the line.
void hub_progress_end(struct hub_progress *p);

#endif
