// Products with weights that stay as they are stored: one token of a whole model's weights, as a
// share of the memory bandwidth probed in the same run, and 512 tokens, as a share of the probed
// peak of int8 (block types), bf16 (its pairs) or f32 products. Random weights.
// Usage: linear_narrow [threads [type [f32]]]     f32: with f32 activations

#include "base/clock.h"
#include "compute/cpu/peak.h"
#include "tests/precisions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKSPACE = 160 << 20, MOST_LAYERS = 30, ROUNDS = 5 };

static struct errmsg msg;

static void die(const char *what) {
    fprintf(stderr, "linear_narrow: %s: %s\n", what, msg.text);
    exit(1);
}

// A decoder's products: qkv, o, gate and up, down, of each layer, and the head.
struct model {
    const char *name;
    size_t D, qkv, F, V, L;
    struct weight *layer[MOST_LAYERS][4], *head;
    size_t bytes, layer_weights;
};

static struct weight *weight_of(struct device *d, enum dtype t, struct precision p, size_t out,
                                size_t in) {
    size_t n = out * in / dtype_block(t), size = dtype_block_bytes(t);
    unsigned char *stored = malloc(n * size);
    if (!stored)
        die("memory");
    uint64_t seed = 88172645463325252U;
    for (size_t i = 0; i + 8 <= n * size; i += 8) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        memcpy(stored + i, &seed, 8);
    }
    for (size_t i = 0; i < n * size; i += 2)
        stored[i + 1] &= 0xb7U; // every half of it is finite
    struct weight_part part = {.w = {"w", stored, t, 2, {out, in}, NULL, 0}};
    struct weight *w;
    if (d->ops->weight_prepare(d, WEIGHT_LINEAR, &part, 1, p, &w, &msg) != ERR_OK)
        die("weight");
    free(stored);
    return w;
}

static void model_build(struct device *d, struct model *m, enum dtype t, struct precision p) {
    size_t shapes[4][2] = {{m->qkv, m->D}, {m->D, m->D}, {2 * m->F, m->D}, {m->D, m->F}};
    m->bytes = m->layer_weights = 0;
    for (size_t l = 0; l < m->L; l++)
        for (size_t i = 0; i < 4; i++) {
            m->layer[l][i] = weight_of(d, t, p, shapes[i][0], shapes[i][1]);
            m->bytes += d->ops->weight_bytes(m->layer[l][i]);
            m->layer_weights += shapes[i][0] * shapes[i][1];
        }
    m->head = weight_of(d, t, p, m->V, m->D);
    m->bytes += d->ops->weight_bytes(m->head);
}

static void model_free(struct device *d, struct model *m) {
    for (size_t l = 0; l < m->L; l++)
        for (size_t i = 0; i < 4; i++)
            d->ops->weight_free(d, m->layer[l][i]);
    d->ops->weight_free(d, m->head);
}

static struct mat mat_of(struct device *d, struct arena *ws, size_t rows, size_t cols) {
    struct mat m = device_mat(d, ws, rows, cols);
    if (device_sync(d, &msg) != ERR_OK)
        die("workspace");
    for (size_t i = 0; i < rows * m.ld; i++)
        m.data[i] = (float)rand() / (float)RAND_MAX - 0.5F;
    return m;
}

// Microseconds of one pass over the model: best of ROUNDS; us[0 .. 3] by product, [4] the head.
static double pass_us(struct device *d, struct arena *ws, const struct model *m, size_t rows,
                      bool head, double us[5]) {
    arena_reset(ws);
    struct mat x = mat_of(d, ws, rows, m->D), qkv = mat_of(d, ws, rows, m->qkv);
    struct mat g = mat_of(d, ws, rows, 2 * m->F), f = mat_of(d, ws, rows, m->F);
    struct mat y = mat_of(d, ws, rows, m->D), v = mat_of(d, ws, head ? rows : 1, m->V);
    struct mat in[4] = {x, x, x, f}, out[4] = {qkv, y, g, y};
    double best = 1e30;
    for (int r = 0; r <= ROUNDS; r++) {
        double part[5] = {0}, all = 0;
        for (size_t l = 0; l < m->L; l++)
            for (size_t i = 0; i < 4; i++) {
                int64_t start = clock_now_us();
                d->ops->linear(d, m->layer[l][i], in[i], out[i]);
                part[i] += (double)(clock_now_us() - start);
            }
        int64_t start = clock_now_us();
        if (head)
            d->ops->linear(d, m->head, x, v);
        part[4] = (double)(clock_now_us() - start);
        for (size_t i = 0; i < 5; i++)
            all += part[i];
        if (r > 0 && all < best) {
            best = all;
            memcpy(us, part, sizeof part);
        }
    }
    return best;
}

static void run(struct device *d, struct arena *ws, struct model *m, enum dtype t,
                struct precision p) {
    static const size_t shape_rows[] = {1, 4, 16, 512};
    int64_t start = clock_now_us();
    model_build(d, m, t, p);
    double built = (double)(clock_now_us() - start) / 1e6;
    struct peak peak;
    if (peak_probe(d, &peak, &msg) != ERR_OK)
        die("peak");
    bool int8 = p.rounding == ACTIVATION_ROUNDING_NARROW && dtype_is_block(t);
    double pairs =
        p.rounding == ACTIVATION_ROUNDING_NARROW && t == DTYPE_BF16 ? peak_probe_pairs(d) : 0;
    double top = int8 ? peak_probe_int8(d) : pairs > 0 ? pairs : peak.flops;
    printf("%s %s: %.1f MB, made in %.2f s; probed %.1f GB/s, %.0f %s\n", m->name, dtype_name(t),
           (double)m->bytes / 1e6, built, peak.read_bytes / 1e9, top / 1e9,
           int8        ? "GOP/s int8"
           : pairs > 0 ? "GF/s bf16"
                       : "GF/s f32");
    for (size_t i = 0; i < sizeof shape_rows / sizeof *shape_rows; i++) {
        size_t rows = shape_rows[i];
        double us[5] = {0}, all = pass_us(d, ws, m, rows, rows < 512, us);
        double ops = 2 * (double)rows *
                     ((double)m->layer_weights + (rows < 512 ? (double)(m->V * m->D) : 0));
        printf("  %3zu rows %9.0f us %7.1f tok/s", rows, all, 1e6 * (double)rows / all);
        if (rows < 512)
            printf(" %6.1f GB/s %5.1f%%", (double)m->bytes / all / 1e3,
                   100 * (double)m->bytes / all * 1e6 / peak.read_bytes);
        printf(" %7.0f GOP/s %5.1f%% | qkv %.0f o %.0f up %.0f down %.0f head %.0f us\n",
               ops / all / 1e3, 100 * ops / all * 1e6 / top, us[0], us[1], us[2], us[3], us[4]);
    }
    model_free(d, m);
}

int main(int argc, char **argv) {
    static struct model models[] = {{"Qwen2.5-0.5B", 896, 1152, 4864, 151936, 24, {{0}}, 0, 0, 0},
                                    {"SmolLM2-135M", 576, 960, 1536, 49152, 30, {{0}}, 0, 0, 0}};
    static const enum dtype types[] = {DTYPE_BF16, DTYPE_F16,  DTYPE_Q8_0,   DTYPE_Q4_0, DTYPE_Q4_1,
                                       DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_IQ4_NL, DTYPE_Q2_K, DTYPE_Q3_K,
                                       DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
    struct cpu_options options = {.threads = argc > 1 ? atoi(argv[1]) : 0};
    struct device *d;
    struct arena ws;
    if (cpu_device_new(&options, &d, &msg) != ERR_OK ||
        d->ops->workspace_new(d, WORKSPACE, &ws) != ERR_OK)
        die("device");
    struct precision p = argc > 3 ? PRECISION_STORED : PRECISION_NARROW;
    printf("%s\n", d->describe);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t m = 0; m < 2; m++) {
            bool fits = models[m].D % dtype_block(types[i]) == 0 &&
                        models[m].F % dtype_block(types[i]) == 0;
            if (argc > 2 ? strcmp(argv[2], dtype_name(types[i])) == 0 : true) {
                struct model padded = models[m];
                if (!fits) { // K types want rows of whole blocks of 256
                    padded.D = (padded.D + 255) / 256 * 256;
                    padded.F = (padded.F + 255) / 256 * 256;
                }
                run(d, &ws, &padded, types[i], p);
            }
        }
    d->ops->workspace_free(d, &ws);
    d->ops->free(d);
    return 0;
}
