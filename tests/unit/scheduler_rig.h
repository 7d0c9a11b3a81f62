// What tests of a scheduler with one replica share: two models on a replica of this process.
// Thread rule: main thread only.
#ifndef TRINE_TESTS_UNIT_SCHEDULER_RIG_H
#define TRINE_TESTS_UNIT_SCHEDULER_RIG_H

#include "base/json.h"
#include "engine/replica_local.h"
#include "tests/kit/replica_kit.h"
#include "tests/kit/test_device.h"
#include "tests/unit/scheduler_kit.h"

#define EMBEDDER "tests/golden/data/bert-mean-st6"
#define GENERATOR "tests/golden/data/tiny_chat"

static struct device *device;
static struct replica *replica;
static struct model *models[2];

// False: it cannot, which is counted.
static inline bool rig_open(int threads, const char *first, const char *second) {
    struct errmsg msg = {0};
    struct cpu_options options = {.threads = threads};
    const char *const paths[] = {first, second};
    json_init();
    CHECK_OK(test_device_new(&options, &device, &msg), msg);
    CHECK_OK(replica_local_new(device, &replica, &msg), msg);
    for (int i = 0; i < 2 && !check_failed; i++) {
        CHECK_OK(kit_model_load(paths[i], &models[i], &msg), msg);
        CHECK_OK(kit_replica_load(replica, models[i], &msg), msg);
    }
    return !check_failed;
}

static inline void rig_close(void) {
    for (int i = 0; i < 2; i++)
        model_release(models[i]);
    replica_free(replica);
    test_device_free(device);
}

#endif
