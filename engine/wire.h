// What passes between a replica that stands for another process and the program (worker/) that is
// that process: the types of messages, and the bytes of each one's payload and bulk.
// Role: writes the engine's own structs into bytes and reads them back; it sends nothing, keeps
// nothing and allocates nothing. How bytes get across is channel/'s; docs/worker.md has the tables.
//
// A payload stands in the message. Bulk stands in the shared region, in one block for a request:
// the request's bytes, and behind them, at the next multiple of WIRE_ALIGN, room for the answer's
// (struct wire_block). So a worker never chooses a place. Whoever reads bulk copies it out first,
// compares the checksum, and gives the copy to the functions here: nothing that they return points
// into the region.
//
// A reader believes nothing. Lengths, counts, numbers of enums, flags, ids, positions and blocks
// are held against what its side knows (struct wire_model, struct wire_place, the step that was
// sent); a byte too many or too few, or one that must be zero and is not, is a fault. What is at
// fault is ERR_INVALID in one line, and all that was read is to be thrown away. A reader takes no
// memory, and no longer than what it is given is long, whatever the bytes say. A writer's faults
// are its own side's: ERR_TOO_LARGE and ERR_INTERNAL. Thread rule: pure functions.
#ifndef TRINE_ENGINE_WIRE_H
#define TRINE_ENGINE_WIRE_H

#include "channel/channel.h"
#include "channel/pack.h"
#include "engine/replica.h"

enum {
    WIRE_VERSION = 2,
    WIRE_ALIGN = CHANNEL_BULK_ALIGN, // of an answer in a block, and of a copy of bulk in memory
    WIRE_WORDS = 500,                // bytes of an error's words
    WIRE_VALUES = 2,                 // of an answer, at most
};

// A message's header has the number (sequence) of a request, and what comes back has the same. DRAW
// and CANCEL have the number of the work that they are about, and no answer of their own; PROGRESS
// has 0. Payloads of requests about a model begin with its number (u64), of those about a place
// with the place's (wire_subject).
enum wire_type {
    // To the worker. Each but DRAW and CANCEL is answered once.
    WIRE_HELLO = 1,    // READY
    WIRE_FILES,        // ANSWER; with descriptors
    WIRE_LOAD,         // ANSWER: bytes of the weights
    WIRE_UNLOAD,       // ANSWER
    WIRE_SIZE_BATCHES, // ANSWER: bytes of the workspaces
    WIRE_SIZE_STEPS,   // ANSWER: struct replica_step_sizes
    WIRE_OPEN_STEPS,   // ANSWER: bytes of the workspace
    WIRE_CLOSE_STEPS,  // ANSWER
    WIRE_ENCODE,       // BATCH_DONE; bulk
    WIRE_STEP,         // STEP_COMPUTED where the draw was not released with it, STEP_DONE; bulk
    WIRE_DRAW,         // releases a step's draw; bulk where there are masks
    WIRE_CANCEL,       // of a batch or a step, which is done in any case
    // To the parent.
    WIRE_READY = 33,
    WIRE_ANSWER,
    WIRE_BATCH_DONE,    // bulk, where it is not an error
    WIRE_STEP_COMPUTED, // the forward is over, and the draw has not been released
    WIRE_STEP_DONE,     // bulk, where it is not an error
    WIRE_PROGRESS,
};

// The exit statuses of the worker's process.
enum wire_end {
    WIRE_END_CLOSED = 0,      // the parent has closed the socket
    WIRE_END_BY_HAND = 2,     // started by somebody who has no socket for it
    WIRE_END_BROKEN_RULE = 3, // a message that breaks a rule
    WIRE_END_NO_DEVICE = 4,   // there is no device such as was asked for
    WIRE_END_NO_MEMORY = 5,   // before there was anything that could be refused
    WIRE_END_SYSTEM = 6,      // the system refused what the worker cannot do without
    WIRE_END_LOST_DEVICE = 7, // its device computes nothing any more
};

const char *wire_type_name(uint16_t type); // "ENCODE"; "?" of a number that is none

// Whether a message of this type may come in this direction, with or without bulk, payload and
// descriptors as it has them. The first thing to ask of a received one. ERR_INVALID.
enum err wire_check_message(const struct channel_message *m, bool to_worker,
                            struct errmsg *msg) MUST_CHECK;

// ---- what a side knows

struct wire_model {
    uint64_t model;
    enum model_task task;
    bool causal;
    size_t max_length, dim, vocab, types; // types: rows of the token type table; 0: none
};
void wire_model_of(const struct replica_spec *spec, struct wire_model *out);

// Where steps are computed: OPEN_STEPS. The parent gives it its number, the same in every life.
struct wire_place {
    uint64_t place, model;
    struct step_engine_options options;
    size_t vocab, max_length; // the model's
};

// The model's or the place's number that a payload begins with; 0: there is none.
uint64_t wire_subject(const unsigned char *payload, size_t length);

// ---- blocks of bulk

struct wire_block {
    size_t request, answer; // bytes, of the answer at most
    size_t bytes;           // of the whole block
};
// Where the answer of a block stands, from its beginning.
static inline size_t wire_answer_at(const struct wire_block *b) { return b->bytes - b->answer; }
// Makes one of both lengths. ERR_TOO_LARGE: a size does not count it.
enum err wire_block_of(size_t request, size_t answer, struct wire_block *out,
                       struct errmsg *msg) MUST_CHECK;
// The worker's: where the answer to a request stands in the region. ERR_INVALID: it does not fit.
enum err wire_place_answer(const struct channel_message *request, size_t answer,
                           size_t region_bytes, uint64_t *offset, struct errmsg *msg) MUST_CHECK;
// The parent's: whether an answer's bulk stands where it must, in the room that there is for it.
// `offset` is the block's in the region. No bulk is fine. ERR_INVALID.
enum err wire_check_answer(const struct channel_message *answer, const struct wire_block *b,
                           uint64_t offset, struct errmsg *msg) MUST_CHECK;

// ---- how something went

// A verdict is an error with its words, of ERR_OK none; they are cut behind a whole character where
// they are too long.
void wire_put_verdict(struct pack_writer *w, enum err e, const struct errmsg *msg);

// ---- HELLO and READY

struct wire_hello {
    size_t threads;
    uint64_t region_bytes;
};
// What a worker has forbidden itself.
enum wire_walls {
    WIRE_WALL_PRIVILEGES = 1, // no_new_privs
    WIRE_WALL_CALLS = 2,      // system calls (seccomp)
    WIRE_WALL_FILES = 4,      // files by path, and the network (Landlock)
    WIRE_WALLS_ALL = 7,
};
struct wire_ready {
    struct errmsg verdict; // not ERR_OK: there is no device, and these words say why; nothing else
    struct replica_facts facts;
    uint32_t walls; // a set of enum wire_walls
};

// Both carry WIRE_VERSION and the build's commit; readers refuse others than their own.
// Reading either: ERR_UNSUPPORTED: it is of another build, and the message says which both are.
void wire_write_hello(struct pack_writer *w, const struct wire_hello *h);
enum err wire_read_hello(const struct channel_message *m, struct wire_hello *out,
                         struct errmsg *msg) MUST_CHECK;
void wire_write_ready(struct pack_writer *w, const struct wire_ready *r);
enum err wire_read_ready(const struct channel_message *m, struct wire_ready *out,
                         struct errmsg *msg) MUST_CHECK;

// ---- requests that ANSWER answers

void wire_write_unload(struct pack_writer *w, uint64_t model);
enum err wire_read_unload(const struct channel_message *m, uint64_t *model,
                          struct errmsg *msg) MUST_CHECK;

void wire_write_size_batches(struct pack_writer *w, size_t tokens);
enum err wire_read_size_batches(const struct channel_message *m, size_t *tokens,
                                struct errmsg *msg) MUST_CHECK;

struct wire_size_steps {
    uint64_t model;
    struct step_limits limits;
    enum dtype kv_dtype;
};
void wire_write_size_steps(struct pack_writer *w, const struct wire_size_steps *s);
enum err wire_read_size_steps(const struct channel_message *m, struct wire_size_steps *out,
                              struct errmsg *msg) MUST_CHECK;

// `vocab` and `max_length` are not sent: the reader knows them of the model.
void wire_write_open_steps(struct pack_writer *w, const struct wire_place *p);
// model: the one that wire_subject names, or NULL, which is at fault, as one that does not generate
// is.
enum err wire_read_open_steps(const struct channel_message *m, const struct wire_model *model,
                              struct wire_place *out, struct errmsg *msg) MUST_CHECK;

void wire_write_close_steps(struct pack_writer *w, uint64_t place);
enum err wire_read_close_steps(const struct channel_message *m, uint64_t *place,
                               struct errmsg *msg) MUST_CHECK;

struct wire_answer {
    struct errmsg verdict;
    uint64_t values[WIRE_VALUES]; // as many as enum wire_type says for the request
};
// request: the type that it answers.
void wire_write_answer(struct pack_writer *w, enum wire_type request, enum err e,
                       const struct errmsg *msg, const uint64_t values[WIRE_VALUES]);
enum err wire_read_answer(const struct channel_message *m, enum wire_type request,
                          struct wire_answer *out, struct errmsg *msg) MUST_CHECK;

// ---- DRAW's and CANCEL's, STEP_COMPUTED's and PROGRESS's

// wire_check_message is all that CANCEL and STEP_COMPUTED need: their payloads are empty.

void wire_write_progress(struct pack_writer *w, const struct replica_stats *s);
// life_us: how long the worker has lived. Its device cannot have been in use for longer, nor less
// than `before`, the last one's stats (zeros: none) said.
enum err wire_read_progress(const struct channel_message *m, const struct replica_stats *before,
                            int64_t life_us, int64_t now_us, struct replica_stats *out,
                            struct errmsg *msg) MUST_CHECK;

#endif
