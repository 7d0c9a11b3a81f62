// A generation: one prompt and the tokens that continue it. Role: what passes between a request
// (or the CLI) and the scheduler, as struct job does for encoding. A generation and all its arrays
// are owned by the one who submits it; the scheduler borrows it from scheduler_generate until
// `done` is called, exactly once. A request for n choices submits n generations.
// Thread rule: the submitter writes the first part before submitting. The scheduler's thread writes
// the token log and publishes it through `produced`; any thread may read what is published.
#ifndef TRINE_ENGINE_GENERATION_H
#define TRINE_ENGINE_GENERATION_H

#include "base/err.h"
#include "compute/sampling.h"
#include "engine/computed.h"
#include "engine/model.h"
#include "grammar/grammar.h"

#include <stdatomic.h>

enum generation_end {
    GENERATION_STOP,   // an end-of-generation token (it is not in the log), or stop_wanted
    GENERATION_LENGTH, // max_tokens, or the context or the cache is full
    GENERATION_FAILED, // err says why
};

struct generation {
    // Set by the submitter.
    const struct model *model;
    const int32_t *prompt; // [prompt_len], at least 1
    size_t prompt_len;
    size_t max_tokens; // 0: only the prompt is scored (prompt_logprobs)
    struct sampling sampling;
    size_t min_tokens;             // as long as fewer are drawn, `early` samples in its place
    struct sampling early;         // not read where min_tokens is 0
    bool ignore_eos;               // end tokens are tokens as any other
    bool want_logprobs;            // of every token
    size_t top_logprobs;           // alternatives a token, at most SAMPLING_MAX_TOP
    bool prompt_logprobs;          // of the prompt's tokens too, for `echo`
    struct grammar_state *grammar; // NULL: none; the scheduler's alone until done
    const char *grammar_of;        // what the client calls it, for messages; NULL: "the grammar"
    uint64_t owner;                // whose prefixes it may share: one per API key; 0: nobody's
    // The device is shared between owners by their weights (0: 1), and within an owner between
    // requests. What is nobody's counts as its request's.
    int weight;
    uint64_t request;
    int64_t deadline_us; // monotonic; passed before its first token: ERR_DEADLINE. 0: none
    size_t reserved;     // tokens held by scheduler_reserve
    void (*progress)(struct generation *g); // scheduler's thread, quick: `produced` has grown
    void (*done)(struct generation *g); // scheduler's thread (the submitter's where it is refused),
                                        // quick, once, the last call; may free
    void *ctx;                          // the submitter's own
    const char *request_id;             // whose it is, for a crash's report; or NULL
    // The log. Rows beyond `produced` are not to be read.
    int32_t *ids;                     // [max_tokens]
    float *logprobs;                  // [max_tokens] where want_logprobs, else NULL
    struct token_logprob *top;        // [max_tokens * top_logprobs], else NULL
    float *prompt_scores;             // [prompt_len] where prompt_logprobs ([0] is not written)
    struct token_logprob *prompt_top; // [prompt_len * top_logprobs]

    // Set by anyone, any time before done.
    atomic_bool cancelled;   // the client is gone: it ends within one token, ERR_CANCELLED
    atomic_bool stop_wanted; // the text has reached a stop string: it ends as GENERATION_STOP

    atomic_bool begun;        // its prompt is being computed, or was
    atomic_size_t produced;   // tokens in the log (release / acquire)
    struct computed computed; // these tokens, and the scores

    // Results, valid in done (cached_tokens, queue_us, first_us and prompt_scores as soon as
    // `produced` is not 0).
    enum generation_end end;
    enum err err;
    struct errmsg msg;
    size_t cached_tokens; // of the prompt, found in the prefix cache
    int64_t queue_us;     // until its first compute
    int64_t first_us;     // from submission to the first token (or the end that was drawn first)
    int64_t total_us;
    size_t drafted, accepted; // speculation
    unsigned preemptions;
    unsigned deaths; // devices that were lost with a step of it in flight

    // The scheduler's own while it has the generation.
    int64_t submitted_us, started_us;
};

// What the numbers of a cache are kept as. AUTO: f32 where the weights are f32, else f16.
enum kv_dtype { KV_DTYPE_AUTO, KV_DTYPE_F32, KV_DTYPE_F16 };

// Of one model's generations, or of all.
struct generation_stats {
    uint64_t done, failed, cancelled, late;
    uint64_t prompt_tokens, cached_tokens, output_tokens; // cached ones are among the prompt's
    uint64_t steps, steps_ended, preemptions, drafted, accepted; // ended: as forwards_ended
    // Losses of the device (generator_lose): sequences that one interrupted, tokens of them that
    // were computed again, and sequences that went over to another generator.
    uint64_t interrupted, replayed_tokens, handed_over;
    size_t running, waiting;         // sequences, now
    size_t prompt_left, output_left; // their tokens to compute, and to draw at most
    size_t kv_blocks, kv_blocks_used, kv_blocks_kept; // in all; referenced; only kept for reuse
    size_t kv_bytes, kv_tokens;                       // of the caches; positions that they hold
};

#endif
