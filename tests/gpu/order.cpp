// An allocation is cut into segments that were touched alike. A segment knows who wrote it last,
// and who has read it since: by stream the last tick, as a stream's own operations have an order.
#include "tests/gpu/order.h"

#include <algorithm>
#include <vector>

enum { NOBODY = ORDER_STREAMS };

struct segment {
    size_t begin; // up to the next one's
    bool written;
    unsigned char writer; // a stream, or NOBODY
    uint32_t write_tick;
    uint32_t reads[ORDER_STREAMS]; // 0: none
};

struct order_map {
    size_t bytes;
    std::vector<segment> segments; // by begin, the first at 0
};

void order_join(struct order_clock *into, const struct order_clock *other) {
    for (int i = 0; i < ORDER_STREAMS; i++)
        into->at[i] = std::max(into->at[i], other->at[i]);
}

struct order_map *order_map_new(size_t bytes) {
    return new order_map{bytes, {segment{0, false, NOBODY, 0, {}}}};
}
void order_map_free(struct order_map *m) { delete m; }

// The segment that begins at `at`, which it is made to do.
static size_t split(struct order_map *m, size_t at) {
    if (at == m->bytes)
        return m->segments.size();
    auto next = std::upper_bound(m->segments.begin(), m->segments.end(), at,
                                 [](size_t x, const segment &s) { return x < s.begin; });
    size_t i = (size_t)(next - m->segments.begin()) - 1;
    if (m->segments[i].begin == at)
        return i;
    segment copy = m->segments[i];
    copy.begin = at;
    m->segments.insert(next, copy);
    return i + 1;
}

static bool behind(const struct order_op *op, unsigned stream, uint32_t tick) {
    return op->before.at[stream] >= tick;
}

// What is wrong with op's touch of one segment. `end` is left to the caller.
static bool check(const segment *s, const struct order_op *op, enum gpu_touch how,
                  struct order_fault *wrong) {
    bool write = how == GPU_TOUCH_WRITE || how == GPU_TOUCH_WRITE_SOME;
    if (how == GPU_TOUCH_READ && !s->written) {
        *wrong = {ORDER_UNWRITTEN, s->begin, 0, 0, 0};
        return false;
    }
    if (s->writer != NOBODY && !behind(op, s->writer, s->write_tick)) {
        *wrong = {ORDER_BEHIND_WRITE, s->begin, 0, s->writer, s->write_tick};
        return false;
    }
    for (unsigned i = 0; write && i < ORDER_STREAMS; i++) {
        if (behind(op, i, s->reads[i]))
            continue;
        *wrong = {ORDER_BEHIND_READ, s->begin, 0, i, s->reads[i]};
        return false;
    }
    return true;
}

bool order_touch(struct order_map *m, const struct order_op *op, enum gpu_touch how, size_t begin,
                 size_t end, struct order_fault *wrong) {
    if (begin == end)
        return true;
    size_t first = split(m, begin), last = split(m, end);
    bool fine = true;
    for (size_t i = first; i < last; i++) {
        segment *s = &m->segments[i];
        if (fine && !check(s, op, how, wrong)) {
            fine = false;
            wrong->end = i + 1 < m->segments.size() ? m->segments[i + 1].begin : m->bytes;
        }
        if (how == GPU_TOUCH_READ || how == GPU_TOUCH_READ_SOME)
            s->reads[op->stream] = op->tick;
        else
            *s = {s->begin,
                  s->written || how == GPU_TOUCH_WRITE,
                  (unsigned char)op->stream,
                  op->tick,
                  {}};
    }
    if (how == GPU_TOUCH_WRITE) // all alike now
        m->segments.erase(m->segments.begin() + (long)first + 1, m->segments.begin() + (long)last);
    return fine;
}
