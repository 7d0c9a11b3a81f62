// Text to token ids and back, exactly as Hugging Face tokenizers 0.2x does for the same files.
// Role: the one door to tokenizer/. Reads tokenizer.json (normalizer, pre-tokenizer, model,
// post-processor, added tokens; of its truncation and padding sections only the side counts), or
// vocab.txt, or vocab.json with merges.txt; and applies what tokenizer_config.json and the files
// beside it say (tokenizer_config.h). A part that is not known is refused by name. It does not
// batch or pad, and knows no models.
// Source followed: huggingface/tokenizers, tokenizers/src/tokenizer/mod.rs (TokenizerImpl::encode,
// post_process), utils/truncation.rs.
// Thread rule: a tokenizer is immutable after load and shared; a scratch belongs to one thread.
#ifndef TRINE_TOKENIZER_TOKENIZER_H
#define TRINE_TOKENIZER_TOKENIZER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "tokenizer/encoding.h"
#include "tokenizer/truncate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;
struct tokenizer;
struct key_unknown;
// A thread's buffers and its cache of words. Its size is bounded by some megabytes: what a large
// text took is freed after it.
struct tokenizer_scratch;

struct tokenizer_options {
    bool add_special_tokens;
    enum truncate_strategy truncate;
    enum truncate_side side;
    size_t max_length; // specials included; used unless TRUNCATE_NONE
};

// Loads from a model folder. vocab_size: ids must lie below it (0: not checked); the message names
// the file and the part or token. ERR_NOT_FOUND, ERR_INVALID, ERR_UNSUPPORTED, ERR_NOMEM, ERR_IO.
enum err tokenizer_load(const char *folder, size_t vocab_size, struct tokenizer **out,
                        struct errmsg *msg) MUST_CHECK;
// The same from a GGUF file's metadata (tokenizer.ggml.*): "gpt2" is byte-level BPE and "bert" is
// WordPiece; another model, or a split pattern (`pre`) that is not known, is refused by name. What
// comes out is the tokenizer.json that the file was made from (tokenizer_gguf.c says where sources
// differ). g may be closed afterwards.
enum err tokenizer_load_gguf(const struct gguf *g, size_t vocab_size, struct tokenizer **out,
                             struct errmsg *msg) MUST_CHECK;
void tokenizer_free(struct tokenizer *t); // NULL is fine

enum err tokenizer_scratch_new(const struct tokenizer *t,
                               struct tokenizer_scratch **out) MUST_CHECK;
void tokenizer_scratch_free(struct tokenizer_scratch *s);

// Encodes one text, or a pair when `pair` is not NULL, into out (overwritten). Linear time in the
// bytes given. ERR_INVALID (truncation cannot make it fit: ONLY_x and the other text alone is too
// long, or max_length is below the template's own tokens), ERR_TOO_LARGE (4 GiB), ERR_NOMEM.
enum err tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct text text,
                          const struct text *pair, const struct tokenizer_options *options,
                          struct encoding *out, struct errmsg *msg) MUST_CHECK;

// Applies only the post-processor, to texts that are encoded already (with add_special_tokens false
// and TRUNCATE_NONE): a reranker tokenizes its query once that way. The result is that of
// tokenizer_encode on the two texts. b may be NULL. out must be neither a nor b.
enum err tokenizer_assemble(const struct tokenizer *t, const struct encoding *a,
                            const struct encoding *b, const struct tokenizer_options *options,
                            struct encoding *out, struct errmsg *msg) MUST_CHECK;

// How many tokens the template adds to one text, or to a pair.
size_t tokenizer_special_count(const struct tokenizer *t, bool pair);

// Appends the text of the ids, as HF's decode does with this tokenizer's decoder. An id without a
// token (a model's vocabulary is often padded beyond its tokenizer's) is passed over, as there.
// ERR_NOMEM.
enum err tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                          bool skip_special_tokens, struct buf *out, struct errmsg *msg) MUST_CHECK;

// On which side the model's files have a text cut (truncation_side), unless the caller says it.
enum truncate_side tokenizer_side(const struct tokenizer *t);
// From now on token types are those that the model reads, not those of the template: 0 when
// model_input_names or the class leaves token types out. Call it before the tokenizer is shared.
void tokenizer_use_model_types(struct tokenizer *t);
// Whether releases of transformers disagree on the template's token types: 4 gives them to the
// model, 5 gives none (the class PreTrainedTokenizer[Fast] without model_input_names).
bool tokenizer_types_unclear(const struct tokenizer *t);

size_t tokenizer_vocab_size(const struct tokenizer *t); // added tokens included: highest id + 1
// The token's own spelling ("##ing"); NULL for an id without one. Borrowed.
const char *tokenizer_piece(const struct tokenizer *t, int32_t id);
// The raw bytes that a token adds to a text when it is not the first token; for byte-level
// vocabularies the bytes that its characters stand for, which may be only a part of a character.
// len 0 for an id without a token. Borrowed; constant time.
struct text tokenizer_token_bytes(const struct tokenizer *t, int32_t id);
// True for tokens that decode leaves out with skip_special_tokens.
bool tokenizer_token_is_special(const struct tokenizer *t, int32_t id);
// The id of an added token, or of a piece of the vocabulary, with exactly this spelling; -1: none.
int32_t tokenizer_token_id(const struct tokenizer *t, const char *piece, size_t len);
// The keys of tokenizer.json that are in no table (tokenizer_config.h), for a warning. They are
// collected while the file is parsed, because reading it again would be a good part of a small
// model's start. Borrowed.
const struct key_unknown *tokenizer_unknown_keys(const struct tokenizer *t);
// One line per part for `trine inspect`: "normalizer: BertNormalizer(lowercase, ...)".
void tokenizer_describe(const struct tokenizer *t, struct buf *out);

#endif
