// Embeddings on the card, on the emulated GPU: rows of plain tables summed, and normed; tokens that
// were drawn; indices that are beyond their table. (Tables of blocks: test_gpu_embed_blocks.c.)
#include "tests/unit/gpu_rows_kit.h"

static const float eps = 1e-12F; // BERT's
enum { TABLES = 3, DRAWN = 4 };

struct shape {
    enum gpu_type t; // of y
    size_t rows, cols, count;
    bool norm, drawn;
};

struct table {
    size_t rows;
    float *x;
    struct gpu_rows w;
};

// Rows as weights lie on the card: whole runs of 8 values, zeros behind a row's end.
static struct table table_of(enum gpu_format f, size_t rows, size_t cols) {
    enum gpu_type t = f == GPU_FORMAT_F32 ? GPU_F32 : f == GPU_FORMAT_F16 ? GPU_F16 : GPU_BF16;
    size_t ld = (cols + 7) / 8 * 8;
    struct table out = {rows, rig_floats(rows * cols, 1), {f, rows, cols, NULL, 0, NULL, 0}};
    gpu_rig_round(out.x, rows * cols, t);
    float *padded = rig_alloc(rows * ld, sizeof *padded);
    for (size_t r = 0; r < rows; r++)
        memcpy(padded + r * ld, out.x + r * cols, cols * sizeof *padded);
    void *packed = gpu_rig_narrowed(padded, rows * ld, t);
    out.w.quants = gpu_rig_bytes(packed, rows * ld * gpu_type_size(t));
    out.w.quant_row_bytes = ld * gpu_type_size(t);
    free(packed);
    free(padded);
    return out;
}

struct input {
    struct shape c;
    struct table tables[TABLES];
    int32_t *index[TABLES]; // what counts, drawn ones looked up
    float *gamma, *beta;
    struct gpu_embed a;
    int32_t *bad;
};

static struct input input_of(struct shape c) {
    static const enum gpu_format formats[] = {GPU_FORMAT_F32, GPU_FORMAT_BF16, GPU_FORMAT_F16};
    static const size_t sizes[TABLES] = {50, 20, 2};
    static const int32_t tokens[DRAWN + 1] = {7, 49, 0, 12, 3}; // the last is no slot's
    struct input in;
    memset(&in, 0, sizeof in);
    in.c = c;
    in.gamma = rig_floats(c.cols, 1);
    in.beta = rig_floats(c.cols, 1);
    for (size_t t = 0; t < c.count; t++) {
        in.tables[t] = table_of(formats[(t + c.cols) % 3], sizes[t], c.cols);
        in.index[t] = rig_alloc(c.rows, sizeof **in.index);
        for (size_t r = 0; r < c.rows; r++)
            in.index[t][r] = (int32_t)(rig_random() % sizes[t]);
        int32_t *asked = rig_alloc(c.rows, sizeof *asked);
        memcpy(asked, in.index[t], c.rows * sizeof *asked);
        for (size_t r = 0; r < c.rows && t == 0 && c.drawn; r += 2) {
            asked[r] = -1 - (int32_t)(r / 2 % DRAWN);
            in.index[t][r] = tokens[r / 2 % DRAWN];
        }
        in.a.tables[t] = in.tables[t].w;
        in.a.index[t] = gpu_rig_ints(asked, c.rows);
        free(asked);
    }
    in.a.count = (int)c.count;
    in.a.drawn = c.drawn ? gpu_rig_ints(tokens, DRAWN + 1) : NULL;
    in.a.drawn_slots = c.drawn ? DRAWN : 0;
    in.a.bad = gpu_rig_ints(&(int32_t){0}, 1);
    in.a.gamma = c.norm ? gpu_rig_f32(in.gamma, c.cols) : NULL;
    in.a.beta = c.norm ? gpu_rig_f32(in.beta, c.cols) : NULL;
    in.a.eps = eps;
    in.a.y = kit_empty(c.rows, c.cols, c.t, 0);
    return in;
}
static void input_free(struct input *in) {
    for (size_t t = 0; t < in->c.count; t++) {
        free(in->tables[t].x);
        free(in->index[t]);
    }
    free(in->gamma);
    free(in->beta);
    gpu_rig_clear();
}

static int32_t bad_of(const struct input *in) {
    float *bits = gpu_rig_read((struct gpu_mat){in->a.bad, 1, 1, 1, GPU_F32});
    int32_t bad;
    memcpy(&bad, bits, sizeof bad);
    free(bits);
    return bad;
}

static void expect_row(const struct input *in, size_t r, double *want) {
    size_t cols = in->c.cols;
    double mean = 0, squares = 0, n = (double)cols;
    for (size_t i = 0; i < cols; i++) {
        want[i] = 0;
        for (size_t t = 0; t < in->c.count; t++)
            want[i] += (double)in->tables[t].x[(size_t)in->index[t][r] * cols + i];
        mean += want[i] / n;
    }
    if (!in->c.norm)
        return;
    for (size_t i = 0; i < cols; i++) {
        want[i] -= mean;
        squares += want[i] * want[i];
    }
    for (size_t i = 0; i < cols; i++)
        want[i] =
            want[i] / sqrt(squares / n + (double)eps) * (double)in->gamma[i] + (double)in->beta[i];
}

// Sums of three numbers of about 1, and the norm's bar (test_gpu_norms.c; a column alone is its own
// mean: what the three leave there is off by their roundings, or 0).
static void test_embed(struct shape c) {
    struct input in = input_of(c);
    double *want = rig_alloc(c.rows * c.cols, sizeof *want);
    for (size_t r = 0; r < c.rows; r++)
        expect_row(&in, r, want + r * c.cols);
    gpu_launch_embed(gpu_rig.stream, &in.a);
    if (!CHECK(kit_near(in.a.y, want, c.norm ? 4e-6 : 3e-7, 1e-6)))
        fprintf(stderr, "    %zu tables, norm %d\n", c.count, c.norm);
    CHECK(bad_of(&in) == 0);
    free(want);
    input_free(&in);
}

// One row in another launch has the bits that it has among others.
static void test_alone(size_t cols, size_t count, bool norm) {
    struct input in = input_of((struct shape){GPU_F32, 6, cols, count, norm, true});
    struct gpu_embed alone = in.a;
    alone.y = kit_empty(1, cols, GPU_F32, 0);
    for (size_t t = 0; t < count; t++)
        alone.index[t] = in.a.index[t] + 4;
    gpu_launch_embed(gpu_rig.stream, &in.a);
    gpu_launch_embed(gpu_rig.stream, &alone);
    CHECK(kit_same(alone.y, kit_rows(in.a.y, 4, 1)));
    input_free(&in);
}

// An index at the table's end, below it where nothing was drawn, and a slot that is none.
static void test_bad(size_t cols, enum gpu_type t, int32_t index, bool drawn) {
    enum { ROWS = 5, WRONG = 3 };
    struct input in = input_of((struct shape){t, ROWS, cols, 2, true, drawn});
    int32_t asked[ROWS] = {1, 2, 3, index, 4};
    in.a.index[0] = gpu_rig_ints(asked, ROWS);
    gpu_launch_embed(gpu_rig.stream, &in.a);
    CHECK(bad_of(&in) == 1);
    float *got = gpu_rig_read(in.a.y);
    size_t zeros = 0, others = 0;
    for (size_t i = 0; i < ROWS * cols; i++) {
        zeros += i / cols == WRONG && got[i] == 0;
        others += i / cols != WRONG && got[i] != 0;
    }
    CHECK(zeros == cols && others > 0);
    free(got);
    input_free(&in);
}

static void test_none(void) {
    struct gpu_embed a;
    memset(&a, 0, sizeof a);
    a.y = (struct gpu_mat){NULL, 0, 64, 64, GPU_F32};
    gpu_launch_embed(gpu_rig.stream, &a);
    gpu_rig_wait();
}

int main(void) {
    static const size_t widths[] = {2, 3, 63, 64, 65, 384, 768, 896, 1025, 1536, 3584, 8200};
    gpu_rig_open();
    test_none();
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        size_t cols = widths[w];
        for (size_t t = 0; t < KIT_TYPES; t++) {
            test_embed((struct shape){kit_types[t], cols > 1000 ? 2 : 6, cols, 1, false, true});
            test_embed((struct shape){kit_types[t], cols > 1000 ? 2 : 6, cols, 3, cols > 3, false});
            test_embed((struct shape){kit_types[t], 2, cols, 2, cols > 3, true});
        }
        test_alone(cols, 1, false);
        test_alone(cols, 3, true);
    }
    for (size_t t = 0; t < KIT_TYPES; t++) {
        test_bad(65, kit_types[t], 50, false);
        test_bad(384, kit_types[t], 50, true);
        test_bad(384, kit_types[t], INT32_MAX, false);
        test_bad(1536, kit_types[t], -1, false);
        test_bad(384, kit_types[t], -1 - DRAWN, true);
        test_bad(384, kit_types[t], INT32_MIN, true);
    }
    gpu_rig_close();
    return check_done();
}
