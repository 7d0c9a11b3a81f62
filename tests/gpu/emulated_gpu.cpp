// The emulated GPU's functions: what is asked of a stream is done at once, in a first version.
#include "tests/gpu/emulated_gpu.h"
#include "tests/gpu/block.h"
#include "tests/gpu/emulated_gemm.h"

#include <stdio.h>

struct op {
    enum { COPY, FILL, KERNEL, GEMM } kind;
    void *to;
    const void *from;
    int byte;
    size_t bytes;
    struct block_call *call;
    struct gpu_gemm gemm;
    struct op *next;
};

struct gpu {
    enum err failure;
    char words[400];
    uint64_t launches;
};
struct gpu_stream {
    struct gpu *gpu;
    struct gpu_graph *capturing;
};
struct gpu_event {
    int unused;
};
struct gpu_graph {
    struct op *first, *last;
};

static size_t violations;

static void run(struct gpu *g, const struct op *o) {
    char fault[256];
    switch (o->kind) {
    case op::COPY:
        memmove(o->to, o->from, o->bytes);
        break;
    case op::FILL:
        memset(o->to, o->byte, o->bytes);
        break;
    case op::KERNEL:
        if (!block_run(o->call, ++g->launches, fault, sizeof fault)) {
            violations++;
            if (g->failure == ERR_OK) {
                g->failure = ERR_INTERNAL;
                snprintf(g->words, sizeof g->words, "%s", fault);
            }
        }
        break;
    case op::GEMM:
        gpu_emulated_gemm(&o->gemm);
        break;
    }
}

static void ask(struct gpu_stream *s, const struct op *o) {
    if (!s->capturing) {
        run(s->gpu, o);
        free(o->call);
        return;
    }
    struct op *kept = (struct op *)malloc(sizeof *kept);
    if (!kept)
        abort();
    *kept = *o;
    kept->next = NULL;
    if (s->capturing->last)
        s->capturing->last->next = kept;
    else
        s->capturing->first = kept;
    s->capturing->last = kept;
}

void gpu_emulated_touch(struct gpu_stream *s, enum gpu_touch how, const void *p, size_t bytes) {
    (void)s, (void)how, (void)p, (void)bytes;
}
void gpu_emulated_touch_mat(struct gpu_stream *s, enum gpu_touch how, struct gpu_mat m) {
    (void)s, (void)how, (void)m;
}
void gpu_emulated_launch(struct gpu_stream *s, struct block_call *call) {
    struct op o = {};
    o.kind = op::KERNEL;
    o.call = call;
    ask(s, &o);
}

static enum err emu_count(int *out, struct errmsg *msg) {
    (void)msg;
    *out = 1;
    return ERR_OK;
}
static enum err emu_look(int number, struct gpu_facts *out, struct errmsg *msg) {
    (void)msg;
    *out = {};
    out->number = number;
    snprintf(out->name, sizeof out->name, "Emulated GPU");
    snprintf(out->uuid, sizeof out->uuid, "GPU-emulated-%d", number);
    out->major = 9;
    out->driver = 13000;
    out->memory_bytes = out->free_bytes = (size_t)512 << 20;
    out->processors = 4;
    out->shared_bytes = 227 * 1024;
    out->bf16 = true;
    return ERR_OK;
}
static enum err emu_open(int number, struct gpu **out, struct errmsg *msg) {
    (void)number, (void)msg;
    *out = (struct gpu *)calloc(1, sizeof **out);
    return *out ? ERR_OK : ERR_NOMEM;
}
static void emu_close(struct gpu *g) { free(g); }
static void emu_memory(struct gpu *g, size_t *free_bytes, size_t *total_bytes) {
    (void)g;
    *free_bytes = *total_bytes = (size_t)512 << 20;
}
static enum err emu_failure(struct gpu *g, struct errmsg *msg) {
    return g->failure == ERR_OK ? ERR_OK : err_set(msg, g->failure, "%s", g->words);
}
static enum err emu_alloc(struct gpu *g, size_t bytes, void **out) {
    (void)g;
    size_t rounded = (bytes + 255) / 256 * 256;
    *out = aligned_alloc(256, rounded ? rounded : 256);
    if (!*out)
        return ERR_NOMEM;
    for (size_t i = 0; i < bytes / 2; i++)
        ((uint16_t *)*out)[i] = 0x7fbd;
    return ERR_OK;
}
static void emu_free(struct gpu *g, void *p) {
    (void)g;
    free(p);
}
static enum err emu_stream_new(struct gpu *g, struct gpu_stream **out) {
    *out = (struct gpu_stream *)calloc(1, sizeof **out);
    if (!*out)
        return ERR_NOMEM;
    (*out)->gpu = g;
    return ERR_OK;
}
static void emu_stream_free(struct gpu *g, struct gpu_stream *s) {
    (void)g;
    free(s);
}
static void emu_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes) {
    struct op o = {};
    o.kind = op::COPY;
    o.to = to;
    o.from = from;
    o.bytes = bytes;
    ask(s, &o);
}
static void emu_fill(struct gpu_stream *s, void *to, int byte, size_t bytes) {
    struct op o = {};
    o.kind = op::FILL;
    o.to = to;
    o.byte = byte;
    o.bytes = bytes;
    ask(s, &o);
}
static enum err emu_event_new(struct gpu *g, struct gpu_event **out) {
    (void)g;
    *out = (struct gpu_event *)calloc(1, sizeof **out);
    return *out ? ERR_OK : ERR_NOMEM;
}
static void emu_event_free(struct gpu *g, struct gpu_event *e) {
    (void)g;
    free(e);
}
static void emu_record(struct gpu_stream *s, struct gpu_event *e) { (void)s, (void)e; }
static void emu_stream_wait(struct gpu_stream *s, struct gpu_event *e) { (void)s, (void)e; }
static void emu_wait(struct gpu_event *e) { (void)e; }
static void emu_capture(struct gpu_stream *s) {
    s->capturing = (struct gpu_graph *)calloc(1, sizeof *s->capturing);
}
static enum err emu_capture_end(struct gpu_stream *s, struct gpu_graph **out, struct errmsg *msg) {
    (void)msg;
    *out = s->capturing;
    s->capturing = NULL;
    return ERR_OK;
}
static void emu_graph_launch(struct gpu_stream *s, struct gpu_graph *graph) {
    for (const struct op *o = graph->first; o; o = o->next)
        run(s->gpu, o);
}
static void emu_graph_free(struct gpu *g, struct gpu_graph *graph) {
    (void)g;
    while (graph && graph->first) {
        struct op *o = graph->first;
        graph->first = o->next;
        free(o->call);
        free(o);
    }
    free(graph);
}
static void emu_gemm(struct gpu_stream *s, const struct gpu_gemm *a) {
    struct op o = {};
    o.kind = op::GEMM;
    o.gemm = *a;
    ask(s, &o);
}

const struct gpu_api *gpu_emulated(void) {
    static const struct gpu_api api = {
        "emulated",       emu_count,      emu_look,        emu_open,  emu_close,   emu_memory,
        emu_failure,      emu_alloc,      emu_free,        emu_alloc, emu_free,    emu_stream_new,
        emu_stream_free,  emu_copy,       emu_copy,        emu_copy,  emu_fill,    emu_event_new,
        emu_event_free,   emu_record,     emu_stream_wait, emu_wait,  emu_capture, emu_capture_end,
        emu_graph_launch, emu_graph_free, emu_gemm,
    };
    return &api;
}

size_t gpu_emulated_violations(void) { return violations; }
