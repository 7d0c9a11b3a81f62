// The replica whose device is in another process, trine-worker. Role: this process's side of it,
// behind replica.h: what is submitted goes to the process by a socket and a region of shared memory
// (channel/), what comes back is copied out, checked and delivered. It starts the process, brings
// up in it all that is loaded and open here, watches it, and ends it as soon as it breaks a rule:
// then everything that it had is done with ERR_LOST, and a new life begins. The sender's arrays are
// what the work is sent from, so nothing is lost with a process but time.
// A life ends by: its process's end, a socket that closes, a message that breaks a rule, an answer
// that does not come in time, numbers that are wrong. No life begins before the process of the one
// before it is reaped.
// Deadlines: a piece of work has max(watchdog, 10 x what it is predicted to take) from the later of
// its sending, its draw's release and the last answer to what was sent before it in its share; time
// in which the worker says that other shares had the device is left out, but for a twentieth, so
// that no worker can say so for ever. Before a model has been measured, by its canary, it is a
// minute. What brings a life up (a start, a load) has minutes the first time, and later 20 x what
// it took before, or five watchdogs.
// Numbers: each model has a sentinel, four fixed tokens, whose row (or greedy token and its
// logprob) is known: from `reference`, else from the first life. It is computed alone when a model
// or a place has been brought up (the canary), and as an extra sequence in the first batch of a
// life, in those of 256 tokens and more, and when the last is older than sentinel_us; in steps
// likewise, with a block of the cache of its own. A worker with the reference's kind of device must
// give the same bits; another one numbers that differ by no more than its floats explain, and a
// greedy token where the reference's was clearly the likeliest. Numbers of a first life that no
// second one has agreed with are given up when two later lives agree on others. A quarantine starts
// its process when it has work, computes one piece at a time, brings up only what that needs, and
// ends the process when it has been idle. It is always REPLICA_UP, and its health's life is that of
// the process that is there, or of the next one where there is none. Work that comes when there is
// no process is held until there is one; where it cannot be brought up three times in a row, its
// held work is done with ERR_UNAVAILABLE. Control calls (load, size, open) wait until the worker is
// up, and are tried in up to three lives. ERR_UNAVAILABLE: it is given up, or did not come up in
// time. unload and close_steps do not wait. Thread rule: as replica.h; done, computed and changed
// are called on the worker's thread, which holds no lock of the replica's then.
#ifndef TRINE_ENGINE_REPLICA_WORKER_H
#define TRINE_ENGINE_REPLICA_WORKER_H

#include "engine/replica.h"

struct spawner;

struct replica_worker_options {
    struct spawner *spawner; // outlives the replica
    const char *program;     // of trine-worker, or another of its kind; copied
    int threads;             // that compute in it
    // Of a program that has a choice (worker.h's settings): which device, and how much of its
    // memory may be used; NULL, 0: not said. Borrowed.
    const char *device;
    double device_memory;
    int64_t watchdog_us; // a piece of work's least deadline; 0: 2 s
    // Between lives: doubled with each that was short or did not come up. One that completed work
    // and was up for 10 s begins again with the least. 0: 100 ms and 30 s.
    int64_t backoff_least_us, backoff_most_us;
    // After so many lives in a row without a completed piece of work it is given up, and tried
    // again after retry_us (0: 10 minutes). 0: never.
    int give_up_after;
    int64_t retry_us;
    int64_t sentinel_us; // 0: every batch and every step has one
    // In this process, for canaries and sentinels: asked when a model is loaded or a place opened
    // here, if it has the model then. NULL: the first life's own numbers. Outlives the replica.
    struct replica *reference;
    // Of a quarantine: its facts and sizes are this one's, whose worker is the same program.
    struct replica *like;
    bool quarantine;
    int64_t idle_us;     // of a quarantine: 0: 10 s
    size_t region_bytes; // of shared memory for what is in flight; 0: 256 MiB, untouched ones free
};

// Starts the thread and, but for a quarantine, the process, and waits until that has said what it
// is. ERR_NOT_FOUND, ERR_IO: the program cannot be executed; ERR_UNAVAILABLE: it was started three
// times and did not come up; ERR_NOMEM; what the program says in READY where it has no device
// (ERR_UNSUPPORTED: no driver, no card ...).
enum err replica_worker_new(const struct replica_worker_options *o, struct replica **out,
                            struct errmsg *msg) MUST_CHECK;

#endif
