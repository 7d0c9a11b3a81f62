// Attention of a tile of 64 queries of one head on matrix units, in the FlashAttention-2 manner: no
// scores in memory, each warp 16 rows. Role: bf16 and f16, head sizes 32, 64, 96 and 128, over
// ragged sequences (attention.cu) and over the paged cache (paged.cu), which differ in where a key
// lies. Keys come in tiles of 64, by copies that pass no registers: the keys while the last tile's
// values are summed, the values while the keys are scored. Weights are rounded to the type, sums
// are f32.
// Source followed: Dao, FlashAttention-2 (2023), algorithm 1.
#ifndef TRINE_COMPUTE_CUDA_ATTENTION_MMA_CUH
#define TRINE_COMPUTE_CUDA_ATTENTION_MMA_CUH

#include "compute/cuda/kernels/attention_rule.cuh"
#include "compute/cuda/kernels/mma.cuh"

enum { FLASH_THREADS = 128, FLASH_ROWS = 64, FLASH_KEYS = 64 };

// A row in shared memory is 16 bytes more than its values: eight rows at one column lie in all
// banks.
template <int HD> struct gpu_flash_shape {
    enum { LD = HD + 8, BYTES = 2 * FLASH_KEYS * LD * 2 };
};

static inline bool flash_takes(enum gpu_type type, size_t head_dim) {
    return type != GPU_F32 && gpu_has_mma(type) && head_dim % 32 == 0 && head_dim <= 128;
}

// The queries of a tile, and where their results go: `rows` of them, the first at `position` of a
// sequence of `length` keys.
struct gpu_flash_job {
    const void *q;
    void *out;
    size_t ld_q, ld_out;
    enum gpu_type type; // of q and out
    int rows, position, length;
    int causal;
    size_t window;
    float scale;
    gpu_score_terms terms;
};

// Where keys and values lie: rows of a matrix.
template <typename T> struct gpu_flash_rows {
    const T *k, *v;
    size_t ld_k, ld_v;
};
template <typename T, int HD>
static __device__ __forceinline__ const T *flash_key(const gpu_flash_rows<T> &at, int key) {
    return at.k + (size_t)key * at.ld_k;
}
template <typename T, int HD>
static __device__ __forceinline__ const T *flash_value(const gpu_flash_rows<T> &at, int key) {
    return at.v + (size_t)key * at.ld_v;
}

// A pair of q as the type that the matrix unit takes, and one of the results as what is asked for.
template <typename T>
static __device__ __forceinline__ uint32_t flash_pair(const void *x, size_t at,
                                                      enum gpu_type type) {
    switch (type) {
    case GPU_F32: {
        float2 v = *(const float2 *)((const float *)x + at);
        return gpu_pair(v.x, v.y, T());
    }
    case GPU_BF16: {
        const gpu_bf16 *v = (const gpu_bf16 *)x + at;
        return gpu_pair(gpu_widen(v[0]), gpu_widen(v[1]), T());
    }
    default: {
        const gpu_f16 *v = (const gpu_f16 *)x + at;
        return gpu_pair(gpu_widen(v[0]), gpu_widen(v[1]), T());
    }
    }
}
static __device__ __forceinline__ void flash_store(void *x, size_t at, enum gpu_type type, float lo,
                                                   float hi) {
    if (type == GPU_F32)
        *(float2 *)((float *)x + at) = make_float2(lo, hi);
    else
        *(uint32_t *)((uint16_t *)x + at) =
            type == GPU_BF16 ? gpu_pair(lo, hi, gpu_bf16()) : gpu_pair(lo, hi, gpu_f16());
}

// Asks for the keys or values [first, first + 64) that lie in [from, to); zeros for the others.
template <typename T, int HD, bool VALUES, typename PLACE>
static __device__ __forceinline__ void flash_ask(T *tile, const PLACE &place, int first, int from,
                                                 int to) {
#pragma unroll
    for (int i = 0; i < FLASH_KEYS * HD / 8 / FLASH_THREADS; i++) {
        int at = (int)threadIdx.x + i * FLASH_THREADS, row = at / (HD / 8), col = at % (HD / 8) * 8;
        int key = first + row;
        bool there = key >= from && key < to;
        const T *x = place.k; // not read
        if (there)
            x = VALUES ? flash_value<T, HD>(place, key) : flash_key<T, HD>(place, key);
        gpu_copy_async(tile + row * gpu_flash_shape<HD>::LD + col, x + col, there);
    }
}

// A warp's 16 rows: of each lane the rows l/4 and l/4 + 8.
template <int HD> struct gpu_flash_state {
    uint32_t q[HD / 16][4];
    float out[HD / 8][4];
    float largest[2], sum[2];
    gpu_seen seen[2];
    int row[2];        // within the tile
    gpu_seen any, all; // keys that one of the warp's rows sees, that each of them sees
};

template <typename T, int HD>
static __device__ __forceinline__ void flash_begin(gpu_flash_state<HD> *w,
                                                   const gpu_flash_job &job) {
    const int lane = (int)threadIdx.x % 32, first = (int)threadIdx.x / 32 * 16;
    const int last = first + 15 < job.rows ? first + 15 : job.rows - 1;
    gpu_seen low = gpu_seen_by(job.position + first, job.length, job.causal, job.window);
    gpu_seen high = gpu_seen_by(job.position + last, job.length, job.causal, job.window);
    w->any = {low.from, first < job.rows ? high.to : 0};
    w->all = {high.from, low.to};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        w->row[half] = first + lane / 4 + 8 * half;
        w->largest[half] = -INFINITY;
        w->sum[half] = 0.0F;
        w->seen[half] =
            gpu_seen_by(job.position + w->row[half], job.length, job.causal, job.window);
#pragma unroll
        for (int k = 0; k < HD / 16; k++)
#pragma unroll
            for (int part = 0; part < 2; part++) {
                size_t at =
                    (size_t)w->row[half] * job.ld_q + (size_t)(16 * k + 8 * part + lane % 4 * 2);
                w->q[k][half + 2 * part] =
                    w->row[half] < job.rows ? flash_pair<T>(job.q, at, job.type) : 0;
            }
    }
#pragma unroll
    for (int n = 0; n < HD / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            w->out[n][i] = 0.0F;
}

// s = q k' of the warp's rows and the tile's 64 keys, those that lie behind the last seen left out.
template <typename T, int HD>
static __device__ __forceinline__ void flash_scores(const gpu_flash_state<HD> &w, const T *keys,
                                                    int first, float s[FLASH_KEYS / 8][4]) {
    const int lane = (int)threadIdx.x % 32, row = lane / 16 * 8 + lane % 8, col = lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < FLASH_KEYS / 16; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[2 * n][i] = s[2 * n + 1][i] = 0.0F;
        if (first + 16 * n < w.any.to) {
#pragma unroll
            for (int k = 0; k < HD / 16; k++) {
                uint32_t b[4];
                gpu_ldmatrix(b, keys + (16 * n + row) * gpu_flash_shape<HD>::LD + 16 * k + col);
                gpu_mma(s[2 * n], w.q[k], b[0], b[1], T());
                gpu_mma(s[2 * n + 1], w.q[k], b[2], b[3], T());
            }
        }
    }
}

// Scores become weights; what has been summed fades by the growth of the largest. Powers are of 2:
// `unit` turns scores into their exponents.
template <int HD, bool TERMS>
static __device__ __forceinline__ void flash_weights(gpu_flash_state<HD> *w,
                                                     const gpu_flash_job &job, int first,
                                                     float s[FLASH_KEYS / 8][4]) {
    const float log2e = 1.44269504F, unit = TERMS ? log2e : job.scale * log2e;
    const int col = (int)threadIdx.x % 4 * 2;
    if (TERMS || first < w->all.from || first + FLASH_KEYS > w->all.to) {
#pragma unroll
        for (int n = 0; n < FLASH_KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = first + 8 * n + col + i % 2;
                const gpu_seen seen = w->seen[i / 2];
                if (TERMS)
                    s[n][i] = gpu_score_with(s[n][i] * job.scale, job.terms,
                                             job.position + w->row[i / 2], key);
                if (key < seen.from || key >= seen.to)
                    s[n][i] = -INFINITY;
            }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float largest = w->largest[half];
#pragma unroll
        for (int n = 0; n < FLASH_KEYS / 8; n++)
            largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, 2));
        // A row that has seen nothing yet: its weights are 2^-infinity.
        const float base = largest == -INFINITY ? 0.0F : -largest * unit;
        const float fade = gpu_exp2(fmaf(w->largest[half], unit, base));
        float sum = w->sum[half] * fade;
#pragma unroll
        for (int n = 0; n < FLASH_KEYS / 8; n++) {
            s[n][2 * half] = gpu_exp2(fmaf(s[n][2 * half], unit, base));
            s[n][2 * half + 1] = gpu_exp2(fmaf(s[n][2 * half + 1], unit, base));
            sum += s[n][2 * half] + s[n][2 * half + 1];
        }
        w->largest[half] = largest;
        w->sum[half] = sum;
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            w->out[n][2 * half] *= fade;
            w->out[n][2 * half + 1] *= fade;
        }
    }
}

// out += weights v
template <typename T, int HD>
static __device__ __forceinline__ void flash_values(gpu_flash_state<HD> *w, const T *values,
                                                    int first, const float s[FLASH_KEYS / 8][4]) {
    const int lane = (int)threadIdx.x % 32, row = lane / 8 % 2 * 8 + lane % 8, col = lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < FLASH_KEYS / 16; n++) {
        if (first + 16 * n < w->any.to) {
            const uint32_t a[4] = {gpu_pair(s[2 * n][0], s[2 * n][1], T()),
                                   gpu_pair(s[2 * n][2], s[2 * n][3], T()),
                                   gpu_pair(s[2 * n + 1][0], s[2 * n + 1][1], T()),
                                   gpu_pair(s[2 * n + 1][2], s[2 * n + 1][3], T())};
#pragma unroll
            for (int d = 0; d < HD / 16; d++) {
                uint32_t b[4];
                gpu_ldmatrix_turned(b, values + (16 * n + row) * gpu_flash_shape<HD>::LD + 16 * d +
                                           col);
                gpu_mma(w->out[2 * d], a, b[0], b[1], T());
                gpu_mma(w->out[2 * d + 1], a, b[2], b[3], T());
            }
        }
    }
}

template <int HD>
static __device__ __forceinline__ void flash_end(const gpu_flash_state<HD> &w,
                                                 const gpu_flash_job &job) {
    const int col = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = w.sum[half];
        sum += __shfl_xor_sync(0xffffffffU, sum, 1);
        sum += __shfl_xor_sync(0xffffffffU, sum, 2);
        const float share = sum > 0.0F ? 1.0F / sum : 0.0F; // one that sees nothing: zeros
        if (w.row[half] < job.rows) {
#pragma unroll
            for (int n = 0; n < HD / 8; n++)
                flash_store(job.out, (size_t)w.row[half] * job.ld_out + (size_t)(8 * n + col),
                            job.type, w.out[n][2 * half] * share, w.out[n][2 * half + 1] * share);
        }
    }
}

// A block's whole work. `shared`: gpu_flash_shape<HD>::BYTES.
template <typename T, int HD, bool TERMS, typename PLACE>
static __device__ __forceinline__ void flash_tile(unsigned char *shared, const PLACE &place,
                                                  const gpu_flash_job &job) {
    T *keys = (T *)shared, *values = keys + FLASH_KEYS * gpu_flash_shape<HD>::LD;
    const int from = gpu_seen_by(job.position, job.length, job.causal, job.window).from;
    const int to = gpu_seen_by(job.position + job.rows - 1, job.length, job.causal, job.window).to;
    int first = from / FLASH_KEYS * FLASH_KEYS;
    flash_ask<T, HD, false>(keys, place, first, from, to);
    gpu_flash_state<HD> w;
    flash_begin<T, HD>(&w, job);
    for (; first < to; first += FLASH_KEYS) {
        const bool seen = first < w.any.to && first + FLASH_KEYS > w.any.from;
        float s[FLASH_KEYS / 8][4];
        gpu_copy_wait();
        __syncthreads(); // the keys are there, and the last values are done with
        flash_ask<T, HD, true>(values, place, first, from, to);
        if (seen) {
            flash_scores<T, HD>(w, keys, first, s);
            flash_weights<HD, TERMS>(&w, job, first, s);
        }
        gpu_copy_wait();
        __syncthreads(); // the values are there, and the keys are done with
        if (first + FLASH_KEYS < to)
            flash_ask<T, HD, false>(keys, place, first + FLASH_KEYS, from, to);
        if (seen)
            flash_values<T, HD>(&w, values, first, s);
    }
    gpu_copy_wait();
    flash_end<HD>(w, job);
}

#endif
