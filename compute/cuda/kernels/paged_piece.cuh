// One piece of a context for up to 8 queries of one kv head, without matrix units. Role: the
// arithmetic of paged_plain.cuh, and its order. Keys are read 16 bytes a lane, straight from the
// cache: LANES lanes have a key, the block's GROUPS of them as many keys at a time.
// The order of f32 sums: a dot product is each lane's own values in their order, then the lanes by
// halves; the weights' sum is each of 32 lanes' keys (lane, lane + 32, ...), then the lanes by
// halves; a sum of values is each group's keys (group, group + GROUPS, ...), then a warp's groups
// by halves, then the warps in their order. Pieces are put together in their order, by
// gpu_paged_fades.
#ifndef TRINE_COMPUTE_CUDA_PAGED_PIECE_CUH
#define TRINE_COMPUTE_CUDA_PAGED_PIECE_CUH

#include "compute/cuda/kernels/mma.cuh"
#include "compute/cuda/kernels/paged_place.cuh"
#include "compute/cuda/kernels/vector.cuh"

enum {
    PAGED_THREADS = 128,
    PAGED_WARPS = PAGED_THREADS / 32,
    PAGED_QUERIES = 8,
    PAGED_AHEAD = 4,     // keys that a lane reads at a time
    PAGED_TOGETHER = 32, // pieces that are put together at a time
};

// How a head lies in lanes: VALUES a lane (16 bytes), STEPS times.
template <typename T, int LANES_, int STEPS_> struct gpu_paged_shape {
    static constexpr int LANES = LANES_, STEPS = STEPS_, VALUES = 16 / (int)sizeof(T),
                         GROUPS = PAGED_THREADS / LANES, WIDTH = LANES * VALUES * STEPS;
    // Where column d is in shared memory: four neighbours side by side, then the other lanes' four.
    static __device__ __forceinline__ int place(int d) {
        int lane = d / VALUES % LANES, step = d / (VALUES * LANES), four = d % VALUES / 4;
        return ((step * (VALUES / 4) + four) * LANES + lane) * 4 + d % 4;
    }
};

template <typename S> struct gpu_paged_shared {
    float q[PAGED_QUERIES][S::WIDTH];
    float all[PAGED_QUERIES][S::WIDTH];     // of the pieces so far
    float out[PAGED_QUERIES][S::WIDTH];     // the piece's
    float s[PAGED_QUERIES][GPU_PAGED_KEYS]; // scores, then weights
    size_t at[GPU_PAGED_KEYS];              // of each key, in values from the cache's first
    float largest[PAGED_QUERIES], sum[PAGED_QUERIES];         // the piece's
    float all_largest[PAGED_QUERIES], all_sum[PAGED_QUERIES]; // of the pieces so far
    float old_fade[PAGED_QUERIES], new_fade[PAGED_QUERIES];
    uint32_t last; // whether this block was the last one to be done
};

// The queries of a block: number i is row (first + i) / group of the tile, head (first + i) % group
// of the kv head.
struct gpu_paged_block {
    size_t seq, row;         // the tile's first row, in the step
    int first, count, group; // group: heads of a kv head
    int position;            // of the tile's first row
    size_t kv_head, window;
    int from, to; // keys that any of them sees
};
static __device__ __forceinline__ int gpu_paged_position(const gpu_paged_block &b, int i) {
    return b.position + (b.first + i) / b.group;
}
static __device__ __forceinline__ int gpu_paged_from(const gpu_paged_block &b, int position) {
    return b.window && (size_t)position >= b.window ? position - (int)b.window + 1 : 0;
}

// False: there is nothing to do.
static __device__ __forceinline__ bool gpu_paged_find(const gpu_decode_attention &d,
                                                      gpu_paged_block *b) {
    const gpu_paged_attention &a = d.paged;
    const bool fused = d.qkv.data != NULL;
    const size_t tile = blockIdx.x;
    b->group = (int)(a.heads / a.kv.kv_heads);
    b->seq = fused ? tile : (size_t)a.tiles[2 * tile];
    b->row = fused ? tile : (size_t)a.tiles[2 * tile + 1];
    const int left = fused ? 1 : a.cu_seqlens[b->seq + 1] - (int)b->row;
    const int rows = fused ? 1 : left < (int)a.tile_rows ? left : (int)a.tile_rows;
    const int most = fused ? 1 : (int)a.tile_rows;
    const int parts = (most * b->group + PAGED_QUERIES - 1) / PAGED_QUERIES;
    b->kv_head = blockIdx.y / (unsigned)parts;
    b->first = (int)(blockIdx.y % (unsigned)parts) * PAGED_QUERIES;
    b->count = rows * b->group - b->first;
    if (b->count <= 0)
        return false;
    if (b->count > PAGED_QUERIES)
        b->count = PAGED_QUERIES;
    b->window = a.window;
    b->position = a.context_lens[b->seq] - left;
    b->to = gpu_paged_position(*b, b->count - 1) + 1;
    const int lowest = gpu_paged_position(*b, 0);
    b->from = lowest < 0 ? 0 : gpu_paged_from(*b, lowest);
    return true;
}

static __device__ __forceinline__ size_t gpu_paged_head(const gpu_paged_block &b, int i) {
    return b.kv_head * (size_t)b.group + (size_t)((b.first + i) % b.group);
}
static __device__ __forceinline__ size_t gpu_paged_row(const gpu_paged_block &b, int i) {
    return b.row + (size_t)((b.first + i) / b.group);
}

// Eight queries' sums over the lanes whose numbers differ in the bits from HIGH down to LOW: by
// halves, and each lane keeps those of fewer queries as long as there is more than one. v[0 ..
// returned count) are of the queries from *query on.
template <int HIGH, int LOW>
static __device__ __forceinline__ int gpu_paged_fold(float v[PAGED_QUERIES], int *query) {
    const int lane = (int)threadIdx.x % 32;
    int count = PAGED_QUERIES;
    *query = 0;
#pragma unroll
    for (int bit = HIGH; bit >= LOW; bit /= 2) {
        const bool upper = (lane & bit) != 0;
        if (count > 1) {
            count /= 2;
#pragma unroll
            for (int i = 0; i < PAGED_QUERIES / 2; i++)
                if (i < count) {
                    float given = upper ? v[i] : v[count + i], kept = upper ? v[count + i] : v[i];
                    v[i] = kept + __shfl_xor_sync(0xffffffffU, given, bit);
                }
            *query += upper ? count : 0;
        } else {
            v[0] += __shfl_xor_sync(0xffffffffU, v[0], bit);
        }
    }
    return count;
}

// A key's or a value's numbers of this lane; zeros where it is not there.
template <typename T, typename S>
static __device__ __forceinline__ void gpu_paged_load(const T *row, bool there, bool whole,
                                                      int step, int head_dim, float v[S::VALUES]) {
    const int from = (step * S::LANES + (int)threadIdx.x % S::LANES) * S::VALUES;
    if (there && from < head_dim) {
        gpu_load_if<S::VALUES>(whole, row + from, (size_t)(head_dim - from), v);
    } else {
#pragma unroll
        for (int i = 0; i < S::VALUES; i++)
            v[i] = 0.0F;
    }
}

// Scores of the keys [from, to) of the piece at hand, each query against each.
template <typename T, typename S>
static __device__ __forceinline__ void gpu_paged_scores(gpu_paged_shared<S> *sh,
                                                        const gpu_paged_attention &a, bool whole,
                                                        int count, int from, int to) {
    constexpr int V = S::VALUES, BATCH = PAGED_AHEAD * S::GROUPS;
    const int group = (int)threadIdx.x / S::LANES, lane = (int)threadIdx.x % S::LANES;
    const int head_dim = (int)a.kv.head_dim;
    for (int base = from / BATCH * BATCH; base < to; base += BATCH) {
        float dot[PAGED_AHEAD][PAGED_QUERIES] = {};
#pragma unroll
        for (int step = 0; step < S::STEPS; step++) {
            float k[PAGED_AHEAD][V];
#pragma unroll
            for (int u = 0; u < PAGED_AHEAD; u++) {
                const int key = base + u * S::GROUPS + group;
                const bool there = key >= from && key < to;
                gpu_paged_load<T, S>((const T *)a.kv.data + (there ? sh->at[key] : 0), there, whole,
                                     step, head_dim, k[u]);
            }
#pragma unroll
            for (int r = 0; r < PAGED_QUERIES; r++)
                if (r < count) {
                    float q[V];
#pragma unroll
                    for (int f = 0; f < V / 4; f++)
                        *(float4 *)&q[4 * f] =
                            *(const float4 *)&sh
                                 ->q[r][((step * (V / 4) + f) * S::LANES + lane) * 4];
#pragma unroll
                    for (int u = 0; u < PAGED_AHEAD; u++)
#pragma unroll
                        for (int i = 0; i < V; i++)
                            dot[u][r] = fmaf(q[i], k[u][i], dot[u][r]);
                }
        }
#pragma unroll
        for (int u = 0; u < PAGED_AHEAD; u++) {
            const int key = base + u * S::GROUPS + group;
            int query;
            const int held = gpu_paged_fold<S::LANES / 2, 1>(dot[u], &query);
            // Lanes that have the same sums: the first of them.
            const bool mine = lane % (S::LANES > PAGED_QUERIES ? S::LANES / PAGED_QUERIES : 1) == 0;
#pragma unroll
            for (int i = 0; i < PAGED_QUERIES; i++)
                if (i < held && mine && key < GPU_PAGED_KEYS)
                    sh->s[query + i][key] = dot[u][i] * a.scale;
        }
    }
}

// What the sums so far and a piece's are multiplied with when they are put together. One that has
// seen nothing has -infinity as its largest, and changes nothing.
static __device__ __forceinline__ void gpu_paged_fades(float before, float largest, float piece,
                                                       float *old_fade, float *new_fade) {
    *old_fade = piece == -INFINITY ? 1.0F : expf(before - largest);
    *new_fade = piece == -INFINITY ? 0.0F : expf(piece - largest);
}

// Scores become weights, 0 where a query does not see a key; a warp has every fourth query.
template <typename S>
static __device__ __forceinline__ void gpu_paged_weights(gpu_paged_shared<S> *sh,
                                                         const gpu_paged_block &b, int base) {
    const int lane = (int)threadIdx.x % 32;
    for (int r = (int)threadIdx.x / 32; r < b.count; r += PAGED_WARPS) {
        const int position = gpu_paged_position(b, r);
        const int from = position < 0 ? 0 : gpu_paged_from(b, position);
        float s[GPU_PAGED_KEYS / 32], largest = -INFINITY, sum = 0.0F;
#pragma unroll
        for (int i = 0; i < GPU_PAGED_KEYS / 32; i++) {
            const int key = base + lane + 32 * i;
            s[i] = key >= from && key <= position ? sh->s[r][lane + 32 * i] : -INFINITY;
            largest = fmaxf(largest, s[i]);
        }
        largest = gpu_warp_max(largest);
#pragma unroll
        for (int i = 0; i < GPU_PAGED_KEYS / 32; i++) {
            const float weight = largest == -INFINITY ? 0.0F : expf(s[i] - largest);
            sh->s[r][lane + 32 * i] = weight;
            sum += weight;
        }
        sum = gpu_warp_sum(sum);
        if (lane == 0) {
            const float before = sh->all_largest[r], now = fmaxf(before, largest);
            sh->largest[r] = largest;
            sh->sum[r] = sum;
            gpu_paged_fades(before, now, largest, &sh->old_fade[r], &sh->new_fade[r]);
            sh->all_largest[r] = now;
            sh->all_sum[r] = fmaf(sum, sh->new_fade[r], sh->all_sum[r] * sh->old_fade[r]);
        }
    }
}

// The piece's weighted values, into sh->out. All threads have met behind it.
template <typename T, typename S>
static __device__ __forceinline__ void gpu_paged_values(gpu_paged_shared<S> *sh,
                                                        const gpu_paged_attention &a, bool whole,
                                                        int count, int from, int to) {
    constexpr int V = S::VALUES, BATCH = PAGED_AHEAD * S::GROUPS;
    const int group = (int)threadIdx.x / S::LANES, lane = (int)threadIdx.x % S::LANES;
    const int head_dim = (int)a.kv.head_dim;
    const T *values = (const T *)a.kv.data + gpu_kv_apart(a.kv);
    float out[S::STEPS][V][PAGED_QUERIES] = {};
    for (int base = from / BATCH * BATCH; base < to; base += BATCH) {
#pragma unroll
        for (int step = 0; step < S::STEPS; step++) {
            float v[PAGED_AHEAD][V];
#pragma unroll
            for (int u = 0; u < PAGED_AHEAD; u++) {
                const int key = base + u * S::GROUPS + group;
                const bool there = key >= from && key < to;
                gpu_paged_load<T, S>(values + (there ? sh->at[key] : 0), there, whole, step,
                                     head_dim, v[u]);
            }
#pragma unroll
            for (int r = 0; r < PAGED_QUERIES; r++)
                if (r < count)
#pragma unroll
                    for (int u = 0; u < PAGED_AHEAD; u++) {
                        const int key = base + u * S::GROUPS + group;
                        const float weight = key < GPU_PAGED_KEYS ? sh->s[r][key] : 0.0F;
#pragma unroll
                        for (int i = 0; i < V; i++)
                            out[step][i][r] = fmaf(weight, v[u][i], out[step][i][r]);
                    }
        }
    }
    int query = 0, held = PAGED_QUERIES;
#pragma unroll
    for (int step = 0; step < S::STEPS; step++)
#pragma unroll
        for (int i = 0; i < V; i++)
            held = gpu_paged_fold<16, S::LANES>(out[step][i], &query);
    for (int warp = 0; warp < PAGED_WARPS; warp++) {
        if ((int)threadIdx.x / 32 == warp)
#pragma unroll
            for (int r = 0; r < PAGED_QUERIES; r++)
                if (r < held)
#pragma unroll
                    for (int f = 0; f < S::STEPS * V / 4; f++) {
                        float4 *to4 = (float4 *)&sh->out[query + r][(f * S::LANES + lane) * 4];
                        const float(*o)[PAGED_QUERIES] = &out[f / (V / 4)][f % (V / 4) * 4];
                        float4 sum = make_float4(o[0][r], o[1][r], o[2][r], o[3][r]);
                        if (warp) {
                            sum.x += to4->x;
                            sum.y += to4->y;
                            sum.z += to4->z;
                            sum.w += to4->w;
                        }
                        *to4 = sum;
                    }
        __syncthreads();
    }
}

// One piece: sh->out, sh->largest, sh->sum and the fades. All threads have met behind it.
template <typename T, typename S>
static __device__ __forceinline__ void
gpu_paged_piece(gpu_paged_shared<S> *sh, const gpu_paged_attention &a, const gpu_paged_block &b,
                bool whole, int piece) {
    const int base = piece * GPU_PAGED_KEYS;
    const int from = b.from > base ? b.from - base : 0;
    const int to = b.to - base < GPU_PAGED_KEYS ? b.to - base : GPU_PAGED_KEYS;
    const int32_t *table = a.block_tables + b.seq * a.table_stride;
    const uint32_t tokens = (uint32_t)a.kv.block_tokens;
    for (int key = (int)threadIdx.x; key < GPU_PAGED_KEYS; key += PAGED_THREADS)
        if (key >= from && key < to) {
            const uint32_t position = (uint32_t)(base + key), block = position / tokens;
            const size_t at = gpu_kv_at(a.kv, a.layer, b.kv_head, (size_t)table[block],
                                        position - block * tokens);
            sh->at[key] = at;
            // All of the piece is asked for at once, the values before the keys are scored.
            const T *k = (const T *)a.kv.data + at, *v = k + gpu_kv_apart(a.kv);
            for (size_t i = 0; i < a.kv.head_dim; i += 128 / sizeof(T)) {
                gpu_prefetch(k + i);
                gpu_prefetch(v + i);
            }
        }
    __syncthreads();
    gpu_paged_scores<T>(sh, a, whole, b.count, from, to);
    __syncthreads();
    gpu_paged_weights(sh, b, base);
    __syncthreads();
    gpu_paged_values<T>(sh, a, whole, b.count, from, to);
}

#endif
