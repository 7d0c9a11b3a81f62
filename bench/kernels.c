// What the CPU kernels give, as a share of the peak probed in the same run, with OpenBLAS beside
// them; then whole encoder layers through the device's operations, and where their time goes.
// Usage: kernels [threads]      (OPENBLAS_CORETYPE is unset: it halves OpenBLAS on some machines)

#include "base/clock.h"
#include "compute/cpu/peak.h"
#include "tests/precisions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKSPACE = 64 << 20, ROUNDS = 7 };

struct bench {
    struct device *d;
    struct arena ws;
    double peak; // flops, newest probe
};

static struct errmsg msg;

static void die(const char *what) {
    fprintf(stderr, "kernels: %s: %s\n", what, msg.text);
    exit(1);
}

static struct bench bench_new(int threads, enum cpu_gemm gemm) {
    struct cpu_options options = {.threads = threads, .gemm = gemm};
    struct bench b = {0};
    if (cpu_device_new(&options, &b.d, &msg) != ERR_OK ||
        b.d->ops->workspace_new(b.d, WORKSPACE, &b.ws) != ERR_OK)
        die("device");
    return b;
}

static void bench_free(struct bench *b) {
    b->d->ops->workspace_free(b->d, &b->ws);
    b->d->ops->free(b->d);
}

static float *filled(size_t n, float scale) {
    float *p = malloc(n * sizeof *p);
    if (!p)
        die("memory");
    for (size_t i = 0; i < n; i++)
        p[i] = scale * ((float)rand() / (float)RAND_MAX - 0.5F);
    return p;
}

static struct weight *weight_of(struct device *d, enum weight_kind kind, size_t rows, size_t cols) {
    float *data = filled(rows * cols, 0.1F), *bias = filled(rows, 1);
    struct weight_part part = {.w = {"w", data, DTYPE_F32, 2, {rows, cols}, NULL, 0}};
    if (kind == WEIGHT_VECTOR)
        part.w.rank = 1, part.w.shape[0] = cols;
    if (kind == WEIGHT_LINEAR)
        part.bias = (struct tensor){"b", bias, DTYPE_F32, 1, {rows}, NULL, 0};
    struct weight *w;
    if (d->ops->weight_prepare(d, kind, &part, 1, PRECISION_F32, &w, &msg) != ERR_OK)
        die("weight");
    free(data);
    free(bias);
    return w;
}

static struct mat mat_of(struct bench *b, size_t rows, size_t cols) {
    struct mat m = device_mat(b->d, &b->ws, rows, cols);
    if (device_sync(b->d, &msg) != ERR_OK)
        die("workspace");
    for (size_t i = 0; i < rows * m.ld; i++)
        m.data[i] = (float)rand() / (float)RAND_MAX - 0.5F;
    return m;
}

// Best time of ROUNDS, each of as many calls as take some 20 ms; microseconds a call.
typedef void call_fn(struct bench *b, void *arg);
static double best_us(struct bench *b, call_fn *call, void *arg) {
    int64_t start = clock_now_us();
    call(b, arg);
    int64_t once = clock_now_us() - start;
    int calls = (int)(20000 / (once > 0 ? once : 1)) + 1;
    double best = 1e30;
    for (int r = 0; r < ROUNDS; r++) {
        start = clock_now_us();
        for (int i = 0; i < calls; i++)
            call(b, arg);
        double us = (double)(clock_now_us() - start) / calls;
        best = us < best ? us : best;
    }
    return best;
}

enum linear_kind { LINEAR, LINEAR_GELU, LINEAR_ADD_NORM, LINEAR_KINDS };

struct linear_case {
    struct weight *w;
    struct mat x, y;
    struct norm norm;
    enum linear_kind kind;
};

static void linear_call(struct bench *b, void *arg) {
    struct linear_case *c = arg;
    if (c->kind == LINEAR)
        b->d->ops->linear(b->d, c->w, c->x, c->y);
    else if (c->kind == LINEAR_GELU)
        device_linear_activate(b->d, c->w, c->x, ACTIVATION_GELU, c->y);
    else
        device_linear_add_norm(b->d, c->w, c->x, c->y, &c->norm, c->y);
}

static double linear_rate(struct bench *b, size_t rows, size_t in, size_t out,
                          enum linear_kind kind) {
    arena_reset(&b->ws);
    struct linear_case c = {.w = weight_of(b->d, WEIGHT_LINEAR, out, in), .kind = kind};
    c.x = mat_of(b, rows, in);
    c.y = mat_of(b, rows, out);
    c.norm.gamma = weight_of(b->d, WEIGHT_VECTOR, 1, out);
    c.norm.beta = weight_of(b->d, WEIGHT_VECTOR, 1, out);
    c.norm.eps = 1e-5F;
    double us = best_us(b, linear_call, &c);
    b->d->ops->weight_free(b->d, c.w);
    b->d->ops->weight_free(b->d, (struct weight *)c.norm.gamma);
    b->d->ops->weight_free(b->d, (struct weight *)c.norm.beta);
    return 2.0 * (double)rows * (double)in * (double)out / us * 1e6;
}

static void linears(struct bench *own, struct bench *blas) {
    static const size_t shapes[][2] = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}};
    static const size_t rows[] = {1, 8, 25, 128, 512};
    static const char *const kinds[LINEAR_KINDS] = {"linear", "+gelu", "+res+norm"};
    printf("%5s %5s %5s %-10s %8s %7s | %8s %7s\n", "rows", "in", "out", "", "GF/s", "of peak",
           "openblas", "of peak");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (enum linear_kind kind = LINEAR; kind < LINEAR_KINDS; kind++) {
                if ((kind == LINEAR_GELU && s != 2) ||
                    (kind == LINEAR_ADD_NORM && (s == 0 || s == 2)))
                    continue;
                double peak = peak_probe_flops(own->d);
                double a = linear_rate(own, rows[r], shapes[s][0], shapes[s][1], kind);
                double o = linear_rate(blas, rows[r], shapes[s][0], shapes[s][1], kind);
                printf("%5zu %5zu %5zu %-10s %8.1f %6.1f%% | %8.1f %6.1f%%\n", rows[r],
                       shapes[s][0], shapes[s][1], kinds[kind], a / 1e9, 100 * a / peak, o / 1e9,
                       100 * o / peak);
            }
}

// An encoder of random weights: dimensions, L layers.
struct encoder {
    size_t D, H, F, L;
    struct layer {
        struct weight *qkv, *o, *ffn1, *ffn2;
        struct norm n1, n2;
    } layer[24];
    struct mat x, qkv, a, f;
    int32_t cu[513];
    size_t tokens, seqs;
    int64_t us[6]; // qkv, attention, o + norm, ffn1 + gelu, ffn2 + norm
};

static struct norm norm_of(struct device *d, size_t D) {
    return (struct norm){weight_of(d, WEIGHT_VECTOR, 1, D), weight_of(d, WEIGHT_VECTOR, 1, D),
                         1e-12F};
}

static void encoder_build(struct bench *b, struct encoder *e) {
    for (size_t l = 0; l < e->L; l++)
        e->layer[l] = (struct layer){weight_of(b->d, WEIGHT_LINEAR, 3 * e->D, e->D),
                                     weight_of(b->d, WEIGHT_LINEAR, e->D, e->D),
                                     weight_of(b->d, WEIGHT_LINEAR, e->F, e->D),
                                     weight_of(b->d, WEIGHT_LINEAR, e->D, e->F),
                                     norm_of(b->d, e->D),
                                     norm_of(b->d, e->D)};
}

static void encoder_free(struct bench *b, struct encoder *e) {
    for (size_t l = 0; l < e->L; l++) {
        struct layer *y = &e->layer[l];
        struct weight *all[] = {y->qkv,
                                y->o,
                                y->ffn1,
                                y->ffn2,
                                (struct weight *)y->n1.gamma,
                                (struct weight *)y->n1.beta,
                                (struct weight *)y->n2.gamma,
                                (struct weight *)y->n2.beta};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            b->d->ops->weight_free(b->d, all[i]);
    }
}

static void encoder_shape(struct bench *b, struct encoder *e, size_t seqs, size_t length) {
    arena_reset(&b->ws);
    e->seqs = seqs;
    e->tokens = seqs * length;
    for (size_t s = 0; s <= seqs; s++)
        e->cu[s] = (int32_t)(s * length);
    e->x = mat_of(b, e->tokens, e->D);
    e->qkv = mat_of(b, e->tokens, 3 * e->D);
    e->a = mat_of(b, e->tokens, e->D);
    e->f = mat_of(b, e->tokens, e->F);
}

static void encoder_call(struct bench *b, void *arg) {
    struct encoder *e = arg;
    struct device *d = b->d;
    struct attention_args a = {.q = mat_cols(e->qkv, 0, e->D),
                               .k = mat_cols(e->qkv, e->D, e->D),
                               .v = mat_cols(e->qkv, 2 * e->D, e->D),
                               .out = e->a,
                               .cu_seqlens = e->cu,
                               .seqs = e->seqs,
                               .heads = e->H,
                               .head_dim = e->D / e->H,
                               .scale = 0.17677669F};
    for (size_t l = 0; l < e->L; l++) {
        const struct layer *y = &e->layer[l];
        int64_t t[6] = {clock_now_us()};
        d->ops->linear(d, y->qkv, e->x, e->qkv);
        t[1] = clock_now_us();
        d->ops->attention(d, &a);
        t[2] = clock_now_us();
        device_linear_add_norm(d, y->o, e->a, e->x, &y->n1, e->x);
        t[3] = clock_now_us();
        device_linear_activate(d, y->ffn1, e->x, ACTIVATION_GELU, e->f);
        t[4] = clock_now_us();
        device_linear_add_norm(d, y->ffn2, e->f, e->x, &y->n2, e->x);
        t[5] = clock_now_us();
        for (int i = 0; i < 5; i++)
            e->us[i] += t[i + 1] - t[i];
    }
}

static void encoders(struct bench *own, struct bench *blas) {
    static const size_t shapes[][2] = {{1, 8},   {1, 25},  {1, 128}, {16, 32},
                                       {4, 128}, {2, 256}, {1, 512}};
    static struct encoder e = {.D = 384, .H = 12, .F = 1536, .L = 6}, o;
    o = e;
    encoder_build(own, &e);
    encoder_build(blas, &o);
    printf("\nMiniLM-L6's layers, random weights\n%9s %8s %8s %7s | %8s | share of the time: qkv "
           "attention o+norm ffn1+gelu ffn2+norm\n",
           "texts x S", "us", "GF/s", "of peak", "openblas");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        double peak = peak_probe_flops(own->d), D = (double)e.D, S = (double)shapes[i][1];
        double flops =
            (double)e.L * (double)(shapes[i][0] * shapes[i][1]) * (24 * D * D + 4 * S * D);
        encoder_shape(own, &e, shapes[i][0], shapes[i][1]);
        encoder_shape(blas, &o, shapes[i][0], shapes[i][1]);
        memset(e.us, 0, sizeof e.us);
        double us = best_us(own, encoder_call, &e), other = best_us(blas, encoder_call, &o);
        printf("%4zu x %3zu %8.0f %8.1f %6.1f%% | %8.1f |", shapes[i][0], shapes[i][1], us,
               flops / us / 1e3, 100 * flops / us * 1e6 / peak, flops / other / 1e3);
        double all = 0;
        for (int j = 0; j < 5; j++)
            all += (double)e.us[j];
        for (int j = 0; j < 5; j++)
            printf(" %5.1f%%", 100 * (double)e.us[j] / all);
        printf("\n");
    }
    encoder_free(own, &e);
    encoder_free(blas, &o);
}

int main(int argc, char **argv) {
    if (getenv("OPENBLAS_CORETYPE")) { // read when the library loads: start again without it
        unsetenv("OPENBLAS_CORETYPE");
        execv("/proc/self/exe", argv);
    }
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    struct bench own = bench_new(threads, CPU_GEMM_OWN),
                 blas = bench_new(threads, CPU_GEMM_OPENBLAS);
    struct peak peak;
    if (peak_probe(own.d, &peak, &msg) != ERR_OK)
        die("peak");
    char cpu[160];
    cpu_describe(cpu, sizeof cpu);
    printf("%s; %s\n%s\nprobed: fp32 %.1f GF/s, read %.1f GB/s\n\n", own.d->describe,
           blas.d->describe, cpu, peak.flops / 1e9, peak.read_bytes / 1e9);
    if (argc < 3)
        linears(&own, &blas);
    encoders(&own, &blas);
    bench_free(&own);
    bench_free(&blas);
    return 0;
}
