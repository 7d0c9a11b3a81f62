// What tests of lost replicas share: two encoders on replicas of this process, one of which loses
// its lives (tests/kit/lossy_replica.h), a spare, and what every text's row is without losses.
#ifndef TRINE_TESTS_LOSS_KIT_H
#define TRINE_TESTS_LOSS_KIT_H

#include "base/clock.h"
#include "base/json.h"
#include "base/thread.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"
#include "tests/kit/await.h"
#include "tests/kit/lossy_replica.h"
#include "tests/kit/replica_kit.h"
#include "tests/unit/gate_kit.h"
#include "tests/unit/scheduler_kit.h"

#include <string.h>

#define LOSS_MODEL_A "tests/golden/data/bert-mean-st6"
#define LOSS_MODEL_B "tests/golden/data/distilbert-prompt-st6"

enum { LOSS_POISON = 77, LOSS_BATCH = 64 };

static struct device *loss_devices[2]; // the main replica's; the spare's
static struct replica *loss_locals[2]; // on them
static struct model *loss_models[2];

struct loss_rig {
    struct replica *main, *quarantine;
    struct scheduler *s;
};

static inline void loss_kit_open(void) {
    struct errmsg msg = {0};
    const char *const paths[] = {LOSS_MODEL_A, LOSS_MODEL_B};
    json_init();
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kit_model_load(paths[i], &loss_models[i], &msg), msg);
    }
    for (int d = 0; d < 2; d++) {
        struct cpu_options cpu = {.threads = 1};
        CHECK_OK(cpu_device_new(&cpu, &loss_devices[d], &msg), msg);
        CHECK_OK(replica_local_new(loss_devices[d], &loss_locals[d], &msg), msg);
        for (int i = 0; i < 2; i++)
            CHECK_OK(kit_replica_load(loss_locals[d], loss_models[i], &msg), msg);
        CHECK_OK(replica_size_batches(loss_locals[d], LOSS_BATCH, &msg), msg);
    }
}

static inline void loss_kit_close(void) {
    for (int d = 0; d < 2; d++) {
        replica_free(loss_locals[d]);
        loss_devices[d]->ops->free(loss_devices[d]);
    }
    for (int i = 0; i < 2; i++)
        model_release(loss_models[i]);
}

struct loss_setup {
    enum scheduler_spare kind;
    int per_thousand;
    int64_t down_most_us;
    uint64_t seed;
    int32_t poison;
    size_t bulk_ahead, queue_tokens;
    size_t models;      // 0: both
    bool holds_nothing; // the quarantine is as any other: down, it takes nothing
};

static inline struct loss_rig loss_prepare(const struct loss_setup *o) {
    struct loss_rig rig = {0};
    struct errmsg msg = {0};
    struct lossy_options lossy = {.inner = loss_locals[0],
                                  .seed = o->seed,
                                  .down_most_us = o->down_most_us,
                                  .bulk_ahead = o->bulk_ahead,
                                  .poison = o->poison};
    CHECK_OK(lossy_replica_new(&lossy, &rig.main, &msg), msg);
    if (o->kind == SPARE_QUARANTINE) {
        lossy.inner = loss_locals[1];
        lossy.quarantine = !o->holds_nothing;
        CHECK_OK(lossy_replica_new(&lossy, &rig.quarantine, &msg), msg);
    }
    return rig;
}

static inline void loss_begin(struct loss_rig *rig, const struct loss_setup *o) {
    struct errmsg msg = {0};
    struct scheduler_options options = {.replica = rig->main,
                                        .spare =
                                            o->kind == SPARE_CPU ? loss_locals[1] : rig->quarantine,
                                        .spare_kind = o->kind,
                                        .models = loss_models,
                                        .model_count = o->models ? o->models : 2,
                                        .max_batch_tokens = LOSS_BATCH,
                                        .max_queue_tokens = o->queue_tokens};
    CHECK_OK(scheduler_start(&options, &rig->s, &msg), msg);
}

static inline struct loss_rig loss_start(const struct loss_setup *o) {
    struct errmsg msg = {0};
    struct loss_rig rig = loss_prepare(o);
    loss_begin(&rig, o);
    CHECK_OK(scheduler_wait_ready(rig.s, &msg), msg);
    lossy_set_chance(rig.main, o->per_thousand);
    return rig;
}

static inline void loss_stop(struct loss_rig *rig) {
    lossy_set_chance(rig->main, 0);
    struct scheduler_stats stats = scheduler_read_stats(rig->s);
    CHECK_INT(stats.queued_tokens, 0);
    CHECK_INT(stats.queued_jobs, 0);
    scheduler_stop(rig->s, 1000000);
    replica_free(rig->main);
    replica_free(rig->quarantine);
    *rig = (struct loss_rig){0};
}

// What the job's rows are where nothing is lost, computed by the spare's device.
static inline void loss_put_done(struct replica_work *w) {
    atomic_store((atomic_bool *)w->ctx, true);
}

static inline float *loss_rows(const struct job *j) {
    size_t dim = j->model->dim;
    float *rows = calloc(j->seqs * dim, sizeof *rows);
    int32_t positions[64];
    for (int32_t i = 0; i < 64; i++)
        positions[i] = i;
    for (size_t i = 0; i < j->seqs; i++) {
        const int32_t begin = j->cu_seqlens[i], n = j->cu_seqlens[i + 1] - begin;
        const int32_t cu[2] = {0, n}, skip[1] = {0};
        atomic_bool done = false;
        struct replica_batch b = {
            .work = {.model = j->model->id,
                     .share = SHARE_INTERACTIVE,
                     .done = loss_put_done,
                     .ctx = &done},
            .tokens = {j->ids + begin, positions, j->type_ids + begin, cu, (size_t)n, 1},
            .skip = skip,
            .normalize = j->normalize,
            .rows = rows + i * dim};
        replica_encode(loss_locals[1], &b);
        while (!atomic_load(&done))
            await_nap();
        CHECK_INT(b.work.err, ERR_OK);
    }
    return rows;
}

static inline bool loss_is_right(const struct test_job *t, const float *rows) {
    return memcmp(t->job.out, rows, t->job.seqs * t->job.model->dim * sizeof(float)) == 0;
}

#endif
