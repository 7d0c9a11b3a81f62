// The blocks of a paged KV cache: who holds which, and which prefixes they hold. Role: block
// numbers and token ids only; the numbers' keys and values are the device's (struct kv_cache).
// A full block may be published: it is then found by later prompts of the same owner that begin
// with the same tokens. A prefix matches by comparing its tokens, never by hash alone. A published
// block that nobody holds is kept until its room is needed; the least recently used goes first,
// and never before the blocks that continue it.
// Thread rule: the scheduler's thread.
#ifndef TRINE_ENGINE_KV_BLOCKS_H
#define TRINE_ENGINE_KV_BLOCKS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct kv_blocks;

enum { KV_NO_BLOCK = -1 };

// ERR_NOMEM.
enum err kv_blocks_new(size_t blocks, size_t block_tokens, struct kv_blocks **out,
                       struct errmsg *msg) MUST_CHECK;
void kv_blocks_free(struct kv_blocks *b); // NULL is fine

// Blocks that kv_blocks_take can still give: unused ones and those only kept.
size_t kv_blocks_room(const struct kv_blocks *b);
size_t kv_blocks_held(const struct kv_blocks *b); // referenced by somebody
size_t kv_blocks_kept(const struct kv_blocks *b); // only kept

// An unpublished block with one reference, or KV_NO_BLOCK.
int32_t kv_blocks_take(struct kv_blocks *b);

// The longest chain of published blocks that holds tokens[0 ..], at most n / block_tokens of them:
// their numbers into `chain`, each referenced once more. Returns how many.
size_t kv_blocks_match(struct kv_blocks *b, uint64_t owner, const int32_t *tokens, size_t n,
                       int32_t *chain);

// Publishes a held, computed block of exactly these block_tokens tokens behind `parent` (published
// and held, or KV_NO_BLOCK). Where an equal one is published already that one is returned, with a
// reference, and `block` has lost one: the caller goes on with what is returned.
int32_t kv_blocks_publish(struct kv_blocks *b, uint64_t owner, int32_t parent, int32_t block,
                          const int32_t *tokens);

// What blocks hold is gone: no prefix is found any more, and what was kept is unused. Those that
// are held stay with their holders, who release them unpublished.
void kv_blocks_forget(struct kv_blocks *b);

// Gives one reference of each back; `chain` is in the order of positions.
void kv_blocks_release(struct kv_blocks *b, const int32_t *chain, size_t n);

#endif
