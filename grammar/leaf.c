// Makes deterministic automata over bytes of expressions without rules: code points become their
// UTF-8 sequences, repetitions are written out, then the subset construction. Limits in proportion
// to the expression keep out those whose automaton would explode; they are built from nodes
// instead.
#include "base/utf8.h"
#include "grammar/expr.h"

#include <stdlib.h>
#include <string.h>

enum {
    NFA_MAX = 200000,
    WORK_MAX = 30000000, // edges looked at while determinising
};

enum nfa_kind { NFA_BYTE, NFA_SPLIT, NFA_ACCEPT, NFA_NOTHING };

struct nfa_state {
    uint8_t kind, lo, hi;
    uint32_t a, b;
};

struct maker {
    struct grammar *g;
    struct nfa_state *nfa;
    size_t n, cap;
    bool gave_up, nomem;
    // the subset construction
    uint32_t *sets; // the members of all sets, one behind the other
    size_t n_sets, cap_sets;
    struct subset {
        size_t at, n;
    } * subsets; // [DFA states made so far]
    size_t n_subsets, cap_subsets;
    uint32_t *slots; // hash of a set -> 1 + its index
    size_t n_slots;
    uint32_t *stamp, *stack; // [n] closure's
    uint32_t epoch;
    size_t work;
};

static bool more_room(struct maker *m, void **array, size_t *cap, size_t n, size_t size) {
    if (n < *cap)
        return true;
    size_t want = *cap ? *cap * 2 : 256;
    void *p = mem_realloc(*array, want, size);
    if (!p) {
        m->nomem = true;
        return false;
    }
    *array = p;
    *cap = want;
    return true;
}

static uint32_t add(struct maker *m, struct nfa_state s) {
    if (m->n >= NFA_MAX)
        m->gave_up = true;
    if (m->gave_up || m->nomem || !more_room(m, (void **)&m->nfa, &m->cap, m->n, sizeof *m->nfa))
        return 0;
    m->nfa[m->n] = s;
    return (uint32_t)m->n++;
}

// A choice between `choice` and what came before (GRAMMAR_NONE: nothing yet).
static uint32_t or_else(struct maker *m, uint32_t before, uint32_t choice) {
    return before == GRAMMAR_NONE
               ? choice
               : add(m, (struct nfa_state){.kind = NFA_SPLIT, .a = choice, .b = before});
}

// One range whose ends have encodings of the same length and differ bytewise only.
static uint32_t add_sequence(struct maker *m, uint32_t lo, uint32_t hi, uint32_t next) {
    char first[4], last[4];
    for (size_t n = utf8_encode(lo, first), i = (utf8_encode(hi, last), n); i-- > 0;)
        next = add(
            m, (struct nfa_state){
                   .kind = NFA_BYTE, .lo = (uint8_t)first[i], .hi = (uint8_t)last[i], .a = next});
    return next;
}

// Splits [lo, hi] until each part is a sequence of byte ranges.
static uint32_t add_range(struct maker *m, uint32_t lo, uint32_t hi, uint32_t next,
                          uint32_t before) {
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF, 0x10FFFF};
    struct expr_range todo[64] = {{lo, hi}};
    for (size_t n = 1; n > 0 && !m->gave_up;) {
        struct expr_range r = todo[--n];
        bool split = false;
        for (size_t i = 0; i + 1 < sizeof ends / sizeof *ends && !split; i++)
            if (r.lo <= ends[i] && ends[i] < r.hi) {
                todo[n++] = (struct expr_range){ends[i] + 1, r.hi};
                todo[n++] = (struct expr_range){r.lo, ends[i]};
                split = true;
            }
        if (split || (r.lo >= 0xD800 && r.hi <= 0xDFFF))
            continue;
        for (unsigned bits = 6; bits <= 18 && r.hi > 0x7F && !split; bits += 6) {
            uint32_t mask = (1u << bits) - 1;
            if ((r.lo & ~mask) == (r.hi & ~mask))
                continue;
            if (r.lo & mask) {
                todo[n++] = (struct expr_range){(r.lo | mask) + 1, r.hi};
                todo[n++] = (struct expr_range){r.lo, r.lo | mask};
                split = true;
            } else if ((r.hi & mask) != mask) {
                todo[n++] = (struct expr_range){r.hi & ~mask, r.hi};
                todo[n++] = (struct expr_range){r.lo, (r.hi & ~mask) - 1};
                split = true;
            }
        }
        if (!split)
            before = or_else(m, before, add_sequence(m, r.lo, r.hi, next));
    }
    return before;
}

static uint32_t nothing(struct maker *m) { return add(m, (struct nfa_state){.kind = NFA_NOTHING}); }

// The recursion is as deep as the expression; the parsers bound that.
static uint32_t build(struct maker *m, const struct expr *e, uint32_t next) {
    if (m->gave_up || m->nomem)
        return 0;
    uint32_t any = GRAMMAR_NONE;
    switch (e->kind) {
    case EXPR_BYTES:
        for (size_t i = e->n; i-- > 0;) {
            uint8_t byte = (uint8_t)e->bytes[i];
            next = add(m, (struct nfa_state){.kind = NFA_BYTE, .lo = byte, .hi = byte, .a = next});
        }
        return next;
    case EXPR_CLASS:
        for (size_t i = 0; i < e->n; i++)
            any = add_range(m, e->ranges[i].lo, e->ranges[i].hi, next, any);
        return any == GRAMMAR_NONE ? nothing(m) : any;
    case EXPR_SEQ:
        for (size_t i = e->n; i-- > 0;)
            next = build(m, e->items[i], next);
        return next;
    case EXPR_ALT:
        for (size_t i = e->n; i-- > 0;)
            any = or_else(m, any, build(m, e->items[i], next));
        return any == GRAMMAR_NONE ? nothing(m) : any;
    case EXPR_REPEAT: {
        uint32_t end = next;
        if (e->max == GRAMMAR_INF) {
            m->gave_up = true;
            return 0;
        }
        for (uint32_t i = e->min; i < e->max && !m->gave_up; i++) {
            uint32_t item = build(m, e->items[0], next);
            next = add(m, (struct nfa_state){.kind = NFA_SPLIT, .a = item, .b = end});
        }
        for (uint32_t i = 0; i < e->min && !m->gave_up; i++)
            next = build(m, e->items[0], next);
        return next;
    }
    case EXPR_RULE:
        break;
    }
    m->gave_up = true;
    return 0;
}

static int by_number(const void *x, const void *y) {
    const uint32_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

// Adds the states that s leads to without a byte to the set that is being gathered at sets[n_sets +
// *n ...).
static bool close_over(struct maker *m, uint32_t s, size_t *n) {
    size_t depth = 0;
    m->stack[depth++] = s;
    while (depth) {
        uint32_t i = m->stack[--depth];
        if (m->stamp[i] == m->epoch)
            continue;
        m->stamp[i] = m->epoch;
        m->work++;
        const struct nfa_state *st = &m->nfa[i];
        if (st->kind == NFA_SPLIT) {
            // each state is left once and pushes two: 2n slots and the first
            m->stack[depth++] = st->b;
            m->stack[depth++] = st->a;
        } else if (st->kind != NFA_NOTHING) {
            if (!more_room(m, (void **)&m->sets, &m->cap_sets, m->n_sets + *n, sizeof *m->sets))
                return false;
            m->sets[m->n_sets + (*n)++] = i;
        }
    }
    return true;
}

static bool rehash(struct maker *m) {
    size_t want = m->n_slots ? m->n_slots * 2 : 256;
    uint32_t *slots = mem_calloc(want, sizeof *slots);
    if (!slots) {
        m->nomem = true;
        return false;
    }
    mem_free(m->slots);
    m->slots = slots;
    m->n_slots = want;
    return true;
}

static size_t hash_set(const uint32_t *set, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ set[i]) * 0x100000001b3u;
    return (size_t)(h ^ (h >> 29));
}

static void slot_in(struct maker *m, uint32_t subset) {
    const struct subset *s = &m->subsets[subset];
    size_t i = hash_set(m->sets + s->at, s->n) & (m->n_slots - 1);
    while (m->slots[i])
        i = (i + 1) & (m->n_slots - 1);
    m->slots[i] = subset + 1;
}

// The index of the set that was just gathered (n members at the end of sets); a new set gets a new
// index.
static uint32_t intern(struct maker *m, size_t n) {
    // the empty set too needs a place
    if (!more_room(m, (void **)&m->sets, &m->cap_sets, m->n_sets + n, sizeof *m->sets))
        return 0;
    uint32_t *set = m->sets + m->n_sets;
    qsort(set, n, sizeof *set, by_number);
    if (2 * (m->n_subsets + 1) > m->n_slots) {
        if (!rehash(m))
            return 0;
        for (uint32_t i = 0; i < m->n_subsets; i++)
            slot_in(m, i);
    }
    for (size_t i = hash_set(set, n) & (m->n_slots - 1); m->subsets && m->slots[i];
         i = (i + 1) & (m->n_slots - 1)) {
        const struct subset *s = &m->subsets[m->slots[i] - 1];
        if (s->n == n && memcmp(m->sets + s->at, set, n * sizeof *set) == 0)
            return m->slots[i] - 1;
    }
    if (!more_room(m, (void **)&m->subsets, &m->cap_subsets, m->n_subsets, sizeof *m->subsets) ||
        !m->subsets)
        return 0;
    m->subsets[m->n_subsets] = (struct subset){m->n_sets, n};
    m->n_sets += n;
    slot_in(m, (uint32_t)m->n_subsets);
    if (m->n_sets > 16 * m->n + 4096 || m->n_subsets > 2 * m->n + 64 || m->work > WORK_MAX)
        m->gave_up = true;
    return (uint32_t)m->n_subsets++;
}

static void add_edge(struct maker *m, uint8_t lo, uint8_t hi, uint32_t to, uint32_t state) {
    struct grammar *g = m->g;
    struct grammar_dfa_state *s = &g->states[state];
    struct grammar_edge *last = s->n ? &g->edges[g->n_edges - 1] : NULL;
    if (last && last->to == to && last->hi + 1 == lo) {
        last->hi = hi;
        return;
    }
    if (!grammar_grow(g, (void **)&g->edges, &g->cap_edges, g->n_edges, 1, GRAMMAR_EDGES_MAX,
                      sizeof *g->edges))
        return;
    g->edges[g->n_edges++] = (struct grammar_edge){lo, hi, to};
    s->n++;
}

// Makes the DFA state of subset `i` and the sets that it leads to.
static void expand(struct maker *m, uint32_t i, uint32_t base) {
    struct grammar *g = m->g;
    if (!grammar_grow(g, (void **)&g->states, &g->cap_states, g->n_states, 1, GRAMMAR_EDGES_MAX,
                      sizeof *g->states))
        return;
    uint32_t state = (uint32_t)g->n_states++;
    g->states[state] = (struct grammar_dfa_state){.first = (uint32_t)g->n_edges};
    struct subset s = m->subsets[i];
    bool starts[257] = {false}; // where the outcome may change
    for (size_t k = 0; k < s.n; k++) {
        const struct nfa_state *st = &m->nfa[m->sets[s.at + k]];
        if (st->kind == NFA_ACCEPT) {
            g->states[state].accept = true;
        } else {
            starts[st->lo] = true;
            starts[st->hi + 1] = true;
        }
    }
    for (unsigned lo = 0, hi; lo < 256; lo = hi) {
        for (hi = lo + 1; hi < 256 && !starts[hi];)
            hi++;
        size_t n = 0;
        m->epoch++;
        m->work += s.n;
        for (size_t k = 0; k < s.n; k++) {
            struct nfa_state st = m->nfa[m->sets[s.at + k]];
            if (st.kind == NFA_BYTE && st.lo <= lo && lo <= st.hi && !close_over(m, st.a, &n))
                return;
        }
        if (n) {
            uint32_t to = intern(m, n);
            if (m->nomem || m->gave_up)
                return;
            add_edge(m, (uint8_t)lo, (uint8_t)(hi - 1), base + to, state);
        }
    }
}

// Drops the edges into states that no accepting state can be reached from. live: [DFA states].
static void trim(struct grammar *g, uint32_t base, bool *live) {
    size_t n = g->n_states - base;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = n; i-- > 0;) {
            const struct grammar_dfa_state *s = &g->states[base + i];
            bool now = s->accept;
            for (uint32_t k = 0; k < s->n && !now; k++)
                now = live[g->edges[s->first + k].to - base];
            changed |= now && !live[i];
            live[i] = now;
        }
    }
    for (size_t i = 0; i < n; i++) {
        struct grammar_dfa_state *s = &g->states[base + i];
        uint16_t kept = 0;
        for (uint32_t k = 0; k < s->n; k++)
            if (live[g->edges[s->first + k].to - base])
                g->edges[s->first + kept++] = g->edges[s->first + k];
        s->n = kept;
    }
}

static void determinise(struct maker *m, uint32_t start, struct grammar_leaf *out) {
    struct grammar *g = m->g;
    uint32_t base = (uint32_t)g->n_states;
    size_t n = 0;
    m->epoch = 1;
    if (!close_over(m, start, &n))
        return;
    intern(m, n);
    for (uint32_t i = 0; i < m->n_subsets && !m->gave_up && !m->nomem && !g->err; i++)
        expand(m, i, base);
    if (m->gave_up || m->nomem || g->err)
        return;
    bool *live = mem_calloc(m->n_subsets, sizeof *live);
    if (!live) {
        m->nomem = true;
        return;
    }
    trim(g, base, live);
    mem_free(live);
    *out = (struct grammar_leaf){.start = g->states[base].n ? base : GRAMMAR_NONE,
                                 .nullable = g->states[base].accept,
                                 .prefix_free = true};
    for (size_t i = base + 1; i < g->n_states; i++)
        out->prefix_free &= !(g->states[i].accept && g->states[i].n);
}

bool grammar_leaf_make(struct grammar *g, const struct expr *e, struct grammar_leaf *out) {
    *out = (struct grammar_leaf){.start = GRAMMAR_NONE};
    if (g->err || !e) {
        if (!e)
            grammar_fail(g, ERR_NOMEM, "out of memory");
        return false;
    }
    struct maker m = {.g = g};
    size_t states = g->n_states, edges = g->n_edges;
    uint32_t accept = add(&m, (struct nfa_state){.kind = NFA_ACCEPT});
    uint32_t start = build(&m, e, accept);
    if (!m.gave_up && !m.nomem) {
        m.stamp = mem_calloc(m.n, sizeof *m.stamp);
        m.stack = mem_alloc(2 * m.n + 2, sizeof *m.stack);
        if (m.stamp && m.stack)
            determinise(&m, start, out);
        else
            m.nomem = true;
    }
    if (m.nomem)
        grammar_fail(g, ERR_NOMEM, "out of memory");
    if (m.gave_up || g->err) {
        g->n_states = states;
        g->n_edges = edges;
    }
    mem_free(m.nfa);
    mem_free(m.sets);
    mem_free(m.subsets);
    mem_free(m.slots);
    mem_free(m.stamp);
    mem_free(m.stack);
    return !m.gave_up && !g->err;
}
