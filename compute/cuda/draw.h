// Drawing tokens from logits on a card: `draw` of the table of operations. Role: lays out what a
// draw needs in one pinned block, which goes to the card in one copy; launches
// kernels/draw_step.h's; brings all results back in one copy, and hands them out when the caller
// has waited. Several draws may be under way on one stream. The last token that each part drew
// stays on the card, by slots, for the forward behind it. It does not wait for anything, but for
// memory (below). Memory: what a draw of `limits` needs is made beforehand, long histories and
// biases apart: from some thousand ids a sequence on, all sequences together, the blocks grow to
// twice what is asked for, so that a server does so a few times in its life. Growing waits for the
// stream's work. Thread rule: the thread that drives the device.
#ifndef TRINE_COMPUTE_CUDA_DRAW_H
#define TRINE_COMPUTE_CUDA_DRAW_H

#include "base/arena.h"
#include "base/err.h"
#include "compute/cuda/gpu_api.h"
#include "compute/sampling.h"

enum { GPU_DRAWS_UNDER_WAY = 2 };

struct gpu_draw_limits {
    size_t vocab; // at most GPU_DRAW_VOCAB
    size_t rows;  // of logits in one draw; the workspace is made for these, or for 64
    size_t parts; // sequences in one draw
    size_t slots; // of tokens that are kept; parts of a draw have slots of their own
};

struct gpu_draw;

// The stream is where the slots are zeroed. ERR_NOMEM, ERR_UNSUPPORTED (too large a vocabulary).
enum err gpu_draw_new(const struct gpu_api *api, struct gpu *gpu, struct gpu_stream *s,
                      const struct gpu_draw_limits *limits, struct gpu_draw **out,
                      struct errmsg *msg) MUST_CHECK;
void gpu_draw_free(struct gpu_draw *d); // NULL is fine; nothing of it is under way any more

// What a draw takes of a workspace at most (draw_bytes of the table). SIZE_MAX: more than a size
// counts.
size_t gpu_draw_bytes(const struct gpu_draw_limits *limits, size_t vocab);
// [slots] device memory: what embed's `drawn` is.
const int32_t *gpu_draw_drawn(const struct gpu_draw *d);

// Asks for the draw of a->parts, which stay until it is delivered. ws: device memory, as it was on
// return; what lies in it is used until the stream has done the draw. *ticket: its number, from 1
// on. ERR_INTERNAL: no room, more than the limits, or two draws are under way; ERR_NOMEM.
enum err gpu_draw_ask(struct gpu_draw *d, struct gpu_stream *s, const struct draw_args *a,
                      struct arena *ws, uint64_t *ticket, struct errmsg *msg) MUST_CHECK;
// Fills the parts' results, behind the wait for the stream. A draw that has been delivered, or
// failed to be asked for, is left alone; those before it are delivered too.
void gpu_draw_deliver(struct gpu_draw *d, uint64_t ticket);

#endif
