// What a step of a generator computes. See generator.h.
#include "engine/generator_internal.h"

#include "base/clock.h"

#include <string.h>

enum {
    LEAST_CHUNK = 10, // of a prompt, beside decoding sequences
    // Far into a long text a chunk is shorter, for one layer's attention is not set aside: so many
    // pairs of a query and a key at most for each token of a whole one, but for the least chunk
    // there.
    CHUNK_PAIRS = 8192,
    CHUNK_FAR = 32,
    DRAFTING_SEQS = 4, // more sequences than these share the weights' reading well without
};

// The part of a decoding step's time that a prompt's chunk may add to it: the gap between two
// tokens of a stream stays below twice the usual one.
static const double CHUNK_SHARE = 0.8;

// ---- putting a step together

// Too early for an end: nothing is guessed then, so that no step has rows on both sides.
static bool is_early(const struct sequence *s) {
    return s->known + s->coming - s->g->prompt_len < s->g->min_tokens;
}

static bool may_guess(const struct generator *g, const struct sequence *s) {
    return g->options.speculate && g->running_count <= DRAFTING_SEQS && !is_early(s);
}

// Whether the next step could have this one, beside what is in flight of it.
static bool can_go(const struct generator *g, const struct sequence *s) {
    if (sequence_sits_out(s))
        return false;
    if (s->live == 0)
        return true;
    if (g->options.ahead == 0 || s->alone || sequence_pending(s) == 0)
        return false;
    if (s->coming == 0)
        return true; // a prompt's next chunk
    // what it draws next, and that it draws at all, is not known to be otherwise
    const struct generation *n = s->g;
    return s->known + s->coming < n->prompt_len + n->max_tokens &&
           s->known + s->coming < g->context && !(s->mask && s->slow) &&
           (s->quiet || !may_guess(g, s));
}

// Returns the tokens added: count, or 0 where scored prompts have taken all rows of logits.
// Sequences that decode are added first and always fit.
static size_t add_part(struct generator *g, struct flight *f, struct sequence *s, size_t count,
                       size_t wanted, bool draws) {
    static const int32_t last_drawn = STEP_LAST_DRAWN;
    const struct generation *n = s->g;
    struct step_part part = {.sequence = s->number,
                             .ids = s->sent < s->known ? s->tokens + s->sent : &last_drawn,
                             .count = count,
                             .context = s->sent,
                             .blocks = s->blocks,
                             .block_count = s->block_count,
                             .wanted = wanted,
                             .draws = draws,
                             .top = n->top_logprobs,
                             .want_logprob = n->want_logprobs,
                             .ctx = s,
                             .note = s->dropped};
    if (draws) {
        part.sampling = is_early(s) ? s->early : s->sampling;
        part.tokens = s->tokens;
        part.prompt_len = n->prompt_len;
        part.logged = s->known - n->prompt_len;
        part.masked = s->mask != NULL;
        part.position = s->known + s->coming;
        part.end_ids = g->model->generation.eos_ids;
        part.end_count = n->ignore_eos ? 0 : g->model->generation.eos_count;
    } else {
        part.next = s->tokens + s->sent + 1;
    }
    if (!step_add(f->step, &part))
        return 0;
    s->in_flight++;
    s->live++;
    s->sent += count;
    s->coming += draws;
    s->alone = wanted > 1 || (wanted > 0 && !draws);
    return count;
}

// Guessed tokens are put behind the known ones, where the drawn ones will be.
static size_t guess(struct generator *g, struct sequence *s, size_t rows) {
    const struct generation *n = s->g;
    if (!may_guess(g, s))
        return 0;
    if (s->coming > 0) { // nothing to be guessed behind what is not known
        s->draft.rests -= s->draft.rests > 0;
        return 0;
    }
    size_t left = n->max_tokens - (s->known - n->prompt_len) - 1; // one is drawn in any case
    size_t most = left < DRAFT_MAX ? left : DRAFT_MAX;
    if (most > rows)
        most = rows;
    if (s->known + most + 1 > g->context)
        most = g->context - s->known - 1;
    const int32_t *draft;
    size_t made = draft_make(&s->draft, s->tokens, s->known, most, &draft);
    s->quiet = made == 0;
    if (made > 0 && !sequence_grow(s, g->blocks, g->block_tokens, s->known + made))
        made = 0;
    if (made > 0)
        memmove(s->tokens + s->known, draft, made * sizeof *draft);
    return made;
}

// Blocks for one more token of a sequence that decodes. False: it does not run any more, or it
// would go ahead of what is known and others would have to give way to that.
static bool make_room(struct generator *g, struct sequence *s) {
    if (s->coming > 0)
        return sequence_grow(s, g->blocks, g->block_tokens, s->known + s->coming);
    while (!sequence_grow(s, g->blocks, g->block_tokens, s->known)) {
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
        if (!sequence_decodes(s) || sequence_lacks_mask(s) || s->tried == g->step_number ||
            !can_go(g, s))
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
static size_t add_decoding(struct generator *g, struct flight *f) {
    size_t added = 0, draft_rows = DRAFT_ROWS;
    turns_grant_rows(&g->turns);
    for (struct sequence *s; (s = next_decoding(g));) {
        s->tried = g->step_number; // before it may be gone
        if (!make_room(g, s))
            continue;
        struct turn *turn = turns_share(&g->turns) ? turns_find(&g->turns, s->account) : NULL;
        size_t most = draft_rows;
        if (turn && turn->rows - 1 < (double)most)
            most = (size_t)(turn->rows - 1);
        size_t made = guess(g, s, most);
        (void)add_part(g, f, s, 1 + made, 1 + made, true);
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
        return generator_chunk(&g->options);
    if (g->decode_us <= 0 || g->prefill_us <= 0)
        return LEAST_CHUNK;
    double budget = CHUNK_SHARE * g->decode_us / g->prefill_us;
    size_t most = generator_chunk(&g->options);
    return budget < LEAST_CHUNK ? LEAST_CHUNK : budget > (double)most ? most : (size_t)budget;
}

// A chunk of one prompt; returns its tokens.
static size_t add_chunk(struct generator *g, struct flight *f, struct sequence *s, size_t budget) {
    const struct generation *n = s->g;
    size_t pending = sequence_pending(s), count = pending < budget ? pending : budget;
    size_t chunk = generator_chunk(&g->options);
    size_t most_pairs = CHUNK_PAIRS * chunk / (s->sent + chunk);
    if (count > most_pairs && count > CHUNK_FAR)
        count = most_pairs > CHUNK_FAR ? most_pairs : CHUNK_FAR;
    bool ends = count == pending;
    bool scores = s->scored < n->prompt_len;
    if (scores && s->sent + 1 < s->scored) { // was set aside: these are scored already
        if (count > s->scored - 1 - s->sent)
            count = s->scored - 1 - s->sent;
        return add_part(g, f, s, count, 0, false);
    }
    if (scores) { // each row scores the token behind it; the last one draws alone
        size_t most = n->prompt_len - s->scored;
        size_t room = step_logits_room(f->step);
        count = count < most ? count : most;
        count = count < SCORED_CHUNK ? count : SCORED_CHUNK;
        count = count < room ? count : room;
        return count > 0 ? add_part(g, f, s, count, count, false) : 0;
    }
    bool draws = ends && n->max_tokens > 0;
    if (draws && sequence_lacks_mask(s)) { // the last token waits
        draws = false;
        count--;
    }
    if (count == 0)
        return 0;
    return add_part(g, f, s, count, draws ? 1 : 0, draws);
}

static bool is_prompt(const struct generator *g, const struct sequence *s) {
    return !sequence_decodes(s) && can_go(g, s);
}

// The oldest prompt of the owner whose turn it is has at least half of the budget, the one with the
// least left to compute the other: a short question does not wait for the long document before it,
// nor that one for ever.
static size_t add_prompts(struct generator *g, struct flight *f, size_t budget) {
    struct sequence *oldest = NULL, *shortest = NULL;
    generator_count_turns(g);
    const struct turn *turn = turns_prompt_owner(&g->turns);
    if (!turn)
        return 0;
    uint64_t owner = turn->owner;
    for (size_t i = 0; i < g->running_count; i++) {
        struct sequence *s = g->running[i];
        if (!is_prompt(g, s))
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
        added = add_chunk(g, f, shortest, budget / 2);
    size_t charged = shortest->account == owner ? added : 0,
           more = add_chunk(g, f, oldest, budget - added);
    added += more;
    turns_charge_prompt(&g->turns, charged + more);
    for (size_t i = 0; i < g->running_count && added < budget; i++) {
        struct sequence *s = g->running[i];
        if (s != oldest && s != shortest && is_prompt(g, s))
            added += add_chunk(g, f, s, budget - added);
    }
    return added;
}

// ---- steps

// The part of a step's time that its prompts take, by what the costs were lately.
static double prompt_part(const struct generator *g, size_t decoding, size_t prompt_tokens) {
    if (decoding == 0 || prompt_tokens == 0)
        return prompt_tokens > 0;
    double prompts = g->prefill_us * (double)prompt_tokens;
    return g->decode_us > 0 && prompts > 0 ? prompts / (prompts + g->decode_us)
                                           : CHUNK_SHARE / (1 + CHUNK_SHARE);
}

static struct flight *free_flight(struct generator *g) {
    if (g->in_flight > g->options.ahead || g->lost)
        return NULL;
    return &g->flights[(g->oldest + g->in_flight) % (1 + g->options.ahead)];
}

struct step *generator_begin_step(struct generator *g) {
    struct flight *f = free_flight(g);
    if (!f)
        return NULL;
    int64_t now = clock_now_us();
    g->step_number++;
    generator_join(g, now);
    step_clear(f->step);
    size_t decoding = add_decoding(g, f);
    size_t prompt_tokens = add_prompts(g, f, chunk_budget(g, decoding));
    if (f->step->seqs == 0) {
        generator_update_stats(g);
        return NULL;
    }
    f->busy = true;
    f->masks_tried = false;
    f->decoding = decoding;
    f->prompt_tokens = prompt_tokens;
    f->prompt_part = prompt_part(g, decoding, prompt_tokens);
    f->begun_us = now;
    g->in_flight++;
    return f->step;
}

unsigned generator_ready(const struct generator *g) {
    if (g->in_flight > g->options.ahead || g->lost)
        return 0;
    // what has just come, or waits where nothing runs, is a prompt; what waits for room is not
    // ready
    size_t known = g->running_count + g->waiting_count + g->ended_count;
    bool decodes = false,
         prompts = (g->running_count == 0 && g->waiting_count > 0) || generator_count(g) > known;
    for (size_t i = 0; i < g->running_count; i++)
        if (can_go(g, g->running[i]))
            *(sequence_decodes(g->running[i]) ? &decodes : &prompts) = true;
    return (decodes ? SHARE_BIT(SHARE_DECODE) : 0) | (prompts ? SHARE_BIT(SHARE_PREFILL) : 0);
}

double generator_step_prompt_part(const struct generator *g, const struct step *step) {
    size_t i = 0;
    while (g->flights[i].step != step)
        i++;
    return g->flights[i].prompt_part;
}

bool generator_step_is_gone(const struct step *step) {
    for (size_t i = 0; i < step->seqs; i++) {
        const struct sequence *s = step->parts[i].ctx;
        if (generator_counts(&step->parts[i]) && !atomic_load(&s->g->cancelled))
            return false;
    }
    return true;
}

size_t generator_step_requests(const struct step *step, const char **ids, size_t most) {
    const char *last = NULL;
    size_t n = 0;
    for (size_t i = 0; i < step->seqs && n < most; i++) {
        if (!generator_counts(&step->parts[i])) // its generation may be gone
            continue;
        const struct generation *g = ((const struct sequence *)step->parts[i].ctx)->g;
        if (g->request_id && g->request_id != last) // of several choices one is enough
            ids[n++] = g->request_id;
        last = g->request_id;
    }
    return n;
}
