// How near a worker's numbers must be to the reference's: of the same kind of device the same bits,
// of another one within what its floats allow, and a greedy token where it was a clear one.
#include "engine/replica_worker_internal.h"
#include "tests/check.h"

#include <math.h>
#include <string.h>

enum { N = 8 };

static struct replica_worker w;

static struct worker_truth truth_of(const float *right, size_t n, bool narrow) {
    struct worker_truth t;
    CHECK_INT(replica_worker_truth_init(&t, n, NULL), ERR_OK);
    memcpy(t.right, right, n * sizeof *right);
    t.narrow = narrow;
    t.known = t.agreed = true;
    return t;
}

// Whether a row that is off by this part of its largest number is taken.
static bool takes_row(bool narrow, float part) {
    float right[N] = {0.5F, -2, 0, 1, 0.25F, 1e-6F, -1, 2}, got[N];
    struct worker_truth t = truth_of(right, N, narrow);
    memcpy(got, right, sizeof got);
    got[2] += 2 * part;
    bool taken = replica_worker_truth_agrees(&w, &t, got, false);
    replica_worker_truth_free(&t);
    return taken;
}

static bool takes_draw(bool narrow, float margin, float id, float logprob) {
    const float right[2] = {300, -1.5F}, got[2] = {id, logprob};
    struct worker_truth t = truth_of(right, 2, narrow);
    t.is_draw = true;
    t.margin = margin;
    bool taken = replica_worker_truth_agrees(&w, &t, got, false);
    replica_worker_truth_free(&t);
    return taken;
}

static void test_same_kind(void) {
    w.same_device = true;
    CHECK(takes_row(true, 0) && !takes_row(true, 1e-7F) && !takes_row(false, 1e-7F));
    CHECK(takes_draw(true, 5, 300, -1.5F) && !takes_draw(true, 0, 300, -1.5001F));
    CHECK(!takes_draw(true, 0, 301, -1.5F));
}

static void test_other_kind(void) {
    w.same_device = false;
    CHECK(takes_row(false, 0) && takes_row(false, 9e-5F) && !takes_row(false, 2e-4F));
    CHECK(takes_row(true, 0.018F) && !takes_row(true, 0.03F));
    CHECK(!takes_row(true, NAN) && !takes_row(true, INFINITY) && !takes_row(false, -INFINITY));

    CHECK(takes_draw(true, 3, 300, -1.6F) && !takes_draw(true, 3, 300, -2));
    CHECK(takes_draw(false, 3, 300, -1.5005F) && !takes_draw(false, 3, 300, -1.51F));
    // another token: only where the two were as good as equal. 300 and 301 are no near numbers
    CHECK(!takes_draw(true, 3, 301, -1.5F) && takes_draw(true, 0.1F, 301, -1.55F));
    CHECK(!takes_draw(false, 0.1F, 301, -1.5F) && takes_draw(false, 1e-4F, 7, -1.5F));
    CHECK(!takes_draw(true, 0.1F, -1, -1.5F) && !takes_draw(true, 0, 300, NAN));
}

// Without a reference: what a first life says is held against the second, and two later lives that
// agree are believed before a first one that nobody agreed with; near is enough for another kind.
static void test_without_reference(void) {
    const float first[1] = {1}, other[1] = {2}, near[1] = {2.02F};
    w.same_device = false;
    for (int exact = 0; exact < 2; exact++) {
        struct worker_truth t;
        CHECK_INT(replica_worker_truth_init(&t, 1, NULL), ERR_OK);
        t.narrow = !exact;
        CHECK(replica_worker_truth_agrees(&w, &t, first, true) && !t.agreed);
        CHECK(!replica_worker_truth_agrees(&w, &t, other, true));
        CHECK_INT(replica_worker_truth_agrees(&w, &t, near, true), !exact);
        CHECK_INT(t.agreed, !exact);
        replica_worker_truth_free(&t);
    }
}

int main(void) {
    test_same_kind();
    test_other_kind();
    test_without_reference();
    return check_done();
}
