// How far a long run is, on stderr: a bar with rate and time left on a terminal, a plain line every
// few seconds elsewhere, nothing when quiet. Role: display only. Thread rule: one owner.
#ifndef TRINE_CLI_PROGRESS_H
#define TRINE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *unit; // "texts"; borrowed
    bool quiet, terminal;
    int64_t begun_us, shown_us;
    double begun_at; // fraction that was done at the start
    bool bar;        // a bar stands on the line
};

void progress_begin(struct progress *p, const char *unit, bool quiet);
// done: units of this run. fraction: of the whole, in [0, 1]; below 0 where the whole is not known.
// Shows what is due; cheap otherwise.
void progress_show(struct progress *p, uint64_t done, double fraction);
// Takes the bar away.
void progress_end(struct progress *p);

#endif
