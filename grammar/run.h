// The machine that executes a compiled grammar byte by byte: every way that the text so far can be
// read, at once. Role: configurations (sets of items, each a leaf's state and a stack of open
// calls) in two bump arrays, so that a walk over many texts goes back by dropping what lies above a
// mark. Stacks share their lower frames. What exceeds a limit on items or work is dropped: fewer
// texts are then taken, never a wrong one.
// Thread rule: one thread.
#ifndef TRINE_GRAMMAR_RUN_H
#define TRINE_GRAMMAR_RUN_H

#include "grammar/budget.h"

enum {
    RUN_ITEMS_MAX = 1024,    // of one configuration
    RUN_CLOSURE_MAX = 8192,  // nodes looked at between two bytes
    RUN_ARRAY_MAX = 1 << 18, // frames or items alive in a walk
};

struct run_frame {
    uint32_t parent; // frame, GRAMMAR_NONE: the bottom
    uint32_t pc;     // where to go on; RUN_DATA and above: a byte of an object's keys
    uint32_t count;  // of the repetition at pc
    uint32_t hash;   // of the whole stack
    uint32_t depth;  // sum of the open calls' costs
    uint32_t left;   // tokens from here to the end of the text; 0 without a budget
};
#define RUN_DATA 0xFFFFFE00u    // + byte: of a free key of the object whose frame lies below
#define RUN_KEY_END 0xFFFFFF00u // closes such a key

struct run_item {
    uint32_t pc;    // a LEAF or KEY node
    uint32_t q;     // its automaton's state; the node's own start between two repetitions
    uint32_t count; // repetitions done, at most min where there is no max
    uint32_t top;   // frame
};

struct run_config {
    uint32_t first, n; // items
    bool may_end;
};

struct run_mark {
    uint32_t frames, items;
};

struct run_seen;

struct run {
    const struct grammar *g;
    const struct budget *budget; // NULL: run_tokens_left is not asked for
    struct run_frame *frames;
    uint32_t *moved; // [cap_frames] run_compact's
    struct run_item *items;
    uint32_t n_frames, n_items, cap_frames, cap_items;
    bool nomem;            // something was dropped for want of memory since it was last cleared
    uint64_t steps;        // work done, for budgets: every closure's nodes and every byte's items,
    uint64_t extra;        // and what else costs as much: comparing keys, copying tables
    struct run_seen *seen; // of the closure at hand
    uint32_t *slots, epoch, n_seen, cap_seen; // slots: NULL until a closure is a large one
    struct run_item *pending;
    uint32_t n_pending, cap_pending;
};

static inline uint64_t run_work(const struct run *r) { return r->steps + r->extra; }
static inline bool run_is_data(const struct run *r, uint32_t top) {
    return top != GRAMMAR_NONE && r->frames[top].pc >= RUN_DATA;
}
// keys.c: whether the key whose bytes end at `top` may end there: it is no name of the set, and its
// object has no such key yet.
bool run_key_is_fresh(struct run *r, uint32_t set, uint32_t top);

enum err run_init(struct run *r, const struct grammar *g, struct errmsg *msg) MUST_CHECK;
void run_free(struct run *r);

// The configuration at node pc with an empty stack.
struct run_config run_start(struct run *r, uint32_t pc);
// What `from` becomes by a byte; n == 0 and !may_end: the byte is not allowed.
struct run_config run_step(struct run *r, struct run_config from, uint8_t byte);
// What follows when the leaf of `item` ends here, `count` repetitions done. check: not where a key
// that was used before would end.
struct run_config run_leave(struct run *r, struct run_item item, uint32_t count, bool check);
// Bit b of first[b / 32]: byte b is allowed.
void run_first(const struct run *r, struct run_config c, uint32_t first[8]);
void run_first_of(const struct run *r, struct run_item item, uint32_t first[8]);
// Tokens to the end of the text, at most: of a configuration; of the leaf of `item` with `count`
// repetitions done and none begun.
uint32_t run_tokens_left(const struct run *r, struct run_config c);
uint32_t run_tokens_after(const struct run *r, struct run_item item, uint32_t count);
bool run_make_room(struct run *r); // for one more item
// `top` with a key's byte on it; GRAMMAR_NONE - 1 when there is no room.
uint32_t run_push_key_byte(struct run *r, uint32_t top, uint8_t byte);
#define RUN_NO_ROOM (GRAMMAR_NONE - 1)

// What the key that `item` stands in must not go on with and then end: the rests of the keys that
// its object has already and of the names that are not free, where they begin as it does.
struct run_keys {
    struct run_key {
        const char *bytes;
        size_t len;
    } * list;
    size_t n;
    char *bytes;
};
bool run_keys_ahead(struct run *r, struct run_item item, struct run_keys *out); // false: memory
void run_keys_free(struct run_keys *k);

static inline struct run_mark run_here(const struct run *r) {
    return (struct run_mark){r->n_frames, r->n_items};
}
static inline void run_back(struct run *r, struct run_mark m) {
    r->n_frames = m.frames;
    r->n_items = m.items;
}
// Keeps c alone, at the bottom of the arrays.
struct run_config run_compact(struct run *r, struct run_config c);

#endif
