// Metrics of worker processes; see exposition.h. They are there where a worker is, and only there.
#include "base/limits.h"
#include "service/api/exposition_internal.h"

enum { WORKERS = 2 };

struct seen_worker {
    const char *name; // of the label
    struct replica_health health;
};

// The main one, and the quarantine of an isolated service.
static size_t look(const struct engine *e, struct seen_worker out[WORKERS]) {
    size_t n = 0;
    if (engine_has_worker(e))
        out[n++] = (struct seen_worker){"main", replica_health(e->replica)};
    if (e->spare_kind == SPARE_QUARANTINE)
        out[n++] = (struct seen_worker){"quarantine", replica_health(e->spare)};
    return n;
}

static double up(const struct replica_health *h) { return h->present; }
static double pid(const struct replica_health *h) { return (double)h->pid; }
static double life(const struct replica_health *h) { return (double)h->life; }
static double completed(const struct replica_health *h) { return (double)h->completed; }
static double restarts(const struct replica_health *h) {
    return h->starts > 1 ? (double)(h->starts - 1) : 0;
}
static double down_s(const struct replica_health *h) { return (double)h->down_us / 1e6; }
static double resident(const struct replica_health *h) {
    return (double)limits_resident_of(h->pid);
}

static void put_losses(const struct seen_worker *w, size_t n, struct buf *out) {
    exposition_head(out, "worker_losses_total", "counter", "Workers that ended, by cause.");
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < LOSS_COUNT; c++)
            buf_printf(out, "trine_worker_losses_total{worker=\"%s\",cause=\"%s\"} %llu\n",
                       w[i].name, replica_loss_name((enum replica_loss)c),
                       (unsigned long long)w[i].health.losses[c]);
}

// What came of the losses.
static void put_replayed(const struct scheduler_stats *s, struct buf *out) {
    exposition_head(out, "worker_fallbacks_total", "counter",
                    "Work that was given to another place, by what the worker had ended by.");
    for (int c = 0; c < LOSS_COUNT; c++)
        buf_printf(out, "trine_worker_fallbacks_total{cause=\"%s\"} %llu\n",
                   replica_loss_name((enum replica_loss)c), (unsigned long long)s->fallbacks[c]);
    const struct {
        const char *name, *help;
        uint64_t n;
    } rows[] = {
        {"worker_replayed_batches_total", "Batches that were computed again.", s->replayed_batches},
        {"worker_replayed_tokens_total", "Tokens that were computed again.", s->replayed_tokens},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        exposition_head(out, rows[i].name, "counter", rows[i].help);
        buf_printf(out, "trine_%s %llu\n", rows[i].name, (unsigned long long)rows[i].n);
    }
}

void exposition_put_workers(const struct engine *e, const struct scheduler_stats *s,
                            struct buf *out) {
    static const struct {
        const char *name, *type, *help;
        double (*value)(const struct replica_health *h);
    } rows[] = {
        {"worker_up", "gauge",
         "1 while there is a process that takes work; a quarantine has none while it is idle.", up},
        {"worker_pid", "gauge", "Its process; 0: there is none.", pid},
        {"worker_generation", "gauge",
         "The number of its process, from 1; a quarantine without one: the next one's.", life},
        {"worker_generation_completed", "gauge", "Batches and steps that this process has done.",
         completed},
        {"worker_resident_bytes", "gauge", "Memory of this process.", resident},
        {"worker_restarts_total", "counter", "Times that it was started again.", restarts},
        {"worker_down_seconds_total", "counter", "Time without a working one.", down_s},
    };
    struct seen_worker w[WORKERS];
    size_t n = look(e, w);
    for (size_t r = 0; n && r < sizeof rows / sizeof *rows; r++) {
        exposition_head(out, rows[r].name, rows[r].type, rows[r].help);
        for (size_t i = 0; i < n; i++)
            buf_printf(out, "trine_%s{worker=\"%s\"} %.17g\n", rows[r].name, w[i].name,
                       rows[r].value(&w[i].health));
    }
    if (n == 0)
        return;
    put_losses(w, n, out);
    put_replayed(s, out);
}
