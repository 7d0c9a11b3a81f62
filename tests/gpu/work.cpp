// Does what streams were asked for: as late, as early or as mixed as the order allows.
#include "tests/gpu/block.h"
#include "tests/gpu/emulated.h"
#include "tests/gpu/emulated_gemm.h"
#include "tests/gpu/faults.h"

#include <stdio.h>

static size_t releases; // of what hangs, so far
static bool working;    // a kernel naps in the midst of it, and has given the lock away

static void open_rows(const struct touch *t) {
    if (t->rows == 1 || t->ld_bytes == t->row_bytes) {
        memory_open(t->p, t->rows * t->row_bytes);
        return;
    }
    for (size_t r = 0; r < t->rows; r++)
        memory_open((const char *)t->p + r * t->ld_bytes, t->row_bytes);
}

static void close_rows(const struct touch *t) {
    if (!t->region || t->region->host)
        return;
    size_t all = t->rows ? (t->rows - 1) * t->ld_bytes + t->row_bytes : 0;
    memory_close(t->p, all, true);
}

static void check_guards(struct gpu *g, const struct op *o) {
    for (const struct touch &t : o->touches) {
        if (t.how == GPU_TOUCH_READ || t.how == GPU_TOUCH_READ_SOME || !t.region ||
            region_guarded(t.region, false))
            continue;
        emulated_violation(g, "%s has written beside the %zu bytes that it writes in", o->name,
                           t.region->bytes);
    }
}

static void lose(struct gpu *g, const char *why) {
    g->lost = true;
    if (g->failure == ERR_LOST)
        return;
    g->failure = ERR_LOST;
    snprintf(g->words, sizeof g->words, "GPU %d is lost: %s", g->number, why);
}

// A kernel waits for what another thread of the host does.
static void nap(void) {
    working = true;
    emulated_lock_rest(1);
    working = false;
    emulated_changed();
}

static void run_kernel(struct gpu *g, const struct op *o) {
    char fault[320];
    // The one kernel that is there to fail: no memory is at its address.
    if (strncmp(o->name, "illegal_address", 15) == 0) {
        lose(g, "an illegal memory access was encountered");
        return;
    }
    block_idle = nap;
    if (!block_run(o->call.get(), emulated_random(g), fault, sizeof fault))
        emulated_violation(g, "%s", fault);
}

static void run(struct gpu *g, struct op *o) {
    switch (o->kind) {
    case OP_COPY_IN:
        if (emulated_sum(o->from, o->bytes) != o->sum)
            emulated_violation(g, "the host changed the %zu bytes at %p before they were copied in",
                               o->bytes, o->from);
        memcpy(o->to, o->from, o->bytes);
        break;
    case OP_COPY_OUT: {
        const unsigned char *from = (const unsigned char *)o->from;
        o->delivery->data.assign(from, from + o->bytes);
        if (faults_now(GPU_FAULT_WRONG))
            for (size_t i = 3; i < o->bytes; i += 4)
                o->delivery->data[i] ^= 4;
        break;
    }
    case OP_COPY:
        memcpy(o->to, o->from, o->bytes);
        break;
    case OP_FILL:
        memset(o->to, o->byte, o->bytes);
        break;
    case OP_KERNEL:
        run_kernel(g, o);
        break;
    case OP_GEMM:
        gpu_emulated_gemm(&o->gemm);
        break;
    case OP_WAIT:
        break;
    }
}

static void do_op(struct gpu *g, struct op *o) {
    if (o->kind != OP_WAIT && faults_now(GPU_FAULT_LOST))
        lose(g, "an illegal memory access was encountered (as the test asked)");
    if (!g->lost && !o->void_) {
        for (const struct touch &t : o->touches)
            open_rows(&t);
        run(g, o);
        for (const struct touch &t : o->touches)
            close_rows(&t);
        check_guards(g, o);
    }
    if (o->kind == OP_COPY_IN)
        spans_remove(g->sources, o->from, o->bytes);
    // Of a lost GPU, or of memory that is not there: garbage.
    if (o->delivery && o->delivery->data.size() != o->bytes) {
        o->delivery->data.resize(o->bytes);
        memory_poison(o->delivery->data.data(), o->bytes);
    }
}

enum step { STEP_DONE, STEP_NOTHING, STEP_BLOCKED, STEP_HANGS };

// The stream's next operation. BLOCKED: by `*by`.
static enum step step(struct gpu_stream *s, struct mark *by) {
    struct gpu *g = s->gpu;
    if (s->queue.empty())
        return STEP_NOTHING;
    struct op *o = &s->queue.front();
    if (o->kind == OP_WAIT && g->done[o->wait.stream] < o->wait.tick) {
        *by = o->wait;
        return STEP_BLOCKED;
    }
    if (s->hanging && s->hung_at == releases)
        return STEP_HANGS;
    s->hanging = false;
    if (o->kind != OP_WAIT && !g->lost && !o->hung && faults_now(GPU_FAULT_HANG)) {
        o->hung = s->hanging = true;
        s->hung_at = releases;
        return STEP_HANGS;
    }
    do_op(g, o);
    g->done[s->slot] = o->tick;
    s->queue.pop_front();
    return STEP_DONE;
}

void gpu_emulated_release(void) {
    struct emulated_lock lock;
    releases++;
    emulated_changed();
}

static struct gpu_stream *any_stream(struct gpu *g) {
    return g->streams[emulated_random(g) % ORDER_STREAMS];
}

bool emulated_reach(struct gpu *g, unsigned slot, uint32_t tick) {
    enum { LATE, EARLY, MIXED };
    unsigned how = (unsigned)(emulated_random(g) >> 11) % 3;
    struct mark by;
    while (working)
        emulated_lock_wait();
    for (unsigned i = 0; how == EARLY && i < ORDER_STREAMS; i++)
        while (i != slot && g->streams[i] && step(g->streams[i], &by) == STEP_DONE)
            ;
    while (g->done[slot] < tick) {
        struct gpu_stream *other = how == MIXED ? any_stream(g) : NULL;
        if (other && other->slot != slot)
            step(other, &by);
        switch (step(g->streams[slot], &by)) {
        case STEP_DONE:
            break;
        case STEP_BLOCKED:
            if (!emulated_reach(g, (unsigned)by.stream, by.tick))
                return false;
            break;
        case STEP_NOTHING: // cannot be: its ticks are in its queue
        case STEP_HANGS:
            return false;
        }
    }
    return true;
}

void emulated_reach_surely(struct gpu *g, unsigned slot, uint32_t tick) {
    while (!emulated_reach(g, slot, tick))
        emulated_lock_wait();
}

void emulated_finish_all(struct gpu *g) {
    for (unsigned i = 0; i < ORDER_STREAMS; i++)
        emulated_reach_surely(g, i, g->asked[i]);
}

void emulated_deliver(struct gpu *g) {
    size_t kept = 0;
    for (auto &d : g->deliveries) {
        if (g->host.at[d->stream] < d->tick) {
            g->deliveries[kept++] = d;
            continue;
        }
        if (d->pinned)
            memory_open(d->host, d->bytes);
        memcpy(d->host, d->data.data(), d->bytes);
        spans_remove(g->targets, d->host, d->bytes);
    }
    g->deliveries.resize(kept);
}
