// The codec's batches: random ones come out as they went in, and each field that is wrong by itself
// is refused, on both sides.
#include "tests/unit/wire_kit.h"

enum { TOKENS = 600, SEQS = 80, LENGTH = 64, VOCAB = 1000, TYPES = 3, DIM = 5 };

static struct errmsg msg;
static _Alignas(WIRE_ALIGN) unsigned char bulk[1 << 16];
static const struct wire_model model = {.model = 6,
                                        .task = TASK_EMBED,
                                        .max_length = LENGTH,
                                        .dim = DIM,
                                        .vocab = VOCAB,
                                        .types = TYPES};
static const struct wire_model *known = &model;
static const struct wire_batch_limits limits = {.tokens = TOKENS, .seqs = SEQS};

static int32_t ids[TOKENS], positions[TOKENS], types[TOKENS], skip[SEQS], cu[SEQS + 1];
static struct replica_batch sent, got;
static size_t rows_bytes;

static bool takes_encode(const struct channel_message *m) {
    return wire_read_encode(m, bulk, known, &limits, &got, &rows_bytes, &msg) == ERR_OK;
}

static void make_batch(size_t seqs, size_t longest) {
    size_t n = 0;
    for (size_t s = 0; s < seqs; s++) {
        size_t length = 1 + wire_random((uint32_t)longest);
        length = n + length + (seqs - s - 1) > TOKENS ? 1 : length;
        for (size_t i = 0; i < length; i++, n++) {
            ids[n] = (int32_t)wire_random(VOCAB);
            positions[n] = (int32_t)i;
            types[n] = (int32_t)wire_random(TYPES);
        }
        skip[s] = (int32_t)wire_random(LENGTH + 9);
        cu[s + 1] = (int32_t)n;
    }
    sent = (struct replica_batch){.work = {.model = model.model, .share = SHARE_INTERACTIVE},
                                  .tokens = {.ids = ids,
                                             .positions = positions,
                                             .type_ids = types,
                                             .cu_seqlens = cu,
                                             .tokens = n,
                                             .seqs = seqs},
                                  .skip = skip};
}

static struct wire_block block;

static struct channel_message message(void) {
    struct pack_writer w = wire_begin();
    memset(bulk, 0xA5, sizeof bulk);
    CHECK_OK(wire_size_encode(&sent, DIM, &block, &msg), msg);
    wire_write_encode(&w, &sent, bulk);
    for (size_t i = 0; i < 64; i++)
        CHECK(bulk[block.request + i] == 0xA5); // and not a byte more
    return wire_message(WIRE_ENCODE, &w, block.request);
}

static bool same(const int32_t *a, const int32_t *b, size_t n) {
    return a == b || (a && b && memcmp(a, b, n * sizeof *a) == 0);
}

static void test_random_batches(void) {
    for (int round = 0; round < 200; round++) {
        make_batch(1 + wire_random(SEQS), 1 + wire_random(LENGTH));
        if (wire_random(2))
            sent.tokens.type_ids = NULL;
        if (wire_random(2))
            sent.skip = NULL;
        sent.normalize = wire_random(2);
        sent.work.share = wire_random(2) ? SHARE_BULK : SHARE_INTERACTIVE;
        struct channel_message m = message();
        memset(&got, 0x5A, sizeof got);
        if (!CHECK(takes_encode(&m)))
            printf("    %s\n", msg.text);
        CHECK(got.work.model == 6 && got.work.share == sent.work.share &&
              got.normalize == sent.normalize && got.tokens.tokens == sent.tokens.tokens &&
              got.tokens.seqs == sent.tokens.seqs);
        size_t n = sent.tokens.tokens, seqs = sent.tokens.seqs;
        CHECK(same(got.tokens.ids, sent.tokens.ids, n) &&
              same(got.tokens.positions, sent.tokens.positions, n) &&
              same(got.tokens.type_ids, sent.tokens.type_ids, n) &&
              same(got.tokens.cu_seqlens, sent.tokens.cu_seqlens, seqs + 1) &&
              same(got.skip, sent.skip, seqs));
        CHECK(rows_bytes == seqs * DIM * sizeof(float) && rows_bytes == block.answer);
    }
}

static void test_payload(void) {
    make_batch(3, 10);
    struct channel_message m = message();
    uint32_t n = (uint32_t)sent.tokens.tokens;
    wire_check_lengths(m, takes_encode);
    CHECK(!wire_takes_u64(&m, takes_encode, wire_payload, 0, 7));
    CHECK(!wire_takes_u32(&m, takes_encode, wire_payload, 8, SHARE_DECODE));
    CHECK(!wire_takes_u32(&m, takes_encode, wire_payload, 8, SHARE_COUNT));
    CHECK(wire_takes_u32(&m, takes_encode, wire_payload, 8, SHARE_BULK));
    CHECK(!wire_takes_u32(&m, takes_encode, wire_payload, 12, 8 | 3));
    CHECK(!wire_takes_u32(&m, takes_encode, wire_payload, 12, 1)); // without skips: bytes too many
    for (uint32_t wrong = 0; wrong < 4; wrong++) {
        const uint32_t tokens[] = {0, n - 1, n + 1, UINT32_MAX}, seqs[] = {0, 2, 4, UINT32_MAX};
        CHECK(!wire_takes_u32(&m, takes_encode, wire_payload, 16, tokens[wrong]));
        CHECK(!wire_takes_u32(&m, takes_encode, wire_payload, 20, seqs[wrong]));
    }
    for (size_t length = 0; length < m.bulk_length + 64; length++) {
        struct channel_message other = m;
        other.bulk_length = length;
        CHECK(takes_encode(&other) == (length == m.bulk_length));
    }
    struct wire_model other = model;
    known = NULL;
    CHECK(!takes_encode(&m));
    other.task = TASK_GENERATE;
    known = &other;
    CHECK(!takes_encode(&m));
    known = &model;
}

// A number of an array wrong.
static bool takes_at(const struct channel_message *m, size_t number, int32_t value) {
    return wire_takes_u32(m, takes_encode, bulk, 4 * number, (uint32_t)value);
}

static void test_arrays(void) {
    make_batch(4, 1);
    sent.tokens.tokens = 12; // four sequences of three
    for (int32_t i = 0; i < 12; i++) {
        ids[i] = i;
        positions[i] = i % 3;
        types[i] = 0;
    }
    for (int32_t s = 0; s <= 4; s++)
        cu[s] = 3 * s;
    memset(skip, 0, sizeof skip);
    struct channel_message m = message();
    CHECK(takes_encode(&m));
    const size_t at_ids = 5, at_positions = 17, at_types = 29, at_skip = 41;
    CHECK_INT(block.request, 45 * 4);
    for (size_t s = 0; s <= 4; s++) { // lengths that do not go up, or are not the batch's
        CHECK(!takes_at(&m, s, cu[s] - 4));
        CHECK(!takes_at(&m, s, cu[s] + 4));
        CHECK(!takes_at(&m, s, -1));
        CHECK(!takes_at(&m, s, INT32_MAX));
        CHECK(!takes_at(&m, s, INT32_MIN));
        CHECK(!takes_at(&m, s, s == 0 ? 1 : cu[s - 1])); // an empty sequence
    }
    CHECK(!takes_at(&m, 1, 2)); // the positions are of other lengths
    for (size_t i = 0; i < 12; i++) {
        CHECK(!takes_at(&m, at_ids + i, -1));
        CHECK(!takes_at(&m, at_ids + i, VOCAB));
        CHECK(!takes_at(&m, at_ids + i, INT32_MIN));
        CHECK(takes_at(&m, at_ids + i, VOCAB - 1));
        CHECK(!takes_at(&m, at_positions + i, positions[i] + 1));
        CHECK(!takes_at(&m, at_positions + i, -1));
        CHECK(!takes_at(&m, at_types + i, TYPES));
        CHECK(!takes_at(&m, at_types + i, -1));
        CHECK(takes_at(&m, at_types + i, TYPES - 1));
    }
    for (size_t s = 0; s < 4; s++) {
        CHECK(!takes_at(&m, at_skip + s, -1));
        CHECK(takes_at(&m, at_skip + s, INT32_MAX));
    }
    struct wire_model untyped = model; // which reads none
    untyped.types = 0;
    known = &untyped;
    CHECK(takes_at(&m, at_types, -7));
    known = &model;
}

// A sequence without tokens, where all else is as it must be.
static void test_empty(void) {
    static const int32_t ends[4] = {0, 2, 3, 4};
    make_batch(4, 1);
    positions[1] = 1;
    for (size_t empty = 0; empty < 4; empty++) {
        for (size_t i = 0; i <= 4; i++)
            cu[i] = ends[i <= empty ? i : i - 1];
        struct channel_message m = message();
        CHECK(!takes_encode(&m));
    }
    sent.tokens.seqs = 3;
    memcpy(cu, ends, sizeof ends);
    struct channel_message m = message();
    CHECK(takes_encode(&m));
}

static void test_limits(void) {
    make_batch(1, 1);
    sent.tokens.tokens = LENGTH + 1;
    for (int32_t i = 0; i <= LENGTH; i++)
        positions[i] = i;
    cu[1] = LENGTH + 1;
    memset(ids, 0, sizeof ids);
    memset(types, 0, sizeof types);
    struct channel_message m = message();
    CHECK(!takes_encode(&m)); // longer than the model takes
    sent.tokens.tokens = (size_t)(cu[1] = LENGTH);
    m = message();
    CHECK(takes_encode(&m));
    struct wire_batch_limits tight = {.tokens = LENGTH - 1, .seqs = 1};
    CHECK_INT(wire_read_encode(&m, bulk, &model, &tight, &got, &rows_bytes, &msg), ERR_INVALID);
    tight = (struct wire_batch_limits){.tokens = LENGTH, .seqs = 0};
    CHECK_INT(wire_read_encode(&m, bulk, &model, &tight, &got, &rows_bytes, &msg), ERR_INVALID);
    // what cannot be sent
    sent.tokens.tokens = (size_t)INT32_MAX + 1;
    CHECK_INT(wire_size_encode(&sent, DIM, &block, &msg), ERR_TOO_LARGE);
    sent.tokens.tokens = LENGTH;
    CHECK_INT(wire_size_encode(&sent, SIZE_MAX, &block, &msg), ERR_TOO_LARGE);
    CHECK_INT(wire_size_encode(&sent, SIZE_MAX / 4, &block, &msg), ERR_TOO_LARGE);
}

// ---- BATCH_DONE

static struct wire_done done;
static bool takes_done(const struct channel_message *m) {
    return wire_read_batch_done(m, &block, 1000, 2000, &done, &msg) == ERR_OK;
}

static void test_done(void) {
    block = (struct wire_block){.request = 64, .answer = 40, .bytes = 104};
    struct pack_writer w = wire_begin();
    wire_write_batch_done(&w, ERR_OK, NULL, 1500);
    struct channel_message m = wire_message(WIRE_BATCH_DONE, &w, 40);
    wire_check_lengths(m, takes_done);
    CHECK(takes_done(&m) && done.verdict.code == ERR_OK && done.began_us == 1500);
    CHECK(wire_takes_u64(&m, takes_done, wire_payload, 8, 0) && done.began_us == 0);
    CHECK(wire_takes_u64(&m, takes_done, wire_payload, 8, 1) && done.began_us == 1000);
    CHECK(wire_takes_u64(&m, takes_done, wire_payload, 8, INT64_MAX) && done.began_us == 2000);
    CHECK(!wire_takes_u64(&m, takes_done, wire_payload, 8, UINT64_MAX));
    for (size_t length = 0; length < 100; length++) {
        m.bulk_length = length;
        CHECK(takes_done(&m) == (length == 40));
    }
    struct errmsg why;
    (void)err_set(&why, ERR_CANCELLED, "cancelled");
    w = wire_begin();
    wire_write_batch_done(&w, ERR_CANCELLED, &why, 0);
    m = wire_message(WIRE_BATCH_DONE, &w, 0);
    wire_check_lengths(m, takes_done);
    CHECK(takes_done(&m) && done.verdict.code == ERR_CANCELLED);
    CHECK_STR(done.verdict.text, "cancelled");
    m.bulk_length = 40; // rows of none
    CHECK(!takes_done(&m));
}

int main(void) {
    test_random_batches();
    test_payload();
    test_arrays();
    test_empty();
    test_limits();
    test_done();
    return check_done();
}
