// Whose job comes next in a lane: owners by turns, what comes before all others' at nobody's cost,
// and more owners than there are lists.
#include "base/mem.h"
#include "engine/lane_queue.h"
#include "tests/check.h"

enum { MANY = 40 };

static struct lane_queue *queue;

static void push(struct job *job, uint64_t owner, enum job_urgency urgent) {
    *job = (struct job){.owner = owner, .urgent = urgent};
    lane_queue_push(queue, job);
}

// The next batch, of one job with this many tokens, which leaves.
static struct job *take(size_t tokens) {
    lane_queue_begin(queue);
    struct job *job = lane_queue_next(queue);
    if (job)
        lane_queue_took(queue, job, tokens, LANE_LEAVES);
    return job;
}

static bool everything(void *ctx, struct job *job) {
    (void)ctx, (void)job;
    return true;
}

static void empty(void) {
    struct job_list out = {0};
    lane_queue_sweep(queue, everything, NULL, &out);
    CHECK_INT(lane_queue_count(queue), 0);
    CHECK_INT(queue->owner_count, 0);
    CHECK(!take(1));
}

// An owner that comes while another waits behind an urgent flood takes turns with it from the
// first job on.
static void before_all(void) {
    struct job first[2], a[MANY], b[MANY];
    for (int i = 0; i < MANY; i++)
        push(&a[i], 1, JOB_IN_ORDER);
    CHECK(take(100) == &a[0]);
    for (int i = 0; i < 2; i++)
        push(&first[i], 3, JOB_BEFORE_ALL);
    for (int i = 0; i < 2; i++)
        CHECK(take(20000) == &first[i]);
    push(&first[0], 3, JOB_BEFORE_ALL); // one is left, as where a batch is full
    lane_queue_begin(queue);
    CHECK(lane_queue_next(queue) == &first[0]);
    lane_queue_took(queue, &first[0], 20000, LANE_STAYS);
    for (int i = 0; i < MANY; i++)
        push(&b[i], 2, JOB_IN_ORDER);
    CHECK(take(20000) == &first[0]);
    int of_a = 0, of_b = 0;
    for (int i = 0; i < 20; i++)
        take(100)->owner == 1 ? of_a++ : of_b++;
    CHECK(of_a >= 9 && of_b >= 9);
    empty();
}

// With all lists taken: an ordinary job never comes with those that are before all, nor these with
// it.
static void full(void) {
    static struct job jobs[LANE_OWNERS + 8], last;
    struct job early;
    push(&early, 5, JOB_BEFORE_ALL); // the first list of all
    for (uint64_t i = 0; i < LANE_OWNERS + 8; i++)
        push(&jobs[i], i + LANE_OWNERS, JOB_IN_ORDER);
    push(&last, 5, JOB_BEFORE_ALL);
    CHECK(take(1) == &early);
    CHECK(take(1) == &last);
    for (uint64_t i = 0; i < LANE_OWNERS + 8; i++)
        CHECK(take(1) && true);
    empty();
    for (uint64_t i = 0; i < LANE_OWNERS + 8; i++)
        push(&jobs[i], i + LANE_OWNERS, JOB_IN_ORDER);
    push(&last, 5, JOB_BEFORE_ALL); // comes when all lists are taken
    CHECK(take(1) == &last);
    empty();
}

int main(void) {
    queue = mem_calloc(1, sizeof *queue);
    if (!CHECK(queue != NULL))
        return check_done();
    before_all();
    full();
    mem_free(queue);
    return check_done();
}
