// Loads a committed tiny model with its golden.json and runs ragged batches of the golden's
// sequences through it. For the golden tests only. A failure is counted and reported by check.h.
#ifndef TRINE_TESTS_GOLDEN_TINY_MODEL_H
#define TRINE_TESTS_GOLDEN_TINY_MODEL_H

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "encoder/encoder.h"
#include "pooling/pooler.h"
#include "pooling/score_head.h"
#include "tests/check.h"
#include "tests/kit/test_device.h"

#include <stdlib.h>

struct tiny_model {
    char folder[128];
    struct device *device;
    struct model_config config;
    struct encoder *encoder;
    struct pooling *pooler;  // of embedders
    struct score_head *head; // of classifiers
    size_t dim;              // of a result row
    cJSON *golden;
};

static inline bool tiny_load_parts(struct tiny_model *m, struct weights *w,
                                   struct precision precision, struct errmsg *msg) {
    if (encoder_load(w, &m->config, precision, m->device, &m->encoder, msg))
        return false;
    m->dim = m->config.labels;
    if (m->config.classification) {
        if (score_head_load(w, &m->config, encoder_pooler_weight(m->encoder), m->device, &m->head,
                            msg))
            return false;
    } else {
        if (pooling_load(m->folder, m->config.hidden, -1, m->device, &m->pooler, msg))
            return false;
        m->dim = pooling_facts_of(m->pooler)->dim;
    }
    return weights_check_all_taken(w, msg) == ERR_OK;
}

// False after a counted failure.
static inline bool tiny_load_as(struct tiny_model *m, const char *name, struct precision precision,
                                struct device *d) {
    struct errmsg msg = {0};
    struct weights *w = NULL;
    char golden[160];
    *m = (struct tiny_model){.device = d};
    snprintf(m->folder, sizeof m->folder, "tests/golden/data/%s", name);
    snprintf(golden, sizeof golden, "%s/golden.json", m->folder);
    bool ok = model_config_load(m->folder, &m->config, &msg) == ERR_OK &&
              weights_open(m->folder, &w, &msg) == ERR_OK &&
              tiny_load_parts(m, w, precision, &msg) &&
              json_parse_file(golden, 1 << 20, &m->golden, &msg) == ERR_OK;
    weights_close(w);
    if (!CHECK(ok))
        fprintf(stderr, "    %s: %s\n", name, msg.text);
    return ok;
}

static inline bool tiny_load(struct tiny_model *m, const char *name, struct device *d) {
    return tiny_load_as(m, name, (struct precision){0}, d);
}

static inline void tiny_free(struct tiny_model *m) {
    pooling_free(m->pooler);
    score_head_free(m->head);
    encoder_free(m->encoder);
    model_config_free(&m->config);
    cJSON_Delete(m->golden);
}

// A row of numbers of the golden file; *n is how many. The caller's (free).
static inline float *tiny_numbers(const cJSON *array, size_t *n) {
    const cJSON *item;
    *n = (size_t)cJSON_GetArraySize(array);
    float *out = malloc((*n + 1) * sizeof *out);
    size_t i = 0;
    cJSON_ArrayForEach(item, array) out[i++] = (float)item->valuedouble;
    return out;
}

struct tiny_batch {
    struct batch batch;
    int32_t *ids, *positions, *type_ids, *cu_seqlens, *skip;
};

// Sequences which[0..n) of the golden file, laid end to end.
static inline struct tiny_batch tiny_batch_of(const struct tiny_model *m, const int *which,
                                              size_t n) {
    const cJSON *ids = json_get(m->golden, "ids"), *types = json_get(m->golden, "type_ids");
    const cJSON *skip = json_get(m->golden, "skip");
    size_t tokens = 0, at = 0;
    for (size_t s = 0; s < n; s++)
        tokens += (size_t)cJSON_GetArraySize(cJSON_GetArrayItem(ids, which[s]));
    struct tiny_batch b = {.ids = calloc(tokens, sizeof(int32_t)),
                           .positions = calloc(tokens, sizeof(int32_t)),
                           .type_ids = calloc(tokens, sizeof(int32_t)),
                           .cu_seqlens = calloc(n + 1, sizeof(int32_t)),
                           .skip = calloc(n, sizeof(int32_t))};
    for (size_t s = 0; s < n; s++) {
        const cJSON *id = cJSON_GetArrayItem(ids, which[s])->child;
        const cJSON *type = cJSON_GetArrayItem(types, which[s])->child;
        for (int32_t p = 0; id; id = id->next, type = type->next, p++, at++) {
            b.ids[at] = id->valueint;
            b.type_ids[at] = type->valueint;
            b.positions[at] = p;
        }
        b.cu_seqlens[s + 1] = (int32_t)at;
        if (skip)
            b.skip[s] = cJSON_GetArrayItem(skip, which[s])->valueint;
    }
    b.batch = (struct batch){b.ids, b.positions, b.type_ids, b.cu_seqlens, tokens, n};
    return b;
}

static inline void tiny_batch_free(struct tiny_batch *b) {
    free(b->ids);
    free(b->positions);
    free(b->type_ids);
    free(b->cu_seqlens);
    free(b->skip);
}

// [seqs, dim] into out, from a workspace of exactly the bytes that the rooms ask for.
static inline bool tiny_run(const struct tiny_model *m, const struct tiny_batch *b, bool normalize,
                            const struct forward_hooks *hooks, float *out) {
    struct errmsg msg = {0};
    struct arena ws;
    struct device *d = m->device;
    size_t bytes = encoder_workspace_bytes(m->encoder, b->batch.tokens);
    bytes += m->head ? score_head_workspace_bytes(m->head, b->batch.seqs)
                     : pooling_workspace_bytes(m->pooler, b->batch.seqs);
    if (!CHECK(d->ops->workspace_new(d, bytes, &ws) == ERR_OK))
        return false;
    struct mat hidden = encoder_forward(m->encoder, &b->batch, &ws, hooks);
    struct mat y = m->head ? score_head_apply(m->head, hidden, &b->batch, &ws)
                           : pooling_apply(m->pooler, hidden, &b->batch, b->skip, normalize, &ws);
    enum err e = device_sync(d, &msg);
    if (CHECK(e == ERR_OK))
        d->ops->read(d, y, out);
    else
        fprintf(stderr, "    %s: %s\n", m->folder, msg.text);
    CHECK(test_device_is_gpu() ? ws.used <= ws.size
                               : ws.used == ws.size); // neither too little nor a byte too much
    d->ops->workspace_free(d, &ws);
    return e == ERR_OK;
}

// Calls run(device) with the portable kernels, their products by our own code and by OpenBLAS, with
// AVX2 where this CPU has it, and with the best that it has.
static inline void tiny_on_devices(void (*run)(struct device *d)) {
    const struct cpu_options options[] = {{.threads = 1, .isa = "generic", .gemm = CPU_GEMM_OWN},
                                          {.threads = 2, .isa = "generic"},
                                          {.threads = 2, .isa = "avx2"},
                                          {.threads = 2}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct errmsg msg = {0};
        struct device *d = NULL;
        bool avx2 = false;
#if defined(__x86_64__)
        avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
        if (options[i].isa && test_device_is_gpu())
            continue; // one GPU is as the other
        if (options[i].isa && strcmp(options[i].isa, "avx2") == 0 && !avx2) {
            check_skip("avx2");
            continue;
        }
        enum err e = test_device_new(&options[i], &d, &msg);
        CHECK_OK(e, msg);
        if (!e)
            run(d);
        test_device_free(d);
    }
}

// A vector made one of length 1.
static inline void unit_length(float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    for (size_t i = 0; i < n; i++)
        v[i] = (float)(v[i] / sqrt(sum));
}

#endif
