// What becomes of texts when the device is lost and does not come again soon, or ends with them
// over and over: who waits, who goes on on the spare, who ends and with what; how a service begins
// on a device that dies, and ends while there is none; models that go while the spare has them. For
// the thread sanitizer as well.
#include "tests/unit/lives_kit.h"
#include "tests/unit/slow_kit.h"

static void until_produced(const struct lives_text *t, size_t n) {
    WAIT_UNTIL(atomic_load(&t->g.produced) >= n || atomic_load(&t->ends));
    CHECK(atomic_load(&t->g.produced) >= n);
}

// While there is no life: cancelled and late ones end, the others wait, one that has had its first
// token has no deadline any more; then they go on.
static void ends_while_down(enum scheduler_spare kind) {
    struct lives_setup p = {.kind = kind, .seed = 1};
    lives_start(&p);
    struct lives_text *on = lives_text_new(2), *gone = lives_text_new(7), *late = lives_text_new(4),
                      *more = lives_text_new(1);
    on->g.deadline_us = clock_now_us() + 3600 * INT64_C(1000000);
    lives_generate(&p, on);
    lives_generate(&p, gone);
    until_produced(on, 3);
    lossy_lose(p.main, -1);
    bool is_over = atomic_load(&gone->ends);
    late->g.deadline_us = clock_now_us() + 20000;
    lives_generate(&p, late);
    lives_generate(&p, more);
    lives_wait(late);
    CHECK_INT(late->g.err, ERR_DEADLINE);
    CHECK_INT(late->g.produced, 0);
    atomic_store(&gone->g.cancelled, true);
    lives_wait(gone);
    CHECK(is_over || gone->g.err == ERR_CANCELLED);
    CHECK(lives_begins_as(gone, lives_expected[7]));
    CHECK_INT(atomic_load(&more->ends), 0);
    lossy_raise(p.main);
    lives_wait(on);
    lives_wait(more);
    CHECK(lives_same(on, lives_expected[2]) && lives_same(more, lives_expected[1]));
    free(on);
    free(gone);
    free(late);
    free(more);
    (void)lives_stop(&p);
}

// Given up: what nothing else can have ends with ERR_UNAVAILABLE, those that come as well; what the
// spare CPU can have goes on there, with the same bits, and main has all again when it is back.
static void given_up(enum scheduler_spare kind) {
    struct lives_setup p = {.kind = kind, .seed = 2};
    lives_start(&p);
    struct lives_text *on = lives_text_new(8), *more = lives_text_new(5),
                      *again = lives_text_new(1);
    lives_generate(&p, on);
    until_produced(on, 2);
    lossy_give_up(p.main);
    lives_generate(&p, more);
    lives_wait(on);
    lives_wait(more);
    if (kind == SPARE_CPU) {
        CHECK(lives_same(on, lives_expected[8]) && lives_same(more, lives_expected[5]));
    } else {
        CHECK(on->g.err == ERR_UNAVAILABLE || on->g.err == ERR_OK); // it may have been through
        CHECK(lives_begins_as(on, lives_expected[8]));
        CHECK_INT(more->g.err, ERR_UNAVAILABLE);
    }
    uint64_t steps = lossy_read_counts(p.main).steps;
    lossy_raise(p.main);
    while (replica_health(p.main).condition != REPLICA_UP)
        await_nap();
    lives_generate(&p, again);
    lives_wait(again);
    CHECK(lives_same(again, lives_expected[1]));
    CHECK(lossy_read_counts(p.main).steps > steps);
    free(on);
    free(more);
    free(again);
    (void)lives_stop(&p);
}

// A token that is in no prompt, no warm-up and no text.
static int32_t unused_token(void) {
    for (int32_t id = (int32_t)model_vocab(lives_model) - 1; id > 100; id--) {
        bool used = false;
        for (uint32_t k = 0; k < LIVES_KINDS && !used; k++) {
            const struct lives_text *t = lives_expected[k];
            for (size_t i = 0; i < LIVES_PROMPT; i++)
                used |= t->prompt[i] == id;
            for (size_t i = 0; i < t->g.produced; i++)
                used |= t->ids[i] == id;
        }
        if (!used && !model_is_end(lives_model, id))
            return id;
    }
    CHECK(!"every token is used");
    return 0;
}

// A text that ends every life that computes it: it alone fails where it is apart, and others with
// it are what they were to be; the CPU computes it as any other.
static void poison(enum scheduler_spare kind) {
    const int32_t token = unused_token();
    struct lives_setup p = {.kind = kind, .seed = 3, .poison = token, .down_most_us = 500};
    lives_start(&p);
    struct lives_text *bad = lives_text_new(2), *others[3];
    bad->prompt[0] = token;
    for (uint32_t i = 0; i < 3; i++)
        lives_generate(&p, others[i] = lives_text_new(3 * i + 1));
    until_produced(others[1], 1);
    lives_generate(&p, bad);
    lives_wait(bad);
    for (uint32_t i = 0; i < 3; i++) {
        lives_wait(others[i]);
        CHECK(lives_same(others[i], lives_expected[3 * i + 1]));
        CHECK(others[i]->g.deaths <= 2);
        free(others[i]);
    }
    CHECK(kind == SPARE_CPU ? bad->g.deaths == 1 || bad->g.deaths == 2 : bad->g.deaths == 3);
    CHECK_INT(bad->g.err, kind == SPARE_CPU ? ERR_OK : ERR_INTERNAL);
    CHECK_INT(bad->g.produced, kind == SPARE_CPU ? bad->g.max_tokens : 0);
    CHECK_INT(lossy_read_counts(p.main).poisoned, kind == SPARE_CPU ? bad->g.deaths : 2);
    if (kind == SPARE_QUARANTINE) {
        struct lossy_counts q = lossy_read_counts(p.spare);
        CHECK_INT(q.poisoned, 1);
        CHECK_INT(q.most_at_once, 1);
    }
    free(bad);
    (void)lives_stop(&p);
}

// Without a spare it may be in flight three times, and is then not computed any more.
static void poison_alone(void) {
    const int32_t token = unused_token();
    struct lives_setup p = {.kind = SPARE_NONE, .seed = 4, .poison = token};
    lives_start(&p);
    struct lives_text *bad = lives_text_new(2), *good = lives_text_new(1);
    bad->prompt[0] = token;
    lives_generate(&p, bad);
    lives_wait(bad);
    CHECK_INT(bad->g.err, ERR_INTERNAL);
    CHECK_INT(bad->g.deaths, 3);
    CHECK_INT(lossy_read_counts(p.main).poisoned, 3);
    lives_generate(&p, good);
    lives_wait(good);
    CHECK(lives_same(good, lives_expected[1]));
    free(bad);
    free(good);
    (void)lives_stop(&p);
}

// Prefixes that a life had are not found in the next one, which ended with nothing in hand.
static void prefixes_are_gone(void) {
    struct lives_setup p = {.kind = SPARE_NONE, .seed = 5};
    lives_start(&p);
    struct lives_text *first = lives_text_new(6), *second = lives_text_new(12),
                      *third = lives_text_new(18); // of one prompt and owner
    lives_generate(&p, first);
    lives_wait(first);
    lives_generate(&p, second);
    lives_wait(second);
    CHECK(second->g.cached_tokens > 0);
    lossy_lose(p.main, 0);
    while (replica_health(p.main).life < 2 || replica_health(p.main).condition != REPLICA_UP)
        await_nap();
    lives_generate(&p, third);
    lives_wait(third);
    CHECK_INT(third->g.cached_tokens, 0);
    CHECK_INT(third->g.deaths, 0);
    CHECK(lives_same(third, lives_expected[18]));
    CHECK_INT(lossy_read_counts(p.main).past_the_life, 0); // none was sent for the life before
    free(first);
    free(second);
    free(third);
    (void)lives_stop(&p);
}

// A service ends while there is no life.
static void stopped_while_down(void) {
    struct lives_setup p = {.kind = SPARE_QUARANTINE, .seed = 6};
    lives_start(&p);
    struct lives_text *t = lives_text_new(2), *u = lives_text_new(13);
    lives_generate(&p, t);
    lives_generate(&p, u); // a thread may have its mask
    until_produced(t, 1);
    lossy_lose(p.main, -1);
    bool over = atomic_load(&t->ends) && atomic_load(&u->ends);
    if (!over)
        for (int i = 0; i < 100 && !scheduler_read_stats(p.s).generation.waiting; i++)
            await_nap();
    scheduler_end(p.s, 1000);
    lives_wait(t);
    lives_wait(u);
    CHECK(over || t->g.err == ERR_UNAVAILABLE || u->g.err == ERR_UNAVAILABLE);
    CHECK(t->g.err != ERR_LOST && u->g.err != ERR_LOST);
    free(t);
    free(u);
    (void)lives_stop(&p);
}

// The spare's copy comes at the first loss, or with the service; it goes with its model, and what
// is loaded of it at the end is nothing.
static void copies_come_and_go(bool warm) {
    struct lives_setup p = {.kind = SPARE_CPU, .seed = 7, .warm = warm};
    struct errmsg msg = {0};
    slow_put(lives_devices[0], 500); // so that the text is not through before the loss
    lives_start(&p);
    CHECK_INT(replica_weight_bytes(lives_locals[1], lives_model->id) > 0, warm);
    struct lives_text *t = lives_text_new(2);
    lives_generate(&p, t);
    until_produced(t, 1);
    lossy_lose(p.main, -1); // it is not up again before the text is through
    lives_wait(t);
    CHECK(lives_same(t, lives_expected[2]));
    CHECK(replica_weight_bytes(lives_locals[1], lives_model->id) > 0);
    struct scheduler_stats stats = scheduler_read_stats(p.s);
    CHECK_INT(stats.generation.done, 1);
    CHECK(scheduler_memory(p.s).machine.spare > 0);
    CHECK_OK(scheduler_remove_model(p.s, lives_model, &msg), msg);
    CHECK_INT(replica_weight_bytes(lives_locals[1], lives_model->id), 0);
    lossy_raise(p.main);
    free(t);
    (void)lives_stop(&p);
    CHECK_INT(replica_weight_bytes(lives_locals[1], lives_model->id), 0);
    slow_take_off(lives_devices[0]);
}

// The first step is on a device that dies: it is tried in the next life, for as long as that is not
// this model's doing.
static void begins_on_what_dies(void) {
    for (uint64_t seed = 10; seed < 16; seed++) {
        struct lives_setup p = {.kind = SPARE_NONE, .seed = seed, .per_thousand = 400};
        struct errmsg msg = {0};
        p.chance_at_start = true;
        if (lives_try_start(&p, &msg)) {
            CHECK(msg.code == ERR_INTERNAL && strstr(msg.text, "warmed up") != NULL);
        } else {
            lossy_set_chance(p.main, 0);
            struct lives_text *t = lives_text_new(1);
            lives_generate(&p, t);
            lives_wait(t);
            CHECK(lives_same(t, lives_expected[1]));
            free(t);
        }
        (void)lives_stop(&p);
    }
    struct lives_setup p = {.kind = SPARE_NONE, .seed = 1, .per_thousand = 1000};
    struct errmsg msg = {0};
    p.chance_at_start = true;
    enum err e = lives_try_start(&p, &msg);
    CHECK_INT(e, ERR_INTERNAL);
    (void)lives_stop(&p);
}

static bool comes_to(struct scheduler *s, size_t least, size_t most) {
    size_t limit = 0;
    for (int i = 0; i < 100000 && !check_failed; i++) {
        limit = scheduler_read_stats(s).queue_limit;
        if (limit >= least && limit <= most)
            return true;
        await_nap();
    }
    fprintf(stderr, "    %zu are let in\n", limit);
    return false;
}

// Where all that is served generates, a slow spare has less let in, too: by how fast it computes
// prompts, from the warm-up on, or once the model has come to it.
static void less_is_let_in(bool warm) {
    // beside the main replica of a sanitizer build on a busy machine, too
    slow_put(lives_devices[1], 12000);
    struct lives_setup p = {.kind = SPARE_CPU, .seed = 5, .warm = warm};
    lives_start(&p);
    size_t full = scheduler_read_stats(p.s).queue_limit;
    lossy_lose(p.main, -1);
    if (!warm) {
        struct lives_text *t = lives_text_new(13); // ten tokens
        lives_generate(&p, t);
        lives_wait(t);
        CHECK(lives_same(t, lives_expected[13]));
        free(t);
    }
    CHECK(comes_to(p.s, 1, full / 4));
    lossy_raise(p.main);
    CHECK(comes_to(p.s, full, full));
    (void)lives_stop(&p);
    slow_take_off(lives_devices[1]);
}

int main(void) {
    lives_begin();
    if (!check_failed) {
        ends_while_down(SPARE_NONE);
        ends_while_down(SPARE_QUARANTINE);
        given_up(SPARE_NONE);
        given_up(SPARE_QUARANTINE);
        given_up(SPARE_CPU);
        poison(SPARE_CPU);
        poison(SPARE_QUARANTINE);
        poison_alone();
        prefixes_are_gone();
        stopped_while_down();
        copies_come_and_go(false);
        copies_come_and_go(true);
        begins_on_what_dies();
        less_is_let_in(true);
        less_is_let_in(false);
    }
    lives_end();
    return check_done();
}
