// A grid of blocks on one host thread: threads are fibers, which switch only where they meet.
#include "tests/gpu/block.h"
#include "tests/gpu/fibers.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum {
    MOST_THREADS = 1024,
    MOST_SHARED = 227 * 1024, // of a block, on the cards of today
    SHARED_GUARD = 1024,
    CANARY = 0xc5,
};

void (*block_idle)(void);
struct uint3 threadIdx, blockIdx;
struct dim3 blockDim, gridDim;
unsigned char *block_shared;

// A lane that waits for others of its warp.
struct waiting {
    const char *what;
    unsigned mask;
    block_all *all;
    void *mine;
};

enum thread_state { FRESH, READY, IN_BARRIER, IN_WARP, DONE };

static struct {
    const struct block_call *call;
    unsigned threads;
    struct uint3 place[MOST_THREADS]; // threadIdx of each
    struct fiber *fiber[MOST_THREADS];
    unsigned char state[MOST_THREADS];
    struct waiting waits[MOST_THREADS];
    unsigned in_warp[MOST_THREADS / 32]; // lanes that wait
    unsigned arrived, done;              // at the barrier; behind the kernel's end
    // Those that can run: a ring, the next one first.
    unsigned short ring[2 * MOST_THREADS];
    unsigned first, count;
    bool last_first; // those that were woken last run next
    unsigned now;    // the thread that runs
    struct fiber caller;
    uint64_t random;
    bool failed;
    char fault[256];
    unsigned votes, vote_sum;
    int vote_result;
} b;

static uint64_t next_random(void) {
    b.random ^= b.random << 13;
    b.random ^= b.random >> 7;
    b.random ^= b.random << 17;
    return b.random;
}

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...) {
    if (b.failed)
        return;
    b.failed = true;
    int n = snprintf(b.fault, sizeof b.fault, "kernel %s, block (%u, %u, %u): ", b.call->kernel,
                     blockIdx.x, blockIdx.y, blockIdx.z);
    va_list ap;
    va_start(ap, format);
    vsnprintf(b.fault + n, sizeof b.fault - (size_t)n, format, ap);
    va_end(ap);
}

static void push_back(unsigned t) {
    b.ring[(b.first + b.count++) % (2 * MOST_THREADS)] = (unsigned short)t;
}
static void push_front(unsigned t) {
    b.first = (b.first + 2 * MOST_THREADS - 1) % (2 * MOST_THREADS);
    b.ring[b.first] = (unsigned short)t;
    b.count++;
}

// All threads can run: warps in one order, a warp's lanes in another.
static void all_ready(void) {
    unsigned warps = (b.threads + 31) / 32;
    uint64_t r = next_random();
    unsigned first_warp = (unsigned)(r >> 8) % warps, back = r & 1;
    b.first = b.count = 0;
    for (unsigned i = 0; i < warps; i++) {
        unsigned w = (first_warp + (back ? warps - i : i)) % warps;
        unsigned step = (unsigned)(r >> 16) | 1, from = (unsigned)(r >> 24);
        r = r >> 5 | r << 59;
        for (unsigned l = 0; l < 32; l++) {
            unsigned t = w * 32 + ((l * step + from) & 31);
            if (t < b.threads)
                push_back(t);
        }
    }
}

static void thread_fiber(void);

// The running thread stops (or is over): another goes on. Returns when it is this thread's turn
// again; `over`: when this fiber has a fresh thread to run.
static void others_run(bool over) {
    struct fiber *mine = b.fiber[b.now];
    if (b.failed || b.count == 0) {
        fiber_switch(mine, &b.caller); // never comes back
        abort();
    }
    unsigned t = b.ring[b.first];
    b.first = (b.first + 1) % (2 * MOST_THREADS);
    b.count--;
    bool fresh = b.state[t] == FRESH;
    b.state[t] = READY;
    if (over) {
        b.fiber[b.now] = NULL;
        if (fresh) {
            b.fiber[t] = mine;
            b.now = t;
            threadIdx = b.place[t];
            return;
        }
        fiber_free(mine);
    }
    if (t == b.now && !over)
        return;
    if (fresh)
        b.fiber[t] = fiber_new(thread_fiber);
    b.now = t;
    threadIdx = b.place[t];
    fiber_switch(mine, b.fiber[t]);
}

static void thread_fiber(void) {
    fiber_began();
    for (;;) {
        b.call->thread(b.call);
        b.state[b.now] = DONE;
        b.done++;
        others_run(true);
    }
}

// ---- meetings

void block_sync(void) {
    b.state[b.now] = IN_BARRIER;
    if (++b.arrived < b.threads) {
        others_run(false);
        return;
    }
    b.arrived = 0;
    all_ready();
    others_run(false);
}

void __nanosleep(unsigned) {
    if (b.count == 0 && block_idle)
        block_idle();
    push_back(b.now);
    others_run(false);
}

unsigned block_lane(void) { return b.now % 32; }

void block_meet(const char *what, unsigned mask, block_all *all, void *mine) {
    unsigned lane = b.now % 32, warp = b.now / 32, base = warp * 32;
    if (!(mask >> lane & 1)) {
        fail("thread %u is not in its own mask 0x%08x of %s", b.now, mask, what);
        others_run(false);
    }
    struct waiting *w = &b.waits[b.now];
    w->what = what;
    w->mask = mask;
    w->all = all;
    w->mine = mine;
    b.in_warp[warp] |= 1U << lane;
    if ((b.in_warp[warp] & mask) != mask) {
        b.state[b.now] = IN_WARP;
        others_run(false);
        return;
    }
    void *given[32] = {NULL};
    for (unsigned left = mask; left; left &= left - 1) {
        unsigned l = (unsigned)__builtin_ctz(left);
        const struct waiting *other = &b.waits[base + l];
        if (other->mask != mask || other->all != all) {
            fail("threads %u and %u wait for each other, at %s of mask 0x%08x and %s of 0x%08x",
                 b.now, base + l, what, mask, other->what, other->mask);
            others_run(false);
        }
        given[l] = other->mine;
    }
    all(mask, given);
    b.in_warp[warp] &= ~mask;
    for (unsigned left = mask & ~(1U << lane); left; left &= left - 1) {
        unsigned t = base + (unsigned)__builtin_ctz(left);
        b.state[t] = READY;
        if (b.last_first)
            push_front(t);
        else
            push_back(t);
    }
}

static void all_shuffled(unsigned mask, void *const given[32]) {
    for (unsigned l = 0; l < 32; l++) {
        if (!(mask >> l & 1))
            continue;
        struct block_shuffled *mine = (struct block_shuffled *)given[l];
        // A lane outside of the mask has nothing to give.
        const struct block_shuffled *from = (const struct block_shuffled *)given[mine->from];
        mine->out = from ? from->in : 0x7fbd7fbd7fbd7fbdULL;
    }
}
void block_shuffle(const char *what, unsigned mask, struct block_shuffled *mine) {
    block_meet(what, mask, all_shuffled, mine);
}

// Each lane's sum is the same to the bit: in each step two lanes add the same two numbers.
static void all_summed(unsigned mask, void *const given[32]) {
    (void)mask;
    float x[32];
    for (unsigned l = 0; l < 32; l++)
        x[l] = *(const float *)given[l];
    for (unsigned half = 16; half > 0; half /= 2)
        for (unsigned l = 0; l < half; l++)
            x[l] += x[l + half];
    for (unsigned l = 0; l < 32; l++)
        *(float *)given[l] = x[0];
}
static void all_compared(unsigned mask, void *const given[32]) {
    (void)mask;
    float most = *(const float *)given[0];
    for (unsigned l = 1; l < 32; l++)
        most = fmaxf(most, *(const float *)given[l]);
    for (unsigned l = 0; l < 32; l++)
        *(float *)given[l] = most;
}
float block_warp_sum(float x) {
    block_meet("gpu_warp_sum", 0xffffffffU, all_summed, &x);
    return x;
}
float block_warp_max(float x) {
    block_meet("gpu_warp_max", 0xffffffffU, all_compared, &x);
    return x;
}

struct gathering {
    const void *mine;
    size_t bytes;
    void *all;
};
static void all_gathered(unsigned mask, void *const given[32]) {
    (void)mask;
    for (unsigned to = 0; to < 32; to++) {
        const struct gathering *g = (const struct gathering *)given[to];
        for (unsigned from = 0; from < 32; from++)
            memcpy((char *)g->all + from * g->bytes, ((const struct gathering *)given[from])->mine,
                   g->bytes);
    }
}
void gpu_warp_gather(const void *mine, size_t bytes, void *all) {
    struct gathering g = {mine, bytes, all};
    block_meet("gpu_warp_gather", 0xffffffffU, all_gathered, &g);
}

static void all_synced(unsigned mask, void *const given[32]) { (void)mask, (void)given; }
void __syncwarp(unsigned mask) { block_meet("__syncwarp", mask, all_synced, NULL); }

struct vote {
    unsigned in, out;
};
#define WARP_VOTE(name, start, step)                                                               \
    static void all_##name(unsigned mask, void *const given[32]) {                                 \
        unsigned out = start;                                                                      \
        for (unsigned l = 0; l < 32; l++) {                                                        \
            unsigned x = mask >> l & 1 ? ((struct vote *)given[l])->in : 0;                        \
            if (mask >> l & 1)                                                                     \
                out = step;                                                                        \
        }                                                                                          \
        for (unsigned l = 0; l < 32; l++)                                                          \
            if (mask >> l & 1)                                                                     \
                ((struct vote *)given[l])->out = out;                                              \
    }                                                                                              \
    unsigned name(unsigned mask, unsigned x) {                                                     \
        struct vote v = {x, 0};                                                                    \
        block_meet(#name, mask, all_##name, &v);                                                   \
        return v.out;                                                                              \
    }
WARP_VOTE(__reduce_add_sync, 0, out + x)
WARP_VOTE(__reduce_or_sync, 0, out | x)
WARP_VOTE(__reduce_max_sync, 0, out > x ? out : x)
WARP_VOTE(__reduce_min_sync, 0xffffffffU, out < x ? out : x)
unsigned __ballot_sync(unsigned mask, int yes) {
    return __reduce_or_sync(mask, (yes ? 1U : 0) << block_lane());
}

static void all_matched(unsigned mask, void *const given[32]) {
    for (unsigned l = 0; l < 32; l++)
        for (unsigned o = 0; o < 32; o++)
            if (mask >> l & mask >> o & 1 &&
                ((struct vote *)given[l])->in == ((struct vote *)given[o])->in)
                ((struct vote *)given[l])->out |= 1U << o;
}
unsigned __match_any_sync(unsigned mask, unsigned x) {
    struct vote v = {x, 0};
    block_meet("__match_any_sync", mask, all_matched, &v);
    return v.out;
}

unsigned __activemask(void) { return 1U << block_lane(); } // the only promise there is

int __syncthreads_count(int yes) {
    b.vote_sum += yes != 0;
    if (++b.votes == b.threads) {
        b.vote_result = (int)b.vote_sum;
        b.votes = b.vote_sum = 0;
    }
    block_sync();
    int result = b.vote_result;
    block_sync(); // nobody votes again before all have read
    return result;
}
int __syncthreads_or(int yes) { return __syncthreads_count(yes) != 0; }
int __syncthreads_and(int yes) { return __syncthreads_count(!yes) == 0; }

// ---- grids

// Who waits in vain, in words.
static void stuck(void) {
    for (unsigned t = 0; t < b.threads; t++) {
        if (b.state[t] == IN_WARP) {
            fail("thread %u waits in %s, but not all lanes of 0x%08x come", t, b.waits[t].what,
                 b.waits[t].mask);
            return;
        }
    }
    for (unsigned t = 0; t < b.threads; t++) {
        if (b.state[t] == IN_BARRIER) {
            fail("thread %u waits in __syncthreads, which %u of %u threads reach", t, b.arrived,
                 b.threads);
            return;
        }
    }
}

static unsigned char *shared_memory; // MOST_SHARED and a guard

// Of a launch: what lies behind the blocks' shared memory.
static void shared_guarded(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(shared_memory, MOST_SHARED + SHARED_GUARD);
#endif
    memset(shared_memory + bytes, CANARY, SHARED_GUARD);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(shared_memory + bytes, MOST_SHARED + SHARED_GUARD - bytes);
#endif
}

// NaN as f32, bf16 and f16.
static void shared_begins(size_t bytes) {
    static uint16_t poison[MOST_SHARED / 2];
    if (!poison[0])
        for (uint16_t &x : poison)
            x = 0x7fbd;
    memcpy(shared_memory, poison, bytes);
}

// Under the address sanitizer nothing can have been written there.
static void shared_ends(size_t bytes) {
#ifndef __SANITIZE_ADDRESS__
    const unsigned char *guard = shared_memory + bytes;
    if (guard[0] != CANARY || memcmp(guard, guard + 1, SHARED_GUARD - 1) != 0)
        fail("a write behind the %zu bytes of shared memory", bytes);
#else
    (void)bytes;
#endif
}

static void run_block(void) {
    b.arrived = b.done = b.votes = b.vote_sum = 0;
    memset(b.state, FRESH, b.threads);
    memset(b.in_warp, 0, sizeof b.in_warp);
    b.last_first = next_random() >> 7 & 1;
    shared_begins(b.call->shared_bytes);
    all_ready();
    unsigned t = b.ring[b.first];
    b.first = (b.first + 1) % (2 * MOST_THREADS);
    b.count--;
    b.state[t] = READY;
    b.fiber[t] = fiber_new(thread_fiber);
    b.now = t;
    threadIdx = b.place[t];
    fiber_switch(&b.caller, b.fiber[t]);
    if (!b.failed && b.done < b.threads)
        stuck();
    shared_ends(b.call->shared_bytes);
    for (t = 0; t < b.threads; t++) {
        if (b.fiber[t])
            fiber_free(b.fiber[t]);
        b.fiber[t] = NULL;
    }
}

// What a card refuses of a launch, or NULL.
static const char *refused(const struct block_call *c) {
    if (!c->grid.x || !c->grid.y || !c->grid.z || !c->block.x || !c->block.y || !c->block.z)
        return "an empty grid or block";
    if (c->grid.x > 0x7fffffffU || c->grid.y > 65535 || c->grid.z > 65535)
        return "a grid beyond 2147483647 x 65535 x 65535";
    if ((uint64_t)c->block.x * c->block.y * c->block.z > MOST_THREADS || c->block.z > 64)
        return "a block of more than 1024 threads, or 64 in z";
    if (c->shared_bytes > MOST_SHARED)
        return "more than 227 KiB of shared memory";
    return NULL;
}

bool block_run(const struct block_call *call, uint64_t seed, char *fault, size_t fault_bytes) {
    const char *why = refused(call);
    if (why) {
        snprintf(fault, fault_bytes, "kernel %s: %s", call->kernel, why);
        return false;
    }
    if (!shared_memory) {
        void *p = mmap(NULL, MOST_SHARED + SHARED_GUARD, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            abort();
        shared_memory = (unsigned char *)p;
    }
    block_shared = shared_memory;
    b.call = call;
    b.failed = false;
    b.random = (seed ^ 0x9e3779b97f4a7c15ULL) | 1;
    b.threads = call->block.x * call->block.y * call->block.z;
    blockDim = call->block;
    gridDim = call->grid;
    struct uint3 *place = b.place;
    for (unsigned z = 0; z < call->block.z; z++)
        for (unsigned y = 0; y < call->block.y; y++)
            for (unsigned x = 0; x < call->block.x; x++)
                *place++ = uint3{x, y, z};
    shared_guarded(call->shared_bytes);
    fiber_of_caller(&b.caller);
    // Blocks by a walk that comes to each once: from somewhere, one or the other way.
    uint64_t blocks = (uint64_t)call->grid.x * call->grid.y * call->grid.z;
    uint64_t from = next_random() % blocks, back = next_random() >> 9 & 1;
    for (uint64_t i = 0; i < blocks && !b.failed; i++) {
        uint64_t at = (from + (back ? blocks - i : i)) % blocks;
        blockIdx.x = (unsigned)(at % call->grid.x);
        blockIdx.y = (unsigned)(at / call->grid.x % call->grid.y);
        blockIdx.z = (unsigned)(at / call->grid.x / call->grid.y);
        run_block();
    }
    if (b.failed)
        snprintf(fault, fault_bytes, "%s", b.fault);
    return !b.failed;
}
