// See hub_progress.h.
#include "hub/progress.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_US = 200000, LINE_US = 5000000 };

void hub_progress_init(struct hub_progress *p, int fd, bool quiet) {
    *p = (struct hub_progress){.fd = fd, .quiet = quiet, .terminal = isatty(fd) == 1, .name = ""};
}

void hub_progress_begin(struct hub_progress *p, uint64_t total, uint64_t done) {
    p->total = total;
    p->done = p->begun_with = done;
    p->begun_us = clock_now_us();
    p->shown_us = p->begun_us;
}

void hub_progress_file(struct hub_progress *p, const char *name) { p->name = name; }

void hub_progress_add(struct hub_progress *p, uint64_t bytes) { p->done += bytes; }

void hub_progress_take_back(struct hub_progress *p, uint64_t bytes) {
    p->done -= bytes < p->done ? bytes : p->done;
    if (p->begun_with > p->done)
        p->begun_with = p->done;
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

// "41.2 of 86.7 MiB, 12.3 MiB/s, 4 s left"
static void describe(const struct hub_progress *p, char *out, size_t size) {
    double seconds = (double)(clock_now_us() - p->begun_us) / 1e6;
    double rate = seconds > 0.2 ? (double)(p->done - p->begun_with) / seconds : 0;
    int n = snprintf(out, size, "%.1f of %.1f MiB", mib(p->done), mib(p->total));
    if (rate > 0 && n > 0 && (size_t)n < size) {
        double left = p->total > p->done ? (double)(p->total - p->done) / rate : 0;
        n += snprintf(out + n, size - (size_t)n, ", %.1f MiB/s", rate / (1 << 20));
        if (left >= 100 * 60)
            snprintf(out + n, size - (size_t)n, ", %.0f h left", left / 3600);
        else if (left >= 100)
            snprintf(out + n, size - (size_t)n, ", %.0f min left", left / 60);
        else
            snprintf(out + n, size - (size_t)n, ", %.0f s left", left);
    }
}

static void put(const struct hub_progress *p, const char *s, size_t n) {
    // a display that cannot be shown is no reason to stop
    if (write(p->fd, s, n) < 0)
        return;
}

static void show(struct hub_progress *p) {
    enum { CELLS = 24 };
    char text[80], line[240], cells[CELLS + 1];
    int n;
    describe(p, text, sizeof text);
    if (p->terminal) {
        double share = p->total ? (double)p->done / (double)p->total : 1;
        int filled = share >= 1 ? CELLS : (int)(share * CELLS);
        memset(cells, '.', CELLS);
        memset(cells, '#', (size_t)filled);
        cells[CELLS] = '\0';
        // \033[K clears what a longer line left
        n = snprintf(line, sizeof line, "\r%-20.20s [%s] %3.0f%% %s\033[K", p->name, cells,
                     100 * (share > 1 ? 1 : share), text);
        p->bar = true;
    } else {
        n = snprintf(line, sizeof line, "%.100s: %s\n", p->name, text);
    }
    if (n > 0)
        put(p, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    p->shown_us = clock_now_us();
}

void hub_progress_tick(struct hub_progress *p) {
    int64_t due = p->terminal ? BAR_US : LINE_US;
    if (!p->quiet && p->total && clock_now_us() - p->shown_us >= due)
        show(p);
}

static void clear_bar(struct hub_progress *p) {
    if (p->bar)
        put(p, "\r\033[K", 4);
    p->bar = false;
}

void hub_progress_note(struct hub_progress *p, const char *fmt, ...) {
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
    clear_bar(p);
    put(p, line, len + 1);
}

void hub_progress_end(struct hub_progress *p) {
    if (p->bar && !p->quiet) {
        show(p);
        put(p, "\n", 1);
    }
    p->bar = false;
}
