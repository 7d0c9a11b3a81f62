// The machine that executes a compiled grammar byte by byte, following at once every way in which
// the text so far can be read. Role: configurations: sets of items, each the state of a leaf and a
// stack of open calls. They lie in two arrays that only grow, so that a walk over many texts goes
// back by dropping what lies above a mark. Stacks share their lower frames. What exceeds a limit on
// items or work is dropped: then fewer texts are accepted, never a wrong one.
// Thread rule: one thread.
#ifndef TRINE_GRAMMAR_RUN_H
#define TRINE_GRAMMAR_RUN_H

#include "grammar/budget.h"

enum {
    MACHINE_ITEMS_MAX = 1024,    // of one configuration
    MACHINE_CLOSURE_MAX = 8192,  // nodes looked at between two bytes
    MACHINE_ARRAY_MAX = 1 << 18, // frames or items alive in a walk
};

struct machine_frame {
    uint32_t parent; // frame, GRAMMAR_NONE: the bottom
    uint32_t pc;     // where to go on; MACHINE_DATA and above: a byte of an object's keys
    uint32_t count;  // of the repetition at pc
    uint32_t hash;   // of the whole stack
    uint32_t depth;  // sum of the open calls' costs
    uint32_t left;   // tokens from here to the end of the text; 0 without a budget
};
#define MACHINE_DATA 0xFFFFFE00u    // + byte: of a free key of the object whose frame lies below
#define MACHINE_KEY_END 0xFFFFFF00u // closes such a key

struct machine_item {
    uint32_t pc;    // a LEAF or KEY node
    uint32_t q;     // its automaton's state; the node's own start between two repetitions
    uint32_t count; // repetitions done, at most min where there is no max
    uint32_t top;   // frame
};

struct machine_config {
    uint32_t first, n; // items
    bool may_end;
};

struct machine_mark {
    uint32_t frames, items;
};

struct machine_seen;

struct machine {
    const struct grammar *g;
    const struct budget *budget; // NULL: machine_tokens_left is not asked for
    struct machine_frame *frames;
    uint32_t *moved; // [cap_frames] machine_compact's
    struct machine_item *items;
    uint32_t n_frames, n_items, cap_frames, cap_items;
    bool nomem;     // something was dropped for want of memory since it was last cleared
    uint64_t steps; // work done, for budgets: every closure's nodes and every byte's items,
    uint64_t extra; // and what else costs as much: comparing keys, copying tables
    struct machine_seen *seen;                // of the closure at hand
    uint32_t *slots, epoch, n_seen, cap_seen; // slots: NULL until a closure is a large one
    struct machine_item *pending;
    uint32_t n_pending, cap_pending;
};

static inline uint64_t machine_work(const struct machine *r) { return r->steps + r->extra; }
static inline bool machine_is_data(const struct machine *r, uint32_t top) {
    return top != GRAMMAR_NONE && r->frames[top].pc >= MACHINE_DATA;
}
// keys.c: whether the key whose bytes end at `top` may end there: it is not a name of the set, and
// its object does not have that key yet.
bool machine_key_is_fresh(struct machine *r, uint32_t set, uint32_t top);

enum err machine_init(struct machine *r, const struct grammar *g, struct errmsg *msg) MUST_CHECK;
void machine_free(struct machine *r);

// The configuration at node pc with an empty stack.
struct machine_config machine_start(struct machine *r, uint32_t pc);
// The configuration that `from` becomes by a byte; n == 0 and !may_end: the byte is not allowed.
struct machine_config machine_step(struct machine *r, struct machine_config from, uint8_t byte);
// The configuration when the leaf of `item` ends here after `count` repetitions. check: it may not
// end a key that was used before.
struct machine_config machine_leave(struct machine *r, struct machine_item item, uint32_t count,
                                    bool check);
// Bit b of first[b / 32]: byte b is allowed.
void machine_first(const struct machine *r, struct machine_config c, uint32_t first[8]);
void machine_first_of(const struct machine *r, struct machine_item item, uint32_t first[8]);
// At most how many tokens to the end of the text: from a configuration; from the leaf of `item`
// with `count` repetitions done and none begun.
uint32_t machine_tokens_left(const struct machine *r, struct machine_config c);
uint32_t machine_tokens_after(const struct machine *r, struct machine_item item, uint32_t count);
bool machine_make_room(struct machine *r); // for one more item
// Pushes a byte of a key on `top`; MACHINE_NO_ROOM when there is no room.
uint32_t machine_push_key_byte(struct machine *r, uint32_t top, uint8_t byte);
#define MACHINE_NO_ROOM (GRAMMAR_NONE - 1)

// The endings that the key in which `item` stands must not get: the rests of the keys that its
// object already has, and of the names that are not free, where they begin as this key does.
struct machine_keys {
    struct machine_key {
        const char *bytes;
        size_t len;
    } * list;
    size_t n;
    char *bytes;
};
bool machine_keys_ahead(struct machine *r, struct machine_item item,
                        struct machine_keys *out); // false: memory
void machine_keys_free(struct machine_keys *k);

static inline struct machine_mark machine_here(const struct machine *r) {
    return (struct machine_mark){r->n_frames, r->n_items};
}
static inline void machine_back(struct machine *r, struct machine_mark m) {
    r->n_frames = m.frames;
    r->n_items = m.items;
}
// Keeps c alone, at the bottom of the arrays.
struct machine_config machine_compact(struct machine *r, struct machine_config c);

#endif
