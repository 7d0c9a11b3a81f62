// What each token does to a repeated leaf (the inside of a JSON string, a `[a-z]*`): which tokens
// stay inside, after how many repetitions; which tokens leave it, and at which node of the trie.
// Role: the widest masks become a copy and a short list, instead of a walk over the whole trie.
// Thread rule: immutable after making.
#ifndef TRINE_GRAMMAR_LOOP_TABLE_H
#define TRINE_GRAMMAR_LOOP_TABLE_H

#include "grammar/program.h"
#include "grammar/trie.h"

struct loop_table_exit {
    uint32_t node;  // reached by the first byte behind the leaf
    uint16_t count; // repetitions finished before that byte
    uint16_t depth; // bytes before it
};

struct loop_table {
    uint32_t *inside; // mask of the tokens that stay inside
    uint32_t *whole;  // of those, the ones that end with a repetition, not within one
    size_t words;
    uint32_t far; // most bytes that a token may leave a repetition short of
    // those tokens by the repetitions that they begin, so that a limit can leave some out
    int32_t *ids;
    uint32_t *begun; // [most + 2] ids with count k are ids[begun[k] .. begun[k + 1])
    uint32_t most;
    // the exits by a byte that does not begin another repetition, sorted by that byte
    struct loop_table_exit *exits;
    uint32_t exit_at[257];
    // a bit for each node of the trie's part: it is where a token leaves the leaf, or above or
    // below such a node. All other tokens are inside.
    uint32_t *beyond;
};

// Makes the table of the leaf at `start`, which is in state q where `part` begins; the leaf is
// prefix-free. *out NULL: it has over 255 states. ERR_NOMEM.
enum err loop_table_make(const struct grammar *g, const struct trie *trie, struct trie_part part,
                         uint32_t start, uint32_t q, struct loop_table **out) MUST_CHECK;
void loop_table_free(struct loop_table *t); // NULL is fine

#endif
