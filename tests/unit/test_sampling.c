// Sampling against transformers' own processors (data/sampling.txt,
// tools/make_sampling_goldens.py), its draws against the probabilities they are made from, its
// edges and what must never happen.
#include "base/fault.h"
#include "compute/cpu/logit_rows.h"
#include "compute/cpu/sampling_internal.h"
#include "tests/unit/device_rig.h"
#include "tests/unit/sampling_golden.h"

static const struct sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

// With the last `apart` tokens of the output left to be said beside it.
static struct sampling_history history_of(const struct sampling_golden *g, size_t apart) {
    struct sampling_history h;
    CHECK(sampling_history_init(&h, g->vocab) == ERR_OK);
    static const int32_t before[] = {1, 2, 3};
    sampling_history_begin(&h, before, 3); // forgotten with what comes
    sampling_history_add(&h, 1);
    sampling_history_begin(&h, g->prompt, g->prompts);
    for (size_t i = 0; i + apart < g->outputs; i++)
        sampling_history_add(&h, g->output[i]);
    return h;
}

// Pearson's chi-square of draws over the tokens of at least 5 expected, others together: below its
// mean by degrees of freedom plus 5 standard deviations; the seeds are fixed.
static void test_golden(const struct sampling_golden *g, struct sampling_scratch *scratch) {
    enum { DRAWS = 20000 };
    static size_t seen[512];
    memset(seen, 0, sizeof seen);
    size_t apart = g->outputs < 3 ? g->outputs : 3;
    struct sampling_history h = history_of(g, 0), before = history_of(g, apart);
    struct sampling_row row = {
        .logits = g->row, .vocab = g->vocab, .sampling = &g->s, .history = &h};
    struct sampling_result r;
    bool allowed = true;
    for (size_t i = 0; i < DRAWS; i++) {
        row.position = i;
        sampling_draw(&row, scratch, &r);
        allowed = allowed && r.id >= 0 && g->probs[r.id] > 0;
        if (r.id >= 0)
            seen[r.id]++;
        if (i % 16 == 0) { // the output's end beside the history: the same
            struct sampling_row parts = row;
            struct sampling_result same;
            parts.history = &before;
            parts.more = g->output + g->outputs - apart;
            parts.more_count = apart;
            sampling_draw(&parts, scratch, &same);
            allowed = allowed && same.id == r.id;
        }
    }
    CHECK(allowed);
    double square = 0, rest = 0, rest_seen = 0;
    int freedom = -1;
    for (size_t i = 0; i < g->vocab; i++) {
        double expected = (double)g->probs[i] * DRAWS;
        if (expected < 5) {
            rest += expected;
            rest_seen += (double)seen[i];
            continue;
        }
        square += ((double)seen[i] - expected) * ((double)seen[i] - expected) / expected;
        freedom++;
    }
    if (rest >= 5) {
        square += (rest_seen - rest) * (rest_seen - rest) / rest;
        freedom++;
    }
    if (!CHECK(square <= freedom + 5 * sqrt(2.0 * freedom + 1)))
        fprintf(stderr, "    chi-square %.1f of %d\n", square, freedom);
    // logprobs are of the raw row, whatever was asked
    row.top = 20;
    sampling_draw(&row, scratch, &r);
    CHECK(r.top_count == 20);
    for (size_t i = 0; i < r.top_count; i++) {
        CHECK_NEAR(&r.top[i].logprob, &g->logprobs[r.top[i].id], 1, 1e-5, 0);
        CHECK(i == 0 || r.top[i].logprob <= r.top[i - 1].logprob);
    }
    if (r.id >= 0)
        CHECK_NEAR(&r.logprob, &g->logprobs[r.id], 1, 1e-5, 0);
    for (size_t i = 0; i < g->vocab; i += 17) {
        sampling_score(g->row, g->vocab, (int32_t)i, 0, scratch, &r);
        CHECK_NEAR(&r.logprob, &g->logprobs[i], 1, 1e-5, 0);
    }
    sampling_history_free(&h);
    sampling_history_free(&before);
}

static void test_goldens(struct sampling_scratch *scratch) {
    FILE *f = fopen("tests/unit/data/sampling.txt", "r");
    static struct sampling_golden g;
    size_t cases = 0;
    if (!CHECK(f != NULL))
        return;
    while (sampling_golden_read(f, &g)) {
        test_golden(&g, scratch);
        cases++;
    }
    CHECK(cases == 12);
    fclose(f);
}

static void test_random(void) {
    // Vigna's splitmix64.c from seed 1234567, as published with other languages' versions of it
    static const uint64_t known[] = {6457827717110365317U, 3203168211198807973U,
                                     9817491932198370423U, 4593380528125082431U,
                                     16408922859458223821U};
    for (uint64_t i = 0; i < 5; i++)
        CHECK(sampling_random(1234567, i) == known[i]);
}

static int32_t draw_of(const float *x, size_t n, const struct sampling *s, const uint32_t *mask,
                       uint64_t position, struct sampling_scratch *scratch) {
    struct sampling_row row = {.logits = x, .vocab = n, .sampling = s, .mask = mask};
    row.position = position;
    struct sampling_result r;
    sampling_draw(&row, scratch, &r);
    return r.id;
}

// Every edge must give the most likely token, of ties the lowest.
static void test_edges(struct sampling_scratch *scratch, size_t n) {
    float *x = rig_floats(n, 2);
    size_t best = n / 3;
    x[best] = 11;
    if (n > 3)
        x[n - 1] = 11;
    struct sampling edges[] = {plain, plain, plain, plain, plain, plain};
    edges[0].temperature = 0;
    edges[1].top_k = 1;
    edges[2].top_p = 1e-30F;
    edges[3].top_k = 1, edges[3].temperature = 100;
    edges[4].temperature = 1e-6F, edges[4].top_k = 1;
    edges[5].top_p = 0.01F, edges[5].min_p = 1, edges[5].top_k = 3;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            edges[i].seed = seed;
            CHECK(draw_of(x, n, &edges[i], NULL, seed, scratch) == (int32_t)best);
        }
    struct sampling both = plain; // ties above a threshold both stay
    both.min_p = 1;
    bool first = false, last = false;
    for (uint64_t at = 0; at < 64 && n > 3; at++) {
        int32_t id = draw_of(x, n, &both, NULL, at, scratch);
        first = first || id == (int32_t)best;
        last = last || id == (int32_t)n - 1;
        CHECK(id == (int32_t)best || id == (int32_t)n - 1);
    }
    CHECK(n <= 3 || (first && last));
    // the smallest temperature there is
    both = plain;
    both.temperature = 1e-45F;
    CHECK(draw_of(x, n, &both, NULL, 1, scratch) >= 0);
    float keep = x[best];
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++)
        for (size_t at = 0; at < n; at += n / 5 + 1) {
            float was = x[at];
            x[at] = odd[i];
            CHECK(draw_of(x, n, &plain, NULL, 0, scratch) == -1);
            struct sampling_result r;
            sampling_score(x, n, 0, 0, scratch, &r);
            CHECK(r.id == -1);
            x[at] = was;
        }
    x[best] = keep;
    free(x);
}

// No forbidden token, whatever the parameters; a bias cannot undo a mask.
static void test_mask(struct sampling_scratch *scratch) {
    enum { N = 1003, WORDS = (N + 31) / 32 };
    static uint32_t mask[WORDS];
    float *x = rig_floats(N, 4);
    CHECK(draw_of(x, N, &plain, mask, 0, scratch) == -1); // nothing is allowed
    bool ok = true;
    for (int i = 0; i < 3000; i++) {
        for (size_t w = 0; w < WORDS; w++)
            mask[w] = i % 3 == 0   ? (uint32_t)rig_random() & (uint32_t)rig_random()
                      : i % 3 == 1 ? 0
                                   : UINT32_MAX;
        size_t allowed = rig_random() % N;
        mask[allowed / 32] |= 1U << allowed % 32;
        if (i % 3 == 2)
            mask[allowed / 32] &= ~(1U << allowed % 32);
        struct logit_bias bias = {(int32_t)(rig_random() % N), 100};
        struct sampling s = plain;
        s.bias = &bias, s.bias_count = (size_t)i % 2;
        s.temperature = (float)(rig_random() % 5);
        s.top_k = (int32_t)(rig_random() % 100);
        s.top_p = 1 - 0.1F * (float)(rig_random() % 10);
        s.min_p = 0.1F * (float)(rig_random() % 10);
        s.seed = rig_random();
        int32_t id = draw_of(x, N, &s, mask, (uint64_t)i, scratch);
        ok = ok && id >= 0 && id < N && (mask[id / 32] >> id % 32 & 1U);
        ok = ok && (i % 3 != 1 || (size_t)id == allowed);
    }
    CHECK(ok);
    struct logit_bias only = {77, 100};
    struct sampling s = plain;
    s.bias = &only, s.bias_count = 1;
    CHECK(draw_of(x, N, &s, NULL, 5, scratch) == 77);
    struct logit_bias strange[] = {{-1, 50}, {N, 50}, {3, -INFINITY}}; // none of these is an error
    s.bias = strange, s.bias_count = 3;
    CHECK(draw_of(x, N, &s, NULL, 5, scratch) >= 0);
    free(x);
}

// Selection finds what sorting finds, at a size of vocabulary, and draws repeat.
static void test_large(struct sampling_scratch *scratch, size_t n) {
    float *x = rig_floats(n, 2.5F);
    static const float ps[] = {0.05F, 0.5F, 0.9F, 0.999F};
    for (size_t i = 0; i < n; i += 7)
        x[i] = roundf(x[i] * 4) / 4; // ties
    float *w = rig_alloc(n, sizeof *w);
    struct sampling_candidate *c = rig_alloc(n, sizeof *c);
    bool finite;
    float most = logit_max(x, n, NULL, &finite);
    double total = logit_exp(x, n, most, 1, w, NULL), exact = 0;
    float worst = 0;
    for (size_t i = 0; i < n; i++) {
        double e = exp((double)x[i] - (double)most);
        exact += e;
        // 1.5 ulp, and the rounding of x - most
        double bound = e * (3e-7 + 6e-8 * fabs((double)x[i] - (double)most));
        worst = fmaxf(worst, (float)(fabs((double)w[i] - e) / bound));
    }
    CHECK(worst < 1 && fabs(total - exact) < 1e-6 * exact);
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < n; j++)
            c[j] = (struct sampling_candidate){w[j], (int32_t)j};
        struct sampling_candidate last = sampling_reach(c, n, (double)ps[i] * total);
        double before = 0;
        for (size_t j = 0; j < n; j++)
            if (candidate_before((struct sampling_candidate){w[j], (int32_t)j}, last))
                before += (double)w[j];
        CHECK(before < (double)ps[i] * total * (1 + 1e-12));
        CHECK(before + (double)last.w >= (double)ps[i] * total * (1 - 1e-12));
        // no draw comes from behind the cut
        struct sampling s = plain;
        s.top_p = ps[i];
        bool inside = true;
        for (uint64_t at = 0; at < 40; at++) {
            s.seed = at * 77;
            int32_t id = draw_of(x, n, &s, NULL, at, scratch);
            inside = inside && id >= 0 &&
                     !candidate_before(last, (struct sampling_candidate){w[id], id});
            inside = inside && id == draw_of(x, n, &s, NULL, at, scratch);
        }
        CHECK(inside);
    }
    static const int32_t ks[] = {2, 40, 1000, 5000};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < n; j++)
            c[j] = (struct sampling_candidate){x[j], (int32_t)j};
        struct sampling_candidate last = sampling_nth(c, n, (size_t)ks[i]);
        size_t before = 0;
        for (size_t j = 0; j < n; j++)
            before += candidate_before((struct sampling_candidate){x[j], (int32_t)j}, last);
        CHECK(before == (size_t)ks[i] - 1);
        struct sampling s = plain;
        s.top_k = ks[i], s.temperature = 50;
        bool inside = true;
        for (uint64_t at = 0; at < 40; at++) {
            int32_t id = draw_of(x, n, &s, NULL, at, scratch);
            inside = inside && id >= 0 &&
                     !candidate_before(last, (struct sampling_candidate){x[id], id});
        }
        CHECK(inside);
    }
    free(x), free(w), free(c);
}

static void test_faults(void) {
    static const int32_t prompt[] = {1, 2, -5, 99};
    long failures = 0;
    for (long nth = 1;; nth++) {
        struct sampling_history h;
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = sampling_history_init(&h, 50);
        fault_disarm();
        CHECK(e == ERR_OK || (e == ERR_NOMEM && !h.ids && !h.counts));
        if (e == ERR_OK) {
            sampling_history_begin(&h, prompt, 4);
            CHECK(h.distinct == 2);
            sampling_history_add(&h, 50);
            CHECK(h.distinct == 2);
        }
        sampling_history_free(&h);
        if (e == ERR_OK)
            break;
        failures++;
    }
    CHECK(failures == 2);
    CHECK(!sampling_penalizes(&plain));
    CHECK(sampling_scratch_bytes(SIZE_MAX / 8) == SIZE_MAX);
}

int main(void) {
    enum { VOCAB = 20011 };
    struct arena arena = {0};
    struct sampling_scratch place, *scratch = &place;
    size_t bytes = sampling_scratch_bytes(VOCAB);
    if (!CHECK(arena_init(&arena, bytes) == ERR_OK) ||
        !CHECK(sampling_scratch_place(&arena, VOCAB, scratch)))
        return check_done();
    CHECK(arena.used == bytes &&
          !sampling_scratch_place(&arena, VOCAB, &(struct sampling_scratch){0}));
    test_random();
    test_goldens(scratch);
    static const size_t sizes[] = {1, 2, 15, 64, 65, 1000, VOCAB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        test_edges(scratch, sizes[i]);
    test_mask(scratch);
    test_large(scratch, VOCAB);
    test_faults();
    float one = 1;
    CHECK(draw_of(&one, VOCAB + 1, &plain, NULL, 0, scratch) == -1); // more than the scratch holds
    arena_free(&arena);
    return check_done();
}
