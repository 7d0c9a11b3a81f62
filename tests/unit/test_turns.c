// Owners' turns, counted: loads by weight, who has to give way to whom, rows of a step and turns of
// prompts.
#include "base/fault.h"
#include "engine/turns.h"
#include "tests/check.h"

static struct turns t;

// Owners 1 .. n with so many sequences and such weights.
static void put(size_t n, const size_t *running, const int *weights, bool prompts) {
    turns_begin(&t);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < running[i]; k++)
            turns_count(&t, i + 1, weights[i], prompts);
    turns_end(&t);
}

static void test_loads(void) {
    put(3, (size_t[]){8, 3, 0}, (int[]){2, 1, 5}, false);
    CHECK_INT(t.count, 2);
    CHECK(turns_find(&t, 1)->running == 8 && !turns_find(&t, 3));
    CHECK(turns_load(&t, 1, 2) == 4 && turns_load(&t, 2, 1) == 3 && turns_load(&t, 3, 5) == 0);
    put(2, (size_t[]){0, 1}, (int[]){2, 1}, false); // who has left is forgotten
    CHECK_INT(t.count, 1);
    CHECK_INT(t.items[0].owner, 2);
}

static uint64_t greedy(uint64_t owner, int weight) {
    const struct turn *g = turns_greedy(&t, owner, weight);
    return g ? g->owner : 0;
}

static void test_greedy(void) {
    put(2, (size_t[]){8, 0}, (int[]){1, 1}, false);
    CHECK_INT(greedy(2, 1), 1); // a newcomer has a place
    CHECK_INT(greedy(1, 1), 0); // nobody gives way to oneself
    put(2, (size_t[]){1, 0}, (int[]){1, 1}, false);
    CHECK_INT(greedy(2, 1), 0); // nor gives the only place it has
    put(2, (size_t[]){5, 3}, (int[]){1, 1}, false);
    CHECK_INT(greedy(2, 1), 1);
    put(2, (size_t[]){4, 4}, (int[]){1, 1}, false);
    CHECK_INT(greedy(2, 1), 0); // and never back and forth
    CHECK_INT(greedy(1, 1), 0);
    put(3, (size_t[]){4, 4, 0}, (int[]){1, 4, 1}, false);
    CHECK_INT(greedy(3, 1), 1);
    put(2, (size_t[]){4, 4}, (int[]){1, 3}, false);
    CHECK_INT(greedy(2, 3), 1); // by weight
    CHECK_INT(greedy(1, 1), 0);
    put(2, (size_t[]){3, 6}, (int[]){1, 3}, false);
    CHECK_INT(greedy(2, 3), 0); // 2 and 7 would be further apart
}

// Tokens that each has in so many steps, with as many sequences as it likes.
static void rows(size_t n, const int *weights, const size_t *wanted, int steps, double *got) {
    for (size_t i = 0; i < n; i++)
        got[i] = 0;
    t.count = 0;
    put(n, wanted, weights, false);
    for (int s = 0; s < steps; s++) {
        turns_grant_rows(&t);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < wanted[i] && t.items[i].rows >= 1; k++) {
                t.items[i].rows -= 1;
                got[i] += 1.0 / steps;
            }
    }
}

static void test_rows(void) {
    double got[40];
    rows(2, (int[]){1, 1}, (size_t[]){31, 1}, 1000, got);
    CHECK(got[0] > 7.9 && got[0] < 8.1 && got[1] > 0.999);
    rows(2, (int[]){1, 3}, (size_t[]){40, 40}, 1000, got);
    CHECK(got[0] > 3.9 && got[0] < 4.1 && got[1] > 11.9 && got[1] < 12.1);
    rows(3, (int[]){1, 1, 1}, (size_t[]){40, 40, 40}, 1000, got); // thirds of rows add up
    CHECK(got[0] > 5.2 && got[0] < 5.4 && got[2] > 5.2 && got[2] < 5.4);
    rows(2, (int[]){1, 1000}, (size_t[]){4, 1}, 1000, got); // a light one still goes on
    CHECK(got[0] >= 1 && got[1] > 0.999);
    int weights[40];
    size_t one[40];
    for (int i = 0; i < 40; i++)
        weights[i] = 1, one[i] = 1;
    rows(40, weights, one, 100, got); // many with one text each: nothing is held back
    for (int i = 0; i < 40; i++)
        CHECK(got[i] > 0.999);
    // what was not used is not there later
    rows(2, (int[]){1, 1}, (size_t[]){1, 1}, 1000, got);
    CHECK(t.items[0].rows < 9.1);
}

static void test_prompts(void) {
    size_t sum[3] = {0};
    t.count = 0;
    t.prompt_left = 0;
    CHECK(!turns_prompt_owner(&t));
    put(3, (size_t[]){1, 1, 1}, (int[]){1, 2, 1}, true);
    for (int i = 0; i < 4000; i++) {
        size_t owner = turns_prompt_owner(&t)->owner;
        sum[owner - 1] += 100;
        turns_charge_prompt(&t, 100);
    }
    CHECK(sum[0] > 90000 && sum[0] < 110000 && sum[1] > 190000 && sum[1] < 210000);
    // without prompts it has no turn, and a turn that was not used up ends
    put(3, (size_t[]){1, 0, 1}, (int[]){1, 2, 1}, true);
    turns_begin(&t);
    turns_count(&t, 1, 1, false);
    turns_count(&t, 3, 1, true);
    turns_end(&t);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(turns_prompt_owner(&t)->owner, 3);
        turns_charge_prompt(&t, 1000);
    }
    turns_begin(&t);
    turns_end(&t);
    CHECK(!turns_prompt_owner(&t));
}

int main(void) {
    CHECK(turns_init(&t, 40) == ERR_OK);
    test_loads();
    test_greedy();
    test_rows();
    test_prompts();
    turns_free(&t);
    fault_arm(FAULT_ALLOC, 1, false);
    CHECK(turns_init(&t, 40) == ERR_NOMEM);
    fault_disarm();
    return check_done();
}
