// A forward as a whole. Role: brings all of its arrays to the GPU in one copy, and keeps short
// forwards as graphs, so that they are asked for at once and not kernel by kernel. A graph has the
// addresses of its matrices and of its arrays in it: it is found by the workspace and the cache,
// and its arrays have a place of their own. It has as many rows as its bucket: those behind the
// batch's own are of a sequence that belongs to nothing (of an encoder) or of sequences without a
// context that store nothing (of a step that decodes). See cuda_device.h.
#include "compute/cuda/cuda_device.h"

#include <string.h>

// ---- which forwards are kept

// So many rows or up to an eighth more: eight sizes to each doubling.
static size_t bucket(size_t rows) {
    size_t step = 1;
    while (step * 16 <= rows)
        step *= 2;
    return (rows + step - 1) / step * step;
}

// Sequences in its graph; 0: it is none for a graph.
static size_t graph_seqs(const struct cuda_device *c, const struct forward_pass *p) {
    if (p->kv)
        return p->decodes && p->tokens <= CUDA_GRAPH_DECODES ? bucket(p->tokens) : 0;
    bool small = p->tokens <= c->graph_tokens && p->seqs <= CUDA_GRAPH_SEQS;
    return small ? CUDA_GRAPH_SEQS + 1 : 0;
}

static struct cuda_graph *find_graph(struct cuda_device *c, const struct forward_pass *p,
                                     size_t rows, size_t seqs) {
    for (size_t i = 0; i < c->graph_count; i++) {
        struct cuda_graph *g = &c->graphs[i];
        if (g->model == p->model && g->kind == p->kind && g->ws == p->ws->base && g->kv == p->kv &&
            g->rows == rows && g->seqs == seqs)
            return g;
    }
    return NULL;
}

// ---- the arrays of a forward, laid out one behind the other

struct layout {
    const struct forward_pass *pass;
    size_t rows, seqs; // with those that belong to nothing
    bool own_place;    // the arrays of a graph; else they lie in the staging block
};

// Values of an array, padding included.
static size_t array_values(const struct layout *l, const struct forward_array *a) {
    switch (a->kind) {
    case FORWARD_PER_TOKEN:
        return l->rows;
    case FORWARD_PER_SEQ:
        return l->pass->seqs ? a->count / l->pass->seqs * l->seqs : 0;
    case FORWARD_CU_SEQLENS:
        return l->seqs + 1;
    default:
        return a->count;
    }
}

static size_t align(size_t values) { return (values + 63) / 64 * 64; }

// Tiles of an encoder's graph: as many as any batch of its shape may have; 0: they are not laid out
// with the arrays.
static size_t graph_tiles(const struct layout *l) {
    return l->own_place && !l->pass->kv ? l->rows / GPU_ATTENTION_ROWS + l->seqs : 0;
}

static size_t layout_values(const struct layout *l) {
    size_t n = align(2 * graph_tiles(l));
    for (size_t i = 0; i < l->pass->array_count; i++)
        n += align(array_values(l, &l->pass->arrays[i]));
    return n;
}

// Sequences that belong to nothing: of a step one for each row; of an encoder the first has all
// rows, the others none.
static void pad_cu_seqlens(const struct layout *l, int32_t *cu) {
    for (size_t s = l->pass->seqs + 1; s <= l->seqs; s++)
        cu[s] = l->pass->kv ? cu[s - 1] + 1 : (int32_t)l->rows;
}

static void write_array(const struct layout *l, const struct forward_array *a, int32_t *to) {
    size_t n = array_values(l, a);
    memcpy(to, a->data, a->count * sizeof *to);
    if (a->kind == FORWARD_CU_SEQLENS) {
        pad_cu_seqlens(l, to);
        return;
    }
    for (size_t i = a->count; i < n; i++)
        to[i] = a->pad;
}

static void know_array(struct cuda_device *c, const void *host, const int32_t *device) {
    for (size_t i = 0; host && i < c->array_count; i++)
        if (c->arrays[i].host == host)
            device_fail(&c->base, ERR_INTERNAL, "two arrays of a forward lie at one place");
    c->arrays[c->array_count++] =
        (struct cuda_array){.host = host, .what = CUDA_COPY, .device = device};
}

// Those behind the last begin behind their sequence's end.
static void write_graph_tiles(const struct layout *l, const int32_t *cu, int32_t *to) {
    size_t room = graph_tiles(l);
    size_t n = cuda_make_tiles(CUDA_ATTENTION_TILES, cu, l->seqs, 0, l->rows, to);
    for (; n < room; n++) {
        to[2 * n] = 0;
        to[2 * n + 1] = INT32_MAX - GPU_ATTENTION_ROWS;
    }
}

// Writes all, copies it to `device` (NULL: to the staging block's own) and knows where each is.
// False: the failure is recorded.
static bool send_arrays(struct cuda_device *c, const struct layout *l, char *device) {
    const struct forward_pass *p = l->pass;
    size_t values = layout_values(l);
    bool anew;
    void *host;
    char *own = staging_take(&c->staging, values * sizeof(int32_t), &host, &anew);
    if (!own) {
        device_fail(&c->base, ERR_TOO_LARGE, "%s: a batch's arrays of %zu values do not fit",
                    c->base.describe, values);
        return false;
    }
    cuda_forget_arrays(c);
    char *to = device ? device : own;
    const int32_t *cu = NULL, *cu_host = NULL;
    size_t at = 0;
    for (size_t i = 0; i < p->array_count; i++) {
        const struct forward_array *a = &p->arrays[i];
        int32_t *written = (int32_t *)host + at;
        if (a->data)
            write_array(l, a, written);
        know_array(c, a->data, (const int32_t *)(void *)to + at);
        if (a->kind == FORWARD_CU_SEQLENS) {
            cu = written;
            cu_host = a->data;
        }
        at += align(array_values(l, a));
    }
    if (graph_tiles(l) > 0 && cu) {
        write_graph_tiles(l, cu, (int32_t *)host + at);
        c->arrays[c->array_count++] = (struct cuda_array){
            .host = cu_host,
            .what = CUDA_ATTENTION_TILES,
            .from = 0,
            .to = l->rows,
            .device = (const int32_t *)(void *)to + at,
            .count = graph_tiles(l),
        };
    }
    staging_send(&c->staging, to, host, values * sizeof(int32_t));
    return true;
}

// ---- begin and end

// A graph of this shape, of which nothing is captured yet; NULL: no more are kept, or no memory:
// the forward goes without.
static struct cuda_graph *add_graph(struct cuda_device *c, const struct forward_pass *p,
                                    const struct layout *l) {
    struct cuda_graph *g = &c->graphs[c->graph_count];
    void *inputs;
    if (c->graph_count == CUDA_GRAPHS ||
        c->api->alloc(c->gpu, layout_values(l) * sizeof(int32_t), &inputs))
        return NULL;
    *g = (struct cuda_graph){.model = p->model,
                             .kind = p->kind,
                             .ws = p->ws->base,
                             .kv = p->kv,
                             .rows = l->rows,
                             .seqs = l->seqs,
                             .inputs = inputs};
    c->graph_count++;
    return g;
}

static void drop_graph(struct cuda_device *c, struct cuda_graph *g) {
    if (g->graph)
        c->api->graph_free(c->gpu, g->graph);
    c->api->free(c->gpu, g->inputs);
    *g = c->graphs[--c->graph_count];
}

// Where any of it is there again, at the same address, it is another one.
void cuda_drop_graphs(struct cuda_device *c, const void *of) {
    pthread_mutex_lock(&c->making);
    for (size_t i = c->graph_count; i > 0; i--) {
        const struct cuda_graph *g = &c->graphs[i - 1];
        if (g->model == of || g->ws == of || g->kv == of)
            drop_graph(c, &c->graphs[i - 1]);
    }
    pthread_mutex_unlock(&c->making);
}

void cuda_forget(struct device *d, const void *model) { cuda_drop_graphs(cuda_of(d), model); }

static bool replay(struct cuda_device *c, struct forward_pass *p, const struct layout *l,
                   const struct cuda_graph *g) {
    if (!send_arrays(c, l, g->inputs))
        return false;
    c->api->graph_launch(c->stream, g->graph);
    c->graph_launches++;
    p->rows = l->rows;
    p->replayed = true;
    return true;
}

// The graph is there, or begins to be captured. Mutex held.
static bool begin_graph(struct cuda_device *c, struct forward_pass *p, const struct layout *l) {
    struct cuda_graph *g = find_graph(c, p, l->rows, l->seqs);
    if (g && c->keeping) {
        p->rows = l->rows;
        p->replayed = true;
        return true;
    }
    if (g)
        return replay(c, p, l, g);
    if (!c->keeping || !(g = add_graph(c, p, l)))
        return false;
    if (!send_arrays(c, l, g->inputs)) {
        drop_graph(c, g);
        return false;
    }
    p->rows = l->rows;
    c->capturing = g;
    c->api->capture(c->stream);
    return true;
}

void cuda_begin(struct device *d, struct forward_pass *p) {
    struct cuda_device *c = cuda_of(d);
    size_t seqs = c->options.no_graphs ? 0 : graph_seqs(c, p);
    struct layout l = {.pass = p, .rows = bucket(p->tokens), .seqs = seqs, .own_place = true};
    cuda_forget_arrays(c);
    c->decodes = p->kv && p->decodes;
    c->pass_rows = l.rows;
    c->pass_seqs = l.seqs;
    if (seqs) {
        pthread_mutex_lock(&c->making);
        bool kept = begin_graph(c, p, &l);
        pthread_mutex_unlock(&c->making);
        if (kept)
            return;
    }
    p->replayed = c->keeping; // nothing is computed
    l.own_place = false;
    l.rows = c->pass_rows = p->tokens;
    l.seqs = c->pass_seqs = p->seqs;
    (void)send_arrays(c, &l, NULL);
}

void cuda_end(struct device *d, const struct forward_pass *p) {
    struct cuda_device *c = cuda_of(d);
    struct cuda_graph *g = c->capturing;
    struct errmsg msg = {0};
    (void)p;
    c->decodes = false;
    c->pass_rows = c->pass_seqs = 0;
    if (!g)
        return;
    c->capturing = NULL;
    enum err e = c->api->capture_end(c->stream, &g->graph, &msg);
    if (e)
        device_fail(d, e, "%s", msg.text);
    pthread_mutex_lock(&c->making);
    if (d->failed)
        drop_graph(c, g);
    pthread_mutex_unlock(&c->making);
}

void cuda_keep(struct device *d, bool on) { cuda_of(d)->keeping = on; }

size_t cuda_keep_next(const struct device *d, size_t tokens, bool decodes) {
    const struct cuda_device *c = (const struct cuda_device *)d;
    size_t most = c->options.no_graphs ? 0 : decodes ? CUDA_GRAPH_DECODES : c->graph_tokens;
    size_t next = bucket(tokens + 1);
    return next <= most ? next : 0;
}
