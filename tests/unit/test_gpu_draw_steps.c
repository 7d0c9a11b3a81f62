// Draws one behind the other on the emulated GPU: tokens that stay on the card for the next step,
// two draws under way, results that do not depend on who shares the draw, large draws, and all that
// is refused.
#include "tests/unit/draw_rig.h"

static const struct sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

// The tokens that the slots hold.
static void read_slots(struct draw_rig *r, int32_t *to) {
    r->api->copy_out(r->stream, to, gpu_draw_drawn(r->draw), r->limits.slots * sizeof *to);
    draw_rig_wait(r);
}

// ---- steps ahead

enum { SEQUENCES = 4, STEPS = 24, VOCAB = 97 };

struct said {
    struct sampling sampling;
    struct sampling_history history;
    int32_t tokens[STEPS];
};

static void begin_said(struct said *s, uint64_t seed) {
    static const int32_t prompt[] = {3, 5, 5, 90};
    *s = (struct said){.sampling = plain};
    s->sampling.seed = seed;
    s->sampling.temperature = seed % 2 ? 0 : 0.8F;
    s->sampling.repetition_penalty = 1.3F;
    s->sampling.frequency_penalty = 0.7F;
    s->sampling.top_p = 0.9F;
    CHECK(sampling_history_init(&s->history, VOCAB) == ERR_OK);
    sampling_history_begin(&s->history, prompt, 4);
}

static void step_of(struct said *all, struct draw_part *parts, struct sampling_result *results,
                    size_t step, bool ahead) {
    for (size_t i = 0; i < SEQUENCES; i++)
        parts[i] = (struct draw_part){.first = i,
                                      .count = 1,
                                      .sampling = &all[i].sampling,
                                      .history = &all[i].history,
                                      .position = 4 + step,
                                      .results = &results[i],
                                      .slot = (i * 3 + 1) % 8,
                                      .goes_on = ahead && step > 0};
}

// Each step is asked for before the token of the one before is known here.
static void test_ahead(void) {
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){VOCAB, SEQUENCES, SEQUENCES, 8}))
        return;
    struct said known[SEQUENCES], ahead[SEQUENCES];
    static float x[STEPS][SEQUENCES][VOCAB];
    for (size_t i = 0; i < SEQUENCES; i++) {
        begin_said(&known[i], 77 + i);
        begin_said(&ahead[i], 77 + i);
    }
    for (size_t s = 0; s < STEPS; s++)
        for (size_t i = 0; i < SEQUENCES; i++)
            for (size_t k = 0; k < VOCAB; k++) // few tokens, over and over: their counts matter
                x[s][i][k] = k < 6 ? 3 + 0.3F * rig_normal() : rig_normal();
    struct draw_part parts[2][SEQUENCES];
    struct sampling_result results[2][SEQUENCES];
    for (size_t s = 0; s < STEPS; s++) {
        step_of(known, parts[0], results[0], s, false);
        draw_rig_cpu(&r, &x[s][0][0], SEQUENCES, VOCAB, parts[0], SEQUENCES);
        for (size_t i = 0; i < SEQUENCES; i++) {
            known[i].tokens[s] = results[0][i].id;
            sampling_history_add(&known[i].history, results[0][i].id);
        }
    }
    uint64_t ticket[2] = {0};
    for (size_t s = 0; s <= STEPS; s++) {
        if (s < STEPS) {
            step_of(ahead, parts[s % 2], results[s % 2], s, true);
            ticket[s % 2] =
                draw_rig_ask(&r, &x[s][0][0], SEQUENCES, VOCAB, parts[s % 2], SEQUENCES);
            CHECK(ticket[s % 2] == s + 1);
        }
        if (s == 0)
            continue;
        draw_rig_wait(&r);
        gpu_draw_deliver(r.draw, ticket[(s - 1) % 2]);
        for (size_t i = 0; i < SEQUENCES; i++) {
            ahead[i].tokens[s - 1] = results[(s - 1) % 2][i].id;
            CHECK(parts[(s - 1) % 2][i].drawn == 1);
            sampling_history_add(&ahead[i].history, results[(s - 1) % 2][i].id);
        }
    }
    int32_t slots[8];
    read_slots(&r, slots);
    size_t changes = 0;
    for (size_t i = 0; i < SEQUENCES; i++) {
        CHECK(memcmp(known[i].tokens, ahead[i].tokens, sizeof known[i].tokens) == 0);
        CHECK(slots[(i * 3 + 1) % 8] == ahead[i].tokens[STEPS - 1]);
        for (size_t s = 1; s < STEPS; s++)
            changes += ahead[i].tokens[s] != ahead[i].tokens[s - 1];
        sampling_history_free(&known[i].history);
        sampling_history_free(&ahead[i].history);
    }
    CHECK(changes > STEPS); // the texts are no constants
    draw_rig_close(&r);
}

// A token that the slot holds counts for the draft's rows as well; what the history has not seen.
static void test_ahead_of_drafts(void) {
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){VOCAB, 8, 4, 4}))
        return;
    for (int trial = 0; trial < 60; trial++) {
        float x[4 * VOCAB];
        for (size_t i = 0; i < 4 * VOCAB; i++)
            x[i] = i % VOCAB < 4 ? 2 + 0.2F * rig_normal() : rig_normal() - 1;
        struct said s;
        begin_said(&s, (uint64_t)trial);
        struct sampling_result first, got[3], want[3];
        struct draw_part p = {.count = 1,
                              .sampling = &s.sampling,
                              .history = &s.history,
                              .position = 9,
                              .results = &first,
                              .slot = 2};
        draw_rig_gpu(&r, x, 1, VOCAB, &p, 1);
        int32_t next[2] = {trial % 3 ? first.id : 1, trial % 5 ? 0 : 2};
        struct draw_part q = {.first = 1,
                              .count = 3,
                              .sampling = &s.sampling,
                              .history = &s.history,
                              .next = next,
                              .position = 10,
                              .results = got,
                              .slot = 2,
                              .goes_on = true};
        draw_rig_gpu(&r, x, 4, VOCAB, &q, 1);
        sampling_history_add(&s.history, first.id);
        struct draw_part w = q;
        w.results = want;
        draw_rig_cpu(&r, x, 4, VOCAB, &w, 1);
        CHECK(draw_rig_same(&q, &w));
        int32_t slots[4];
        read_slots(&r, slots);
        CHECK(slots[2] == want[w.drawn - 1].id);
        sampling_history_free(&s.history);
    }
    draw_rig_close(&r);
}

// ---- who shares the draw

// Rows alone, and among others that ask for other things: the very bits.
static void test_alone(void) {
    enum { V = 4500, ROWS = 12 };
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){V, ROWS, ROWS, 0}))
        return;
    float *x = rig_floats((size_t)ROWS * V, 2);
    struct sampling s[ROWS];
    struct draw_part together[ROWS] = {0};
    struct sampling_result all[ROWS], one;
    static uint32_t mask[(V + 31) / 32];
    for (size_t i = 0; i < (V + 31) / 32; i++)
        mask[i] = 0x3355aaccU;
    const uint32_t *masks[1] = {mask};
    for (size_t i = 0; i < ROWS; i++) {
        s[i] = plain;
        s[i].temperature = i % 4 == 3 ? 0 : 0.5F + 0.1F * (float)i;
        s[i].top_p = i % 3 == 1 ? 0.8F : 1;
        s[i].top_k = i % 5 == 4 ? 30 : 0;
        s[i].seed = i;
        together[i] = (struct draw_part){.first = i,
                                         .count = 1,
                                         .sampling = &s[i],
                                         .masks = i % 2 ? masks : NULL,
                                         .results = &all[i],
                                         .want_logprob = true,
                                         .top = i % 3};
    }
    draw_rig_gpu(&r, x, ROWS, V, together, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        struct draw_part p = together[i];
        p.first = 0;
        p.results = &one;
        draw_rig_gpu(&r, x + i * V, 1, V, &p, 1);
        CHECK(one.id == all[i].id && one.id >= 0);
        CHECK(one.logprob == all[i].logprob);
        CHECK(one.top_count == i % 3 &&
              memcmp(one.top, all[i].top, one.top_count * sizeof *one.top) == 0);
    }
    free(x);
    draw_rig_close(&r);
}

// More rows than one launch has, more masked ones than it writes anew, a history longer than what
// was planned for.
static void test_many(void) {
    enum { V = 600, SCORES = 300, MASKED = 90, ROWS = SCORES + MASKED + 1 };
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){V, ROWS, MASKED + 2, 4}))
        return;
    float *x = rig_floats((size_t)ROWS * V, 2);
    struct draw_part *got = rig_alloc(MASKED + 2, sizeof *got),
                     *want = rig_alloc(MASKED + 2, sizeof *want);
    struct sampling_result *results = rig_alloc((size_t)2 * ROWS, sizeof *results);
    struct sampling s[MASKED + 1];
    struct sampling_history h;
    CHECK(sampling_history_init(&h, V) == ERR_OK);
    for (int32_t i = 0; i < V; i++)
        sampling_history_add(&h, i * 7 % V);
    static uint32_t mask[(V + 31) / 32];
    for (size_t i = 0; i < (V + 31) / 32; i++)
        mask[i] = (uint32_t)rig_random();
    const uint32_t *masks[1] = {mask};
    int32_t next[SCORES];
    for (size_t i = 0; i < SCORES; i++)
        next[i] = (int32_t)(rig_random() % V);
    got[0] = (struct draw_part){.count = SCORES, .next = next, .results = results};
    for (size_t i = 0; i < MASKED + 1; i++) {
        s[i] = plain;
        s[i].seed = i;
        s[i].top_p = i % 2 ? 0.7F : 1;
        s[i].presence_penalty = 0.4F;
        s[i].frequency_penalty = -0.3F;
        if (i == MASKED)
            s[i].temperature = 0;
        got[i + 1] = (struct draw_part){.first = SCORES + i,
                                        .count = 1,
                                        .sampling = &s[i],
                                        .history = &h,
                                        .masks = i % 3 ? masks : NULL,
                                        .results = results + SCORES + i};
    }
    for (size_t i = 0; i < MASKED + 2; i++) {
        want[i] = got[i];
        want[i].results += ROWS;
    }
    draw_rig_gpu(&r, x, ROWS, V, got, MASKED + 2);
    draw_rig_cpu(&r, x, ROWS, V, want, MASKED + 2);
    size_t wrong = 0;
    for (size_t i = 0; i < MASKED + 2; i++)
        wrong += !draw_rig_same(&got[i], &want[i]);
    CHECK_INT(wrong, 0);
    sampling_history_free(&h);
    free(got), free(want), free(results), free(x);
    draw_rig_close(&r);
}

// ---- ends, and what stays in the slots

static void test_ends(void) {
    enum { V = 70 };
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){V, 8, 4, 4}))
        return;
    float x[3 * V];
    for (size_t i = 0; i < 3 * V; i++)
        x[i] = (float)(i * 37 % 101) * 0.05F;
    struct sampling greedy = plain;
    greedy.temperature = 0;
    struct sampling_result got[3] = {0};
    static const uint32_t none[3];
    static const uint32_t *masks[3] = {NULL, none, NULL};
    int32_t first, slots[4], next[2] = {0, 0};
    struct draw_part p = {.count = 1, .sampling = &greedy, .results = got, .slot = 1};
    draw_rig_gpu(&r, x, 3, V, &p, 1);
    first = got[0].id;
    next[0] = first;
    read_slots(&r, slots);
    CHECK(slots[1] == first && slots[0] == 0 && slots[2] == 0);
    // the draft came true, and behind it nothing is allowed: one token, and why there is no second
    p = (struct draw_part){
        .count = 3, .sampling = &greedy, .results = got, .masks = masks, .next = next, .slot = 2};
    draw_rig_gpu(&r, x, 3, V, &p, 1);
    CHECK(p.drawn == 1 && p.failed && got[1].id == -1 && got[1].end == SAMPLING_NONE);
    read_slots(&r, slots);
    CHECK(slots[2] == first);
    // it is an end token: no further
    p.end_ids = &first;
    p.end_count = 1;
    p.failed = true;
    draw_rig_gpu(&r, x, 3, V, &p, 1);
    CHECK(p.drawn == 1 && !p.failed);
    // none at all
    p = (struct draw_part){
        .count = 1, .sampling = &greedy, .results = got, .masks = masks + 1, .slot = 2};
    draw_rig_gpu(&r, x, 3, V, &p, 1);
    CHECK(p.drawn == 0 && p.failed && got[0].end == SAMPLING_NONE);
    read_slots(&r, slots);
    CHECK(slots[2] == 0 && slots[1] == first);
    x[5] = NAN;
    p.masks = NULL;
    draw_rig_gpu(&r, x, 3, V, &p, 1);
    CHECK(p.drawn == 0 && p.failed && got[0].end == SAMPLING_NONFINITE);
    x[5] = 3e38F;
    struct logit_bias far = {5, 3e38F};
    greedy.bias = &far;
    greedy.bias_count = 1;
    draw_rig_gpu(&r, x, 3, V, &p, 1);
    CHECK(p.drawn == 0 && p.failed && got[0].end == SAMPLING_OVERFLOW);
    // scores leave the slots alone, as does a part without rows
    int32_t known[3] = {1, 2, 3};
    struct draw_part both[2] = {{.count = 3, .results = got, .next = known, .slot = 1},
                                {.count = 0, .sampling = &greedy, .drawn = 9, .failed = true}};
    draw_rig_gpu(&r, x, 3, V, both, 2);
    CHECK(both[0].drawn == 3 && !both[0].failed && both[1].drawn == 0 && !both[1].failed);
    both[1].results = got;
    draw_rig_gpu(&r, x, 3, V, both + 1, 1); // nothing at all
    CHECK(both[1].drawn == 0);
    read_slots(&r, slots);
    CHECK(slots[1] == first);
    draw_rig_close(&r);
}

// ---- what is refused

static int allocations_left;
static enum err few_alloc(struct gpu *g, size_t bytes, void **out) {
    return allocations_left-- > 0 ? gpu_under_test()->alloc(g, bytes, out) : ERR_NOMEM;
}
static enum err few_alloc_host(struct gpu *g, size_t bytes, void **out) {
    return allocations_left-- > 0 ? gpu_under_test()->alloc_host(g, bytes, out) : ERR_NOMEM;
}

static void test_refused(void) {
    enum { V = 70 };
    struct draw_rig r;
    struct gpu_draw_limits limits = {V, 4, 2, 4};
    if (!draw_rig_open(&r, limits))
        return;
    static float x[4 * V];
    struct sampling s = plain;
    struct sampling_result got[4];
    struct draw_part p[3] = {{.count = 1, .sampling = &s, .results = got}};
    p[1] = p[2] = p[0];
    struct draw_args a = {.parts = p, .count = 3};
    a.logits = (struct mat){r.logits, 4, V, mat_ld(V, DTYPE_F32), DTYPE_F32};
    uint64_t ticket = 7;
    struct errmsg msg;
    CHECK_ERROR(gpu_draw_ask(r.draw, r.stream, &a, &r.gpu_ws, &ticket, &msg), ERR_INTERNAL, msg,
                "beyond the GPU's limits");
    CHECK(ticket == 0);
    a.count = 1;
    p[0].count = 5; // rows
    CHECK_ERROR(gpu_draw_ask(r.draw, r.stream, &a, &r.gpu_ws, &ticket, &msg), ERR_INTERNAL, msg,
                "beyond the GPU's limits");
    p[0].count = 1;
    p[0].slot = 4;
    CHECK_ERROR(gpu_draw_ask(r.draw, r.stream, &a, &r.gpu_ws, &ticket, &msg), ERR_INTERNAL, msg,
                "beyond the GPU's limits");
    p[0].slot = 0;
    struct arena small = r.gpu_ws;
    small.size = 256;
    CHECK_ERROR(gpu_draw_ask(r.draw, r.stream, &a, &small, &ticket, &msg), ERR_INTERNAL, msg,
                "has no room for drawing");
    // two under way, and no third
    uint64_t tickets[2];
    tickets[0] = draw_rig_ask(&r, x, 1, V, &p[0], 1);
    tickets[1] = draw_rig_ask(&r, x, 1, V, &p[1], 1);
    CHECK_ERROR(gpu_draw_ask(r.draw, r.stream, &a, &r.gpu_ws, &ticket, &msg), ERR_INTERNAL, msg,
                "under way");
    draw_rig_wait(&r);
    gpu_draw_deliver(r.draw, tickets[1]); // and the one before it
    CHECK(p[0].drawn == 1 && p[1].drawn == 1);
    p[0].drawn = 5;
    gpu_draw_deliver(r.draw, tickets[0]); // once is enough
    CHECK(p[0].drawn == 5);
    draw_rig_gpu(&r, x, 1, V, p, 1);
    CHECK(p[0].drawn == 1);
    struct gpu_draw *d;
    limits.vocab = (1 << 18) + 1;
    CHECK_ERROR(gpu_draw_new(r.api, r.gpu, r.stream, &limits, &d, &msg), ERR_UNSUPPORTED, msg,
                "the GPU draws from 262144 at most");
    CHECK(gpu_draw_bytes(&limits, limits.vocab) == SIZE_MAX);
    draw_rig_close(&r);
}

// What a card that has failed brings back is anything: it harms nobody.
static int garbage;
static void copy_garbage(struct gpu_stream *s, void *host, const void *device, size_t bytes) {
    (void)s, (void)device;
    memset(host, garbage, bytes);
}

static void test_garbage(void) {
    enum { V = 50 };
    struct draw_rig r;
    struct gpu_draw_limits limits = {V, 4, 2, 4};
    if (!draw_rig_open(&r, limits))
        return;
    struct gpu_api wild = *gpu_under_test();
    wild.copy_out = copy_garbage;
    struct gpu_draw *d = NULL;
    struct errmsg msg;
    CHECK_OK(gpu_draw_new(&wild, r.gpu, r.stream, &limits, &d, &msg), msg);
    static float x[4 * V];
    struct sampling s = plain;
    static const int garbages[] = {0, 1, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < sizeof garbages / sizeof *garbages; i++) {
        struct sampling_result got[4];
        int32_t next[3] = {1, 2, 3};
        struct draw_part p[2] = {
            {.count = 1, .sampling = &s, .results = got, .top = 3},
            {.first = 1, .count = 3, .results = got + 1, .next = next, .top = 20}};
        struct draw_args a = {.parts = p, .count = 2};
        a.logits = (struct mat){r.logits, 4, V, mat_ld(V, DTYPE_F32), DTYPE_F32};
        for (size_t k = 0; k < 4; k++)
            r.api->copy_in(r.stream, (float *)r.logits + k * a.logits.ld, x + k * V, V * sizeof *x);
        uint64_t ticket;
        garbage = garbages[i];
        CHECK_OK(gpu_draw_ask(d, r.stream, &a, &r.gpu_ws, &ticket, &msg), msg);
        draw_rig_wait(&r);
        gpu_draw_deliver(d, ticket);
        for (size_t k = 0; k < 2; k++) {
            CHECK(p[k].drawn + (p[k].failed ? 1 : 0) <= p[k].count);
            CHECK(p[k].drawn > 0 || p[k].failed);
        }
    }
    gpu_draw_free(d);
    draw_rig_close(&r);
}

// Memory that is not there, at the start and where a block has to grow.
static void test_no_memory(void) {
    enum { V = 900 };
    struct draw_rig r;
    struct gpu_draw_limits limits = {V, 4, 16, 4};
    if (!draw_rig_open(&r, limits))
        return;
    struct gpu_api few = *gpu_under_test();
    few.alloc = few_alloc;
    few.alloc_host = few_alloc_host;
    struct gpu_draw *d = NULL;
    struct errmsg msg;
    int nth = 0;
    for (;; nth++) {
        allocations_left = nth;
        enum err e = gpu_draw_new(&few, r.gpu, r.stream, &limits, &d, &msg);
        if (e == ERR_OK)
            break;
        CHECK(e == ERR_NOMEM && d == NULL && strstr(msg.text, "no memory") != NULL);
    }
    CHECK_INT(nth, 1 + 4 * GPU_DRAWS_UNDER_WAY);
    // a list of biases beyond all plans
    enum { MANY = 40000 };
    static float x[V];
    struct logit_bias *bias = rig_alloc(MANY, sizeof *bias);
    for (size_t i = 0; i < MANY; i++)
        bias[i] = (struct logit_bias){(int32_t)(i % V), 0.001F * (float)(i % 7)};
    struct sampling s = plain;
    s.bias = bias;
    s.bias_count = MANY;
    struct sampling_result got, want;
    struct draw_part p = {.count = 1, .sampling = &s, .results = &got}, w = p;
    struct draw_args a = {.parts = &p, .count = 1};
    a.logits = (struct mat){r.logits, 1, V, mat_ld(V, DTYPE_F32), DTYPE_F32};
    uint64_t ticket;
    for (int left = 0; left < 2; left++) {
        allocations_left = left;
        CHECK_ERROR(gpu_draw_ask(d, r.stream, &a, &r.gpu_ws, &ticket, &msg), ERR_NOMEM, msg,
                    "no memory on the GPU");
        CHECK(ticket == 0);
    }
    allocations_left = 2;
    r.api->copy_in(r.stream, r.logits, x, sizeof x);
    CHECK_OK(gpu_draw_ask(d, r.stream, &a, &r.gpu_ws, &ticket, &msg), msg);
    draw_rig_wait(&r);
    gpu_draw_deliver(d, ticket);
    w.results = &want;
    draw_rig_cpu(&r, x, 1, V, &w, 1);
    CHECK(draw_rig_same(&p, &w));
    gpu_draw_free(d);
    gpu_draw_free(NULL);
    free(bias);
    draw_rig_close(&r);
}

int main(void) {
    test_ahead();
    test_ahead_of_drafts();
    test_alone();
    test_many();
    test_ends();
    test_refused();
    test_garbage();
    test_no_memory();
    return check_done();
}
