// See pooler.h.
#include "pooling/pooler.h"

#include "base/file.h"
#include "base/mem.h"
#include "pooling/modules.h"
#include "weights/binder.h"

#include <stdio.h>
#include <string.h>

struct pooler_step {
    const struct weight *dense; // [out, in] and bias; NULL: this step normalises
    size_t out;
    enum activation activation;
};

struct pooling {
    struct device *device;
    size_t hidden; // D
    enum pool_mode modes[MODULES_MAX_MODES];
    size_t mode_count;
    struct pooler_step steps[MODULES_MAX_STEPS];
    size_t step_count;
    struct weight_list owned; // the steps' weights
    struct pooling_facts facts;
};

static enum err open_dense(const char *folder, const struct module_step *m, struct weights **out,
                           struct errmsg *msg) {
    char *dir = file_join(folder, m->path);
    *out = NULL;
    if (!dir)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open %s", folder, m->path);
    enum err e = weights_open(dir, out, msg);
    mem_free(dir);
    return e;
}

// The folder's Dense weights: the file must be safetensors and hold nothing else.
static enum err bind_dense(struct pooling *p, const char *folder, const struct module_step *m,
                           struct pooler_step *out, struct errmsg *msg) {
    const struct module_dense *c = &m->dense;
    const struct binder_rows linear = {"linear", c->out, 0};
    struct binder b = {.device = p->device, .owned = &p->owned, .msg = msg};
    b.failed = open_dense(folder, m, &b.from, msg);
    out->dense = binder_linear(&b, &linear, 1, c->in, c->bias);
    if (!b.failed)
        b.failed = weights_check_all_taken(b.from, msg);
    weights_close(b.from);
    out->out = c->out;
    out->activation = c->activation;
    return b.failed;
}

// What its modes alone make of a model's vectors.
static void describe_modes(struct pooling *p, bool includes_prompt) {
    struct pooling_facts *f = &p->facts;
    *f = (struct pooling_facts){.dim = p->hidden * p->mode_count,
                                .includes_prompt = includes_prompt};
    size_t at = 0;
    for (size_t i = 0; i < p->mode_count && at < sizeof f->mode_name; i++)
        at += (size_t)snprintf(f->mode_name + at, sizeof f->mode_name - at, "%s%s", i ? "+" : "",
                               pooling_mode_name(p->modes[i]));
}

// What the folder says, and that it fits together: the pooler but for its weights.
static enum err read_folder(const char *folder, size_t hidden, int mode_override, struct modules *m,
                            struct pooling *p, struct errmsg *msg) {
    enum err e = modules_load(folder, m, msg);
    if (e)
        return e;
    if (m->pooling.dim && m->pooling.dim != hidden)
        return err_set(msg, ERR_INVALID,
                       "%s: pooling reads vectors of %zu, config.json's hidden size is %zu", folder,
                       m->pooling.dim, hidden);
    p->hidden = hidden;
    memcpy(p->modes, m->pooling.modes, sizeof p->modes);
    p->mode_count = m->pooling.mode_count;
    if (mode_override >= 0) {
        p->modes[0] = (enum pool_mode)mode_override;
        p->mode_count = 1;
    }
    describe_modes(p, m->pooling.include_prompt);
    struct pooling_facts *facts = &p->facts;
    for (size_t i = 0; i < m->step_count; i++) {
        const struct module_step *s = &m->steps[i];
        if (s->kind == MODULE_NORMALIZE) {
            // whether the last one applies is the caller's wish, and it is not in `steps`
            if (i + 1 == m->step_count)
                facts->normalizes = true;
            else
                p->steps[p->step_count++].out = facts->dim;
            continue;
        }
        if (s->dense.in != facts->dim)
            return err_set(msg, ERR_INVALID,
                           "%s/%s/config.json: 'in_features' is %zu, the module before gives %zu",
                           folder, s->path, s->dense.in, facts->dim);
        p->step_count++;
        facts->dim = s->dense.out;
    }
    return ERR_OK;
}

static enum err bind_steps(struct pooling *p, const char *folder, const struct modules *m,
                           struct errmsg *msg) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < m->step_count && !e; i++)
        if (m->steps[i].kind == MODULE_DENSE)
            e = bind_dense(p, folder, &m->steps[i], &p->steps[i], msg);
    return e;
}

enum err pooling_open_files(const char *path, struct errmsg *msg) {
    struct modules m;
    enum err e = modules_load(path, &m, msg);
    for (size_t i = 0; !e && i < m.step_count; i++) {
        struct weights *w = NULL;
        if (m.steps[i].kind == MODULE_DENSE)
            e = open_dense(path, &m.steps[i], &w, msg);
        weights_close(w);
    }
    return e;
}

enum err pooling_is_declared(const char *path, bool *declared, struct errmsg *msg) {
    return modules_declare_pooling(path, declared, msg);
}

enum err pooling_find_transformer(const char *path, char out[128], struct errmsg *msg) {
    bool found;
    return modules_find(path, "Transformer", &found, out, msg);
}

enum err pooling_find_module(const char *path, const char *kind, bool *found, char out[128],
                             struct errmsg *msg) {
    return modules_find(path, kind, found, out, msg);
}

void pooling_each_file(const char *path, pooler_file_seen *see, void *ctx) {
    modules_each_file(path, see, ctx);
}

enum err pooling_describe(const char *folder, size_t hidden, int mode_override,
                          struct pooling_facts *out, struct errmsg *msg) {
    struct modules m;
    struct pooling p = {0};
    enum err e = read_folder(folder, hidden, mode_override, &m, &p, msg);
    *out = p.facts;
    return e;
}

enum err pooling_load(const char *folder, size_t hidden, int mode_override, struct device *d,
                      struct pooling **out, struct errmsg *msg) {
    *out = NULL;
    struct modules m;
    struct pooling *p = mem_calloc(1, sizeof *p);
    if (!p)
        return err_set(msg, ERR_NOMEM, "%s: no memory for pooling", folder);
    p->device = d;
    enum err e = read_folder(folder, hidden, mode_override, &m, p, msg);
    if (!e)
        e = bind_steps(p, folder, &m, msg);
    if (e)
        pooling_free(p);
    else
        *out = p;
    return e;
}

static struct pooling plain(size_t hidden, enum pool_mode mode, bool normalizes) {
    struct pooling p = {.hidden = hidden, .modes = {mode}, .mode_count = 1};
    describe_modes(&p, true);
    p.facts.normalizes = normalizes;
    return p;
}

void pooling_describe_plain(size_t hidden, enum pool_mode mode, bool normalizes,
                            struct pooling_facts *out) {
    *out = plain(hidden, mode, normalizes).facts;
}

enum err pooling_plain(size_t hidden, enum pool_mode mode, bool normalizes, struct device *d,
                       struct pooling **out, struct errmsg *msg) {
    *out = mem_calloc(1, sizeof **out);
    if (!*out)
        return err_set(msg, ERR_NOMEM, "no memory for pooling");
    **out = plain(hidden, mode, normalizes);
    (*out)->device = d;
    return ERR_OK;
}

void pooling_free(struct pooling *p) {
    if (!p)
        return;
    weight_list_free(&p->owned, p->device);
    mem_free(p);
}

const struct pooling_facts *pooling_facts_of(const struct pooling *p) { return &p->facts; }

size_t pooling_workspace_bytes(const struct pooling *p, size_t seqs) {
    size_t bytes = device_mat_bytes(seqs, p->hidden * p->mode_count);
    for (size_t i = 0; i < p->step_count; i++) {
        size_t more = p->steps[i].dense ? device_mat_bytes(seqs, p->steps[i].out) : 0;
        bytes = more > SIZE_MAX - bytes ? SIZE_MAX : bytes + more;
    }
    return bytes;
}

struct mat pooling_apply(const struct pooling *p, struct mat hidden, const struct batch *b,
                         const int32_t *skip, bool normalize, struct arena *ws) {
    struct device *d = p->device;
    if (!hidden.data)
        return hidden;
    struct mat y = device_mat(d, ws, b->seqs, p->hidden * p->mode_count);
    if (!y.data)
        return y;
    for (size_t i = 0; i < p->mode_count; i++) {
        struct pool_args a = {.mode = p->modes[i],
                              .x = hidden,
                              .out = mat_cols(y, i * p->hidden, p->hidden),
                              .cu_seqlens = b->cu_seqlens,
                              .skip = p->facts.includes_prompt ? NULL : skip,
                              .seqs = b->seqs};
        d->ops->pool(d, &a);
    }
    for (size_t i = 0; i < p->step_count; i++) {
        const struct pooler_step *s = &p->steps[i];
        if (!s->dense) {
            d->ops->l2_normalize(d, y);
            continue;
        }
        struct mat next = device_mat(d, ws, b->seqs, s->out);
        if (!next.data)
            return next;
        device_linear_activate(d, s->dense, y, s->activation, next);
        y = next;
    }
    if (normalize)
        d->ops->l2_normalize(d, y);
    return y;
}
