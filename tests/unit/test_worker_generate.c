// Texts of every kind over the real worker program, which is killed (kill -9) in the middle of them
// over and over: with this process's CPU as its spare, and with a quarantine process, steps ahead.
// Every text has the bits of an uninterrupted run in this process, is told once, and leaves no
// block and no descriptor behind.
#include "tests/kit/processes.h"
#include "tests/kit/worker_replica.h"
#include "tests/unit/lives_kit.h"

#if defined(__SANITIZE_THREAD__) // each process computes ten times as long
enum { TEXTS = LIVES_KINDS * 3 / 5 };
#else
enum { TEXTS = 2 * LIVES_KINDS };
#endif
enum { TOGETHER = 5, LEAST = TEXTS / 6 }; // of kills and of texts interrupted, in both rounds

static uint64_t kills, interrupted, replayed;

static struct replica *worker(struct replica *like) {
    struct replica *r = NULL;
    struct errmsg msg = {0};
    CHECK_OK(worker_replica_new(lives_locals[0], like, &r, &msg), msg);
    CHECK_OK(kit_replica_load(r, lives_model, &msg), msg);
    return r;
}

static void round_of(enum scheduler_spare kind) {
    size_t fds = own_descriptors();
    struct replica *main = worker(NULL);
    struct replica *spare = kind == SPARE_CPU ? lives_locals[1] : worker(main);
    struct scheduler_options o = {.replica = main,
                                  .spare = spare,
                                  .spare_kind = kind,
                                  .models = &lives_model,
                                  .model_count = 1,
                                  .kv_cache_bytes = (size_t)200 << 10,
                                  .max_sequences = 4};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    struct lives_text *t[TEXTS];
    size_t begun = 0, same = 0;
    for (size_t ended = 0; ended < TEXTS; ended++) {
        for (; begun < TEXTS && begun < ended + TOGETHER; begun++) {
            t[begun] = lives_text_new((uint32_t)(begun * 11 % LIVES_KINDS));
            scheduler_generate(s, &t[begun]->g);
        }
        if (ended % 2 == 0 && replica_health(main).completed >= 4)
            kills += worker_replica_kill(main);
        lives_wait(t[ended]);
    }
    for (size_t i = 0; i < TEXTS; i++) {
        same += lives_same(t[i], lives_expected[i * 11 % LIVES_KINDS]);
        free(t[i]);
    }
    CHECK_INT(same, TEXTS);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK_INT(stats.generation.kv_blocks_used, 0);
    CHECK_INT(stats.generation.done, TEXTS);
    interrupted += stats.generation.interrupted;
    replayed += stats.replayed_tokens;
    scheduler_stop(s, 1000000);
    if (kind == SPARE_QUARANTINE)
        replica_free(spare);
    replica_free(main);
    CHECK_INT(own_descriptors(), fds);
}

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(worker_replica_begin(&msg), msg);
    lives_begin();
    CHECK_OK(kit_open_files(lives_model, &msg), msg);
    if (!check_failed)
        round_of(SPARE_CPU);
    if (!check_failed)
        round_of(SPARE_QUARANTINE);
    fprintf(stderr, "%llu kills, %llu texts interrupted, %llu tokens again\n",
            (unsigned long long)kills, (unsigned long long)interrupted,
            (unsigned long long)replayed);
    CHECK(kills >= LEAST && interrupted >= LEAST && replayed > 10 * LEAST);
    lives_end();
    worker_replica_end();
    return check_done();
}
