// The masks of grammars, made ahead. While the forward of a row runs its mask is tried with the
// little work that a step has for it; what takes more is done by threads of their own, below
// compute's priority, and the sequence sits steps out until its mask is there. Role: nobody but the
// sequence waits for a costly grammar, and among those of several sequences the one with the least
// work lately goes first, in the middle of another's mask if need be.
// What a mask holds depends on the grammar and the tokens alone, not on who made it or when.
// Thread rule: a job belongs to its owner (the scheduler's thread) but while it is AWAY; masks_*
// from the owner's thread.
#ifndef TRINE_ENGINE_MASKS_H
#define TRINE_ENGINE_MASKS_H

#include "engine/draft.h"
#include "grammar/grammar.h"

#include <stdatomic.h>

enum mask_at {
    MASK_READY, // mask, constrained and err are those of the next token
    MASK_DUE,   // not made: the work that it was tried with did not do
    MASK_AWAY,  // with the threads
};

// The next mask of one sequence.
struct mask_job {
    struct grammar_state *grammar; // borrowed
    const char *of;                // what the client calls its grammar; borrowed
    uint32_t *mask;                // owned
    bool constrained;              // false: any token may come, the mask says nothing
    enum err err;                  // ERR_NOMEM, ERR_UNSUPPORTED, ERR_INTERNAL
    struct errmsg msg;             // in words, naming `of`
    int32_t tokens[1 + DRAFT_MAX]; // [token_count] to be taken before the mask is made
    size_t token_count;
    uint64_t spent; // work lately: what went before a token counts half behind it
    atomic_int at;  // enum mask_at
    // Behind drafts (mask_job_look_ahead).
    size_t words;
    uint32_t *ahead; // [DRAFT_MAX, words] owned; NULL: never asked for
    bool ahead_constrained[DRAFT_MAX];
    struct grammar_mark *mark; // owned
    // The threads' own.
    atomic_bool unwanted;
    struct mask_job *next;
    bool queued;
};

enum { MASKS_WORK_STEP = 1 << 18, MASKS_WORK_LEAST = 1 << 12, MASKS_WORK_MOST = 1 << 15 };
// The work that a step has for each of `n` masks: some hundred microseconds at most, and a few
// milliseconds for all.
static inline uint64_t masks_work_of_step(size_t n) {
    uint64_t each = MASKS_WORK_STEP / (n ? n : 1);
    return each > MASKS_WORK_MOST    ? MASKS_WORK_MOST
           : each < MASKS_WORK_LEAST ? MASKS_WORK_LEAST
                                     : each;
}

// A job whose first mask is DUE. vocab: of the logits that it is for. ERR_NOMEM.
enum err mask_job_new(struct grammar_state *grammar, size_t vocab, const char *of,
                      struct mask_job **out) MUST_CHECK;
void mask_job_free(struct mask_job *job); // not AWAY; NULL is fine
// Makes the mask that is DUE with at most `work`; it may stay DUE.
void mask_job_try(struct mask_job *job, uint64_t work);
// The next mask is DUE, behind `n` tokens (at most 1 + DRAFT_MAX) that READY masks allowed.
void mask_job_take(struct mask_job *job, const int32_t *tokens, size_t n);
// Makes the masks behind the first draft, the first two, ... for as long as the mask before allows
// the draft and there is work left. Returns how many there are; the job is as it was: READY.
size_t mask_job_look_ahead(struct mask_job *job, const int32_t *drafts, size_t n, uint64_t work);
// Of the row behind `drafts` of them, NULL: any token may come. Until tokens are taken.
const uint32_t *mask_job_row(const struct mask_job *job, size_t drafts);
static inline bool mask_job_ready(const struct mask_job *job) {
    return atomic_load_explicit(&job->at, memory_order_acquire) == MASK_READY;
}

struct masks;

// threads 0: one for each four CPUs. wake: a job has come back; from a thread of ours, quick.
enum err masks_new(int threads, void (*wake)(void *ctx), void *ctx, struct masks **out,
                   struct errmsg *msg) MUST_CHECK;
void masks_free(struct masks *m); // has no job any more; NULL is fine
// Gives a DUE job to the threads: it is AWAY, and READY when it comes back.
void masks_submit(struct masks *m, struct mask_job *job);
// Asks a job back whose sequence has ended. False: a thread has it still, and lets go at the end of
// a slice of work; wake tells. A slice is short, but for the one that makes the table of a
// grammar's strings (once a process, some milliseconds), and one that stands while others are taken
// in goes on behind them: these take as much as it has had itself at most, each. So who asks
// several back withdraws all of them before it recalls the first.
bool masks_withdraw(struct masks *m, struct mask_job *job);
void masks_recall(struct masks *m, struct mask_job *job); // the same, waiting for it

#endif
