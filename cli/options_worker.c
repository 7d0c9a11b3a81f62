// Where models are computed, and the options of a worker process: which of them go together, and
// what they make of the engine's. Role: with --isolate, --device worker and a GPU there is such a
// process; where there can be none, flags that are about it do nothing and are refused. See
// options_internal.h.
#include "cli/options_internal.h"

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { HOUR_MS = 3600000, MOST_CARDS = 1024 };

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

// "cuda", and which: N, a UUID as the driver spells it.
static enum err read_cuda(struct cli_options *o, const char *which, struct errmsg *msg) {
    struct cli_source from = {.who = "--device cuda:N"};
    int64_t n;
    o->engine.device = ENGINE_DEVICE_CUDA;
    if (!*which)
        return ERR_OK;
    o->engine.worker.card = ++which;
    if (strcmp(which, "all") == 0)
        return err_set(msg, ERR_INVALID,
                       "--device cuda:all: this version computes on one GPU; several are several "
                       "services");
    if (strncmp(which, "GPU-", 4) == 0 || strncmp(which, "MIG-", 4) == 0)
        return ERR_OK;
    return cli_parse_number(which, 0, MOST_CARDS - 1, &n, &from, msg);
}

static enum err read_device(struct cli_options *o, bool isolates, struct errmsg *msg) {
    const char *d = o->device;
    bool gpu = strncmp(d, "cuda", 4) == 0 && (d[4] == '\0' || (d[4] == ':' && d[5]));
    if (gpu)
        return read_cuda(o, d + 4, msg);
    if (strcmp(d, "auto") == 0)
        o->engine.device = ENGINE_DEVICE_AUTO;
    else if (strcmp(d, "cpu") == 0)
        o->engine.device = ENGINE_DEVICE_CPU;
    else if (strcmp(d, "worker") == 0 && isolates)
        o->engine.device = ENGINE_DEVICE_WORKER;
    else
        return err_set(msg, ERR_INVALID,
                       "--device: '%.60s' is not one of auto, cpu, cuda, cuda:N%s", d,
                       isolates ? ", worker" : "");
    return ERR_OK;
}

static enum err check_flags(const struct cli_options *o, struct errmsg *msg) {
    static const char *const of_worker[] = {"worker", "worker-watchdog-ms", "worker-backoff-ms",
                                            "worker-sentinel-ms", NULL};
    static const char *const of_device[] = {"gpu-fallback", "warm-fallback", NULL};
    static const char *const of_gpu[] = {"gpu-memory", NULL};
    bool isolate = o->engine.isolate;
    bool on_gpu = !isolate && (o->engine.device == ENGINE_DEVICE_CUDA ||
                               o->engine.device == ENGINE_DEVICE_AUTO);
    bool on_device = on_gpu || (!isolate && o->engine.device == ENGINE_DEVICE_WORKER);
    const char *name;
    if (!on_gpu && (name = first_given(o, of_gpu)))
        return err_set(msg, ERR_INVALID, "--%s does nothing without --device cuda or auto", name);
    if (!on_device && (name = first_given(o, of_device)))
        return err_set(msg, ERR_INVALID, "--%s does nothing without --device cuda or worker", name);
    if (!on_device && !isolate && (name = first_given(o, of_worker)))
        return err_set(msg, ERR_INVALID,
                       "--%s does nothing without --isolate, --device cuda or worker", name);
    if (cli_given(o, "warm-fallback") && o->engine.fallback == ENGINE_FALLBACK_REJECT)
        return err_set(msg, ERR_INVALID,
                       "--warm-fallback and --gpu-fallback reject: nothing is computed there");
    return ERR_OK;
}

enum err cli_join_device(struct cli_options *o, bool isolates, int *exit_code, struct errmsg *msg) {
    *exit_code = cli_given(o, "device") ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
    enum err e = read_device(o, isolates, msg);
    if (e || !isolates)
        return e;
    bool both = o->engine.isolate && (o->engine.device == ENGINE_DEVICE_WORKER ||
                                      o->engine.device == ENGINE_DEVICE_CUDA);
    bool by_flag = cli_given(o, "isolate") || cli_given(o, "device");
    *exit_code = both && !by_flag ? CLI_EXIT_FAILED : CLI_EXIT_USAGE;
    if (both)
        return err_set(msg, ERR_INVALID,
                       "--isolate and --device %s: choose one; the former computes nothing in "
                       "this process, the latter what the worker cannot have",
                       o->device);
    if ((e = check_flags(o, msg)))
        return e;
    o->engine.worker.program = o->worker;
    o->engine.worker.watchdog_us = (int64_t)o->worker_watchdog_ms * 1000;
    o->engine.worker.sentinel_us = (int64_t)o->worker_sentinel_ms * 1000;
    return read_backoff(o, exit_code, msg);
}
