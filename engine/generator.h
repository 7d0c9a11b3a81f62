// Continuous batching for one model: sequences join and leave at every step. Role: decides which
// sequences' tokens the next step computes, and keeps the account of blocks, drafts and logs; the
// step itself is step.h's, when it runs is the scheduler's.
// A step goes to the device and comes back in parts (step.h), so that what its tokens mean, and
// which ones may come next, is worked out while the device computes: the masks of the step that is
// there, and where `ahead` is 1 the results of the one before it.
// A step holds one token (and its drafts) of every sequence that decodes, and, in what time is left
// beside them, a chunk of the oldest prompt. When the cache is exhausted the youngest sequence
// of the owner with most is set aside: its blocks are freed and its tokens computed again later;
// its log stands.
// Thread rule: generator_submit, generator_busy, generator_count and the readers from any thread;
// the rest from the scheduler's thread.
#ifndef TRINE_ENGINE_GENERATOR_H
#define TRINE_ENGINE_GENERATOR_H

#include "engine/generation.h"
#include "engine/masks.h"
#include "engine/model.h"
#include "engine/replica.h"
#include "engine/shares.h"

struct generator;

enum {
    GENERATOR_AHEAD_MOST = 1,
    // Tokens of prompts in a step, where nobody decodes: of a device without a wish for its
    // batches, and at most.
    GENERATOR_CHUNK = 256,
    GENERATOR_CHUNK_MOST = 2048,
};

struct generator_options {
    const struct model *model;
    struct replica *replica; // it is loaded there, and its steps are computed there
    size_t kv_bytes;         // of its cache, at most
    enum dtype kv_dtype;
    size_t max_sequences;
    size_t chunk; // of prompts, tokens of a step at most; 0: GENERATOR_CHUNK
    bool speculate, share_prefixes;
    size_t ahead;        // steps that are put together before the results of those before are known
    struct masks *masks; // where masks of grammars are made that take long
    unsigned deaths_most; // generations with so many deaths wait, and do not run here; 0: all do
    // A generation has its first token, or has ended without: gives back what was reserved for it.
    void (*release)(void *ctx, size_t tokens);
    void *ctx;
};

// What the options come to. Role: the same sizes for those who make a generator and for those who
// only ask whether one can be made.
struct generator_size {
    size_t block_tokens;        // positions in a block, as the device wants them
    size_t blocks, cache_bytes; // of its cache
    size_t context;             // as scheduler_context
    size_t max_sequences;
    size_t workspace_bytes; // of its steps
};

// Makes nothing. ERR_TOO_LARGE: the cache would hold no text, and the message says what would do.
enum err generator_choose_size(const struct generator_options *options, struct generator_size *out,
                               struct errmsg *msg) MUST_CHECK;
enum err generator_new(const struct generator_options *options, struct generator **out,
                       struct errmsg *msg) MUST_CHECK;
// Makes the cache anew, of this size at most. Running sequences are set aside as those that give
// way are: their logs stand, and their tokens are computed again. ERR_TOO_LARGE: one that was
// accepted would not fit; ERR_NOMEM. On an error all is as it was. msg may be NULL. No step is with
// a device.
enum err generator_resize(struct generator *g, size_t kv_bytes, struct errmsg *msg) MUST_CHECK;
// Whether that can be; changes nothing.
enum err generator_fits(struct generator *g, size_t kv_bytes, struct errmsg *msg) MUST_CHECK;
// Ended (generator_end_all), and no step is with a device any more; NULL is fine.
void generator_free(struct generator *g);
const struct model *generator_model(const struct generator *g);
size_t generator_context(const struct generator *g);         // as scheduler_context
size_t generator_workspace_bytes(const struct generator *g); // KV apart
size_t generator_cache_bytes(const struct generator *g);
size_t generator_max_sequences(const struct generator *g);
uint64_t generator_place(const struct generator *g); // replica_open_steps's

// Takes a generation over; its done is called at once, on this thread, where it cannot be.
void generator_submit(struct generator *g, struct generation *generation);
size_t generator_count(const struct generator *g); // generations it has
static inline bool generator_busy(const struct generator *g) { return generator_count(g) > 0; }

// What it has to compute: SHARE_BITs of decoding and prompts; none while as many steps are in
// flight as may be, nor for sequences that wait for a mask.
unsigned generator_ready(const struct generator *g);
// Ends what is over. A step does so as well.
void generator_tend(struct generator *g);

// ---- a step, for whoever has a device compute it: begun, its masks filled in, ended; steps come
// to the device, and to their ends, in the order in which they began

// NULL: there is nothing to compute, or as many are in flight as may be.
struct step *generator_begin_step(struct generator *g);
// Makes masks of the step, as far as little work goes, and puts in those that are there. True: it
// can be drawn, for all are there; or the forward is `over`, and what is late is late. Not before
// the steps before it have ended. To be asked again when one has, when masks have come back
// (masks_new's wake) and when its forward is over.
bool generator_fill_masks(struct generator *g, struct step *step, bool over);
// Takes the results. ran: its forward was begun. err: of the whole step; its generations end with
// it.
void generator_end_step(struct generator *g, struct step *step, bool ran, enum err err,
                        const char *why);
// The part of its time that prompts take, 0 to 1.
double generator_step_prompt_part(const struct generator *g, const struct step *step);
// For a crash's report: the names of the requests in it, at most so many. Returns how many.
size_t generator_step_requests(const struct step *step, const char **ids, size_t most);
// Nobody waits for what it computes.
bool generator_step_is_gone(const struct step *step);
// What it draws and computes is not to come: all is as it was before it began, and is computed
// again. Of all steps in flight; none is with a device any more.
void generator_take_back(struct generator *g);

// Goes on with the model as it is loaded on another replica: what is in
// flight is taken back (as generator_take_back), running texts are set aside and computed again
// there, and their tokens are those that they would have been. On an error nothing has changed.
// ERR_NOMEM, ERR_TOO_LARGE.
enum err generator_move(struct generator *g, struct replica *replica,
                        struct errmsg *msg) MUST_CHECK;

// ---- the loss of the device (generator_loss.c)

// What the device held of it is gone, and no step is with one any more. All that is in flight is
// taken back (as generator_take_back), running texts are set aside with their logs, draws, grammars
// and drafts as they are, and no prefix is found any more. Nothing runs until generator_resume;
// what is over ends meanwhile (generator_tend). exposed: of each step in flight, in turn, whether
// the device may have been lost through it; NULL: through none. A generation in such steps has one
// death more, however many of them it was in.
void generator_lose(struct generator *g, const bool *exposed);
// Goes on in the storage as it is: made or emptied in this life of its replica.
void generator_resume(struct generator *g, uint64_t life);
bool generator_is_lost(const struct generator *g);
uint64_t generator_life(const struct generator *g);

// What becomes of a generation that waits.
enum generator_fate {
    GENERATION_STAYS,
    GENERATION_GOES_OVER, // to the other generator; where that has no memory for it it ends so
    GENERATION_ENDS,      // as `why` says, which is not ERR_OK
};
typedef enum generator_fate generator_decide(void *ctx, const struct generation *n, size_t known,
                                             struct errmsg *why);
// Asks of each waiting generation, oldest first, what becomes of it; known: tokens of its prompt
// and its log. One that goes over is the other generator's from there on: it goes on behind its log
// with what it has. `to` is of the same model, with the same masks, on this thread too, and can
// hold whatever the generation may become (generator_has_room); NULL: none goes over.
void generator_sort_out(struct generator *g, struct generator *to, generator_decide *decide,
                        void *ctx);
// Whether all that it may come to be fits the context: it would end where it ends elsewhere.
bool generator_has_room(const struct generator *g, const struct generation *n, size_t context);
// What a token of a prompt takes, by those that it computed lately, or the warm-up's; 0: not known.
double generator_prompt_us(const struct generator *g);
// Tokens of prompts and set-aside texts that it has to compute.
size_t generator_tokens_due(const struct generator *g);
bool generator_waits(const struct generator *g); // some generations wait to run

// A first step, before any other: pages, caches and kernels are warm afterwards. `end` returns e,
// or what was wrong with the result.
struct step *generator_begin_warm_up(struct generator *g);
enum err generator_end_warm_up(struct generator *g, struct step *step, enum err e,
                               struct errmsg *msg) MUST_CHECK;
// Ends all with this error; later submissions are refused with it.
void generator_end_all(struct generator *g, enum err err, const char *why);

// Brings its figures up to date.
void generator_update_stats(struct generator *g);
// Adds this generator's figures.
void generator_add_stats(struct generator *g, struct generation_stats *sum);

#endif
