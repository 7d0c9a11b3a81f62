// See worker.h.
#include "cli/worker.h"

#include "base/buf.h"
#include "base/mem.h"
#include "channel/spawner.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

// Beside this program, as in build/, or where an installation has it.
static enum err find_beside(char **out, struct errmsg *msg) {
    static const char *const places[] = {"/trine-worker", "/../libexec/trine/trine-worker"};
    char self[PATH_ROOM];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return err_set(msg, ERR_NOT_FOUND,
                       "where this program lies is not known (/proc is not there): --worker PATH "
                       "says where trine-worker is");
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct buf path = {0};
        buf_printf(&path, "%s%s", self, places[i]);
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
    return err_set(msg, ERR_NOT_FOUND,
                   "there is no worker program: neither %s%s nor %s%s can be executed; --worker "
                   "PATH says where it is",
                   self, places[0], self, places[1]);
}

static enum err find_program(struct cli_options *o, struct errmsg *msg) {
    if (!o->worker)
        return find_beside(&o->found_worker, msg);
    if (access(o->worker, X_OK) != 0)
        return err_set(msg, ERR_NOT_FOUND, "--worker %s: cannot be executed: %s", o->worker,
                       strerror(errno));
    return ERR_OK;
}

enum err cli_worker_begin(struct cli_options *o, struct errmsg *msg) {
    struct engine_worker_options *w = &o->engine.worker;
    if (!o->engine.isolate && o->engine.device != ENGINE_DEVICE_WORKER)
        return ERR_OK;
    enum err e = find_program(o, msg);
    if (e)
        return e;
    w->program = o->worker ? o->worker : o->found_worker;
    e = spawner_start(&w->spawner, msg);
    if (!e)
        return ERR_OK;
    struct errmsg why = *msg;
    return err_set(msg, e, "%s cannot be had: %s",
                   o->engine.isolate ? "--isolate" : "--device worker", why.text);
}

void cli_worker_end(struct cli_options *o) {
    spawner_stop(o->engine.worker.spawner);
    o->engine.worker.spawner = NULL;
    mem_free(o->found_worker);
    o->found_worker = NULL;
}
