// What a step of a generator computes, and what becomes of its results. See generator.h.
#include "engine/generator_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

enum {
    LEAST_CHUNK = 10, // of a prompt, beside decoding sequences
    // Far into a long text a chunk is shorter, for one layer's attention is not set aside: so many
    // pairs of a query and a key at most, but for the least chunk there.
    CHUNK_PAIRS = CHUNK_TOKENS * 8192,
    CHUNK_FAR = 32,
    DRAFTING_SEQS = 4, // more sequences than these share the weights' reading well without
};

// The part of a decoding step's time that a prompt's chunk may add to it: the gap between two
// tokens of a stream stays below twice the usual one.
static const double CHUNK_SHARE = 0.8;

// ---- putting a step together

// Too early for an end: nothing is guessed then, so that no step has rows on both sides.
static bool is_early(const struct sequence *s) {
    return s->known - s->g->prompt_len < s->g->min_tokens;
}

// Returns the tokens added: count, or 0 where scored prompts have taken all rows of logits.
// Sequences that decode are added first and always fit.
static size_t add_part(struct generator *g, struct sequence *s, size_t count, size_t wanted,
                       bool draws, const int32_t *ids) {
    const struct generation *n = s->g;
    struct step_part part = {.ids = ids,
                             .count = count,
                             .context = s->computed,
                             .blocks = s->blocks,
                             .block_count = s->block_count,
                             .wanted = wanted,
                             .top = n->top_logprobs,
                             .want_logprob = n->want_logprobs,
                             .ctx = s};
    if (draws) {
        part.sampling = is_early(s) ? &n->early : &n->sampling;
        part.history = s->history;
        part.mask = s->mask;
        part.position = s->known;
        part.end_ids = g->model->generation.eos_ids;
        part.end_count = n->ignore_eos ? 0 : g->model->generation.eos_count;
    } else {
        part.next = s->tokens + s->computed + 1;
    }
    return step_add(g->steps, &part) ? count : 0;
}

// Guessed tokens are put behind the known ones, where the drawn ones will be.
static size_t guess(struct generator *g, struct sequence *s, size_t rows) {
    const struct generation *n = s->g;
    if (!g->options.speculate || g->running_count > DRAFTING_SEQS || is_early(s))
        return 0;
    size_t left = n->max_tokens - (s->known - n->prompt_len) - 1; // one is drawn in any case
    size_t most = left < DRAFT_MAX ? left : DRAFT_MAX;
    if (most > rows)
        most = rows;
    if (s->known + most + 1 > g->context)
        most = g->context - s->known - 1;
    const int32_t *draft;
    size_t made = draft_make(&s->draft, s->tokens, s->known, most, &draft);
    if (made > 0 && !sequence_grow(s, g->blocks, BLOCK_TOKENS, s->known + made))
        made = 0;
    if (made > 0)
        memmove(s->tokens + s->known, draft, made * sizeof *draft);
    return made;
}

// Blocks for one more token of a sequence that decodes. False: it does not run any more.
static bool make_room(struct generator *g, struct sequence *s) {
    while (!sequence_grow(s, g->blocks, BLOCK_TOKENS, s->known)) {
        const struct sequence *victim = generator_preempt(g, s);
        if (victim == s)
            return false;
        if (!victim) { // it fills the whole cache
            generator_leave(g, 0);
            generator_finish(g, s, GENERATION_LENGTH, ERR_OK, "");
            return false;
        }
    }
    return true;
}

// The next one to decode in this step, of those that have their masks: the oldest; where owners
// share it, of those whose owner may add a row the one whose last step is longest ago. NULL: none.
static struct sequence *next_decoding(const struct generator *g) {
    struct sequence *next = NULL;
    for (size_t i = 0; i < g->running_count; i++) {
        struct sequence *s = g->running[i];
        if (!sequence_decodes(s) || sequence_lacks_mask(s) || s->stepped == g->step_number)
            continue;
        if (!turns_share(&g->turns))
            return s;
        if ((!next || s->stepped < next->stepped) && turns_find(&g->turns, s->account)->rows >= 1)
            next = s;
    }
    return next;
}

// One token of every sequence that decodes (of those whose turn it is), with what can be guessed
// behind it.
static size_t add_decoding(struct generator *g) {
    size_t added = 0, draft_rows = DRAFT_ROWS;
    turns_grant_rows(&g->turns);
    for (struct sequence *s; (s = next_decoding(g));) {
        if (!make_room(g, s))
            continue;
        struct turn *turn = turns_share(&g->turns) ? turns_find(&g->turns, s->account) : NULL;
        size_t most = draft_rows;
        if (turn && turn->rows - 1 < (double)most)
            most = (size_t)(turn->rows - 1);
        size_t made = guess(g, s, most);
        (void)add_part(g, s, 1 + made, 1 + made, true, s->tokens + s->known - 1);
        s->stepped = g->step_number;
        draft_rows -= made;
        if (turn)
            turn->rows -= (double)(1 + made);
        added++;
    }
    return added;
}

// The tokens of prompts that this step may compute beside `decoding` sequences.
static size_t chunk_budget(const struct generator *g, size_t decoding) {
    if (decoding == 0)
        return CHUNK_TOKENS;
    if (g->decode_us <= 0 || g->prefill_us <= 0)
        return LEAST_CHUNK;
    double budget = CHUNK_SHARE * g->decode_us / g->prefill_us;
    return budget < LEAST_CHUNK    ? LEAST_CHUNK
           : budget > CHUNK_TOKENS ? CHUNK_TOKENS
                                   : (size_t)budget;
}

// A chunk of one prompt; returns its tokens.
static size_t add_chunk(struct generator *g, struct sequence *s, size_t budget) {
    const struct generation *n = s->g;
    size_t pending = sequence_pending(s), count = pending < budget ? pending : budget;
    size_t most_pairs = CHUNK_PAIRS / (s->computed + CHUNK_TOKENS);
    if (count > most_pairs && count > CHUNK_FAR)
        count = most_pairs > CHUNK_FAR ? most_pairs : CHUNK_FAR;
    bool ends = count == pending;
    bool scores = s->scored < n->prompt_len;
    if (scores && s->computed + 1 < s->scored) { // was set aside: these are scored already
        if (count > s->scored - 1 - s->computed)
            count = s->scored - 1 - s->computed;
        return add_part(g, s, count, 0, false, s->tokens + s->computed);
    }
    if (scores) { // each row scores the token behind it; the last one draws alone
        size_t most = n->prompt_len - s->scored;
        size_t room = step_logits_room(g->steps);
        count = count < most ? count : most;
        count = count < SCORED_CHUNK ? count : SCORED_CHUNK;
        count = count < room ? count : room;
        return count > 0 ? add_part(g, s, count, count, false, s->tokens + s->computed) : 0;
    }
    bool draws = ends && n->max_tokens > 0;
    if (draws && sequence_lacks_mask(s)) { // the last token waits
        draws = false;
        count--;
    }
    if (count == 0)
        return 0;
    return add_part(g, s, count, draws ? 1 : 0, draws, s->tokens + s->computed);
}

// The oldest prompt of the owner whose turn it is has at least half of the budget, the one with the
// least left to compute the other: a short question does not wait for the long document before it,
// nor that one for ever.
static size_t add_prompts(struct generator *g, size_t budget) {
    struct sequence *oldest = NULL, *shortest = NULL;
    generator_count_turns(g);
    const struct turn *turn = turns_prompt_owner(&g->turns);
    if (!turn)
        return 0;
    uint64_t owner = turn->owner;
    for (size_t i = 0; i < g->running_count; i++) {
        struct sequence *s = g->running[i];
        if (sequence_decodes(s) || sequence_sits_out(s))
            continue;
        if (!oldest && s->account == owner)
            oldest = s;
        if (!shortest || sequence_pending(s) < sequence_pending(shortest))
            shortest = s;
    }
    if (!oldest || !shortest)
        return 0; // the turn's owner has one: it was counted so
    size_t added = 0;
    if (shortest != oldest)
        added = add_chunk(g, shortest, budget / 2);
    size_t charged = shortest->account == owner ? added : 0,
           more = add_chunk(g, oldest, budget - added);
    added += more;
    turns_charge_prompt(&g->turns, charged + more);
    for (size_t i = 0; i < g->running_count && added < budget; i++) {
        struct sequence *s = g->running[i];
        if (s != oldest && s != shortest && !sequence_decodes(s))
            added += add_chunk(g, s, budget - added);
    }
    return added;
}

// ---- taking a step's results

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
    size_t made = p->count - p->wanted == 0 && s->prefilled ? p->wanted - 1 : 0;
    if (p->waits) // the others were not tried
        made = p->drawn - 1;
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

static void take_part(struct generator *g, size_t running, const struct step_part *p, int64_t now) {
    struct sequence *s = g->running[running];
    struct generation *n = s->g;
    if (p->err) {
        generator_leave(g, running);
        generator_finish(g, s, GENERATION_FAILED, p->err, p->why);
        return;
    }
    size_t before = atomic_load_explicit(&n->produced, memory_order_relaxed);
    enum after after = GOES_ON;
    if (p->sampling) {
        after = take_draws(g, s, p, now);
    } else {
        if (p->wanted > 0)
            take_scores(s, p);
        s->computed += p->count;
        if (s->computed == s->known && n->max_tokens == 0)
            after = ENDS_LENGTH;
    }
    sequence_publish(s, g->blocks, BLOCK_TOKENS);
    size_t produced = atomic_load_explicit(&n->produced, memory_order_relaxed);
    if (produced > 0)
        generator_release(g, s);
    if (produced > before)
        n->progress(n);
    if (after != GOES_ON) {
        generator_leave(g, running);
        generator_finish(g, s, after == ENDS_STOP ? GENERATION_STOP : GENERATION_LENGTH, ERR_OK,
                         "");
    } else {
        generator_ask_mask(g, s);
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

static void fail_step(struct generator *g, enum err err, const char *why) {
    for (size_t i = 0; i < step_parts(g->steps); i++) {
        struct sequence *s = step_part_at(g->steps, i)->ctx;
        size_t at = 0;
        while (g->running[at] != s)
            at++;
        generator_leave(g, at);
        generator_finish(g, s, GENERATION_FAILED, err, why);
    }
}

unsigned generator_ready(const struct generator *g) {
    if (g->stepping)
        return 0;
    // what has just come, or waits where nothing runs, is a prompt; what waits for room is not
    // ready
    size_t known = g->running_count + g->waiting_count + g->ended_count;
    bool decodes = false,
         prompts = (g->running_count == 0 && g->waiting_count > 0) || generator_count(g) > known;
    for (size_t i = 0; i < g->running_count; i++)
        if (!sequence_sits_out(g->running[i]))
            *(sequence_decodes(g->running[i]) ? &decodes : &prompts) = true;
    return (decodes ? SHARE_BIT(SHARE_DECODE) : 0) | (prompts ? SHARE_BIT(SHARE_PREFILL) : 0);
}

double generator_prompt_part(const struct generator *g) { return g->prompt_part; }

bool generator_step_is_gone(const struct generator *g) {
    for (size_t i = 0; i < step_parts(g->steps); i++) {
        const struct sequence *s = step_part_at(g->steps, i)->ctx;
        if (!atomic_load(&s->g->cancelled))
            return false;
    }
    return true;
}

// The part of a step's time that its prompts take, by what the costs were lately.
static double prompt_part(const struct generator *g, size_t decoding, size_t prompt_tokens) {
    if (decoding == 0 || prompt_tokens == 0)
        return prompt_tokens > 0;
    double prompts = g->prefill_us * (double)prompt_tokens;
    return g->decode_us > 0 && prompts > 0 ? prompts / (prompts + g->decode_us)
                                           : CHUNK_SHARE / (1 + CHUNK_SHARE);
}

bool generator_step(struct generator *g, const struct forward_hooks *hooks) {
    int64_t begin = clock_now_us();
    g->step_number++;
    generator_join(g, begin);
    step_clear(g->steps);
    size_t decoding = add_decoding(g);
    size_t prompt_tokens = add_prompts(g, chunk_budget(g, decoding));
    if (step_parts(g->steps) == 0) {
        generator_update_stats(g);
        return false;
    }
    struct errmsg msg = {0};
    g->prompt_part = prompt_part(g, decoding, prompt_tokens);
    g->stepping = true;
    enum err e = step_run(g->steps, hooks, &msg);
    g->stepping = false;
    int64_t now = clock_now_us();
    if (e) {
        if (e != ERR_CANCELLED && e != ERR_UNAVAILABLE)
            log_event(LOG_LEVEL_ERROR, "step_failed",
                      LOG_FIELDS(log_string("model", g->model->name),
                                 log_size("tokens", step_tokens(g->steps)),
                                 log_string("error", msg.text)),
                      "a step of %zu tokens failed: %s", step_tokens(g->steps), msg.text);
        else
            g->tally.ended++;
        fail_step(g, e, msg.text);
    } else {
        learn_costs(g, decoding, prompt_tokens, now - begin);
        for (size_t i = 0; i < step_parts(g->steps); i++) {
            const struct step_part *p = step_part_at(g->steps, i);
            size_t at = 0;
            while (g->running[at] != p->ctx)
                at++;
            take_part(g, at, p, now);
        }
    }
    g->tally.steps++;
    generator_update_stats(g);
    return true;
}
