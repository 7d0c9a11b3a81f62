// The GPU device as a whole, on the emulated GPU: forwards that are kept as graphs give what they
// give one by one, whatever else is in the batch; results, marks and complaints come back; memory
// that runs out at any point is an error, and nothing is left. What single kernels give is held by
// the other test_gpu_*, what models give by the golden tests (TRINE_TEST_DEVICE=gpu).
#include "compute/cuda/cuda.h"
#include "tests/golden/tiny_decoder.h"
#include "tests/golden/tiny_model.h"
#include "tests/gpu/gpu_under_test.h"

enum { GRAPH_TOKENS = 64, SEQS = 6, DIM_MOST = 256 };

static struct device *device_of(bool no_graphs) {
    struct cuda_options o = {
        .api = gpu_under_test(), .graph_tokens = GRAPH_TOKENS, .no_graphs = no_graphs};
    struct errmsg msg = {0};
    struct device *d = NULL;
    CHECK_OK(cuda_device_new(&o, &d, &msg), msg);
    return d;
}

// ---- encoders

// Batches of these sequences in one workspace, as a replica has it, whose small ones are kept.
struct rig {
    struct tiny_model m;
    struct arena ws;
};

static void keep_all(struct rig *r) {
    const struct device_ops *ops = r->m.device->ops;
    int32_t zeros[3][GRAPH_TOKENS] = {{0}};
    ops->keep(r->m.device, true);
    for (size_t n = 0; (n = ops->keep_next(r->m.device, n, false)) && n <= GRAPH_TOKENS;) {
        int32_t ends[2] = {0, (int32_t)n};
        struct batch b = {zeros[0], zeros[1], zeros[2], ends, n, 1};
        arena_reset(&r->ws);
        (void)encoder_forward(r->m.encoder, &b, &r->ws, NULL);
    }
    ops->keep(r->m.device, false);
}

static bool rig_open(struct rig *r, const char *name, struct precision precision, bool graphs) {
    struct device *d = device_of(!graphs);
    if (!d || !tiny_load_as(&r->m, name, precision, d))
        return false;
    size_t bytes = encoder_workspace_bytes(r->m.encoder, 512) +
                   (r->m.head ? score_head_workspace_bytes(r->m.head, 64)
                              : pooling_workspace_bytes(r->m.pooler, 64));
    CHECK(d->ops->workspace_new(d, bytes, &r->ws) == ERR_OK);
    if (graphs)
        keep_all(r);
    return true;
}

static void rig_close(struct rig *r) {
    struct device *d = r->m.device;
    d->ops->workspace_free(d, &r->ws);
    tiny_free(&r->m);
    cuda_device_free(d);
}

static bool rig_run(struct rig *r, const int *which, size_t n, float *out) {
    struct tiny_batch b = tiny_batch_of(&r->m, which, n);
    struct errmsg msg = {0};
    struct device *d = r->m.device;
    arena_reset(&r->ws);
    struct mat hidden = encoder_forward(r->m.encoder, &b.batch, &r->ws, NULL);
    struct mat y = r->m.head ? score_head_apply(r->m.head, hidden, &b.batch, &r->ws)
                             : pooling_apply(r->m.pooler, hidden, &b.batch, b.skip, true, &r->ws);
    if (y.data)
        d->ops->read(d, y, out);
    enum err e = device_sync(d, &msg);
    CHECK_OK(e, msg);
    tiny_batch_free(&b);
    return e == ERR_OK;
}

// To the bit; on a card within the bar of f32 of normalised embeddings and of logits of about 1.
static bool near(const float *got, const float *want, size_t n) {
    if (gpu_under_test_keeps_bits())
        return memcmp(got, want, n * sizeof *got) == 0;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= 2e-6F * fmaxf(1, fabsf(want[i]))))
            return false;
    return true;
}

static void check_graphs(const char *name) {
    struct rig plain, kept;
    if (!rig_open(&plain, name, (struct precision){0}, false) ||
        !rig_open(&kept, name, (struct precision){0}, true))
        return;
    size_t dim = plain.m.dim, graphs, launches;
    int count = cJSON_GetArraySize(json_get(plain.m.golden, "ids"));
    float one[DIM_MOST], all[SEQS * DIM_MOST];
    cuda_device_graphs(kept.m.device, &graphs, &launches);
    CHECK(graphs > 20);
    CHECK_INT(launches, 0); // keeping computes nothing
    for (int first = 0; first < count; first++) {
        int which[SEQS];
        size_t n = 1 + (size_t)first % SEQS;
        for (size_t i = 0; i < n; i++)
            which[i] = (int)((size_t)first + i) % count;
        if (!rig_run(&kept, which, n, all))
            break;
        for (size_t i = 0; i < n; i++)
            if (rig_run(&plain, &which[i], 1, one))
                CHECK(near(one, all + i * dim, dim));
    }
    cuda_device_graphs(kept.m.device, &graphs, &launches);
    CHECK(launches > 0);
    cuda_device_graphs(plain.m.device, &graphs, &launches);
    CHECK_INT(graphs, 0);
    CHECK_INT(launches, 0);
    rig_close(&plain);
    rig_close(&kept);
}

// What is kept goes with its model: another one may come to lie at the same address, in the same
// workspace.
static void check_forgotten(void) {
    struct rig r;
    size_t graphs, launches;
    if (!rig_open(&r, "bert-mean-st6", (struct precision){0}, true))
        return;
    struct device *d = r.m.device;
    cuda_device_graphs(d, &graphs, &launches);
    CHECK(graphs > 20);
    tiny_free(&r.m);
    cuda_device_graphs(d, &graphs, &launches);
    CHECK_INT(graphs, 0);
    d->ops->workspace_free(d, &r.ws);
    cuda_device_free(d);
}

// Narrow floats against f32: what the precision promises, less what random weights of two layers
// take (real models: the golden bars of PERFORMANCE).
static void check_narrow(const char *name, enum compute_floats floats, double bar) {
    struct rig wide, narrow;
    if (!rig_open(&wide, name, (struct precision){0}, true) ||
        !rig_open(&narrow, name, (struct precision){.floats = floats}, true))
        return;
    int count = cJSON_GetArraySize(json_get(wide.m.golden, "ids"));
    float a[DIM_MOST], b[DIM_MOST];
    for (int i = 0; i < count; i++) {
        double dot = 0, aa = 0, bb = 0;
        if (!rig_run(&wide, &i, 1, a) || !rig_run(&narrow, &i, 1, b))
            break;
        for (size_t k = 0; k < wide.m.dim; k++) {
            dot += (double)a[k] * b[k];
            aa += (double)a[k] * a[k];
            bb += (double)b[k] * b[k];
        }
        CHECK(dot / sqrt(aa * bb) >= bar);
    }
    rig_close(&wide);
    rig_close(&narrow);
}

// ---- what kernels complain of

static void check_complaints(void) {
    struct rig r;
    struct errmsg msg = {0};
    if (!rig_open(&r, "bert-mean-st6", (struct precision){0}, true))
        return;
    struct device *d = r.m.device;
    int32_t ids[3] = {1, 1 << 20, 2}, positions[3] = {0, 1, 2}, types[3] = {0};
    int32_t ends[2] = {0, 3}, skip[1] = {3};
    struct batch b = {ids, positions, types, ends, 3, 1};
    arena_reset(&r.ws);
    (void)encoder_forward(r.m.encoder, &b, &r.ws, NULL);
    CHECK_ERROR(device_sync(d, &msg), ERR_INVALID, msg, "beyond its table");
    ids[1] = 3;
    arena_reset(&r.ws);
    struct mat hidden = encoder_forward(r.m.encoder, &b, &r.ws, NULL);
    (void)pooling_apply(r.m.pooler, hidden, &b, skip, true, &r.ws);
    enum err e = device_sync(d, &msg);
    bool skips = !pooling_facts_of(r.m.pooler)->includes_prompt;
    CHECK(e == (skips ? ERR_INVALID : ERR_OK));
    CHECK_OK(device_sync(d, &msg), msg); // said once
    rig_close(&r);
}

// ---- a large result, in parts

static void check_read(void) {
    struct device *d = device_of(false);
    struct arena ws;
    struct errmsg msg = {0};
    enum { ROWS = 700, COLS = 3001 }; // 8 MB: more than one part
    if (!d || !CHECK(d->ops->workspace_new(d, 2 * device_mat_bytes(ROWS, COLS), &ws) == ERR_OK))
        return;
    float *table = malloc(sizeof(float) * ROWS * COLS), *got = malloc(sizeof(float) * ROWS * COLS);
    int32_t *index = malloc(sizeof(int32_t) * ROWS);
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++)
        table[i] = (float)(i % 65521);
    for (int32_t i = 0; i < ROWS; i++)
        index[i] = ROWS - 1 - i;
    struct weight_part part = {.w = {"t", table, DTYPE_F32, 2, {ROWS, COLS}, NULL, 0}};
    struct weight *w = NULL;
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_TABLE, &part, 1, (struct precision){0}, &w, &msg),
             msg);
    struct mat y = device_mat(d, &ws, ROWS, COLS);
    d->ops->embed(d, &(struct embed_args){.count = 1, .tables[0] = w, .index[0] = index}, y);
    d->ops->read(d, y, got);
    CHECK_OK(device_sync(d, &msg), msg);
    for (size_t r = 0; r < ROWS; r++)
        CHECK(memcmp(got + r * COLS, table + (ROWS - 1 - r) * COLS, COLS * sizeof *got) == 0);
    d->ops->weight_free(d, w);
    d->ops->workspace_free(d, &ws);
    free(table);
    free(got);
    free(index);
    cuda_device_free(d);
}

int main(void) {
    json_init();
    check_graphs("bert-mean-st6");
    check_graphs("bert-cross-encoder");
    check_graphs("distilbert-prompt-st6");
    check_forgotten();
    check_narrow("bert-mean-st6", COMPUTE_DEVICE, 0.999);
    check_narrow("bert-mean-st6", COMPUTE_F16, 0.9999);
    check_complaints();
    check_read();
    CHECK_INT(gpu_under_test_violations(), 0);
    return check_done();
}
