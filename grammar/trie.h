// A trie of the spellings of a vocabulary's tokens, its nodes in preorder: the nodes below a node
// follow it directly, and the tokens below it are neighbours in `order`. Thread rule: immutable
// after making.
#ifndef TRINE_GRAMMAR_TRIE_H
#define TRINE_GRAMMAR_TRIE_H

#include "grammar/grammar.h"

enum { GRAMMAR_TOKEN_MAX = 256 }; // bytes; a longer token is never allowed

struct trie_node {
    uint32_t skip;  // the first node behind this one's subtree
    uint32_t first; // of its tokens, in order[]
    uint16_t n;     // tokens that end here: more than one where spellings repeat
    uint8_t depth;  // bytes on the way - 1: the root's children are at 0
    uint8_t byte;
};

struct trie {
    struct trie_node *nodes; // [n_nodes], preorder, without the root
    uint32_t n_nodes;
    int32_t *order; // [n_order] ids sorted by spelling: a subtree's tokens are neighbours
    size_t n_order;
    uint32_t *at; // [n_tokens + 1] into bytes
    char *bytes;
    size_t n_tokens;
    size_t longest; // spelling
};

struct trie_part { // the nodes [from, to) below one at `depth` bytes; the whole trie: depth 0
    uint32_t from, to;
    size_t depth;
};

// left_out: [n] marks tokens that get no place in the trie; neither do those that are too long.
// ERR_NOMEM; free it in either case.
enum err trie_make(const struct grammar_token *tokens, const bool *left_out, size_t n,
                   struct trie *out) MUST_CHECK;
void trie_free(struct trie *t);

#endif
