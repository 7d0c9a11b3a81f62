// See modules.h: what a GGUF file says of pooling.
#include "pooling/modules.h"
#include "weights/gguf.h"

#include <stdio.h>

// As gguf-py's PoolingType numbers them; 0, none, counts as absent.
static const enum pool_mode gguf_kinds[] = {POOL_MEAN, POOL_MEAN, POOL_CLS, POOL_LAST};
enum { GGUF_KINDS = sizeof gguf_kinds / sizeof *gguf_kinds };

static enum err read_gguf_kind(const struct gguf *g, char key[96], int64_t *kind,
                               struct errmsg *msg) {
    struct gguf_string arch;
    enum err e = gguf_get_string(g, "general.architecture", &arch, msg);
    if (e)
        return e;
    snprintf(key, 96, "%.*s.pooling_type", (int)(arch.len < 64 ? arch.len : 64),
             arch.bytes ? arch.bytes : "");
    return gguf_get_int(g, key, 0, INT32_MAX, 0, kind, msg);
}

enum err modules_load_gguf(const char *path, struct modules *out, struct errmsg *msg) {
    struct gguf *g;
    char key[96];
    int64_t kind = 0;
    enum err e = gguf_open(path, &g, msg);
    if (!e)
        e = read_gguf_kind(g, key, &kind, msg);
    if (!e && kind >= GGUF_KINDS)
        e = err_set(msg, ERR_UNSUPPORTED,
                    "%s: key '%s': pooling type %lld is not supported (1 mean, 2 cls, 3 "
                    "lasttoken are)",
                    path, key, (long long)kind);
    gguf_close(g);
    if (e)
        return e;
    out->pooling.modes[0] = gguf_kinds[kind];
    out->steps[out->step_count++].kind = MODULE_NORMALIZE;
    return ERR_OK;
}

enum err modules_declare_gguf(const char *path, bool *declared, struct errmsg *msg) {
    struct gguf *g;
    char key[96];
    int64_t kind = 0;
    enum err e = gguf_open(path, &g, msg);
    if (!e)
        e = read_gguf_kind(g, key, &kind, msg);
    gguf_close(g);
    *declared = !e && kind > 0 && kind < GGUF_KINDS;
    return e;
}
