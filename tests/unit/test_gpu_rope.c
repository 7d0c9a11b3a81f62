// Rope on the card, on the emulated GPU: its tables, heads turned, and heads normed and turned.
#include "tests/unit/gpu_rows_kit.h"

static const float eps = 1e-6F;

// The angle is what f32 makes of the product; cosine and sine of it are within two units in the
// last place (1.2e-7 at most), times scale.
static void test_table(size_t rows, size_t half, float scale) {
    float *inv_freq = rig_alloc(half, sizeof *inv_freq);
    int32_t *positions = rig_alloc(rows, sizeof *positions);
    double *cosines = rig_alloc(rows * half, sizeof(double));
    double *sines = rig_alloc(rows * half, sizeof(double));
    for (size_t i = 0; i < half; i++)
        inv_freq[i] = powf(10000, -(float)i / (float)half);
    for (size_t r = 0; r < rows; r++) { // near ones and far ones
        positions[r] = (int32_t)(r * r * r * 977 % 1048576);
        for (size_t i = 0; i < half; i++) {
            float angle = (float)positions[r] * inv_freq[i];
            cosines[r * half + i] = (double)scale * cos((double)angle);
            sines[r * half + i] = (double)scale * sin((double)angle);
        }
    }
    struct gpu_mat c = kit_empty(rows, half, GPU_F32, 1), s = kit_empty(rows, half, GPU_F32, 0);
    struct gpu_rope_table a = {gpu_rig_f32(inv_freq, half), scale, gpu_rig_ints(positions, rows), c,
                               s};
    gpu_launch_rope_table(gpu_rig.stream, &a);
    CHECK(kit_near(c, cosines, 1.3e-7 * (double)scale, 0));
    CHECK(kit_near(s, sines, 1.3e-7 * (double)scale, 0));
    free(inv_freq);
    free(positions);
    free(cosines);
    free(sines);
    gpu_rig_clear();
}

struct shape {
    enum gpu_type t;
    size_t rows, heads, kv_heads, head_dim, shift;
    bool norm;
};

// The inputs of one launch: heads, some columns behind them, cosines, sines and gammas.
struct input {
    struct kit_mat qkv;
    float *cosines, *sines, *gamma; // gamma: q's, then k's
    struct gpu_turn turn;
};

enum { BEHIND = 5 }; // columns

static struct input input_of(const struct shape *c) {
    size_t half = c->head_dim / 2, heads = c->heads + c->kv_heads;
    struct input in = {
        kit_random(c->rows, heads * c->head_dim + BEHIND, c->t, c->shift, 2),
        rig_floats(c->rows * half, 1),
        rig_floats(c->rows * half, 1),
        rig_floats(2 * c->head_dim, 1),
        {{0}, {0}, {0}, 0, 0, 0, NULL, NULL, 0},
    };
    float *gammas = gpu_rig_f32(in.gamma, 2 * c->head_dim);
    in.turn = (struct gpu_turn){
        in.qkv.m,
        gpu_rig_mat(in.cosines, c->rows, half, GPU_F32),
        gpu_rig_mat(in.sines, c->rows, half, GPU_F32),
        c->heads,
        c->kv_heads,
        c->head_dim,
        c->norm ? gammas : NULL,
        c->norm ? gammas + c->head_dim : NULL,
        eps,
    };
    return in;
}
static void input_free(struct input *in) {
    free(in->qkv.x);
    free(in->cosines);
    free(in->sines);
    free(in->gamma);
    gpu_rig_clear();
}

static double *expect(const struct shape *c, const struct input *in) {
    size_t hd = c->head_dim, half = hd / 2, heads = c->heads + c->kv_heads;
    size_t cols = heads * hd + BEHIND;
    double *want = rig_alloc(c->rows * cols, sizeof *want);
    for (size_t i = 0; i < c->rows * cols; i++)
        want[i] = (double)in->qkv.x[i];
    for (size_t r = 0; r < c->rows; r++)
        for (size_t h = 0; h < heads; h++) {
            double *x = want + r * cols + h * hd, squares = 0;
            const float *gamma = in->gamma + (h < c->heads ? 0 : hd);
            for (size_t i = 0; i < hd; i++)
                squares += x[i] * x[i];
            for (size_t i = 0; i < hd && c->norm; i++)
                x[i] *= (double)gamma[i] / sqrt(squares / (double)hd + (double)eps);
            for (size_t i = 0; i < half; i++) {
                double a = x[i], b = x[half + i], cosine = (double)in->cosines[r * half + i],
                       sine = (double)in->sines[r * half + i];
                x[i] = a * cosine - b * sine;
                x[half + i] = b * cosine + a * sine;
            }
        }
    return want;
}

// Two products of numbers up to about 20 and their sum, one or two roundings each; the columns
// behind stay. (A gamma of about 1 and a scale of about 1 change none of it.)
static void test_turn(struct shape c) {
    struct input in = input_of(&c);
    double *want = expect(&c, &in);
    gpu_launch_turn(gpu_rig.stream, &in.turn);
    if (!CHECK(kit_near(in.qkv.m, want, 6e-6, 1e-6)))
        fprintf(stderr, "    %zu + %zu heads of %zu\n", c.heads, c.kv_heads, c.head_dim);
    free(want);
    input_free(&in);
}

// rope is turn without norms; turn's bits are those of rms_norm and rope; and a row's own.
static void test_bits(struct shape c) {
    struct input in = input_of(&c);
    size_t q = c.heads * c.head_dim, k = c.kv_heads * c.head_dim;
    struct gpu_mat apart = gpu_rig_mat(in.qkv.x, c.rows, q + k + BEHIND, GPU_F32);
    struct gpu_mat last = gpu_rig_mat(in.qkv.x + (c.rows - 1) * (q + k + BEHIND), 1, q + k, c.t);
    struct gpu_mat qs = gpu_rig_cols(apart, 0, q), ks = gpu_rig_cols(apart, q, k);
    struct gpu_rms_norm norm_q = {qs, qs, in.turn.q_norm, c.head_dim, eps};
    struct gpu_rms_norm norm_k = {ks, ks, in.turn.k_norm, c.head_dim, eps};
    struct gpu_rope rope = {gpu_rig_cols(apart, 0, q + k), in.turn.cos, in.turn.sin,
                            c.heads + c.kv_heads, c.head_dim};
    struct gpu_turn one = in.turn;
    one.qk = last;
    one.cos = kit_rows(one.cos, c.rows - 1, 1);
    one.sin = kit_rows(one.sin, c.rows - 1, 1);
    if (c.norm) {
        gpu_launch_rms_norm(gpu_rig.stream, &norm_q);
        gpu_launch_rms_norm(gpu_rig.stream, &norm_k);
    }
    gpu_launch_rope(gpu_rig.stream, &rope);
    gpu_launch_turn(gpu_rig.stream, &in.turn);
    gpu_launch_turn(gpu_rig.stream, &one);
    CHECK(kit_same(in.qkv.m, apart));
    CHECK(kit_same(last, gpu_rig_cols(kit_rows(in.qkv.m, c.rows - 1, 1), 0, q + k)));
    input_free(&in);
}

static void test_none(void) {
    struct gpu_mat none = {NULL, 0, 32, 32, GPU_F32};
    struct gpu_rope_table table = {NULL, 1, NULL, none, none};
    struct gpu_turn turn = {none, none, none, 1, 1, 16, NULL, NULL, eps};
    struct gpu_rope rope = {none, none, none, 2, 16};
    gpu_launch_rope_table(gpu_rig.stream, &table);
    gpu_launch_turn(gpu_rig.stream, &turn);
    gpu_launch_rope(gpu_rig.stream, &rope);
    gpu_rig_wait();
}

int main(void) {
    // of real models, then halves that are no whole runs, and more runs than a warp has lanes
    static const size_t dims[] = {64, 128, 96, 80, 256, 2, 6, 10, 34, 1024};
    gpu_rig_open();
    test_none();
    test_table(1, 1, 1);
    test_table(7, 32, 1);
    test_table(101, 64, 1.25F);
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (size_t n = 0; n < 2; n++) {
            for (size_t t = 0; t < KIT_TYPES; t++)
                for (size_t shift = 0; shift < 2; shift++)
                    test_turn((struct shape){kit_types[t], 3, 3, i % 3, dims[i], shift, n == 1});
            test_bits((struct shape){GPU_F32, 3, 4, 2, dims[i], 0, n == 1});
        }
    test_turn((struct shape){GPU_BF16, 20, 14, 2, 64, 0, false}); // several blocks
    gpu_rig_close();
    return check_done();
}
