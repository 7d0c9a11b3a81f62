// The options of a worker process: which of them go together, and what they make of the engine's.
// Role: with --isolate or --device worker there is such a process; without, flags that are about it
// do nothing and are refused. See options_internal.h.
#include "cli/options_internal.h"

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { HOUR_MS = 3600000 };

// MIN or MIN:MAX; what is not said of MAX is its default, or MIN where that is more.
static enum err read_backoff(struct cli_options *o, int *exit_code, struct errmsg *msg) {
    struct cli_source from = {.who = "--worker-backoff-ms"};
    const char *text = o->worker_backoff, *colon = strchr(text, ':');
    char least[32];
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    int64_t min = 0, max = 30000;
    *exit_code = cli_given(o, "worker-backoff-ms") ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
    if (n == 0 || n >= sizeof least || (colon && !colon[1]))
        return err_set(msg, ERR_INVALID, "%s: '%.60s' is not MIN or MIN:MAX", from.who, text);
    snprintf(least, sizeof least, "%.*s", (int)n, text);
    enum err e = cli_parse_number(least, 1, HOUR_MS, &min, &from, msg);
    if (!e && colon)
        e = cli_parse_number(colon + 1, 1, HOUR_MS, &max, &from, msg);
    if (e)
        return e;
    if (colon && max < min)
        return err_set(msg, ERR_INVALID, "%s: %.60s: the least is more than the most", from.who,
                       text);
    o->engine.worker.backoff_least_us = min * 1000;
    o->engine.worker.backoff_most_us = (max < min ? min : max) * 1000;
    return ERR_OK;
}

// The first of these that a flag gave; NULL: none.
static const char *first_given(const struct cli_options *o, const char *const *names) {
    for (; *names; names++)
        if (cli_given(o, *names))
            return *names;
    return NULL;
}

static enum err check_flags(const struct cli_options *o, struct errmsg *msg) {
    static const char *const of_worker[] = {"worker", "worker-watchdog-ms", "worker-backoff-ms",
                                            "worker-sentinel-ms", NULL};
    static const char *const of_device[] = {"gpu-fallback", "warm-fallback", NULL};
    bool on_device = o->engine.device == ENGINE_DEVICE_WORKER;
    const char *name;
    if (!on_device && (name = first_given(o, of_device)))
        return err_set(msg, ERR_INVALID, "--%s does nothing without --device worker", name);
    if (!on_device && !o->engine.isolate && (name = first_given(o, of_worker)))
        return err_set(msg, ERR_INVALID, "--%s does nothing without --isolate or --device worker",
                       name);
    if (cli_given(o, "warm-fallback") && o->engine.fallback == ENGINE_FALLBACK_REJECT)
        return err_set(msg, ERR_INVALID,
                       "--warm-fallback and --gpu-fallback reject: nothing is computed there");
    return ERR_OK;
}

enum err cli_join_worker(struct cli_options *o, int *exit_code, struct errmsg *msg) {
    bool both = o->engine.isolate && o->engine.device == ENGINE_DEVICE_WORKER;
    bool by_flag = cli_given(o, "isolate") || cli_given(o, "device");
    *exit_code = both && !by_flag ? CLI_EXIT_FAILED : CLI_EXIT_USAGE;
    if (both)
        return err_set(msg, ERR_INVALID,
                       "--isolate and --device worker: choose one; the former computes nothing in "
                       "this process, the latter what the worker cannot have");
    enum err e = check_flags(o, msg);
    if (e)
        return e;
    o->engine.worker.program = o->worker;
    o->engine.worker.watchdog_us = (int64_t)o->worker_watchdog_ms * 1000;
    o->engine.worker.sentinel_us = (int64_t)o->worker_sentinel_ms * 1000;
    return read_backoff(o, exit_code, msg);
}
