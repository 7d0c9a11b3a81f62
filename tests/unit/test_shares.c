// The shares of the device's time, over a clock that only this test turns: each kind of work has
// its part in every window of two seconds for as long as it has work, whatever the others want and
// however long their pieces are, and one without work saves up nothing.
#include "engine/shares.h"
#include "tests/check.h"

enum { WINDOW_US = 2000000 };

static uint32_t state = 1;
static uint32_t random_next(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

// Lets the next of `waiting` run, for as long as its pieces are.
static enum share turn(struct shares *s, unsigned waiting, const int64_t *piece_us) {
    enum share next = shares_next(s, waiting);
    if (next >= SHARE_COUNT || !(waiting & SHARE_BIT(next)))
        CHECK(!"one of those that wait");
    int64_t most = piece_us[next];
    shares_book(s, next, waiting, 1 + random_next() % (2 * most));
    return next;
}

static int64_t sum(const int64_t *us) { return us[0] + us[1] + us[2] + us[3]; }

// Every window of a minute; `waiting` have work all the time.
static void check_parts(unsigned waiting, const int64_t *piece_us) {
    struct shares s = {0};
    enum share first = SHARE_COUNT;
    for (int i = SHARE_COUNT - 1; i >= 0; i--)
        if (waiting & SHARE_BIT(i))
            first = (enum share)i;
    int64_t longest = 0;
    for (int i = 0; i < SHARE_COUNT; i++)
        longest = piece_us[i] > longest ? piece_us[i] : longest;
    for (int window = 0; window < 30; window++) {
        struct shares before = s;
        while (sum(s.used_us) - sum(before.used_us) < WINDOW_US)
            turn(&s, waiting, piece_us);
        double all = (double)(sum(s.used_us) - sum(before.used_us)), others = 0;
        for (int i = 0; i < SHARE_COUNT; i++) {
            double part = (double)(s.used_us[i] - before.used_us[i]) / all;
            double least = share_percent[i] / 100.0, slack = 2.5 * (double)longest / WINDOW_US;
            if (!(waiting & SHARE_BIT(i))) {
                CHECK(part == 0);
            } else if (i != (int)first) {
                others += least;
                if (!(part >= least - slack && part <= least + slack))
                    fprintf(stderr, "share %d of %x in window %d: %.3f\n", i, waiting, window,
                            part);
                CHECK(part >= least - slack && part <= least + slack);
            }
        }
        // and all that is left is the first one's
        double part = (double)(s.used_us[first] - before.used_us[first]) / all;
        CHECK(part >= 1 - others - 5 * (double)longest / WINDOW_US);
    }
}

static void test_parts(void) {
    static const int64_t pieces[][SHARE_COUNT] = {
        {5000, 200, 300, 200},    // a batch of short texts; between two pause points of the others
        {100, 20000, 20000, 100}, // a large generator
        {40000, 100, 100, 30000}, // a large encoder
        {20, 20, 20, 20},
    };
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
        for (unsigned waiting = 1; waiting < SHARE_BIT(SHARE_COUNT); waiting++)
            check_parts(waiting, pieces[p]);
    CHECK_INT(share_percent[0] + share_percent[1] + share_percent[2] + share_percent[3], 100);
    CHECK(share_percent[SHARE_BULK] >= 10);
}

// A stream under a flood of interactive work: between two of its pieces there is about one batch.
static void test_gaps(void) {
    struct shares s = {0};
    static const int64_t pieces[] = {10000, 500, 500, 500};
    unsigned waiting = SHARE_BIT(SHARE_INTERACTIVE) | SHARE_BIT(SHARE_DECODE);
    // it had the device to itself for a minute before
    for (int i = 0; i < 60000; i++)
        shares_book(&s, SHARE_DECODE, SHARE_BIT(SHARE_DECODE), 1000);
    int64_t gap = 0;
    for (int i = 0; i < 10000; i++) {
        int64_t before = sum(s.used_us);
        if (turn(&s, waiting, pieces) == SHARE_DECODE)
            gap = 0;
        else
            gap += sum(s.used_us) - before;
        if (gap > 3 * pieces[0])
            CHECK(!"a stream goes on");
    }
}

static void test_order(void) {
    struct shares s = {0};
    CHECK_INT(shares_next(&s, 0), SHARE_COUNT);
    for (unsigned waiting = 1; waiting < SHARE_BIT(SHARE_COUNT); waiting++)
        CHECK_INT(shares_next(&s, waiting), __builtin_ctz(waiting)); // nobody is owed anything
    // alone with work, whoever: nothing comes of it
    for (int i = 0; i < SHARE_COUNT; i++)
        shares_book(&s, (enum share)i, SHARE_BIT(i), 5000000);
    for (int i = 0; i < SHARE_COUNT; i++)
        CHECK_INT(s.due[i], 0);
}

// Bulk that comes back after a minute of interactive work begins as it would have at first: it
// comes behind it, and then has its tenth, no more.
static void test_idle_saves_nothing(void) {
    struct shares s = {0};
    static const int64_t pieces[] = {1000, 1000, 1000, 1000};
    unsigned both = SHARE_BIT(SHARE_INTERACTIVE) | SHARE_BIT(SHARE_BULK);
    for (int i = 0; i < 60000; i++)
        turn(&s, SHARE_BIT(SHARE_INTERACTIVE), pieces);
    CHECK_INT(shares_next(&s, both), SHARE_INTERACTIVE);
    int64_t bulk = s.used_us[SHARE_BULK], all = sum(s.used_us);
    while (sum(s.used_us) - all < WINDOW_US)
        turn(&s, both, pieces);
    CHECK(s.used_us[SHARE_BULK] - bulk < WINDOW_US / 8);
    // nor does it keep what it was owed when its work has gone
    shares_book(&s, SHARE_INTERACTIVE, both, 1000000);
    CHECK(s.due[SHARE_BULK] > 0);
    shares_book(&s, SHARE_INTERACTIVE, SHARE_BIT(SHARE_INTERACTIVE), 1);
    CHECK_INT(s.due[SHARE_BULK], 0);
    shares_book(&s, SHARE_INTERACTIVE, both, 1000000);
    shares_forget(&s);
    CHECK_INT(s.due[SHARE_BULK], 0);
    CHECK(s.used_us[SHARE_BULK] > 0);
}

// One long piece does not cost a stream seconds afterwards.
static void test_long_piece(void) {
    struct shares s = {0};
    unsigned both = SHARE_BIT(SHARE_INTERACTIVE) | SHARE_BIT(SHARE_DECODE);
    shares_book(&s, SHARE_INTERACTIVE, both, 1000);
    CHECK_INT(shares_next(&s, both), SHARE_DECODE);
    shares_book(&s, SHARE_DECODE, both, 10000000);
    int64_t waited = 0;
    for (; shares_next(&s, both) == SHARE_INTERACTIVE; waited += 1000)
        shares_book(&s, SHARE_INTERACTIVE, both, 1000);
    CHECK(waited > 100000 && waited < 500000);
}

int main(void) {
    test_parts();
    test_gaps();
    test_order();
    test_idle_saves_nothing();
    test_long_piece();
    return check_done();
}
