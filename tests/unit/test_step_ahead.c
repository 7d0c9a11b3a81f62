// Steps on a device that keeps what it draws and shows it late (tests/kit/late_device.h): the next
// step's forward goes on from tokens that nobody has seen. Texts of every kind are what they are
// without that, bit for bit: greedy and drawn, with penalties, grammars and scores, in caches that
// are too small, with texts that are cancelled, beside batches that are encoded, and where lives of
// the replica end.
#include "compute/device.h"
#include "tests/kit/late_device.h"
#include "tests/unit/lives_kit.h"

enum { TEXTS = LIVES_KINDS, TOGETHER = 6 };

#define ENCODER "tests/golden/data/bert-mean-st6"

static struct device *late;
static struct replica *local;
static struct model *encoder;

// ---- batches beside

struct batches {
    struct replica_batch b;
    int32_t ids[20], positions[20], types[20], ends[2], skip[1];
    float rows[512], first[512];
    atomic_uint done, wrong;
    atomic_bool over;
};

static void on_batch(struct replica_work *w) {
    struct batches *s = w->ctx;
    size_t bytes = encoder->dim * sizeof(float);
    unsigned n = atomic_fetch_add(&s->done, 1);
    if (n == 0)
        memcpy(s->first, s->rows, bytes);
    if (w->err || memcmp(s->first, s->rows, bytes) != 0)
        atomic_fetch_add(&s->wrong, 1);
    if (!atomic_load(&s->over)) {
        w->share = w->share == SHARE_BULK ? SHARE_INTERACTIVE : SHARE_BULK;
        replica_encode(local, &s->b);
    } else {
        atomic_store(&s->done, 0);
    }
}

static void begin_batches(struct batches *s) {
    for (int32_t i = 0; i < 20; i++) {
        s->ids[i] = 5 + i;
        s->positions[i] = i;
    }
    s->ends[1] = 20;
    s->b = (struct replica_batch){
        .work = {.model = encoder->id, .share = SHARE_BULK, .done = on_batch, .ctx = s},
        .tokens = {s->ids, s->positions, s->types, s->ends, 20, 1},
        .skip = s->skip,
        .normalize = true,
        .rows = s->rows};
    replica_encode(local, &s->b);
}

static unsigned end_batches(struct batches *s) {
    unsigned n = atomic_load(&s->done);
    atomic_store(&s->over, true);
    AWAIT(atomic_load(&s->done) == 0);
    CHECK_INT(atomic_load(&s->wrong), 0);
    return n;
}

// ---- texts

static void run_texts(struct lives_setup *p, bool cancels) {
    struct lives_text *t[TEXTS];
    size_t right = 0, begun = 0, gone = 0;
    for (size_t ended = 0; ended < TEXTS; ended++) {
        for (; begun < TEXTS && begun < ended + TOGETHER; begun++) {
            t[begun] = lives_text_new((uint32_t)(begun * 7 % LIVES_KINDS));
            lives_generate(p, t[begun]);
        }
        if (cancels && ended % 4 == 1)
            atomic_store(&t[begun - 1]->g.cancelled, true);
        lives_wait(t[ended]);
    }
    for (size_t i = 0; i < TEXTS; i++) {
        const struct lives_text *e = lives_expected[i * 7 % LIVES_KINDS];
        bool cancelled = t[i]->g.err == ERR_CANCELLED;
        gone += cancelled;
        right += cancelled ? cancels && lives_begins_as(t[i], e) : lives_same(t[i], e);
        free(t[i]);
    }
    CHECK_INT(right, TEXTS);
    CHECK(!cancels || gone > 0);
}

static void test_texts(bool speculate, size_t kv_bytes, bool cancels, bool with_batches) {
    struct lives_setup p = {.kind = SPARE_NONE};
    struct batches *s = calloc(1, sizeof *s);
    struct errmsg msg = {0};
    size_t draws, unseen, before;
    struct scheduler_options o = {.replica = local,
                                  .models = &lives_model,
                                  .model_count = 1,
                                  .kv_cache_bytes = kv_bytes,
                                  .max_sequences = 6,
                                  .no_speculation = !speculate};
    late_device_counts(late, &draws, &before);
    CHECK_OK(scheduler_start(&o, &p.s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(p.s, &msg), msg);
    if (with_batches)
        begin_batches(s);
    run_texts(&p, cancels);
    CHECK(!with_batches || end_batches(s) > 0);
    scheduler_stop(p.s, 1000000);
    late_device_counts(late, &draws, &unseen);
    printf("%zu draws so far; %zu forwards began with what nobody had seen\n", draws,
           unseen - before);
    CHECK(with_batches || unseen - before > 10); // a batch has all steps finished before it
    free(s);
}

static void test_losses(void) {
    static const enum scheduler_spare kinds[2] = {SPARE_CPU, SPARE_QUARANTINE};
    struct replica *plain = lives_locals[0];
    lives_locals[0] = local;
    for (uint64_t i = 0; i < 2; i++) {
        struct lives_setup p = {.kind = kinds[i],
                                .steps_ahead = 1,
                                .kv_bytes = (size_t)200 << 10,
                                .per_thousand = 20,
                                .down_most_us = 2000,
                                .seed = 40 + i};
        lives_start(&p);
        run_texts(&p, false);
        lossy_set_chance(p.main, 0);
        (void)lives_stop(&p);
    }
    lives_locals[0] = plain;
}

int main(void) {
    struct errmsg msg = {0};
    struct cpu_options options = {.threads = 1};
    lives_begin();
    CHECK_OK(late_device_new(&options, &late, &msg), msg);
    CHECK_OK(replica_local_new(late, &local, &msg), msg);
    CHECK_OK(kit_model_load(ENCODER, &encoder, &msg), msg);
    CHECK_OK(kit_replica_load(local, lives_model, &msg), msg);
    CHECK_OK(kit_replica_load(local, encoder, &msg), msg);
    CHECK_OK(replica_size_batches(local, 64, &msg), msg);
    CHECK_INT(replica_facts(local)->steps_ahead, 1);
    if (!check_failed) {
        test_texts(false, (size_t)4 << 20, false, false);
        test_texts(true, (size_t)120 << 10, false, false);
        test_texts(false, (size_t)400 << 10, true, false);
        test_texts(false, (size_t)4 << 20, true, true);
        test_losses();
    }
    replica_free(local);
    late->ops->free(late);
    model_release(encoder);
    lives_end();
    return check_done();
}
