// What the files of the emulated GPU share: GPUs, streams, and what is asked of them. Role:
// internal to tests/gpu. emulated_gpu.cpp has the table, ask.cpp takes what is asked and checks it,
// work.cpp does it. Thread rule: under the one lock (struct emulated_lock).
#ifndef TRINE_TESTS_GPU_EMULATED_H
#define TRINE_TESTS_GPU_EMULATED_H

#include "tests/gpu/emulated_gpu.h"
#include "tests/gpu/memory.h"

#include <deque>
#include <memory>
#include <pthread.h>
#include <vector>

// Rows of memory that an operation touches.
struct touch {
    enum gpu_touch how;
    const void *p;
    size_t row_bytes, rows, ld_bytes;
    struct region *region; // where it is one's, once it has been checked
};

// The end of a stream's first `tick` operations, and all that happens before it.
struct mark {
    int stream; // -1: nothing was recorded
    uint32_t tick;
    struct order_clock clock;
};

// What a copy brings to the host: kept here until a wait covers it.
struct delivery {
    void *host;
    size_t bytes;
    struct region *pinned; // or NULL
    unsigned stream;
    uint32_t tick;
    std::vector<unsigned char> data; // empty until the copy is done
};

enum op_kind { OP_COPY_IN, OP_COPY_OUT, OP_COPY, OP_FILL, OP_KERNEL, OP_GEMM, OP_WAIT };

struct op {
    enum op_kind kind;
    const char *name;
    uint32_t tick; // its number in the stream
    void *to;
    const void *from;
    int byte;
    size_t bytes;
    uint64_t sum; // of the host's bytes, when it was asked for
    std::shared_ptr<struct block_call> call;
    struct gpu_gemm gemm;
    std::vector<struct touch> touches;
    struct mark wait;
    std::shared_ptr<struct delivery> delivery;
    bool void_; // what it touches is not there: it is not done
    bool hung;  // was told to hang, and has been let go
};

struct gpu_graph {
    std::vector<struct op> ops;
};

struct gpu_event {
    struct gpu *gpu;
    struct mark mark;
};

struct gpu_stream {
    struct gpu *gpu;
    unsigned slot;
    struct order_clock clock; // behind what it was asked so far
    std::deque<struct op> queue;
    std::vector<struct touch> said; // of the next launch
    struct gpu_graph *capture;      // or NULL
    bool misused;                   // the capture
    bool hanging;
    size_t hung_at; // how often what hangs had been released then
};

enum { EMULATED_NAMES = 4096 }; // of the last operations

struct gpu {
    int number;
    enum err failure;
    char words[400];
    bool lost;
    uint64_t random;
    struct order_clock host; // what happens before what the host asks next
    struct gpu_stream *streams[ORDER_STREAMS];
    // Of each slot, also over streams that came one after the other.
    uint32_t asked[ORDER_STREAMS], done[ORDER_STREAMS];
    const char *names[ORDER_STREAMS][EMULATED_NAMES];
    std::vector<std::shared_ptr<struct delivery>> deliveries;
    // Of the host's memory: where they go, and what copies in are still to read.
    struct spans *targets, *sources;
    struct gpu_stream *capturing;
    pthread_t capturer;
};

struct emulated_lock {
    emulated_lock();
    ~emulated_lock();
};
// Gives the lock away until something changes; to be called when something has.
void emulated_lock_wait(void);
void emulated_changed(void);
void emulated_lock_rest(int ms); // given away, and taken again

// Counts a violation, and makes it g's failure.
void emulated_violation(struct gpu *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

uint64_t emulated_random(struct gpu *g);
uint64_t emulated_sum(const void *p, size_t bytes);

// ---- work.cpp

// Does what has to be done for `slot` to be at `tick`, and what else the seed says. False where
// it hangs.
bool emulated_reach(struct gpu *g, unsigned slot, uint32_t tick);
// The same, and waits as long as it hangs.
void emulated_reach_surely(struct gpu *g, unsigned slot, uint32_t tick);
void emulated_finish_all(struct gpu *g);
// Gives the host what waits have covered.
void emulated_deliver(struct gpu *g);

// ---- ask.cpp: the table's

void emulated_copy_in(struct gpu_stream *s, void *device, const void *host, size_t bytes);
void emulated_copy_out(struct gpu_stream *s, void *host, const void *device, size_t bytes);
void emulated_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes);
void emulated_fill(struct gpu_stream *s, void *device, int byte, size_t bytes);
void emulated_product(struct gpu_stream *s, const struct gpu_gemm *a);
void emulated_stream_wait(struct gpu_stream *s, struct gpu_event *e);
void emulated_record(struct gpu_stream *s, struct gpu_event *e);
void emulated_wait(struct gpu_event *e);
void emulated_capture(struct gpu_stream *s);
enum err emulated_capture_end(struct gpu_stream *s, struct gpu_graph **out, struct errmsg *msg);
void emulated_graph_launch(struct gpu_stream *s, struct gpu_graph *graph);
void emulated_graph_free(struct gpu *g, struct gpu_graph *graph);
// Whether the calling thread captures a stream of g's other than `but`: a violation, of `what`.
bool emulated_capture_misused(struct gpu *g, const struct gpu_stream *but, const char *what);

#endif
