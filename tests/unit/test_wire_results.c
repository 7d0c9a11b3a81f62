// The codec's results of steps: what a device can give is read back as it was, and what it cannot
// have given is refused: tokens that a mask forbids, that go on from a draft which did not come
// true, that are none, or of which there are more than rows.
#include "tests/unit/wire_step_kit.h"

static struct errmsg msg;
static _Alignas(WIRE_ALIGN) unsigned char bulk[1 << 18];
// The parent's, and the worker's copy of it.
static struct step *step, *there;
static struct wire_done done;

static bool takes(const struct channel_message *m) {
    return wire_read_step_done(m, bulk, step, KIT_VOCAB, 1000, 2000, &done, &msg) == ERR_OK;
}

static struct channel_message message(void) {
    struct pack_writer w = wire_begin();
    memset(bulk, 0xA5, sizeof bulk);
    size_t length = wire_write_step_done(&w, there, ERR_OK, NULL, 1500, bulk);
    CHECK(bulk[length] == 0xA5);
    return wire_message(WIRE_STEP_DONE, &w, length);
}

// As the worker has it: the codec's way there is test_wire_step's.
static void copy_step(void) {
    step_clear(there);
    for (size_t i = 0; i < step->seqs; i++) {
        struct step_part p = step->parts[i];
        p.ids = step->ids + step->cu_seqlens[i];
        p.blocks = step->block_tables + i * step->table_stride;
        struct step_part *to = step_add(there, &p);
        if (!CHECK(to != NULL))
            return;
        to->mask_count = step->parts[i].mask_count;
        memcpy(to->masks, step->parts[i].masks, sizeof to->masks);
    }
}

static void check_result(const struct sampling_result *a, const struct sampling_result *b) {
    CHECK(a->id == b->id && b->end == SAMPLING_DRAWN && a->top_count == b->top_count);
    CHECK(memcmp(&a->logprob, &b->logprob, sizeof a->logprob) == 0);
    CHECK(memcmp(a->top, b->top, a->top_count * sizeof *a->top) == 0);
}

static void test_random_results(void) {
    size_t lates = 0, faults = 0, drafts = 0;
    for (int round = 0; round < 1000; round++) {
        (void)kit_step(step, 1 + wire_random(KIT_SEQS));
        kit_masks(step);
        copy_step();
        kit_results(there);
        struct replica_step asked = {.step = step};
        struct wire_block block;
        CHECK_OK(wire_size_step(&asked, &block, &msg), msg);
        struct channel_message m = message();
        CHECK(m.bulk_length <= block.answer);
        if (!CHECK(takes(&m)))
            printf("    %s\n", msg.text);
        CHECK(done.verdict.code == ERR_OK && done.began_us == 1500);
        for (size_t i = 0; i < step->seqs; i++) {
            const struct step_part *a = &there->parts[i], *b = &step->parts[i];
            CHECK(a->drawn == b->drawn && a->late == b->late && a->fault == b->fault &&
                  a->err == b->err);
            for (size_t k = 0; k < a->drawn; k++)
                check_result(&a->results[k], &b->results[k]);
            lates += b->late;
            faults += b->err != ERR_OK;
            drafts += b->draws && b->drawn > 1;
        }
        if (round < 50)
            wire_check_lengths(m, takes);
        for (size_t length = 0; round < 50 && length < m.bulk_length + 20; length++) {
            struct channel_message other = m;
            other.bulk_length = length;
            CHECK(takes(&other) == (length == m.bulk_length));
        }
    }
    CHECK(lates > 50 && faults > 50 && drafts > 50);
}

static void test_errors(void) {
    struct errmsg why;
    (void)kit_step(step, 2);
    (void)err_set(&why, ERR_NOMEM, "no memory for a workspace");
    struct pack_writer w = wire_begin();
    CHECK_INT(wire_write_step_done(&w, step, ERR_NOMEM, &why, 0, bulk), 0);
    struct channel_message m = wire_message(WIRE_STEP_DONE, &w, 0);
    step->parts[0].drawn = 77;
    wire_check_lengths(m, takes);
    CHECK(takes(&m) && done.verdict.code == ERR_NOMEM && done.began_us == 0);
    CHECK_STR(done.verdict.text, why.text);
    CHECK_INT(step->parts[0].drawn, 77); // nothing was written
    m.bulk_length = 16;
    CHECK(!takes(&m));
    CHECK(!wire_takes_u32(&m, takes, wire_payload, 0, ERR_LOST));
}

// ---- one thing wrong

// One part of three rows: its drafts are 11 and 12, and it draws 11, 12, 13.
static struct step_part *drafted(bool masked) {
    static const int32_t ids[3] = {10, 11, 12};
    struct step_part p = kit_part_of(0, 3);
    p.masked = masked;
    p.end_count = 0;
    p.ids = ids;
    p.count = p.wanted = 3;
    p.context = 0;
    p.block_count = 1;
    p.top = 2;
    step_clear(step);
    CHECK(step_add(step, &p) != NULL);
    struct step_part *s = &step->parts[0];
    for (size_t k = 0; k < 3; k++) {
        memset(kit_parts[0].masks[k], 0xFF, sizeof kit_parts[0].masks[k]);
        s->masks[k] = kit_parts[0].masks[k];
    }
    s->mask_count = masked ? 3 : 0;
    copy_step();
    struct step_part *t = &there->parts[0];
    for (int k = 0; k < 3; k++)
        there->results[k] = (struct sampling_result){.id = 11 + k,
                                                     .end = SAMPLING_DRAWN,
                                                     .logprob = -1,
                                                     .top_count = 2,
                                                     .top = {{5, -0.5F}, {11 + k, -1}}};
    t->drawn = 3;
    return t;
}

static void test_wrong_numbers(void) {
    // drawn, late, fault, zero; then rows of id, logprob, count, two tops
    enum { DRAWN = 0, LATE = 4, FAULT = 8, ZERO = 12, ID = 16, LOGPROB = 20, COUNT = 24, TOP = 28 };
    (void)drafted(false);
    struct channel_message m = message();
    CHECK_INT(m.bulk_length, 16 + 3 * 28);
    CHECK(takes(&m));
    static const uint32_t drawn[] = {0, 2, 4, UINT32_MAX};
    for (size_t i = 0; i < 4; i++)
        CHECK(!wire_takes_u32(&m, takes, bulk, DRAWN, drawn[i]));
    CHECK(!wire_takes_u32(&m, takes, bulk, LATE, 1));
    CHECK(!wire_takes_u32(&m, takes, bulk, LATE, 2));
    CHECK(!wire_takes_u32(&m, takes, bulk, FAULT, STEP_FAULT_NONFINITE)); // and yet all rows
    CHECK(!wire_takes_u32(&m, takes, bulk, FAULT, STEP_FAULT_COUNT));
    CHECK(!wire_takes_u32(&m, takes, bulk, FAULT, UINT32_MAX));
    CHECK(!wire_takes_u32(&m, takes, bulk, ZERO, 1));
    static const uint32_t ids[] = {UINT32_MAX, KIT_VOCAB, INT32_MAX, 1U << 31, 12, 13};
    for (size_t i = 0; i < 6; i++) // none, out of range, and not what the draft was
        CHECK(!wire_takes_u32(&m, takes, bulk, ID, ids[i]));
    CHECK(wire_takes_u32(&m, takes, bulk, ID + 56, 99)); // the last one is free
    static const float logprobs[] = {0.5F, NAN, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        CHECK(!wire_takes_f32(&m, takes, bulk, LOGPROB, logprobs[i]));
        CHECK(!wire_takes_f32(&m, takes, bulk, TOP + 4, logprobs[i]));
        CHECK(!wire_takes_f32(&m, takes, bulk, TOP + 12, logprobs[i]));
    }
    CHECK(wire_takes_f32(&m, takes, bulk, LOGPROB, -INFINITY)); // of numbers that are far apart
    CHECK(!wire_takes_f32(&m, takes, bulk, TOP + 4, -2));       // the second is likelier
    CHECK(!wire_takes_u32(&m, takes, bulk, TOP, KIT_VOCAB));
    CHECK(!wire_takes_u32(&m, takes, bulk, TOP + 8, UINT32_MAX));
    CHECK(!wire_takes_u32(&m, takes, bulk, COUNT, 1));
    CHECK(!wire_takes_u32(&m, takes, bulk, COUNT, 3));
    CHECK(!wire_takes_u32(&m, takes, bulk, COUNT, UINT32_MAX));
}

static void test_wrong_ends(void) {
    struct step_part *t = drafted(false);
    // it stopped though the draft came true, and nothing had failed
    for (size_t drawn = 0; drawn < 3; drawn++) {
        t->drawn = drawn;
        struct channel_message m = message();
        CHECK(!takes(&m));
        t->fault = STEP_FAULT_NONFINITE; // then the next row may have
        m = message();
        CHECK(takes(&m));
        t->fault = STEP_FAULT_NONE;
    }
    t->drawn = 2;
    there->results[1].id = 50; // the second one did not
    struct channel_message m = message();
    CHECK(takes(&m));
    t->fault = STEP_FAULT_ENDED; // of a row that was not tried
    m = message();
    CHECK(!takes(&m));
    t->fault = STEP_FAULT_NONE;
    static const int32_t end = 12;
    step->parts[0].end_ids = t->end_ids = &end;
    step->parts[0].end_count = t->end_count = 1;
    there->results[1].id = 12; // a token that ends it
    m = message();
    CHECK(takes(&m));
    t->drawn = 3; // and it went on
    m = message();
    CHECK(!takes(&m));
}

static void test_wrong_masks(void) {
    struct step_part *t = drafted(true);
    struct channel_message m = message();
    CHECK(takes(&m));
    for (int k = 0; k < 3; k++) { // a row's token is forbidden
        kit_parts[0].masks[k][0] &= ~(1U << (11 + k));
        CHECK(!takes(&m));
        step->parts[0].masks[k] = NULL;
        CHECK(takes(&m));
        step->parts[0].masks[k] = kit_parts[0].masks[k];
        kit_parts[0].masks[k][0] |= 1U << (11 + k);
    }
    step->parts[0].mask_count = 2; // a row without one was drawn
    CHECK(!takes(&m));
    t->drawn = 2;
    m = message();
    CHECK(takes(&m));
    step->parts[0].mask_count = 0;
    t->drawn = 0;
    m = message();
    CHECK(!takes(&m)); // nothing was drawn, and it does not say why
    t->late = true;
    m = message();
    CHECK(takes(&m) && step->parts[0].late);
    t->fault = STEP_FAULT_MEMORY;
    m = message();
    CHECK(!takes(&m));
    step->parts[0].mask_count = 3; // masks were there
    t->fault = STEP_FAULT_NONE;
    m = message();
    CHECK(!takes(&m));
}

static void test_wrong_scores(void) {
    static const int32_t ids[3] = {10, 11, 12};
    struct step_part p = kit_part_of(0, 1);
    p.ids = ids;
    p.count = p.wanted = 3;
    p.context = 0;
    p.block_count = 1;
    p.top = 0;
    p.want_logprob = false; // scores are told in any case
    step_clear(step);
    CHECK(step_add(step, &p) != NULL);
    copy_step();
    struct step_part *t = &there->parts[0];
    for (size_t k = 0; k < 3; k++)
        there->results[k] = (struct sampling_result){.id = p.next[k], .logprob = -2};
    t->drawn = 3;
    struct channel_message m = message();
    CHECK(takes(&m) && step->results[2].logprob == -2 && m.bulk_length == 16 + 3 * 8);
    CHECK(!wire_takes_u32(&m, takes, bulk, 16, (uint32_t)(p.next[0] + 1) % KIT_VOCAB));
    t->drawn = 2;
    m = message();
    CHECK(!takes(&m));
    t->fault = STEP_FAULT_NONFINITE;
    m = message();
    CHECK(takes(&m) && step->parts[0].err == ERR_NONFINITE);
    // a part of which nothing is wanted
    p = kit_part_of(0, 0);
    step_clear(step);
    CHECK(step_add(step, &p) != NULL);
    copy_step();
    m = message();
    CHECK(takes(&m) && step->parts[0].drawn == 0 && !step->parts[0].late);
    CHECK(!wire_takes_u32(&m, takes, bulk, 4, 1));
}

// One that goes on from what was drawn last may find that it is not there; no other may.
static void test_wrong_lates(void) {
    for (unsigned kind = 2; kind <= 4; kind++) {
        struct step_part p = kit_part_of(0, kind);
        p.masked = false;
        step_clear(step);
        CHECK(step_add(step, &p) != NULL);
        copy_step();
        there->parts[0].late = true;
        struct channel_message m = message();
        CHECK(takes(&m) == (kind == 4));
    }
}

int main(void) {
    if (step_new(&kit_place.options.limits, &step) || step_new(&kit_place.options.limits, &there))
        return 1;
    test_random_results();
    test_errors();
    test_wrong_numbers();
    test_wrong_ends();
    test_wrong_masks();
    test_wrong_scores();
    test_wrong_lates();
    step_free(step);
    step_free(there);
    return check_done();
}
