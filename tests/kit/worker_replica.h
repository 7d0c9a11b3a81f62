// Replicas whose worker is the real program, as tests of the parent's side want them: patient with
// a slow machine, and soon back after a kill. Thread rule: main thread only.
#ifndef TRINE_TESTS_KIT_WORKER_REPLICA_H
#define TRINE_TESTS_KIT_WORKER_REPLICA_H

#include "channel/spawner.h"
#include "engine/replica_worker.h"

// Starts the spawner and finds the program beside this one: first in main, before any thread is.
enum err worker_replica_begin(struct errmsg *msg) MUST_CHECK;
void worker_replica_end(void);

// What worker_replica_new starts by. Its canaries' numbers are the reference's, if there is one;
// with a replica to be `like` it is a quarantine.
struct replica_worker_options worker_replica_options(struct replica *reference,
                                                     struct replica *like);
enum err worker_replica_new(struct replica *reference, struct replica *like, struct replica **out,
                            struct errmsg *msg) MUST_CHECK;
// Until it is up in this life or a later one. False: it is not in time.
bool worker_replica_await(struct replica *r, uint64_t life);
// Kills (kill -9) the process of a life that is up, and waits for the next life. False: there is
// none to be killed.
bool worker_replica_kill(struct replica *r);

#endif
