// A cuBLASLt of a test's own: keeps its objects, counts what is asked, and computes products as the
// descriptors say, column-major, so that what gemm_plans.c tells the library is held against what
// it means. Thread rule: one thread.
#ifndef TRINE_TESTS_UNIT_FAKE_CUBLASLT_H
#define TRINE_TESTS_UNIT_FAKE_CUBLASLT_H

#include "compute/cuda/cublaslt.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct fake_layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};
struct fake_desc {
    int compute, scale;
    int32_t transa, transb, epilogue, bias_type;
    const void *bias;
};
struct fake_pref {
    uint64_t workspace;
    uint32_t reduction, align[4];
};

static struct {
    int objects, handles;            // that are alive
    int heuristics, matmuls;         // asked
    int fail_create, fail_desc;      // what these give
    int fail_heuristic, fail_matmul; // the same
    bool no_algorithm;               // heuristics find none
    struct fake_pref pref;           // of the last heuristic
    uint64_t cols;                   // of its x
    struct cublaslt_algo algo;       // of the last product
    uint64_t product_cols;           // of its x
    void *workspace, *stream;        // of the last product
    size_t workspace_bytes;
    const void *c;
    float beta;
} fake;

static size_t fake_version(void) { return 130100; }
static const char *fake_name(int s) { return s == 15 ? "FAKE_NOT_SUPPORTED" : "FAKE_STATUS"; }
static const char *fake_string(int s) { return s == 15 ? "not supported" : "something else"; }

static int fake_create(void **handle) {
    *handle = NULL;
    if (fake.fail_create)
        return fake.fail_create;
    fake.handles++;
    *handle = &fake;
    return 0;
}
static int fake_destroy(void *handle) {
    fake.handles -= handle == &fake;
    return 0;
}

static void *fake_object(size_t bytes) {
    fake.objects++;
    return calloc(1, bytes);
}
static int fake_object_free(void *p) {
    fake.objects--;
    free(p);
    return 0;
}

static int fake_desc_create(void **desc, int compute, int scale) {
    *desc = NULL;
    if (fake.fail_desc)
        return fake.fail_desc;
    struct fake_desc *d = fake_object(sizeof *d);
    *d = (struct fake_desc){.compute = compute, .scale = scale, .epilogue = 1, .bias_type = -1};
    *desc = d;
    return 0;
}
static int fake_desc_set(void *desc, int attribute, const void *value, size_t bytes) {
    struct fake_desc *d = desc;
    void *field = attribute == 3    ? (void *)&d->transa
                  : attribute == 4  ? (void *)&d->transb
                  : attribute == 7  ? (void *)&d->epilogue
                  : attribute == 8  ? (void *)&d->bias
                  : attribute == 26 ? (void *)&d->bias_type
                                    : NULL;
    if (!field || bytes != (attribute == 8 ? sizeof(void *) : 4))
        return 7;
    memcpy(field, value, bytes);
    return 0;
}

static int fake_layout_create(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    struct fake_layout *l = fake_object(sizeof *l);
    *l = (struct fake_layout){type, rows, cols, ld};
    *layout = l;
    return 0;
}
static int fake_layout_set(void *layout, int attribute, const void *value, size_t bytes) {
    struct fake_layout *l = layout;
    if (attribute != 3 || bytes != 8)
        return 7;
    memcpy(&l->cols, value, bytes);
    return 0;
}

static int fake_pref_create(void **pref) {
    struct fake_pref *p = fake_object(sizeof *p);
    p->reduction = 7;
    *pref = p;
    return 0;
}
static int fake_pref_set(void *pref, int attribute, const void *value, size_t bytes) {
    struct fake_pref *p = pref;
    void *field = attribute == 1                     ? (void *)&p->workspace
                  : attribute == 3                   ? (void *)&p->reduction
                  : attribute >= 5 && attribute <= 8 ? (void *)&p->align[attribute - 5]
                                                     : NULL;
    if (!field || bytes != (attribute == 1 ? 8 : 4))
        return 7;
    memcpy(field, value, bytes);
    return 0;
}

// The first cannot be taken, the second asks for too much memory; the third's name is its bucket.
static int fake_heuristic(void *handle, void *desc, void *a, void *b, void *c, void *d, void *pref,
                          int most, struct cublaslt_result *results, int *count) {
    (void)desc, (void)a, (void)c, (void)d;
    fake.heuristics++;
    fake.pref = *(struct fake_pref *)pref;
    fake.cols = ((struct fake_layout *)b)->cols;
    if (fake.fail_heuristic)
        return fake.fail_heuristic;
    *count = handle == &fake && !fake.no_algorithm ? 3 : 0;
    if (most < *count)
        return 7;
    memset(results, 0, (size_t)most * sizeof *results);
    results[0].status = 15;
    results[1].workspace_bytes = fake.pref.workspace + 1;
    results[2].workspace_bytes = fake.pref.workspace;
    for (int i = 0; i < 3; i++)
        results[i].algo.data[0] = fake.cols * 10 + (uint64_t)i;
    return 0;
}

static float fake_read(const void *p, int type, size_t at) {
    float value;
    if (type == CUBLASLT_R_32F) {
        value = ((const float *)p)[at];
    } else { // bf16
        uint32_t bits = (uint32_t)((const uint16_t *)p)[at] << 16;
        memcpy(&value, &bits, sizeof value);
    }
    return value;
}
static void fake_write(void *p, int type, size_t at, float value) {
    if (type == CUBLASLT_R_32F) {
        ((float *)p)[at] = value;
    } else {
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        ((uint16_t *)p)[at] = (uint16_t)(bits >> 16);
    }
}

static float fake_epilogue(int32_t epilogue, float x) {
    if (epilogue & CUBLASLT_EPILOGUE_RELU)
        return x > 0 ? x : 0;
    if (epilogue & CUBLASLT_EPILOGUE_GELU)
        return 0.5F * x * (1 + tanhf(0.7978845608F * (x + 0.044715F * x * x * x)));
    return x;
}

static int fake_matmul(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                       const void *b, void *b_layout, const void *beta, const void *c,
                       void *c_layout, void *d, void *d_layout, const struct cublaslt_algo *algo,
                       void *workspace, size_t workspace_bytes, void *stream) {
    const struct fake_desc *how = desc;
    const struct fake_layout *la = a_layout, *lb = b_layout, *lc = c_layout, *ld = d_layout;
    fake.matmuls++;
    fake.algo = *algo;
    fake.product_cols = lb->cols;
    fake.workspace = workspace;
    fake.workspace_bytes = workspace_bytes;
    fake.stream = stream;
    fake.c = c;
    fake.beta = *(const float *)beta;
    if (fake.fail_matmul)
        return fake.fail_matmul;
    if (handle != &fake || how->compute != 68 || how->scale != 0 || how->transa != 1 ||
        how->transb != 0 || la->rows != lb->rows || la->cols != ld->rows || lb->cols != ld->cols ||
        lc->rows != ld->rows || lc->cols != ld->cols || lc->type != ld->type ||
        *(const float *)alpha != 1)
        return 7;
    for (size_t col = 0; col < ld->cols; col++) {
        for (size_t row = 0; row < ld->rows; row++) {
            float sum = 0;
            for (size_t k = 0; k < la->rows; k++)
                sum += fake_read(a, la->type, row * (size_t)la->ld + k) *
                       fake_read(b, lb->type, col * (size_t)lb->ld + k);
            if (fake.beta != 0)
                sum += fake.beta * fake_read(c, lc->type, col * (size_t)lc->ld + row);
            if (how->epilogue & CUBLASLT_EPILOGUE_BIAS)
                sum += fake_read(how->bias, how->bias_type, row);
            fake_write(d, ld->type, col * (size_t)ld->ld + row, fake_epilogue(how->epilogue, sum));
        }
    }
    return 0;
}

static const struct cublaslt fake_cublaslt = {
    .version = fake_version,
    .status_name = fake_name,
    .status_string = fake_string,
    .create = fake_create,
    .destroy = fake_destroy,
    .desc_create = fake_desc_create,
    .desc_destroy = fake_object_free,
    .desc_set = fake_desc_set,
    .layout_create = fake_layout_create,
    .layout_destroy = fake_object_free,
    .layout_set = fake_layout_set,
    .pref_create = fake_pref_create,
    .pref_destroy = fake_object_free,
    .pref_set = fake_pref_set,
    .heuristic = fake_heuristic,
    .matmul = fake_matmul,
};

#endif
