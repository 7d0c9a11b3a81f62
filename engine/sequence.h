// A generation while the scheduler has it: its tokens, the blocks that hold their keys and values,
// and how far they are computed, or on their way to be. Role: the bookkeeping of one sequence;
// which one runs is the generator's business. A step that is with the device reads what is the
// sequence's own (tokens, biases, masks): it is freed when none does any more.
// Thread rule: made on any thread, then the scheduler's.
#ifndef TRINE_ENGINE_SEQUENCE_H
#define TRINE_ENGINE_SEQUENCE_H

#include "engine/draft.h"
#include "engine/generation.h"
#include "engine/kv_blocks.h"
#include "engine/masks.h"

struct sequence {
    struct generation *g; // not to be used once it is done
    uint64_t number;      // names it to the device; no other has the same
    uint64_t owner;       // of the prefixes it shares
    uint64_t account;     // whose turns it takes (turns.h)
    uint64_t stepped;     // number of the last step that it decoded in
    uint64_t tried;       // number of the last step that it was looked at for
    int32_t *tokens;      // [prompt_len + max_tokens] the prompt, then the output
    size_t known;         // tokens there are
    size_t computed;      // of them, those whose keys and values lie in the cache
    size_t scored;        // of the prompt, those whose logprobs are known (prompt_logprobs)
    int32_t *blocks;      // [room for known and one more] in the order of positions
    size_t block_count, published;
    struct sampling sampling, early; // the generation's, with biases of our own
    struct logit_bias *biases;
    struct mask_job *mask; // of the next token; NULL: no grammar
    struct draft_policy draft;
    // Steps whose results are not taken yet.
    size_t in_flight;      // that have rows of it, whether these count or not
    size_t live;           // of them, those whose rows count
    size_t sent;           // as `computed`, with the rows that count
    size_t coming;         // tokens that these will draw at least
    uint64_t dropped;      // times that rows in flight ceased to count: a part's note
    bool alone;            // what goes on from its row in flight is not known: drafts, scores
    bool quiet;            // nothing to be guessed behind what is known: it may go ahead
    bool slow;             // its last mask took more than a step's work: it is waited for
    bool passed_by;        // it waits for room, and others went before it meanwhile
    bool passing;          // it runs before one that waits for room, and gives way to it
    bool leaving;          // it is to be set aside
    bool prefilled;        // the prompt has been computed once, on the device that has it now
    bool struck;           // the device was lost with a step of it in flight: to be counted
    size_t replays;        // tokens that were computed when the device was lost; 0: none to compute
    bool released;         // its reservation has been given back
    struct sequence *next; // in the waiting list, or among those that have ended
};

// Copies the prompt. ERR_NOMEM.
enum err sequence_new(struct generation *g, size_t vocab, size_t block_tokens, uint64_t owner,
                      struct sequence **out) MUST_CHECK;
void sequence_free(struct sequence *s); // holds no blocks any more

// Tokens that are still to be computed, and whether these are one drawn token (and not a prompt).
static inline size_t sequence_pending(const struct sequence *s) {
    return s->known + s->coming - s->sent;
}
bool sequence_decodes(const struct sequence *s);
// Rows of it that are in flight count for nothing any more.
void sequence_drop_rows(struct sequence *s);
// Its next token cannot be drawn yet; and nothing else of it is left to compute: it sits out.
static inline bool sequence_lacks_mask(const struct sequence *s) {
    return s->mask && atomic_load_explicit(&s->mask->at, memory_order_acquire) == MASK_AWAY;
}
static inline bool sequence_sits_out(const struct sequence *s) {
    return sequence_pending(s) == 1 && s->scored >= s->g->prompt_len && sequence_lacks_mask(s);
}

// Blocks for `tokens` positions in all; false, with what there was, when the cache has no room.
bool sequence_grow(struct sequence *s, struct kv_blocks *b, size_t block_tokens, size_t tokens);
// Finds what the cache holds of its tokens already (the last one is computed in any case), then
// takes the blocks for all of them and, where tokens are drawn, one more. False, holding none, when
// there is no room beside `spare` blocks: `lacks` says how many it would take.
bool sequence_place(struct sequence *s, struct kv_blocks *b, size_t block_tokens, size_t spare,
                    size_t *lacks);
// Lets later prompts find the blocks that are full.
void sequence_publish(struct sequence *s, struct kv_blocks *b, size_t block_tokens);
// Gives all blocks back; what it has said is kept, to be computed again.
void sequence_unplace(struct sequence *s, struct kv_blocks *b);
// Tokens at the beginning that both have, in whole blocks.
size_t sequence_common(const struct sequence *a, const struct sequence *b, size_t block_tokens);

#endif
