// A compiled grammar: the nodes of a machine with a stack, whose leaves are small automata over
// bytes.
// Role: GBNF, schemas and tools are all built into this form, and machine.h executes it. Each
// builder is told which node follows, so that shared endings cost nothing. A builder keeps its
// first error and goes on harmlessly; grammar_finish returns that error.
// Thread rule: one builder; immutable after grammar_finish.
#ifndef TRINE_GRAMMAR_PROGRAM_H
#define TRINE_GRAMMAR_PROGRAM_H

#include "base/mem.h"
#include "grammar/grammar.h"

enum {
    // The most open calls at once, in units of a call's cost. A schema's container costs
    // GRAMMAR_LEVEL_COST, so no text nests deeper than 32 levels beyond what the schema itself
    // spells out, and stays within what strict JSON readers accept.
    GRAMMAR_DEPTH = 1024,
    GRAMMAR_LEVEL_COST = 32,
    GRAMMAR_NODES_MAX = 200000,
    GRAMMAR_EDGES_MAX = 1000000,
    GRAMMAR_TEXT_MAX = 1 << 20,  // bytes of GBNF
    GRAMMAR_COUNT_MAX = 1 << 30, // of a repetition
    GRAMMAR_KEY_CHARS_MAX = 64,  // code points of a key that a schema does not name
    GRAMMAR_FREE_KEYS_MAX = 100, // of such keys in one object
    GRAMMAR_JSON_STATES = 64,    // json_states is at most this
};
#define GRAMMAR_NONE UINT32_MAX
#define GRAMMAR_INF UINT32_MAX // a repetition without an end

enum grammar_kind {
    GRAMMAR_FAIL,   // nothing matches (node 0)
    GRAMMAR_RET,    // the rule ends (node 1)
    GRAMMAR_LEAF,   // the automaton `at`, min to max times
    GRAMMAR_KEY,    // a leaf whose bytes are an object's key: not in `names`, not used before
    GRAMMAR_CALL,   // the rule `at`, then next
    GRAMMAR_SPLIT,  // one of alts[at .. at + min)
    GRAMMAR_REPEAT, // the body `at` (it ends by RET), min to max times
    GRAMMAR_MORE,   // passes while the object at hand has room for another free key
};

enum {                       // of grammar_node.flags
    GRAMMAR_PREFIX_FREE = 1, // the leaf's accepting states lead nowhere
    GRAMMAR_NULLABLE_BODY = 2,
};

struct grammar_node {
    uint8_t kind, flags;
    uint16_t cost; // CALL, REPEAT: what an open call adds to the depth
    uint16_t need; // least further depth to an end; GRAMMAR_NEED_NEVER: there is none
    uint32_t next, at, min, max;
    uint32_t names; // KEY: index of a name set, GRAMMAR_NONE: none
};
#define GRAMMAR_NEED_NEVER UINT16_MAX

struct grammar_edge {
    uint8_t lo, hi;
    uint32_t to;
};

struct grammar_dfa_state {
    uint32_t first; // edges, sorted by lo, disjoint
    uint16_t n;
    bool accept;
};

struct grammar_leaf { // what leaf.c makes of an expression
    uint32_t start;   // GRAMMAR_NONE: nothing but perhaps the empty text matches
    bool nullable, prefix_free;
};

struct grammar_name {
    uint32_t at, len; // in name_bytes
};

struct grammar_rule {
    uint32_t start; // node; GRAMMAR_FAIL until defined
    uint32_t line;  // of its definition, 0: none
    uint32_t end;   // its nodes lie below, above those of the rule before; 0: not known
    char *name;     // owned; NULL: made by us
};

struct grammar {
    struct grammar_node *nodes;
    struct grammar_dfa_state *states;
    struct grammar_edge *edges;
    uint32_t *alts;
    struct grammar_rule *rules;
    struct grammar_name *names;
    uint32_t (*name_sets)[2]; // first name, count
    char *name_bytes;
    size_t n_nodes, n_states, n_edges, n_alts, n_rules, n_names, n_name_sets, n_name_bytes;
    size_t cap_nodes, cap_states, cap_edges, cap_alts, cap_rules, cap_names, cap_name_sets,
        cap_name_bytes;
    uint32_t root;        // node
    uint32_t json_states; // the states below are json_rules.c's own, the same in every grammar
    // AUTO tools: text is free until this marker has come; NULL elsewhere
    const char *marker;
    size_t marker_len;
    enum err err; // while building
    struct errmsg *msg;
};

struct grammar *grammar_begin(struct errmsg *msg); // NULL: memory is out
// Keeps the first error; returns node 0, so that builders may go on.
uint32_t grammar_fail(struct grammar *g, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);
// Works out `need` and what never ends. On an error g is freed and *out NULL.
enum err grammar_finish(struct grammar *g, uint32_t root, struct grammar **out,
                        struct errmsg *msg) MUST_CHECK;

// Each returns its node; after an error, node 0.
uint32_t grammar_leaf_node(struct grammar *g, struct grammar_leaf leaf, uint32_t min, uint32_t max,
                           uint32_t next);
uint32_t grammar_key_node(struct grammar *g, struct grammar_leaf key_char, uint32_t names,
                          uint32_t next);
uint32_t grammar_call(struct grammar *g, uint32_t rule, uint32_t cost, uint32_t next);
uint32_t grammar_split(struct grammar *g, const uint32_t *alts, size_t n);
// A split whose alternatives are set later, for loops.
uint32_t grammar_split_open(struct grammar *g, size_t n);
void grammar_split_set(struct grammar *g, uint32_t split, size_t i, uint32_t alt);
uint32_t grammar_repeat(struct grammar *g, uint32_t body, uint32_t min, uint32_t max, uint32_t cost,
                        uint32_t next);
uint32_t grammar_more(struct grammar *g, uint32_t next);
// name may be NULL. Returns its index.
uint32_t grammar_rule_new(struct grammar *g, const char *name, size_t len);
// A set of names that a key must not be; add the names right after this call. Returns its index.
uint32_t grammar_name_set(struct grammar *g);
void grammar_name_add(struct grammar *g, const char *name, size_t len);

// Grows an array of the program by n elements; false (and the error kept) when it must not grow or
// memory is out.
bool grammar_grow(struct grammar *g, void **array, size_t *cap, size_t n, size_t more, size_t most,
                  size_t size);

// analyse.c: fills `need` and the nullable flags; *left is a rule that can call itself before it
// has matched anything, GRAMMAR_NONE when there is none. ERR_NOMEM.
enum err grammar_analyse(struct grammar *g, uint32_t *left, struct errmsg *msg) MUST_CHECK;

#endif
