// The causal decoder: Qwen2, Qwen3, Llama and Mistral as data over one forward pass.
// Role: binds weights to a device and runs ragged steps (prefill chunks and single tokens mixed)
// over a paged KV cache. No tokenizing, no sampling, no threads of its own.
// Source followed: transformers modeling_qwen2.py, modeling_qwen3.py, modeling_llama.py,
// modeling_mistral.py, modeling_rope_utils.py.
// Thread rule: immutable after load; the device's driving thread runs it.
#ifndef TRINE_DECODER_DECODER_H
#define TRINE_DECODER_DECODER_H

#include "compute/batch.h"
#include "compute/device.h"
#include "weights/decoder_config.h"
#include "weights/weights.h"

struct decoder;

// The weights may be closed afterwards. Errors as weights_take and weight_prepare.
enum err decoder_load(struct weights *w, const struct decoder_config *config,
                      struct precision precision, struct device *d, struct decoder **out,
                      struct errmsg *msg) MUST_CHECK;
void decoder_free(struct decoder *m); // NULL is fine
// The head's rows of these tokens as a weight [n, D] of its own, in f32: all that a yes/no reranker
// needs of a head. At most DECODER_HEAD_ROWS tokens, below V. The caller's (ops->weight_free); w as
// decoder_load left it.
enum { DECODER_HEAD_ROWS = 2 };
enum err decoder_load_head_rows(struct weights *w, const struct decoder_config *config,
                                const int32_t *tokens, size_t n, struct device *d,
                                struct weight **out, struct errmsg *msg) MUST_CHECK;
size_t decoder_weight_bytes(const struct decoder *m);

// The shape of a KV cache for this model with so many blocks.
struct kv_shape decoder_kv_shape(const struct decoder *m, size_t block_tokens, size_t blocks,
                                 enum dtype dtype);

// One step. Every sequence's tokens of the step follow what its cache holds already; their keys and
// values are written to `slots` on the way. Host memory, borrowed for the call.
struct decoder_step {
    const int32_t *ids, *positions; // [N] below V; below max_positions
    const int32_t *slots;           // [N] block * block_tokens + offset
    const int32_t *cu_seqlens;      // [S + 1]
    const int32_t *context_lens;    // [S] as in struct paged_attention_args
    const int32_t *block_tables;    // [S, table_stride]
    size_t table_stride;
    size_t tokens, seqs;       // N, S
    const int32_t *logit_rows; // [R] rows of which logits are wanted, ascending
    size_t logit_count;        // R, may be 0
};

// The workspace that a step of at most this many tokens and wanted rows takes.
size_t decoder_workspace_bytes(const struct decoder *m, size_t tokens, size_t logit_rows);

// Logits [R, V] in ws; data NULL where R is 0, or after a failure or an end by a pause, which is
// the device's.
struct mat decoder_forward(const struct decoder *m, const struct decoder_step *s,
                           struct kv_cache *kv, struct arena *ws,
                           const struct forward_hooks *hooks);

// Without a cache, whole sequences: hidden states behind the last norm, [N, D]: an embedder's and a
// yes/no reranker's way. Same workspace as a step of N tokens without logits. No head is needed:
// config.causal_lm may have been cleared before decoder_load.
struct mat decoder_encode(const struct decoder *m, const struct batch *b, struct arena *ws,
                          const struct forward_hooks *hooks);

#endif
