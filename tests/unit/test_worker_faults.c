// The worker that injects faults (tests/worker/faults.c), fault by fault: that each one happens
// where it is said to, is told in its line, and is what it is called; that the same seed makes the
// same faults; and what the threads of a worker cannot do behind the closed door. Another process
// is looked at: no thread sanitizer.
#include "tests/kit/await.h"
#include "tests/kit/processes.h"
#include "tests/unit/worker_kit.h"

#include <signal.h>
#include <unistd.h>

#define EMBEDDER "tests/golden/data/bert-mean-st6"

static struct model *model;

static bool begin(struct worker_driver *d, const char *faults) {
    struct errmsg msg = {0};
    if (!kit_start(d, faults))
        return false;
    CHECK_OK(driver_load(d, model, &msg), msg);
    return true;
}

// ---- a fault at the second piece of work

enum how { EXITS, KILLED, STOPS, WAITS, ANSWERS };

static const struct fault_test {
    const char *kind;
    enum how how;   // of the process: WAITS: it lives, and one thread does nothing more
    bool answered;  // the second piece is, before that
    const char *is; // what is wrong with an answer, of ANSWERS
} tests[] = {
    {"exit-before-receive", EXITS, true, NULL},
    {"exit-after-receive", EXITS, false, NULL},
    {"exit-before-send", EXITS, false, NULL},
    {"exit-after-send", EXITS, true, NULL},
    {"kill-before-receive", KILLED, true, NULL},
    {"kill-after-receive", KILLED, false, NULL},
    {"kill-before-send", KILLED, false, NULL},
    {"kill-after-send", KILLED, true, NULL},
    {"hang-before", STOPS, false, NULL},
    {"hang-after", STOPS, true, NULL},
    {"hang-compute-before", WAITS, false, NULL},
    {"hang-compute-after", WAITS, true, NULL},
    {"scribble", WAITS, false, NULL},
    {"nan", ANSWERS, true, "nan"},
    {"numbers", ANSWERS, true, "numbers"},
    {"checksum", ANSWERS, false, "checksum"},
    {"life", ANSWERS, false, "life"},
    {"sequence", ANSWERS, false, "sequence"},
    {"short", ANSWERS, false, "short"},
    {"truncate", ANSWERS, true, "right"},
    {"twice", ANSWERS, true, "twice"},
    {"flood", ANSWERS, true, "flood"},
};
enum { TESTS = sizeof tests / sizeof *tests };

static bool wait_for_state(pid_t pid, char wanted) {
    WAIT_UNTIL(process_state(pid) == wanted);
    return process_state(pid) == wanted;
}

// The bytes of the region that are no longer what they were.
static bool is_scribbled_on(const struct worker_driver *d) {
    const volatile unsigned char *at = region_base(d->region) + 700000;
    WAIT_UNTIL(at[0] || at[1] || at[2] || at[3]);
    return at[0] || at[1] || at[2] || at[3];
}

static size_t count_of(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        n++;
    return n;
}

static bool rows_are(const struct kit_batch *k, const float *want, bool wrong) {
    size_t n = k->b.tokens.seqs * k->dim, differ = 0;
    for (size_t i = 0; i < n; i++)
        differ += memcmp(&want[i], &k->b.rows[i], sizeof *want) != 0;
    return wrong ? differ == n : differ == 0;
}

static void check_answer(struct worker_driver *d, const struct fault_test *t, struct kit_batch *k,
                         const float *want) {
    struct errmsg msg = {0};
    if (strcmp(t->is, "short") == 0) { // half a frame is none
        CHECK(!driver_receive(d));
        return;
    }
    enum err e = kit_receive(d, k, &msg);
    if (strcmp(t->is, "life") == 0 || strcmp(t->is, "sequence") == 0) {
        CHECK(e == ERR_INVALID && strstr(msg.text, "BATCH_DONE") != NULL);
        CHECK(strcmp(t->is, "life") != 0 || d->last.life == DRIVER_LIFE + 1);
        return;
    }
    if (strcmp(t->is, "checksum") == 0) {
        CHECK(e == ERR_INVALID && strstr(msg.text, "checksum") != NULL);
        return;
    }
    CHECK_OK(e, msg);
    if (strcmp(t->is, "nan") == 0)
        CHECK(isnan(k->b.rows[0]) && isnan(k->b.rows[k->b.tokens.seqs * k->dim - 1]));
    else
        CHECK(rows_are(k, want, strcmp(t->is, "numbers") == 0));
    for (int i = 0; i < (strcmp(t->is, "flood") == 0 ? 2000 : strcmp(t->is, "twice") == 0); i++)
        if (!CHECK(driver_receive(d) && d->last.sequence == k->out.sequence))
            return;
    if (strcmp(t->is, "right") == 0) // as if nothing had been
        CHECK(kit_same_bits(d, k));
}

static void check_end(struct worker_driver *d, const struct fault_test *t) {
    char *words, line[96];
    int status;
    if (t->how == STOPS)
        CHECK(wait_for_state(d->pid, 'T'));
    if (strcmp(t->kind, "scribble") == 0)
        CHECK(is_scribbled_on(d));
    if (t->how == WAITS)
        CHECK(wait_for_state(d->pid, 'S'));
    if (t->how == STOPS || t->how == WAITS) {
        kill(d->pid, SIGKILL);
        status = driver_wait(d, &words);
    } else if (t->how == ANSWERS) {
        status = driver_end(d, &words);
    } else {
        while (driver_receive(d))
            ;
        status = driver_wait(d, &words);
    }
    CHECK(t->how == EXITS     ? WIFEXITED(status) && WEXITSTATUS(status) == 1
          : t->how == ANSWERS ? WIFEXITED(status) && WEXITSTATUS(status) == WIRE_END_CLOSED
                              : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    snprintf(line, sizeof line, "fault: kind=%s life=%d at=2 completed=", t->kind, DRIVER_LIFE);
    bool told = CHECK(count_of(words, line) == 1) && CHECK(count_of(words, " counts=1\n") == 1) &&
                CHECK(count_of(words, "fault: kind=") == 1);
    if (strcmp(t->kind, "truncate") == 0)
        CHECK(strstr(words, "fault: truncate refused: Operation not permitted\n") != NULL);
    if (!told)
        fprintf(stderr, "    %s: %s\n", t->kind, words);
    mem_free(words);
}

static void test_each(void) {
    struct kit_batch *k = kit_batch_new(model, 40, 12, SHARE_INTERACTIVE);
    float *want = kit_want(k);
    for (int i = 0; i < TESTS; i++) {
        const struct fault_test *t = &tests[i];
        struct worker_driver d;
        struct errmsg msg = {0};
        char spec[64];
        int before = check_failed;
        snprintf(spec, sizeof spec, "kind=%s,at=2", t->kind);
        if (!begin(&d, spec))
            return;
        CHECK(kit_same_bits(&d, k)); // the first piece is a healthy worker's
        kit_send(&d, k);
        if (t->how == ANSWERS) {
            check_answer(&d, t, k, want);
        } else if (t->answered) {
            CHECK_OK(kit_receive(&d, k, &msg), msg);
            CHECK(rows_are(k, want, false));
        }
        check_end(&d, t);
        if (check_failed > before)
            fprintf(stderr, "    %s\n", t->kind);
    }
    free(want);
    kit_batch_free(k);
}

// ---- faults of a start

static void test_starts(void) {
    struct worker_driver d;
    struct wire_ready ready;
    struct errmsg msg = {0};
    char *words;
    CHECK(driver_start(&d, kit_program, KIT_REGION, "kind=start-fails"));
    CHECK(!driver_greet(&d, 1, &ready));
    CHECK_INT(WEXITSTATUS(driver_wait(&d, &words)), 1);
    CHECK(strstr(words, "fault: kind=start-fails life=7 at=0 completed=0 counts=0\n") != NULL);
    mem_free(words);

    CHECK(driver_start(&d, kit_program, KIT_REGION, "kind=memory-start"));
    CHECK(!driver_greet(&d, 1, &ready));
    CHECK_INT(WEXITSTATUS(driver_wait(&d, NULL)), WIRE_END_NO_MEMORY);

    int64_t from = clock_now_us();
    CHECK(driver_start(&d, kit_program, KIT_REGION, "kind=slow-start,slow=300"));
    CHECK(driver_greet(&d, 1, &ready));
    CHECK(clock_now_us() - from >= 300000);
    CHECK_INT(WEXITSTATUS(driver_end(&d, NULL)), WIRE_END_CLOSED);

    CHECK(kit_start(&d, "kind=memory-load,life=7"));
    CHECK_INT(driver_load(&d, model, &msg), ERR_NOMEM);
    CHECK_OK(driver_load(&d, model, &msg), msg); // once
    CHECK_INT(WEXITSTATUS(driver_end(&d, NULL)), WIRE_END_CLOSED);

    CHECK(kit_start(&d, "kind=memory-load,from=8")); // another life's
    CHECK_OK(driver_load(&d, model, &msg), msg);
    CHECK_INT(WEXITSTATUS(driver_end(&d, NULL)), WIRE_END_CLOSED);

    CHECK(driver_start(&d, kit_program, KIT_REGION, "kind=no-such-fault"));
    CHECK_INT(WEXITSTATUS(driver_wait(&d, &words)), WIRE_END_BY_HAND);
    CHECK_STR(words, "TRINE_WORKER_FAULTS: what is kind=no-such-fault?\n");
    mem_free(words);
}

// ---- chances

// The line of the one fault that a life has under this plan.
static void fault_of(const char *spec, char *line, size_t room) {
    struct worker_driver d;
    char *words;
    struct errmsg msg = {0};
    struct kit_batch *k = kit_batch_new(model, 8, 8, SHARE_INTERACTIVE);
    line[0] = '\0';
    if (!begin(&d, spec))
        return;
    for (int i = 0; i < 400; i++) {
        kit_send(&d, k);
        if (kit_receive(&d, k, &msg))
            break;
    }
    kit_batch_free(k);
    (void)driver_end(&d, &words);
    const char *at = strstr(words, "fault: ");
    if (CHECK(at != NULL))
        snprintf(line, room, "%.*s", (int)strcspn(at, "\n"), at);
    mem_free(words);
}

static void test_seeds(void) {
    char first[160], again[160], other[160];
    fault_of("seed=7,rate=0.05,kinds=exit-before-send+kill-after-receive,after=3", first,
             sizeof first);
    fault_of("seed=7,rate=0.05,kinds=exit-before-send+kill-after-receive,after=3", again,
             sizeof again);
    fault_of("seed=8,rate=0.05,kinds=exit-before-send+kill-after-receive,after=3", other,
             sizeof other);
    CHECK_STR(first, again);
    CHECK(strcmp(first, other) != 0);
    CHECK(strstr(first, " counts=1") != NULL);
}

// ---- the closed door

static void test_probes(void) {
    static const char *const threads[] = {"main", "control", "ticker"};
    static const char *const tried[] = {"open",    "openself", "create", "socket",
                                        "connect", "kill",     "fork",   "execve"};
    struct worker_driver d;
    struct errmsg msg = {0};
    char *words, line[96];
    if (!begin(&d, "kind=probe"))
        return;
    struct kit_batch *k = kit_batch_new(model, KIT_TOKENS, 30, SHARE_BULK);
    bool goes_on = true;
    for (int i = 0; i < 4000 && d.progresses == 0 && goes_on; i++) { // until the ticker has sent
        kit_send(&d, k);
        goes_on = kit_receive(&d, k, &msg) == ERR_OK;
    }
    CHECK(goes_on && d.progresses > 0);
    CHECK(kit_same_bits(&d, k));
    kit_batch_free(k);
    CHECK_INT(WEXITSTATUS(driver_end(&d, &words)), WIRE_END_CLOSED);
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
            snprintf(line, sizeof line, "probe: thread=%s tried=%s refused=1\n", threads[t],
                     tried[i]);
            if (!CHECK(count_of(words, line) == 1))
                fprintf(stderr, "    missing: %s", line);
        }
    mem_free(words);
}

int main(void) {
    struct errmsg msg = {0};
    alarm(300); // a worker that is at fault may say nothing
    kit_begin("tests/trine-worker-faults");
    model = kit_model(EMBEDDER);
    CHECK_OK(kit_replica_load(kit_local, model, &msg), msg);
    test_each();
    test_starts();
    test_seeds();
    if (sandbox_is_built)
        test_probes();
    replica_unload(kit_local, model->id);
    model_release(model);
    kit_end();
    return check_done();
}
