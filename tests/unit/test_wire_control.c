// The codec's messages of control: what is written is read back, and every field that is wrong by
// itself is refused, on both sides.
#include "tests/unit/wire_kit.h"

#include "base/version.h"

static struct errmsg msg;

// ---- which may come

static void test_directions(void) {
    for (unsigned type = 0; type < 64; type++) {
        bool known = strcmp(wire_type_name((uint16_t)type), "?") != 0;
        bool to_worker = type <= WIRE_CANCEL,
             empty = type == WIRE_CANCEL || type == WIRE_STEP_COMPUTED,
             bulk = type == WIRE_ENCODE || type == WIRE_STEP || type == WIRE_DRAW ||
                    type == WIRE_BATCH_DONE || type == WIRE_STEP_DONE,
             fds = type == WIRE_FILES;
        struct channel_message m = {.type = (uint16_t)type,
                                    .life = 1,
                                    .sequence = type != WIRE_PROGRESS,
                                    .payload = wire_payload,
                                    .payload_length = empty ? 0 : 8,
                                    .fd_count = fds};
        CHECK_INT(wire_check_message(&m, to_worker, &msg), known ? ERR_OK : ERR_INVALID);
        CHECK_INT(wire_check_message(&m, !to_worker, &msg), ERR_INVALID);
        struct channel_message other = m;
        other.sequence = !m.sequence;
        CHECK_INT(wire_check_message(&other, to_worker, &msg), ERR_INVALID);
        other = m;
        other.payload_length = empty ? 1 : 0;
        CHECK_INT(wire_check_message(&other, to_worker, &msg), ERR_INVALID);
        other = m;
        other.fd_count = !m.fd_count;
        CHECK_INT(wire_check_message(&other, to_worker, &msg), ERR_INVALID);
        other = m;
        other.bulk_offset = 64;
        other.bulk_length = 4;
        CHECK_INT(wire_check_message(&other, to_worker, &msg), bulk ? ERR_OK : ERR_INVALID);
    }
    CHECK_INT(
        wire_check_message(&(struct channel_message){.type = 65535, .sequence = 1}, true, &msg),
        ERR_INVALID);
}

static void test_subject(void) {
    struct pack_writer w = wire_begin();
    pack_put_u64(&w, 77);
    CHECK_INT(wire_subject(wire_payload, 8), 77);
    CHECK_INT(wire_subject(wire_payload, 7), 0);
    CHECK_INT(wire_subject(NULL, 0), 0);
}

// ---- blocks

static void test_blocks(void) {
    struct wire_block b;
    CHECK_OK(wire_block_of(65, 12, &b, &msg), msg);
    CHECK_INT(wire_answer_at(&b), 128);
    CHECK_INT(b.bytes, 140);
    CHECK_INT(wire_block_of(SIZE_MAX - 70, 71, &b, &msg), ERR_TOO_LARGE);
    CHECK_INT(wire_block_of(SIZE_MAX - 3, 0, &b, &msg), ERR_TOO_LARGE);

    struct channel_message m = {.type = WIRE_ENCODE, .bulk_offset = 64, .bulk_length = 65};
    uint64_t at = 0;
    CHECK_OK(wire_place_answer(&m, 12, 64 + 140, &at, &msg), msg);
    CHECK_INT(at, 64 + 128);
    CHECK_INT(wire_place_answer(&m, 13, 64 + 140, &at, &msg), ERR_INVALID);
    CHECK_INT(wire_place_answer(&m, SIZE_MAX, 1 << 20, &at, &msg), ERR_INVALID);
    m.bulk_length = UINT64_MAX;
    CHECK_INT(wire_place_answer(&m, 12, 1 << 20, &at, &msg), ERR_INVALID);
    m.bulk_length = 65;
    m.bulk_offset = UINT64_MAX - 63;
    CHECK_INT(wire_place_answer(&m, 12, 1 << 20, &at, &msg), ERR_INVALID);

    struct channel_message a = {
        .type = WIRE_BATCH_DONE, .bulk_offset = 64 + 128, .bulk_length = 12};
    CHECK_OK(wire_block_of(65, 12, &b, &msg), msg);
    CHECK_OK(wire_check_answer(&a, &b, 64, &msg), msg);
    CHECK_INT(wire_check_answer(&a, &b, 128, &msg), ERR_INVALID);
    a.bulk_length = 13;
    CHECK_INT(wire_check_answer(&a, &b, 64, &msg), ERR_INVALID);
    a = (struct channel_message){.type = WIRE_BATCH_DONE};
    CHECK_OK(wire_check_answer(&a, &b, 64, &msg), msg);
}

// ---- HELLO and READY

static struct wire_hello hello;
static bool takes_hello(const struct channel_message *m) {
    return wire_read_hello(m, &hello, &msg) == ERR_OK;
}

static void test_hello(void) {
    struct pack_writer w = wire_begin();
    wire_write_hello(&w, &(struct wire_hello){.threads = 3, .region_bytes = 1 << 20});
    struct channel_message m = wire_message(WIRE_HELLO, &w, 0);
    wire_check_lengths(m, takes_hello);
    CHECK(takes_hello(&m));
    CHECK_INT(hello.threads, 3);
    CHECK_INT(hello.region_bytes, 1 << 20);
    size_t at = 8 + strlen(version_commit);
    CHECK(!wire_takes_u32(&m, takes_hello, wire_payload, at, 0));
    CHECK(!wire_takes_u32(&m, takes_hello, wire_payload, at, 4097));
    CHECK(!wire_takes_u64(&m, takes_hello, wire_payload, at + 4, 0));
    CHECK(!wire_takes_u64(&m, takes_hello, wire_payload, at + 4, UINT64_MAX));
    CHECK(!wire_takes_u32(&m, takes_hello, wire_payload, 0, WIRE_VERSION + 1));
    CHECK(strstr(msg.text, "another build") != NULL);
    CHECK(!wire_takes_with(&m, takes_hello, wire_payload, 8, "_", 1));
    CHECK_INT(msg.code, ERR_UNSUPPORTED);
    CHECK(strstr(msg.text, "build both programs") != NULL);
}

static struct wire_ready ready;
static bool takes_ready(const struct channel_message *m) {
    return wire_read_ready(m, &ready, &msg) == ERR_OK;
}

static void test_ready(void) {
    struct wire_ready says = {.facts = {.name = "cpu",
                                        .describe = "cpu, 2 threads, avx512",
                                        .kv_block_tokens = 32,
                                        .steps_ahead = 1,
                                        .bulk_ahead = 2,
                                        .batch_tokens = 8192,
                                        .memory_bytes = (size_t)128 << 30},
                              .walls = WIRE_WALL_CALLS | WIRE_WALL_PRIVILEGES};
    struct pack_writer w = wire_begin();
    wire_write_ready(&w, &says);
    struct channel_message m = wire_message(WIRE_READY, &w, 0);
    wire_check_lengths(m, takes_ready);
    CHECK(takes_ready(&m));
    CHECK_STR(ready.facts.name, "cpu");
    CHECK_STR(ready.facts.describe, says.facts.describe);
    CHECK(ready.facts.kv_block_tokens == 32 && ready.facts.steps_ahead == 1 &&
          ready.facts.bulk_ahead == 2 && ready.walls == says.walls);
    CHECK_INT(ready.verdict.code, ERR_OK);
    CHECK_INT(ready.facts.batch_tokens, 8192);
    CHECK(ready.facts.memory_bytes == (size_t)128 << 30);
    size_t verdict = 8 + strlen(version_commit), name = verdict + 8 + 4, describe = name + 3 + 4,
           numbers = describe + strlen(says.facts.describe);
    CHECK(!wire_takes_with(&m, takes_ready, wire_payload, name, "C", 1));
    CHECK(!wire_takes_with(&m, takes_ready, wire_payload, name, "\"", 1));
    CHECK(!wire_takes_with(&m, takes_ready, wire_payload, name, "", 1)); // a NUL
    CHECK(!wire_takes_with(&m, takes_ready, wire_payload, describe, "\n", 1));
    CHECK(!wire_takes_with(&m, takes_ready, wire_payload, describe, "\xff", 1));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, numbers, 0));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, numbers, 1025));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, numbers + 4, 2));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, numbers + 8, 3));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, numbers + 12, (1 << 26) + 1));
    CHECK(!wire_takes_u64(&m, takes_ready, wire_payload, numbers + 16, UINT64_MAX));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, numbers + 24, 8));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, verdict, ERR_COUNT));
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, verdict, ERR_NOMEM)); // and facts
    CHECK(takes_ready(&m));

    says.facts.name[0] = '\0'; // no name at all
    w = wire_begin();
    wire_write_ready(&w, &says);
    m = wire_message(WIRE_READY, &w, 0);
    CHECK(!takes_ready(&m));
}

static void test_no_device(void) {
    struct wire_ready says = {.walls = WIRE_WALL_PRIVILEGES};
    err_set(&says.verdict, ERR_UNSUPPORTED, "no NVIDIA driver is loaded");
    struct pack_writer w = wire_begin();
    wire_write_ready(&w, &says);
    struct channel_message m = wire_message(WIRE_READY, &w, 0);
    wire_check_lengths(m, takes_ready);
    CHECK(takes_ready(&m));
    CHECK_INT(ready.verdict.code, ERR_UNSUPPORTED);
    CHECK_STR(ready.verdict.text, says.verdict.text);
    size_t verdict = 8 + strlen(version_commit);
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, verdict, ERR_OK)); // and words
    CHECK(!wire_takes_u32(&m, takes_ready, wire_payload, verdict, ERR_LOST));
}

// ---- one number

static uint64_t number;
static bool takes_unload(const struct channel_message *m) {
    return wire_read_unload(m, &number, &msg) == ERR_OK;
}
static bool takes_close(const struct channel_message *m) {
    return wire_read_close_steps(m, &number, &msg) == ERR_OK;
}
static bool takes_size_batches(const struct channel_message *m) {
    size_t tokens = 0;
    bool taken = wire_read_size_batches(m, &tokens, &msg) == ERR_OK;
    number = tokens;
    return taken;
}

static void test_numbers(void) {
    struct pack_writer w = wire_begin();
    wire_write_unload(&w, UINT64_MAX);
    struct channel_message m = wire_message(WIRE_UNLOAD, &w, 0);
    wire_check_lengths(m, takes_unload);
    CHECK(takes_unload(&m) && number == UINT64_MAX);
    CHECK(!wire_takes_u64(&m, takes_unload, wire_payload, 0, 0));

    w = wire_begin();
    wire_write_close_steps(&w, 9);
    m = wire_message(WIRE_CLOSE_STEPS, &w, 0);
    wire_check_lengths(m, takes_close);
    CHECK(takes_close(&m) && number == 9);
    CHECK(!wire_takes_u64(&m, takes_close, wire_payload, 0, 0));

    w = wire_begin();
    wire_write_size_batches(&w, 516);
    m = wire_message(WIRE_SIZE_BATCHES, &w, 0);
    wire_check_lengths(m, takes_size_batches);
    CHECK(takes_size_batches(&m) && number == 516);
    CHECK(!wire_takes_u64(&m, takes_size_batches, wire_payload, 0, 0));
    CHECK(!wire_takes_u64(&m, takes_size_batches, wire_payload, 0, (1 << 26) + 1));
    CHECK_INT(number, 0);
}

// ---- SIZE_STEPS and OPEN_STEPS

static struct wire_size_steps sizes;
static bool takes_size_steps(const struct channel_message *m) {
    return wire_read_size_steps(m, &sizes, &msg) == ERR_OK;
}

static const struct step_limits limits = {
    .block_tokens = 32, .max_tokens = 300, .max_seqs = 5, .max_logits = 17, .max_context = 4096};

static bool same_limits(const struct step_limits *a, const struct step_limits *b) {
    return a->block_tokens == b->block_tokens && a->max_tokens == b->max_tokens &&
           a->max_seqs == b->max_seqs && a->max_logits == b->max_logits &&
           a->max_context == b->max_context;
}

static void test_size_steps(void) {
    struct pack_writer w = wire_begin();
    wire_write_size_steps(
        &w, &(struct wire_size_steps){.model = 3, .limits = limits, .kv_dtype = DTYPE_F16});
    struct channel_message m = wire_message(WIRE_SIZE_STEPS, &w, 0);
    wire_check_lengths(m, takes_size_steps);
    CHECK(takes_size_steps(&m) && sizes.model == 3 && sizes.kv_dtype == DTYPE_F16);
    CHECK(same_limits(&sizes.limits, &limits));
    for (size_t i = 0; i < 6; i++) { // the model, and each limit
        CHECK(!wire_takes_u64(&m, takes_size_steps, wire_payload, 8 * i, 0));
        CHECK(i == 0 || !wire_takes_u64(&m, takes_size_steps, wire_payload, 8 * i, 1 << 27));
        CHECK(i == 0 || !wire_takes_u64(&m, takes_size_steps, wire_payload, 8 * i, UINT64_MAX));
    }
    CHECK(!wire_takes_u32(&m, takes_size_steps, wire_payload, 48, DTYPE_I32));
    CHECK(!wire_takes_u32(&m, takes_size_steps, wire_payload, 48, DTYPE_COUNT));
    CHECK(!wire_takes_u32(&m, takes_size_steps, wire_payload, 48, UINT32_MAX));
}

static struct wire_place place;
static struct wire_model generates = {
    .model = 3, .task = TASK_GENERATE, .causal = true, .max_length = 2048, .vocab = 500};
static const struct wire_model *opened_for;
static bool takes_open(const struct channel_message *m) {
    return wire_read_open_steps(m, opened_for, &place, &msg) == ERR_OK;
}

static void test_open_steps(void) {
    struct wire_place asks = {.place = 4,
                              .model = 3,
                              .options = {.limits = limits, .blocks = 1000, .kv_dtype = DTYPE_F32}};
    struct pack_writer w = wire_begin();
    wire_write_open_steps(&w, &asks);
    struct channel_message m = wire_message(WIRE_OPEN_STEPS, &w, 0);
    opened_for = &generates;
    wire_check_lengths(m, takes_open);
    CHECK(takes_open(&m) && place.place == 4 && place.model == 3 && place.vocab == 500 &&
          place.max_length == 2048 && place.options.blocks == 1000 &&
          place.options.kv_dtype == DTYPE_F32 && same_limits(&place.options.limits, &limits));
    CHECK(!wire_takes_u64(&m, takes_open, wire_payload, 0, 2));
    CHECK(!wire_takes_u64(&m, takes_open, wire_payload, 8, 0));
    for (size_t i = 2; i < 8; i++)
        CHECK(!wire_takes_u64(&m, takes_open, wire_payload, 8 * i, 0));
    CHECK(!wire_takes_u64(&m, takes_open, wire_payload, 56, INT32_MAX / 32 + 1));
    CHECK(!wire_takes_u64(&m, takes_open, wire_payload, 56, UINT64_MAX));
    CHECK(!wire_takes_u32(&m, takes_open, wire_payload, 64, DTYPE_BF16));
    struct wire_model embeds = generates;
    embeds.task = TASK_EMBED;
    opened_for = &embeds;
    CHECK(!takes_open(&m));
    opened_for = NULL;
    CHECK(!takes_open(&m));
}

// ---- ANSWER

static struct wire_answer answer;
static enum wire_type answered;
static bool takes_answer(const struct channel_message *m) {
    return wire_read_answer(m, answered, &answer, &msg) == ERR_OK;
}

static void test_answers(void) {
    static const struct {
        enum wire_type type;
        size_t values;
    } all[] = {{WIRE_FILES, 0},        {WIRE_LOAD, 1},       {WIRE_UNLOAD, 0},
               {WIRE_SIZE_BATCHES, 1}, {WIRE_SIZE_STEPS, 2}, {WIRE_OPEN_STEPS, 1},
               {WIRE_CLOSE_STEPS, 0}};
    const uint64_t values[WIRE_VALUES] = {11, SIZE_MAX};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        answered = all[i].type;
        struct pack_writer w = wire_begin();
        wire_write_answer(&w, answered, ERR_OK, NULL, values);
        CHECK_INT(w.length, 12 + 8 * all[i].values);
        struct channel_message m = wire_message(WIRE_ANSWER, &w, 0);
        wire_check_lengths(m, takes_answer);
        CHECK(takes_answer(&m) && answer.verdict.code == ERR_OK);
        CHECK_INT(answer.values[0], all[i].values > 0 ? 11 : 0);
        CHECK(answer.values[1] == (all[i].values > 1 ? SIZE_MAX : 0));
        CHECK(!wire_takes_u32(&m, takes_answer, wire_payload, 0, WIRE_HELLO)); // another's
        if (all[i].values) {
            CHECK(wire_takes_u64(&m, takes_answer, wire_payload, 12, (uint64_t)1 << 52));
            CHECK(!wire_takes_u64(&m, takes_answer, wire_payload, 12, (uint64_t)1 << 53));
            CHECK(!wire_takes_u64(&m, takes_answer, wire_payload, 12,
                                  SIZE_MAX)); // but of a workspace
        }
    }
    struct errmsg why;
    (void)err_set(&why, ERR_NOMEM, "no memory for %s", "weights \xc3\xa4");
    struct pack_writer w = wire_begin();
    answered = WIRE_LOAD;
    wire_write_answer(&w, WIRE_LOAD, ERR_NOMEM, &why, values);
    struct channel_message m = wire_message(WIRE_ANSWER, &w, 0);
    wire_check_lengths(m, takes_answer);
    CHECK(takes_answer(&m));
    CHECK_INT(answer.verdict.code, ERR_NOMEM);
    CHECK_STR(answer.verdict.text, why.text);
    CHECK_INT(answer.values[0], 0);
    CHECK(!wire_takes_u32(&m, takes_answer, wire_payload, 4, ERR_OK)); // words of no error
    CHECK(!wire_takes_u32(&m, takes_answer, wire_payload, 4, ERR_LOST));
    CHECK(!wire_takes_u32(&m, takes_answer, wire_payload, 4, ERR_COUNT));
    CHECK(!wire_takes_with(&m, takes_answer, wire_payload, 12, "\x1b", 1));
    CHECK(!wire_takes_with(&m, takes_answer, wire_payload, 12, "\xc0", 1));
    CHECK(!wire_takes_with(&m, takes_answer, wire_payload, 12, "", 1));
}

// Words are cut behind a whole character, tidied, and never none.
static void test_words(void) {
    struct errmsg why = {.code = ERR_INTERNAL};
    memset(why.text, 'x', sizeof why.text - 1);
    memcpy(why.text + WIRE_WORDS - 1, "\xc3\xa4", 2);
    struct pack_writer w = wire_begin();
    answered = WIRE_UNLOAD;
    wire_write_answer(&w, WIRE_UNLOAD, ERR_INTERNAL, &why, NULL);
    struct channel_message m = wire_message(WIRE_ANSWER, &w, 0);
    CHECK(takes_answer(&m));
    CHECK_INT(strlen(answer.verdict.text), WIRE_WORDS - 1);
    w = wire_begin();
    snprintf(why.text, sizeof why.text, "a\nb\xff");
    wire_write_answer(&w, WIRE_UNLOAD, ERR_INTERNAL, &why, NULL);
    m = wire_message(WIRE_ANSWER, &w, 0);
    CHECK(takes_answer(&m));
    CHECK_STR(answer.verdict.text, "a?b?");
    w = wire_begin();
    wire_write_answer(&w, WIRE_UNLOAD, ERR_INTERNAL, NULL, NULL);
    m = wire_message(WIRE_ANSWER, &w, 0);
    CHECK(takes_answer(&m) && answer.verdict.text[0]);
}

// ---- PROGRESS

static struct replica_stats before, after;
static bool takes_progress(const struct channel_message *m) {
    return wire_read_progress(m, &before, 1000, 5000, &after, &msg) == ERR_OK;
}

static void test_progress(void) {
    struct replica_stats says = {.heartbeat_us = 4990,
                                 .used_us = {100, 200, 300, 400},
                                 .yields = 7,
                                 .workspace_bytes = 123456};
    struct pack_writer w = wire_begin();
    wire_write_progress(&w, &says);
    struct channel_message m = wire_message(WIRE_PROGRESS, &w, 0);
    before = (struct replica_stats){.heartbeat_us = 4000, .used_us = {100, 0, 0, 0}, .yields = 7};
    wire_check_lengths(m, takes_progress);
    CHECK(takes_progress(&m));
    CHECK(after.heartbeat_us == 4990 && after.yields == 7 && after.workspace_bytes == 123456);
    CHECK(memcmp(after.used_us, says.used_us, sizeof says.used_us) == 0);
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 0, 3999)); // goes back
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 0, 5001)); // in the future
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 8, 99));
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 8, 101)); // more than it has lived
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 32, INT64_MAX));
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 32, UINT64_MAX)); // -1
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 40, 6));
    CHECK(!wire_takes_u64(&m, takes_progress, wire_payload, 48, UINT64_MAX));
}

int main(void) {
    test_directions();
    test_subject();
    test_blocks();
    test_hello();
    test_ready();
    test_no_device();
    test_numbers();
    test_size_steps();
    test_open_steps();
    test_answers();
    test_words();
    test_progress();
    return check_done();
}
