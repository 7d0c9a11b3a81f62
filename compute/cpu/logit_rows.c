// See logit_rows.h.
#include "compute/cpu/logit_rows.h"

#include <math.h>
#include <string.h>

// Written out as vectors of four: gcc 12 leaves the same as loops to scalars.
typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_bits __attribute__((vector_size(16)));
enum { QUAD = 4, CHAINS = 4 };

static inline quad quad_load(const float *p) {
    quad v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline quad quad_larger(quad a, quad b) {
    quad_bits yes = a > b;
    return (quad)(((quad_bits)a & yes) | ((quad_bits)b & ~yes));
}

// A whole block's largest; *odd becomes NaN when one of it is not finite.
static float block_max(const float *x, float *odd) {
    quad high[CHAINS], sum = {0};
    for (int c = 0; c < CHAINS; c++) {
        high[c] = quad_load(x + c * QUAD);
        sum += high[c] * 0.0F; // NaN unless all are finite
    }
    for (int i = CHAINS * QUAD; i < LOGIT_BLOCK; i += CHAINS * QUAD)
        for (int c = 0; c < CHAINS; c++) {
            quad v = quad_load(x + i + c * QUAD);
            high[c] = quad_larger(v, high[c]);
            sum += v * 0.0F;
        }
    quad all = quad_larger(quad_larger(high[0], high[1]), quad_larger(high[2], high[3]));
    float most = all[0];
    for (int i = 0; i < QUAD; i++) {
        most = all[i] > most ? all[i] : most;
        *odd += sum[i];
    }
    return most;
}

float logit_max(const float *x, size_t n, float *blocks, bool *finite) {
    float most = -INFINITY, odd = 0;
    for (size_t from = 0; from < n; from += LOGIT_BLOCK) {
        float high = -INFINITY;
        if (n - from >= LOGIT_BLOCK) {
            high = block_max(x + from, &odd);
        } else {
            for (size_t i = from; i < n; i++) {
                high = x[i] > high ? x[i] : high;
                odd += x[i] * 0.0F;
            }
        }
        if (blocks)
            blocks[from / LOGIT_BLOCK] = high;
        most = high > most ? high : most;
    }
    *finite = odd == 0.0F;
    return most;
}

size_t logit_find(const float *x, size_t n, float value, const float *blocks) {
    size_t block = 0;
    while (block + 1 < logit_blocks(n) && blocks[block] != value)
        block++;
    size_t i = block * LOGIT_BLOCK;
    while (i + 1 < n && x[i] != value)
        i++;
    return i;
}

// As compute/cpu/lanes_math.h's exp: 2^n e^r, |r| <= ln 2 / 2; 1.5 ulp.
static inline float exp_lane(float x) {
    const float magic = 12582912.0F; // 1.5 2^23: the sum's low bits are the nearest integer
    float in = x > -87.0F ? x : -87.0F;
    float shifted = in * 1.44269504088896341F + magic, n = shifted - magic;
    float r = in - n * 0.693359375F;
    r = r + n * 2.12194440e-4F;
    float p = 0.00139411085F;
    p = p * r + 0.00837512594F;
    p = p * r + 0.0416663513F;
    p = p * r + 0.166664153F;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000 + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x > -87.0F ? p * scale : 0.0F;
}

double logit_exp(const float *x, size_t n, float most, float by, float *w, double *sums) {
    double total = 0;
    float spare[LOGIT_BLOCK];
    for (size_t from = 0; from < n; from += LOGIT_BLOCK) {
        size_t size = n - from < LOGIT_BLOCK ? n - from : LOGIT_BLOCK, i = 0;
        float *to = spare, sum[LOGIT_LANES] = {0};
        if (w)
            to = w + from;
        for (; i + LOGIT_LANES <= size; i += LOGIT_LANES)
            for (size_t j = 0; j < LOGIT_LANES; j++) {
                to[i + j] = exp_lane((x[from + i + j] - most) * by);
                sum[j] += to[i + j];
            }
        for (; i < size; i++) {
            to[i] = exp_lane((x[from + i] - most) * by);
            sum[0] += to[i];
        }
        for (size_t half = LOGIT_LANES / 2; half > 0; half /= 2)
            for (size_t j = 0; j < half; j++)
                sum[j] += sum[j + half];
        if (sums)
            sums[from / LOGIT_BLOCK] = (double)sum[0];
        total += (double)sum[0];
    }
    return total;
}

double logit_mass(const float *w, size_t n, float least) {
    double total = 0;
    for (size_t from = 0; from < n; from += LOGIT_BLOCK) {
        size_t size = n - from < LOGIT_BLOCK ? n - from : LOGIT_BLOCK, i = 0;
        float sum[LOGIT_LANES] = {0};
        for (; i + LOGIT_LANES <= size; i += LOGIT_LANES)
            for (size_t j = 0; j < LOGIT_LANES; j++)
                sum[j] += w[from + i + j] >= least ? w[from + i + j] : 0.0F;
        for (; i < size; i++)
            sum[0] += w[from + i] >= least ? w[from + i] : 0.0F;
        for (size_t half = LOGIT_LANES / 2; half > 0; half /= 2)
            for (size_t j = 0; j < half; j++)
                sum[j] += sum[j + half];
        total += (double)sum[0];
    }
    return total;
}
