// See draw_step.h. Three kernels. draw_scan looks at each row once, a chunk a block: its maxima,
// whether it is finite, and what bias, penalties and mask make of it; of a simple row the last
// block to be done has the token. draw_weigh sums a row's e^x where a draw or a logprob needs that,
// and draw_choose does the rest, a row a block (draw_block.cuh). The block that ends a part's last
// row sees how far the part has come. A token is another than the CPU's for the same logits only
// where u * total, or the mass of top-p, is within 1e-12 of the total of the border between two
// tokens (sums of f64 in another order), or where top-p's mass is within 1e-6 of the mass above one
// of the CPU's thresholds (sampling.c's gather_mass, whose f32 sums may take that for reached). A
// logprob may differ in its last bit.
#include "compute/cuda/kernels/draw_block.cuh"
#include "compute/cuda/kernels/draw_row.cuh"

enum {
    SCAN_ROUNDS = DRAW_CHUNK_BLOCKS / DRAW_TEAMS,
    WARPS = DRAW_THREADS / 32,
};

// ---- a look at each row

struct draw_scan_shared {
    float values[GPU_DRAW_CHUNK];
    int32_t more[GPU_DRAW_ROWS + 1]; // said behind the history, in order
    int32_t known[GPU_DRAW_ROWS + 1];
    unsigned long long best[WARPS];
    int last;
};

static __device__ uint32_t draw_times(const struct draw_scan_shared *s, int n, int32_t id) {
    uint32_t times = 0;
    for (int i = 0; i < n; i++)
        times += s->more[i] == id;
    return times;
}

static __device__ void draw_add_biases(const struct gpu_draw_step &a, const struct gpu_draw_part *p,
                                       float *values, uint32_t begin, uint32_t count) {
    const uint32_t *bias = a.words + p->bias;
    uint32_t from = threadIdx.x, step = DRAW_THREADS;
    if (p->bias_repeats) { // in their order, as the sum's bits depend on it
        from = threadIdx.x == 0 ? 0 : p->bias_count;
        step = 1;
    }
    for (uint32_t i = from; i < p->bias_count; i += step) {
        uint32_t at = bias[2 * i] - begin;
        if (at < count)
            values[at] = __fadd_rn(values[at], __uint_as_float(bias[2 * i + 1]));
    }
    __syncthreads();
}

static __device__ void draw_penalize(const struct gpu_draw_step &a, const struct gpu_draw_part *p,
                                     uint32_t index, struct draw_scan_shared *s, uint32_t begin,
                                     uint32_t count) {
    int n = (int)index + (p->goes_on ? 1 : 0), t = (int)threadIdx.x;
    if (t < n) {
        int at = p->goes_on ? t - 1 : t;
        s->more[t] = at < 0 ? a.drawn[p->slot] : (int32_t)a.words[p->next + (uint32_t)at];
        s->known[t] = 0;
    }
    __syncthreads();
    const uint32_t *said = a.words + p->said;
    for (uint32_t i = threadIdx.x; i < p->said_count; i += DRAW_THREADS) {
        uint32_t id = said[2 * i], at = id - begin;
        for (int k = 0; k < n; k++)
            if (s->more[k] == (int32_t)id)
                s->known[k] = 1;
        if (at < count)
            s->values[at] =
                draw_penalized(p, s->values[at], said[2 * i + 1] + draw_times(s, n, (int32_t)id));
    }
    __syncthreads();
    if (t < n && !s->known[t] && s->more[t] >= 0 && s->more[t] < p->said_below) {
        uint32_t at = (uint32_t)s->more[t] - begin;
        if (at < count && draw_times(s, t, s->more[t]) == 0)
            s->values[at] = draw_penalized(p, s->values[at], draw_times(s, n, s->more[t]));
    }
    __syncthreads();
}

// The maxima of blocks [begin / 64, ...) of a chunk, and its best, which lane 0 of each warp leaves
// in s->best. maxima NULL: nobody asks for them. Returns whether one is not finite.
static __device__ int draw_maxima(const float *values, uint32_t begin, uint32_t count,
                                  float *maxima, struct draw_scan_shared *s) {
    int team = (int)threadIdx.x / DRAW_LANES, lane = (int)threadIdx.x % DRAW_LANES, odd = 0;
    unsigned long long most = 0;
    float v[SCAN_ROUNDS][4];
#pragma unroll
    for (int r = 0; r < SCAN_ROUNDS; r++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t at = (uint32_t)((team + r * DRAW_TEAMS) * GPU_DRAW_BLOCK + i * 16 + lane);
            v[r][i] = at < count ? values[at] : DRAW_LOWEST;
            odd |= at < count && draw_is_odd(v[r][i]);
        }
#pragma unroll
    for (int r = 0; r < SCAN_ROUNDS; r++) {
        uint32_t block = (uint32_t)(team + r * DRAW_TEAMS);
        unsigned long long best = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t id = begin + block * GPU_DRAW_BLOCK + (uint32_t)(i * 16 + lane);
            unsigned long long other = draw_best(v[r][i], id);
            best = other > best ? other : best;
        }
        if (maxima) {
            for (int half = DRAW_LANES / 2; half > 0; half /= 2) {
                unsigned long long other = __shfl_xor_sync(0xffffffffU, best, half);
                best = other > best ? other : best;
            }
            if (lane == 0)
                maxima[begin / GPU_DRAW_BLOCK + block] = draw_best_logit(best);
        }
        most = best > most ? best : most;
    }
    for (int half = 16; half >= (maxima ? 16 : 1); half /= 2) {
        unsigned long long other = __shfl_xor_sync(0xffffffffU, most, half);
        most = other > most ? other : most;
    }
    if (threadIdx.x % 32 == 0)
        s->best[threadIdx.x / 32] = most;
    return __syncthreads_or(odd);
}

static __device__ void draw_leave_piece(struct draw_piece *piece, struct draw_scan_shared *s,
                                        int odd) {
    if (threadIdx.x == 0) {
        unsigned long long best = s->best[0];
        for (int i = 1; i < WARPS; i++)
            best = s->best[i] > best ? s->best[i] : best;
        piece->best = best;
        piece->odd = odd;
    }
    __syncthreads();
}

// The row's values of this chunk in shared memory, as bias, penalties and mask leave them.
static __device__ void draw_adjust(const struct gpu_draw_step &a, const struct gpu_draw_row *row,
                                   struct draw_scan_shared *s, const float *raw, uint32_t begin,
                                   uint32_t count) {
    const struct gpu_draw_part *p = &a.parts[row->part];
    for (uint32_t i = threadIdx.x; i < count; i += DRAW_THREADS)
        s->values[i] = raw[i];
    __syncthreads();
    if (p->bias_count > 0)
        draw_add_biases(a, p, s->values, begin, count);
    if (p->penalizes)
        draw_penalize(a, p, row->index, s, begin, count);
    if (row->mask != GPU_DRAW_ABSENT)
        for (uint32_t i = threadIdx.x; i < count; i += DRAW_THREADS)
            if (!(a.words[row->mask + (begin + i) / 32] >> (begin + i) % 32 & 1U))
                s->values[i] = DRAW_LOWEST;
    __syncthreads();
    if (row->adjusted != GPU_DRAW_ABSENT)
        for (uint32_t i = threadIdx.x; i < count; i += DRAW_THREADS)
            draw_adjusted(a, row)[begin + i] = s->values[i];
}

// Grid: chunks, rows.
static __global__ __launch_bounds__(DRAW_THREADS) void draw_scan(struct gpu_draw_step a,
                                                                 size_t bytes) {
    GPU_SHARED(memory);
    struct draw_scan_shared *s = (struct draw_scan_shared *)memory;
    const struct gpu_draw_row *row = &a.rows[a.from + blockIdx.y];
    struct draw_place place = draw_place_of(a, row, blockIdx.y, bytes);
    uint32_t vocab = (uint32_t)a.logits.cols, begin = blockIdx.x * GPU_DRAW_CHUNK;
    uint32_t count = min(vocab - begin, (uint32_t)GPU_DRAW_CHUNK);
    const float *raw = draw_raw(a, row) + begin;
    int simple = blockIdx.y < a.simple, odd;
    if (!row->adjusts) {
        odd = draw_maxima(raw, begin, count, simple ? NULL : place.maxima, s);
    } else {
        // by the raw row it is judged, and its logprobs are made
        odd = draw_maxima(raw, begin, count, row->logprob ? place.raw_maxima : NULL, s);
        draw_leave_piece(&place.raw_pieces[blockIdx.x], s, odd);
        draw_adjust(a, row, s, raw, begin, count);
        (void)draw_maxima(s->values, begin, count, simple ? NULL : place.maxima, s);
    }
    draw_leave_piece(&place.pieces[blockIdx.x], s, odd);
    if (!simple) {
        if (blockIdx.x == 0)
            for (uint32_t i = threadIdx.x; i < 2 * DRAW_LEVELS; i += DRAW_THREADS)
                place.levels[i] = 0;
        return;
    }
    if (threadIdx.x == 0) {
        __threadfence();
        s->last = atomicAdd(&a.rows_done[a.from + blockIdx.y], 1U) + 1 == gridDim.x;
        __threadfence();
    }
    __syncthreads();
    if (!s->last || threadIdx.x >= 32)
        return;
    unsigned long long best = draw_gather(place.pieces, gridDim.x, &odd);
    struct gpu_draw_result result = {-1, draw_end_of(row, draw_best_logit(best), odd), 0, 0};
    if (result.end == GPU_DRAW_END_DRAWN)
        result.id = draw_best_id(best);
    draw_end_row(a, row, result);
}

// ---- sums of e^x

struct draw_weigh_shared {
    uint32_t levels[2 * DRAW_LEVELS];
    float sums[DRAW_CHUNK_BLOCKS];
    float most;
    int odd;
};

// sums[block] of the chunk: e^((x - most) by) of GPU_DRAW_BLOCK values, added up as the CPU's
// logit_exp does: lane j the values j, j + 16, ..., then the lanes by halves. What is left of a
// row behind its last whole 16 values is lane 0's.
static __device__ void draw_sum_chunk(const float *x, uint32_t count, float most, float by,
                                      float *sums, uint32_t *levels) {
    int team = (int)threadIdx.x / DRAW_LANES, lane = (int)threadIdx.x % DRAW_LANES;
    uint32_t whole = count / 16 * 16;
    float v[SCAN_ROUNDS][4];
#pragma unroll
    for (int r = 0; r < SCAN_ROUNDS; r++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t at = (uint32_t)((team + r * DRAW_TEAMS) * GPU_DRAW_BLOCK + i * 16 + lane);
            v[r][i] = at < count ? x[at] : DRAW_LOWEST;
        }
#pragma unroll
    for (int r = 0; r < SCAN_ROUNDS; r++) {
        uint32_t block = (uint32_t)(team + r * DRAW_TEAMS) * GPU_DRAW_BLOCK;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float w = draw_weight(v[r][i], most, by);
            if (block + (uint32_t)(i * 16) < whole)
                sum = __fadd_rn(sum, w);
            if (levels && w > 0) {
                uint32_t mantissa = draw_mantissa(w), e = __float_as_uint(w) >> 23;
                atomicAdd(&levels[e], mantissa & 0xfffU);
                atomicAdd(&levels[DRAW_LEVELS + e], mantissa >> 12);
            }
        }
        if (lane == 0 && block <= whole && whole < count && count < block + GPU_DRAW_BLOCK)
            for (uint32_t at = whole; at < count; at++)
                sum = __fadd_rn(sum, draw_weight(x[at], most, by));
        for (int half = DRAW_LANES / 2; half > 0; half /= 2)
            sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffU, sum, half));
        if (lane == 0)
            sums[block / GPU_DRAW_BLOCK] = sum;
    }
    __syncthreads();
}

// Grid: chunks, rows that are not simple.
static __global__ __launch_bounds__(DRAW_THREADS) void draw_weigh(struct gpu_draw_step a,
                                                                  size_t bytes) {
    GPU_SHARED(memory);
    struct draw_weigh_shared *s = (struct draw_weigh_shared *)memory;
    size_t nth = a.simple + blockIdx.y;
    const struct gpu_draw_row *row = &a.rows[a.from + nth];
    const struct gpu_draw_part *p = &a.parts[row->part];
    struct draw_place place = draw_place_of(a, row, nth, bytes);
    uint32_t vocab = (uint32_t)a.logits.cols, begin = blockIdx.x * GPU_DRAW_CHUNK;
    uint32_t count = min(vocab - begin, (uint32_t)GPU_DRAW_CHUNK);
    const float *raw = draw_raw(a, row);
    if (draw_is_dense(p, vocab)) {
        int levels = p->top_p < 1;
        if (threadIdx.x < 32) {
            int odd;
            float most = draw_best_logit(draw_gather(place.pieces, gridDim.x, &odd));
            if (threadIdx.x == 0) {
                s->most = most;
                s->odd = draw_end_of(row, most, odd) != GPU_DRAW_END_DRAWN;
            }
        }
        if (levels)
            s->levels[threadIdx.x] = 0;
        __syncthreads();
        if (s->odd)
            return;
        const float *x = row->adjusts ? draw_adjusted(a, row) : raw;
        draw_sum_chunk(x + begin, count, s->most, p->by, place.sums + begin / GPU_DRAW_BLOCK,
                       levels ? s->levels : NULL);
        if (levels && s->levels[threadIdx.x] > 0)
            atomicAdd(&place.levels[threadIdx.x], s->levels[threadIdx.x]);
        __syncthreads();
    }
    if (!row->logprob)
        return;
    if (threadIdx.x < 32) {
        int odd;
        float most = draw_best_logit(draw_gather(place.raw_pieces, gridDim.x, &odd));
        if (threadIdx.x == 0) {
            s->most = most;
            s->odd = odd;
        }
    }
    __syncthreads();
    if (s->odd)
        return;
    draw_sum_chunk(raw + begin, count, s->most, 1, s->sums, NULL);
    if (threadIdx.x == 0) {
        double sum = 0;
        for (uint32_t b = 0; b * GPU_DRAW_BLOCK < count; b++)
            sum += (double)s->sums[b];
        place.raw_sums[blockIdx.x] = sum;
    }
}

// ---- the choice

// The token of a row whose logits, by temperature, are to be drawn from.
static __device__ int draw_by_weight(const struct gpu_draw_part *p, const struct draw_view &v,
                                     const struct draw_place &place, uint64_t position) {
    const float by = p->by, most = v.most, min_p = p->min_p;
    double u = draw_random(p->seed, position);
    int dense = draw_is_dense(p, (size_t)v.vocab);
    auto weight = [=](float x, int) { return (double)draw_weight(x, most, by); };
    if (dense) { // the sums are there
        __syncthreads();
        for (int b = (int)threadIdx.x; b < v.blocks; b += DRAW_THREADS)
            v.sums[b] = (double)place.sums[b];
        __syncthreads();
        if (p->top_p >= 1 && min_p <= 0)
            return draw_reached_at(v, u, 1, weight);
    }
    struct draw_cut top = {0, 0x7fffffff};
    if (!dense)
        top = draw_top(v, p->top_k);
    auto chosen = [=](float x, int id) {
        return dense || draw_within(top, draw_key(x), id) ? draw_weight(x, most, by) : 0.0F;
    };
    struct draw_cut cut = {0, 0x7fffffff};
    if (p->top_p < 1) {
        if (!dense)
            draw_sum_blocks(v, [=](float x, int id) { return (double)chosen(x, id); });
        double mass = (double)p->top_p * draw_total(v);
        cut = draw_reach(v, by, mass, dense ? place.levels : NULL, chosen);
    }
    uint32_t least = min_p > 0 ? __float_as_uint(min_p) : 1U;
    least = cut.key > least ? cut.key : least;
    if (dense)
        draw_list_weights(v, by, least);
    auto kept = [=](float x, int id) {
        float w = chosen(x, id);
        return w >= min_p && draw_within(cut, __float_as_uint(w), id) ? (double)w : 0.0;
    };
    draw_sum_blocks(v, kept);
    return draw_reached_at(v, u, 1, kept);
}

// The most likely ones of the raw row, in order.
static __device__ void draw_alternatives(const struct gpu_draw_step &a,
                                         const struct gpu_draw_row *row, const struct draw_view &v,
                                         double norm) {
    struct draw_shared *s = v.s;
    struct draw_cut cut = draw_top(v, (int)row->top_count);
    __syncthreads();
    if (threadIdx.x == 0)
        s->low[0] = 0;
    __syncthreads();
    draw_each(v, [=](float x, int id) {
        uint32_t key = draw_key(x);
        if (key <= DRAW_KEY_LOWEST || !draw_within(cut, key, id))
            return;
        uint32_t n = atomicAdd(&s->low[0], 1U);
        s->top[n].id = id;
        s->top[n].logprob = x;
    });
    __syncthreads();
    int n = (int)s->low[0], t = (int)threadIdx.x;
    if (t < n) { // each finds its place
        unsigned long long own = draw_best(s->top[t].logprob, (uint32_t)s->top[t].id);
        int place = 0;
        for (int i = 0; i < n; i++)
            place += draw_best(s->top[i].logprob, (uint32_t)s->top[i].id) > own;
        struct gpu_draw_top *to = &a.tops[row->top * GPU_DRAW_TOP + (uint32_t)place];
        to->id = s->top[t].id;
        to->logprob = (float)((double)s->top[t].logprob - norm);
    }
    __syncthreads();
}

// Grid: rows that are not simple.
static __global__ __launch_bounds__(DRAW_THREADS, 1) void draw_choose(struct gpu_draw_step a,
                                                                      size_t bytes) {
    GPU_SHARED(memory);
    struct draw_shared *s = (struct draw_shared *)memory;
    size_t nth = a.simple + blockIdx.x, chunks = draw_chunks(a.logits.cols);
    const struct gpu_draw_row *row = &a.rows[a.from + nth];
    const struct gpu_draw_part *p = &a.parts[row->part];
    struct draw_place place = draw_place_of(a, row, nth, bytes);
    struct draw_view v;
    v.vocab = (int)a.logits.cols;
    v.blocks = (v.vocab + GPU_DRAW_BLOCK - 1) / GPU_DRAW_BLOCK;
    v.s = s;
    v.sums = (double *)(s + 1);
    v.list = (uint16_t *)(v.sums + v.blocks);
    v.x = row->adjusts ? draw_adjusted(a, row) : draw_raw(a, row);
    v.maxima = place.maxima;
    if (threadIdx.x < 32) {
        int odd;
        unsigned long long best = draw_gather(place.pieces, chunks, &odd);
        if (threadIdx.x == 0) {
            s->best = best;
            s->odd = odd;
        }
    }
    __syncthreads();
    v.most = draw_best_logit(s->best);
    struct gpu_draw_result result = {-1, draw_end_of(row, v.most, s->odd), 0, 0};
    if (result.end == GPU_DRAW_END_DRAWN) {
        if (p->scores)
            result.id = (int32_t)a.words[p->next + row->index];
        else if (p->by > 0)
            result.id = draw_by_weight(p, v, place, p->position + row->index);
        else
            result.id = draw_best_id(s->best);
        if (result.id < 0 || result.id >= v.vocab) {
            result.id = -1;
            result.end = p->scores ? GPU_DRAW_END_NONFINITE : GPU_DRAW_END_OVERFLOW;
        }
    }
    if (result.id >= 0 && row->logprob) {
        v.x = draw_raw(a, row);
        v.maxima = place.raw_maxima;
        __syncthreads();
        if (threadIdx.x < 32) {
            int odd;
            unsigned long long best = draw_gather(place.raw_pieces, chunks, &odd);
            if (threadIdx.x == 0)
                s->best = best;
        }
        s->values[threadIdx.x] = threadIdx.x < chunks ? place.raw_sums[threadIdx.x] : 0;
        double total = draw_find(s, 0, 0, 0, 0).total;
        double norm = (double)draw_best_logit(s->best) + log(total);
        result.logprob = (float)((double)v.x[result.id] - norm);
        result.top_count = row->top_count;
        if (row->top_count > 0)
            draw_alternatives(a, row, v, norm);
    }
    if (threadIdx.x < 32)
        draw_end_row(a, row, result);
}

// ---- launches

extern "C" size_t gpu_draw_scratch_bytes(size_t vocab) {
    size_t chunks = draw_chunks(vocab);
    size_t bytes = chunks * (2 * sizeof(struct draw_piece) + sizeof(double)) +
                   chunks * DRAW_CHUNK_BLOCKS * 3 * sizeof(float) +
                   2 * DRAW_LEVELS * sizeof(uint32_t);
    return (bytes + 255) / 256 * 256;
}

static void draw_touch(struct gpu_stream *s, const struct gpu_draw_step *a, size_t bytes) {
    (void)s, (void)a, (void)bytes; // on a GPU all of this is nothing
    GPU_READS_MAT(s, a->logits);
    GPU_READS(s, a->parts, a->part_count * sizeof *a->parts);
    GPU_READS(s, a->rows, a->row_count * sizeof *a->rows);
    GPU_READS(s, a->words, a->word_count * sizeof *a->words);
    GPU_WRITES(s, a->parts_done, a->part_count * sizeof *a->parts_done);
    GPU_WRITES(s, a->results, a->row_count * sizeof *a->results);
    GPU_WRITES(s, a->outcomes, a->part_count * sizeof *a->outcomes);
    GPU_READS(s, a->drawn, a->slots * sizeof *a->drawn);
    GPU_WRITES_SOME(s, a->drawn, a->slots * sizeof *a->drawn);
    GPU_WRITES(s, a->scratch, a->count * bytes);
    GPU_WRITES(s, a->adjusted, a->adjusted_rows * a->adjusted_ld * sizeof(float));
}

extern "C" void gpu_launch_draw(struct gpu_stream *s, const struct gpu_draw_step *a) {
    size_t vocab = a->logits.cols, bytes = gpu_draw_scratch_bytes(vocab);
    unsigned chunks = (unsigned)draw_chunks(vocab), rows = (unsigned)a->count;
    unsigned others = (unsigned)(a->count - a->simple);
    size_t blocks = (vocab + GPU_DRAW_BLOCK - 1) / GPU_DRAW_BLOCK;
    size_t shared = sizeof(struct draw_shared) + blocks * (sizeof(double) + sizeof(uint16_t));
    draw_touch(s, a, bytes);
    GPU_WRITES(s, a->rows_done, a->row_count * sizeof *a->rows_done);
    GPU_LAUNCH(s, draw_scan, dim3(chunks, rows), DRAW_THREADS, sizeof(struct draw_scan_shared), *a,
               bytes);
    if (others == 0)
        return;
    if (a->weighs) {
        draw_touch(s, a, bytes);
        GPU_LAUNCH(s, draw_weigh, dim3(chunks, others), DRAW_THREADS,
                   sizeof(struct draw_weigh_shared), *a, bytes);
    }
    draw_touch(s, a, bytes);
    GPU_WRITES(s, a->tops, a->top_rows * GPU_DRAW_TOP * sizeof *a->tops);
    GPU_LAUNCH(s, draw_choose, dim3(others), DRAW_THREADS, shared, *a, bytes);
}
