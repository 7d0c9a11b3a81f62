// What a block of DRAW_THREADS threads does with one row together: finds where a sum is reached,
// sums in the order of ids, the k'th largest, the cut of top-p. Role: of draw.cu's last kernel.
// Only those blocks of GPU_DRAW_BLOCK values are read whose maximum lets them matter. What a sum is
// made of depends on V alone: counts and mantissas are added as integers, all else in fixed order.
// Every function is called by all threads, and gives all of them the same; each begins when all are
// done with what was before, and ends so that its results may be read.
#ifndef TRINE_COMPUTE_CUDA_DRAW_BLOCK_H
#define TRINE_COMPUTE_CUDA_DRAW_BLOCK_H

#include "compute/cuda/kernels/draw_math.cuh"

enum {
    DRAW_THREADS = 256,
    DRAW_LANES = 16, // that read a block of values, four each
    DRAW_TEAMS = DRAW_THREADS / DRAW_LANES,
    DRAW_AT_ONCE = 4, // blocks that a team reads before it looks at the first
};

// Where in an order of values a sum gets beyond a target.
struct draw_found {
    int index;     // none does: the last above 0; -1: there is none
    int crossed;   // one does
    double before; // the sum of those in front of it, and of what was there before them
    double total;  // of all, likewise
};

// A block's shared memory; two arrays lie behind it: sums [blocks] and list [blocks].
struct draw_shared {
    double values[DRAW_THREADS];
    struct draw_found found;
    unsigned long long best; // of a row
    int odd;
    uint32_t listed;
    uint32_t low[DRAW_THREADS], high[DRAW_THREADS];
    struct gpu_draw_top top[GPU_DRAW_TOP];
};

// A row as the block sees it.
struct draw_view {
    const float *x; // [vocab]
    int vocab, blocks;
    const float *maxima; // [blocks]
    float most;
    struct draw_shared *s;
    double *sums;   // [blocks]
    uint16_t *list; // [blocks] those that matter
};

// Tokens of a row from a value on: above it, and of those that have it the ids up to `id`.
struct draw_cut {
    uint32_t key;
    int id;
};
static __device__ __forceinline__ int draw_within(struct draw_cut c, uint32_t key, int id) {
    return key > c.key || (key == c.key && id <= c.id);
}

// ---- where a sum is reached

// The first of shared values [0, DRAW_THREADS), none below 0, at which base and the sum so far is
// above `target`, or, with `reaches`, is not below it. With `of_total` the target is that part of
// the sum of all.
static __device__ struct draw_found draw_find(struct draw_shared *s, double base, double target,
                                              int reaches, int of_total) {
    enum { EACH = DRAW_THREADS / 32 };
    __syncthreads();
    if (threadIdx.x < 32) {
        int lane = (int)threadIdx.x;
        double own = 0;
        for (int i = 0; i < EACH; i++)
            own += s->values[lane * EACH + i];
        double sum = own; // of all lanes up to this one
        for (int step = 1; step < 32; step *= 2) {
            double other = __shfl_up_sync(0xffffffffU, sum, (unsigned)step);
            if (lane >= step)
                sum = other + sum;
        }
        double before = __shfl_up_sync(0xffffffffU, sum, 1);
        before = lane > 0 ? base + before : base;
        double total = base + __shfl_sync(0xffffffffU, sum, 31);
        if (of_total)
            target *= total;
        double upto = base + sum;
        unsigned crossing = __ballot_sync(0xffffffffU, reaches ? upto >= target : upto > target);
        unsigned some = __ballot_sync(0xffffffffU, own > 0);
        int crossed = crossing != 0 && (some >> (__ffs((int)crossing) - 1)) != 0;
        // a lane without any value may cross first where the target is 0 or less
        int chosen = 31 - __clz((int)some);
        if (crossed) {
            unsigned from = some & ~0U << (__ffs((int)crossing) - 1);
            chosen = __ffs((int)from) - 1;
        }
        if (lane == chosen || (some == 0 && lane == 0)) {
            struct draw_found f = {-1, crossed, before, total};
            double at = before, in_front = before;
            for (int i = 0; i < EACH; i++) {
                double v = s->values[lane * EACH + i];
                if (v <= 0)
                    continue;
                f.index = lane * EACH + i;
                in_front = at;
                at += v;
                if (reaches ? at >= target : at > target)
                    break;
            }
            f.before = in_front;
            s->found = f;
        }
    }
    __syncthreads();
    return s->found;
}

// ---- which blocks matter

// Lists those that `matters`, in no order.
template <class Matters> static __device__ void draw_list(const draw_view &v, Matters matters) {
    __syncthreads();
    if (threadIdx.x == 0)
        v.s->listed = 0;
    __syncthreads();
    for (int b = (int)threadIdx.x; b < v.blocks; b += DRAW_THREADS)
        if (matters(v.maxima[b]))
            v.list[atomicAdd(&v.s->listed, 1U)] = (uint16_t)b;
    __syncthreads();
}

// Four values of block b from its value 4 lane on; minus infinity behind the row.
static __device__ __forceinline__ float4 draw_load(const draw_view &v, int b, int lane) {
    int at = b * GPU_DRAW_BLOCK + lane * 4;
    if (at + 4 <= v.vocab)
        return *(const float4 *)(v.x + at);
    float lowest = DRAW_LOWEST;
    return make_float4(at < v.vocab ? v.x[at] : lowest, at + 1 < v.vocab ? v.x[at + 1] : lowest,
                       at + 2 < v.vocab ? v.x[at + 2] : lowest, lowest);
}

// f(logit, id) of all of the listed blocks, in no order.
template <class F> static __device__ void draw_each(const draw_view &v, F f) {
    int team = (int)threadIdx.x / DRAW_LANES, lane = (int)threadIdx.x % DRAW_LANES;
    int listed = (int)v.s->listed;
    for (int from = team; from < listed; from += DRAW_TEAMS * DRAW_AT_ONCE) {
        float4 x[DRAW_AT_ONCE];
        int id[DRAW_AT_ONCE];
#pragma unroll
        for (int i = 0; i < DRAW_AT_ONCE; i++) {
            int n = from + i * DRAW_TEAMS;
            int b = n < listed ? v.list[n] : v.blocks;
            x[i] = draw_load(v, b, lane);
            id[i] = b * GPU_DRAW_BLOCK + lane * 4;
        }
#pragma unroll
        for (int i = 0; i < DRAW_AT_ONCE; i++) {
            f(x[i].x, id[i]);
            f(x[i].y, id[i] + 1);
            f(x[i].z, id[i] + 2);
            f(x[i].w, id[i] + 3);
        }
    }
}

// sums[b] = the sum of f(logit, id) over block b, where it is listed, else 0.
template <class F> static __device__ void draw_sum_blocks(const draw_view &v, F f) {
    int team = (int)threadIdx.x / DRAW_LANES, lane = (int)threadIdx.x % DRAW_LANES;
    int listed = (int)v.s->listed;
    for (int b = (int)threadIdx.x; b < v.blocks; b += DRAW_THREADS)
        v.sums[b] = 0;
    __syncthreads();
    for (int from = 0; from < listed; from += DRAW_TEAMS * DRAW_AT_ONCE) {
        float4 x[DRAW_AT_ONCE];
        int block[DRAW_AT_ONCE];
#pragma unroll
        for (int i = 0; i < DRAW_AT_ONCE; i++) {
            int n = from + i * DRAW_TEAMS + team;
            block[i] = n < listed ? v.list[n] : v.blocks;
            x[i] = draw_load(v, block[i], lane);
        }
#pragma unroll
        for (int i = 0; i < DRAW_AT_ONCE; i++) {
            if (from + i * DRAW_TEAMS >= listed) // for all alike: a warp's halves meet below
                break;
            int id = block[i] * GPU_DRAW_BLOCK + lane * 4;
            double sum = f(x[i].x, id) + f(x[i].y, id + 1) + f(x[i].z, id + 2) + f(x[i].w, id + 3);
            for (int half = DRAW_LANES / 2; half > 0; half /= 2)
                sum += __shfl_xor_sync(0xffffffffU, sum, half);
            if (block[i] < v.blocks && lane == 0)
                v.sums[block[i]] = sum;
        }
    }
    __syncthreads();
}

// ---- in the order of ids

// Of `sums`: each thread's run of blocks as one value.
static __device__ int draw_fold(const draw_view &v) {
    int each = (v.blocks + DRAW_THREADS - 1) / DRAW_THREADS;
    double sum = 0;
    __syncthreads();
    for (int i = 0; i < each; i++) {
        int b = (int)threadIdx.x * each + i;
        if (b < v.blocks)
            sum += v.sums[b];
    }
    v.s->values[threadIdx.x] = sum;
    return each;
}

static __device__ double draw_total(const draw_view &v) {
    (void)draw_fold(v);
    return draw_find(v.s, 0, 0, 0, 0).total;
}

// The id at which the sum of f in the order of ids, which `sums` has by blocks, gets beyond the
// target (draw_find); the last one that f is above 0 for where rounding keeps it below; -1: none.
template <class F>
static __device__ int draw_reached_at(const draw_view &v, double target, int of_total, F f) {
    int each = draw_fold(v);
    struct draw_found run = draw_find(v.s, 0, target, 0, of_total);
    if (run.index < 0)
        return -1;
    if (of_total)
        target *= run.total;
    int b = run.index * each + (int)threadIdx.x;
    v.s->values[threadIdx.x] = (int)threadIdx.x < each && b < v.blocks ? v.sums[b] : 0;
    struct draw_found block = draw_find(v.s, run.before, target, 0, 0);
    int first = (run.index * each + block.index) * GPU_DRAW_BLOCK, id = first + (int)threadIdx.x;
    v.s->values[threadIdx.x] = threadIdx.x < GPU_DRAW_BLOCK && id < v.vocab ? f(v.x[id], id) : 0;
    struct draw_found one = draw_find(v.s, block.before, target, 0, 0);
    return one.index < 0 ? -1 : first + one.index;
}

// ---- the k'th largest

// One digit of a search from the highest down: bins of the count of those keys that begin with
// `prefix`, by the eight bits at `shift`. Returns the digit at which *k are reached, and takes from
// *k those above it; below 0: they are fewer. *exactly: with all of that digit they are k.
template <class Each>
static __device__ int draw_digit(struct draw_shared *s, uint32_t prefix, int shift, double *k,
                                 int *exactly, Each each) {
    __syncthreads();
    s->low[threadIdx.x] = 0;
    __syncthreads();
    each([&](uint32_t key) {
        if (key > DRAW_KEY_LOWEST && (shift == 24 || key >> (shift + 8) == prefix))
            atomicAdd(&s->low[255 - (key >> shift & 255U)], 1U);
    });
    __syncthreads();
    s->values[threadIdx.x] = (double)s->low[threadIdx.x];
    struct draw_found f = draw_find(s, 0, *k, 1, 0);
    if (!f.crossed)
        return -1;
    *k -= f.before;
    *exactly = *k == s->values[f.index];
    return 255 - f.index;
}

// The key that k of those given are not below, itself one of them, or with *exactly the lowest that
// there could be; 0: they are fewer. *k becomes how many of that very key are wanted.
template <class Each>
static __device__ uint32_t draw_nth(struct draw_shared *s, double *k, int *exactly, Each each) {
    uint32_t prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int digit = draw_digit(s, prefix, shift, k, exactly, each);
        if (digit < 0) {
            *exactly = 1;
            return 0;
        }
        prefix = prefix << 8 | (uint32_t)digit;
        if (*exactly)
            return prefix << shift;
    }
    return prefix;
}

// The k largest of the row, those above minus infinity; the blocks that have one are listed.
// Source followed: gather_top of the CPU's: the k'th largest of the blocks' maxima is no more than
// the k'th largest value.
static __device__ struct draw_cut draw_top(const draw_view &v, int k) {
    uint32_t least = DRAW_KEY_LOWEST + 1;
    int exactly = 1;
    double wanted = k;
    if (k < v.blocks) {
        uint32_t key = draw_nth(v.s, &wanted, &exactly, [&](auto take) {
            for (int b = (int)threadIdx.x; b < v.blocks; b += DRAW_THREADS)
                take(draw_key(v.maxima[b]));
        });
        least = key > least ? key : least;
    }
    draw_list(v, [=](float most) { return draw_key(most) >= least; });
    wanted = k;
    struct draw_cut cut = {0, 0x7fffffff};
    cut.key = draw_nth(v.s, &wanted, &exactly, [&](auto take) {
        draw_each(v, [&](float x, int) {
            uint32_t key = draw_key(x);
            if (key >= least)
                take(key);
        });
    });
    cut.key = max(cut.key, least); // those below were not counted
    uint32_t last = cut.key;
    draw_list(v, [=](float most) { return draw_key(most) >= last; });
    if (exactly)
        return cut;
    auto ties = [=](float x, int) { return draw_key(x) == last ? 1.0 : 0.0; };
    draw_sum_blocks(v, ties);
    cut.id = draw_reached_at(v, wanted - 0.5, 0, ties);
    return cut;
}

// ---- the cut of top-p

// As draw_digit, for the mass of weights: of those that begin with `prefix`, behind `shift` + bits.
template <class Weight>
static __device__ struct draw_found draw_mass_digit(const draw_view &v, uint32_t prefix, int shift,
                                                    int bits, double mass, Weight weight) {
    struct draw_shared *s = v.s;
    uint32_t most = (1U << bits) - 1;
    __syncthreads();
    s->low[threadIdx.x] = s->high[threadIdx.x] = 0;
    __syncthreads();
    draw_each(v, [&](float x, int id) {
        float w = weight(x, id);
        uint32_t key = __float_as_uint(w);
        if (w <= 0 || (shift + bits < 31 && key >> (shift + bits) != prefix))
            return;
        uint32_t bin = most - (key >> shift & most), mantissa = draw_mantissa(w);
        atomicAdd(&s->low[bin], mantissa & 0xfffU);
        atomicAdd(&s->high[bin], mantissa >> 12);
    });
    __syncthreads();
    // without a prefix yet the digit is the exponent
    int exponent = shift == 23 ? (int)(most - threadIdx.x) : (int)(prefix >> (23 - shift - bits));
    uint32_t low = s->low[threadIdx.x], high = s->high[threadIdx.x];
    s->values[threadIdx.x] = low || high ? draw_mass(low, high, exponent) : 0;
    return draw_find(s, 0, mass, 1, 0);
}

// Lists the blocks in which a weight of at least these bits may be.
static __device__ void draw_list_weights(const draw_view &v, float by, uint32_t least) {
    float most = v.most;
    draw_list(v, [=](float x) {
        return __float_as_uint(draw_weight(x, most, by)) + DRAW_WEIGHT_SLACK >= least;
    });
}

// Of the weights (bits, in order) those that are needed to reach `mass`, the largest first; all,
// where they do not. `levels`: of the whole row [2][128] sums by exponent, or NULL: of those listed
// they are made here, and the list stays.
template <class Weight>
static __device__ struct draw_cut draw_reach(const draw_view &v, float by, double mass,
                                             const uint32_t *levels, Weight weight) {
    enum { BITS = 8, EXPONENTS = 128 };
    struct draw_shared *s = v.s;
    struct draw_cut cut = {0, 0x7fffffff};
    struct draw_found f;
    if (levels) {
        __syncthreads();
        int e = EXPONENTS - 1 - (int)threadIdx.x;
        double sum = 0;
        if (e >= 0)
            sum = draw_mass(levels[e], levels[EXPONENTS + e], e);
        s->values[threadIdx.x] = sum;
        f = draw_find(s, 0, mass, 1, 0);
    } else {
        f = draw_mass_digit(v, 0, 23, 7, mass, weight);
    }
    if (!f.crossed)
        return cut;
    uint32_t exponent = EXPONENTS - 1 - (uint32_t)f.index, prefix = exponent;
    if (levels)
        draw_list_weights(v, by, exponent << 23);
    for (int shift = 23; shift > 0;) {
        int bits = shift >= BITS ? BITS : shift;
        shift -= bits;
        mass -= f.before;
        f = draw_mass_digit(v, prefix, shift, bits, mass, weight);
        if (f.index < 0)
            return cut;
        prefix = prefix << bits | ((1U << bits) - 1 - (uint32_t)f.index);
    }
    mass -= f.before;
    // how many of that very weight
    double w = (double)__uint_as_float(prefix);
    double there = s->values[f.index] / w, wanted = ceil(mass / w);
    wanted = wanted < 1 ? 1 : wanted > there ? there : wanted;
    while (wanted > 1 && (wanted - 1) * w >= mass)
        wanted--;
    while (wanted < there && wanted * w < mass)
        wanted++;
    cut.key = prefix;
    __syncthreads();
    if (wanted == there)
        return cut;
    auto ties = [=](float x, int id) {
        return __float_as_uint(weight(x, id)) == prefix ? 1.0 : 0.0;
    };
    draw_sum_blocks(v, ties);
    cut.id = draw_reached_at(v, wanted - 0.5, 0, ties);
    return cut;
}

#endif
