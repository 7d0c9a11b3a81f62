// Encoders whose f16 and bf16 weights stay so in memory (--dtype stored): the vectors are within
// the bar of sentence-transformers', the same bits in any batch, and those of widened weights where
// both go through our own products; and the memory is less.
#include "tests/golden/tiny_model.h"
#include "tests/precisions.h"

enum { SEQS = 6, MAX_DIM = 64 };

static const char *const models[] = {"bert-last-f16", "bert-bf16-sharded", "bert-mean-st6"};

static bool run(const struct tiny_model *m, const int *which, size_t n, float *out) {
    struct tiny_batch b = tiny_batch_of(m, which, n);
    bool ok = tiny_run(m, &b, true, NULL, out);
    tiny_batch_free(&b);
    return ok;
}

static void check_model(const char *name, struct device *d, bool own) {
    static const int which[SEQS] = {0, 1, 2, 3, 4, 5};
    struct tiny_model wide = {0}, kept = {0};
    float want[SEQS * MAX_DIM], got[SEQS * MAX_DIM], alone[MAX_DIM];
    bool narrow = strcmp(name, "bert-mean-st6") != 0;
    if (tiny_load_as(&wide, name, PRECISION_F32, d) &&
        tiny_load_as(&kept, name, PRECISION_STORED, d) && run(&wide, which, SEQS, want) &&
        run(&kept, which, SEQS, got)) {
        size_t dim = kept.dim, n = SEQS * dim;
        // OpenBLAS sums in another order than our own products, which narrow weights go through
        CHECK_NEAR(got, want, n, 2e-6, 0);
        CHECK(!own || test_device_same(got, want, n, 2e-6));
        for (int s = 0; s < SEQS; s++) {
            size_t len;
            float *golden =
                tiny_numbers(cJSON_GetArrayItem(json_get(kept.golden, "vectors"), s), &len);
            double sum = 0;
            for (size_t i = 0; i < len; i++)
                sum += (double)golden[i] * golden[i];
            for (size_t i = 0; i < len; i++)
                golden[i] = (float)(golden[i] / sqrt(sum));
            CHECK_NEAR(got + (size_t)s * dim, golden, dim, 2e-6, 0); // as test_embeddings has it
            free(golden);
            if (run(&kept, &which[s], 1, alone))
                CHECK(test_device_same(alone, got + (size_t)s * dim, dim, 2e-6));
        }
        size_t bytes = encoder_weight_bytes(kept.encoder);
        if (!test_device_is_gpu()) // which computes f32 with f32
            CHECK(narrow ? bytes < encoder_weight_bytes(wide.encoder)
                         : !own || bytes == encoder_weight_bytes(wide.encoder));
    }
    tiny_free(&wide);
    tiny_free(&kept);
}

static void on_device(const struct cpu_options *options) {
    struct errmsg msg = {0};
    struct device *d = NULL;
    CHECK_OK(test_device_new(options, &d, &msg), msg);
    for (size_t i = 0; d && i < sizeof models / sizeof *models; i++)
        check_model(models[i], d, options->gemm == CPU_GEMM_OWN);
    test_device_free(d);
}

int main(void) {
    json_init();
    if (!test_device_is_gpu()) {
        on_device(&(struct cpu_options){.threads = 1, .isa = "generic", .gemm = CPU_GEMM_OWN});
        on_device(&(struct cpu_options){.threads = 2, .gemm = CPU_GEMM_OWN});
    }
    on_device(&(struct cpu_options){.threads = 2}); // OpenBLAS where it is there
    return check_done();
}
