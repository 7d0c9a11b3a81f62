// The paged cache on the emulated GPU: storing, and attention over it by tiles of both heights,
// walked and split, against double precision; f32 gives the same bits by each way.
#include "tests/unit/gpu_paged_kit.h"

// All ways that there are.
static void test_ways(struct paged_shape shape, const int32_t *context, const int32_t *step,
                      size_t seqs) {
    struct paged_work w = paged_work_new(shape, context, step, seqs);
    size_t all = w.tokens * shape.heads * shape.head_dim * sizeof(float), longest = 0;
    for (size_t s = 0; s < seqs; s++)
        longest = (size_t)context[s] > longest ? (size_t)context[s] : longest;
    size_t pieces = longest / GPU_PAGED_KEYS + 1;
    paged_store_all(&w);
    float *want = paged_wanted(&w);
    float *tiles = paged_computed(&w, GPU_PAGED_ROWS, false, 0);
    float *walked = paged_computed(&w, 1, false, 0);
    float *split = paged_computed(&w, 1, true, pieces);
    float *wider = paged_computed(&w, 1, true, pieces + 2); // as a graph has it that serves any
    paged_check(&w, tiles, want, "tiles of 64 rows");
    paged_check(&w, walked, want, "single rows");
    CHECK(memcmp(walked, split, all) == 0); // same kernel, whatever the type
    CHECK(memcmp(walked, wider, all) == 0);
    if (shape.cache == GPU_F32)
        CHECK(memcmp(walked, tiles, all) == 0);
    free(want);
    free(tiles);
    free(walked);
    free(split);
    free(wider);
    paged_work_free(&w);
}

static void test_shapes(void) {
    static const size_t dims[] = {32, 64, 96, 128, 80, 20, 7, 160, 256};
    static const int32_t context[] = {5, 70, 33}, step[] = {5, 3, 1};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (int type = GPU_F32; type <= GPU_F16; type++)
            test_ways((struct paged_shape){2, 1, dims[d], 16, type, type, 0}, context, step, 3);
}

// Rows of one type, a cache of another.
static void test_types(void) {
    static const int32_t context[] = {40, 9}, step[] = {17, 1};
    for (int cache = GPU_F32; cache <= GPU_F16; cache++)
        for (int rows = GPU_F32; rows <= GPU_F16; rows++)
            if (cache != rows)
                test_ways((struct paged_shape){2, 2, 32, 16, cache, rows, 0}, context, step, 2);
}

static void test_groups(void) {
    static const int32_t context[] = {30, 20}, step[] = {2, 1};
    for (size_t group = 1; group <= 8; group++)
        test_ways((struct paged_shape){2 * group, 2, 32, 8, group % 3, group % 3, 0}, context, step,
                  2);
    // More heads of a kv head than a block has queries.
    test_ways((struct paged_shape){20, 1, 32, 8, GPU_F32, GPU_F32, 0}, context, step, 2);
}

// Contexts about the edges of pieces and blocks, windows, blocks that are no power of 2.
static void test_pieces(void) {
    static const int32_t context[] = {256, 257, 700, 1}, step[] = {1, 2, 1, 1};
    for (int type = GPU_F32; type <= GPU_F16; type++) {
        static const size_t windows[] = {0, 1, 30, 300, 5000};
        for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
            test_ways((struct paged_shape){2, 1, 32, i % 2 ? 16 : 24, type, type, windows[i]},
                      context, step, 4);
    }
    static const int32_t longer[] = {1100}, rows[] = {3};
    test_ways((struct paged_shape){1, 1, 64, 32, GPU_F32, GPU_F32, 0}, longer, rows, 1);
    static const int32_t prompt[] = {300, 64}, all[] = {150, 64};
    for (int type = GPU_F32; type <= GPU_BF16; type++)
        test_ways((struct paged_shape){1, 1, 64, 32, type, type, 0}, prompt, all, 2);
}

// So many tiles and heads that a block has more than one piece of those that are split.
static void test_sharing(void) {
    static const int32_t context[] = {500, 1, 0, 0, 40, 385}, step[] = {1, 1, 1, 1, 1, 1};
    for (int type = GPU_F32; type <= GPU_BF16; type++)
        test_ways((struct paged_shape){32, 32, 8, 16, type, type, 0}, context, step, 6);
}

// A sequence without context gives zeros and reads nothing, as a padding row of a graph does.
static void test_padding(void) {
    for (int type = GPU_F32; type <= GPU_F16; type++) {
        struct paged_shape shape = {2, 1, 32, 16, type, type, 0};
        static const int32_t context[] = {20, 0, 300, 0}, step[] = {1, 1, 1, 2};
        test_ways(shape, context, step, 4);
    }
}

// A prompt in one go and in chunks, each stored just before it is attended: the same f32 bits.
static void test_chunks(void) {
    struct paged_shape shape = {2, 1, 32, 16, GPU_F32, GPU_F32, 0};
    static const int32_t cuts[] = {0, 1, 63, 200, 290};
    const int32_t total = 290;
    struct paged_work w = paged_work_new(shape, &total, &total, 1);
    size_t width = shape.heads * shape.head_dim;
    float *parts = rig_alloc((size_t)total * width, sizeof *parts), *q = w.q;
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof *cuts; i++) {
        size_t from = (size_t)cuts[i], n = (size_t)(cuts[i + 1] - cuts[i]);
        paged_store(&w, 0, from, from + n);
        w.context[0] = cuts[i + 1];
        w.cu[1] = (int32_t)n;
        w.tokens = n;
        w.q = q + from * width;
        float *got = paged_computed(&w, n == 1 ? 1 : GPU_PAGED_ROWS, n == 1, 1);
        memcpy(parts + from * width, got, n * width * sizeof *got);
        free(got);
    }
    w.context[0] = w.cu[1] = total;
    w.tokens = (size_t)total;
    w.q = q;
    float *whole = paged_computed(&w, GPU_PAGED_ROWS, false, 0), *want = paged_wanted(&w);
    CHECK(memcmp(whole, parts, (size_t)total * width * sizeof *whole) == 0);
    paged_check(&w, whole, want, "in one go");
    free(want);
    free(whole);
    free(parts);
    paged_work_free(&w);
}

int main(void) {
    gpu_rig_open();
    test_shapes();
    test_types();
    test_groups();
    test_pieces();
    test_sharing();
    test_padding();
    test_chunks();
    gpu_rig_close();
    return check_done();
}
