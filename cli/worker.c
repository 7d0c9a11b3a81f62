// See worker.h.
#include "cli/worker.h"

#include "base/buf.h"
#include "base/mem.h"
#include "channel/spawner.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

static const char cpu_program[] = "trine-worker", gpu_program[] = "trine-gpu";

// Beside this program, as in build/, or where an installation has it.
static enum err find_beside(const char *name, char **out, struct errmsg *msg) {
    static const char *const places[] = {"/", "/../libexec/trine/"};
    char self[PATH_ROOM];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return err_set(msg, ERR_NOT_FOUND,
                       "where this program lies is not known (/proc is not there): --worker PATH "
                       "says where %s is",
                       name);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct buf path = {0};
        buf_printf(&path, "%s%s%s", self, places[i], name);
        if (path.failed) {
            buf_free(&path);
            return err_set(msg, ERR_NOMEM, "no memory for a path");
        }
        if (access(path.data, X_OK) == 0) {
            *out = path.data;
            return ERR_OK;
        }
        buf_free(&path);
    }
    return err_set(
        msg, ERR_NOT_FOUND,
        "there is no worker program: neither %s%s%s nor %s%s%s can be executed; --worker "
        "PATH says where it is%s",
        self, places[0], name, self, places[1], name,
        name == gpu_program ? " (this one was built without CUDA: CUDA=1 make builds it)" : "");
}

static enum err find_program(struct cli_options *o, const char *name, const char **out,
                             struct errmsg *msg) {
    *out = NULL;
    if (!o->worker) {
        enum err e = find_beside(name, &o->found_worker, msg);
        *out = o->found_worker;
        return e;
    }
    if (access(o->worker, X_OK) != 0)
        return err_set(msg, ERR_NOT_FOUND, "--worker %s: cannot be executed: %s", o->worker,
                       strerror(errno));
    *out = o->worker;
    return ERR_OK;
}

// Whether there is to be a worker, and its program.
static enum err choose(struct cli_options *o, bool *wanted, struct errmsg *msg) {
    struct engine_worker_options *w = &o->engine.worker;
    *wanted = true;
    if (o->engine.isolate || o->engine.device == ENGINE_DEVICE_WORKER)
        return find_program(o, cpu_program, &w->program, msg);
    if (o->engine.device == ENGINE_DEVICE_CUDA)
        return find_program(o, gpu_program, &w->gpu_program, msg);
    if (o->engine.device == ENGINE_DEVICE_AUTO && o->worker)
        return find_program(o, gpu_program, &w->gpu_program, msg);
    *wanted = o->engine.device == ENGINE_DEVICE_AUTO &&
              !find_program(o, gpu_program, &w->gpu_program, NULL);
    return ERR_OK;
}

enum err cli_worker_begin(struct cli_options *o, struct errmsg *msg) {
    bool wanted;
    enum err e = choose(o, &wanted, msg);
    if (e || !wanted)
        return e;
    e = spawner_start(&o->engine.worker.spawner, msg);
    if (!e)
        return ERR_OK;
    struct errmsg why = *msg;
    return err_set(msg, e, "%s%s cannot be had: %s", o->engine.isolate ? "--isolate" : "--device ",
                   o->engine.isolate ? "" : o->device, why.text);
}

void cli_worker_end(struct cli_options *o) {
    spawner_stop(o->engine.worker.spawner);
    o->engine.worker.spawner = NULL;
    mem_free(o->found_worker);
    o->found_worker = NULL;
}
