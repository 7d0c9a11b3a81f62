// What becomes of a step's results. See generator.h.
#include "engine/generator_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>

// Puts a drawn token into the log. False: it ends the generation (and is not in the log).
static bool log_token(const struct generator *g, struct sequence *s,
                      const struct sampling_result *r) {
    struct generation *n = s->g;
    if (!n->ignore_eos && model_is_end(g->model, r->id))
        return false;
    size_t at = s->known - n->prompt_len;
    n->ids[at] = r->id;
    if (n->logprobs)
        n->logprobs[at] = r->logprob;
    if (n->top) {
        struct token_logprob *top = n->top + at * n->top_logprobs;
        for (size_t i = 0; i < n->top_logprobs; i++)
            top[i] = i < r->top_count ? r->top[i] : (struct token_logprob){-1, 0};
    }
    s->tokens[s->known++] = r->id;
    atomic_store_explicit(&n->produced, at + 1, memory_order_release);
    return true;
}

static void take_scores(struct sequence *s, const struct step_part *p) {
    struct generation *n = s->g;
    for (size_t i = 0; i < p->drawn; i++) {
        size_t at = s->computed + i + 1;
        const struct sampling_result *r = &p->results[i];
        n->prompt_scores[at] = r->logprob;
        for (size_t j = 0; n->prompt_top && j < n->top_logprobs; j++)
            n->prompt_top[at * n->top_logprobs + j] =
                j < r->top_count ? r->top[j] : (struct token_logprob){-1, 0};
    }
    s->scored += p->drawn;
}

enum after { GOES_ON, ENDS_STOP, ENDS_LENGTH };

static enum after take_draws(struct generator *g, struct sequence *s, const struct step_part *p,
                             int64_t now) {
    struct generation *n = s->g;
    if (n->first_us == 0) // before the log tells of the token
        n->first_us = now - n->submitted_us;
    size_t made = p->wanted - 1;
    if (p->masked && p->drawn == p->mask_count && p->drawn < p->wanted &&
        p->results[p->drawn - 1].id == s->tokens[s->known + p->drawn - 1])
        made = p->drawn - 1; // the others were not tried
    s->computed += p->count - p->wanted + p->drawn;
    if (made > 0) {
        draft_learn(&s->draft, made, p->drawn - 1);
        n->drafted += made;
        n->accepted += p->drawn - 1;
        g->tally.drafted += made;
        g->tally.accepted += p->drawn - 1;
    }
    s->prefilled = true;
    for (size_t i = 0; i < p->drawn; i++) {
        if (!log_token(g, s, &p->results[i]))
            return ENDS_STOP;
        g->tally.output++;
        if (s->known - n->prompt_len == n->max_tokens || s->known >= g->context)
            return ENDS_LENGTH;
    }
    return GOES_ON;
}

// A row whose mask was not there: what stands before it is computed, it is not.
static void take_late(struct generator *g, struct sequence *s, const struct step_part *p) {
    s->computed += p->count - p->wanted;
    sequence_drop_rows(s); // those that went ahead of it have nothing to go on from
    generator_ask_mask(g, s);
}

// Behind what was drawn; a mask that takes long is begun at once, the others with the next step.
static void next_mask(struct generator *g, struct sequence *s, const struct step_part *p) {
    int32_t ids[STEP_ROWS_MOST];
    for (size_t i = 0; i < p->drawn; i++)
        ids[i] = p->results[i].id;
    mask_job_take(s->mask, ids, p->drawn);
    if (!s->slow)
        return;
    mask_job_try(s->mask, MASKS_WORK_LEAST);
    s->slow = !mask_job_ready(s->mask);
    generator_ask_mask(g, s);
}

static enum after take_results(struct generator *g, struct sequence *s, const struct step_part *p,
                               int64_t now) {
    enum after after = GOES_ON;
    if (p->draws) {
        s->coming--;
        after = take_draws(g, s, p, now);
    } else {
        if (p->wanted > 0)
            take_scores(s, p);
        s->computed += p->count;
        if (s->computed == s->known && s->g->max_tokens == 0)
            after = ENDS_LENGTH;
    }
    return after;
}

// Of what it computed, behind `had`, the part that it had computed before the device was lost.
static void count_replayed(struct generator *g, struct sequence *s, size_t had) {
    size_t to = s->computed < s->replays ? s->computed : s->replays;
    g->tally.replayed += to > had ? to - had : 0;
    if (s->computed >= s->replays)
        s->replays = 0;
}

static void take_part(struct generator *g, struct sequence *s, const struct step_part *p,
                      int64_t now) {
    struct generation *n = s->g;
    bool no_mask = p->late && s->mask && mask_job_ready(s->mask) && s->mask->err;
    if (p->err || no_mask) {
        generator_leave(g, generator_place_of(g, s));
        generator_finish(g, s, GENERATION_FAILED, no_mask ? s->mask->err : p->err,
                         no_mask ? s->mask->msg.text : step_fault_words(p->fault));
        return;
    }
    if (p->late) {
        take_late(g, s, p);
        return;
    }
    if (g->options.replica && p->drawn > 0)
        computed_add(&n->computed, replica_facts(g->options.replica)->name);
    size_t before = atomic_load_explicit(&n->produced, memory_order_relaxed), had = s->computed;
    enum after after = take_results(g, s, p, now);
    if (s->replays > 0)
        count_replayed(g, s, had);
    if (s->live == 0) {
        s->sent = s->computed;
        s->alone = false;
    }
    sequence_publish(s, g->blocks, g->block_tokens);
    size_t produced = atomic_load_explicit(&n->produced, memory_order_relaxed);
    if (produced > 0)
        generator_release(g, s);
    if (produced > before)
        n->progress(n);
    if (after != GOES_ON) {
        generator_leave(g, generator_place_of(g, s));
        generator_finish(g, s, after == ENDS_STOP ? GENERATION_STOP : GENERATION_LENGTH, ERR_OK,
                         "");
    } else if (p->draws) {
        if (s->live > 0) // it goes on going ahead for as long as nothing is to be guessed
            s->quiet = !draft_is_likely(&s->draft, s->tokens, s->known);
        if (s->mask)
            next_mask(g, s, p);
    }
}

// Moves an estimate towards what was measured. A step that was held up by something else (another
// process, an interactive batch) says little about the next one: a measurement counts at most as a
// quarter more or less than what was expected.
static void learn(double *estimate, double measured) {
    static const double RATE = 0.3, MOST = 1.25, LEAST = 0.75;
    double e = *estimate > 0 ? *estimate : measured;
    if (e <= 0)
        return;
    double seen = measured > MOST * e ? MOST * e : measured < LEAST * e ? LEAST * e : measured;
    *estimate = e + RATE * (seen - e);
}

// Lately measured costs, for the next chunk's size.
static void learn_costs(struct generator *g, size_t decoding, size_t prompt_tokens, int64_t us) {
    if (prompt_tokens == 0)
        learn(&g->decode_us, (double)us);
    else
        learn(&g->prefill_us,
              ((double)us - (decoding > 0 ? g->decode_us : 0)) / (double)prompt_tokens);
}

static void log_failure(const struct generator *g, const struct step *step, const char *why) {
    log_event(LOG_LEVEL_ERROR, "step_failed",
              LOG_FIELDS(log_string("model", g->model->name), log_size("tokens", step->tokens),
                         log_string("error", why)),
              "a step of %zu tokens failed: %s", step->tokens, why);
}

void generator_end_step(struct generator *g, struct step *step, bool ran, enum err err,
                        const char *why) {
    struct flight *f = generator_oldest(g);
    int64_t now = clock_now_us();
    assert(f && f->step == step);
    int64_t begun = f->begun_us > g->taken_us ? f->begun_us : g->taken_us;
    g->oldest = (g->oldest + 1) % (1 + g->options.ahead);
    g->in_flight--;
    g->taken_us = now;
    if (!err)
        learn_costs(g, f->decoding, f->prompt_tokens, now - begun);
    else if (err != ERR_CANCELLED && err != ERR_UNAVAILABLE)
        log_failure(g, step, why);
    for (size_t i = 0; i < step->seqs; i++) {
        const struct step_part *p = &step->parts[i];
        struct sequence *s = p->ctx;
        s->in_flight--;
        if (!generator_counts(p))
            continue;
        s->live--;
        if (!err) {
            take_part(g, s, p, now);
        } else {
            generator_leave(g, generator_place_of(g, s));
            generator_finish(g, s, GENERATION_FAILED, err, why);
        }
    }
    generator_free_done(g);
    g->tally.ended += ran && (err == ERR_CANCELLED || err == ERR_UNAVAILABLE);
    g->tally.steps++;
    generator_update_stats(g);
}

void generator_take_back(struct generator *g) {
    for (; g->in_flight > 0; g->in_flight--) {
        const struct step *step = generator_oldest(g)->step;
        g->oldest = (g->oldest + 1) % (1 + g->options.ahead);
        for (size_t i = 0; i < step->seqs; i++) {
            struct sequence *s = step->parts[i].ctx;
            s->in_flight--;
            if (generator_counts(&step->parts[i]))
                sequence_drop_rows(s);
        }
    }
    generator_free_done(g);
}
