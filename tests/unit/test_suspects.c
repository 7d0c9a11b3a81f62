// The pieces of jobs that were lost: in the order of their deadlines, then of their coming; cut by
// model, normalisation and room, or by job; none is lost where there is no memory for more.
#include "base/fault.h"
#include "engine/suspects.h"
#include "tests/check.h"

enum { JOBS = 5, SEQS = 3, TOKENS = 4 };

static struct model models[2];
static struct job jobs[JOBS];
static int32_t ids[SEQS * TOKENS], cu_seqlens[SEQS + 1] = {0, 4, 8, 12};

static struct encode_slot *slot_new(size_t most_tokens) {
    struct encode_room room = {.tokens = 64, .seqs = 16, .dim = 1};
    struct encode_slot *slot = encode_slot_new(&room, most_tokens);
    CHECK(slot != NULL);
    return slot;
}

static void put(struct suspects *q, struct encode_slot *slot, size_t job, size_t seq) {
    encode_slot_clear(slot);
    CHECK(encode_slot_add(slot, &jobs[job], seq, SIZE_MAX));
    CHECK_INT(suspects_add(q, slot), ERR_OK);
}

static void check_piece(const struct encode_slot *slot, size_t i, size_t job, size_t seq) {
    CHECK(i < slot->seqs && slot->pieces[i].job == &jobs[job] && slot->pieces[i].seq == seq);
}

static bool is_not_third(void *ctx, struct encode_piece *p) {
    ++*(int *)ctx;
    return p->job != &jobs[3];
}

int main(void) {
    struct suspects q = {0};
    struct encode_slot *slot = slot_new(12);
    for (size_t i = 0; i < JOBS; i++)
        jobs[i] = (struct job){.model = &models[i == 2],
                               .ids = ids,
                               .type_ids = ids,
                               .cu_seqlens = cu_seqlens,
                               .seqs = SEQS,
                               .normalize = true,
                               .submitted_us = (int64_t)(10 - i)};
    jobs[0].deadline_us = 900; // last of those that have one
    jobs[1].deadline_us = 500;
    jobs[2].deadline_us = 700; // of the other model
    CHECK(!suspects_cut(&q, slot, false, SIZE_MAX));
    put(&q, slot, 3, 1); // no deadline, and came behind 4
    put(&q, slot, 4, 0);
    put(&q, slot, 0, 2);
    put(&q, slot, 2, 0);
    put(&q, slot, 0, 0);
    put(&q, slot, 1, 1);
    put(&q, slot, 3, 0);
    CHECK_INT(q.count, 7);

    // three of the first one's model fit; the other model's one is left where it is
    CHECK(suspects_cut(&q, slot, false, SIZE_MAX));
    CHECK_INT(slot->seqs, 3);
    check_piece(slot, 0, 1, 1);
    check_piece(slot, 1, 0, 0);
    check_piece(slot, 2, 0, 2);
    CHECK(suspects_cut(&q, slot, false, SIZE_MAX));
    CHECK_INT(slot->seqs, 1);
    check_piece(slot, 0, 2, 0);
    CHECK_INT(q.count, 3);

    // one job at a time
    put(&q, slot, 4, 1);
    CHECK(suspects_cut(&q, slot, true, SIZE_MAX));
    CHECK_INT(slot->seqs, 2);
    check_piece(slot, 0, 4, 0);
    check_piece(slot, 1, 4, 1);

    // another normalisation is another batch
    jobs[1].normalize = false;
    put(&q, slot, 1, 0);
    put(&q, slot, 0, 1);
    CHECK(suspects_cut(&q, slot, false, SIZE_MAX));
    CHECK_INT(slot->seqs, 1);
    check_piece(slot, 0, 1, 0);

    int asked = 0;
    suspects_filter(&q, is_not_third, &asked);
    CHECK_INT(asked, 3);
    CHECK_INT(q.count, 1);

    // without memory none of the slot's is taken, and those that are there stay
    encode_slot_clear(slot);
    for (size_t i = 0; i < 3; i++)
        CHECK(encode_slot_add(slot, &jobs[4], i, SIZE_MAX));
    while (q.count + slot->seqs <= q.room)
        CHECK_INT(suspects_add(&q, slot), ERR_OK);
    size_t count = q.count;
    fault_arm(FAULT_ALLOC, 1, true);
    CHECK_INT(suspects_add(&q, slot), ERR_NOMEM);
    fault_disarm();
    CHECK_INT(q.count, count);
    CHECK_INT(suspects_add(&q, slot), ERR_OK);
    CHECK_INT(q.count, count + 3);
    suspects_free(&q);
    encode_slot_free(slot);
    return check_done();
}
