// See machine.h.
#include "grammar/machine.h"

#include <string.h>

enum {
    SLOTS = 16384, // twice MACHINE_CLOSURE_MAX
    SCAN = 16,     // up to this many nodes seen, looking through them beats hashing
    AT_NODE = -1,  // run_item.q of a node being visited
    PENDING_MAX = 2 * MACHINE_CLOSURE_MAX,
};

struct machine_seen {
    struct machine_item item;
    uint32_t hash;
};

enum err machine_init(struct machine *r, const struct grammar *g, struct errmsg *msg) {
    *r = (struct machine){.g = g, .cap_frames = 64, .cap_items = 64};
    r->frames = mem_alloc(r->cap_frames, sizeof *r->frames);
    r->moved = mem_alloc(r->cap_frames, sizeof *r->moved);
    r->items = mem_alloc(r->cap_items, sizeof *r->items);
    r->cap_seen = r->cap_pending = 64;
    r->seen = mem_alloc(r->cap_seen, sizeof *r->seen);
    r->pending = mem_alloc(r->cap_pending, sizeof *r->pending);
    if (!r->frames || !r->moved || !r->items || !r->seen || !r->pending) {
        machine_free(r);
        return err_set(msg, ERR_NOMEM, "out of memory");
    }
    return ERR_OK;
}

void machine_free(struct machine *r) {
    mem_free(r->frames);
    mem_free(r->moved);
    mem_free(r->items);
    mem_free(r->seen);
    mem_free(r->slots);
    mem_free(r->pending);
    *r = (struct machine){0};
}

// Doubles an array of `cap` elements; NULL at the limit or when memory is out.
static void *grown(struct machine *r, void *array, uint32_t cap, size_t size) {
    void *p = cap >= MACHINE_ARRAY_MAX ? NULL : mem_realloc(array, (size_t)cap * 2, size);
    r->nomem |= !p && cap < MACHINE_ARRAY_MAX;
    return p;
}

static bool grow_frames(struct machine *r) {
    uint32_t *moved = grown(r, r->moved, r->cap_frames, sizeof *moved);
    r->moved = moved ? moved : r->moved;
    struct machine_frame *frames =
        moved ? grown(r, r->frames, r->cap_frames, sizeof *frames) : NULL;
    r->frames = frames ? frames : r->frames;
    r->cap_frames *= frames ? 2 : 1;
    return frames != NULL;
}

static bool grow_items(struct machine *r) {
    struct machine_item *items = grown(r, r->items, r->cap_items, sizeof *items);
    r->items = items ? items : r->items;
    r->cap_items *= items ? 2 : 1;
    return items != NULL;
}

// Makes room for one more seen node, and begins a hash table of them when looking through them all
// would be slow.
static bool grow_seen(struct machine *r) {
    if (r->n_seen == MACHINE_CLOSURE_MAX)
        return false; // the limit: what comes after is dropped
    if (r->n_seen == r->cap_seen) {
        struct machine_seen *seen = grown(r, r->seen, r->cap_seen, sizeof *seen);
        if (!seen)
            return false;
        r->seen = seen;
        r->cap_seen *= 2;
    }
    if (r->n_seen >= SCAN && !r->slots) {
        r->slots = mem_calloc((size_t)SLOTS * 2, sizeof *r->slots);
        r->nomem |= !r->slots;
    }
    return r->n_seen < SCAN || r->slots;
}

static uint32_t mix(uint32_t h, uint32_t v) {
    h = (h ^ v) * 0x9E3779B1u;
    return h ^ (h >> 15);
}

static uint32_t hash_of(const struct machine *r, uint32_t top) {
    return top == GRAMMAR_NONE ? 0 : r->frames[top].hash;
}

static uint32_t depth_of(const struct machine *r, uint32_t top) {
    return top == GRAMMAR_NONE ? 0 : r->frames[top].depth;
}

static uint32_t tokens_below(const struct machine *r, uint32_t top) {
    return top == GRAMMAR_NONE ? 0 : r->frames[top].left;
}

static uint32_t tokens_at(const struct machine *r, uint32_t pc, uint32_t count, uint32_t top) {
    return budget_sum(budget_at(r->g, r->budget, pc, count), tokens_below(r, top));
}

static uint32_t push(struct machine *r, uint32_t top, uint32_t pc, uint32_t count, uint32_t cost) {
    if (r->n_frames == r->cap_frames && !grow_frames(r))
        return MACHINE_NO_ROOM;
    uint32_t left = tokens_below(r, top);
    if (r->budget && pc < MACHINE_DATA)
        left = tokens_at(r, pc, count, top);
    r->frames[r->n_frames] =
        (struct machine_frame){.parent = top,
                               .pc = pc,
                               .count = count,
                               .hash = mix(mix(hash_of(r, top) + 1, pc), count),
                               .depth = depth_of(r, top) + cost,
                               .left = left};
    return r->n_frames++;
}

uint32_t machine_push_key_byte(struct machine *r, uint32_t top, uint8_t byte) {
    return push(r, top, MACHINE_DATA + byte, 0, 0);
}

static bool same_stack(const struct machine *r, uint32_t a, uint32_t b) {
    while (a != b) {
        if (a == GRAMMAR_NONE || b == GRAMMAR_NONE)
            return false;
        const struct machine_frame *x = &r->frames[a], *y = &r->frames[b];
        if (x->hash != y->hash || x->pc != y->pc || x->count != y->count || x->depth != y->depth)
            return false;
        a = x->parent;
        b = y->parent;
    }
    return true;
}

static bool same_item(const struct machine *r, const struct machine_item *a,
                      const struct machine_item *b) {
    return a->pc == b->pc && a->q == b->q && a->count == b->count && same_stack(r, a->top, b->top);
}

// slots come in pairs: the epoch that wrote it, and the index into seen
static void slot_in(struct machine *r, uint32_t index) {
    uint32_t i = r->seen[index].hash & (SLOTS - 1);
    while (r->slots[2 * i] == r->epoch)
        i = (i + 1) & (SLOTS - 1);
    r->slots[2 * i] = r->epoch;
    r->slots[2 * i + 1] = index;
}

// True when the item is new to the closure at hand (and is noted).
static bool is_new(struct machine *r, struct machine_item item) {
    uint32_t h = mix(mix(mix(hash_of(r, item.top), item.pc), item.q), item.count);
    if (r->n_seen <= SCAN) {
        for (uint32_t i = 0; i < r->n_seen; i++)
            if (r->seen[i].hash == h && same_item(r, &r->seen[i].item, &item))
                return false;
    } else {
        for (uint32_t i = h & (SLOTS - 1); r->slots[2 * i] == r->epoch; i = (i + 1) & (SLOTS - 1)) {
            const struct machine_seen *s = &r->seen[r->slots[2 * i + 1]];
            if (s->hash == h && same_item(r, &s->item, &item))
                return false;
        }
    }
    if (!grow_seen(r))
        return false;
    r->seen[r->n_seen] = (struct machine_seen){item, h};
    if (r->n_seen > SCAN) {
        slot_in(r, r->n_seen);
    } else if (r->n_seen == SCAN) {
        for (uint32_t i = 0; i <= SCAN; i++)
            slot_in(r, i);
    }
    r->n_seen++;
    r->steps++;
    return true;
}

static struct machine_config begin(struct machine *r) {
    if (++r->epoch == 0) {
        if (r->slots)
            memset(r->slots, 0, (size_t)SLOTS * 2 * sizeof *r->slots);
        r->epoch = 1;
    }
    r->n_seen = 0;
    r->n_pending = 0;
    return (struct machine_config){.first = r->n_items};
}

static void emit(struct machine *r, struct machine_config *out, struct machine_item item) {
    if (out->n == MACHINE_ITEMS_MAX || !is_new(r, item))
        return;
    if (!machine_make_room(r))
        return;
    r->items[r->n_items++] = item;
    out->n++;
}

static void later(struct machine *r, uint32_t pc, uint32_t count, uint32_t top) {
    if (r->n_pending == PENDING_MAX || top == MACHINE_NO_ROOM)
        return;
    if (r->n_pending == r->cap_pending) {
        struct machine_item *pending = grown(r, r->pending, r->cap_pending, sizeof *pending);
        if (!pending)
            return;
        r->pending = pending;
        r->cap_pending *= 2;
    }
    r->pending[r->n_pending++] = (struct machine_item){pc, (uint32_t)AT_NODE, count, top};
}

// Adds what follows a leaf that may end here.
static void leave(struct machine *r, const struct grammar_node *n, uint32_t top, bool check) {
    if (n->kind == GRAMMAR_KEY) {
        if (check && !machine_key_is_fresh(r, n->names, top))
            return;
        top = push(r, top, MACHINE_KEY_END, 0, 0);
    }
    later(r, n->next, 0, top);
}

static uint32_t counted(const struct grammar_node *n, uint32_t count) {
    return n->max == GRAMMAR_INF && count > n->min ? n->min : count;
}

static void visit_call(struct machine *r, const struct grammar_node *n, uint32_t top) {
    uint32_t start = r->g->rules[n->at].start;
    // the last thing in a rule needs no frame: right recursion runs in constant depth
    if (r->g->nodes[n->next].kind == GRAMMAR_RET && !machine_is_data(r, top))
        later(r, start, 0, top);
    else
        later(r, start, 0, push(r, top, n->next, 0, n->cost));
}

static void visit_ret(struct machine *r, struct machine_config *out, uint32_t top) {
    while (machine_is_data(r, top))
        top = r->frames[top].parent;
    if (top == GRAMMAR_NONE)
        out->may_end = true;
    else
        later(r, r->frames[top].pc, r->frames[top].count, r->frames[top].parent);
}

static bool room_for_key(const struct machine *r, uint32_t top) {
    int keys = 0;
    for (; machine_is_data(r, top); top = r->frames[top].parent)
        keys += r->frames[top].pc == MACHINE_KEY_END;
    return keys < GRAMMAR_FREE_KEYS_MAX;
}

static void visit(struct machine *r, struct machine_config *out, struct machine_item at) {
    const struct grammar_node *n = &r->g->nodes[at.pc];
    uint32_t count = at.count;
    if (n->need > GRAMMAR_DEPTH || depth_of(r, at.top) + n->need > GRAMMAR_DEPTH)
        return; // its end is out of reach
    // A body that may be empty needs no count to tell its rounds apart: a lower one can do all
    // that a higher one can, and the circle must end.
    if (n->flags & GRAMMAR_NULLABLE_BODY)
        at.count = 0;
    if (!is_new(r, at))
        return;
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
        return;
    case GRAMMAR_RET:
        visit_ret(r, out, at.top);
        return;
    case GRAMMAR_LEAF:
    case GRAMMAR_KEY:
        if (count >= n->min)
            leave(r, n, at.top, true);
        emit(r, out, (struct machine_item){at.pc, n->at, count, at.top});
        return;
    case GRAMMAR_CALL:
        visit_call(r, n, at.top);
        return;
    case GRAMMAR_SPLIT:
        for (uint32_t k = n->min; k-- > 0;) // the first is taken from the stack first
            later(r, r->g->alts[n->at + k], 0, at.top);
        return;
    case GRAMMAR_REPEAT:
        if (count >= n->min)
            later(r, n->next, 0, at.top);
        if (count < n->max)
            later(r, n->at, 0, push(r, at.top, at.pc, counted(n, count + 1), n->cost));
        return;
    case GRAMMAR_MORE:
        if (room_for_key(r, at.top))
            later(r, n->next, 0, at.top);
        return;
    }
}

static void close_over(struct machine *r, struct machine_config *out) {
    while (r->n_pending)
        visit(r, out, r->pending[--r->n_pending]);
}

struct machine_config machine_start(struct machine *r, uint32_t pc) {
    struct machine_config out = begin(r);
    later(r, pc, 0, GRAMMAR_NONE);
    close_over(r, &out);
    return out;
}

struct machine_config machine_leave(struct machine *r, struct machine_item item, uint32_t count,
                                    bool check) {
    struct machine_config out = begin(r);
    const struct grammar_node *n = &r->g->nodes[item.pc];
    if (count >= n->min)
        leave(r, n, item.top, check);
    close_over(r, &out);
    return out;
}

static uint32_t edge_to(const struct grammar *g, uint32_t q, uint8_t byte) {
    const struct grammar_dfa_state *s = &g->states[q];
    const struct grammar_edge *e = &g->edges[s->first];
    if (s->n <= 8) {
        for (uint32_t k = 0; k < s->n && e[k].lo <= byte; k++)
            if (byte <= e[k].hi)
                return e[k].to;
        return GRAMMAR_NONE;
    }
    uint32_t lo = 0, hi = s->n; // the last edge that begins at or before the byte
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (e[mid].lo <= byte)
            lo = mid;
        else
            hi = mid;
    }
    return e[lo].lo <= byte && byte <= e[lo].hi ? e[lo].to : GRAMMAR_NONE;
}

struct machine_config machine_step(struct machine *r, struct machine_config from, uint8_t byte) {
    struct machine_config out = begin(r);
    const struct grammar *g = r->g;
    r->steps += from.n;
    for (uint32_t i = from.first; i < from.first + from.n; i++) {
        struct machine_item item = r->items[i];
        uint32_t q = edge_to(g, item.q, byte);
        if (q == GRAMMAR_NONE)
            continue;
        const struct grammar_node *n = &g->nodes[item.pc];
        if (n->kind == GRAMMAR_KEY &&
            (item.top = machine_push_key_byte(r, item.top, byte)) == MACHINE_NO_ROOM)
            continue;
        if (g->states[q].n)
            emit(r, &out, (struct machine_item){item.pc, q, item.count, item.top});
        if (!g->states[q].accept)
            continue;
        uint32_t count = counted(n, item.count + 1);
        if (count < n->max)
            emit(r, &out, (struct machine_item){item.pc, n->at, count, item.top});
        if (count >= n->min) {
            leave(r, n, item.top, true);
            close_over(r, &out);
        }
    }
    return out;
}

void machine_first_of(const struct machine *r, struct machine_item item, uint32_t first[8]) {
    const struct grammar_dfa_state *s = &r->g->states[item.q];
    memset(first, 0, 8 * sizeof *first);
    for (uint32_t k = 0; k < s->n; k++) {
        const struct grammar_edge *e = &r->g->edges[s->first + k];
        for (unsigned b = e->lo; b <= e->hi; b++)
            first[b / 32] |= 1u << (b % 32);
    }
}

void machine_first(const struct machine *r, struct machine_config c, uint32_t first[8]) {
    uint32_t one[8];
    memset(first, 0, 8 * sizeof *first);
    for (uint32_t i = c.first; i < c.first + c.n; i++) {
        machine_first_of(r, r->items[i], one);
        for (size_t k = 0; k < 8; k++)
            first[k] |= one[k];
    }
}

uint32_t machine_tokens_after(const struct machine *r, struct machine_item item, uint32_t count) {
    return tokens_at(r, item.pc, count, item.top);
}

uint32_t machine_tokens_left(const struct machine *r, struct machine_config c) {
    uint32_t least = c.may_end ? 0 : BUDGET_NEVER;
    for (uint32_t i = c.first; i < c.first + c.n && least > 0; i++) {
        struct machine_item item = r->items[i];
        uint32_t after = tokens_at(r, item.pc, item.count + 1, item.top);
        uint32_t tokens = budget_sum(r->budget->to_accept[item.q], after);
        least = tokens < least ? tokens : least;
    }
    return least;
}

bool machine_make_room(struct machine *r) { return r->n_items < r->cap_items || grow_items(r); }

struct machine_config machine_compact(struct machine *r, struct machine_config c) {
    // Frames lie above their parents: a pass down marks what lives, a pass up moves it.
    memset(r->moved, 0, r->n_frames * sizeof *r->moved);
    for (uint32_t i = c.first; i < c.first + c.n; i++)
        if (r->items[i].top != GRAMMAR_NONE)
            r->moved[r->items[i].top] = 1;
    for (uint32_t i = r->n_frames; i-- > 0;)
        if (r->moved[i] && r->frames[i].parent != GRAMMAR_NONE)
            r->moved[r->frames[i].parent] = 1;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->n_frames; i++) {
        if (!r->moved[i])
            continue;
        struct machine_frame f = r->frames[i];
        if (f.parent != GRAMMAR_NONE)
            f.parent = r->moved[f.parent];
        r->frames[kept] = f;
        r->moved[i] = kept++;
    }
    r->n_frames = kept;
    for (uint32_t i = 0; i < c.n; i++) {
        struct machine_item item = r->items[c.first + i];
        if (item.top != GRAMMAR_NONE)
            item.top = r->moved[item.top];
        r->items[i] = item;
    }
    r->n_items = c.n;
    c.first = 0;
    return c;
}
