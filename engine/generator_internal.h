// What a struct generator is made of. Role: shared by generator_make.c (its beginning, and on which
// device it is), generator.c (submission, ends, numbers),
// generator_admit.c (who runs, and who waits), generator_step.c (what a step computes),
// generator_masks.c (what may be drawn in it), generator_take.c (what becomes of its results) and
// generator_loss.c (what becomes of it all when the device is gone).
#ifndef TRINE_ENGINE_GENERATOR_INTERNAL_H
#define TRINE_ENGINE_GENERATOR_INTERNAL_H

#include "engine/generator.h"
#include "engine/sequence.h"
#include "engine/turns.h"

#include <pthread.h>

enum {
    SCORED_CHUNK = 32, // of a prompt whose logits are wanted
    DRAFT_ROWS = 16,   // drafted rows of a step, of all sequences
};

// A step between its beginning and its end.
struct flight {
    struct step *step;
    bool busy;
    bool masks_tried;
    size_t decoding, prompt_tokens;
    double prompt_part; // of its time
    int64_t begun_us;
};

struct generator {
    struct generator_options options;
    const struct model *model;
    uint64_t place;                                  // of its steps on the replica,
    struct step_engine *engine;                      // or, where there is none, its own
    struct flight flights[1 + GENERATOR_AHEAD_MOST]; // steps in flight, in turn
    size_t in_flight, oldest;
    struct kv_blocks *blocks;
    size_t block_tokens, block_count;   // positions in a block, for good; how many there are
    atomic_size_t workspace_bytes;      // written with the storage
    atomic_size_t context, cache_bytes; // changed by the scheduler's thread, under the mutex
    struct sequence **running;          // [max_sequences] oldest first
    size_t running_count;
    struct sequence *waiting; // oldest first
    size_t waiting_count;
    struct turns turns;
    uint64_t step_number;
    struct sequence *ended; // but a thread has their mask still
    size_t ended_count;
    struct sequence *done; // but a step in flight may read them still
    int64_t taken_us;      // when a step's results were taken last
    double decode_us;      // of a step without prompts, lately; 0: not known
    double prefill_us;     // of a prompt's token beside a decoding step, lately; 0: not known
    double warm_us;        // of a token of the warm-up; 0: there was none
    struct {
        uint64_t steps, ended, output, drafted, accepted, replayed; // not yet in stats
    } tally;
    uint64_t life; // of its replica, in which the storage was made or emptied
    bool lost;     // that life is over: nothing runs until generator_resume
    atomic_size_t count;

    pthread_mutex_t mutex; // guards what is below
    struct sequence *inbox, **inbox_tail;
    enum err closed; // ERR_OK: submissions are taken
    struct errmsg closed_msg;
    struct generation_stats stats;
};

static inline size_t generator_chunk(const struct generator_options *o) {
    return o->chunk ? o->chunk : GENERATOR_CHUNK;
}
static inline struct flight *generator_oldest(struct generator *g) {
    return g->in_flight > 0 ? &g->flights[g->oldest] : NULL;
}
// Whether a part's results count for its sequence.
static inline bool generator_counts(const struct step_part *p) {
    return ((const struct sequence *)p->ctx)->dropped == p->note;
}
// Whether it has been in flight at so many deaths that it does not run here any more.
static inline bool generator_bars(const struct generator *g, const struct sequence *s) {
    return g->options.deaths_most > 0 && s->g->deaths >= g->options.deaths_most;
}
// Where a running sequence stands in the list.
size_t generator_place_of(const struct generator *g, const struct sequence *s);
// What the options and their size come to: the cache, and what steps are computed with.
struct generator_storage {
    struct replica *replica;
    uint64_t place, life; // on it, and in which of its lives
    struct step *steps[1 + GENERATOR_AHEAD_MOST];
    struct kv_blocks *blocks;
};
enum err generator_storage_new(const struct generator_options *options,
                               const struct generator_size *size, struct generator_storage *out,
                               struct errmsg *msg) MUST_CHECK;
void generator_storage_free(struct generator_storage *s);
// Gives the generator this one, and takes the one that it has; nothing runs in it.
void generator_storage_swap(struct generator *g, struct generator_storage *s);
// Takes the running sequence at this place out of the list.
void generator_leave(struct generator *g, size_t at);
// Makes room for `s`, which is to decode in this step: sets a sequence aside that does not decode
// in it yet, the youngest of the owner with most. Returns it (it may be s); NULL: s is alone.
struct sequence *generator_preempt(struct generator *g, struct sequence *s);
// Sets a running sequence aside: its blocks are free, and it waits to be computed again.
void generator_set_aside(struct generator *g, struct sequence *s);
// The same of one that was not asked to: nothing is counted.
void generator_put_back(struct generator *g, struct sequence *s);
// Takes what was submitted into the waiting list.
void generator_empty_inbox(struct generator *g);
// Counts the owners of the running sequences anew.
void generator_count_turns(struct generator *g);
// Gives back what was reserved, once.
void generator_release(struct generator *g, struct sequence *s);
// Says how it ended, calls done and frees the sequence, which is in no list any more; the last two
// later, where a thread has its mask still.
void generator_finish(struct generator *g, struct sequence *s, enum generation_end end,
                      enum err err, const char *why);
// Frees those that are done and in no step any more.
void generator_free_done(struct generator *g);
// Gives its mask to the threads where it is DUE.
void generator_ask_mask(struct generator *g, struct sequence *s);
// Into the waiting list by age; one that was set aside goes before those that came later.
void generator_wait(struct generator *g, struct sequence *s);
// Lets waiting sequences join, if need be in the place of others.
void generator_admit(struct generator *g, int64_t now);
// Ends running and waiting sequences that are over, and lets waiting ones join.
void generator_join(struct generator *g, int64_t now);

#endif
