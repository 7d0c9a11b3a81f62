// `trine serve`: opens the port, loads, serves until a signal, drains. Main thread only; signals
// are blocked in every thread of ours and taken here.
#define _GNU_SOURCE // sigset, _exit
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "compute/cpu/cpu.h"
#include "service/cli.h"
#include "service/cli_options.h"
#include "service/service.h"
#include "service/store.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// The options of model_load for each --model, with its path looked up in the store.
static enum err find_models(const struct cli_options *o, struct model_options *models, char **paths,
                            struct errmsg *msg) {
    for (size_t i = 0; i < o->model_count; i++) {
        const struct cli_model *m = &o->models[i];
        enum err e = store_resolve(m->spec, &paths[i], msg);
        if (e)
            return e;
        // what was found by its store name is served under the last part of it (the folder may be
        // called by a commit) and answers to the whole too: clients send "org/name"
        bool by_name = !file_exists(m->spec);
        const char *slash = strrchr(m->spec, '/');
        models[i] = (struct model_options){
            .path = paths[i],
            .name = !by_name || m->name ? m->name
                    : slash             ? slash + 1
                                        : m->spec,
            .alias = by_name && !m->alias ? m->spec : m->alias,
            .task = m->task,
            .pool_mode = m->pool_mode,
            .max_length = m->max_length,
        };
    }
    return ERR_OK;
}

// OpenBLAS starts threads when it is loaded, before main can block anything: a signal that comes
// while no thread of ours waits for it is delivered to one of those, and would end the process.
// This handler runs there and hands the signal on; during the drain it is the second one.
static pthread_t main_thread;
static atomic_bool ending;

static void hand_on(int signal_number) {
    if (!atomic_load(&ending))
        pthread_kill(main_thread, signal_number);
    else if (signal_number != SIGHUP)
        _exit(1);
}

// Sleeps until a signal ends the service. SIGHUP is survived.
static void wait_for_end(const sigset_t *signals) {
    for (;;) {
        int signal_number;
        if (sigwait(signals, &signal_number) != 0)
            continue;
        if (signal_number == SIGHUP) {
            log_warn("SIGHUP: nothing to reload, serving on");
            continue;
        }
        atomic_store(&ending, true);
        log_info("%s: draining", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
        return;
    }
}

// A second signal during the drain ends the process at once.
static void *end_at_once(void *arg) {
    const sigset_t *signals = arg;
    int signal_number = 0;
    while (sigwait(signals, &signal_number) != 0 || signal_number == SIGHUP)
        ;
    _exit(1);
}

static int serve(struct service *s, const struct cli_options *o, const struct model_options *models,
                 const sigset_t *signals, struct errmsg *msg) {
    static sigset_t second; // the watcher of the second signal outlives this frame
    struct device *d = NULL;
    struct cpu_options cpu = {.threads = o->threads};
    int64_t start = clock_now_us();
    enum err e = cpu_device_new(&cpu, &d, msg);
    if (!e)
        e = service_load_models(s, d, models, o->model_count, msg);
    if (!e)
        e = service_make_ready(s, msg);
    bool drained = true;
    if (!e) {
        log_info("ready in %lld ms on %s", (long long)(clock_now_us() - start) / 1000, d->describe);
        printf("listening on http://%s:%d\n", s->options.host, http_port(s->http));
        fflush(stdout);
        wait_for_end(signals);
        pthread_t watcher;
        second = *signals;
        struct thread_options t = {.name = "second-signal"};
        if (thread_start(&watcher, &t, end_at_once, &second, NULL) == ERR_OK)
            pthread_detach(watcher);
        drained = service_drain(s, (int64_t)s->options.drain_timeout_s * 1000000);
        if (!drained)
            log_warn("drain timed out with requests in progress");
    }
    service_close(s);
    cpu_device_free(d);
    if (e)
        return cli_fail("serve", msg);
    log_info("stopped");
    return drained ? CLI_EXIT_DONE : CLI_EXIT_FAILED;
}

// --check: everything is read and bound, nothing listens.
static int check(const struct cli_options *o, const struct model_options *models,
                 struct errmsg *msg) {
    struct device *d = NULL;
    struct cpu_options cpu = {.threads = o->threads};
    enum err e = cpu_device_new(&cpu, &d, msg);
    if (!e)
        printf("device: %s\n", d->describe);
    for (size_t i = 0; !e && i < o->model_count; i++) {
        struct model *m = NULL;
        e = model_load(&models[i], d, &m, msg);
        if (!e)
            printf("model %s: %s, %s, %zu tokens at most, %zu MiB of weights, from %s\n", m->name,
                   task_name(m->task), m->config.architecture, m->max_length, m->weight_bytes >> 20,
                   m->path);
        model_free(m);
    }
    if (!e)
        printf("would listen on http://%s:%d\n", o->service.host, o->service.port);
    cpu_device_free(d);
    return e ? cli_fail("serve", msg) : CLI_EXIT_DONE;
}

int cli_serve(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_SERVE, argc, argv, &o, &exit_code))
        return exit_code;
    log_init((enum log_level)o.log_level, o.log_json);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    main_thread = pthread_self();
    struct sigaction hand = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &hand, NULL);
    sigaction(SIGINT, &hand, NULL);
    sigaction(SIGHUP, &hand, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);

    struct errmsg msg = {0};
    struct model_options *models = mem_calloc(o.model_count, sizeof *models);
    char **paths = mem_calloc(o.model_count, sizeof *paths);
    enum err e = models && paths ? find_models(&o, models, paths, &msg)
                                 : err_set(&msg, ERR_NOMEM, "no memory");
    struct service s;
    if (!e && o.check) {
        exit_code = check(&o, models, &msg);
    } else {
        if (!e)
            e = service_open(&s, &o.service, &msg);
        exit_code = e ? cli_fail("serve", &msg) : serve(&s, &o, models, &signals, &msg);
    }
    for (size_t i = 0; paths && i < o.model_count; i++)
        mem_free(paths[i]);
    mem_free(paths);
    mem_free(models);
    cli_options_free(&o);
    return exit_code;
}
