// Two sites that like batches of different sizes: a main replica with large ones, which loses its
// lives, and a CPU with the usual ones. No batch is larger than its site takes, what was cut for
// the one goes to the other in parts, rows have their bits in any case, and every job says by whom
// its rows were computed.
#include "tests/unit/loss_kit.h"

enum { LARGE = 2048, SMALL = 512, JOBS = 60, SEQS = 90, LENGTH = 20 };

// ---- replicas whose batches are looked at

struct watched {
    const struct replica_ops *of;
    struct replica_ops ops;
    size_t most;
    atomic_size_t largest;
    atomic_bool wrong;
};

static struct watched watched[2]; // main, spare

static void look_at(struct watched *w, struct replica *r, struct replica_batch *b) {
    size_t n = b->tokens.tokens;
    if (n > atomic_load(&w->largest))
        atomic_store(&w->largest, n);
    if ((n > w->most && b->tokens.seqs > 1) || b->tokens.cu_seqlens[0] != 0 ||
        (size_t)b->tokens.cu_seqlens[b->tokens.seqs] != n)
        atomic_store(&w->wrong, true);
    w->of->encode(r, b);
}
static void encode_main(struct replica *r, struct replica_batch *b) { look_at(&watched[0], r, b); }
static void encode_spare(struct replica *r, struct replica_batch *b) { look_at(&watched[1], r, b); }

static void watch_batches(struct watched *w, struct replica *r, size_t most,
                          void (*encode)(struct replica *r, struct replica_batch *b)) {
    w->of = r->ops;
    w->ops = *r->ops;
    w->ops.encode = encode;
    w->most = most;
    r->ops = &w->ops;
}

// ---- jobs

static struct test_job *bulk_job(uint32_t seed) {
    return job_new(loss_models[0], SEQS, LENGTH, seed, LANE_BULK);
}

static void submit(struct scheduler *s, struct test_job *t) {
    CHECK(scheduler_reserve(s, 3, NULL) == ERR_OK);
    t->job.reserved = 3;
    scheduler_submit(s, &t->job);
}

static const char *words(const struct test_job *t) {
    static char text[COMPUTED_BYTES];
    return computed_words(&t->job.computed, "nobody", text);
}

static void test_all(void) {
    struct loss_setup o = {.kind = SPARE_CPU, .down_most_us = 2000, .seed = 9, .bulk_ahead = 1};
    struct loss_rig rig = loss_prepare(&o);
    struct errmsg msg = {0};
    rig.main->facts.batch_tokens = LARGE;
    watch_batches(&watched[0], rig.main, LARGE, encode_main);
    watch_batches(&watched[1], loss_locals[1], SMALL, encode_spare);
    struct scheduler_options options = {.replica = rig.main,
                                        .spare = loss_locals[1],
                                        .spare_kind = SPARE_CPU,
                                        .models = loss_models,
                                        .model_count = 2};
    CHECK_OK(scheduler_start(&options, &rig.s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(rig.s, &msg), msg);
    CHECK_INT(scheduler_batch_tokens(rig.s), LARGE);

    struct test_job *t[JOBS];
    float *rows[JOBS];
    for (int i = 0; i < JOBS; i++) {
        t[i] = bulk_job((uint32_t)i + 1);
        rows[i] = loss_rows(&t[i]->job);
    }
    submit(rig.s, t[0]); // all of it in one batch, where nothing is lost
    job_wait(t[0]);
    CHECK_STR(words(t[0]), "lossy");
    CHECK(atomic_load(&watched[0].largest) > SMALL);
    lossy_set_chance(rig.main, 300); // batches that are with it, and such as were not begun
    for (int i = 1; i < JOBS; i++) {
        submit(rig.s, t[i]);
        if (i % 4 == 0)
            await_nap();
    }
    int spare = 0, both = 0;
    for (int i = 0; i < JOBS; i++) {
        job_wait(t[i]);
        bool ok = t[i]->job.err == ERR_OK;
        CHECK(ok || t[i]->job.deaths == 3);
        CHECK(!ok || loss_is_right(t[i], rows[i]));
        spare += ok && strcmp(words(t[i]), "cpu") == 0;
        both += ok && strcmp(words(t[i]), "cpu, lossy") == 0;
    }
    CHECK(spare + both > 0);
    CHECK(!atomic_load(&watched[0].wrong) && !atomic_load(&watched[1].wrong));
    CHECK(atomic_load(&watched[1].largest) > SMALL / 2);
    for (int i = 0; i < JOBS; i++) {
        job_free(t[i]);
        free(rows[i]);
    }
    lossy_set_chance(rig.main, 0);
    scheduler_stop(rig.s, 1000000);
    loss_locals[1]->ops = watched[1].of;
    replica_free(rig.main);
}

// ---- names

static void test_words(void) {
    struct computed c = {0}, more = {0};
    char text[COMPUTED_BYTES];
    CHECK_STR(computed_words(&c, "cuda", text), "cuda");
    computed_add(&c, "cuda");
    computed_add(&c, "cuda");
    CHECK_STR(computed_words(&c, "", text), "cuda");
    computed_add(&more, "cpu");
    computed_join(&c, &more);
    computed_join(&c, &more);
    CHECK_STR(computed_words(&c, "", text), "cpu, cuda");
    for (int i = 0; i < 9; i++) // others than there is room for
        computed_add(&c, (const char *[]){"b", "d", "e"}[i % 3]);
    CHECK_STR(computed_words(&c, "", text), "b, cpu, cuda, d");
}

int main(void) {
    test_words();
    loss_kit_open();
    if (!check_failed)
        test_all();
    loss_kit_close();
    return check_done();
}
