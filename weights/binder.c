// See binder.h.
#include "weights/binder.h"

#include "base/mem.h"

#include <stdio.h>

enum { NAME_SIZE = 160 };

void weight_list_free(struct weight_list *l, struct device *d) {
    for (size_t i = 0; i < l->count; i++)
        d->ops->weight_free(d, l->items[i]);
    mem_free(l->items);
    *l = (struct weight_list){0};
}

size_t weight_list_bytes(const struct weight_list *l, const struct device *d) {
    size_t bytes = 0;
    for (size_t i = 0; i < l->count; i++)
        bytes += d->ops->weight_bytes(l->items[i]);
    return bytes;
}

// Room for one more, so that no weight is made that nobody would free.
static enum err make_room(struct weight_list *l, struct errmsg *msg) {
    if (l->count < l->room)
        return ERR_OK;
    size_t room = l->room ? 2 * l->room : 16;
    struct weight **items = mem_realloc(l->items, room, sizeof *items);
    if (!items)
        return err_set(msg, ERR_NOMEM, "no memory for a list of %zu weights", room);
    l->items = items;
    l->room = room;
    return ERR_OK;
}

// "encoder.layer.3.output.dense.bias"
static void full_name(const struct binder *b, const char *name, const char *suffix,
                      char out[NAME_SIZE]) {
    if (b->layer)
        snprintf(out, NAME_SIZE, "%s%zu.%s%s", b->layer, b->layer_index, name, suffix);
    else
        snprintf(out, NAME_SIZE, "%s%s", name, suffix);
}

void binder_find_prefix(struct binder *b, const char *prefix, const char *probe) {
    char full[NAME_SIZE];
    full_name(b, probe, ".weight", full);
    if (!b->failed)
        b->failed = weights_detect_prefix(b->from, &prefix, 1, full, b->msg);
}

struct tensor binder_take(struct binder *b, const char *name, const char *suffix, int rank,
                          const size_t *shape) {
    struct tensor t = {0};
    char full[NAME_SIZE];
    full_name(b, name, suffix, full);
    if (!b->failed)
        b->failed = b->bare ? weights_take_bare(b->from, full, rank, shape, &t, b->msg)
                            : weights_take(b->from, full, rank, shape, &t, b->msg);
    return t;
}

struct weight *binder_prepare(struct binder *b, enum weight_kind kind,
                              const struct weight_part *parts, size_t n) {
    struct weight *w = NULL;
    struct precision p = b->precision;
    if (kind == WEIGHT_VECTOR)
        p = (struct precision){0};
    if (!b->failed && b->owned)
        b->failed = make_room(b->owned, b->msg);
    if (!b->failed)
        b->failed = b->device->ops->weight_prepare(b->device, kind, parts, n, p, &w, b->msg);
    if (b->failed)
        return NULL;
    if (b->owned)
        b->owned->items[b->owned->count++] = w;
    return w;
}

struct weight *binder_table(struct binder *b, const char *name, size_t rows, size_t cols) {
    struct weight_part part = {0};
    part.w = binder_take(b, name, ".weight", 2, (size_t[]){rows, cols});
    return binder_prepare(b, WEIGHT_TABLE, &part, 1);
}

static struct weight *vector(struct binder *b, const char *name, const char *suffix, size_t n) {
    struct weight_part part = {.w = binder_take(b, name, suffix, 1, &n)};
    return binder_prepare(b, WEIGHT_VECTOR, &part, 1);
}

struct weight *binder_vector(struct binder *b, const char *name, size_t n) {
    return vector(b, name, ".weight", n);
}

struct norm binder_norm(struct binder *b, const char *name, size_t n, float eps) {
    struct norm norm = {.eps = eps};
    norm.gamma = vector(b, name, ".weight", n);
    norm.beta = vector(b, name, ".bias", n);
    return norm;
}

struct weight *binder_linear(struct binder *b, const struct binder_rows *parts, size_t n, size_t in,
                             bool bias) {
    struct weight_part made[BINDER_MAX_PARTS] = {0};
    if (n > BINDER_MAX_PARTS && !b->failed)
        b->failed =
            err_set(b->msg, ERR_INTERNAL, "a linear of %zu parts, at most %d", n, BINDER_MAX_PARTS);
    for (size_t i = 0; i < n && !b->failed; i++) {
        const struct binder_rows *p = &parts[i];
        made[i].w = binder_take(b, p->name, ".weight", 2, (size_t[]){p->out, in});
        if (bias)
            made[i].bias = binder_take(b, p->name, ".bias", 1, &p->out);
        if (weights_rope_interleaved(b->from))
            made[i].interleaved_head_dim = p->head_dim;
    }
    return binder_prepare(b, WEIGHT_LINEAR, made, n);
}
