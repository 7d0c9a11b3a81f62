// See count.h.
#include "hub/count.h"

void hub_count_init(struct hub_count *c, int fd, bool quiet) {
    *c = (struct hub_count){.name = ""};
    progress_begin(&c->progress, fd, quiet);
}

void hub_count_begin(struct hub_count *c, uint64_t total, uint64_t done) {
    c->total = total;
    c->done = c->begun_with = done;
    progress_begin(&c->progress, c->progress.fd, c->progress.quiet);
}

void hub_count_file(struct hub_count *c, const char *name) { c->name = name; }

void hub_count_add(struct hub_count *c, uint64_t bytes) { c->done += bytes; }

void hub_count_take_back(struct hub_count *c, uint64_t bytes) {
    c->done -= bytes < c->done ? bytes : c->done;
    if (c->begun_with > c->done)
        c->begun_with = c->done;
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

static double fraction(const struct hub_count *c) {
    return c->total ? (double)c->done / (double)c->total : 1;
}

static void show(struct hub_count *c) {
    double seconds = progress_seconds(&c->progress);
    double rate = seconds > 0.2 ? mib(c->done - c->begun_with) / seconds : 0;
    progress_show(&c->progress, c->name, fraction(c), "%.1f of %.1f MiB, %.1f MiB/s", mib(c->done),
                  mib(c->total), rate);
}

void hub_count_tick(struct hub_count *c) {
    if (progress_is_due(&c->progress, fraction(c)) && c->total)
        show(c);
}

void hub_count_end(struct hub_count *c) {
    if (c->progress.bar)
        show(c);
    progress_leave(&c->progress);
}
