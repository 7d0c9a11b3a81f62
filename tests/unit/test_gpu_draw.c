// Draws on the emulated GPU against those of the CPU: for the same logits the same tokens, over all
// parameters at random. Where the order of an f64 sum could decide otherwise (a draw within 1e-12
// of the border between two tokens) no seed here falls.
#include "tests/unit/draw_rig.h"
#include "tests/unit/sampling_golden.h"

enum { MOST_VOCAB = 3000, MOST_ROWS = 48, MOST_PARTS = 10, PART_ROWS = 6 };

// One sequence at random, and what it points at.
struct sequence {
    struct sampling sampling;
    struct logit_bias bias[12];
    struct sampling_history history;
    uint32_t masks[PART_ROWS][(MOST_VOCAB + 31) / 32];
    const uint32_t *mask_of[PART_ROWS];
    int32_t next[PART_ROWS], ends[3];
    struct sampling_result got[PART_ROWS], want[PART_ROWS];
};

static uint32_t below(size_t n) { return (uint32_t)(rig_random() % n); }
static float one_of(const float *from, size_t n) { return from[below(n)]; }
#define ONE_OF(...)                                                                                \
    one_of((const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

static void random_row(float *x, size_t n) {
    float scale = ONE_OF(0.01F, 1, 1, 3, 3, 10, 1e6F);
    uint32_t kind = below(20);
    for (size_t i = 0; i < n; i++) {
        x[i] = scale * rig_normal();
        if (kind < 5) // ties
            x[i] = roundf(x[i] * 2) / 2;
        if (kind == 5)
            x[i] = below(2) ? -0.0F : 0.0F;
        if (kind == 6)
            x[i] = 7;
    }
    if (kind == 7)
        x[below(n)] = ONE_OF(NAN, INFINITY, -INFINITY);
    if (kind == 8) // beyond f32 by a bias or a penalty
        x[below(n)] = ONE_OF(3.4e38F, -3.4e38F);
}

static struct sampling random_sampling(size_t vocab) {
    struct sampling s = {.temperature = ONE_OF(0, 0, 0, 1, 1, 0.7F, 0.3F, 2, 30, 1e-6F, 1e-45F),
                         .top_p = ONE_OF(1, 1, 1, 0.95F, 0.9F, 0.5F, 0.1F, 0.999F, 1e-30F),
                         .min_p = ONE_OF(0, 0, 0, 0.05F, 0.5F, 1),
                         .repetition_penalty = 1,
                         .seed = rig_random()};
    int32_t ks[] = {0, 0, 0, 1, 2, 5, 40, (int32_t)vocab, (int32_t)vocab - 1, (int32_t)vocab + 3};
    s.top_k = ks[below(10)];
    if (below(3) == 0)
        s.repetition_penalty = ONE_OF(1.1F, 0.7F, 2);
    if (below(3) == 0)
        s.presence_penalty = ONE_OF(0.5F, -1, 2);
    if (below(3) == 0)
        s.frequency_penalty = ONE_OF(0.3F, -0.2F, 1.7F);
    return s;
}

static void random_mask(uint32_t *mask, size_t vocab) {
    uint32_t kind = below(4);
    size_t words = (vocab + 31) / 32;
    for (size_t i = 0; i < words; i++)
        mask[i] = kind == 0 ? (uint32_t)rig_random() : kind == 1 ? UINT32_MAX : 0;
    if (kind == 2)
        for (int i = 0; i < 3; i++) {
            size_t id = below(vocab);
            mask[id / 32] |= 1U << id % 32;
        }
    if (kind == 3 && below(3)) {
        size_t id = below(vocab);
        mask[id / 32] |= 1U << id % 32;
    }
}

static void random_sequence(struct sequence *s, struct draw_part *p, size_t vocab) {
    p->top = below(4) == 0 ? below(SAMPLING_MAX_TOP + 1) : 0;
    p->want_logprob = below(5) == 0;
    for (size_t i = 0; i < PART_ROWS; i++)
        s->next[i] = (int32_t)below(vocab);
    p->next = s->next;
    if (below(6) == 0) {
        if (below(10) == 0)
            s->next[below(p->count)] = below(2) ? -1 : (int32_t)vocab;
        return; // scores
    }
    s->sampling = random_sampling(vocab);
    p->sampling = &s->sampling;
    p->position = rig_random() % 4096;
    if (below(3) == 0) {
        s->sampling.bias = s->bias;
        s->sampling.bias_count = below(12);
        for (size_t i = 0; i < s->sampling.bias_count; i++)
            s->bias[i] = (struct logit_bias){(int32_t)below(vocab + 2) - 1,
                                             (float)below(200) - 100.0F + 0.37F};
    }
    if (below(2) == 0) {
        CHECK(sampling_history_init(&s->history, vocab) == ERR_OK);
        int32_t prompt[40];
        size_t said = below(40);
        for (size_t i = 0; i < said; i++)
            prompt[i] = (int32_t)below(vocab);
        sampling_history_begin(&s->history, prompt, said);
        for (size_t i = below(40); i > 0; i--)
            sampling_history_add(&s->history, (int32_t)below(vocab));
        p->history = &s->history;
    }
    if (below(3) == 0) {
        for (size_t i = 0; i < p->count; i++) {
            random_mask(s->masks[i], vocab);
            s->mask_of[i] = below(4) ? s->masks[i] : NULL;
        }
        p->masks = s->mask_of;
    }
    for (size_t i = 0; i < 3; i++)
        s->ends[i] = (int32_t)below(vocab);
    p->end_ids = s->ends;
    p->end_count = below(4);
}

// Makes most of its drafts come true.
static void foretell(struct draw_rig *r, const float *x, size_t rows, size_t vocab,
                     struct draw_part *part) {
    int32_t *next = (int32_t *)(uintptr_t)part->next; // the sequence's own
    for (size_t n = 1; n < part->count; n++) {
        struct draw_part p = *part;
        p.count = n;
        draw_rig_cpu(r, x, rows, vocab, &p, 1);
        if (p.drawn < n)
            return;
        if (below(6))
            next[n - 1] = p.results[n - 1].id;
    }
}

static const char *said_of(const struct draw_part *p, char *to, size_t n) {
    const struct sampling *s = p->sampling;
    if (!s)
        return "scores";
    snprintf(to, n, "t %g p %g min %g k %d rep %g bias %zu mask %d history %d top %zu",
             (double)s->temperature, (double)s->top_p, (double)s->min_p, s->top_k,
             (double)s->repetition_penalty, s->bias_count, p->masks != NULL, p->history != NULL,
             p->top);
    return to;
}

// Some sequences together, on both.
static bool compare(struct draw_rig *r, struct sequence *sequences, float *x, size_t vocab) {
    struct draw_part got[MOST_PARTS] = {0}, want[MOST_PARTS] = {0};
    size_t wanted = 1 + below(MOST_PARTS), count = 0, rows = 0;
    for (; count < wanted && rows + PART_ROWS <= MOST_ROWS; count++) {
        size_t i = count;
        memset(&sequences[i], 0, sizeof *sequences);
        got[i].first = rows;
        got[i].count = 1 + (below(3) == 0 ? below(PART_ROWS) : 0);
        got[i].results = sequences[i].got;
        random_sequence(&sequences[i], &got[i], vocab);
        got[i].slot = i;
        rows += got[i].count;
    }
    for (size_t i = 0; i < rows; i++)
        random_row(x + i * vocab, vocab);
    for (size_t i = 0; i < count; i++) {
        want[i] = got[i];
        want[i].results = sequences[i].want;
        if (want[i].sampling && want[i].count > 1)
            foretell(r, x, rows, vocab, &want[i]);
    }
    draw_rig_cpu(r, x, rows, vocab, want, count);
    draw_rig_gpu(r, x, rows, vocab, got, count);
    bool same = true;
    for (size_t i = 0; i < count; i++) {
        char said[200];
        bool one = draw_rig_same(&got[i], &want[i]);
        size_t at = got[i].drawn < want[i].drawn ? got[i].drawn : want[i].drawn;
        at = at < got[i].count ? at : got[i].count - 1;
        if (!one && same)
            fprintf(stderr,
                    "    vocab %zu rows %zu: %s: drew %zu%s, want %zu%s; row %zu %d end %d %g, "
                    "want %d end %d %g\n",
                    vocab, got[i].count, said_of(&got[i], said, sizeof said), got[i].drawn,
                    got[i].failed ? " failed" : "", want[i].drawn, want[i].failed ? " failed" : "",
                    at, got[i].results[at].id, (int)got[i].results[at].end,
                    (double)got[i].results[at].logprob, want[i].results[at].id,
                    (int)want[i].results[at].end, (double)want[i].results[at].logprob);
        same = same && one;
        sampling_history_free(&sequences[i].history);
    }
    return same;
}

// Under a sanitizer a thread of a block is many times as slow.
#ifdef __SANITIZE_ADDRESS__
enum { TRIALS = 120 };
#else
enum { TRIALS = 500 };
#endif

static void test_random(void) {
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){MOST_VOCAB, MOST_ROWS, MOST_PARTS, 16}))
        return;
    struct sequence *sequences = rig_alloc(MOST_PARTS, sizeof *sequences);
    float *x = rig_alloc(MOST_ROWS * MOST_VOCAB, sizeof *x);
    size_t wrong = 0;
    for (size_t i = 0; i < TRIALS && wrong < 5; i++) {
        size_t vocab = i % 3 == 0 ? 5 + below(60) : i % 3 == 1 ? 60 + below(500) : 5 + below(2996);
        if (!compare(&r, sequences, x, vocab))
            wrong++;
    }
    CHECK_INT(wrong, 0);
    free(sequences);
    free(x);
    draw_rig_close(&r);
}

// A vocabulary of today's models, and the largest that is taken.
static void test_large(void) {
    enum { LARGE = 1 << 18, ROWS = 6 };
    struct draw_rig r;
    if (!draw_rig_open(&r, (struct gpu_draw_limits){LARGE, ROWS, ROWS, 8}))
        return;
    float *x = rig_floats((size_t)ROWS * LARGE, 2.5F);
    static uint32_t mask[LARGE / 32];
    for (size_t i = 0; i < LARGE / 32; i++)
        mask[i] = (uint32_t)rig_random();
    const uint32_t *masks[1] = {mask};
    static const size_t vocabs[] = {151936, LARGE};
    for (size_t v = 0; v < 2; v++) {
        struct sampling s[ROWS];
        struct draw_part got[ROWS] = {0}, want[ROWS];
        struct sampling_result results[2][ROWS];
        for (size_t i = 0; i < ROWS; i++) {
            s[i] = (struct sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
            s[i].seed = i + v;
            got[i] = (struct draw_part){.first = i, .count = 1, .sampling = &s[i], .slot = i};
        }
        s[0].temperature = 0;
        s[1].top_p = 0.95F;
        s[2].top_k = 50, s[2].top_p = 0.9F, got[2].masks = masks;
        s[3].min_p = 0.01F, s[3].top_p = 0.999F, got[3].top = 20;
        s[4].top_k = 20000, s[4].top_p = 0.99F, s[4].temperature = 3; // most of the row
        for (size_t i = 0; i < vocabs[v]; i++)                        // ties at the cut
            x[4 * vocabs[v] + i] = roundf(x[4 * vocabs[v] + i] * 2) / 2;
        memcpy(want, got, sizeof want);
        for (size_t i = 0; i < ROWS; i++) {
            got[i].results = &results[0][i];
            want[i].results = &results[1][i];
        }
        draw_rig_gpu(&r, x, ROWS, vocabs[v], got, ROWS);
        draw_rig_cpu(&r, x, ROWS, vocabs[v], want, ROWS);
        for (size_t i = 0; i < ROWS; i++)
            CHECK(draw_rig_same(&got[i], &want[i]));
    }
    free(x);
    draw_rig_close(&r);
}

// ---- transformers' numbers (data/sampling.txt)

// Its draws are the CPU's, which test_sampling.c holds to the distribution; none is of a token that
// has no probability, and the logprobs are the library's.
static void test_golden(struct draw_rig *r, const struct sampling_golden *g) {
    enum { DRAWS = 96 };
    static float x[DRAWS * 512];
    static struct draw_part got[DRAWS], want[DRAWS];
    static struct sampling_result results[2][DRAWS];
    struct sampling_history h;
    CHECK(sampling_history_init(&h, g->vocab) == ERR_OK);
    sampling_history_begin(&h, g->prompt, g->prompts);
    for (size_t i = 0; i < g->outputs; i++)
        sampling_history_add(&h, g->output[i]);
    for (size_t i = 0; i < DRAWS; i++) {
        memcpy(x + i * g->vocab, g->row, g->vocab * sizeof *x);
        got[i] = (struct draw_part){.first = i,
                                    .count = 1,
                                    .sampling = &g->s,
                                    .history = &h,
                                    .position = i,
                                    .top = i == 0 ? SAMPLING_MAX_TOP : 0,
                                    .results = &results[0][i]};
        want[i] = got[i];
        want[i].results = &results[1][i];
    }
    draw_rig_gpu(r, x, DRAWS, g->vocab, got, DRAWS);
    draw_rig_cpu(r, x, DRAWS, g->vocab, want, DRAWS);
    bool same = true, allowed = true;
    for (size_t i = 0; i < DRAWS; i++) {
        int32_t id = results[0][i].id;
        same = same && draw_rig_same(&got[i], &want[i]);
        allowed = allowed && id >= 0 && g->probs[id] > 0;
    }
    CHECK(same);
    CHECK(allowed);
    const struct sampling_result *first = &results[0][0];
    CHECK(first->top_count == SAMPLING_MAX_TOP);
    for (size_t k = 0; k < first->top_count; k++)
        CHECK_NEAR(&first->top[k].logprob, &g->logprobs[first->top[k].id], 1, 1e-5, 0);
    sampling_history_free(&h);
}

static void test_goldens(void) {
    FILE *f = fopen("tests/unit/data/sampling.txt", "r");
    static struct sampling_golden g;
    struct draw_rig r;
    size_t cases = 0;
    if (!CHECK(f != NULL) || !draw_rig_open(&r, (struct gpu_draw_limits){512, 96, 96, 0}))
        return;
    for (; sampling_golden_read(f, &g); cases++)
        test_golden(&r, &g);
    CHECK_INT(cases, 12);
    fclose(f);
    draw_rig_close(&r);
}

int main(void) {
    test_random();
    test_large();
    test_goldens();
    return check_done();
}
