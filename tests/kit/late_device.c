// See late_device.h. What is asked for is computed at once, and shown late.
#include "tests/kit/late_device.h"

#include "base/mem.h"
#include "compute/device.h"

#include <string.h>

enum { NOBODY = -77 };

// A draw that is under way.
struct late_draw {
    uint64_t mark;                 // 0: none is asked for yet
    struct draw_part *parts, *own; // [count]: the caller's, and what is computed
    size_t count;
    struct sampling_history *histories; // [count] with the token that they go on from
};

struct late {
    struct device_ops ops; // first: the device's table is this one
    const struct device_ops *of;
    int32_t slots[LATE_SLOTS]; // NOBODY: nothing was drawn for it
    struct late_draw draws[LATE_DRAWS_MOST];
    size_t count;
    uint64_t marks;
    int32_t *ids; // [id_room] with tokens of slots
    size_t id_room;
    size_t drawn, unseen;
};

static struct late *late_of(const struct device *d) { return (struct late *)(uintptr_t)d->ops; }

static void free_draw(struct late_draw *w) {
    for (size_t i = 0; w->own && i < w->count; i++)
        mem_free(w->own[i].results);
    for (size_t i = 0; w->histories && i < w->count; i++)
        sampling_history_free(&w->histories[i]);
    mem_free(w->own);
    mem_free(w->histories);
    *w = (struct late_draw){0};
}

// Shows the results of the oldest.
static void deliver(struct late *l) {
    struct late_draw *w = &l->draws[0];
    for (size_t i = 0; i < w->count; i++) {
        const struct draw_part *own = &w->own[i];
        struct draw_part *p = &w->parts[i];
        memcpy(p->results, own->results, own->count * sizeof *p->results);
        p->drawn = own->drawn;
        p->failed = own->failed;
    }
    free_draw(w);
    l->count--;
    memmove(l->draws, l->draws + 1, l->count * sizeof *l->draws);
    l->draws[l->count] = (struct late_draw){0};
}

static uint64_t mark(struct device *d) {
    struct late *l = late_of(d);
    l->marks++;
    for (size_t i = 0; i < l->count; i++)
        if (l->draws[i].mark == 0)
            l->draws[i].mark = l->marks;
    return l->marks;
}

static void wait_mark(struct device *d, uint64_t until) {
    struct late *l = late_of(d);
    while (l->count > 0 && l->draws[0].mark && l->draws[0].mark <= until)
        deliver(l);
}

static void wait_all(struct device *d) {
    struct late *l = late_of(d);
    while (l->count > 0)
        deliver(l);
    if (l->of->wait)
        l->of->wait(d);
}

// Everything waits for what was asked before.
static void read_late(struct device *d, struct mat x, float *host) {
    struct late *l = late_of(d);
    wait_all(d);
    l->of->read(d, x, host);
}

static void embed(struct device *d, const struct embed_args *a, struct mat y) {
    struct late *l = late_of(d);
    struct embed_args with = *a;
    bool any = false;
    for (size_t i = 0; i < y.rows; i++)
        any = any || a->index[0][i] < 0;
    if (any) {
        if (y.rows > l->id_room) {
            int32_t *more = mem_realloc(l->ids, y.rows, sizeof *more);
            if (!more) {
                device_fail(d, ERR_NOMEM, "no memory for ids");
                return;
            }
            l->ids = more;
            l->id_room = y.rows;
        }
        memcpy(l->ids, a->index[0], y.rows * sizeof *l->ids);
        for (size_t i = 0; i < y.rows; i++) {
            size_t slot = (size_t)(-1 - l->ids[i]);
            if (l->ids[i] >= 0)
                continue;
            if (slot >= LATE_SLOTS || l->slots[slot] == NOBODY) {
                device_fail(d, ERR_INTERNAL, "the token of slot %zu, for which none was drawn",
                            slot);
                return;
            }
            l->ids[i] = l->slots[slot];
        }
        with.index[0] = l->ids;
        l->unseen++;
    }
    l->of->embed(d, &with, y);
}

// The parts as they are to be drawn now. ERR_NOMEM.
static enum err prepare(const struct late *l, const struct draw_args *a, struct late_draw *w) {
    w->parts = a->parts;
    w->count = a->count;
    w->own = mem_calloc(a->count, sizeof *w->own);
    w->histories = mem_calloc(a->count, sizeof *w->histories);
    if (!w->own || !w->histories)
        return ERR_NOMEM;
    for (size_t i = 0; i < a->count; i++) {
        struct draw_part *own = &w->own[i];
        *own = a->parts[i];
        if (!(own->results = mem_calloc(own->count, sizeof *own->results)))
            return ERR_NOMEM;
        if (!own->history || !own->goes_on)
            continue;
        struct sampling_history *h = &w->histories[i];
        if (sampling_history_init(h, own->history->vocab))
            return ERR_NOMEM;
        memcpy(h->ids, own->history->ids, own->history->distinct * sizeof *h->ids);
        memcpy(h->counts, own->history->counts, h->vocab * sizeof *h->counts);
        h->distinct = own->history->distinct;
        sampling_history_add(h, l->slots[own->slot]);
        own->history = h;
    }
    return ERR_OK;
}

static void draw(struct device *d, const struct draw_args *a, struct arena *ws) {
    struct late *l = late_of(d);
    if (l->count == LATE_DRAWS_MOST) {
        device_fail(d, ERR_INTERNAL, "more than %d draws are under way", LATE_DRAWS_MOST);
        return;
    }
    for (size_t i = 0; i < a->count; i++)
        if (a->parts[i].sampling && a->parts[i].slot >= LATE_SLOTS) {
            device_fail(d, ERR_INTERNAL, "slot %zu is none", a->parts[i].slot);
            return;
        }
    struct late_draw *w = &l->draws[l->count];
    if (prepare(l, a, w)) {
        free_draw(w);
        device_fail(d, ERR_NOMEM, "no memory for a draw");
        return;
    }
    l->of->draw(d, &(struct draw_args){.logits = a->logits, .parts = w->own, .count = a->count},
                ws);
    for (size_t i = 0; i < a->count; i++) {
        struct draw_part *p = &a->parts[i];
        if (p->sampling && w->own[i].drawn > 0)
            l->slots[p->slot] = w->own[i].results[w->own[i].drawn - 1].id;
        else if (p->sampling && l->slots[p->slot] == NOBODY)
            l->slots[p->slot] = 0; // a card has some number there
        memset(p->results, 0xee, p->count * sizeof *p->results);
        p->drawn = SIZE_MAX / 2;
        p->failed = true;
    }
    l->count++;
    l->drawn++;
}

static void free_late(struct device *d) {
    struct late *l = late_of(d);
    const struct device_ops *of = l->of;
    while (l->count > 0)
        deliver(l);
    mem_free(l->ids);
    d->ops = of;
    mem_free(l);
    of->free(d);
}

enum err late_device_of(struct device *d, struct errmsg *msg) {
    struct late *l = mem_calloc(1, sizeof *l);
    if (!l)
        return err_set(msg, ERR_NOMEM, "no memory for a device");
    l->of = d->ops;
    l->ops = *d->ops;
    l->ops.embed = embed;
    l->ops.draw = draw;
    l->ops.read = read_late;
    l->ops.mark = mark;
    l->ops.wait_mark = wait_mark;
    l->ops.wait = wait_all;
    l->ops.free = free_late;
    for (size_t i = 0; i < LATE_SLOTS; i++)
        l->slots[i] = NOBODY;
    d->ops = &l->ops;
    d->drawn_slots = LATE_SLOTS;
    return ERR_OK;
}

enum err late_device_new(const struct cpu_options *options, struct device **out,
                         struct errmsg *msg) {
    enum err e = cpu_device_new(options, out, msg);
    if (!e && (e = late_device_of(*out, msg))) {
        cpu_device_free(*out);
        *out = NULL;
    }
    return e;
}

void late_device_counts(const struct device *d, size_t *draws, size_t *unseen) {
    *draws = late_of(d)->drawn;
    *unseen = late_of(d)->unseen;
}
