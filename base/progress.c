// See progress.h.
#include "base/progress.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_EVERY_US = 200000, LINE_EVERY_US = 5000000, BAR_CELLS = 24 };

void progress_begin(struct progress *p, int fd, bool quiet) {
    int64_t now = clock_now_us();
    *p = (struct progress){.fd = fd,
                           .quiet = quiet,
                           .terminal = isatty(fd) == 1,
                           .begun_us = now,
                           .shown_us = now,
                           .begun_at = -1};
}

double progress_seconds(const struct progress *p) {
    return (double)(clock_now_us() - p->begun_us) / 1e6;
}

bool progress_is_due(struct progress *p, double fraction) {
    if (fraction >= 0 && (p->begun_at < 0 || fraction < p->begun_at))
        p->begun_at = fraction;
    return !p->quiet &&
           clock_now_us() - p->shown_us >= (p->terminal ? BAR_EVERY_US : LINE_EVERY_US);
}

static void put(const struct progress *p, const char *s, size_t n) {
    // a display that cannot be shown is no reason to stop
    if (write(p->fd, s, n) < 0)
        return;
}

static void put_bar(struct buf *line, double fraction) {
    char cells[BAR_CELLS + 1];
    int full = fraction >= 1 ? BAR_CELLS : (int)(fraction * BAR_CELLS);
    memset(cells, '.', BAR_CELLS);
    memset(cells, '#', (size_t)full);
    cells[BAR_CELLS] = '\0';
    buf_printf(line, "[%s] ", cells);
}

static void put_left(const struct progress *p, struct buf *line, double fraction) {
    double seconds = progress_seconds(p);
    if (p->begun_at < 0 || fraction <= p->begun_at || fraction >= 1 || seconds <= 0)
        return;
    long s = (long)(seconds * (1 - fraction) / (fraction - p->begun_at) + 0.5);
    if (s >= 3600)
        buf_printf(line, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
    else
        buf_printf(line, ", %ld:%02ld left", s / 60, s % 60);
}

void progress_show(struct progress *p, const char *label, double fraction, const char *fmt, ...) {
    struct buf line = {0};
    char words[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    p->shown_us = clock_now_us();
    if (p->quiet)
        return;
    if (p->terminal)
        buf_puts(&line, "\r\033[K");
    if (label)
        buf_printf(&line, p->terminal ? "%-20.20s " : "%.100s: ", label);
    if (p->terminal && fraction >= 0)
        put_bar(&line, fraction);
    if (fraction >= 0)
        buf_printf(&line, "%3.0f%% ", 100 * (fraction > 1 ? 1 : fraction));
    buf_puts(&line, words);
    put_left(p, &line, fraction);
    if (!p->terminal)
        buf_putc(&line, '\n');
    if (!line.failed)
        put(p, line.data, line.len);
    p->bar = p->terminal;
    buf_free(&line);
}

void progress_note(struct progress *p, const char *fmt, ...) {
    char line[400];
    if (p->quiet)
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[len] = '\n';
    progress_clear(p);
    put(p, line, len + 1);
}

void progress_clear(struct progress *p) {
    if (p->bar)
        put(p, "\r\033[K", 4);
    p->bar = false;
}

void progress_leave(struct progress *p) {
    if (p->bar)
        put(p, "\n", 1);
    p->bar = false;
}
