// The arithmetic of what fits into the memory that the system allows, and the words for what does
// not.
#include "engine/memory_plan.h"
#include "tests/check.h"

#include <stdint.h>

#define MIB ((size_t)1 << 20)

static struct memory_plan plan_of(size_t limit, size_t resident, size_t workspaces) {
    return (struct memory_plan){.limit = {.bytes = limit * MIB, .source = "memory.max of /a"},
                                .resident = resident * MIB,
                                .workspaces = workspaces * MIB,
                                .reserve = 30 * MIB};
}

static void test_caches(void) {
    struct memory_plan p = plan_of(4000, 100, 20);
    CHECK_INT(memory_plan_caches(&p) / MIB, 1000); // a quarter
    p = plan_of(450, 100, 20);
    CHECK_INT(memory_plan_caches(&p) / MIB, 112);
    p = plan_of(450, 350, 20);
    CHECK_INT(memory_plan_caches(&p) / MIB, 50); // what is left
    p = plan_of(450, 430, 20);
    CHECK_INT(memory_plan_caches(&p), 0);
    p.workspaces = SIZE_MAX;
    CHECK_INT(memory_plan_caches(&p), 0);
    CHECK(memory_plan_sum(&p) == SIZE_MAX);
}

static void expect(const struct memory_plan *p, const char *words) {
    struct errmsg msg = {0};
    enum err e = memory_plan_check(p, &msg);
    if (!words)
        CHECK_OK(e, msg);
    else if (!CHECK(e == ERR_TOO_LARGE && strstr(msg.text, words)))
        fprintf(stderr, "    said '%s', not '%s'\n", msg.text, words);
}

static void test_check(void) {
    struct memory_plan p = plan_of(450, 100, 20);
    p.caches = 300 * MIB;
    expect(&p, NULL); // to the last byte
    p.caches++;
    expect(&p, "451 MiB of memory are needed (100 for program and weights, 20 for workspaces, 301 "
               "for keys and values, 30 kept for requests), and 450 MiB are all there is "
               "(memory.max of /a); lower --kv-cache-mib");
    p = plan_of(450, 100, 20);
    p.spare = 200 * MIB;
    CHECK_INT(memory_plan_caches(&p) / MIB, 100);
    p.caches = 101 * MIB;
    expect(&p, "451 MiB of memory are needed (100 for program and weights, 20 for workspaces, 101 "
               "for keys and values, 200 to go on with when the worker is lost, 30 kept for "
               "requests), and 450 MiB are all there is");
    p = plan_of(450, 100, 400);
    expect(&p, "; lower --max-length, --max-sequences or the batch (--max-batch-tokens)");
    p = plan_of(450, 440, 20);
    expect(&p, "; serve fewer models, or smaller ones");
    p.workspaces = SIZE_MAX;
    expect(&p, "lower --max-length");

    struct errmsg msg = {0};
    p = plan_of(450, 100, 0);
    CHECK_OK(memory_plan_check_weights(&p, "/m", 350 * MIB, &msg), msg);
    CHECK(memory_plan_check_weights(&p, "/m", 350 * MIB + 1, &msg) == ERR_TOO_LARGE);
    CHECK_STR(msg.text, "/m: its weights take 351 MiB of memory beside the 100 that are taken, and "
                        "450 MiB are all there is (memory.max of /a)");
    CHECK(memory_plan_check_weights(&p, "/m", SIZE_MAX, &msg) == ERR_TOO_LARGE);

    p = plan_of(400, 350, 38);
    CHECK(memory_plan_no_room(&p, memory_plan_caches(&p), &msg) == ERR_TOO_LARGE);
    CHECK_STR(
        msg.text,
        "0 MiB of memory are left for keys and values, too little for one text: of the 400 MiB "
        "that there are (memory.max of /a), 350 are for program and weights, 38 for workspaces "
        "and 30 kept for requests; serve fewer models, or smaller ones");
}

int main(void) {
    test_caches();
    test_check();
    struct memory_plan p;
    memory_plan_begin(&p);
    CHECK(p.resident > 0 && p.reserve >= 16 * MIB && p.limit.bytes > p.resident);
    return check_done();
}
