// Rope's frequencies and angles against transformers, at the settings of real models
// (tests/golden/data/decoders/rope.json, made by tools/make_decoder_goldens.py).
#include "base/json.h"
#include "compute/cpu/cpu.h"
#include "decoder/rope.h"
#include "tests/check.h"

#include <stdlib.h>

enum { MAX_HALF = 64, MAX_POSITIONS = 8 };

static double number(const cJSON *o, const char *key) {
    const cJSON *n = json_get(o, key);
    return n ? n->valuedouble : 0;
}

static struct decoder_rope config_of(const cJSON *p) {
    const cJSON *truncate = json_get(p, "truncate");
    const char *type = json_get(p, "rope_type")->valuestring;
    struct decoder_rope c = {
        .theta = number(p, "rope_theta"),
        .factor = number(p, "factor"),
        .low_freq_factor = number(p, "low_freq_factor"),
        .high_freq_factor = number(p, "high_freq_factor"),
        .beta_fast = number(p, "beta_fast"),
        .beta_slow = number(p, "beta_slow"),
        .attention_factor = number(p, "attention_factor"),
        .mscale = number(p, "mscale"),
        .mscale_all_dim = number(p, "mscale_all_dim"),
        .truncate = !cJSON_IsFalse(truncate),
        .original_max_positions = (size_t)number(p, "original_max_position_embeddings"),
    };
    static const struct {
        const char *name;
        enum decoder_rope_scaling scaling;
    } types[] = {{"default", DECODER_ROPE_NONE},
                 {"linear", DECODER_ROPE_LINEAR},
                 {"llama3", DECODER_ROPE_LLAMA3},
                 {"yarn", DECODER_ROPE_YARN}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].name) == 0)
            c.scaling = types[i].scaling;
    // as config.json's absent keys are read
    c.beta_fast = c.beta_fast != 0 ? c.beta_fast : 32;
    c.beta_slow = c.beta_slow != 0 ? c.beta_slow : 1;
    return c;
}

static size_t floats(const cJSON *array, float *out, size_t max) {
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, array) {
        if (n < max)
            out[n] = (float)item->valuedouble;
        n++;
    }
    return CHECK(n <= max) ? n : 0;
}

static void check_angles(struct device *d, const cJSON *g, size_t half, const float *inv_freq,
                         float scale) {
    float want[2][MAX_POSITIONS * MAX_HALF], got[2][MAX_POSITIONS * MAX_HALF], at[MAX_POSITIONS];
    int32_t positions[MAX_POSITIONS];
    size_t n = floats(json_get(g, "positions"), at, MAX_POSITIONS);
    CHECK_INT(floats(json_get(g, "cos"), want[0], sizeof want[0] / sizeof(float)), n * half);
    CHECK_INT(floats(json_get(g, "sin"), want[1], sizeof want[1] / sizeof(float)), n * half);
    for (size_t i = 0; i < n; i++)
        positions[i] = (int32_t)at[i];
    struct mat cos = {got[0], n, half, half, DTYPE_F32}, sin = {got[1], n, half, half, DTYPE_F32};
    d->ops->rope_table(d, &(struct rope_table_args){inv_freq, scale, positions, cos, sin});
    struct errmsg msg;
    CHECK_OK(device_sync(d, &msg), msg);
    // given its frequencies, the angles are the reference's own; cosf of both libraries is within
    // one unit in the last place of values up to the scale
    CHECK_NEAR(got[0], want[0], n * half, 2.5e-7 * (double)scale, 0);
    CHECK_NEAR(got[1], want[1], n * half, 2.5e-7 * (double)scale, 0);
}

static void check_one_setting(struct device *d, const cJSON *g) {
    size_t hd = (size_t)number(g, "head_dim"), half = hd / 2;
    struct decoder_rope c = config_of(json_get(g, "parameters"));
    float want[MAX_HALF], got[MAX_HALF], scale;
    if (!CHECK(half <= MAX_HALF && floats(json_get(g, "inv_freq"), want, MAX_HALF) == half))
        return;
    rope_frequencies(&c, hd, NULL, got, &scale);
    // torch's float32 power is within a unit in the last place, as are the few steps that follow;
    // where smoothing subtracts (llama3, yarn) a little more
    bool near = CHECK_NEAR(got, want, half, 0, 4e-7);
    near &= CHECK_NEAR(&scale, &(float){(float)number(g, "scale")}, 1, 0, 1e-7);
    if (!near)
        fprintf(stderr, "    %s\n", json_get(g, "name")->valuestring);
    check_angles(d, g, half, want, scale);
}

static void test_factors(void) {
    struct decoder_rope c = {.theta = 1e4, .scaling = DECODER_ROPE_NONE};
    float plain[4], divided[4], scale, factors[4] = {1, 2, 8, 0.5F};
    rope_frequencies(&c, 8, NULL, plain, &scale);
    rope_frequencies(&c, 8, factors, divided, &scale);
    for (size_t i = 0; i < 4; i++)
        CHECK(divided[i] == plain[i] / factors[i]);
    CHECK(plain[0] == 1 && scale == 1);
}

// Many rows over many threads: the same as one by one.
static void test_threads(void) {
    enum { ROWS = 301, HALF = 5, LD = 7 };
    static float a[2][ROWS * LD], b[2][ROWS * LD];
    int32_t positions[ROWS];
    float inv_freq[HALF] = {1, 0.5F, 0.1F, 0.01F, 0.001F};
    for (int32_t i = 0; i < ROWS; i++)
        positions[i] = i * 437 % 1000;
    for (int threads = 1; threads <= 3; threads++) {
        struct errmsg msg = {0};
        struct device *d = NULL;
        CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = threads}, &d, &msg), msg);
        if (!d)
            return;
        memset(a, 0, sizeof a);
        d->ops->rope_table(d, &(struct rope_table_args){inv_freq,
                                                        1.5F,
                                                        positions,
                                                        {a[0], ROWS, HALF, LD, DTYPE_F32},
                                                        {a[1], ROWS, HALF, LD, DTYPE_F32}});
        memset(b, 0, sizeof b);
        for (size_t i = 0; i < ROWS; i++)
            d->ops->rope_table(d,
                               &(struct rope_table_args){inv_freq,
                                                         1.5F,
                                                         positions + i,
                                                         {b[0] + i * LD, 1, HALF, LD, DTYPE_F32},
                                                         {b[1] + i * LD, 1, HALF, LD, DTYPE_F32}});
        CHECK(memcmp(a, b, sizeof a) == 0);
        struct mat wide = {a[0], ROWS, HALF, LD, DTYPE_F32},
                   narrow = {a[1], ROWS, HALF - 1, LD, DTYPE_F32};
        d->ops->rope_table(
            d, &(struct rope_table_args){inv_freq, 1, positions, .cos = wide, .sin = narrow});
        CHECK(device_sync(d, &msg) == ERR_INTERNAL);
        CHECK(a[0][LD * 300 + HALF] == 0 && a[0][0] == 1.5F);
        cpu_device_free(d);
    }
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    struct device *d = NULL;
    cJSON *all = NULL;
    CHECK_OK(json_parse_file("tests/golden/data/decoders/rope.json", 1 << 20, &all, &msg), msg);
    CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = 1}, &d, &msg), msg);
    const cJSON *one;
    size_t settings = 0;
    if (d && all) {
        cJSON_ArrayForEach(one, all) {
            check_one_setting(d, one);
            settings++;
        }
    }
    CHECK(settings >= 11);
    cJSON_Delete(all);
    cpu_device_free(d);
    test_factors();
    test_threads();
    return check_done();
}
