// Texts of every kind over the real worker program, which is killed (kill -9) in the middle of them
// over and over: with this process's CPU as its spare, and with a quarantine process, steps ahead.
// Every text has the bits of an uninterrupted run in this process, is told once, and leaves no
// block and no descriptor behind.
#include "base/file_set.h"
#include "base/log.h"
#include "channel/spawner.h"
#include "engine/replica_worker.h"
#include "tests/kit/worker_driver.h"
#include "tests/unit/lives_kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) // each process computes ten times as long
enum { TEXTS = LIVES_KINDS * 3 / 5 };
#else
enum { TEXTS = 2 * LIVES_KINDS };
#endif
enum { TOGETHER = 5, LEAST = TEXTS / 6 }; // of kills and of texts interrupted, in both rounds

static struct spawner *spawner;
static struct file_set *files;
static char program[4096];
static uint64_t kills, interrupted, replayed;

static int count_fds(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void open_files(void) {
    struct errmsg msg = {0};
    DIR *d = opendir(LIVES_MODEL);
    files = file_set_new();
    for (const struct dirent *e; d && (e = readdir(d));) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", LIVES_MODEL, e->d_name);
        if (e->d_name[0] != '.')
            CHECK_OK(file_set_add(files, path, open(path, O_RDONLY | O_CLOEXEC), &msg), msg);
    }
    if (d)
        closedir(d);
}

static struct replica *worker(struct replica *like) {
    struct replica_worker_options o = {.spawner = spawner,
                                       .program = program,
                                       .threads = 1,
                                       .watchdog_us = 20000000, // the machine may be slow
                                       .backoff_least_us = 1000,
                                       .backoff_most_us = 10000,
                                       .reference = lives_locals[0],
                                       .quarantine = like != NULL,
                                       .like = like,
                                       .idle_us = 100000,
                                       .region_bytes = (size_t)32 << 20};
    struct replica *r = NULL;
    struct errmsg msg = {0};
    struct replica_spec spec;
    CHECK_OK(replica_worker_new(&o, &r, &msg), msg);
    model_spec(lives_model, &spec);
    spec.sources = files;
    CHECK_OK(replica_load(r, &spec, &msg), msg);
    return r;
}

// A life that has done some work ends.
static void kill_main(struct replica *r) {
    struct replica_health h = replica_health(r);
    if (h.condition != REPLICA_UP || h.completed < 4 || h.pid <= 0)
        return;
    kills += kill((pid_t)h.pid, SIGKILL) == 0;
    for (int i = 0; i < 100000 && replica_health(r).life == h.life; i++)
        lives_nap();
}

static void round_of(enum scheduler_spare kind) {
    int fds = count_fds();
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
        if (ended % 2 == 0)
            kill_main(main);
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
    CHECK_INT(count_fds(), fds);
}

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(spawner_start(&spawner, &msg), msg);
    log_init(LOG_LEVEL_OFF, false);
    driver_find_program("trine-worker", program, sizeof program);
    lives_begin();
    open_files();
    if (!check_failed)
        round_of(SPARE_CPU);
    if (!check_failed)
        round_of(SPARE_QUARANTINE);
    fprintf(stderr, "%llu kills, %llu texts interrupted, %llu tokens again\n",
            (unsigned long long)kills, (unsigned long long)interrupted,
            (unsigned long long)replayed);
    CHECK(kills >= LEAST && interrupted >= LEAST && replayed > 10 * LEAST);
    lives_end();
    file_set_free(files);
    spawner_stop(spawner);
    return check_done();
}
