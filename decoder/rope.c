// See rope.h.
#include "decoder/rope.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

// As _compute_llama3_parameters: long waves are stretched by the factor, short ones stay, those
// between pass over smoothly.
static float llama3(const struct decoder_rope *c, float f) {
    float old = (float)c->original_max_positions, low = (float)c->low_freq_factor;
    float high = (float)c->high_freq_factor, factor = (float)c->factor;
    float wave = (float)(2 * PI) / f;
    if (wave > (float)((double)c->original_max_positions / c->low_freq_factor))
        return f / factor;
    if (wave < (float)((double)c->original_max_positions / c->high_freq_factor))
        return f;
    float smooth = (old / wave - low) / (float)((double)high - (double)low);
    return (1 - smooth) * f / factor + smooth * f;
}

// The dimension that turns so many times within the original context.
static double turning_dim(const struct decoder_rope *c, double turns, size_t head_dim) {
    return (double)head_dim * log((double)c->original_max_positions / (turns * 2 * PI)) /
           (2 * log(c->theta));
}

struct yarn_range {
    double low, high;
};

static struct yarn_range yarn_range(const struct decoder_rope *c, size_t head_dim) {
    struct yarn_range r = {turning_dim(c, c->beta_fast, head_dim),
                           turning_dim(c, c->beta_slow, head_dim)};
    if (c->truncate) {
        r.low = floor(r.low);
        r.high = ceil(r.high);
    }
    r.low = fmax(r.low, 0);
    r.high = fmin(r.high, (double)head_dim - 1);
    if (r.low == r.high)
        r.high += 0.001;
    return r;
}

// As _compute_yarn_parameters: fast dimensions stay, slow ones are stretched, a ramp between.
static float yarn(const struct decoder_rope *c, struct yarn_range r, float wave, size_t i) {
    float ramp = ((float)i - (float)r.low) / (float)(r.high - r.low);
    ramp = fminf(fmaxf(ramp, 0), 1);
    float stays = 1 - ramp;
    return 1 / ((float)c->factor * wave) * (1 - stays) + 1 / wave * stays;
}

static double yarn_mscale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static float yarn_scale(const struct decoder_rope *c) {
    if (c->attention_factor != 0)
        return (float)c->attention_factor;
    if (c->mscale != 0 && c->mscale_all_dim != 0)
        return (float)(yarn_mscale(c->factor, c->mscale) /
                       yarn_mscale(c->factor, c->mscale_all_dim));
    return (float)yarn_mscale(c->factor, 1);
}

void rope_frequencies(const struct decoder_rope *c, size_t head_dim, const float *factors,
                      float *inv_freq, float *scale) {
    struct yarn_range range = {0};
    if (c->scaling == DECODER_ROPE_YARN)
        range = yarn_range(c, head_dim);
    *scale = c->scaling == DECODER_ROPE_YARN ? yarn_scale(c) : 1;
    for (size_t i = 0; i < head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)head_dim;
        float wave = (float)pow((double)(float)c->theta, (double)exponent);
        switch (c->scaling) {
        case DECODER_ROPE_NONE:
            inv_freq[i] = 1 / wave;
            break;
        case DECODER_ROPE_LINEAR:
            inv_freq[i] = 1 / wave / (float)c->factor;
            break;
        case DECODER_ROPE_LLAMA3:
            inv_freq[i] = llama3(c, 1 / wave);
            break;
        case DECODER_ROPE_YARN:
            inv_freq[i] = yarn(c, range, wave, i);
            break;
        }
        if (factors)
            inv_freq[i] /= factors[i];
    }
}
