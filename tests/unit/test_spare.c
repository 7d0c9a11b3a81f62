// Models that are brought to a second replica when they are first wanted there: once, by a thread
// of their own, and what goes with them as well; a refusal is told, and tried again a while later;
// what somebody else has loaded is left alone.
#include "base/json.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"
#include "engine/spare.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/replica_kit.h"

#include <stdatomic.h>

#define EMBEDDER "tests/golden/data/bert-mean-st6"
#define GENERATOR "tests/golden/data/tiny_chat"

static struct device *device;
static struct replica *replica;
static struct model *models[2];
static atomic_int made, told;
static atomic_bool refuses, holds;
static atomic_bool wrong; // what the thread was told or found

static enum err on_loaded(void *ctx, const struct model *m, struct errmsg *msg) {
    if (ctx != &made || replica_weight_bytes(replica, m->id) == 0)
        atomic_store(&wrong, true);
    atomic_fetch_add(&made, 1);
    while (atomic_load(&holds))
        await_nap();
    return atomic_load(&refuses) ? err_set(msg, ERR_TOO_LARGE, "no room for '%s'", m->name)
                                 : ERR_OK;
}

static void on_changed(void *ctx) {
    if (ctx != &made)
        atomic_store(&wrong, true);
    atomic_fetch_add(&told, 1);
}

static struct spare *start(int64_t again_us) {
    struct spare_options o = {.replica = replica,
                              .loaded = on_loaded,
                              .changed = on_changed,
                              .ctx = &made,
                              .again_us = again_us};
    struct spare *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(spare_start(&o, &s, &msg), msg);
    atomic_store(&made, 0);
    atomic_store(&told, 0);
    return s;
}

static void end(struct spare *s) {
    spare_stop(s);
    spare_free(s);
}

static void let_go(struct spare *s, const struct model *m) {
    spare_bar(s, m);
    spare_let_go(s, m);
}

static void until_told(int times) {
    WAIT_UNTIL(atomic_load(&told) >= times);
    CHECK_INT(atomic_load(&told), times);
}

static void brought_once(void) {
    struct spare *s = start(0);
    const struct model *m = models[1];
    CHECK_INT(spare_look(s, m), SPARE_ABSENT);
    atomic_store(&holds, true);
    CHECK_INT(spare_want(s, m), SPARE_COMING);
    CHECK_INT(spare_want(s, m), SPARE_COMING);
    CHECK_INT(spare_want(s, models[0]), SPARE_COMING); // behind it
    while (atomic_load(&made) == 0)
        await_nap();
    CHECK_INT(spare_look(s, m), SPARE_COMING); // nobody waits for what is made for it
    CHECK_INT(replica_weight_bytes(replica, models[0]->id), 0);
    atomic_store(&holds, false);
    until_told(2);
    CHECK_INT(spare_want(s, m), SPARE_THERE);
    CHECK_INT(spare_want(s, models[0]), SPARE_THERE);
    CHECK_INT(atomic_load(&made), 2);
    spare_bar(s, m); // it is there for as long as it is not let go
    CHECK_INT(spare_look(s, m), SPARE_THERE);
    CHECK(replica_weight_bytes(replica, m->id) > 0);
    spare_let_go(s, m);
    CHECK_INT(spare_look(s, m), SPARE_ABSENT);
    CHECK_INT(replica_weight_bytes(replica, m->id), 0);
    CHECK(replica_weight_bytes(replica, models[0]->id) > 0);
    let_go(s, m); // which is not there
    CHECK_INT(spare_want(s, m), SPARE_COMING);
    until_told(3);
    end(s); // unloads both
    for (int i = 0; i < 2; i++)
        CHECK_INT(replica_weight_bytes(replica, models[i]->id), 0);
}

static void refused(void) {
    struct spare *s = start(3600 * INT64_C(1000000)), *again = start(0);
    const struct model *m = models[1];
    atomic_store(&refuses, true);
    CHECK_INT(spare_want(s, m), SPARE_COMING);
    until_told(1);
    CHECK_INT(spare_look(s, m), SPARE_REFUSED);
    CHECK_INT(spare_want(s, m), SPARE_REFUSED); // not tried again yet
    CHECK_INT(atomic_load(&made), 1);
    CHECK_INT(spare_refusal(s, m).code, ERR_TOO_LARGE);
    CHECK_INT(replica_weight_bytes(replica, m->id), 0);
    end(s);
    atomic_store(&told, 0);
    CHECK_INT(spare_want(again, m), SPARE_COMING);
    until_told(1);
    CHECK_INT(spare_look(again, m), SPARE_REFUSED);
    atomic_store(&refuses, false);
    CHECK_INT(spare_want(again, m), SPARE_COMING);
    until_told(2);
    CHECK_INT(spare_look(again, m), SPARE_THERE);
    end(again);
}

struct leaver {
    struct spare *s;
    atomic_bool gone;
};

static void *leave(void *ctx) {
    struct leaver *l = ctx;
    let_go(l->s, models[1]);
    atomic_store(&l->gone, true);
    return NULL;
}

// It goes while it is being loaded, and before its turn.
static void let_go_meanwhile(void) {
    struct leaver l = {.s = start(0)};
    pthread_t thread;
    atomic_store(&holds, true);
    CHECK_INT(spare_want(l.s, models[1]), SPARE_COMING);
    CHECK_INT(spare_want(l.s, models[0]), SPARE_COMING);
    while (atomic_load(&made) == 0)
        await_nap();
    CHECK_INT(pthread_create(&thread, NULL, leave, &l), 0);
    let_go(l.s, models[0]); // which has not begun: nothing is waited for
    CHECK(!atomic_load(&l.gone));
    atomic_store(&holds, false);
    pthread_join(thread, NULL);
    CHECK_INT(atomic_load(&made), 1);
    for (int i = 0; i < 2; i++)
        CHECK_INT(replica_weight_bytes(replica, models[i]->id), 0);
    end(l.s);
}

static void there_already(void) {
    struct errmsg msg = {0};
    CHECK_OK(kit_replica_load(replica, models[0], &msg), msg);
    struct spare *s = start(0);
    CHECK_INT(spare_want(s, models[0]), SPARE_COMING);
    until_told(1);
    CHECK_INT(spare_look(s, models[0]), SPARE_THERE);
    let_go(s, models[0]);
    CHECK(replica_weight_bytes(replica, models[0]->id) > 0);
    CHECK_INT(spare_want(s, models[0]), SPARE_COMING);
    until_told(2);
    end(s);
    CHECK(replica_weight_bytes(replica, models[0]->id) > 0);
    replica_unload(replica, models[0]->id);
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    const char *paths[] = {EMBEDDER, GENERATOR};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kit_model_load(paths[i], &models[i], &msg), msg);
    }
    CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = 1}, &device, &msg), msg);
    CHECK_OK(replica_local_new(device, &replica, &msg), msg);
    if (!check_failed) {
        brought_once();
        refused();
        let_go_meanwhile();
        there_already();
        CHECK(!atomic_load(&wrong));
    }
    replica_free(replica);
    cpu_device_free(device);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(atomic_load(&models[i]->holds), 1); // all others have let go
        model_release(models[i]);
    }
    return check_done();
}
