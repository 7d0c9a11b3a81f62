// What the tests of the card's row kernels share: the widths and types that each is tried with, and
// what a result may be off. Thread rule: main thread only.
#ifndef TRINE_TESTS_GPU_ROWS_KIT_H
#define TRINE_TESTS_GPU_ROWS_KIT_H

#include "tests/unit/gpu_rig.h"

static const enum gpu_type kit_types[] = {GPU_F32, GPU_BF16, GPU_F16};
enum { KIT_TYPES = 3 };

// Half a unit in the last place of a value of the type, as a share of it: what storing it may cost.
// (A little more, as what is rounded is itself off.)
static inline double kit_rounding(enum gpu_type t) {
    return t == GPU_F32 ? 0x1p-24 : t == GPU_BF16 ? 0x1.01p-8 : 0x1.01p-11;
}
// Of numbers so small that f16 keeps fewer digits.
static inline double kit_least(enum gpu_type t) { return t == GPU_F16 ? 0x1p-25 : 0; }

// got is want but for atol + rtol * |want| and the rounding of its type.
static inline bool kit_near(struct gpu_mat got, const double *want, double atol, double rtol) {
    float *x = gpu_rig_read(got);
    double worst = 0, least = kit_least(got.type), share = kit_rounding(got.type);
    size_t at = 0;
    for (size_t i = 0; i < got.rows * got.cols; i++) {
        double bar = atol + rtol * fabs(want[i]);
        bar += (fabs(want[i]) + bar) * share + least;
        double off = fabs((double)x[i] - want[i]);
        off = off == 0 ? 0 : off / bar;
        if (!(off <= worst)) { // a NaN is the worst
            worst = off;
            at = i;
        }
    }
    bool ok = worst <= 1;
    if (!ok)
        fprintf(stderr, "    %zu x %zu of type %d: at %zu got %.9g want %.9g, %.3g times the bar\n",
                got.rows, got.cols, (int)got.type, at, (double)x[at], want[at], worst);
    free(x);
    return ok;
}

// The bits of two matrices of f32.
static inline bool kit_same(struct gpu_mat a, struct gpu_mat b) {
    float *x = gpu_rig_read(a), *y = gpu_rig_read(b);
    bool same = memcmp(x, y, a.rows * a.cols * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

static inline struct gpu_mat kit_rows(struct gpu_mat m, size_t from, size_t rows) {
    m.data = (unsigned char *)m.data + from * m.ld * gpu_type_size(m.type);
    m.rows = rows;
    return m;
}

// Random values as the type holds them, [rows, cols]; and a matrix of them. `shift`: they are
// columns [shift, shift + cols) of a wider one, so that rows begin at odd addresses.
struct kit_mat {
    float *x;
    struct gpu_mat m;
};
static inline struct kit_mat kit_of(float *x, size_t rows, size_t cols, enum gpu_type t,
                                    size_t shift) {
    gpu_rig_round(x, rows * cols, t);
    struct kit_mat k = {x, gpu_rig_cols(gpu_rig_mat(NULL, rows, cols + 2 * shift, t), shift, cols)};
    size_t size = gpu_type_size(t);
    unsigned char *packed = gpu_rig_narrowed(x, rows * cols, t);
    for (size_t r = 0; r < rows; r++)
        gpu_rig_send((unsigned char *)k.m.data + r * k.m.ld * size, packed + r * cols * size,
                     cols * size);
    free(packed);
    return k;
}
static inline struct kit_mat kit_random(size_t rows, size_t cols, enum gpu_type t, size_t shift,
                                        float scale) {
    return kit_of(rig_floats(rows * cols, scale), rows, cols, t, shift);
}
static inline struct gpu_mat kit_empty(size_t rows, size_t cols, enum gpu_type t, size_t shift) {
    return gpu_rig_cols(gpu_rig_mat(NULL, rows, cols + 2 * shift, t), shift, cols);
}

#endif
