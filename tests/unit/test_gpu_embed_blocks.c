// Embeddings on the card from tables as GGUF files keep them, on the emulated GPU: each format's
// rows, as the host's own reading of the blocks gives them.
#include "tests/unit/gpu_weight_kit.h"

enum { ROWS = 9, TABLE = 5, MOST_COLS = 1280 };

static void test_format(struct gpu_rig *r, enum dtype t, size_t cols, bool norm) {
    static const int32_t index[ROWS] = {0, 4, 2, 2, 1, 3, 0, 4, 1};
    static const int32_t none = 0;
    struct gpu_rig_stored stored = gpu_rig_store(t, TABLE, cols);
    struct weight_part part = gpu_rig_part(&stored, false);
    struct weight *w = gpu_rig_weight(r, WEIGHT_TABLE, &part, 1, COMPUTE_F32);
    struct gpu_mat y = gpu_rig_mat(r, NULL, ROWS, cols, GPU_F32);
    float *ones = gpu_rig_alloc(cols, sizeof *ones);
    for (size_t i = 0; i < cols; i++)
        ones[i] = 1;
    struct gpu_mat gamma = gpu_rig_mat(r, ones, 1, cols, GPU_F32);
    void *numbers = NULL;
    CHECK(r->api->alloc(r->gpu, sizeof index + sizeof none, &numbers) == ERR_OK);
    int32_t *at = numbers;
    r->api->copy_in(r->stream, at, index, sizeof index);
    r->api->copy_in(r->stream, at + ROWS, &none, sizeof none);
    struct gpu_embed a = {.count = 1, .bad = at + ROWS, .y = y, .eps = 1e-12F};
    a.tables[0] = w->segment[0].rows;
    a.index[0] = at;
    a.gamma = norm ? (const float *)gamma.data : NULL;
    gpu_launch_embed(r->stream, &a);
    float *got = gpu_rig_alloc(ROWS * cols, sizeof *got);
    gpu_rig_read(r, y, got);
    for (size_t i = 0; i < ROWS; i++) {
        const float *x = stored.values + (size_t)index[i] * cols;
        if (!norm) { // the values themselves (a sum that begins with 0 has no -0)
            CHECK_NEAR(got + i * cols, x, cols, 0, 0);
            continue;
        }
        float want[MOST_COLS];
        double mean = 0, squares = 0;
        for (size_t c = 0; c < cols; c++)
            mean += (double)x[c] / (double)cols;
        for (size_t c = 0; c < cols; c++)
            squares += ((double)x[c] - mean) * ((double)x[c] - mean);
        for (size_t c = 0; c < cols; c++)
            want[c] = (float)(((double)x[c] - mean) / sqrt(squares / (double)cols + 1e-12));
        CHECK_NEAR(got + i * cols, want, cols, 3e-6, 1e-6); // as test_gpu_norms.c's
    }
    gpu_rig_drop(r, y);
    gpu_rig_drop(r, gamma);
    r->api->free(r->gpu, numbers);
    gpu_weight_free(r->weights, w);
    gpu_rig_stored_free(&stored);
    free(ones);
    free(got);
}

int main(void) {
    struct gpu_rig r = gpu_rig_open(1 << 16);
    for (enum dtype t = DTYPE_Q4_0; t < DTYPE_COUNT; t++) {
        size_t block = dtype_block(t);
        test_format(&r, t, block, false);
        test_format(&r, t, 5 * block, false); // steps that are no whole packs
        test_format(&r, t, block == 32 ? 896 : 1280, false);
        test_format(&r, t, block == 32 ? 384 : 768, true);
    }
    gpu_rig_close(&r);
    return check_done();
}
