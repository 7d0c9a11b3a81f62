// Workers that are threads of the test, for replica_worker_new_by: they speak the protocol, compute
// rows by a simple rule, and do wrong what they are told to, once. Thread rule: any.
#ifndef TRINE_TESTS_KIT_FAKE_WORKER_H
#define TRINE_TESTS_KIT_FAKE_WORKER_H

#include "engine/replica_worker_internal.h"

#include <stdatomic.h>

enum {
    FAKE_DIM = 8,
    FAKE_VOCAB = 100,
    FAKE_MODEL = 7,
    FAKE_LENGTH = 1024,
    FAKE_BATCH_MOST = 1 << 14, // tokens of a batch; for more they have no memory
};

// What the next batch of more than a canary's tokens meets, or the next start.
enum fake_fault {
    FAKE_NONE,
    FAKE_CLOSES,   // the process ends without an answer
    FAKE_KILLED,   // by a signal
    FAKE_SILENT,   // no answer, until it is killed
    FAKE_LIFE,     // an answer of another life
    FAKE_SEQUENCE, // to another request
    FAKE_TWICE,
    FAKE_CHECKSUM,  // another one than its rows have
    FAKE_SHORT,     // a payload that lacks its end
    FAKE_ROWS_LESS, // a row too few
    FAKE_PLACE,     // rows that lie where nobody said
    FAKE_TYPE,      // a message that there is not
    FAKE_GARBAGE,   // a frame that is none
    FAKE_NUMBERS,   // all rows are wrong
    FAKE_ROW,       // the last row alone, which is the sentinel's
    FAKE_NOMEM,     // an error of this batch alone
    FAKE_STEP,      // a step's answer for a batch
    FAKE_CANCELS,   // it says that it was cancelled, which nobody asked for
    FAKE_READY_SECOND,
    // of a start
    FAKE_NO_READY, // ends before it is one
    FAKE_NO_LOAD,  // no memory for a model
    FAKE_CANARY,   // its canary's numbers are wrong
    FAKE_MUTE,     // no answer to a model's load
    FAKE_NO_WORD,  // nor to the first message
    FAKE_FAULTS,
};

struct fake_workers; // opaque

struct fake_workers *fake_workers_new(void);
// All have been reaped: the replica is gone.
void fake_workers_free(struct fake_workers *f);
struct worker_starter fake_workers_starter(struct fake_workers *f);
// The next one that could do it does. FAKE_NONE: none any more.
void fake_workers_set(struct fake_workers *f, enum fake_fault fault);
// Answers are kept back while it is held.
void fake_workers_hold(struct fake_workers *f, bool hold);
int fake_workers_started(const struct fake_workers *f);
int fake_workers_alive(const struct fake_workers *f);         // and not reaped
int fake_workers_encoding_most(const struct fake_workers *f); // batches that one had at once
int fake_workers_seen(const struct fake_workers *f, enum wire_type type); // messages of all lives

// What it computes of a sequence.
void fake_worker_row(const int32_t *ids, size_t n, bool normalize, float row[FAKE_DIM]);
// A model that they can have.
struct replica_spec fake_worker_spec(uint64_t model);

#endif
