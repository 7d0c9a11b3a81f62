// `trine serve`: opens the port, loads, serves until a signal, drains. Main thread only; signals
// are blocked in every thread of ours and taken here.
#define _GNU_SOURCE // sigset, _exit
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cli/advice.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/options_internal.h"
#include "cli/worker.h"
#include "engine/memory_plan.h"
#include "hub/store.h"
#include "service/server.h"

#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// A start's failure has the form of the log around it.
static int fail(const struct cli_options *o, const struct errmsg *msg) {
    if (!o->log_json || !log_is_on(LOG_LEVEL_ERROR))
        return cli_fail("serve", msg);
    log_event(LOG_LEVEL_ERROR, "failed", LOG_FIELDS(log_string("error", msg->text)), "%s",
              msg->text);
    return CLI_EXIT_FAILED;
}

// The options of model_load for each --model, with its path looked up in the store.
static enum err find_models(struct cli_options *o, struct model_options *models, char **paths,
                            struct errmsg *msg) {
    for (size_t i = 0; i < o->model_count; i++) {
        struct cli_model *m = &o->models[i];
        bool by_name = !file_exists(m->spec);
        enum err e = store_resolve(m->spec, &paths[i], msg);
        // what was found by its store name is served under the last part of it (the folder may be
        // called by a commit) and answers to the whole too: clients send "org/name"
        if (!e && by_name)
            e = cli_list_add(&m->aliases, m->spec, msg);
        if (e)
            return e;
        const char *slash = strrchr(m->spec, '/');
        models[i] = (struct model_options){
            .path = paths[i],
            .name = !by_name || m->name ? m->name
                    : slash             ? slash + 1
                                        : m->spec,
            .aliases = m->aliases.items,
            .alias_count = m->aliases.count,
            .task = m->task,
            .pool_mode = m->pool_mode,
            .max_length = m->max_length,
            .dtype = (enum model_dtype)o->dtype,
            .chat_template = m->chat_template,
        };
    }
    return ERR_OK;
}

// The signals' thread decides by this what a signal means.
enum serve_state { SERVE_LOADING, SERVE_READY, SERVE_ENDING };

static struct {
    sigset_t set;
    atomic_int state; // enum serve_state
    atomic_int first; // the signal that ended a ready service
    sem_t end;        // posted once, by it
    int early_exit;   // what a signal before SERVE_READY ends the process with
    pthread_mutex_t mutex;
    struct engine *engine; // guarded by it; NULL: there is none, or it is about to be closed
} signals = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void show_engine(struct engine *e) {
    pthread_mutex_lock(&signals.mutex);
    signals.engine = e;
    pthread_mutex_unlock(&signals.mutex);
}

static const char *hangup_words(const struct replica_health *h) {
    if (h->condition != REPLICA_GIVEN_UP)
        return h->condition == REPLICA_UP ? "the worker is up, serving on"
                                          : "the worker is being started, serving on";
    switch (h->again) {
    case REPLICA_AGAIN_LATER:
        return "the worker was given up and is tried again now";
    case REPLICA_AGAIN_GONE:
        return "the worker was given up, and is not tried before its process is gone, which cannot "
               "be killed";
    default:
        return "the worker was given up for good: to have one, start this program again";
    }
}

// There is nothing to reload; a worker that was given up is tried now, where that is possible.
static void take_hangup(void) {
    const char *words = "nothing to reload, serving on";
    enum log_level level = LOG_LEVEL_INFO;
    pthread_mutex_lock(&signals.mutex);
    struct engine *e = signals.engine;
    if (e && engine_has_worker(e)) {
        struct replica_health h = replica_health(e->replica);
        words = hangup_words(&h);
        level = h.condition == REPLICA_GIVEN_UP ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
        replica_retry(e->replica);
    }
    pthread_mutex_unlock(&signals.mutex);
    log_event(level, "signal", LOG_FIELDS(log_string("signal", "SIGHUP")), "SIGHUP: %s", words);
}

// Takes the process's signals, blocked everywhere, one at a time: so none is lost between two waits
// and no handler ever runs. Nothing was accepted before the service is ready: the first signal ends
// it at once then, which is no failure of a service, but is one of a check that has found nothing
// out. Later the first one begins the drain and the second ends the process.
static void *signal_thread(void *arg) {
    (void)arg;
    for (;;) {
        int signal_number;
        if (sigwait(&signals.set, &signal_number) != 0)
            continue;
        if (signal_number == SIGHUP) {
            take_hangup();
            continue;
        }
        int ready = SERVE_READY;
        if (atomic_compare_exchange_strong(&signals.state, &ready, SERVE_ENDING)) {
            const char *name = signal_number == SIGTERM ? "SIGTERM" : "SIGINT";
            log_event(LOG_LEVEL_INFO, "draining", LOG_FIELDS(log_string("signal", name)),
                      "%s: draining", name);
            atomic_store(&signals.first, signal_number);
            sem_post(&signals.end);
        } else {
            _exit(ready == SERVE_LOADING ? signals.early_exit : CLI_EXIT_FAILED);
        }
    }
}

// Before any other thread: they inherit the mask.
static enum err take_signals(struct errmsg *msg) {
    sigemptyset(&signals.set);
    sigaddset(&signals.set, SIGTERM);
    sigaddset(&signals.set, SIGINT);
    sigaddset(&signals.set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals.set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    if (sem_init(&signals.end, 0, 0) != 0)
        return err_set(msg, ERR_INTERNAL, "cannot make a semaphore");
    pthread_t thread;
    struct thread_options t = {.name = "signals"};
    enum err e = thread_start(&thread, &t, signal_thread, NULL, msg);
    if (!e)
        pthread_detach(thread);
    return e;
}

static void wait_for_end(void) {
    while (sem_wait(&signals.end) != 0)
        ;
}

// All that is done before the first request. *engine is to be closed after the service, whatever
// became of it.
static enum err make_ready(struct service *s, const struct cli_options *o,
                           const struct model_options *models, struct engine **engine,
                           struct errmsg *msg) {
    cli_advise_of_host(o);
    cli_advise_of_drain(o);
    enum err e = cli_engine_new(o, engine, msg);
    if (!e)
        e = service_load_models(s, *engine, models, o->model_count, msg);
    if (!e)
        cli_advise_of_models(o, s->models);
    return e ? e : service_make_ready(s, msg);
}

static void tell_ready(const struct service *s, int64_t ms) {
    const char *device = replica_facts(s->engine->replica)->describe;
    const struct memory_plans plans = scheduler_memory(s->scheduler);
    const struct memory_plan *p = &plans.machine;
    log_event(LOG_LEVEL_INFO, "ready",
              LOG_FIELDS(log_int("duration_ms", ms), log_string("device", device),
                         log_size("models", registry_count(s->models)),
                         log_string("host", s->options.host), log_int("port", http_port(s->http)),
                         log_size("memory_planned_bytes", memory_plan_sum(p)),
                         log_size("memory_limit_bytes", p->limit.bytes),
                         log_string("memory_limit_by", p->limit.source)),
              "ready in %lld ms on %s", (long long)ms, device);
}

static int serve(struct service *s, const struct cli_options *o, const struct model_options *models,
                 struct errmsg *msg) {
    struct engine *engine = NULL;
    int64_t start = clock_now_us();
    enum err e = make_ready(s, o, models, &engine, msg);
    bool drained = true;
    if (!e) {
        show_engine(engine);
        tell_ready(s, (clock_now_us() - start) / 1000);
        atomic_store(&signals.state, SERVE_READY); // before anybody is told
        bool v6 = strchr(s->options.host, ':') != NULL;
        printf("listening on http://%s%s%s:%d\n", v6 ? "[" : "", s->options.host, v6 ? "]" : "",
               http_port(s->http));
        fflush(stdout);
        wait_for_end();
        // who presses Ctrl-C waits for no load balancer
        bool at_once = atomic_load(&signals.first) == SIGINT;
        drained = service_drain(s, at_once ? 0 : (int64_t)s->options.drain_delay_s * 1000000,
                                (int64_t)s->options.drain_timeout_s * 1000000);
        if (!drained)
            log_event(LOG_LEVEL_WARN, "drain_timeout",
                      LOG_FIELDS(log_size("requests", http_in_progress(s->http))),
                      "drain timed out with requests in progress");
    }
    show_engine(NULL);
    service_close(s);
    engine_close(engine);
    if (e)
        return fail(o, msg);
    log_event(LOG_LEVEL_INFO, "stopped", NULL, "stopped");
    return drained ? CLI_EXIT_DONE : CLI_EXIT_FAILED;
}

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

static void show_generator(const struct service *s, const struct model *m) {
    size_t context = scheduler_context(s->scheduler, m), bytes, sequences;
    scheduler_cache(s->scheduler, m, &bytes, &sequences);
    printf("model %s: a KV cache of %.1f MiB, texts of %zu tokens at most, %zu at once", m->name,
           mib(bytes), context, sequences);
    if (context < m->max_length)
        printf("; the model's context is %zu (--kv-cache-mib)", m->max_length);
    printf("\n");
    struct buf tools = {0};
    tool_form_describe(&m->tool_form, &tools);
    if (!m->chat_template)
        printf("model %s: cannot chat: %s\n", m->name, m->template_msg.text);
    else if (m->template_msg.code)
        printf("model %s: takes no tools: %s\n", m->name, m->template_msg.text);
    else
        printf("model %s: chat template: %s\n", m->name, tools.failed ? "" : tools.data);
    buf_free(&tools);
}

static void show_model(const struct service *s, const struct model *m) {
    printf("model %s: %s, %s, %zu tokens at most, %.1f MiB of weights, from %s\n", m->name,
           model_task_name(m->task), model_architecture(m), m->max_length,
           mib(replica_weight_bytes(s->engine->replica, m->id)), m->path);
    if (m->task == TASK_GENERATE)
        show_generator(s, m);
}

static void show_memory(const struct memory_plan *p) {
    printf("%smemory: %.1f MiB: %.1f for %sweights, %.1f for workspaces, %.1f for keys and "
           "values, %.1f kept for %s; %.1f MiB are there (%s)\n",
           p->is_device ? "GPU " : "", mib(memory_plan_sum(p)), mib(p->resident),
           p->is_device ? "" : "program and ", mib(p->workspaces), mib(p->caches), mib(p->reserve),
           p->is_device ? "gaps" : "requests", mib(p->limit.bytes), p->limit.source);
}

// --check: everything that serving does before its first request, down to the warm-up, then all is
// let go. No port is opened: the service that is to be replaced may have it.
static int check(struct service *s, const struct cli_options *o, const struct model_options *models,
                 struct errmsg *msg) {
    struct engine *engine = NULL;
    enum err e = make_ready(s, o, models, &engine, msg);
    if (!e) {
        printf("device: %s\n", replica_facts(engine->replica)->describe);
        for (struct model *m = NULL; (m = registry_next(s->models, m));)
            show_model(s, m);
        struct memory_plans plans = scheduler_memory(s->scheduler);
        show_memory(&plans.machine);
        if (plans.apart)
            show_memory(&plans.device);
        printf("would listen on %s, port %d\n", o->service.host, o->service.port);
    }
    service_close(s);
    engine_close(engine);
    if (!e && fflush(stdout) != 0)
        e = err_set(msg, ERR_IO, "stdout: cannot write");
    return e ? fail(o, msg) : CLI_EXIT_DONE;
}

int cli_serve(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_SERVE, argc, argv, &o, &exit_code))
        return exit_code;
    log_init((enum log_level)o.log_level, o.log_json);

    signals.early_exit = o.check ? CLI_EXIT_INTERRUPTED : CLI_EXIT_DONE;
    struct errmsg msg = {0};
    struct model_options *models = mem_calloc(o.model_count, sizeof *models);
    char **paths = mem_calloc(o.model_count, sizeof *paths);
    enum err e = ERR_NOMEM;
    if (!models || !paths)
        err_set(&msg, e, "no memory for %zu models", o.model_count);
    else if ((e = cli_worker_begin(&o, &msg)) == ERR_OK && (e = take_signals(&msg)) == ERR_OK)
        e = find_models(&o, models, paths, &msg);
    struct service s;
    o.service.no_port = o.check;
    if (!e)
        e = service_open(&s, &o.service, &msg);
    if (e)
        exit_code = fail(&o, &msg);
    else
        exit_code = o.check ? check(&s, &o, models, &msg) : serve(&s, &o, models, &msg);
    for (size_t i = 0; paths && i < o.model_count; i++)
        mem_free(paths[i]);
    mem_free(paths);
    mem_free(models);
    cli_worker_end(&o);
    cli_options_free(&o);
    return exit_code;
}
