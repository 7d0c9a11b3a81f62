// Replicas lose lives by chance, a hundred times and more, before and behind every message of a
// step, while texts of every kind are generated: each of them has the tokens, logprobs and prompt's
// scores of an uninterrupted run, bit for bit; nothing is told twice, and no block is left. With a
// spare CPU, with a quarantine and without a spare; one step ahead and not; in caches that are too
// small for all.
#include "tests/unit/lives_kit.h"

enum { TEXTS = 2 * LIVES_KINDS, TOGETHER = 7, SETUPS = 6 };
// Those with a step ahead alone under a sanitizer, where each takes up to ten times as long; the
// thread sanitizer runs them as well.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { FIRST = 3 };
#else
enum { FIRST = 0 };
#endif

static uint64_t losses, exposed, handed_over, replayed;

// How a text may end where nothing else can have it: in flight at three deaths.
static bool ended_rightly(const struct lives_setup *p, const struct lives_text *t,
                          const struct lives_text *whole) {
    if (t->g.err == ERR_OK)
        return lives_same(t, whole);
    return p->kind == SPARE_NONE && t->g.err == ERR_INTERNAL && t->g.deaths == 3 &&
           lives_begins_as(t, whole);
}

static void round_of(struct lives_setup p) {
    struct lives_text *t[TEXTS];
    size_t right = 0, whole = 0, begun = 0;
    lives_start(&p);
    for (size_t ended = 0; ended < TEXTS; ended++) {
        for (; begun < TEXTS && begun < ended + TOGETHER; begun++) {
            t[begun] = lives_text_new((uint32_t)(begun * 11 % LIVES_KINDS));
            lives_generate(&p, t[begun]);
        }
        lives_wait(t[ended]);
    }
    lossy_set_chance(p.main, 0);
    for (size_t i = 0; i < TEXTS; i++) {
        const struct lives_text *e = lives_expected[i * 11 % LIVES_KINDS];
        right += ended_rightly(&p, t[i], e);
        whole += t[i]->g.err == ERR_OK;
        CHECK(p.kind == SPARE_NONE || t[i]->g.deaths <= 2);
        free(t[i]);
    }
    CHECK_INT(right, TEXTS);
    CHECK(whole >= TEXTS / 4);
    CHECK(p.kind == SPARE_NONE || whole == TEXTS);
    struct lossy_counts counts = lossy_read_counts(p.main);
    struct replica_health h = replica_health(p.main);
    for (int i = 0; i < LOSS_COUNT; i++)
        losses += h.losses[i];
    exposed += counts.exposed;
    struct scheduler_stats stats = lives_stop(&p);
    handed_over += stats.generation.handed_over;
    replayed += stats.generation.replayed_tokens;
    CHECK_INT(stats.generation.done, whole);
    CHECK(stats.generation.interrupted > 0);
}

int main(void) {
    static const enum scheduler_spare kinds[3] = {SPARE_CPU, SPARE_QUARANTINE, SPARE_NONE};
    lives_begin();
    for (uint32_t i = FIRST; i < SETUPS && !check_failed; i++) {
        struct lives_setup p = {.kind = kinds[i % 3],
                                .steps_ahead = i / 3 % 2,
                                .speculate = i % 2,
                                .kv_bytes = (size_t)(i % 4 == 1 ? 120 : 400) << 10,
                                .per_thousand = kinds[i % 3] == SPARE_NONE ? 6 : 40,
                                .down_most_us = i % 2 ? 8000 : 1500,
                                .seed = 100 + i};
        round_of(p);
    }
    fprintf(stderr,
            "%llu lives lost, %llu pieces exposed, %llu texts handed over, %llu tokens again\n",
            (unsigned long long)losses, (unsigned long long)exposed,
            (unsigned long long)handed_over, (unsigned long long)replayed);
    const uint64_t rounds = SETUPS - FIRST;
    CHECK(losses >= 13 * rounds && exposed >= 8 * rounds);
    CHECK(handed_over > 10 && replayed > 1000);
    lives_end();
    return check_done();
}
