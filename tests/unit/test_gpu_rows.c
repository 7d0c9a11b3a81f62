// The card's kernels of values one by one, on the emulated GPU: activate, add, subtract, swiglu,
// gather, convert, against double precision, for each type, width and place of rows.
#include "tests/unit/gpu_rows_kit.h"

static const size_t widths[] = {1, 3, 63, 64, 65, 384, 1025, 4096};
enum { WIDTHS = sizeof widths / sizeof *widths };

static double gated(double x, double u) { return x / (1 + exp(-u)); }

static double activated(enum gpu_activation f, double x) {
    double u = sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
    switch (f) {
    case GPU_NONE:
        break;
    case GPU_GELU:
        return x / 2 * erfc(-x / sqrt(2));
    case GPU_GELU_TANH:
        return gated(x, 2 * u);
    case GPU_RELU:
        return x < 0 ? 0 : x;
    case GPU_TANH:
        return tanh(x);
    case GPU_SILU:
        return gated(x, x);
    }
    return x;
}

// Inputs from -12 to 12. f32: the C functions are within 4 units in the last place of theirs, and
// two or three steps follow; far below zero gelu's own error is that of its argument, times z^2, of
// numbers below 1e-4. Narrow: the stated 1e-6 of the largest input.
static void test_activate(enum gpu_activation f, enum gpu_type t, size_t cols, size_t shift) {
    size_t rows = 3;
    struct kit_mat x = kit_random(rows, cols, t, shift, 4);
    double *want = rig_alloc(rows * cols, sizeof *want);
    for (size_t i = 0; i < rows * cols; i++)
        want[i] = activated(f, (double)x.x[i]);
    gpu_launch_activate(gpu_rig.stream, f, x.m);
    CHECK(kit_near(x.m, want, t == GPU_F32 ? 1e-10 : 12e-6, 1e-6));
    free(want);
    free(x.x);
    gpu_rig_clear();
}

// What is far out stays finite, what is no number stays none, and zeros stay.
static void test_activate_ends(void) {
    static const float ends[] = {NAN, 0, 60000, -60000, 1e-7F, -1e-7F, 88, -88, 300, -300};
    enum { ENDS = sizeof ends / sizeof *ends };
    for (size_t t = 0; t < KIT_TYPES; t++)
        for (enum gpu_activation f = GPU_GELU; f <= GPU_SILU; f++) {
            float *x = rig_alloc(ENDS, sizeof *x);
            memcpy(x, ends, sizeof ends);
            x[0] = 0; // rounds as a number; NaN is sent by itself
            struct kit_mat m = kit_of(x, 1, ENDS, kit_types[t], 0);
            uint32_t none = 0x7fc07e00; // NaN as f32, and its halves as f16 and bf16
            uint16_t narrow = kit_types[t] == GPU_F16 ? 0x7e00 : 0x7fc0;
            gpu_rig_send(m.m.data, kit_types[t] == GPU_F32 ? (void *)&none : (void *)&narrow,
                         gpu_type_size(kit_types[t]));
            double want[ENDS];
            for (int i = 0; i < ENDS; i++)
                want[i] = activated(f, (double)x[i]);
            gpu_launch_activate(gpu_rig.stream, f, m.m);
            CHECK(kit_near(gpu_rig_cols(m.m, 1, ENDS - 1), want + 1, 2e-6, 1e-6));
            float *got = gpu_rig_read(m.m);
            CHECK(isnan(got[0]));
            CHECK(got[1] == 0);
            free(got);
            free(x);
            gpu_rig_clear();
        }
}

// One operation, then the rounding: within an f32's half unit.
static void test_sums(enum gpu_type t, size_t rows, size_t cols, size_t shift) {
    struct kit_mat a = kit_random(rows, cols, t, shift, 1), b = kit_random(rows, cols, t, 0, 1);
    struct gpu_mat y = kit_empty(rows, cols, t, 0);
    double *sum = rig_alloc(rows * cols, sizeof *sum), *less = rig_alloc(rows * cols, sizeof *less);
    for (size_t i = 0; i < rows * cols; i++) {
        sum[i] = (double)a.x[i] + (double)b.x[i];
        less[i] = (double)a.x[i] - (double)b.x[i];
    }
    gpu_launch_subtract(gpu_rig.stream, a.m, b.m, y);
    CHECK(kit_near(y, less, 0, 0x1p-24));
    gpu_launch_add(gpu_rig.stream, a.m, b.m);
    CHECK(kit_near(b.m, sum, 0, 0x1p-24));
    gpu_launch_subtract(gpu_rig.stream, a.m, y, y); // in place: b as it was, but for two roundings
    for (size_t i = 0; i < rows * cols; i++)
        less[i] = (double)b.x[i];
    CHECK(kit_near(y, less, 6 * kit_rounding(t) + 0x1p-20, 0));
    free(sum);
    free(less);
    free(a.x);
    free(b.x);
    gpu_rig_clear();
}

static void test_swiglu(enum gpu_type t, size_t rows, size_t cols, size_t shift) {
    struct kit_mat x = kit_random(rows, 2 * cols, t, shift, 2);
    struct gpu_mat y = kit_empty(rows, cols, t, shift);
    double *want = rig_alloc(rows * cols, sizeof *want);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i++) {
            const float *row = x.x + r * 2 * cols;
            want[r * cols + i] = gated((double)row[i], (double)row[i]) * (double)row[cols + i];
        }
    gpu_launch_swiglu(gpu_rig.stream, x.m, y);
    CHECK(kit_near(y, want, t == GPU_F32 ? 1e-12 : 1e-5, 1e-6));
    free(want);
    free(x.x);
    gpu_rig_clear();
}

// Bits are moved, not changed.
static void test_gather(enum gpu_type t, size_t cols, size_t shift) {
    enum { FROM = 7, TO = 11 };
    static const int32_t rows[TO] = {6, 0, 3, 3, 1, 2, 6, 5, 4, 0, 0};
    struct kit_mat x = kit_random(FROM, cols, t, shift, 1);
    struct gpu_mat y = kit_empty(TO, cols, t, 0);
    gpu_launch_gather(gpu_rig.stream, x.m, gpu_rig_ints(rows, TO), y);
    float *got = gpu_rig_read(y);
    bool same = true;
    for (size_t i = 0; i < TO; i++)
        same &= memcmp(got + i * cols, x.x + (size_t)rows[i] * cols, cols * sizeof *got) == 0;
    CHECK(same);
    free(got);
    free(x.x);
    gpu_rig_clear();
}

// To the nearest number of the other type, the same bits where there is no other. Also to rows that
// are packed (shift 1), and to such as begin at odd addresses though they are whole runs (2).
static void test_convert(enum gpu_type from, enum gpu_type to, size_t cols, size_t shift) {
    size_t rows = 5;
    struct kit_mat x = kit_random(rows, cols, from, shift % 2, 3);
    struct gpu_mat y = kit_empty(rows, cols + 1, to, 0);
    y.cols = cols;
    if (shift)
        y.ld = shift == 1 ? cols : cols + 1;
    gpu_launch_convert(gpu_rig.stream, x.m, y);
    float *got = gpu_rig_read(y);
    gpu_rig_round(x.x, rows * cols, to);
    CHECK(memcmp(got, x.x, rows * cols * sizeof *got) == 0);
    free(got);
    free(x.x);
    gpu_rig_clear();
}

// No rows: nothing is launched, whatever else the arguments are.
static void test_none(void) {
    struct gpu_mat none = {NULL, 0, 64, 64, GPU_BF16}, half = {NULL, 0, 32, 32, GPU_BF16};
    gpu_launch_activate(gpu_rig.stream, GPU_GELU, none);
    gpu_launch_add(gpu_rig.stream, none, none);
    gpu_launch_subtract(gpu_rig.stream, none, none, none);
    gpu_launch_swiglu(gpu_rig.stream, none, half);
    gpu_launch_gather(gpu_rig.stream, none, NULL, none);
    gpu_launch_convert(gpu_rig.stream, none, none);
    gpu_rig_wait();
}

// More runs than threads in a launch: each goes on.
static void test_many(void) {
    enum { ROWS = (1 << 13) * 256 + 777 };
    float *x = rig_alloc(ROWS, sizeof *x);
    for (size_t i = 0; i < ROWS; i++)
        x[i] = (float)(i % 4099);
    struct gpu_mat m = {gpu_rig_bytes(x, ROWS * sizeof *x), ROWS, 1, 1, GPU_F32};
    gpu_launch_add(gpu_rig.stream, m, m);
    struct gpu_mat flat = {m.data, 1, ROWS, ROWS, GPU_F32}; // one copy
    float *got = gpu_rig_read(flat);
    size_t wrong = 0;
    for (size_t i = 0; i < ROWS; i++)
        wrong += got[i] != 2 * x[i];
    CHECK(wrong == 0);
    free(got);
    free(x);
    gpu_rig_clear();
}

int main(void) {
    gpu_rig_open();
    test_none();
    test_activate_ends();
    for (size_t t = 0; t < KIT_TYPES; t++)
        for (size_t w = 0; w < WIDTHS; w++)
            for (size_t shift = 0; shift < 2; shift++) {
                enum gpu_type type = kit_types[t];
                size_t cols = widths[w];
                for (enum gpu_activation f = GPU_NONE; f <= GPU_SILU; f++)
                    if (cols < 1000)
                        test_activate(f, type, cols, shift);
                test_sums(type, cols < 1000 ? 5 : 2, cols, shift);
                test_swiglu(type, cols < 1000 ? 4 : 1, cols, shift);
                if (cols >= 1000)
                    continue;
                test_gather(type, cols, shift);
                for (size_t to = 0; to < KIT_TYPES; to++) {
                    test_convert(type, kit_types[to], cols, shift);
                    test_convert(type, kit_types[to], cols, 2 * shift);
                }
            }
    test_many();
    gpu_rig_close();
    return check_done();
}
