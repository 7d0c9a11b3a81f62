// The codec's steps and masks on their way to the worker: random ones come out as they went in, and
// each field that is wrong by itself is refused.
#include "tests/unit/wire_step_kit.h"

static struct errmsg msg;
static _Alignas(WIRE_ALIGN) unsigned char bulk[1 << 18], mask_bulk[1 << 16];
static const struct wire_place *place = &kit_place;
static struct step *sent_step, *got_step;
static struct replica_step sent, got;
static struct wire_block block;
static size_t answer;
static bool draw;

static bool takes_step(const struct channel_message *m) {
    return wire_read_step(m, bulk, place, got_step, &got, &draw, &answer, &msg) == ERR_OK;
}

static struct channel_message message(bool with_draw) {
    struct pack_writer w = wire_begin();
    memset(bulk, 0xA5, sizeof bulk);
    CHECK_OK(wire_size_step(&sent, &block, &msg), msg);
    wire_write_step(&w, &sent, with_draw, bulk);
    CHECK(bulk[block.request] == 0xA5 && bulk[block.request + 63] == 0xA5);
    return wire_message(WIRE_STEP, &w, block.request);
}

static bool same(const void *a, const void *b, size_t n) {
    return n == 0 || memcmp(a, b, n * 4) == 0;
}

static void check_arrays(const struct step *a, const struct step *b) {
    CHECK(a->tokens == b->tokens && a->seqs == b->seqs && a->logits == b->logits);
    CHECK(same(a->ids, b->ids, a->tokens) && same(a->positions, b->positions, a->tokens) &&
          same(a->slots, b->slots, a->tokens) && same(a->cu_seqlens, b->cu_seqlens, a->seqs + 1) &&
          same(a->context_lens, b->context_lens, a->seqs) &&
          same(a->logit_rows, b->logit_rows, a->logits));
    CHECK(memcmp(a->first_logit, b->first_logit, a->seqs * sizeof *a->first_logit) == 0);
    for (size_t i = 0; i < a->seqs; i++)
        CHECK(same(a->block_tables + i * a->table_stride, b->block_tables + i * b->table_stride,
                   a->parts[i].block_count));
}

static void check_sampling(const struct sampling *a, const struct sampling *b) {
    CHECK(same(&a->temperature, &b->temperature, 1) && same(&a->top_p, &b->top_p, 1) &&
          same(&a->min_p, &b->min_p, 1) && a->top_k == b->top_k &&
          same(&a->repetition_penalty, &b->repetition_penalty, 1) &&
          same(&a->presence_penalty, &b->presence_penalty, 1) &&
          same(&a->frequency_penalty, &b->frequency_penalty, 1) && a->seed == b->seed &&
          a->bias_count == b->bias_count && same(a->bias, b->bias, 2 * a->bias_count));
}

static void check_part(const struct step_part *a, const struct step_part *b) {
    CHECK(a->sequence == b->sequence && a->count == b->count && a->context == b->context &&
          a->block_count == b->block_count && a->wanted == b->wanted && a->draws == b->draws &&
          a->top == b->top && a->want_logprob == b->want_logprob && a->masked == b->masked);
    CHECK(b->mask_count == 0 && b->drawn == 0 && !b->late && !b->err);
    if (!a->draws) {
        CHECK(same(a->next, b->next, a->wanted));
        return;
    }
    CHECK(a->position == b->position && a->prompt_len == b->prompt_len && a->logged == b->logged &&
          a->end_count == b->end_count && same(a->end_ids, b->end_ids, a->end_count));
    check_sampling(&a->sampling, &b->sampling);
    if (sampling_penalizes(&a->sampling))
        CHECK(same(a->tokens, b->tokens, a->prompt_len + a->logged));
}

static void test_random_steps(void) {
    for (int round = 0; round < 500; round++) {
        bool masked = kit_step(sent_step, 1 + wire_random(KIT_SEQS));
        sent = (struct replica_step){.work = {.model = 3, .share = SHARE_DECODE},
                                     .place = 4,
                                     .step = sent_step,
                                     .prompt_part = 0.25 * wire_random(5)};
        sent.work.share = wire_random(2) ? SHARE_DECODE : SHARE_PREFILL;
        struct channel_message m = message(!masked);
        if (!CHECK(takes_step(&m)))
            printf("    %s\n", msg.text);
        CHECK(got.work.model == 3 && got.work.share == sent.work.share && got.step == got_step &&
              got.prompt_part == sent.prompt_part && draw == !masked && answer == block.answer);
        check_arrays(sent_step, got_step);
        for (size_t i = 0; i < got_step->seqs; i++)
            check_part(&sent_step->parts[i], &got_step->parts[i]);
    }
}

// ---- one field wrong

// A step of one part of this kind, which is plain but for what the test changes.
static struct channel_message one(unsigned kind) {
    struct step_part p = kit_part_of(0, kind);
    p.masked = false;
    if (p.draws) {
        p.end_count = KIT_ENDS;
        p.sampling.repetition_penalty = 2; // its tokens go across
        p.sampling.bias_count = 2;
    }
    step_clear(sent_step);
    CHECK(step_add(sent_step, &p) != NULL);
    sent = (struct replica_step){
        .work = {.model = 3, .share = SHARE_DECODE}, .place = 4, .step = sent_step};
    return message(true);
}

static void test_payload(void) {
    struct channel_message m = one(3);
    wire_check_lengths(m, takes_step);
    CHECK(!wire_takes_u64(&m, takes_step, wire_payload, 0, 5));
    CHECK(!wire_takes_u32(&m, takes_step, wire_payload, 8, SHARE_BULK));
    CHECK(!wire_takes_u32(&m, takes_step, wire_payload, 8, SHARE_COUNT));
    CHECK(!wire_takes_u32(&m, takes_step, wire_payload, 12, 2));
    static const double wrong[] = {-0.01, 1.01, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++)
        CHECK(!wire_takes_with(&m, takes_step, wire_payload, 16, &wrong[i], 8));
    static const uint32_t counts[] = {0, 2, KIT_SEQS + 1, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        CHECK(!wire_takes_u32(&m, takes_step, wire_payload, 24, counts[i]));
        CHECK(!wire_takes_u32(&m, takes_step, wire_payload, 28,
                              counts[i] ? counts[i] + (uint32_t)sent_step->tokens : 0));
    }
    for (size_t length = 0; length < m.bulk_length + 64; length++) {
        struct channel_message other = m;
        other.bulk_length = length;
        CHECK(takes_step(&other) == (length == m.bulk_length));
    }
    place = NULL;
    CHECK(!takes_step(&m));
    place = &kit_place;
    CHECK(takes_step(&m));
    sent_step->parts[0].masked = true;
    m = message(true); // drawn without its mask
    CHECK(!takes_step(&m));
    m = message(false);
    CHECK(takes_step(&m));
}

// Where a part's numbers stand in its record.
enum {
    AT_POSITION = 8,
    AT_COUNT = 16,
    AT_CONTEXT = 20,
    AT_BLOCKS = 24,
    AT_WANTED = 28,
    AT_PROMPT = 32,
    AT_LOGGED = 36,
    AT_ENDS = 40,
    AT_TOP = 44,
    AT_FLAGS = 48,
    AT_ZERO = 52,
    AT_SEED = 56,
    AT_TEMPERATURE = 64,
    AT_TOP_P = 68,
    AT_MIN_P = 72,
    AT_TOP_K = 76,
    AT_REPETITION = 80,
    AT_PRESENCE = 84,
    AT_FREQUENCY = 88,
    AT_BIASES = 92,
    AT_END = 96,
};

static void test_counts(void) {
    struct channel_message m = one(2);
    const struct step_part *p = &sent_step->parts[0];
    const struct {
        size_t at;
        uint32_t is;
    } counts[] = {{AT_COUNT, (uint32_t)p->count},        {AT_CONTEXT, (uint32_t)p->context},
                  {AT_BLOCKS, (uint32_t)p->block_count}, {AT_WANTED, (uint32_t)p->wanted},
                  {AT_PROMPT, (uint32_t)p->prompt_len},  {AT_LOGGED, (uint32_t)p->logged},
                  {AT_ENDS, (uint32_t)p->end_count},     {AT_BIASES, 2}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i].at != AT_CONTEXT && counts[i].at != AT_WANTED) {
            CHECK(!wire_takes_u32(&m, takes_step, bulk, counts[i].at, counts[i].is + 1));
            CHECK(!wire_takes_u32(&m, takes_step, bulk, counts[i].at, counts[i].is - 1));
        }
        CHECK(!wire_takes_u32(&m, takes_step, bulk, counts[i].at, UINT32_MAX));
        CHECK(!wire_takes_u32(&m, takes_step, bulk, counts[i].at, INT32_MAX));
    }
    // a table that is too short for the context, and a context that the model has no positions for
    uint32_t room = (uint32_t)(p->block_count * KIT_BLOCK - p->count);
    CHECK(wire_takes_u32(&m, takes_step, bulk, AT_CONTEXT, room) ||
          room + p->count > kit_place.max_length);
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_CONTEXT, room + 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_CONTEXT, KIT_CONTEXT));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_WANTED, 0));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_WANTED, (uint32_t)p->count + 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_WANTED, STEP_ROWS_MOST + 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_TOP, SAMPLING_MAX_TOP + 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_FLAGS, 8 | 1));
    CHECK(
        !wire_takes_u32(&m, takes_step, bulk, AT_FLAGS, 0)); // then nothing of a draw may be there
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_ZERO, 1));
    CHECK(!wire_takes_u64(&m, takes_step, bulk, AT_POSITION, p->position + 1));
    CHECK(!wire_takes_u64(&m, takes_step, bulk, AT_POSITION, p->position - 1));
    CHECK(!wire_takes_u64(&m, takes_step, bulk, AT_POSITION, UINT64_MAX));
    CHECK(wire_takes_u64(&m, takes_step, bulk, 0, 0)); // any number names a sequence
    CHECK(wire_takes_u64(&m, takes_step, bulk, AT_SEED, UINT64_MAX));
    // a sequence as long as the model takes, and one token longer
    struct step_part longest = kit_part_of(0, 0);
    longest.count = 4;
    longest.context = KIT_CONTEXT - 2 - 4;
    longest.block_count = KIT_CONTEXT / KIT_BLOCK;
    for (int over = 0; over < 2; over++, longest.context++) {
        step_clear(sent_step);
        CHECK(step_add(sent_step, &longest) != NULL);
        m = message(true);
        CHECK(takes_step(&m) == !over);
    }
}

static void test_sampling(void) {
    struct channel_message m = one(3);
    static const struct {
        size_t at;
        float wrong[4];
    } numbers[] = {
        {AT_TEMPERATURE, {-0.1F, NAN, INFINITY, -INFINITY}},
        {AT_TOP_P, {0, -1, 1.001F, NAN}},
        {AT_MIN_P, {-0.001F, 1.001F, NAN, INFINITY}},
        {AT_REPETITION, {0, -1, NAN, INFINITY}},
        {AT_PRESENCE, {-2.01F, 2.01F, NAN, INFINITY}},
        {AT_FREQUENCY, {-2.01F, 2.01F, NAN, -INFINITY}},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (size_t k = 0; k < 4; k++)
            CHECK(!wire_takes_f32(&m, takes_step, bulk, numbers[i].at, numbers[i].wrong[k]));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_TOP_K, UINT32_MAX));
    CHECK(wire_takes_f32(&m, takes_step, bulk, AT_TEMPERATURE, 2));
    m = one(0); // of a part that draws nothing all of it is zero
    CHECK(takes_step(&m));
    for (size_t at = AT_SEED; at < AT_END; at++)
        CHECK(!wire_takes_with(&m, takes_step, bulk, at, "\1", 1));
    CHECK(!wire_takes_u64(&m, takes_step, bulk, AT_POSITION, 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_PROMPT, 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_LOGGED, 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_ENDS, 1));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_FLAGS, 4)); // masked
}

// Numbers of arrays out of their ranges: `n` of them from `at` on.
static size_t wrong_at(const struct channel_message *m, size_t at, size_t n, int32_t below) {
    for (size_t i = 0; i < n; i++) {
        CHECK(!wire_takes_u32(m, takes_step, bulk, at + 4 * i, (uint32_t)below));
        CHECK(!wire_takes_u32(m, takes_step, bulk, at + 4 * i, (uint32_t)-2));
        CHECK(!wire_takes_u32(m, takes_step, bulk, at + 4 * i, (uint32_t)INT32_MIN));
    }
    return at + 4 * n;
}

static void test_arrays(void) {
    struct channel_message m = one(3);
    const struct step_part *p = &sent_step->parts[0];
    CHECK(takes_step(&m));
    size_t at = wrong_at(&m, AT_END, p->count, KIT_VOCAB);
    at = wrong_at(&m, at, p->block_count, KIT_BLOCKS);
    at = wrong_at(&m, at, p->prompt_len + p->logged, KIT_VOCAB);
    at = wrong_at(&m, at, p->end_count, KIT_VOCAB);
    for (size_t i = 0; i < 2; i++, at += 8) {
        (void)wrong_at(&m, at, 1, KIT_VOCAB);
        CHECK(!wire_takes_f32(&m, takes_step, bulk, at + 4, NAN));
        CHECK(wire_takes_f32(&m, takes_step, bulk, at + 4, INFINITY)); // the part fails by it
        CHECK(wire_takes_f32(&m, takes_step, bulk, at + 4, -INFINITY));
    }
    CHECK_INT(at, m.bulk_length);
    m = one(1);
    p = &sent_step->parts[0];
    at = AT_END + 4 * (p->count + p->block_count);
    at = wrong_at(&m, at, p->wanted, KIT_VOCAB);
    CHECK_INT(at, m.bulk_length);
    // the last drawn token: of a part that draws one from it alone, at the position behind
    m = one(4);
    CHECK(takes_step(&m));
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_END, 3));
    CHECK(!wire_takes_u64(&m, takes_step, bulk, AT_POSITION, sent_step->parts[0].position - 1));
    m = one(0);
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_END, (uint32_t)STEP_LAST_DRAWN));
    m = one(2);
    CHECK(!wire_takes_u32(&m, takes_step, bulk, AT_END, (uint32_t)STEP_LAST_DRAWN));
}

// More rows, sequences or logits than the place's steps have.
static void test_limits(void) {
    struct wire_place small = kit_place;
    struct step *step, *was = got_step;
    small.options.limits = (struct step_limits){.block_tokens = KIT_BLOCK,
                                                .max_tokens = 8,
                                                .max_seqs = 2,
                                                .max_logits = 3,
                                                .max_context = 64};
    if (!CHECK(step_new(&small.options.limits, &step) == ERR_OK))
        return;
    place = &small;
    got_step = step;
    struct step_part p = kit_part_of(0, 1);
    for (size_t parts = 1; parts <= 3; parts++)
        for (size_t count = 1; count <= 9; count++)
            for (size_t wanted = 0; wanted <= count && wanted <= 4; wanted++) {
                step_clear(sent_step);
                for (size_t i = 0; i < parts; i++) {
                    p.count = count;
                    p.wanted = wanted;
                    p.context = 0;
                    p.block_count = 1;
                    CHECK(step_add(sent_step, &p) != NULL);
                }
                struct channel_message m = message(true);
                CHECK(takes_step(&m) == (parts <= 2 && parts * count <= 8 && parts * wanted <= 3));
            }
    step_free(step);
    got_step = was;
    place = &kit_place;
}

// ---- DRAW

static bool takes_draw(const struct channel_message *m) {
    for (size_t i = 0; i < got_step->seqs; i++)
        got_step->parts[i].mask_count = 0;
    return wire_read_draw(m, mask_bulk, KIT_VOCAB, got_step, &msg) == ERR_OK;
}

static struct channel_message draw_message(void) {
    struct pack_writer w = wire_begin();
    memset(mask_bulk, 0xA5, sizeof mask_bulk);
    CHECK_OK(wire_size_draw(sent_step, KIT_VOCAB, &block, &msg), msg);
    wire_write_draw(&w, sent_step, KIT_VOCAB, mask_bulk);
    CHECK(mask_bulk[block.request] == 0xA5);
    return wire_message(WIRE_DRAW, &w, block.request);
}

static void test_random_masks(void) {
    size_t seen = 0;
    for (int round = 0; round < 500; round++) {
        (void)kit_step(sent_step, 1 + wire_random(KIT_SEQS));
        struct channel_message m = message(false);
        CHECK(takes_step(&m));
        kit_masks(sent_step);
        m = draw_message();
        wire_check_lengths(m, takes_draw);
        CHECK(takes_draw(&m));
        for (size_t i = 0; i < sent_step->seqs; i++) {
            const struct step_part *a = &sent_step->parts[i], *b = &got_step->parts[i];
            CHECK_INT(a->mask_count, b->mask_count);
            for (size_t k = 0; k < a->mask_count; k++, seen++)
                CHECK(a->masks[k] ? b->masks[k] && same(a->masks[k], b->masks[k], KIT_WORDS)
                                  : !b->masks[k]);
        }
    }
    CHECK(seen > 100);
}

static void test_wrong_masks(void) {
    step_clear(sent_step);
    for (size_t i = 0; i < 3; i++) { // the middle one is masked
        struct step_part p = kit_part_of(i, 3);
        p.masked = i == 1;
        p.count = p.wanted = 3;
        p.context = 0;
        p.block_count = 1;
        CHECK(step_add(sent_step, &p) != NULL);
    }
    struct channel_message m = message(false);
    CHECK(takes_step(&m));
    struct step_part *p = &sent_step->parts[1];
    p->mask_count = 2;
    p->masks[0] = kit_parts[0].masks[0];
    p->masks[1] = NULL;
    m = draw_message();
    CHECK(takes_draw(&m));
    CHECK(!wire_takes_u32(&m, takes_draw, wire_payload, 0, 0));
    CHECK(!wire_takes_u32(&m, takes_draw, wire_payload, 0, 2));
    CHECK(!wire_takes_u32(&m, takes_draw, wire_payload, 0, UINT32_MAX));
    static const uint32_t parts[] = {0, 2, 3, UINT32_MAX}, counts[] = {0, 4, UINT32_MAX},
                          there[] = {0, 2, 3, 4, 5, 1U << 31 | 1};
    for (size_t i = 0; i < 4; i++)
        CHECK(!wire_takes_u32(&m, takes_draw, mask_bulk, 0, parts[i]));
    for (size_t i = 0; i < 3; i++)
        CHECK(!wire_takes_u32(&m, takes_draw, mask_bulk, 4, counts[i]));
    for (size_t i = 0; i < 6; i++)
        CHECK(takes_draw(&m) && (i == 1 || // the other row's instead is a mask as well
                                 !wire_takes_u32(&m, takes_draw, mask_bulk, 8, there[i])));
    CHECK(!wire_takes_u32(&m, takes_draw, mask_bulk, 12, 1));
    for (size_t length = 0; length < m.bulk_length + 40; length++) {
        struct channel_message other = m;
        other.bulk_length = length;
        CHECK(takes_draw(&other) == (length == m.bulk_length));
    }
    // a part named twice
    memcpy(mask_bulk + m.bulk_length, mask_bulk, m.bulk_length);
    m.bulk_length *= 2;
    CHECK(!wire_takes_u32(&m, takes_draw, wire_payload, 0, 2));
}

int main(void) {
    if (step_new(&kit_place.options.limits, &sent_step) ||
        step_new(&kit_place.options.limits, &got_step))
        return 1;
    test_random_steps();
    test_payload();
    for (int i = 0; i < 20; i++) { // of other parts each time
        test_counts();
        test_sampling();
        test_arrays();
    }
    test_limits();
    test_random_masks();
    test_wrong_masks();
    step_free(sent_step);
    step_free(got_step);
    return check_done();
}
