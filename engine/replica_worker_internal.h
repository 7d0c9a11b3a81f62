// What this process's side of a worker is made of. Role: shared by the files of replica_worker:
//   replica_worker.c           makes it, and what is asked of it
//   replica_worker_models.c    what is loaded and open, in every life
//   replica_worker_load.c      what a model's load is sent from, in every life
//   replica_worker_life.c      the thread: lives, one after the other
//   replica_worker_errand.c    what a life is brought up with: requests that are answered in words
//   replica_worker_send.c      work on its way out
//   replica_worker_take.c      what comes back
//   replica_worker_deadline.c  how long that may take
//   replica_worker_sentinel.c  whether the numbers are right
// Locks: `mutex` guards everything that is not marked; none is held when the sender's functions are
// called. Thread rule: as each part says.
#ifndef TRINE_ENGINE_REPLICA_WORKER_INTERNAL_H
#define TRINE_ENGINE_REPLICA_WORKER_INTERNAL_H

#include "base/file_set.h"
#include "channel/channel.h"
#include "channel/region.h"
#include "channel/region_space.h"
#include "engine/replica_kind.h"
#include "engine/replica_worker.h"
#include "engine/wire_spec.h"
#include "engine/wire_work.h"

#include <pthread.h>
#include <sys/types.h>

enum {
    WORKER_FLIGHTS = 64, // pieces of work that it has at once; more wait
    WORKER_TRIES = 3,    // lives in which a control call is tried
    SENTINEL_COUNT = 4,  // its tokens
    SENTINEL_FROM = 256, // batches and steps of so many tokens always have one
};

enum worker_phase {
    WORKER_NONE,   // there is no process
    WORKER_COMING, // one is being brought up
    WORKER_UP,
    WORKER_GOING, // its socket is closed; it is to be reaped
};

// What pieces of one kind take: the last ones count most. Zeros: not measured.
struct worker_pace {
    double us, tokens; // sums
    double piece_us;
};

// Numbers that must come again: of a sentinel.
struct worker_truth {
    float *right, *other; // [n]; other: what the last life said that did not agree
    size_t n;
    bool narrow;  // half of an f32's bits at most took part: by the device, or the reference
    bool is_draw; // [2] a greedy token and its logprob, else a row
    float margin; // of a draw: how much likelier it was than the next token, in logprobs; 0: not
                  // known
    bool known, has_other;
    bool agreed; // by the reference, or a second life: it stays
};

// A model or a place, on its way in or out.
enum worker_standing {
    WORKER_JOINS, // whoever asked for it waits
    WORKER_STANDS,
    WORKER_FAILED, // whoever asked for it takes it away
    WORKER_LEAVES,
};

struct worker_entry {
    enum worker_standing standing;
    unsigned losses;    // lives that ended while it joined
    struct errmsg why;  // WORKER_FAILED
    uint64_t there;     // the last life that had it
    uint64_t checked;   // the last life whose numbers were right
    int64_t checked_us; // when a sentinel was sent last, in the present life; 0: not yet
};

// A model's LOAD and its files, as every life is told of them.
struct worker_load {
    unsigned char *bytes; // [length] the payload
    size_t length;
    struct file_set *files; // with descriptors of this load's own
    size_t file_bytes;      // of all
};

struct worker_model {
    struct worker_entry entry;
    struct worker_model *next;
    struct wire_model wire; // what it is
    struct worker_load load;
    size_t files_sent; // in the life `files_life`
    uint64_t files_life;
    uint64_t checked_raw; // the last life whose first canary was right; the second is normalised
    char name[128];       // for messages
    bool narrow;          // as its truths
    size_t weight_bytes;
    int64_t load_us;              // the longest that its loads have taken; 0: none was answered
    struct worker_truth truth[2]; // [normalised]
    struct worker_pace pace;
};

// A step with a sentinel behind the sender's parts.
struct worker_copy {
    struct step *step;
    bool taken;
};
enum { WORKER_COPIES = 2 }; // one is in flight and one ahead

struct worker_place {
    struct worker_entry entry;
    struct worker_place *next;
    struct wire_place wire; // with room for a sentinel
    struct step_part sentinel;
    int32_t room[3 * SENTINEL_COUNT]; // its arrays
    struct worker_copy copies[WORKER_COPIES];
    size_t step_bytes;
    struct worker_truth truth; // [2] the token, its logprob
    struct worker_pace pace;
};

// Arrays for a batch with a sentinel behind the sender's sequences, while it is written.
struct worker_batch_copy {
    int32_t *ids, *positions, *type_ids; // [tokens]
    int32_t *ends, *skip;                // [tokens + 1], [tokens]
    size_t tokens;
};

// A question that is asked of the worker once (SIZE_STEPS). The asker's, who waits.
struct worker_query {
    struct wire_size_steps q;
    struct replica_step_sizes sizes;
    bool done;
    unsigned losses;
    struct errmsg msg;
};

// A request to the worker that is answered in words, one at a time: or a canary.
enum worker_errand_kind {
    ERRAND_NONE,
    ERRAND_HELLO,
    ERRAND_CLOSE,
    ERRAND_UNLOAD,
    ERRAND_SIZE,
    ERRAND_FILES,
    ERRAND_LOAD,
    ERRAND_OPEN,
    ERRAND_ASK,
    ERRAND_CHECK_MODEL,
    ERRAND_CHECK_PLACE,
};

struct worker_errand {
    enum worker_errand_kind kind;
    uint64_t sequence;
    uint64_t subject; // a model's or a place's number
    size_t tokens;    // ERRAND_SIZE
    size_t files;     // ERRAND_FILES: that went with it
    bool normalize;   // ERRAND_CHECK_MODEL
    int64_t sent_us, until_us;
};

// A piece of work that the process has.
struct worker_flight {
    struct replica_work *work; // NULL: there is none here
    uint64_t sequence;
    uint64_t offset; // of its block in the region
    struct wire_block block;
    uint64_t draw_offset; // of its masks' block
    bool has_draw_block;
    bool computed, drawn;        // a step: STEP_COMPUTED has come; its draw's release was sent
    bool want_draw, want_cancel; // to be sent when the socket takes it
    bool cancel_sent;
    bool too_large; // its masks never fit into the region: it was told to end for that
    bool sentinel;
    struct worker_copy *copy; // of a step with a sentinel
    size_t tokens;
    int64_t sent_us;
    int64_t since_us;  // from when its time counts
    int64_t others_us; // what other shares had had then
    int64_t allowed_us;
};

enum worker_line { LINE_URGENT, LINE_STEPS, LINE_BULK, LINE_COUNT };

// What starts and ends processes: the spawner, but in tests. Called by the thread, no mutex held.
struct worker_starter {
    // A process that has the socket and the region, both borrowed.
    enum err (*spawn)(void *ctx, int socket, int region, pid_t *pid, struct errmsg *msg);
    void (*kill)(void *ctx, pid_t pid);
    bool (*reap)(void *ctx, pid_t pid, int *status); // true: it is gone, and has been reaped
    void *ctx;
};

struct replica_worker {
    struct replica head;
    struct replica_worker_options options;
    struct worker_starter starter;
    char *program, *device; // device: the argument that says which, or NULL
    bool same_device;       // as the reference's: its bits are the same
    pthread_t thread;
    bool has_thread;
    int wake[2]; // the thread sleeps on [0]
    pthread_mutex_t mutex;
    pthread_cond_t news; // of what somebody waits for

    enum worker_phase phase;
    struct replica_health health;
    void (*changed)(void *ctx);
    void *changed_ctx;
    bool tells, telling; // `changed` is to be called, is being called
    bool ending, gone;   // the replica is being freed; its thread has ended
    bool retry;
    bool awake;     // a byte is in `wake`
    bool has_facts; // the first READY was there
    bool hopeless;  // the program cannot be executed, or nothing starts it
    bool no_starts; // what starts processes has ended: nothing can be waited for
    unsigned failed_starts;
    struct errmsg start_msg;

    struct worker_model *models;
    struct worker_place *places;
    uint64_t places_made;
    size_t batch_tokens;  // asked for; 0: nobody has
    size_t tokens_before; // while a call waits: what stays where it is refused
    size_t sized_tokens;  // with the sentinel's, in the life `sized`
    uint64_t sized;
    size_t size_losses;
    struct errmsg size_msg; // of the last call that failed
    bool sizing;            // a call waits
    size_t workspace_bytes;
    struct worker_query *query;
    struct worker_errand errand;
    int64_t hello_us, answer_us; // the longest that starts and other requests have taken, or 0

    int socket; // -1: there is none
    struct region *region;
    struct region_space space;
    uint64_t sequence; // the last one that was given
    struct worker_flight flights[WORKER_FLIGHTS];
    size_t flight_count;
    struct replica_list waiting[LINE_COUNT];
    struct replica_list ended;                    // done, and to be told
    bool blocked;                                 // the socket takes no more
    unsigned char payload[CHANNEL_PAYLOAD_BYTES]; // of what is being sent

    struct worker_batch_copy batch_copy;

    bool losing; // this life has ended, and the thread has not seen to it
    enum replica_loss loss;
    char loss_why[256];
    struct replica_stats stats;  // of the present life
    struct replica_stats before; // of those before it: sums

    // The thread's own.
    pid_t pid;
    int64_t started_us, up_us, next_us, down_since_us, idle_since_us, killed_us, reap_us;
    int64_t came_up_us; // how long the last one took
    bool killed, stuck, loss_told;
    bool given_up;
    unsigned short_lives, idle_lives, quarantine_failures;
    struct channel_buffer buffer;
    unsigned char *copy; // [region_bytes] what was copied out
    struct replica_batch canary_batch;
    struct replica_step canary_step;
    struct step *canary_parts;
    int32_t canary_ids[SENTINEL_COUNT], canary_positions[SENTINEL_COUNT], canary_ends[2];
    float *canary_row; // [the largest dim]
    size_t canary_room;
};

static inline struct replica_worker *replica_worker_of(struct replica *r) {
    return (struct replica_worker *)r;
}
// What batches are to be sized for in it: what was asked for, or a canary, and a sentinel.
static inline size_t replica_worker_tokens(const struct replica_worker *w) {
    size_t least = (size_t)16 * SENTINEL_COUNT;
    return (w->batch_tokens > least ? w->batch_tokens : least) + SENTINEL_COUNT;
}

// ---- replica_worker.c

// A replica without a thread and without a process, as replica_worker_new begins. ERR_NOMEM,
// ERR_IO.
enum err replica_worker_make(const struct replica_worker_options *o, struct replica_worker **out,
                             struct errmsg *msg) MUST_CHECK;
// replica_worker_new, with something else in the spawner's place.
enum err replica_worker_new_by(const struct replica_worker_options *o,
                               const struct worker_starter *starter, struct replica **out,
                               struct errmsg *msg) MUST_CHECK;
void replica_worker_free_parts(struct replica_worker *w);
void replica_worker_wake(struct replica_worker *w); // its thread; mutex held

// ---- replica_worker_models.c: mutex held, but for the calls of replica.h

struct worker_model *replica_worker_find_model(struct replica_worker *w, uint64_t model);
struct worker_place *replica_worker_find_place(struct replica_worker *w, uint64_t place);
void replica_worker_drop_model(struct replica_worker *w,
                               struct worker_model *m); // out of the list, freed
void replica_worker_drop_place(struct replica_worker *w, struct worker_place *p);
// A life has ended: what joins has lost one more, what leaves is gone.
void replica_worker_models_lost(struct replica_worker *w);
// The call that waits for a size of batches is refused it, and the size is what it was.
void replica_worker_refuse_size(struct replica_worker *w, const struct errmsg *why);
enum err replica_worker_load(struct replica *r, const struct replica_spec *spec,
                             struct errmsg *msg);
void replica_worker_unload(struct replica *r, uint64_t model);
size_t replica_worker_weight_bytes(struct replica *r, uint64_t model);
enum err replica_worker_size_batches(struct replica *r, size_t tokens, struct errmsg *msg);
enum err replica_worker_size_steps(struct replica *r, uint64_t model,
                                   const struct step_limits *limits, enum dtype kv_dtype,
                                   struct replica_step_sizes *out, struct errmsg *msg);
enum err replica_worker_open_steps(struct replica *r, uint64_t model,
                                   const struct step_engine_options *options, uint64_t *place,
                                   struct errmsg *msg);
void replica_worker_close_steps(struct replica *r, uint64_t place);
size_t replica_worker_step_bytes(struct replica *r, uint64_t place);

// ---- replica_worker_load.c

// Keeps what is needed of it, with descriptors of its own. ERR_NOMEM, ERR_TOO_LARGE, ERR_IO.
enum err replica_worker_load_keep(const struct replica_spec *spec, struct worker_load *out,
                                  struct errmsg *msg) MUST_CHECK;
void replica_worker_load_free(struct worker_load *l); // zeros are fine
// Writes a FILES message of the files from the first that was not sent; returns how many they are.
// The descriptors are borrowed by the message.
size_t replica_worker_load_write_files(const struct worker_load *l, uint64_t model, size_t sent,
                                       struct pack_writer *p, struct channel_message *m);

// ---- replica_worker_life.c

void *replica_worker_run(void *worker);
// This life has ended; the thread sees to the rest. The first reason counts. Mutex held.
void replica_worker_lose(struct replica_worker *w, enum replica_loss loss, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
// A life begins, which has to be greeted: socket and region are the replica's from here on. Mutex
// held.
void replica_worker_begin_life(struct replica_worker *w, int socket, struct region *region,
                               pid_t pid);
// What a life that ended leaves: all that it had is done, its socket and its mapping are gone.
// Mutex held.
void replica_worker_end_life(struct replica_worker *w);
// Tells what has changed and what is done. Mutex held, but in between. False: there was nothing.
bool replica_worker_deliver(struct replica_worker *w);

// ---- replica_worker_errand.c: mutex held

// Sends the next one, if none is out and something is missing. True: nothing is missing, and
// nothing is out.
bool replica_worker_run_errands(struct replica_worker *w);
// How the present one ended: a request's answer, or a canary's numbers, or its time alone.
void replica_worker_errand_answered(struct replica_worker *w, const struct channel_message *m);
void replica_worker_errand_late(struct replica_worker *w);
void replica_worker_errand_checked(struct replica_worker *w, enum err e, const struct errmsg *msg,
                                   bool right);

// ---- replica_worker_send.c

void replica_worker_encode(struct replica *r, struct replica_batch *b);
void replica_worker_step(struct replica *r, struct replica_step *s);
void replica_worker_draw(struct replica *r, struct replica_step *s);
void replica_worker_cancel(struct replica *r, struct replica_work *work);
// Mutex held: sends what waits, for as long as it goes.
void replica_worker_send_waiting(struct replica_worker *w);
// The first of what waits; NULL: nothing does. Mutex held.
struct replica_work *replica_worker_first_waiting(const struct replica_worker *w);
// Sends a piece of work at once, whatever waits. Mutex held. ERR_OVERLOADED: not now.
enum err replica_worker_send_work(struct replica_worker *w, struct replica_work *work,
                                  struct errmsg *msg) MUST_CHECK;
// Sends a message of the present life, with the payload that stands in w->payload. Mutex held. A
// socket that is closed, or broken, has lost the life. ERR_OVERLOADED, ERR_LOST.
enum err replica_worker_send(struct replica_worker *w, struct channel_message *m) MUST_CHECK;
// A piece of work is done; the thread tells it. Mutex held.
void replica_worker_end_work(struct replica_worker *w, struct replica_work *work, enum err e,
                             bool exposed, const char *words);
// A flight is over. Mutex held.
void replica_worker_forget_flight(struct replica_worker *w, struct worker_flight *f);

// ---- replica_worker_take.c: no mutex held; the thread

// A message of the worker. Whatever it holds, it ends work that is in flight, or the life.
void replica_worker_take(struct replica_worker *w, const struct channel_message *m);

// ---- replica_worker_deadline.c: mutex held

void replica_worker_clock_start(struct replica_worker *w, struct worker_flight *f, int64_t now_us);
void replica_worker_clock_allow(struct replica_worker *w, struct worker_flight *f);
// It was answered: the pace is learnt.
void replica_worker_clock_stop(struct replica_worker *w, struct worker_flight *f, int64_t now_us);
// Loses the life where something is overdue.
void replica_worker_clock_check(struct replica_worker *w, int64_t now_us);
// When to look next.
int64_t replica_worker_clock_next(const struct replica_worker *w, int64_t now_us);

// ---- replica_worker_sentinel.c

enum err replica_worker_truth_init(struct worker_truth *t, size_t n, struct errmsg *msg) MUST_CHECK;
void replica_worker_truth_free(struct worker_truth *t);
// Whether numbers agree with what is known. canary: the first of a life, from which one learns.
bool replica_worker_truth_agrees(const struct replica_worker *w, struct worker_truth *t,
                                 const float *got, bool canary);
// Blocks of a cache that a sentinel takes.
static inline size_t replica_worker_sentinel_blocks(const struct step_limits *l) {
    return (SENTINEL_COUNT + l->block_tokens - 1) / l->block_tokens;
}
// The part of a step that is a place's sentinel, in the blocks from `first` on; room has its
// arrays.
void replica_worker_sentinel_part(size_t vocab, size_t first, size_t blocks,
                                  int32_t room[3 * SENTINEL_COUNT], struct step_part *out);
// Of the token that was drawn, and its logprob.
void replica_worker_sentinel_numbers(const struct step_part *p, float out[2]);
// Room for a batch of so many tokens with a sentinel. Mutex held. ERR_NOMEM.
enum err replica_worker_batch_room(struct replica_worker *w, size_t tokens,
                                   struct errmsg *msg) MUST_CHECK;
void replica_worker_batch_copy_free(struct worker_batch_copy *c);
// The batch with a sentinel behind it, in these arrays; false: there is no room. Mutex held.
bool replica_worker_copy_batch(struct replica_worker *w, const struct worker_model *m,
                               const struct replica_batch *b, struct replica_batch *out);
// The same of a step; NULL: none is free, or it has no room. Mutex held.
struct worker_copy *replica_worker_copy_step(struct worker_place *p, const struct step *s);
void replica_worker_copy_masks(struct worker_copy *c, const struct step *s);
void replica_worker_copy_results(const struct worker_copy *c,
                                 struct step *s); // of all parts but the last

// Whether a piece of so many tokens is to have one.
bool replica_worker_sentinel_due(const struct replica_worker *w, const struct worker_entry *e,
                                 size_t tokens, int64_t now_us);
const struct worker_truth *replica_worker_batch_truth(const struct worker_model *m, bool normalize);
// Sends a canary. ERR_OVERLOADED: not now. Mutex held.
enum err replica_worker_send_canary(struct replica_worker *w, struct errmsg *msg) MUST_CHECK;
// Asks the reference, if it has the model: on the caller's thread, no mutex held.
enum err replica_worker_ask_batch(const struct replica_worker *w, struct worker_model *m,
                                  struct errmsg *msg) MUST_CHECK;
enum err replica_worker_ask_step(const struct replica_worker *w, struct worker_place *p,
                                 struct errmsg *msg) MUST_CHECK;

#endif
