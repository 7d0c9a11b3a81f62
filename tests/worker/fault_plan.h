// Which faults an injecting worker (faults.c) makes, and when. Role: reads TRINE_WORKER_FAULTS and
// decides; it does nothing. A life's faults follow from the seed and the life's number alone, never
// from time: the nth piece of work of a life gets the same fault in every run.
//   seed=7,rate=0.02,kinds=all,after=1    each piece of work behind the first has a fault of any
//   kind
//                                         with a chance of 2 %, at most one fault a life
//   kind=hang-before,at=12                the 12th piece of work of every life has this one
// Keys, separated by commas:
//   seed=N    of the chances; 1                    rate=F     chance of a piece of work; 0
//   start=F   chance of a life's start; 0          kinds=A+B  "all", "work", "start", or names; all
//   kind=A    one kind: with `at`, or without it   at=N       the Nth piece of work of a life, from
//   1
//             at every start, if it is one's       life=N     in this life alone
//   from=N    in no life before this one
//   after=N   not before N pieces are completed; 0 where=main|all  "all": in a quarantine too; main
//   slow=MS   how slow a slow start is; 500
// Thread rule: fault_plan_read once; then the thread that computes.
#ifndef TRINE_TESTS_WORKER_FAULT_PLAN_H
#define TRINE_TESTS_WORKER_FAULT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_NONE,
    // At a piece of work: before the message behind its answer is received, behind its own
    // receiving, before its answer is sent, behind that.
    FAULT_EXIT_BEFORE_RECEIVE,
    FAULT_EXIT_AFTER_RECEIVE,
    FAULT_EXIT_BEFORE_SEND,
    FAULT_EXIT_AFTER_SEND,
    FAULT_KILL_BEFORE_RECEIVE,
    FAULT_KILL_AFTER_RECEIVE,
    FAULT_KILL_BEFORE_SEND,
    FAULT_KILL_AFTER_SEND,
    FAULT_HANG_BEFORE,         // the whole process stops, before the answer
    FAULT_HANG_AFTER,          // behind it
    FAULT_HANG_COMPUTE_BEFORE, // the thread that computes alone; progress goes on
    FAULT_HANG_COMPUTE_AFTER,
    FAULT_SCRIBBLE, // never answers, and writes all over the region for as long as it lives
    FAULT_NAN,      // all rows, and all log-probabilities
    FAULT_NUMBERS,  // all rows are wrong, all drawn tokens are others
    FAULT_CHECKSUM, // of the results
    FAULT_LIFE,     // the answer is of another life
    FAULT_SEQUENCE, // of work that is not there
    FAULT_SHORT,    // half a frame
    FAULT_TRUNCATE, // tries to make the region shorter, which must be refused; then goes on
    FAULT_TWICE,    // the answer, twice
    FAULT_FLOOD,    // the answer, and two thousand more messages
    // At a start.
    FAULT_SLOW_START,
    FAULT_START_FAILS,
    FAULT_MEMORY_START, // no memory at start
    FAULT_MEMORY_LOAD,  // no memory for the first model
    FAULT_KINDS,
};

struct fault_plan {
    uint64_t seed, at, life, from, after;
    double rate, start;
    bool kinds[FAULT_KINDS];
    bool everywhere; // in a quarantine too
    bool one;        // `kind`
    bool probe;      // kind=probe: tries what the sandbox refuses in every thread, and tells
    unsigned slow_ms;
};

const char *fault_kind_name(enum fault_kind k); // "kill-before-send"
static inline bool fault_kind_is_of_start(enum fault_kind k) { return k >= FAULT_SLOW_START; }

// False: it is malformed; *why, of at least 128 bytes, says what.
bool fault_plan_read(const char *spec, struct fault_plan *out, char *why, size_t room);
// What happens at a life's start, and at its nth piece of work (from 1) with so many completed.
enum fault_kind fault_plan_start(const struct fault_plan *p, uint64_t life);
enum fault_kind fault_plan_work(const struct fault_plan *p, uint64_t life, uint64_t nth,
                                uint64_t completed);

#endif
