// See progress.h.
#include "cli/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_EVERY_US = 200000, LINE_EVERY_US = 5000000, BAR_WIDTH = 30 };

void progress_begin(struct progress *p, const char *unit, bool quiet) {
    int64_t now = clock_now_us();
    *p = (struct progress){
        .unit = unit,
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO) == 1,
        .begun_us = now,
        .shown_us = now,
        .begun_at = -1,
    };
}

static void print_left(char *out, size_t size, double seconds) {
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, size, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, ", %ld:%02ld left", s / 60, s % 60);
}

void progress_show(struct progress *p, uint64_t done, double fraction) {
    int64_t now = clock_now_us();
    if (p->begun_at < 0 && fraction >= 0)
        p->begun_at = fraction;
    if (p->quiet || now - p->shown_us < (p->terminal ? BAR_EVERY_US : LINE_EVERY_US))
        return;
    p->shown_us = now;
    double seconds = (double)(now - p->begun_us) / 1e6;
    char left[48] = "";
    if (fraction > p->begun_at && p->begun_at >= 0)
        print_left(left, sizeof left, seconds * (1 - fraction) / (fraction - p->begun_at));
    char percent[16] = "";
    if (fraction >= 0)
        snprintf(percent, sizeof percent, "%3.0f %%  ", 100 * fraction);
    char bar[BAR_WIDTH + 1] = "";
    if (p->terminal && fraction >= 0) {
        memset(bar, '.', BAR_WIDTH);
        int full = (int)(fraction * BAR_WIDTH);
        memset(bar, '#', (size_t)(full < 0 ? 0 : full > BAR_WIDTH ? BAR_WIDTH : full));
    }
    fprintf(stderr, "%s%s%s%s%s%llu %s, %.0f/s%s%s", p->terminal ? "\r\033[K" : "", *bar ? "[" : "",
            bar, *bar ? "] " : "", percent, (unsigned long long)done, p->unit,
            seconds > 0 ? (double)done / seconds : 0, left, p->terminal ? "" : "\n");
    p->bar = p->terminal;
}

void progress_end(struct progress *p) {
    if (p->bar)
        fprintf(stderr, "\r\033[K");
    p->bar = false;
}
