// See ops_draw.h. Within a sequence the rows come in order, for a row counts only when the row
// before drew the token that it computes; so what a draft missed is not computed.
#include "compute/cpu/ops_draw.h"

#include "compute/cpu/cpu_device.h"
#include "compute/cpu/sampling_internal.h"

struct drawing {
    const struct draw_args *args;
    struct sampling_scratch *scratches; // [threads]
};

static bool ends(const struct draw_part *p, int32_t id) {
    for (size_t i = 0; i < p->end_count; i++)
        if (p->end_ids[i] == id)
            return true;
    return false;
}

static void draw_row(const struct draw_part *p, size_t row, struct mat logits,
                     struct sampling_scratch *scratch) {
    const float *x = logits.data + (p->first + row) * logits.ld;
    struct sampling_result *out = &p->results[row];
    if (!p->sampling) {
        sampling_score(x, logits.cols, p->next[row], p->top, scratch, out);
        return;
    }
    struct sampling_row r = {.logits = x,
                             .vocab = logits.cols,
                             .sampling = p->sampling,
                             .history = p->history,
                             .more = p->next,
                             .more_count = row,
                             .mask = p->masks ? p->masks[row] : NULL,
                             .position = p->position + row,
                             .top = p->top,
                             .want_logprob = p->want_logprob};
    sampling_draw(&r, scratch, out);
}

static void draw_part(void *ctx, size_t task, int worker) {
    const struct drawing *d = ctx;
    struct draw_part *p = &d->args->parts[task];
    p->drawn = 0;
    p->failed = false;
    for (size_t row = 0; row < p->count; row++) {
        draw_row(p, row, d->args->logits, &d->scratches[worker]);
        int32_t id = p->results[row].id;
        p->failed = id < 0;
        if (p->failed)
            return;
        p->drawn++;
        if (p->sampling && (ends(p, id) || row + 1 == p->count || p->next[row] != id))
            return;
    }
}

static size_t threads_of(const struct device *d) {
    return (size_t)team_threads(((const struct cpu_device *)d)->team);
}

size_t cpu_draw_bytes(const struct device *d, size_t vocab) {
    size_t threads = threads_of(d), each = sampling_scratch_bytes(vocab), all,
           own = arena_cost(threads, sizeof(struct sampling_scratch));
    if (each > SIZE_MAX / 2 || __builtin_mul_overflow(each, threads, &all) ||
        __builtin_add_overflow(all, own, &all))
        return SIZE_MAX;
    return all;
}

void cpu_draw(struct device *d, const struct draw_args *a, struct arena *ws) {
    size_t mark = ws->used, threads = threads_of(d);
    struct drawing drawing = {.args = a};
    bool room = (drawing.scratches = arena_alloc(ws, threads, sizeof *drawing.scratches)) != NULL;
    for (size_t i = 0; i < threads && room; i++)
        room = sampling_scratch_place(ws, a->logits.cols, &drawing.scratches[i]);
    if (room)
        team_run(cpu_of(d)->team, a->count, draw_part, &drawing);
    else
        device_fail(d, ERR_INTERNAL, "workspace of %zu bytes has no room for drawing", ws->size);
    ws->used = mark;
}
