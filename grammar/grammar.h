// Grammars that generated text must follow: GBNF, JSON schemas, and the tool calls of a chat
// template, compiled to one automaton with a stack; a mask says which tokens may come next.
// Role: knows bytes and token ids; no tokenizer, no model, no HTTP.
// Thread rule: a vocab and a grammar are immutable after making and shared; a state belongs to one
// thread at a time.
#ifndef TRINE_GRAMMAR_GRAMMAR_H
#define TRINE_GRAMMAR_GRAMMAR_H

#include "base/err.h"
#include "base/json_tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A tokenizer's tokens as bytes, arranged so that a mask visits each shared prefix once.
struct grammar_vocab;

struct grammar_token {
    const char *bytes; // what the token adds to the text; borrowed until grammar_vocab_new returns
    size_t len;        // 0: a control token, never allowed by a grammar
};

// end_ids: the end-of-generation tokens, allowed where the grammar may end. ERR_NOMEM.
enum err grammar_vocab_new(const struct grammar_token *tokens, size_t n, const int32_t *end_ids,
                           size_t ends, struct grammar_vocab **out, struct errmsg *msg) MUST_CHECK;
void grammar_vocab_free(struct grammar_vocab *v);         // NULL is fine
size_t grammar_mask_words(const struct grammar_vocab *v); // uint32_t of a mask: ceil(n / 32)

struct grammar;

// GBNF as llama.cpp documents it (rules, literals with escapes, classes, . * + ? {m,n}, groups,
// alternatives, comments); `root` is the start. Left recursion, an undefined rule and a syntax
// error are ERR_INVALID naming line and rule; limits on size are ERR_INVALID as well.
enum err grammar_from_gbnf(const char *text, size_t len, struct grammar **out,
                           struct errmsg *msg) MUST_CHECK;
// A JSON schema (issue keywords: see schema.c). An unsupported keyword is ERR_UNSUPPORTED naming it
// and where it stands ("#/properties/a"). `warnings` (may be NULL) gets a line for each `format`.
enum err grammar_from_schema(const struct json_node *schema, struct buf *warnings,
                             struct grammar **out, struct errmsg *msg) MUST_CHECK;
// Any JSON object.
enum err grammar_json_object(struct grammar **out, struct errmsg *msg) MUST_CHECK;

// Calls of functions, as Qwen2.5's template asks the model to write them:
//   <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>
struct grammar_tool {
    const char *name;
    size_t name_len;
    const struct json_node *parameters; // a schema of objects; NULL: any object
};

enum grammar_tool_choice {
    GRAMMAR_TOOLS_AUTO,     // free text until the marker; from there on the grammar holds, and
                            // behind a call's end more calls or the end
    GRAMMAR_TOOLS_REQUIRED, // at least one call, nothing else
};

// What a text that is no call must be.
struct grammar_answer {
    const struct json_node *schema; // NULL: any JSON object
};

// `parallel`: more than one call may follow. A single named tool is tools[1] with REQUIRED. With an
// `answer` (NULL: none) AUTO has no free text: the text is calls, or it is the answer.
enum err grammar_from_tools(const struct grammar_tool *tools, size_t n,
                            enum grammar_tool_choice choice, bool parallel,
                            const struct grammar_answer *answer, struct grammar **out,
                            struct errmsg *msg) MUST_CHECK;
// Whether a schema can be a tool's parameters by itself: the grammar can hold it, and nothing but
// objects satisfies it. Else the error that grammar_from_tools gives.
enum err grammar_check_parameters(const struct json_node *schema, struct errmsg *msg) MUST_CHECK;
// For a schema that is an object: whether nothing in it constrains a value.
bool grammar_schema_says_nothing(const struct json_node *schema);
void grammar_free(struct grammar *g); // NULL is fine

// Where a text stands in a grammar. Both outlive the state.
struct grammar_state;

enum err grammar_state_new(const struct grammar *g, const struct grammar_vocab *v,
                           struct grammar_state **out, struct errmsg *msg) MUST_CHECK;
void grammar_state_free(struct grammar_state *s); // NULL is fine
// Limits the text to `tokens` tokens, its end token included; call it before the first token, once
// a state. Masks then leave out tokens after which the text could not end in time. If even the
// shortest text is longer (by an upper bound of its tokens), or a limit of the grammar closes the
// short way, each token must bring the end nearer; if no token does, the mask is as free as without
// a limit, and the text may be cut. Free text of GRAMMAR_TOOLS_AUTO is counted but not led.
// like: NULL, or a limited state of the same grammar and vocabulary: what is worked out here (some
// milliseconds for a large grammar) is shared with it. Either may be freed first. ERR_NOMEM.
enum err grammar_state_limit(struct grammar_state *s, size_t tokens,
                             const struct grammar_state *like, struct errmsg *msg) MUST_CHECK;

// Bounds the work of one call on a token or a mask. Work is counted, never timed, and the result
// does not depend on the bound: when it runs out, nothing has been done, and the call may be
// repeated with more.
struct grammar_work {
    uint64_t most; // 0: as much as it takes. Else tables are not made either: what is made once
                   // takes as long as it takes
    // Called now and then with the work done so far; when it returns false the call is given up.
    // May be NULL.
    bool (*go_on)(void *ctx, uint64_t done);
    void *ctx;
    uint64_t done; // is set: what went in
};
#define GRAMMAR_WORK_SLICE 4096 // between two calls of go_on, some tens of microseconds

// Where a state stands, to go back to: for looking at what would follow some tokens.
struct grammar_mark;
// *m is NULL, or a mark that is written over. ERR_NOMEM.
enum err grammar_state_mark(const struct grammar_state *s, struct grammar_mark **m) MUST_CHECK;
// m: of this state, which may have taken tokens since. What was worked out meanwhile is kept.
void grammar_state_go_back(struct grammar_state *s, const struct grammar_mark *m);
void grammar_mark_free(struct grammar_mark *m); // NULL is fine

// As grammar_accept and grammar_mask, with bounded work. ERR_CANCELLED: given up; the state is as
// it was. Accepting: ERR_INVALID when the grammar does not allow the token.
enum err grammar_accept_within(struct grammar_state *s, int32_t id,
                               struct grammar_work *work) MUST_CHECK;
enum err grammar_mask_within(struct grammar_state *s, struct grammar_work *work, uint32_t *mask,
                             bool *constrained) MUST_CHECK;

// Takes a token; false (and the state as it was) when the grammar does not allow it. An end token
// is accepted where the grammar may end.
bool grammar_accept(struct grammar_state *s, int32_t id);
// Fills mask, [grammar_mask_words] words: bit id % 32 of mask[id / 32] is 1 when the token may come
// next. At least one bit is set unless the text has ended. *constrained false: nothing is
// constrained here (free text of GRAMMAR_TOOLS_AUTO), and the mask is left alone. ERR_NOMEM;
// ERR_UNSUPPORTED when the vocabulary has no token that goes on.
enum err grammar_mask(struct grammar_state *s, uint32_t *mask, bool *constrained) MUST_CHECK;
// Writes where the text stands, for a message: `its rule "name" asks for the byte 0xC3`. One line.
void grammar_state_describe(const struct grammar_state *s, char *out, size_t size);
size_t grammar_state_mask_words(const struct grammar_state *s); // of its vocab
bool grammar_may_end(const struct grammar_state *s);
bool grammar_must_end(const struct grammar_state *s); // nothing but an end token can follow

#endif
