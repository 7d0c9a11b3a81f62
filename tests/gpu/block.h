// The CUDA C of kernels/dialect.cuh for a C++ compiler: what nvcc has built in, and the launch.
// Role: the very sources that run on a GPU run in tests. A block's threads are fibers of one host
// thread (block.cpp): each runs until it meets others, in an order that the seed shuffles. This
// header is included by dialect.cuh only.
// What is checked: all threads of a block reach each __syncthreads(), and all lanes of a mask
// the same collective; what a thread waits for in vain is a failure of the launch, with the
// kernel's name. Shared memory holds NaNs when a block begins and is guarded behind its bytes.
// Thread rule: kernels run on one host thread at a time (the emulated GPU sees to it).
#ifndef TRINE_TESTS_GPU_BLOCK_H
#define TRINE_TESTS_GPU_BLOCK_H

#include "compute/cuda/kernels/kernels.h"
#include "tests/gpu/block_math.h"
#include "tests/gpu/block_types.h"

#include <new>
#include <stdlib.h>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// ---- where a thread is

extern struct uint3 threadIdx, blockIdx;
extern struct dim3 blockDim, gridDim;
enum { warpSize = 32 };

extern unsigned char *block_shared; // the running block's shared memory, 16-byte aligned
#define GPU_SHARED(name) unsigned char *const name = block_shared

// ---- threads that meet

void block_sync(void);
// The lanes of mask meet. What each one gives lies in its own memory, at `mine`; when the last
// has come it runs all(mask, given) once for all, given[lane] being what lane gave, and all
// go on. `what` names the collective: lanes that meet at different ones are a failure.
typedef void block_all(unsigned mask, void *const given[32]);
void block_meet(const char *what, unsigned mask, block_all *all, void *mine);
unsigned block_lane(void);

// Gathers: all[lane * bytes] holds each lane's bytes, behind it. All 32 lanes come.
void gpu_warp_gather(const void *mine, size_t bytes, void *all);

static inline void __syncthreads(void) { block_sync(); }
void __syncwarp(unsigned mask = 0xffffffffU);
static inline void __threadfence(void) { __asm__ volatile("" ::: "memory"); }
static inline void __threadfence_block(void) { __asm__ volatile("" ::: "memory"); }
void __nanosleep(unsigned ns); // other threads go on; where all sleep, block_idle does

// What a lane gives to a shuffle and takes from it. Bits, up to 8 bytes.
struct block_shuffled {
    unsigned long long in, out;
    unsigned from; // the lane whose value it takes
};
void block_shuffle(const char *what, unsigned mask, struct block_shuffled *mine);

template <typename T>
static inline T block_shuffle_of(const char *what, unsigned mask, T x, unsigned from) {
    static_assert(sizeof(T) <= 8, "at most 8 bytes are shuffled");
    struct block_shuffled mine = {0, 0, from};
    memcpy(&mine.in, &x, sizeof x);
    block_shuffle(what, mask, &mine);
    memcpy(&x, &mine.out, sizeof x);
    return x;
}
// Lanes are counted within runs of `width`; one that lies outside of the run gives the own value.
template <typename T> static inline T __shfl_sync(unsigned mask, T x, int from, int width = 32) {
    unsigned lane = block_lane(), run = lane & ~((unsigned)width - 1);
    return block_shuffle_of("__shfl_sync", mask, x, run | ((unsigned)from & ((unsigned)width - 1)));
}
template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32) {
    unsigned lane = block_lane(), from = lane ^ (unsigned)bits;
    unsigned end = (lane & ~((unsigned)width - 1)) + (unsigned)width;
    return block_shuffle_of("__shfl_xor_sync", mask, x, from < end ? from : lane);
}
template <typename T>
static inline T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32) {
    unsigned lane = block_lane(), within = lane & ((unsigned)width - 1);
    return block_shuffle_of("__shfl_down_sync", mask, x,
                            within + by < (unsigned)width ? lane + by : lane);
}
template <typename T>
static inline T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32) {
    unsigned lane = block_lane(), within = lane & ((unsigned)width - 1);
    return block_shuffle_of("__shfl_up_sync", mask, x, within >= by ? lane - by : lane);
}
unsigned __ballot_sync(unsigned mask, int yes);
static inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
static inline int __all_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) == mask; }
unsigned __match_any_sync(unsigned mask, unsigned x);
unsigned __reduce_add_sync(unsigned mask, unsigned x);
unsigned __reduce_max_sync(unsigned mask, unsigned x);
unsigned __reduce_min_sync(unsigned mask, unsigned x);
unsigned __reduce_or_sync(unsigned mask, unsigned x);
unsigned __activemask(void);
int __syncthreads_or(int yes);
int __syncthreads_and(int yes);
int __syncthreads_count(int yes);

// By halves: lane l adds, or compares with, what lane l ^ 16 has, then l ^ 8, 4, 2, 1.
float block_warp_sum(float x);
float block_warp_max(float x);

// ---- atomics: blocks and threads take turns, so each is what it says

#define BLOCK_ATOMIC(name, T, value)                                                               \
    static inline T name(T *p, T x) {                                                              \
        T old = *p;                                                                                \
        *p = (value);                                                                              \
        return old;                                                                                \
    }
#define BLOCK_ATOMICS(T)                                                                           \
    BLOCK_ATOMIC(atomicAdd, T, old + x)                                                            \
    BLOCK_ATOMIC(atomicSub, T, old - x)                                                            \
    BLOCK_ATOMIC(atomicMax, T, old > x ? old : x)                                                  \
    BLOCK_ATOMIC(atomicMin, T, old < x ? old : x)                                                  \
    BLOCK_ATOMIC(atomicExch, T, x)
BLOCK_ATOMICS(int)
BLOCK_ATOMICS(unsigned)
BLOCK_ATOMICS(unsigned long long)
BLOCK_ATOMIC(atomicAdd, float, old + x)
BLOCK_ATOMIC(atomicExch, float, x)
BLOCK_ATOMIC(atomicOr, int, old | x)
BLOCK_ATOMIC(atomicAnd, int, old &x)
BLOCK_ATOMIC(atomicOr, unsigned, old | x)
BLOCK_ATOMIC(atomicAnd, unsigned, old &x)
BLOCK_ATOMIC(atomicInc, unsigned, old >= x ? 0 : old + 1)
#undef BLOCK_ATOMICS
#undef BLOCK_ATOMIC
template <typename T> static inline T atomicCAS(T *p, T expected, T x) {
    T old = *p;
    if (old == expected)
        *p = x;
    return old;
}

template <typename T> static inline T __ldg(const T *p) { return *p; }
template <typename T> static inline T __ldcg(const T *p) { return *p; }
template <typename T> static inline T __ldcs(const T *p) { return *p; }
template <typename T> static inline void __stcg(T *p, T x) { *p = x; }
template <typename T> static inline void __stcs(T *p, T x) { *p = x; }

// ---- launches

// A kernel with its arguments, as it was asked for. malloc'ed; `thread` runs one thread of it.
struct block_call {
    const char *kernel; // its name, static
    struct dim3 grid, block;
    size_t shared_bytes;
    void (*thread)(const struct block_call *c);
};

// The emulated GPU's (emulated_gpu.cpp): what the stream's next launch touches, and that launch,
// which takes the call over.
enum gpu_touch { GPU_TOUCH_READ, GPU_TOUCH_WRITE, GPU_TOUCH_READ_SOME, GPU_TOUCH_WRITE_SOME };
void gpu_emulated_touch(struct gpu_stream *s, enum gpu_touch how, const void *p, size_t bytes);
void gpu_emulated_touch_mat(struct gpu_stream *s, enum gpu_touch how, struct gpu_mat m);
void gpu_emulated_launch(struct gpu_stream *s, struct block_call *call);

template <typename... P> struct block_call_of {
    struct block_call call; // first
    void (*kernel)(P...);
    std::tuple<P...> arguments;
};
template <typename... P> static void block_call_thread(const struct block_call *c) {
    const block_call_of<P...> *of = (const block_call_of<P...> *)c;
    std::apply(of->kernel, of->arguments);
}
template <typename... P, typename... A>
static void block_launch(struct gpu_stream *s, const char *name, void (*kernel)(P...),
                         struct dim3 grid, struct dim3 block, size_t shared, A... a) {
    void *memory = malloc(sizeof(block_call_of<P...>));
    if (!memory)
        abort();
    block_call_of<P...> *of = new (memory) block_call_of<P...>{
        {name, grid, block, shared, block_call_thread<P...>}, kernel, std::tuple<P...>(a...)};
    gpu_emulated_launch(s, &of->call);
}

#define GPU_READS(s, p, bytes) gpu_emulated_touch(s, GPU_TOUCH_READ, p, bytes)
#define GPU_WRITES(s, p, bytes) gpu_emulated_touch(s, GPU_TOUCH_WRITE, p, bytes)
#define GPU_READS_SOME(s, p, bytes) gpu_emulated_touch(s, GPU_TOUCH_READ_SOME, p, bytes)
#define GPU_WRITES_SOME(s, p, bytes) gpu_emulated_touch(s, GPU_TOUCH_WRITE_SOME, p, bytes)
#define GPU_READS_MAT(s, m) gpu_emulated_touch_mat(s, GPU_TOUCH_READ, m)
#define GPU_WRITES_MAT(s, m) gpu_emulated_touch_mat(s, GPU_TOUCH_WRITE, m)
#define GPU_LAUNCH(s, kernel, grid, block, shared, ...)                                            \
    block_launch(s, #kernel, kernel, grid, block, shared, ##__VA_ARGS__)

// ---- what the emulated GPU asks of block.cpp

extern void (*block_idle)(void); // what is done where all threads of a block sleep
// Runs all blocks, in an order by `seed`. True, or false with one line in `fault`.
bool block_run(const struct block_call *call, uint64_t seed, char *fault, size_t fault_bytes);

#endif
