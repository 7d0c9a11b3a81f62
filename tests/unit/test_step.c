// A step in its two messages: what is drawn when masks are late, behind drafts, for a token that is
// not known yet, with penalties over what the sender does not know; and what counts for nothing.
#include "engine/step_engine.h"
#include "tests/unit/generator_kit.h"

enum { BLOCK = 32, BLOCKS = 4, STEP_TOKENS = 64 };

static struct device *device;
static struct replica_model loaded;
static struct step_engine *engine;
static struct step *step, *other;

static const struct sampling greedy = {.top_p = 1, .repetition_penalty = 1};
// Of what is likely all competes, so that what was said before shows soon.
static struct sampling penalized(uint64_t seed) {
    return (struct sampling){.temperature = 2,
                             .top_p = 1,
                             .repetition_penalty = 3,
                             .presence_penalty = 2,
                             .frequency_penalty = 2,
                             .seed = seed};
}
static int32_t prompt[16];
static const int32_t blocks[2][2] = {{0, 1}, {2, 3}};
static const int32_t last_drawn = STEP_LAST_DRAWN;

static void begin(void) {
    struct errmsg msg = {0};
    struct step_engine_options o = {.limits = {.block_tokens = BLOCK,
                                               .max_tokens = STEP_TOKENS,
                                               .max_seqs = 2,
                                               .max_logits = 16,
                                               .max_context = 2 * BLOCK},
                                    .blocks = BLOCKS,
                                    .kv_dtype = DTYPE_F32};
    step_engine_free(engine);
    step_free(step);
    step_free(other);
    CHECK_OK(step_engine_new(&loaded, &o, &engine, &msg), msg);
    CHECK_INT(step_new(&o.limits, &step), ERR_OK);
    CHECK_INT(step_new(&o.limits, &other), ERR_OK);
}

// tokens: prompt and output that the sender knows; the part computes the last `count` of them, or
// one more that was drawn last.
static struct step_part part_of(uint64_t sequence, const struct sampling *s, const int32_t *tokens,
                                size_t known, size_t count, bool ahead) {
    return (struct step_part){.sequence = sequence,
                              .ids = ahead ? &last_drawn : tokens + known - count,
                              .count = ahead ? 1 : count,
                              .context = ahead ? known : known - count,
                              .blocks = blocks[sequence % 2],
                              .block_count = 2,
                              .wanted = 1,
                              .draws = true,
                              .sampling = *s,
                              .position = known + ahead,
                              .tokens = tokens,
                              .prompt_len = 16,
                              .logged = known - 16,
                              .top = 2,
                              .want_logprob = true};
}

static void forward(struct step *s) {
    struct errmsg msg = {0};
    CHECK_OK(step_engine_forward(engine, s, NULL, &msg), msg);
}

static void draw(struct step *s) {
    struct errmsg msg = {0};
    CHECK_OK(step_engine_draw(engine, s, &msg), msg);
}

static struct step_part *one(struct step *s, const struct step_part *part) {
    step_clear(s);
    struct step_part *p = step_add(s, part);
    CHECK(p != NULL);
    return p;
}

static struct step_part *run_one(struct step *s, const struct step_part *part) {
    struct step_part *p = one(s, part);
    forward(s);
    draw(s);
    return p;
}

// The text that steps of one token give, each behind what is known: what all others must give.
static void expect(uint64_t sequence, const struct sampling *s, int32_t *tokens, float *logprobs,
                   size_t n) {
    memcpy(tokens, prompt, sizeof prompt);
    for (size_t i = 0; i < n; i++) {
        struct step_part p = part_of(sequence, s, tokens, 16 + i, i == 0 ? 16 : 1, false);
        const struct step_part *done = run_one(step, &p);
        CHECK(done->drawn == 1 && !done->late && done->err == ERR_OK);
        tokens[16 + i] = done->results[0].id;
        logprobs[i] = done->results[0].logprob;
    }
}

// Rows go on from tokens that only the device knows, and penalties count these as well.
static void ahead(const struct sampling *s) {
    enum { N = 12 };
    int32_t want[16 + N], tokens[16 + N];
    float want_logprobs[N];
    begin();
    expect(1, s, want, want_logprobs, N);
    begin();
    memcpy(tokens, prompt, sizeof prompt);
    struct step *at = step, *next = other;
    struct step_part first = part_of(1, s, tokens, 16, 16, false);
    (void)one(at, &first);
    for (size_t i = 0; i < N; i++) {
        const struct step_part *p = &at->parts[0];
        forward(at);
        draw(at);
        CHECK(p->drawn == 1 && !p->late);
        // the next one is put together before this one's token is read
        struct step_part more = part_of(1, s, tokens, 16 + i, 1, true);
        (void)one(next, &more);
        tokens[16 + i] = p->results[0].id;
        CHECK_INT(tokens[16 + i], want[16 + i]);
        CHECK(memcmp(&p->results[0].logprob, &want_logprobs[i], sizeof(float)) == 0);
        struct step *swap = at;
        at = next;
        next = swap;
    }
    // a row that did not count is drawn again, here or where nothing is known of the sequence
    for (int i = 0; i < 2; i++) {
        struct step_part again = part_of(1, s, tokens, 16 + N - 2, i == 0 ? 1 : 16 + N - 2, false);
        CHECK_INT(run_one(step, &again)->results[0].id, want[16 + N - 2]);
        begin();
    }
}

// Penalties that begin with a row that goes ahead count the token that only the device knows.
static void penalties_from_here(const struct sampling *s) {
    int32_t tokens[16 + 2];
    float logprob;
    begin();
    expect(1, &greedy, tokens, &logprob, 1);
    struct step_part known = part_of(1, s, tokens, 17, 1, false);
    int32_t want = run_one(step, &known)->results[0].id;
    begin();
    struct step_part first = part_of(1, &greedy, tokens, 16, 16, false);
    (void)run_one(step, &first);
    struct step_part more = part_of(1, s, tokens, 16, 1, true);
    CHECK_INT(run_one(other, &more)->results[0].id, want);
}

// The token that a row is to go on from was not drawn in the step before: it is late, whatever the
// step computes beside it.
static void nothing_to_go_on_from(void) {
    int32_t want[16 + 4];
    float logprobs[4];
    begin();
    expect(1, &greedy, want, logprobs, 4);
    begin();
    struct step_part known = part_of(1, &greedy, want, 16, 16, false),
                     more = part_of(1, &greedy, want, 16, 1, true),
                     beside = part_of(2, &greedy, prompt, 16, 16, false);
    CHECK(one(step, &more) && step_add(step, &beside));
    forward(step); // nobody knows the sequence
    draw(step);
    CHECK(step->parts[0].late && step->parts[0].drawn == 0 && step->parts[1].drawn == 1);
    (void)run_one(step, &known);
    struct step_part next = part_of(2, &greedy, prompt, 16, 16, false);
    (void)run_one(step, &next); // a step without it
    CHECK(run_one(step, &more)->late);
    // the step before it failed
    (void)run_one(step, &known);
    struct step_part second = part_of(1, &greedy, want, 17, 1, false);
    (void)one(step, &second);
    device_fail(device, ERR_INTERNAL, "a device that broke");
    struct errmsg msg = {0};
    CHECK_INT(step_engine_forward(engine, step, NULL, &msg), ERR_INTERNAL);
    struct step_part third = part_of(1, &greedy, want, 17, 1, true);
    CHECK(run_one(other, &third)->late);
    // and given again it has what it would have had
    forward(step);
    draw(step);
    CHECK(!step->parts[0].late);
    CHECK_INT(step->parts[0].results[0].id, want[17]);
    CHECK_INT(run_one(other, &third)->results[0].id, want[18]);
}

static void allow(uint32_t *mask, int32_t id) { mask[id / 32] |= 1U << (id % 32); }

// A row without its mask is not drawn and is repeated; rows behind drafts have masks of their own,
// and are drawn as far as these go.
static void masks(void) {
    enum { WORDS = 8, N = 6 };
    int32_t want[16 + N];
    float logprobs[N];
    static uint32_t all[WORDS], only[WORDS], none[WORDS];
    CHECK(kit_model.decoder_config.vocab <= 32 * WORDS);
    memset(all, 0xff, sizeof all);
    begin();
    expect(1, &greedy, want, logprobs, N);
    begin();
    struct step_part part = part_of(1, &greedy, want, 16, 16, false);
    part.masked = true;
    struct step_part *p = run_one(step, &part);
    CHECK(p->late && p->drawn == 0 && p->err == ERR_OK);
    struct step_part again = part_of(1, &greedy, want, 16, 1, false);
    again.masked = true;
    int32_t allowed = want[16] == 3 ? 4 : 3;
    allow(only, allowed);
    p = one(step, &again);
    forward(step);
    p->masks[0] = only;
    p->mask_count = 1;
    draw(step);
    CHECK(!p->late && p->drawn == 1);
    CHECK_INT(p->results[0].id, allowed);
    // four drafts that would all come true
    struct step_part drafts = part_of(1, &greedy, want, 16 + 5, 5, false);
    drafts.wanted = 5;
    drafts.masked = true;
    drafts.position = 17;
    drafts.logged = 1;
    const struct {
        size_t masks, drawn;
        const uint32_t *third;
    } cases[] = {{5, 5, NULL}, {5, 5, all}, {2, 2, all}, {1, 1, all}, {5, 3, only}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        p = one(step, &drafts);
        forward(step);
        for (size_t k = 0; k < cases[i].masks; k++)
            p->masks[k] = k == 2 ? cases[i].third : k % 2 ? all : NULL;
        p->mask_count = cases[i].masks;
        draw(step);
        CHECK(!p->late && p->err == ERR_OK);
        CHECK_INT(p->drawn, cases[i].drawn);
        for (size_t k = 0; k < p->drawn; k++)
            CHECK_INT(p->results[k].id, k == 2 && cases[i].third == only ? allowed : want[17 + k]);
    }
    // an end token ends the drawing
    drafts.end_ids = &want[18];
    drafts.end_count = 1;
    drafts.masked = false;
    size_t first = want[17] == want[18] ? 1 : 2;
    CHECK_INT(run_one(step, &drafts)->drawn, first);
    // nothing is allowed: the part's error, and not its neighbour's
    struct step_part beside = part_of(2, &greedy, prompt, 16, 16, false);
    CHECK((p = one(step, &again)) && step_add(step, &beside));
    p->masks[0] = none;
    p->mask_count = 1;
    forward(step);
    draw(step);
    CHECK(p->err == ERR_INTERNAL && p->drawn == 0);
    CHECK(step->parts[1].err == ERR_OK && step->parts[1].drawn == 1);
}

// Penalties behind drafts count the drafts; what came true is what single rows would have drawn.
static void penalties_behind_drafts(const struct sampling *s) {
    enum { N = 6 };
    int32_t want[16 + N];
    float logprobs[N];
    begin();
    expect(1, s, want, logprobs, N);
    begin();
    struct step_part part = part_of(1, s, want, 16, 16, false);
    (void)run_one(step, &part);
    struct step_part drafts = part_of(1, s, want, 16 + 4, 4, false);
    drafts.wanted = 4;
    drafts.position = 17;
    drafts.logged = 1;
    const struct step_part *p = run_one(step, &drafts);
    CHECK_INT(p->drawn, 4);
    for (size_t k = 0; k < p->drawn; k++) {
        CHECK_INT(p->results[k].id, want[17 + k]);
        CHECK(memcmp(&p->results[k].logprob, &logprobs[1 + k], sizeof(float)) == 0);
    }
    struct step_part next = part_of(1, s, want, 16 + 4, 1, true); // behind the last of them
    CHECK_INT(run_one(step, &next)->results[0].id, want[16 + 5]);
}

// What does not fit is not added.
static void room(void) {
    begin();
    step_clear(step);
    struct step_part part = part_of(1, &greedy, prompt, 16, 16, false);
    part.wanted = 12;
    CHECK(step_add(step, &part) == NULL); // more rows than a part that draws may have
    part.wanted = 1;
    part.block_count = 3;
    CHECK(step_add(step, &part) == NULL); // more blocks than a text's
    part.block_count = 2;
    CHECK(step_add(step, &part) && step_add(step, &part));
    CHECK(step_add(step, &part) == NULL); // two sequences, the most
    CHECK_INT(step->tokens, 32);
    CHECK_INT(step_logits_room(step), 14);
}

int main(void) {
    struct errmsg msg = {0};
    struct cpu_options cpu = {.threads = 2};
    CHECK_OK(test_device_new(&cpu, &device, &msg), msg);
    loaded = kit_load(device);
    for (int32_t i = 0; i < 16; i++)
        prompt[i] = 2 + i * 7 % 60;
    if (!check_failed) {
        ahead(&greedy);
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct sampling s = penalized(seed);
            ahead(&s);
            penalties_behind_drafts(&s);
            penalties_from_here(&s);
        }
        nothing_to_go_on_from();
        masks();
        room();
    }
    step_engine_free(engine);
    step_free(step);
    step_free(other);
    decoder_free(loaded.decoder);
    test_device_free(device);
    return check_done();
}
