// Where a row's intermediate numbers lie between the draw's kernels, and how a row ends, and a
// part. Role: of draw.cu's kernels alone.
#ifndef TRINE_COMPUTE_CUDA_DRAW_ROW_H
#define TRINE_COMPUTE_CUDA_DRAW_ROW_H

#include "compute/cuda/kernels/draw_math.cuh"

enum {
    DRAW_LEVELS = 128,                                  // exponents of weights
    DRAW_CHUNK_BLOCKS = GPU_DRAW_CHUNK / GPU_DRAW_BLOCK // of values
};

struct draw_piece {
    unsigned long long best;
    int32_t odd, unused;
};

struct draw_place {
    struct draw_piece *pieces; // [chunks]
    double *raw_sums;          // [chunks] of e^(raw - most)
    float *maxima;             // [blocks] of what is drawn from
    float *raw_maxima;         // [blocks]; the same where nothing changes the row
    float *sums;               // [blocks] of weights
    struct draw_piece *raw_pieces;
    uint32_t *levels; // [2][DRAW_LEVELS] weights' mantissas by their exponents
};

static __host__ __device__ __forceinline__ size_t draw_chunks(size_t vocab) {
    return (vocab + GPU_DRAW_CHUNK - 1) / GPU_DRAW_CHUNK;
}

static __device__ struct draw_place draw_place_of(const struct gpu_draw_step &a,
                                                  const struct gpu_draw_row *row, size_t nth,
                                                  size_t bytes) {
    size_t chunks = draw_chunks(a.logits.cols), blocks = chunks * DRAW_CHUNK_BLOCKS;
    struct draw_place p;
    p.pieces = (struct draw_piece *)((char *)a.scratch + nth * bytes);
    p.raw_pieces = p.pieces + chunks;
    p.raw_sums = (double *)(p.raw_pieces + chunks);
    p.maxima = (float *)(p.raw_sums + chunks);
    p.raw_maxima = p.maxima + blocks;
    p.sums = p.raw_maxima + blocks;
    p.levels = (uint32_t *)(p.sums + blocks);
    if (!row->adjusts) {
        p.raw_maxima = p.maxima;
        p.raw_pieces = p.pieces;
    }
    return p;
}

static __device__ __forceinline__ const float *draw_raw(const struct gpu_draw_step &a,
                                                        const struct gpu_draw_row *row) {
    return (const float *)a.logits.data + row->logits * a.logits.ld;
}
static __device__ __forceinline__ float *draw_adjusted(const struct gpu_draw_step &a,
                                                       const struct gpu_draw_row *row) {
    return a.adjusted + row->adjusted * a.adjusted_ld;
}

// What draws by weights of the whole row, and not of its top_k alone.
static __device__ __forceinline__ int draw_is_dense(const struct gpu_draw_part *p, size_t vocab) {
    return !p->scores && p->by > 0 && (p->top_k <= 0 || (size_t)p->top_k >= vocab);
}

// The best of all pieces, by warp 0: *odd in it too. All of its lanes have it.
static __device__ unsigned long long draw_gather(const struct draw_piece *pieces, size_t chunks,
                                                 int *odd) {
    unsigned long long best = 0;
    int any = 0;
    for (size_t i = threadIdx.x; i < chunks; i += 32) {
        unsigned long long other = __ldcg(&pieces[i].best);
        best = other > best ? other : best;
        any |= __ldcg(&pieces[i].odd);
    }
    for (int step = 16; step > 0; step /= 2) {
        unsigned long long other = __shfl_xor_sync(0xffffffffU, best, step);
        best = other > best ? other : best;
    }
    *odd = __any_sync(0xffffffffU, any);
    return best;
}

// ---- how a row ends, and a part

static __device__ int draw_ends(const struct gpu_draw_step &a, const struct gpu_draw_part *p,
                                int32_t id) {
    for (uint32_t i = 0; i < p->end_count; i++)
        if ((int32_t)a.words[p->ends + i] == id)
            return 1;
    return 0;
}

// By warp 0, behind the last of its rows: up to where the draw has come, and the token there.
static __device__ void draw_end_part(const struct gpu_draw_step &a, uint32_t part) {
    const struct gpu_draw_part *p = &a.parts[part];
    uint32_t lane = threadIdx.x, drawn = p->rows, failed = 0;
    int32_t last = 0;
    for (uint32_t from = 0; from < p->rows; from += 32) {
        uint32_t i = from + lane;
        int32_t id = i < p->rows ? __ldcg(&a.results[p->first + i].id) : 0;
        int fails = i < p->rows && id < 0;
        int stops =
            i < p->rows && !fails && !p->scores &&
            (i + 1 == p->rows || (int32_t)a.words[p->next + i] != id || draw_ends(a, p, id));
        unsigned failing = __ballot_sync(0xffffffffU, fails);
        unsigned all = failing | __ballot_sync(0xffffffffU, stops);
        if (!all)
            continue;
        int first = __ffs((int)all) - 1;
        failed = failing >> first & 1U;
        drawn = from + (uint32_t)first + (failed ? 0 : 1);
        break;
    }
    if (lane > 0)
        return;
    a.outcomes[part].drawn = drawn;
    a.outcomes[part].failed = failed;
    if (drawn > 0)
        last = __ldcg(&a.results[p->first + drawn - 1].id);
    if (!p->scores && p->slot >= 0)
        a.drawn[p->slot] = last;
}

// By warp 0; lane 0 has the result.
static __device__ void draw_end_row(const struct gpu_draw_step &a, const struct gpu_draw_row *row,
                                    struct gpu_draw_result result) {
    uint32_t done = 0;
    if (threadIdx.x == 0) {
        a.results[row->result] = result;
        __threadfence();
        done = atomicAdd(&a.parts_done[row->part], 1U) + 1;
        __threadfence();
    }
    done = __shfl_sync(0xffffffffU, done, 0);
    __syncwarp(); // what lane 0 has seen the others see
    if (done == a.parts[row->part].rows)
        draw_end_part(a, row->part);
}

// The end of a row of which only the largest logit is known to be wanted, or that gives none.
static __device__ __forceinline__ int draw_end_of(const struct gpu_draw_row *row, float most,
                                                  int odd) {
    if (odd)
        return GPU_DRAW_END_NONFINITE;
    if (draw_key(most) <= DRAW_KEY_LOWEST)
        return row->mask != GPU_DRAW_ABSENT ? GPU_DRAW_END_NONE : GPU_DRAW_END_OVERFLOW;
    return draw_is_odd(most) ? GPU_DRAW_END_OVERFLOW : GPU_DRAW_END_DRAWN;
}

#endif
