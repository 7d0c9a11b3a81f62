// The order of what streams do to a piece of memory, by vector clocks. Role: finds two touches that
// nothing orders, and reads of what was never written, when they are asked for: whatever order they
// are then carried out in. A stream's operations are numbered from 1 (ticks); a clock says up
// to which tick of each stream all has happened before.
// Thread rule: the emulated GPU's lock.
#ifndef TRINE_TESTS_GPU_ORDER_H
#define TRINE_TESTS_GPU_ORDER_H

#include "tests/gpu/block.h"

enum { ORDER_STREAMS = 8 };

struct order_clock {
    uint32_t at[ORDER_STREAMS];
};
void order_join(struct order_clock *into, const struct order_clock *other);

struct order_op {
    struct order_clock before; // what happens before it
    unsigned stream;
    uint32_t tick;
};

enum order_kind { ORDER_UNWRITTEN, ORDER_BEHIND_WRITE, ORDER_BEHIND_READ };

// Bytes [begin, end) were never written, or are written, read by that tick of that stream, which
// does not happen before.
struct order_fault {
    enum order_kind kind;
    size_t begin, end;
    unsigned stream;
    uint32_t tick;
};

struct order_map; // of one allocation
struct order_map *order_map_new(size_t bytes);
void order_map_free(struct order_map *m);

// Notes that op touches [begin, end). False, with the first thing that is wrong, where something
// is.
bool order_touch(struct order_map *m, const struct order_op *op, enum gpu_touch how, size_t begin,
                 size_t end, struct order_fault *wrong);

#endif
