// See guard_device.h. All its memory lies in one stretch of addresses, so that opening and closing
// it is one mprotect each, whatever the number of weights.
#define _GNU_SOURCE // madvise, MAP_ANONYMOUS, MAP_NORESERVE
#include "tests/kit/guard_device.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RESERVED ((size_t)16 << 30) // addresses; pages come as they are touched
#define HUGE_PAGE ((size_t)2 << 20)
enum { PAGE = 4096, MAX_BLOCKS = 1 << 14 };

struct guard_block {
    size_t at, bytes;
    bool taken;
};

struct guard_device {
    struct device base;
    struct device_ops ops;
    struct device *inner;
    struct cpu_pages pages;
    char *reserved, *memory; // [RESERVED], from a huge page's begin on
    pthread_mutex_t mutex;   // guards what is below: memory is made and freed beside operations
    size_t reach;            // what was ever given out lies below
    size_t open;             // calls that have it open
    size_t operations;
    struct guard_block blocks[MAX_BLOCKS]; // one behind the other, free ones never neighbours
    size_t count;
};

static struct guard_device *guard_of(struct device *d) { return (struct guard_device *)d; }

// ---- the memory ----

static void protect(const struct guard_device *g, int how) {
    if (g->reach > 0 && mprotect(g->memory, g->reach, how) != 0) {
        perror("guard device: mprotect");
        abort();
    }
}

static void guard_open(struct guard_device *g) {
    pthread_mutex_lock(&g->mutex);
    g->operations++;
    if (g->open++ == 0)
        protect(g, PROT_READ | PROT_WRITE);
    pthread_mutex_unlock(&g->mutex);
}

static void guard_close(struct guard_device *g) {
    pthread_mutex_lock(&g->mutex);
    if (--g->open == 0)
        protect(g, PROT_NONE);
    pthread_mutex_unlock(&g->mutex);
}

// Behind an operation, by the thread that drives.
static void take_failure(struct guard_device *g) {
    struct device *inner = g->inner;
    if (inner->failed != ERR_OK)
        device_fail(&g->base, inner->failed, "%s", inner->failure.text);
    inner->failed = ERR_OK;
}

static void insert_block(struct guard_device *g, size_t i, struct guard_block block) {
    memmove(&g->blocks[i + 1], &g->blocks[i], (g->count - i) * sizeof block);
    g->blocks[i] = block;
    g->count++;
}

static void remove_block(struct guard_device *g, size_t i) {
    g->count--;
    memmove(&g->blocks[i], &g->blocks[i + 1], (g->count - i) * sizeof *g->blocks);
}

// The first free block that is large enough, else more of the stretch.
static void *take(struct guard_device *g, size_t bytes) {
    if (bytes > RESERVED || g->count + 1 >= MAX_BLOCKS)
        return NULL;
    size_t need = bytes / PAGE * PAGE + PAGE, i = 0; // the last page is not full
    while (i < g->count && (g->blocks[i].taken || g->blocks[i].bytes < need))
        i++;
    if (i < g->count) {
        struct guard_block rest = {g->blocks[i].at + need, g->blocks[i].bytes - need, false};
        g->blocks[i].bytes = need;
        if (rest.bytes > 0)
            insert_block(g, i + 1, rest);
    } else {
        size_t top = i ? g->blocks[i - 1].at + g->blocks[i - 1].bytes : 0;
        if (need > RESERVED - top)
            return NULL;
        g->blocks[g->count++] = (struct guard_block){top, need, false};
        while (g->reach < top + need)
            g->reach += HUGE_PAGE;
        if (g->open)
            protect(g, PROT_READ | PROT_WRITE);
    }
    g->blocks[i].taken = true;
    return g->memory + g->blocks[i].at;
}

// Zero for its next user: whole huge pages go back, so that a large cache that was never touched
// stays so, and none is broken up.
static void clear(struct guard_device *g, size_t from, size_t to) {
    size_t first = (from + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE,
           last = to / HUGE_PAGE * HUGE_PAGE;
    if (first >= last) {
        memset(g->memory + from, 0, to - from);
        return;
    }
    memset(g->memory + from, 0, first - from);
    (void)madvise(g->memory + first, last - first, MADV_DONTNEED);
    memset(g->memory + last, 0, to - last);
}

static void give(struct guard_device *g, void *p, size_t bytes) {
    size_t i = 0;
    while (i < g->count && g->memory + g->blocks[i].at != (char *)p)
        i++;
    if (i == g->count || !g->blocks[i].taken || bytes >= g->blocks[i].bytes)
        abort(); // not what was taken
    g->blocks[i].taken = false;
    clear(g, g->blocks[i].at, g->blocks[i].at + g->blocks[i].bytes);
    if (i + 1 < g->count && !g->blocks[i + 1].taken) {
        g->blocks[i].bytes += g->blocks[i + 1].bytes;
        remove_block(g, i + 1);
    }
    if (i > 0 && !g->blocks[i - 1].taken) {
        g->blocks[i - 1].bytes += g->blocks[i].bytes;
        remove_block(g, i--);
    }
    if (i + 1 == g->count)
        remove_block(g, i);
}

static void *guard_take(void *ctx, size_t bytes) {
    struct guard_device *g = ctx;
    pthread_mutex_lock(&g->mutex);
    void *p = take(g, bytes);
    pthread_mutex_unlock(&g->mutex);
    return p;
}

static void guard_give(void *ctx, void *p, size_t bytes) {
    struct guard_device *g = ctx;
    pthread_mutex_lock(&g->mutex);
    give(g, p, bytes);
    pthread_mutex_unlock(&g->mutex);
}

// ---- the table: the CPU's operations, each with the memory open ----

// Making and freeing memory, by any thread.
#define OPENED(d, operation)                                                                       \
    do {                                                                                           \
        struct guard_device *g_ = guard_of(d);                                                     \
        const struct device_ops *ops = g_->inner->ops;                                             \
        struct device *in = g_->inner;                                                             \
        guard_open(g_);                                                                            \
        operation;                                                                                 \
        guard_close(g_);                                                                           \
    } while (0)

#define GUARDED(d, operation)                                                                      \
    do {                                                                                           \
        OPENED(d, operation);                                                                      \
        take_failure(guard_of(d));                                                                 \
    } while (0)

static enum err guard_weight_prepare(struct device *d, enum weight_kind kind,
                                     const struct weight_part *parts, size_t n,
                                     struct precision precision, struct weight **out,
                                     struct errmsg *msg) {
    enum err e;
    OPENED(d, e = ops->weight_prepare(in, kind, parts, n, precision, out, msg));
    return e;
}

static void guard_weight_free(struct device *d, struct weight *w) {
    OPENED(d, ops->weight_free(in, w));
}

static enum err guard_workspace_new(struct device *d, size_t bytes, struct arena *out) {
    enum err e;
    OPENED(d, e = ops->workspace_new(in, bytes, out));
    return e;
}

static void guard_workspace_free(struct device *d, struct arena *a) {
    OPENED(d, ops->workspace_free(in, a));
}

static void guard_embed(struct device *d, const struct embed_args *a, struct mat y) {
    GUARDED(d, ops->embed(in, a, y));
}

static void guard_linear(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    GUARDED(d, ops->linear(in, w, x, y));
}

static void guard_activate(struct device *d, enum activation f, struct mat x) {
    GUARDED(d, ops->activate(in, f, x));
}

static void guard_add(struct device *d, struct mat x, struct mat y) {
    GUARDED(d, ops->add(in, x, y));
}

static void guard_subtract(struct device *d, struct mat a, struct mat b, struct mat y) {
    GUARDED(d, ops->subtract(in, a, b, y));
}

static void guard_layer_norm(struct device *d, const struct norm *n, struct mat x, struct mat y) {
    GUARDED(d, ops->layer_norm(in, n, x, y));
}

static void guard_attention(struct device *d, const struct attention_args *a) {
    GUARDED(d, ops->attention(in, a));
}

static void guard_rms_norm(struct device *d, const struct weight *gamma, float eps, struct mat x,
                           struct mat y) {
    GUARDED(d, ops->rms_norm(in, gamma, eps, x, y));
}

static void guard_rope_table(struct device *d, const struct rope_table_args *a) {
    GUARDED(d, ops->rope_table(in, a));
}

static void guard_rope(struct device *d, const struct rope_args *a) {
    GUARDED(d, ops->rope(in, a));
}

static void guard_swiglu(struct device *d, struct mat gate_up, struct mat y) {
    GUARDED(d, ops->swiglu(in, gate_up, y));
}

static void guard_gather(struct device *d, struct mat x, const int32_t *rows, struct mat y) {
    GUARDED(d, ops->gather(in, x, rows, y));
}

static size_t guard_kv_block_bytes(const struct device *d, const struct kv_shape *shape) {
    const struct device *in = ((const struct guard_device *)d)->inner;
    return in->ops->kv_block_bytes(in, shape);
}

static enum err guard_kv_new(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                             struct errmsg *msg) {
    enum err e;
    OPENED(d, e = ops->kv_new(in, shape, out, msg));
    return e;
}

static void guard_kv_free(struct device *d, struct kv_cache *kv) {
    OPENED(d, ops->kv_free(in, kv));
}

static void guard_kv_store(struct device *d, const struct kv_store_args *a) {
    GUARDED(d, ops->kv_store(in, a));
}

static void guard_paged_attention(struct device *d, const struct paged_attention_args *a) {
    GUARDED(d, ops->paged_attention(in, a));
}

static void guard_pool(struct device *d, const struct pool_args *a) {
    GUARDED(d, ops->pool(in, a));
}

static void guard_l2_normalize(struct device *d, struct mat x) {
    GUARDED(d, ops->l2_normalize(in, x));
}

static void guard_read(struct device *d, struct mat x, float *host) {
    GUARDED(d, ops->read(in, x, host));
}

static size_t guard_draw_bytes(const struct device *d, size_t vocab) {
    const struct device *in = ((const struct guard_device *)d)->inner;
    return in->ops->draw_bytes(in, vocab);
}

static void guard_draw(struct device *d, const struct draw_args *a, struct arena *ws) {
    GUARDED(d, ops->draw(in, a, ws));
}

static void guard_linear_activate(struct device *d, const struct weight *w, struct mat x,
                                  enum activation f, struct mat y) {
    GUARDED(d, ops->linear_activate(in, w, x, f, y));
}

static void guard_linear_add(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    GUARDED(d, ops->linear_add(in, w, x, y));
}

static void guard_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                                  struct mat residual, const struct norm *n, struct mat y) {
    GUARDED(d, ops->linear_add_norm(in, w, x, residual, n, y));
}

static void guard_free(struct device *d) {
    struct guard_device *g = guard_of(d);
    protect(g, PROT_READ | PROT_WRITE); // slabs that were kept
    if (g->inner)
        g->inner->ops->free(g->inner);
    if (g->count > 0) {
        fprintf(stderr, "guard device: %zu bytes were not freed\n", guard_device_bytes(d));
        abort();
    }
    (void)munmap(g->reserved, RESERVED + HUGE_PAGE);
    pthread_mutex_destroy(&g->mutex);
    free(g);
}

static const struct device_ops table = {
    .weight_prepare = guard_weight_prepare,
    .weight_free = guard_weight_free,
    .workspace_new = guard_workspace_new,
    .workspace_free = guard_workspace_free,
    .embed = guard_embed,
    .linear = guard_linear,
    .activate = guard_activate,
    .add = guard_add,
    .subtract = guard_subtract,
    .layer_norm = guard_layer_norm,
    .attention = guard_attention,
    .rms_norm = guard_rms_norm,
    .rope_table = guard_rope_table,
    .rope = guard_rope,
    .swiglu = guard_swiglu,
    .gather = guard_gather,
    .kv_block_bytes = guard_kv_block_bytes,
    .kv_new = guard_kv_new,
    .kv_free = guard_kv_free,
    .kv_store = guard_kv_store,
    .paged_attention = guard_paged_attention,
    .pool = guard_pool,
    .l2_normalize = guard_l2_normalize,
    .read = guard_read,
    .draw_bytes = guard_draw_bytes,
    .draw = guard_draw,
    .linear_activate = guard_linear_activate,
    .linear_add = guard_linear_add,
    .linear_add_norm = guard_linear_add_norm,
    .free = guard_free,
};

// Whether every entry that the CPU's table has is guarded here: a new one must be added above.
static bool guards_all(const struct device_ops *mine, const struct device_ops *inner) {
    void (*own[sizeof *mine / sizeof(void (*)(void))])(void);
    void (*theirs[sizeof *mine / sizeof(void (*)(void))])(void);
    memcpy(own, mine, sizeof own);
    memcpy(theirs, inner, sizeof theirs);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (theirs[i] && !own[i])
            return false;
    return true;
}

enum err guard_device_new(const struct cpu_options *options, struct device **out,
                          struct errmsg *msg) {
    *out = NULL;
    struct guard_device *g = calloc(1, sizeof *g);
    void *memory = g ? mmap(NULL, RESERVED + HUGE_PAGE, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                     : MAP_FAILED;
    if (memory == MAP_FAILED) {
        free(g);
        return err_set(msg, ERR_NOMEM, "guard device: no addresses");
    }
    (void)madvise(memory, RESERVED + HUGE_PAGE,
                  MADV_HUGEPAGE); // few entries to change, where they are given
    size_t odd = (uintptr_t)memory % HUGE_PAGE;
    g->reserved = memory;
    g->memory = g->reserved + (odd ? HUGE_PAGE - odd : 0);
    pthread_mutex_init(&g->mutex, NULL);
    g->pages = (struct cpu_pages){guard_take, guard_give, g};
    struct cpu_options guarded = *options;
    guarded.pages = &g->pages;
    enum err e = cpu_device_new(&guarded, &g->inner, msg);
    if (!e) {
        g->ops = table;
        g->ops.name = g->inner->ops->name;
        g->ops.weight_bytes = g->inner->ops->weight_bytes; // which is told no device
        g->base = *g->inner;
        g->base.ops = &g->ops;
        if (!guards_all(&g->ops, g->inner->ops))
            e = err_set(msg, ERR_INTERNAL, "guard device: an operation is not guarded");
    }
    if (e)
        guard_free(&g->base);
    else
        *out = &g->base;
    return e;
}

size_t guard_device_operations(const struct device *d) {
    return ((const struct guard_device *)d)->operations;
}

size_t guard_device_bytes(const struct device *d) {
    const struct guard_device *g = (const struct guard_device *)d;
    size_t bytes = 0;
    for (size_t i = 0; i < g->count; i++)
        bytes += g->blocks[i].taken ? g->blocks[i].bytes : 0;
    return bytes;
}
