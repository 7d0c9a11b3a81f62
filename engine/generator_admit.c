// Which of the waiting sequences run, and which are set aside for them. See generator.h.
#include "engine/generator_internal.h"

#include <string.h>

void generator_wait(struct generator *g, struct sequence *s) {
    struct sequence **at = &g->waiting;
    while (*at && (*at)->g->submitted_us <= s->g->submitted_us)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    g->waiting_count++;
}

// ---- joining and leaving

// A running sequence is computing a prefix that `s` would have to compute too: worth waiting for.
static bool better_later(const struct generator *g, const struct sequence *s) {
    if (s->scored < s->g->prompt_len)
        return false;
    for (size_t i = 0; i < g->running_count; i++) {
        const struct sequence *r = g->running[i];
        if (r->prefilled || r->owner != s->owner)
            continue;
        size_t common = sequence_common(s, r, g->block_tokens);
        if (common > r->computed && common >= 2 * g->block_tokens)
            return true;
    }
    return false;
}

static void start(struct generator *g, struct sequence *s, int64_t now) {
    struct generation *n = s->g;
    size_t at = g->running_count++;
    while (at > 0 && g->running[at - 1]->g->submitted_us > n->submitted_us) {
        g->running[at] = g->running[at - 1];
        at--;
    }
    g->running[at] = s;
    if (n->started_us == 0) {
        n->started_us = now;
        n->queue_us = now - n->submitted_us;
        n->cached_tokens = s->computed;
        atomic_store(&n->begun, true);
        pthread_mutex_lock(&g->mutex);
        g->stats.prompt_tokens += n->prompt_len;
        g->stats.cached_tokens += s->computed;
        pthread_mutex_unlock(&g->mutex);
    }
}

void generator_leave(struct generator *g, size_t at) {
    g->running_count--;
    memmove(&g->running[at], &g->running[at + 1],
            (g->running_count - at) * sizeof(struct sequence *));
}

void generator_count_turns(struct generator *g) {
    turns_begin(&g->turns);
    for (size_t i = 0; i < g->running_count; i++) {
        const struct sequence *s = g->running[i];
        if (s->leaving)
            continue;
        turns_count(&g->turns, s->account, s->g->weight,
                    !sequence_decodes(s) && !sequence_sits_out(s));
    }
    turns_end(&g->turns);
}

size_t generator_place_of(const struct generator *g, const struct sequence *s) {
    size_t at = 0;
    while (g->running[at] != s)
        at++;
    return at;
}

void generator_put_back(struct generator *g, struct sequence *s) {
    generator_leave(g, generator_place_of(g, s));
    sequence_unplace(s, g->blocks);
    s->passing = s->leaving = false;
    generator_wait(g, s);
}

void generator_set_aside(struct generator *g, struct sequence *s) {
    s->g->preemptions++;
    generator_put_back(g, s);
    pthread_mutex_lock(&g->mutex);
    g->stats.preemptions++;
    pthread_mutex_unlock(&g->mutex);
}

static size_t running_of(const struct generator *g, uint64_t account, uint64_t request) {
    size_t n = 0;
    for (size_t i = 0; i < g->running_count; i++)
        n += !g->running[i]->leaving && g->running[i]->account == account &&
             g->running[i]->g->request == request;
    return n;
}

// Of this account's sequences that may be set aside the youngest, of the request with most; least:
// it must have as many. NULL: none.
static struct sequence *youngest(const struct generator *g, uint64_t account, size_t least) {
    struct sequence *found = NULL;
    size_t most = 0;
    for (size_t i = g->running_count; i-- > 0;) {
        struct sequence *s = g->running[i];
        if (s->account != account || s->leaving || s->stepped == g->step_number ||
            (found && s->g->request == found->g->request))
            continue;
        size_t n = running_of(g, account, s->g->request);
        if (n >= least && n > most) {
            found = s;
            most = n;
        }
    }
    return found;
}

struct sequence *generator_preempt(struct generator *g, struct sequence *s) {
    if (g->running_count < 2)
        return NULL;
    generator_count_turns(g);
    const struct turn *greedy = turns_greedy(&g->turns, s->account, s->g->weight);
    struct sequence *victim = greedy ? youngest(g, greedy->owner, 1) : NULL;
    for (size_t i = g->running_count; i-- > 0 && !victim;) // else one that went before another
        if (g->running[i]->passing && g->running[i]->stepped != g->step_number)
            victim = g->running[i];
    for (size_t i = g->running_count; i-- > 0 && !victim;) // else the youngest of all: s, at last
        if (g->running[i]->stepped != g->step_number)
            victim = g->running[i];
    generator_set_aside(g, victim);
    return victim;
}

// ---- who joins: the owner with the least, by weight; of its requests that with the least; of
// these the oldest

static struct sequence **next_waiting(struct generator *g) {
    struct sequence **best = NULL;
    double best_load = 0;
    size_t best_own = 0;
    for (struct sequence **at = &g->waiting; *at; at = &(*at)->next) {
        struct sequence *s = *at;
        if (best && s->account == (*best)->account && s->g->request == (*best)->g->request)
            continue; // it came later
        if (generator_bars(g, s))
            continue;
        double load = turns_load(&g->turns, s->account, s->g->weight);
        if (best && (load > best_load || (load == best_load && best_own == 0)))
            continue;
        size_t own = running_of(g, s->account, s->g->request);
        if (best && load == best_load && own >= best_own)
            continue;
        if (better_later(g, s))
            continue;
        best = at;
        best_load = load;
        best_own = own;
    }
    return best;
}

// Who gives way to `s`, which waits: one that went before it, or a sequence of an owner, or of
// another request of its own, that runs so many more that both are the closer for it. NULL: nobody.
static struct sequence *gives_way(const struct generator *g, const struct sequence *s) {
    for (size_t i = g->running_count; i-- > 0 && s->passed_by;)
        if (g->running[i]->passing && !g->running[i]->leaving)
            return g->running[i];
    const struct turn *greedy = turns_greedy(&g->turns, s->account, s->g->weight);
    if (greedy)
        return youngest(g, greedy->owner, 1);
    return youngest(g, s->account, running_of(g, s->account, s->g->request) + 2);
}

// Brings `s` to run, if need be in the place of others. False: it goes on waiting, and so that
// nobody makes room in vain it is looked first whether enough of them give way.
static bool bring_in(struct generator *g, struct sequence *s) {
    size_t lacks = 0, leaving = 0;
    // each running sequence may want another block soon
    if (g->running_count < g->options.max_sequences &&
        sequence_place(s, g->blocks, g->block_tokens, g->running_count, &lacks))
        return true;
    while (g->running_count - leaving >= g->options.max_sequences || lacks > 0) {
        struct sequence *victim = gives_way(g, s);
        if (!victim)
            break;
        victim->leaving = true;
        leaving++;
        size_t frees = victim->block_count + 1;
        lacks = lacks > frees ? lacks - frees : 0;
        generator_count_turns(g);
    }
    bool enough = g->running_count - leaving < g->options.max_sequences && lacks == 0;
    for (size_t i = g->running_count; i-- > 0;) {
        if (enough && g->running[i]->leaving)
            generator_set_aside(g, g->running[i]);
        else
            g->running[i]->leaving = false;
    }
    generator_count_turns(g);
    return enough && sequence_place(s, g->blocks, g->block_tokens, g->running_count, &lacks);
}

// While `s` waits for room, one of another request that needs no more than there is goes before it;
// it gives way when `s` can run without it, so `s` waits no longer than it would have.
static struct sequence *pass(struct generator *g, struct sequence *s) {
    if (g->running_count >= g->options.max_sequences)
        return NULL;
    size_t lacks;
    for (struct sequence **at = &g->waiting; *at; at = &(*at)->next) {
        struct sequence *one = *at;
        size_t blocks = one->known / g->block_tokens + 1;
        if (one == s || generator_bars(g, one) ||
            (one->account == s->account && one->g->request == s->g->request) ||
            blocks + g->running_count > kv_blocks_room(g->blocks) || better_later(g, one) ||
            !sequence_place(one, g->blocks, g->block_tokens, g->running_count, &lacks))
            continue;
        *at = one->next;
        g->waiting_count--;
        one->passing = s->passed_by = true;
        return one;
    }
    return NULL;
}

void generator_admit(struct generator *g, int64_t now) {
    generator_count_turns(g);
    for (struct sequence **at; (at = next_waiting(g));) {
        struct sequence *s = *at;
        *at = s->next;
        g->waiting_count--;
        if (!bring_in(g, s)) {
            s->next = *at; // where it was, before those that came in the same microsecond too
            *at = s;
            g->waiting_count++;
            for (struct sequence *one; (one = pass(g, s));)
                start(g, one, now);
            generator_count_turns(g); // one that was set aside may decode at once
            return;                   // those behind it wait too: no prompt is passed by for ever
        }
        s->passed_by = false;
        start(g, s, now);
        generator_count_turns(g);
    }
}
