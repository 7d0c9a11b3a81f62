// Models of kernels/mma.cuh's functions for the emulated GPU: the same fragments in the same lanes,
// so that a kernel that mixes them up computes something else. Role: included by mma.cuh alone.
// Sums are in f32, k by k (a matrix unit's own order is not known). Copies are carried out when
// they are waited for, not before: who forgets to wait reads what was there, NaNs at first.
#ifndef TRINE_TESTS_GPU_MMA_MODEL_H
#define TRINE_TESTS_GPU_MMA_MODEL_H

#include "tests/gpu/block.h"

template <typename T> static inline float mma_half(uint32_t pair, int which) {
    T x;
    x.bits = (uint16_t)(pair >> (16 * which));
    return gpu_widen(x);
}

struct mma_lane {
    float d[4];
    uint32_t a[4], b[2];
};

template <typename T> static void mma_all(unsigned, void *const given[32]) {
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const mma_lane *lane = (const mma_lane *)given[l];
        int row = l / 4, at = 2 * (l % 4);
        for (int i = 0; i < 2; i++) {
            a[row][at + i] = mma_half<T>(lane->a[0], i);
            a[row + 8][at + i] = mma_half<T>(lane->a[1], i);
            a[row][at + 8 + i] = mma_half<T>(lane->a[2], i);
            a[row + 8][at + 8 + i] = mma_half<T>(lane->a[3], i);
            b[at + i][row] = mma_half<T>(lane->b[0], i);
            b[at + 8 + i][row] = mma_half<T>(lane->b[1], i);
        }
    }
    for (int l = 0; l < 32; l++) {
        mma_lane *lane = (mma_lane *)given[l];
        for (int i = 0; i < 4; i++) {
            int row = l / 4 + i / 2 * 8, col = 2 * (l % 4) + i % 2;
            float sum = 0;
            for (int k = 0; k < 16; k++)
                sum += a[row][k] * b[k][col];
            lane->d[i] += sum;
        }
    }
}

template <typename T>
static inline void gpu_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1, T) {
    mma_lane lane = {{d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}};
    block_meet("gpu_mma", 0xffffffffU, mma_all<T>, &lane);
    memcpy(d, lane.d, sizeof lane.d);
}

struct ldmatrix_lane {
    const uint16_t *row;
    uint16_t got[4][2];
};
template <int TURNED> static void ldmatrix_all(unsigned, void *const given[32]) {
    for (int l = 0; l < 32; l++) {
        ldmatrix_lane *lane = (ldmatrix_lane *)given[l];
        for (int m = 0; m < 4; m++)
            for (int i = 0; i < 2; i++) {
                int row = TURNED ? 2 * (l % 4) + i : l / 4, col = TURNED ? l / 4 : 2 * (l % 4) + i;
                lane->got[m][i] = ((const ldmatrix_lane *)given[8 * m + row])->row[col];
            }
    }
}
template <int TURNED> static inline void ldmatrix_model(uint32_t r[4], const void *row) {
    ldmatrix_lane lane = {(const uint16_t *)row, {}};
    block_meet("gpu_ldmatrix", 0xffffffffU, ldmatrix_all<TURNED>, &lane);
    for (int m = 0; m < 4; m++)
        r[m] = (uint32_t)lane.got[m][1] << 16 | lane.got[m][0];
}
static inline void gpu_ldmatrix(uint32_t r[4], const void *row) { ldmatrix_model<0>(r, row); }
static inline void gpu_ldmatrix_turned(uint32_t r[4], const void *row) {
    ldmatrix_model<1>(r, row);
}

// What each thread has asked for and not waited for yet.
enum { COPY_THREADS = 1024, COPY_MOST = 64 };
struct copy_asked {
    int count;
    struct {
        void *to;
        const void *from;
        bool there;
    } copies[COPY_MOST];
};
static copy_asked copies_asked[COPY_THREADS];

static inline copy_asked *copies_of_thread(void) { return &copies_asked[threadIdx.x]; }
static inline void gpu_copy_wait(void) {
    copy_asked *mine = copies_of_thread();
    for (int i = 0; i < mine->count; i++) {
        if (mine->copies[i].there)
            memcpy(mine->copies[i].to, mine->copies[i].from, 16);
        else
            memset(mine->copies[i].to, 0, 16);
    }
    mine->count = 0;
}
static inline void gpu_copy_async(void *to, const void *from, bool there) {
    copy_asked *mine = copies_of_thread();
    if (mine->count == COPY_MOST || (uintptr_t)to % 16 || (there && (uintptr_t)from % 16))
        abort();
    mine->copies[mine->count++] = {to, from, there};
}

// As a read of the address, so that one outside of the launch's memory is found.
static inline void gpu_prefetch(const void *p) { (void)*(const volatile unsigned char *)p; }

template <typename T> static inline uint32_t gpu_pair(float lo, float hi, T) {
    return (uint32_t)gpu_narrow<T>(hi).bits << 16 | gpu_narrow<T>(lo).bits;
}
static inline float gpu_exp2(float x) { return exp2f(x); }
static inline bool gpu_has_mma(enum gpu_type type) { return type != GPU_F32; }

#endif
