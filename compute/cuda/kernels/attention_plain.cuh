// Attention over ragged sequences without matrix units: any type, any head size. Role: f32, whose
// bits are promised, and what attention_mma.cuh does not take. 64 queries and 64 keys meet at a
// time; each of 256 threads has 4 x 4 of their scores and as much of the output. f32: keys are
// taken in blocks of 64 from the sequence's first, and nothing that a row adds up depends on the
// tile that it is in: a key that it does not see adds zero.
#ifndef TRINE_COMPUTE_CUDA_ATTENTION_PLAIN_CUH
#define TRINE_COMPUTE_CUDA_ATTENTION_PLAIN_CUH

#include "compute/cuda/kernels/attention_rule.cuh"

enum { PLAIN_THREADS = 256, PLAIN_KEYS = 64, PLAIN_SCORE_LD = PLAIN_KEYS + 4 };

// Columns of a head that are in shared memory at a time; a row of it is not a multiple of all
// banks.
template <int COLS> struct gpu_plain_tile {
    enum { LD = COLS + 4, FLOATS = 64 * LD };
};
template <int COLS> static size_t plain_shared_bytes(void) {
    return (2 * gpu_plain_tile<COLS>::FLOATS + 64 * PLAIN_SCORE_LD) * sizeof(float);
}

// Rows [first, first + 64) of which [from, to) are there, columns [col, col + COLS) of which those
// below `width` are; zeros elsewhere.
template <typename T, int COLS>
static __device__ __forceinline__ void plain_load(float *tile, const T *x, size_t ld, int first,
                                                  int from, int to, int col, int width) {
#pragma unroll 4
    for (int at = (int)threadIdx.x; at < 64 * COLS; at += PLAIN_THREADS) {
        int row = first + at / COLS, c = col + at % COLS;
        float v = 0.0F;
        if (row >= from && row < to && c < width)
            v = gpu_widen(x[(size_t)row * ld + (size_t)c]);
        tile[at / COLS * gpu_plain_tile<COLS>::LD + at % COLS] = v;
    }
}

// s += q k' over the columns at hand.
template <int COLS>
static __device__ __forceinline__ void plain_scores(const float *q, const float *k, int width,
                                                    float s[4][4]) {
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, ld = gpu_plain_tile<COLS>::LD;
#pragma unroll 1
    for (int d = 0; d < width; d += 4) {
        float4 a[4], b[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            a[i] = *(const float4 *)&q[(ty + 16 * i) * ld + d];
            b[i] = *(const float4 *)&k[(tx + 16 * i) * ld + d];
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                s[i][j] = fmaf(a[i].x, b[j].x, s[i][j]);
                s[i][j] = fmaf(a[i].y, b[j].y, s[i][j]);
                s[i][j] = fmaf(a[i].z, b[j].z, s[i][j]);
                s[i][j] = fmaf(a[i].w, b[j].w, s[i][j]);
            }
    }
}

// out += p v over the 64 keys at hand, for the COLS columns at hand.
template <int COLS>
static __device__ __forceinline__ void plain_values(const float *p, const float *v,
                                                    float out[4][COLS / 16]) {
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, ld = gpu_plain_tile<COLS>::LD;
#pragma unroll 1
    for (int key = 0; key < PLAIN_KEYS; key += 4) {
        float a[4][4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            *(float4 *)a[i] = *(const float4 *)&p[(ty + 16 * i) * PLAIN_SCORE_LD + key];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float *row = &v[(key + k) * ld + tx * (COLS / 16)];
            float b[COLS / 16];
#pragma unroll
            for (int c = 0; c < COLS / 16; c += 2)
                *(float2 *)&b[c] = *(const float2 *)&row[c];
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int c = 0; c < COLS / 16; c++)
                    out[i][c] = fmaf(a[i][k], b[c], out[i][c]);
        }
    }
}

// Of each of a thread's four rows: the largest score and the weights' sum so far.
struct gpu_plain_state {
    float largest[4], sum[4];
};

// Scores become weights, in `p`; `fade` is what the earlier keys' sums are multiplied with.
static __device__ __forceinline__ void plain_weights(float s[4][4], float *p,
                                                     gpu_plain_state *state, float fade[4]) {
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float largest = fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]));
        for (int step = 8; step > 0; step /= 2)
            largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, step));
        largest = fmaxf(largest, state->largest[i]);
        bool none = largest == -INFINITY;
        float sum = 0.0F;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float weight = none ? 0.0F : expf(s[i][j] - largest);
            p[(ty + 16 * i) * PLAIN_SCORE_LD + tx + 16 * j] = weight;
            sum += weight;
        }
        for (int step = 8; step > 0; step /= 2)
            sum += __shfl_xor_sync(0xffffffffU, sum, step);
        fade[i] = none ? 1.0F : expf(state->largest[i] - largest);
        state->largest[i] = largest;
        state->sum[i] = fmaf(state->sum[i], fade[i], sum);
    }
}

template <typename T, int COLS, int CHUNKS>
__global__ void __launch_bounds__(PLAIN_THREADS) plain_kernel(const gpu_attention a) {
    GPU_SHARED(shared);
    float *q_tile = (float *)shared, *kv_tile = q_tile + gpu_plain_tile<COLS>::FLOATS,
          *p_tile = kv_tile + gpu_plain_tile<COLS>::FLOATS;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, width = (int)a.head_dim;
    const int seq = a.tiles[2 * (size_t)blockIdx.x], first = a.tiles[2 * (size_t)blockIdx.x + 1];
    const size_t start = (size_t)a.cu_seqlens[seq], head = blockIdx.y;
    const int length = a.cu_seqlens[seq + 1] - (int)start;
    if (first >= length)
        return;
    const int end = first + GPU_ATTENTION_ROWS < length ? first + GPU_ATTENTION_ROWS : length;
    const size_t kv_col = head / (a.heads / a.kv_heads) * a.head_dim;
    const T *q = (const T *)a.q.data + start * a.q.ld + head * a.head_dim;
    const T *k = (const T *)a.k.data + start * a.k.ld + kv_col;
    const T *v = (const T *)a.v.data + start * a.v.ld + kv_col;
    const gpu_score_terms terms = gpu_score_terms_of(a, head);
    const int from = gpu_seen_by(first, length, a.causal, a.window).from;
    const int to = gpu_seen_by(end - 1, length, a.causal, a.window).to;
    gpu_plain_state state = {{-INFINITY, -INFINITY, -INFINITY, -INFINITY}, {0, 0, 0, 0}};
    float out[CHUNKS][4][COLS / 16] = {};

    for (int block = from / PLAIN_KEYS * PLAIN_KEYS; block < to; block += PLAIN_KEYS) {
        float s[4][4] = {};
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            __syncthreads();
            if (CHUNKS > 1 || block <= from)
                plain_load<T, COLS>(q_tile, q, a.q.ld, first, first, end, c * COLS, width);
            plain_load<T, COLS>(kv_tile, k, a.k.ld, block, from, to, c * COLS, width);
            __syncthreads();
            plain_scores<COLS>(q_tile, kv_tile, width - c * COLS < COLS ? width - c * COLS : COLS,
                               s);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = first + ty + 16 * i;
            const gpu_seen seen = gpu_seen_by(row, length, a.causal, a.window);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int key = block + tx + 16 * j;
                s[i][j] = key >= seen.from && key < seen.to && row < end
                              ? gpu_score_with(s[i][j] * a.scale, terms, row, key)
                              : -INFINITY;
            }
        }
        float fade[4];
        plain_weights(s, p_tile, &state, fade);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            __syncthreads();
            plain_load<T, COLS>(kv_tile, v, a.v.ld, block, from, to, c * COLS, width);
            __syncthreads();
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int n = 0; n < COLS / 16; n++)
                    out[c][i][n] *= fade[i];
            plain_values<COLS>(p_tile, kv_tile, out[c]);
        }
    }

#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int row = first + ty + 16 * i;
        T *y = (T *)a.out.data + (start + (size_t)row) * a.out.ld + head * a.head_dim;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
#pragma unroll
            for (int n = 0; n < COLS / 16; n++) {
                const int col = c * COLS + tx * (COLS / 16) + n;
                // A sum of zeros alone may be -0, by what other rows of the tile see: 0 it is.
                if (row < end && col < width)
                    y[col] = gpu_narrow<T>(out[c][i][n] / state.sum[i] + 0.0F);
            }
    }
}

template <typename T, int COLS, int CHUNKS>
static void plain_launch(struct gpu_stream *s, const struct gpu_attention *a) {
    GPU_LAUNCH(s, (plain_kernel<T, COLS, CHUNKS>),
               dim3((unsigned)a->tile_count, (unsigned)a->heads), dim3(PLAIN_THREADS),
               plain_shared_bytes<COLS>(), *a);
}

// Head sizes up to 256.
template <typename T>
static void plain_attention(struct gpu_stream *s, const struct gpu_attention *a) {
    if (a->head_dim <= 32)
        plain_launch<T, 32, 1>(s, a);
    else if (a->head_dim <= 64)
        plain_launch<T, 64, 1>(s, a);
    else if (a->head_dim <= 128)
        plain_launch<T, 64, 2>(s, a);
    else
        plain_launch<T, 64, 4>(s, a);
}

#endif
