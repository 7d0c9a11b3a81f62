// Takes what streams are asked for: checks it, and queues it or keeps it for a graph.
#include "tests/gpu/block.h"
#include "tests/gpu/emulated.h"
#include "tests/gpu/faults.h"

#include <stdio.h>

static const char *name_of(const struct gpu *g, unsigned stream, uint32_t tick) {
    const char *name = g->names[stream][tick % EMULATED_NAMES];
    return g->asked[stream] - tick < EMULATED_NAMES && name ? name : "something long ago";
}

// ---- what an operation touches

static void touches_too(std::vector<struct touch> *touches, enum gpu_touch how, const void *p,
                        size_t row_bytes, size_t rows, size_t ld_bytes) {
    if (p && rows && row_bytes)
        touches->push_back({how, p, row_bytes, rows, ld_bytes, NULL});
}

void gpu_emulated_touch(struct gpu_stream *s, enum gpu_touch how, const void *p, size_t bytes) {
    struct emulated_lock lock;
    touches_too(&s->said, how, p, bytes, 1, bytes);
}

void gpu_emulated_touch_mat(struct gpu_stream *s, enum gpu_touch how, struct gpu_mat m) {
    struct emulated_lock lock;
    size_t size = gpu_type_size(m.type);
    touches_too(&s->said, how, m.data, m.cols * size, m.rows, m.ld * size);
}

static bool is_write(enum gpu_touch how) {
    return how == GPU_TOUCH_WRITE || how == GPU_TOUCH_WRITE_SOME;
}

static void tell_order(struct gpu *g, const struct op *o, unsigned slot, const struct region *r,
                       enum gpu_touch how, const struct order_fault *wrong) {
    char other[160] = "which was never written";
    if (wrong->kind != ORDER_UNWRITTEN)
        snprintf(other, sizeof other, "which %s (stream %u, operation %u) %s in no order with it",
                 name_of(g, wrong->stream, wrong->tick), wrong->stream, wrong->tick,
                 wrong->kind == ORDER_BEHIND_WRITE ? "writes" : "reads");
    emulated_violation(g, "%s (stream %u, operation %u) %s bytes [%zu, %zu) of the %zu at %p, %s",
                       o->name, slot, o->tick, is_write(how) ? "writes" : "reads", wrong->begin,
                       wrong->end, r->bytes, (void *)r->data, other);
}

// False: it reaches past what was allocated.
static bool check_touch(struct gpu *g, const struct op *o, unsigned slot, const struct order_op *as,
                        struct touch *t) {
    struct region *r = region_at(t->p);
    size_t all = (t->rows - 1) * t->ld_bytes + t->row_bytes;
    size_t from = r ? (size_t)((const unsigned char *)t->p - r->data) : 0;
    if (!r || r->gpu != g || all > r->bytes - from) {
        emulated_violation(g, "%s touches %zu bytes at %p, which is not all memory of its GPU",
                           o->name, all, t->p);
        return false;
    }
    t->region = r;
    bool rows_apart = t->rows > 1 && t->ld_bytes != t->row_bytes;
    struct order_fault wrong;
    for (size_t i = 0; r->order && i < (rows_apart ? t->rows : 1); i++) {
        size_t begin = from + i * t->ld_bytes;
        size_t end = begin + (rows_apart ? t->row_bytes : all);
        if (order_touch(r->order, as, t->how, begin, end, &wrong))
            continue;
        tell_order(g, o, slot, r, t->how, &wrong);
        break;
    }
    return true;
}

// ---- host memory

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    return (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

// A copy's end that is the host's. False where it is device memory.
static bool check_host(struct gpu_stream *s, const struct op *o, const void *host,
                       struct region **pinned) {
    struct region *r = region_at(host);
    *pinned = NULL;
    if (!r || (const unsigned char *)host == r->data + r->bytes)
        return true;
    if (!r->host || (size_t)((const unsigned char *)host - r->data) + o->bytes > r->bytes) {
        emulated_violation(s->gpu, "%s of %zu bytes: %p is not memory of the host", o->name,
                           o->bytes, host);
        return false;
    }
    r->used.at[s->slot] = o->tick;
    *pinned = r;
    return true;
}

static void begin_copy_in(struct gpu_stream *s, struct op *o) {
    struct region *pinned;
    if (!check_host(s, o, o->from, &pinned)) {
        o->void_ = true;
        return;
    }
    if (spans_meet(s->gpu->targets, o->from, o->bytes)) {
        emulated_violation(s->gpu,
                           "copy_in reads host memory that a copy_out brings, with no wait");
        o->void_ = true;
        return;
    }
    spans_add(s->gpu->sources, o->from, o->bytes);
    o->sum = emulated_sum(o->from, o->bytes);
}

// Nothing but garbage is there until it is waited for; but what a copy in is still to read stays.
static void begin_copy_out(struct gpu_stream *s, struct op *o) {
    struct gpu *g = s->gpu;
    struct region *pinned;
    if (!check_host(s, o, o->to, &pinned)) {
        o->void_ = true;
        return;
    }
    o->delivery =
        std::make_shared<struct delivery>(delivery{o->to, o->bytes, pinned, s->slot, o->tick, {}});
    g->deliveries.push_back(o->delivery);
    spans_add(g->targets, o->to, o->bytes);
    if (spans_meet(g->sources, o->to, o->bytes))
        return;
    memory_poison(o->to, o->bytes);
    if (pinned)
        memory_close(o->to, o->bytes, false);
}

// ---- asking

bool emulated_capture_misused(struct gpu *g, const struct gpu_stream *but, const char *what) {
    if (!g->capturing || g->capturing == but || !pthread_equal(g->capturer, pthread_self()))
        return false;
    g->capturing->misused = true;
    emulated_violation(g, "%s while a stream is captured", what);
    return true;
}

static void submit(struct gpu_stream *s, struct op *o) {
    struct gpu *g = s->gpu;
    o->tick = ++g->asked[s->slot];
    g->names[s->slot][o->tick % EMULATED_NAMES] = o->name;
    order_join(&s->clock, &g->host);
    struct order_op as = {s->clock, s->slot, o->tick};
    as.before.at[s->slot] = o->tick; // what it does itself is in order
    s->clock.at[s->slot] = o->tick;
    // Reads first: an operation does not read what it will have written.
    for (int writes = 0; writes < 2; writes++)
        for (struct touch &t : o->touches)
            if (is_write(t.how) == (writes == 1) && !check_touch(g, o, s->slot, &as, &t))
                o->void_ = true;
    if (o->kind == OP_COPY_IN)
        begin_copy_in(s, o);
    if (o->kind == OP_COPY_OUT)
        begin_copy_out(s, o);
    s->queue.push_back(*o);
}

static void ask(struct gpu_stream *s, struct op *o) {
    if (s->capture) {
        s->capture->ops.push_back(*o);
        return;
    }
    emulated_capture_misused(s->gpu, s, o->name);
    submit(s, o);
}

static void ask_copy(struct gpu_stream *s, enum op_kind kind, const char *name, void *to,
                     const void *from, size_t bytes) {
    struct emulated_lock lock;
    if (!bytes)
        return;
    struct op o = {};
    o.kind = kind;
    o.name = name;
    o.to = to;
    o.from = from;
    o.bytes = bytes;
    if (kind != OP_COPY_IN)
        touches_too(&o.touches, GPU_TOUCH_READ, from, bytes, 1, bytes);
    if (kind != OP_COPY_OUT)
        touches_too(&o.touches, GPU_TOUCH_WRITE, to, bytes, 1, bytes);
    o.void_ = kind == OP_COPY && overlap(to, bytes, from, bytes);
    if (o.void_)
        emulated_violation(s->gpu, "copy of %zu bytes onto part of itself", bytes);
    ask(s, &o);
}

void emulated_copy_in(struct gpu_stream *s, void *device, const void *host, size_t bytes) {
    ask_copy(s, OP_COPY_IN, "copy_in", device, host, bytes);
}
void emulated_copy_out(struct gpu_stream *s, void *host, const void *device, size_t bytes) {
    ask_copy(s, OP_COPY_OUT, "copy_out", host, device, bytes);
}
void emulated_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes) {
    ask_copy(s, OP_COPY, "copy", to, from, bytes);
}

void emulated_fill(struct gpu_stream *s, void *device, int byte, size_t bytes) {
    struct emulated_lock lock;
    struct op o = {};
    o.kind = OP_FILL;
    o.name = "fill";
    o.to = device;
    o.byte = byte;
    o.bytes = bytes;
    touches_too(&o.touches, GPU_TOUCH_WRITE, device, bytes, 1, bytes);
    if (bytes)
        ask(s, &o);
}

void gpu_emulated_launch(struct gpu_stream *s, struct block_call *call) {
    struct emulated_lock lock;
    struct op o = {};
    o.kind = OP_KERNEL;
    o.name = call->kernel;
    o.call = std::shared_ptr<struct block_call>(call, free);
    o.touches.swap(s->said);
    ask(s, &o);
}

void emulated_product(struct gpu_stream *s, const struct gpu_gemm *a) {
    struct emulated_lock lock;
    size_t in = gpu_type_size(a->type), out = a->wide_out ? 4 : in;
    struct op o = {};
    o.kind = OP_GEMM;
    o.name = "gemm";
    o.gemm = *a;
    touches_too(&o.touches, GPU_TOUCH_READ, a->x, a->in * in, a->rows, a->ld_x * in);
    touches_too(&o.touches, GPU_TOUCH_READ, a->w, a->in * in, a->out, a->ld_w * in);
    touches_too(&o.touches, GPU_TOUCH_READ, a->bias, a->out * out, 1, a->out * out);
    touches_too(&o.touches, GPU_TOUCH_READ, a->residual, a->out * out, a->rows,
                a->ld_residual * out);
    touches_too(&o.touches, GPU_TOUCH_WRITE, a->y, a->out * out, a->rows, a->ld_y * out);
    bool narrow_gelu = a->activation == GPU_GELU_TANH && a->type != GPU_F32;
    if ((a->activation != GPU_NONE && a->residual) ||
        (a->activation != GPU_NONE && a->activation != GPU_RELU && !narrow_gelu))
        emulated_violation(s->gpu, "gemm: activation %d%s is not one of gpu_api.h's",
                           (int)a->activation, a->residual ? " with a residual" : "");
    if (a->rows && a->out)
        ask(s, &o);
}

// ---- events

// What a captured stream is not to be asked.
static bool captured(struct gpu_stream *s, const char *what) {
    if (!s->capture)
        return emulated_capture_misused(s->gpu, s, what);
    s->misused = true;
    emulated_violation(s->gpu, "%s of a stream that is captured", what);
    return true;
}

void emulated_record(struct gpu_stream *s, struct gpu_event *e) {
    struct emulated_lock lock;
    if (captured(s, "record"))
        return;
    struct gpu *g = s->gpu;
    order_join(&s->clock, &g->host);
    e->mark = {(int)s->slot, g->asked[s->slot], s->clock};
}

void emulated_stream_wait(struct gpu_stream *s, struct gpu_event *e) {
    struct emulated_lock lock;
    if (captured(s, "stream_wait") || e->mark.stream < 0)
        return;
    if (e->gpu != s->gpu) {
        emulated_violation(s->gpu, "stream_wait for another GPU's event");
        return;
    }
    struct op o = {};
    o.kind = OP_WAIT;
    o.name = "stream_wait";
    o.wait = e->mark;
    submit(s, &o);
    order_join(&s->clock, &e->mark.clock);
}

void emulated_wait(struct gpu_event *e) {
    struct emulated_lock lock;
    struct gpu *g = e->gpu;
    if (emulated_capture_misused(g, NULL, "wait") || e->mark.stream < 0)
        return;
    struct mark m = e->mark;
    emulated_reach_surely(g, (unsigned)m.stream, m.tick);
    order_join(&g->host, &m.clock);
    emulated_deliver(g);
}

// ---- graphs

void emulated_capture(struct gpu_stream *s) {
    struct emulated_lock lock;
    if (captured(s, "capture"))
        return;
    s->capture = new gpu_graph;
    s->misused = false;
    s->gpu->capturing = s;
    s->gpu->capturer = pthread_self();
}

enum err emulated_capture_end(struct gpu_stream *s, struct gpu_graph **out, struct errmsg *msg) {
    struct emulated_lock lock;
    *out = NULL;
    if (!s->capture) {
        emulated_violation(s->gpu, "capture_end without capture");
        return err_set(msg, ERR_INTERNAL, "the stream is not captured");
    }
    struct gpu_graph *graph = s->capture;
    s->capture = NULL;
    s->gpu->capturing = NULL;
    if (s->misused) {
        delete graph;
        return err_set(msg, ERR_INTERNAL, "the capture was broken: %s", s->gpu->words);
    }
    *out = graph;
    return ERR_OK;
}

void emulated_graph_launch(struct gpu_stream *s, struct gpu_graph *graph) {
    struct emulated_lock lock;
    if (captured(s, "graph_launch"))
        return;
    for (const struct op &kept : graph->ops) {
        struct op o = kept;
        submit(s, &o);
    }
}

void emulated_graph_free(struct gpu *g, struct gpu_graph *graph) {
    struct emulated_lock lock;
    (void)g;
    delete graph;
}
