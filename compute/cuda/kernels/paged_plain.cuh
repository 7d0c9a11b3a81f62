// Attention over the paged cache without matrix units: decoding of all types, and whatever
// paged_mma.cuh does not take. Role: one kernel for tiles of both heights, so that f32 bits are the
// same whichever a row goes through: which queries a block has, where they come from, how pieces
// are put together. A block has 8 queries of one kv head at most (a row's heads, then the next
// row's).
#ifndef TRINE_COMPUTE_CUDA_PAGED_PLAIN_CUH
#define TRINE_COMPUTE_CUDA_PAGED_PLAIN_CUH

#include "compute/cuda/kernels/paged_decode.cuh"
#include "compute/cuda/kernels/paged_piece.cuh"

// The queries into sh->q, zeros behind a head's end.
template <typename S>
static __device__ __forceinline__ void
gpu_paged_queries(gpu_paged_shared<S> *sh, const gpu_paged_attention &a, const gpu_paged_block &b) {
    const int head_dim = (int)a.kv.head_dim;
    for (int at = (int)threadIdx.x; at < b.count * S::WIDTH; at += PAGED_THREADS) {
        const int i = at / S::WIDTH, col = at % S::WIDTH;
        const size_t head = gpu_paged_head(b, i) * a.kv.head_dim;
        sh->q[i][S::place(col)] =
            col < head_dim
                ? gpu_load_as(a.q.type, a.q.data, gpu_paged_row(b, i) * a.q.ld + head + (size_t)col)
                : 0.0F;
    }
}

// A head of a row as floats, by a warp.
static __device__ __forceinline__ void gpu_paged_stage(float *to, const gpu_mat &m, size_t at,
                                                       int head_dim) {
    for (int col = (int)threadIdx.x % 32; col < head_dim; col += 32)
        to[col] = gpu_load_as(m.type, m.data, at + (size_t)col);
    __syncwarp();
}

// The fused launch's: from qkv, normed and turned; `store`: the row's key and value go into the
// cache first. What the piece's numbers will lie in holds the heads meanwhile
// (scores: a key and a value).
template <typename C, typename S>
static __device__ __forceinline__ void
gpu_paged_fused_queries(gpu_paged_shared<S> *sh, const gpu_decode_attention &d,
                        const gpu_paged_block &b, bool store) {
    const gpu_kv &kv = d.paged.kv;
    const int head_dim = (int)kv.head_dim, lane = (int)threadIdx.x % 32;
    const size_t row = b.row * d.qkv.ld;
    const float *cosines = (const float *)d.cos.data + b.row * d.cos.ld;
    const float *sines = (const float *)d.sin.data + b.row * d.sin.ld;
    for (int i = (int)threadIdx.x / 32; i < b.count; i += PAGED_WARPS) {
        float *q = sh->q[i];
        gpu_paged_stage(sh->out[i], d.qkv, row + gpu_paged_head(b, i) * kv.head_dim, head_dim);
        gpu_decode_head(sh->out[i], head_dim, d.q_norm, d.norm_eps, cosines, sines,
                        [=](int col, float v) { q[S::place(col)] = v; });
        for (int col = head_dim + lane; col < S::WIDTH; col += 32)
            q[S::place(col)] = 0.0F;
    }
    const int slot = store ? d.slots[b.row] : -1;
    if (slot >= 0 && threadIdx.x < 64) {
        const size_t tokens = kv.block_tokens, block = (size_t)slot / tokens;
        C *key = (C *)kv.data +
                 gpu_kv_at(kv, d.paged.layer, b.kv_head, block, (size_t)slot - block * tokens);
        const size_t k = row + (d.paged.heads + b.kv_head) * kv.head_dim;
        float *stage = (float *)sh->s + (threadIdx.x < 32 ? 0 : S::WIDTH);
        if (threadIdx.x < 32) {
            gpu_paged_stage(stage, d.qkv, k, head_dim);
            gpu_decode_head(stage, head_dim, d.k_norm, d.norm_eps, cosines, sines,
                            [=](int col, float x) { key[col] = gpu_narrow<C>(x); });
        } else {
            gpu_paged_stage(stage, d.qkv, k + kv.kv_heads * kv.head_dim, head_dim);
            for (int col = lane; col < head_dim; col += 32)
                key[gpu_kv_apart(kv) + (size_t)col] = gpu_narrow<C>(stage[col]);
        }
    }
}

// Where a query's numbers of a piece are: its sum [hd], its largest score, its weights' sum.
static __device__ __forceinline__ float *
gpu_paged_partial(const gpu_paged_attention &a, const gpu_paged_block &b, int i, int piece) {
    const size_t head = blockIdx.x * a.heads + gpu_paged_head(b, i);
    return a.partial + (head * a.pieces + (size_t)piece) * (a.kv.head_dim + 2);
}

// The numbers of the piece at hand into `partial`.
template <typename S>
static __device__ __forceinline__ void gpu_paged_leave(const gpu_paged_shared<S> *sh,
                                                       const gpu_paged_attention &a,
                                                       const gpu_paged_block &b, int piece) {
    const size_t head_dim = a.kv.head_dim;
    for (int at = (int)threadIdx.x; at < b.count * S::WIDTH; at += PAGED_THREADS) {
        const int i = at / S::WIDTH, col = at % S::WIDTH;
        float *mine = gpu_paged_partial(a, b, i, piece);
        if (col < (int)head_dim)
            mine[col] = sh->out[i][S::place(col)];
        if (col == 0) {
            mine[head_dim] = sh->largest[i];
            mine[head_dim + 1] = sh->sum[i];
        }
    }
}

// Whether this is the last of `blocks` blocks to be done: all pieces are in `partial` then.
template <typename S>
static __device__ __forceinline__ bool gpu_paged_last(gpu_paged_shared<S> *sh,
                                                      const gpu_paged_attention &a, int blocks) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t *done = &a.done[(size_t)blockIdx.x * gridDim.y + blockIdx.y];
        sh->last = atomicAdd(done, 1U) + 1 == (uint32_t)blocks;
        if (sh->last)
            *done = 0;
    }
    __syncthreads();
    if (sh->last)
        __threadfence();
    return sh->last;
}

// Puts the pieces [first, last] of `partial` together, as gpu_paged_add does. The fades lie where
// scores did.
template <typename S>
static __device__ __forceinline__ void
gpu_paged_together(gpu_paged_shared<S> *sh, const gpu_paged_attention &a, const gpu_paged_block &b,
                   int first, int last) {
    const size_t head_dim = a.kv.head_dim, stride = head_dim + 2;
    const int lane = (int)threadIdx.x % 32;
    for (int from = first; from <= last; from += PAGED_TOGETHER) {
        const int count = last + 1 - from < PAGED_TOGETHER ? last + 1 - from : PAGED_TOGETHER;
        __syncthreads();
        for (int r = (int)threadIdx.x / 32; r < b.count; r += PAGED_WARPS) {
            const float *partial = gpu_paged_partial(a, b, r, from) + head_dim;
            float piece = -INFINITY, weights = 0.0F;
            if (lane < count) {
                piece = __ldcg(&partial[(size_t)lane * stride]);
                weights = __ldcg(&partial[(size_t)lane * stride + 1]);
            }
            const float before = sh->all_largest[r];
            float now = piece; // the largest up to each piece
            for (int step = 1; step < 32; step *= 2) {
                float other = __shfl_sync(0xffffffffU, now, lane < step ? lane : lane - step);
                now = fmaxf(now, other);
            }
            now = fmaxf(now, before);
            const float left = __shfl_sync(0xffffffffU, now, lane ? lane - 1 : 0);
            float old_fade, new_fade;
            gpu_paged_fades(lane ? left : before, now, piece, &old_fade, &new_fade);
            sh->s[r][lane] = old_fade;
            sh->s[r][PAGED_TOGETHER + lane] = new_fade;
            sh->s[r][2 * PAGED_TOGETHER + lane] = weights;
            __syncwarp();
            if (lane == 31) {
                sh->all_largest[r] = now;
                float sum = sh->all_sum[r];
                for (int i = 0; i < count; i++)
                    sum = fmaf(sh->s[r][2 * PAGED_TOGETHER + i], sh->s[r][PAGED_TOGETHER + i],
                               sum * sh->s[r][i]);
                sh->all_sum[r] = sum;
            }
        }
        __syncthreads();
        for (int at = (int)threadIdx.x; at < b.count * S::WIDTH; at += PAGED_THREADS) {
            const int i = at / S::WIDTH, col = at % S::WIDTH;
            if (col >= (int)head_dim)
                continue;
            const float *partial = gpu_paged_partial(a, b, i, from) + col;
            float sum = sh->all[i][col];
#pragma unroll 8
            for (int p = 0; p < count; p++)
                sum = fmaf(__ldcg(&partial[(size_t)p * stride]), sh->s[i][PAGED_TOGETHER + p],
                           sum * sh->s[i][p]);
            sh->all[i][col] = sum;
        }
    }
}

// Puts the piece at hand to those before it.
template <typename S>
static __device__ __forceinline__ void gpu_paged_add(gpu_paged_shared<S> *sh, int count) {
    for (int at = (int)threadIdx.x; at < count * S::WIDTH; at += PAGED_THREADS) {
        const int i = at / S::WIDTH, col = at % S::WIDTH;
        sh->all[i][col] =
            fmaf(sh->out[i][S::place(col)], sh->new_fade[i], sh->all[i][col] * sh->old_fade[i]);
    }
}

// Sums over weights. -0, which a sum may be by what other rows of the tile see, is 0.
template <typename S>
static __device__ __forceinline__ void gpu_paged_write(const gpu_paged_shared<S> *sh,
                                                       const gpu_paged_attention &a,
                                                       const gpu_paged_block &b) {
    for (int at = (int)threadIdx.x; at < b.count * S::WIDTH; at += PAGED_THREADS) {
        const int i = at / S::WIDTH, col = at % S::WIDTH;
        const float weights = sh->all_sum[i];
        if (col < (int)a.kv.head_dim)
            gpu_store_as(a.out.type, a.out.data,
                         gpu_paged_row(b, i) * a.out.ld + gpu_paged_head(b, i) * a.kv.head_dim +
                             (size_t)col,
                         weights > 0.0F ? sh->all[i][col] / weights + 0.0F : 0.0F);
    }
}

// No piece so far.
template <typename S>
static __device__ __forceinline__ void gpu_paged_clear(gpu_paged_shared<S> *sh, int count) {
    for (int at = (int)threadIdx.x; at < count * S::WIDTH; at += PAGED_THREADS)
        sh->all[at / S::WIDTH][at % S::WIDTH] = 0.0F;
    if (threadIdx.x < PAGED_QUERIES) {
        sh->all_largest[threadIdx.x] = -INFINITY;
        sh->all_sum[threadIdx.x] = 0.0F;
    }
}

// Grid: tiles, kv heads times parts of 8 queries, blocks that share the pieces where they are split
// (number z has those first + z, first + z + blocks, ...). qkv absent: rows' queries are paged.q's,
// and the cache holds their keys.
template <typename C, int LANES, int STEPS>
__global__ void __launch_bounds__(PAGED_THREADS, 3)
    gpu_paged_kernel(const gpu_decode_attention d, bool whole) {
    typedef gpu_paged_shape<C, LANES, STEPS> S;
    GPU_SHARED(shared);
    gpu_paged_shared<S> *sh = (gpu_paged_shared<S> *)shared;
    const gpu_paged_attention &a = d.paged;
    gpu_paged_block b;
    if (!gpu_paged_find(d, &b))
        return;
    const int first = b.from / GPU_PAGED_KEYS, last = b.to > 0 ? (b.to - 1) / GPU_PAGED_KEYS : -1;
    const int live = last - first + 1, own = (int)blockIdx.z, blocks = (int)gridDim.z;
    if (own > 0 && own >= live)
        return;
    gpu_paged_clear(sh, b.count);
    if (d.qkv.data && live > 0)
        gpu_paged_fused_queries<C>(sh, d, b, (live - 1) % blocks == own);
    else if (live > 0)
        gpu_paged_queries(sh, a, b);
    __syncthreads();
    const bool apart = blocks > 1 && live > 1;
    for (int piece = first + own; piece <= last; piece += blocks) {
        gpu_paged_piece<C>(sh, a, b, whole, piece);
        if (apart)
            gpu_paged_leave(sh, a, b, piece);
        else
            gpu_paged_add(sh, b.count);
        __syncthreads();
    }
    if (apart) {
        if (!gpu_paged_last(sh, a, live < blocks ? live : blocks))
            return;
        gpu_paged_clear(sh, b.count);
        gpu_paged_together(sh, a, b, first, last);
        __syncthreads();
    }
    gpu_paged_write(sh, a, b);
}

#endif
